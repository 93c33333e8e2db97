"""The command line, `keras-focal`. Tables and pictures need: pip install "keras-focal[cli]"."""

from keras_focal.cli._main import main

__all__ = ["main"]
