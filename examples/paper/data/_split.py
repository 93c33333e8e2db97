"""Parts of a data set that has no validation part of its own."""

import numpy as np

SEED = 1


def shuffled(size: int) -> np.ndarray:
    """Return the row numbers in the order that all splits of the paper's code begin with."""
    return np.random.RandomState(SEED).permutation(size)


def tenth_of_each_class(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return shuffled rows of training and of validation, which gets a tenth of each class."""
    rows = shuffled(len(labels))
    by_class = rows[np.argsort(labels[rows], kind="stable")]
    counts = np.bincount(labels)
    place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    held_out = np.isin(rows, by_class[place < np.repeat(counts // 10, counts)])
    return rows[~held_out], rows[held_out]
