"""Reading and checking of arguments: labels, sample weights, predictions, gamma and alpha."""
