"""The command `keras-focal` imports Keras only if needed, and then without TensorFlow's log.

TensorFlow writes that log while it is imported, some of it whatever TF_CPP_MIN_LOG_LEVEL says. The
level 0 shows it. Outside the command nothing is changed.
"""

import os
import sys
from itertools import pairwise
from pathlib import Path

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


def _is_command(program: str, arguments: list[str]) -> bool:
    """Tell whether this process runs `keras-focal` or `python -m keras_focal`.

    Args:
        program: `sys.argv[0]`, which is "-m" while Python looks for a module to run.
        arguments: `sys.orig_argv`, the arguments of Python.
    """
    if program != "-m":
        return Path(program).stem == "keras-focal"
    return ("-m", "keras_focal") in pairwise(arguments) or "-mkeras_focal" in arguments


IS_COMMAND = _is_command(sys.argv[0] if sys.argv else "", sys.orig_argv)
"""Whether the package is imported by its command."""


def import_keras() -> None:
    """Import Keras; in the command, what native code writes to stderr meanwhile is dropped."""
    if not IS_COMMAND or "keras" in sys.modules or os.environ.get(_LEVEL) == "0":
        return
    os.environ.setdefault(_LEVEL, "3")
    stderr = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        import keras  # noqa: F401
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
