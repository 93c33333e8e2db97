"""Arguments that several commands take."""

import argparse


def positive(text: str) -> int:
    """Return a whole number >= 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number >= 1. Received: {text!r}")
    return int(text)
