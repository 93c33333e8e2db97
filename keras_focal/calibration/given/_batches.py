"""Reading batches that a user gave: datasets, `PyDataset`s, lists and other iterables."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import keras


def is_iterable_of_batches(x: Any) -> bool:
    """Tell whether `x` is batches and not data itself.

    A list is batches if all that it holds is tuples of two or three parts.
    """
    if isinstance(x, list):
        return bool(x) and all(isinstance(part, tuple) and len(part) in (2, 3) for part in x)
    is_data = hasattr(x, "shape") or isinstance(x, dict | tuple)
    return not is_data and isinstance(x, Iterable | keras.utils.PyDataset)


def read(batches: Any, name: str, labels: str) -> Iterator[tuple[Any, ...]]:
    """Yield batches of two or three parts.

    Args:
        batches: Iterable or `keras.utils.PyDataset`.
        name: What errors call the batches and their first part.
        labels: What errors call the second part.
    """
    _check_finite(batches, name)
    is_indexed = isinstance(batches, keras.utils.PyDataset)
    for batch in map(batches.__getitem__, range(batches.num_batches)) if is_indexed else batches:
        if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
            raise ValueError(
                f"`{name}` must yield batches ({name}, {labels}) or ({name}, {labels}, "
                f"sample_weight). Received: a batch of type {type(batch).__name__}. "
                "Calibration needs labels."
            )
        yield tuple(batch)


def _check_finite(batches: Any, name: str) -> None:
    """Raise for what has no end."""
    is_endless = isinstance(batches, itertools.cycle | itertools.repeat | itertools.count)
    if isinstance(batches, keras.utils.PyDataset):
        is_endless = batches.num_batches is None
    if hasattr(batches, "cardinality"):
        is_endless = int(batches.cardinality()) == -1
    if is_endless:
        raise ValueError(
            f"`{name}` must end: every held-out prediction is to be read. Received: "
            f"{type(batches).__name__} without an end. Leave out `.repeat()`, or pass `.take(n)`, "
            "or give a PyDataset its number of batches."
        )


def check_batched(name: str, labels_name: str, labels: Any) -> None:
    """Raise for single samples in place of batches: labels without an axis."""
    if any(getattr(part, "shape", None) == () for part in keras.tree.flatten(labels)):
        raise ValueError(
            f"`{name}` must yield batches, with a first axis of samples. Received: {labels_name} "
            "without an axis, of single samples. Call .batch(32) of a tf.data.Dataset."
        )


def length(batches: Any) -> int | None:
    """Return the number of batches, None where it is not known."""
    if isinstance(batches, keras.utils.PyDataset):
        return batches.num_batches
    try:
        return len(batches)
    except TypeError:
        return None
