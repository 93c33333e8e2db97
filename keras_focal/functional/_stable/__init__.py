"""p, 1 - p and -log p of a class, each with a small relative error."""
