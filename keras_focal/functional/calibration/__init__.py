"""Bins of predictions, calibration errors and scores."""
