"""What comes in, each kind read in one file: labels, weights, predictions, gamma."""
