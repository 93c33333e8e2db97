"""Files that are written whole or not at all, and named when they are damaged."""

import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np


class DamagedFileError(ValueError):
    """A file is not what was written; the message, one line, names it."""

    def __init__(self, file: Path, what: str, error: Exception):
        words = " ".join(str(error).split()) or type(error).__name__
        super().__init__(
            f"`{file}` must be {what}; it is damaged. Put a whole one in its place, or move it "
            f"away. Received: {words}"
        )


def write_json(file: Path, value: Any) -> None:
    """Write a value as JSON: a kill leaves the file as it was."""
    part = file.with_name(f"{file.name}.part")
    part.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(file)


def read_json(file: Path) -> dict[str, Any]:
    """Return the object that a file of JSON holds.

    Raises:
        DamagedFileError: If it holds none.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise TypeError(f"a {type(found).__name__}")
    except (OSError, TypeError, ValueError) as error:
        raise DamagedFileError(file, "an object in JSON", error) from error
    return found


def load_weights(model: keras.Model, file: Path) -> None:
    """Load the weights of a model.

    Raises:
        DamagedFileError: If the file does not hold them.
    """
    try:
        model.load_weights(file)
    except (KeyError, OSError, ValueError) as error:
        raise DamagedFileError(file, "the weights of this network", error) from error


def read_arrays(file: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Return arrays of an .npz file by their names.

    Raises:
        DamagedFileError: If the file is absent or not whole, or lacks an array.
    """
    try:
        with open(file, "rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names}
    except (EOFError, KeyError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise DamagedFileError(file, "an .npz file", error) from error
