"""Which gamma to take, and what it does to the gradient."""
