"""Maps from logits to calibrated logits."""
