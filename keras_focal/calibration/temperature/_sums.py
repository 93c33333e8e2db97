"""What held-out predictions add up to at a temperature: NLL, its derivatives, and the ECE."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_focal._host import weighted_sum
from keras_focal._temperature import GRID, Reading
from keras_focal.calibration.given import NOTHING_COUNTS, HeldOut
from keras_focal.calibration.temperature._gaps import gaps_at, gaps_of, rough_gaps


@dataclass(frozen=True)
class Data:
    """Batches of held-out predictions, which can be read again, and the number of bins.

    All that a fit needs is sums over samples, so nothing of a batch is kept.
    """

    batches: Iterable[HeldOut]
    num_bins: int

    def summed(self, work: Callable[[HeldOut], np.ndarray]) -> np.ndarray:
        """Return the sum of work(batch): weight and number of samples first, then means."""
        sums: Any = 0.0
        for batch in self.batches:
            sums = sums + np.append([batch.weights.sum(), len(batch.labels)], work(batch))
        if np.ndim(sums) == 0:
            raise ValueError(
                "`logits` must hold at least one prediction. Received: no batches. Calibration "
                "needs held-out data."
            )
        if sums[0] == 0:
            raise ValueError(NOTHING_COUNTS)
        return np.concatenate([sums[1:2], sums[2:] / sums[0]])

    def at(self, beta: float, *, rough: bool = False) -> Reading:
        """Return what the data say at temperature 1 / beta: one pass over them.

        Args:
            beta: 1 / temperature.
            rough: Whether float32 logits may have the roundings of float32 sums.
        """
        sums = self.summed(lambda batch: sums_at(batch, beta, self.num_bins, rough=rough))
        size, nll, slope, curvature, not_largest, *gaps = sums.tolist()
        # Where logits say nothing, every label has the largest: then the slope is 0, NLL is not.
        is_separable = not_largest == 0 and (slope < 0 or nll == 0)
        ece = float(np.abs(gaps).sum())
        return Reading(beta, nll, slope, curvature, is_separable, int(size), ece)

    def says_nothing(self) -> bool:
        """Tell whether NLL is least where all probabilities are equal: no step from there helps."""
        at = self.at(0.0)
        return at.slope >= -1e-9 * np.sqrt(at.curvature)

    def of_least_error(self) -> float:
        """Return the first temperature of `GRID` with the least ECE.

        One pass in the precision of the logits, and one in float64 over the temperatures that it
        cannot tell from the best.
        """
        _, *rough = self.summed(lambda batch: rough_gaps(batch, self.num_bins))
        *gaps, doubt = np.reshape(rough, (self.num_bins + 1, len(GRID)))
        errors = np.abs(gaps).sum(axis=0)
        best = GRID[errors - doubt <= np.min(errors + doubt)]
        if len(best) > 1:
            _, *exact = self.summed(lambda batch: gaps_at(batch, best, self.num_bins))
            best = best[[np.argmin(np.abs(np.reshape(exact, (len(best), -1))).sum(axis=1))]]
        return float(best[0])


def sums_at(batch: HeldOut, beta: float, num_bins: int, *, rough: bool) -> np.ndarray:
    """Return what `Data.at` adds up: NLL, slope, curvature, weight of labels below the largest,
    and the gap of each bin."""
    dtype = batch.rough_dtype if rough else "float64"
    ones = np.ones(batch.logits.shape[1], dtype)

    def work(below: np.ndarray, rows: slice) -> np.ndarray:
        true, weights = batch.true[rows], batch.weights[rows]
        e = below * beta
        np.exp(e, out=e)
        total, *columns = _likelihood(e, below, ones, beta, true, out=e)
        # An error on the way is nobody's concern.
        gaps = np.nan if rough else gaps_of(batch, total, rows, num_bins)
        return np.append(
            [weighted_sum(weights, column) for column in (*columns, ~batch.has_largest[rows])], gaps
        )

    return batch.by_blocks(work, dtype)


def likelihood_sums(batch: HeldOut, betas: np.ndarray, octave: int) -> np.ndarray:
    """Return NLL, slope and curvature at each of `betas`, flat.

    Args:
        batch: Held-out logits.
        betas: 1 / temperatures, each twice the one `octave` places before it.
        octave: How many of them need exponentials: the others are squares.
    """
    ones = np.ones(batch.logits.shape[1])

    def work(below: np.ndarray, rows: slice) -> np.ndarray:
        true, weights = batch.true[rows], batch.weights[rows]
        sums = np.empty((3, len(betas)))
        e, scratch = np.empty_like(below), np.empty_like(below)
        for first in range(octave):
            np.multiply(below, betas[first], out=e)
            np.exp(e, out=e)
            for index in range(first, len(betas), octave):
                if index > first:
                    np.multiply(e, e, out=e)
                _, *columns = _likelihood(e, below, ones, betas[index], true, out=scratch)
                sums[:, index] = [weighted_sum(weights, column) for column in columns]
        return sums.reshape(-1)

    return batch.by_blocks(work, exponentials=octave)


def _likelihood(
    e: np.ndarray,
    below: np.ndarray,
    ones: np.ndarray,
    beta: float,
    true: np.ndarray,
    *,
    out: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return sum of e, NLL, and its first and second derivative by beta, of each row.

    Args:
        e: exp(beta * below), shape (rows, K).
        below: Logits minus the largest of their row.
        ones: K ones. As a product with them, a sum over the classes is several times as fast.
        beta: 1 / temperature.
        true: Logit of the label minus the largest.
        out: Array of the shape of `e` to write to; may be `e`.
    """
    total = e @ ones
    np.multiply(e, below, out=out)
    mean = out @ ones / total
    np.multiply(out, below, out=out)
    variance = np.maximum(out @ ones / total - mean * mean, 0.0)
    return total, np.log(total) - beta * true, mean - true, variance
