"""Figures 1 to 10 of the paper: `python -m examples.paper.figures --help`."""
