"""Quiet where the package is imported as a command: TensorFlow writes a log while it is imported.

This module is imported before Keras. It leaves a user's own setting as it is.
"""

import os
import sys
from pathlib import Path

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


def import_keras_in_silence() -> None:
    """Import Keras while what native code writes to stderr is dropped; errors are raised still."""
    os.environ[_LEVEL] = "3"
    stderr = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        import keras  # noqa: F401
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


# `python -m keras_focal` imports the package before it knows the name of the script.
if Path(sys.argv[0] if sys.argv else "").stem in ("keras-focal", "-m") and _LEVEL not in os.environ:
    import_keras_in_silence()
