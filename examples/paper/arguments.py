"""Arguments that several commands take."""

import argparse


def positive(text: str) -> int:
    """Return a whole number >= 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number >= 1. Received: {text!r}")
    return int(text)


def not_negative(text: str) -> int:
    """Return the whole number >= 0 that an option holds."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number >= 0. Received: {text!r}")
    return int(text)
