"""Calibration errors, the bins they are computed from, and scores of predictions."""
