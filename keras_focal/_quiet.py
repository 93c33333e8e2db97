"""The command `keras-focal` imports Keras only where it must, and then without TensorFlow's log.

TensorFlow writes that log while it is imported. A user's own setting of it is left as it is.
"""

import os
import sys
from pathlib import Path

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"

# `python -m keras_focal` imports the package before it knows the name of the script.
IS_COMMAND = Path(sys.argv[0] if sys.argv else "").stem in ("keras-focal", "-m")
"""Whether the package is imported by its command."""


def import_keras() -> None:
    """Import Keras; in the command, what native code writes to stderr meanwhile is dropped."""
    if not IS_COMMAND or _LEVEL in os.environ or "keras" in sys.modules:
        return
    os.environ[_LEVEL] = "3"
    stderr = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        import keras  # noqa: F401
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
