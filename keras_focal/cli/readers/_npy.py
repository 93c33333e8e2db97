"""Two NumPy arrays in two files, .npy: the predictions, and with --labels the labels."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from keras_focal.cli._errors import CommandError, UsageError
from keras_focal.cli.readers import _rows
from keras_focal.cli.readers._npz import check_array, check_labels
from keras_focal.cli.readers._rows import Ask, Classes, Rows, Source


def source(path: Path, ask: Ask) -> Source:
    """Return the reader of a file."""
    if ask.labels_file is None:
        raise UsageError(f"{path.name} holds predictions alone. Pass --labels FILE.npy too.")
    x, y = _mapped(path, "the file"), _mapped(ask.labels_file, ask.labels_file.name)
    check_array(path.name, x.shape, x.dtype)
    check_labels(ask.labels_file.name, y.shape, y.dtype, path.name, x.shape)
    size = max(1, _rows.BLOCK // max(1, math.prod(x.shape[1:])))

    def read() -> Iterator[Rows]:
        for start in range(0, len(x), size):
            part = slice(start, start + size)
            yield Rows(start, np.array(x[part]), np.array(y[part]), min(1.0, part.stop / len(x)))

    return Source(path, [path.name], ask.labels_file.name, Classes(), read)


def _mapped(path: Path, name: str) -> np.ndarray:
    """Return an array that stays on disk."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise CommandError(
            f"{name} is truncated, or no .npy file of numbers. Write it with numpy.save."
        ) from error
