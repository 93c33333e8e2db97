"""Data sets in which some classes are rare: one training example where the others have 50."""

from dataclasses import dataclass

import numpy as np

RATIO = 50


@dataclass(frozen=True)
class Thinned:
    """Which rows of a data set are for what.

    Attributes:
        train: Rows to train on, thinned.
        validation: Held-out rows, not thinned.
        test: Rows of the test, not thinned.
        labels: Class ids of all rows of the data set.
        rare: Class ids of the rare classes.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    labels: np.ndarray
    rare: tuple[int, ...]

    @property
    def counts(self) -> np.ndarray:
        """Number of training rows of each class."""
        return np.bincount(self.labels[self.train], minlength=self.labels.max() + 1)

    def weights(self, rows: np.ndarray) -> np.ndarray:
        """Return weights, mean 1, by which classes are as frequent among `rows` as in training.

        A weighted figure estimates the figure of rows that were thinned as the training rows
        were, from all rows that there are: thinned test data would have next to no rare ones.
        """
        labels = self.labels[rows]
        share = np.bincount(labels, minlength=len(self.counts)) / len(rows)
        return (self.counts / self.counts.sum())[labels] / share[labels]


def thin(
    labels: np.ndarray, rare: tuple[int, ...], *, train: int, held_out: int, test: int, seed: int
) -> Thinned:
    """Return a split drawn at random, alike for all classes but for the training rows of the rare.

    Args:
        labels: Class ids of all rows.
        rare: Classes to thin.
        train: Training rows of each class that is not rare; a rare one has 1 / `RATIO` of it.
        held_out: Held-out rows of each class.
        test: Test rows of each class at most.
        seed: Seed of the split.
    """
    parts: tuple[list[np.ndarray], ...] = ([], [], [])
    rng = np.random.default_rng(seed)
    for label in range(labels.max() + 1):
        rows = rng.permutation(np.flatnonzero(labels == label))
        if len(rows) <= train // (RATIO if label in rare else 1) + held_out:
            raise ValueError(f"Class {label} has too few rows to split. Received: {len(rows)}.")
        number = train // RATIO if label in rare else train
        cuts = np.cumsum([number, held_out, test])
        for part, drawn in zip(parts, np.split(rows, cuts), strict=False):
            part.append(drawn)
    return Thinned(*(rng.permutation(np.concatenate(part)) for part in parts), labels, rare)
