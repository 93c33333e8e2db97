"""Reading batches that a user gave: datasets, `PyDataset`s, and other iterables."""

from collections.abc import Iterable, Iterator
from typing import Any

import keras


def is_iterable_of_batches(x: Any) -> bool:
    """Tell whether `x` is batches and not data itself."""
    is_data = hasattr(x, "shape") or isinstance(x, dict | list | tuple)
    return not is_data and isinstance(x, Iterable | keras.utils.PyDataset)


def read(batches: Any, name: str, labels: str) -> Iterator[tuple[Any, ...]]:
    """Yield batches of two or three parts.

    Args:
        batches: Iterable or `keras.utils.PyDataset`.
        name: What errors call the batches and their first part.
        labels: What errors call the second part.
    """
    is_indexed = isinstance(batches, keras.utils.PyDataset)
    for batch in (batches[i] for i in range(len(batches))) if is_indexed else batches:
        if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
            raise ValueError(
                f"`{name}` must yield batches ({name}, {labels}) or ({name}, {labels}, "
                f"sample_weight). Received: a batch of type {type(batch).__name__}. "
                "Calibration needs labels."
            )
        yield tuple(batch)


def length(batches: Any) -> int | None:
    """Return the number of batches, None where it is not known."""
    try:
        return len(batches)
    except TypeError:
        return None
