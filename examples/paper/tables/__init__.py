"""Tables 1 to 13 of the paper from run folders, the paper's own figures beside them."""
