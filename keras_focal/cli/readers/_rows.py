"""What every reader returns: a source of rows, and the names of what it reads."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

BLOCK = 2**20
"""Numbers in predictions that are read at once."""

MOST_CLASSES = 2**20
"""Most classes of a file that is read: the sums of a report grow with them."""

MOST_IN_ROW = 2**24
"""Most numbers in a row of a file that is read: a row is read whole."""

MISSING = frozenset(("", "na", "n/a", "nan", "null", "none", "<na>", "#n/a"))
"""Texts that stand for a missing value, in lower case."""


class Ask(NamedTuple):
    """What the user asked for.

    Attributes:
        predictions: Name of the array or list column; of columns, what their names begin with.
        labels: Name of the array or column of labels.
        columns: Names of the columns of predictions in the order of the classes.
        labels_file: A second file with the labels, for .npy.
    """

    predictions: str | None = None
    labels: str | None = None
    columns: str | None = None
    labels_file: Path | None = None


class Rows(NamedTuple):
    """Some rows of a file.

    Attributes:
        start: Index of the first.
        predictions: Floats, shape (n, ..., K); NaN where there is none.
        labels: Numbers or text, shape (n, ...), (n, ..., 1) or (n, ..., K).
        done: Share of the file that is read.
        lines: Number of the line of each row, from 1 on, in a text file.
        predicted: Predicted classes, numbers or text, shape (n,); of predictions that are
            confidences.
    """

    start: int
    predictions: np.ndarray
    labels: np.ndarray
    done: float
    lines: np.ndarray | None = None
    predicted: np.ndarray | None = None

    def name(self, index: int) -> str:
        """Return how an error names a row."""
        if self.lines is not None:
            return f"line {self.lines[index]}"
        return f"row {self.start + index}"


class Classes(NamedTuple):
    """The classes, in the order of the predictions.

    Attributes:
        names: The name of each; None if they are only numbered, from 0 on.
        is_ordered: Whether the user gave their order, so that a label may be a position.
    """

    names: list[str] | None = None
    is_ordered: bool = True


class Source(NamedTuple):
    """A file of predictions.

    Attributes:
        path: Where it is.
        columns: What is read as predictions: columns in the order of the classes, or one array.
        label: What is read as labels.
        classes: The classes.
        read: Starts reading from the beginning.
        predicted: What is read as predicted classes, where the predictions are confidences.
        ignored: Columns that are not read.
    """

    path: Path
    columns: list[str]
    label: str
    classes: Classes
    read: Callable[[], Iterator[Rows]]
    predicted: str | None = None
    ignored: tuple[str, ...] = ()
