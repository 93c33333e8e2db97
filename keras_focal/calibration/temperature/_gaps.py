"""Confidence less accuracy of each bin, at the temperatures of the paper's grid."""

from collections.abc import Iterator

import numpy as np

from keras_focal._host import equal_width_bins
from keras_focal._temperature import GRID
from keras_focal.calibration.given import HeldOut

_IN_ONE_SUM = 128
"""Numbers that are added up without a float64 number between: the more, the more is rounded."""


def gaps_of(batch: HeldOut, total: np.ndarray, rows: slice, num_bins: int) -> np.ndarray:
    """Return the gap of each bin where confidences are 1 / total, shape (rows,)."""
    confidence = 1.0 / total
    bins = equal_width_bins(confidence, num_bins)
    return np.bincount(bins, batch.weights[rows] * (confidence - batch.is_right[rows]), num_bins)


def gaps_at(batch: HeldOut, temperatures: np.ndarray, num_bins: int) -> np.ndarray:
    """Return the gap of each bin at each of some temperatures, flat."""
    ones = np.ones(batch.logits.shape[1])

    def work(below: np.ndarray, rows: slice) -> np.ndarray:
        e = np.empty_like(below)
        gaps = []
        for temperature in temperatures:
            np.divide(below, temperature, out=e)
            np.exp(e, out=e)
            gaps.append(gaps_of(batch, e @ ones, rows, num_bins))
        return np.concatenate(gaps)

    return batch.by_blocks(work, exponentials=len(temperatures))


def grid_gaps(batch: HeldOut, num_bins: int) -> np.ndarray:
    """Return the gap of each bin at each temperature of `GRID`, flat."""
    ones = np.ones(batch.logits.shape[1])

    def work(below: np.ndarray, rows: slice) -> np.ndarray:
        gaps = np.empty((len(GRID), num_bins))
        for index, _, e in _over_the_grid(below):
            gaps[index] = gaps_of(batch, e @ ones, rows, num_bins)
        return gaps.reshape(-1)

    return batch.by_blocks(work, exponentials=len(GRID) // 2)


def rough_gaps(batch: HeldOut, num_bins: int) -> np.ndarray:
    """Return what `grid_gaps` does, roughly, and how much each ECE may be wrong by.

    Returns:
        Array of shape (num_bins + 1, len(GRID)), flat: the gaps, then what rounding may have
        changed the sum of their absolute values by.
    """
    dtype, classes = batch.rough_dtype, batch.logits.shape[1]
    parts = [slice(at, at + _IN_ONE_SUM) for at in range(0, classes, _IN_ONE_SUM)]
    ones = np.ones(_IN_ONE_SUM, dtype)
    roundings = min(classes, _IN_ONE_SUM) + len(parts) + 2 * np.log(classes) + 4
    unit = np.finfo(dtype).eps / 2

    def work(below: np.ndarray, rows: slice) -> np.ndarray:
        weights, is_right = batch.weights[rows], batch.is_right[rows].astype("float64")
        sums = np.empty((num_bins + 1, len(GRID)))
        for index, squares, e in _over_the_grid(below):
            total = np.zeros(len(below))
            for part in parts:
                of_part = e[:, part]
                total += of_part @ ones[: of_part.shape[1]]
            # An exponential is off by 5 units in the worst case, and a square by twice as many.
            error = unit * (roundings + 7 * 2**squares)
            confidence = 1.0 / total
            place = confidence * num_bins
            upper = np.ceil(place)
            gap = weights * (confidence - is_right)
            sums[:num_bins, index] = np.bincount(upper.astype("int64"), gap, num_bins + 1)[1:]
            # Whatever is this close to an edge may lie in the other bin. 1 has none beyond.
            is_close = np.abs(upper - place - 0.5) >= 0.5 - error * num_bins
            is_close &= place < num_bins - 0.5
            sums[num_bins, index] = 2 * weights[is_close].sum() + error * weights.sum()
        return sums.reshape(-1)

    return batch.by_blocks(work, dtype, exponentials=len(GRID) // 2)


def _over_the_grid(below: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield exp(below / T) for each T of `GRID`: its place, how often it was squared, the array.

    GRID[i] is i + 1 tenths: at half that temperature an exponential is the square. The array is
    written over by the next one.
    """
    e = np.empty_like(below)
    for largest in range(len(GRID) // 2, len(GRID)):
        index, squares = largest, 0
        np.divide(below, float(GRID[index]), out=e)
        np.exp(e, out=e)
        yield index, squares, e
        while index % 2:
            index, squares = index // 2, squares + 1
            np.multiply(e, e, out=e)
            yield index, squares, e
