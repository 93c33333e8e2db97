"""How to choose gamma, and how it changes the gradient."""
