"""What a data set is to the rest of the reproduction."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Split:
    """Samples of one part of a data set.

    Attributes:
        x: What the network takes: an array, or arrays by the names of its inputs, each with the
            samples on the first axis. Images are uint8, shape (N, height, width, channels).
        y: Class ids, int32, shape (N,), or (N, positions) where a sample has several labels.
        weight: None, or float32 of the shape of `y`: 0 where a position has no label.
    """

    x: np.ndarray | dict[str, np.ndarray]
    y: np.ndarray
    weight: np.ndarray | None = None

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.y)

    def take(self, rows: np.ndarray | slice) -> "Split":
        """Return the samples of these rows, in this order."""
        x = (
            {name: part[rows] for name, part in self.x.items()}
            if isinstance(self.x, dict)
            else self.x[rows]
        )
        return Split(x, self.y[rows], None if self.weight is None else self.weight[rows])


@dataclass(frozen=True)
class Data:
    """A data set: training, validation (to choose epochs and temperatures on) and test.

    Attributes:
        class_names: One name per class, in the order of the ids.
        vocabulary: The words of a text data set by id, None for images.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    vocabulary: Sequence[str] | None = None

    def fingerprint(self) -> dict[str, Any]:
        """Return the sizes of the parts and a checksum of all samples and labels, "sha256"."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        digest = hashlib.sha256()
        for part in parts.values():
            x = part.x if isinstance(part.x, dict) else {"": part.x}
            for array in (*(x[name] for name in sorted(x)), part.y):
                digest.update(f"{array.dtype}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).data)
        return {**{name: len(part) for name, part in parts.items()}, "sha256": digest.hexdigest()}

    @property
    def kind(self) -> str:
        """Return what the samples are: "images", "texts" or "trees"."""
        if isinstance(self.train.x, dict):
            return "trees"
        return "images" if self.train.x.ndim == 4 else "texts"

    @property
    def num_classes(self) -> int:
        """Return the number of classes."""
        return len(self.class_names)
