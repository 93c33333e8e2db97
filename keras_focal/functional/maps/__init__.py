"""Calibration maps: from logits to calibrated logits."""
