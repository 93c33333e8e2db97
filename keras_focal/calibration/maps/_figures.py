"""Figures of predictions in float64 on the host (docs/maths.md, section C), read block by block."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from keras_focal._host import equal_width_bins
from keras_focal.functional.calibration._bootstrap import Resampled, resample, summands

_BLOCK = 2**17
"""Numbers in a block: what is made of it stays near the processor."""


def row_blocks(logits: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the rows of a block and their logits in float64, which may be kept."""
    size = max(1, _BLOCK // logits.shape[1])
    for start in range(0, len(logits), size):
        rows = slice(start, start + size)
        yield rows, logits[rows].astype("float64")


class Scored(NamedTuple):
    """What each prediction scores, shape (N,): four numbers, where the logits have K.

    Attributes:
        nll: -log p of the label.
        brier: Brier score.
        wrong: 1 where the top class is not the label, else 0.
        complement: 1 - confidence.
    """

    nll: np.ndarray
    brier: np.ndarray
    wrong: np.ndarray
    complement: np.ndarray

    @classmethod
    def of(
        cls,
        logits: np.ndarray,
        labels: np.ndarray,
        apply: Callable[[np.ndarray], np.ndarray] = lambda logits: logits,
    ) -> "Scored":
        """Return the scores of logits, shape (N, K >= 2), to which a map is applied."""
        found = cls._empty(len(labels))
        for rows, block in row_blocks(logits):
            z = apply(block)
            every, label, top = np.arange(len(z)), labels[rows], z.argmax(axis=1)
            below = z - z[every, top][:, None]
            e = np.exp(below)
            of_label = e[every, label]
            squares = np.einsum("nk,nk->n", e, e)
            e[every, top] = 0.0
            rest = e.sum(axis=1)
            total = 1.0 + rest
            found.nll[rows] = np.log1p(rest) - below[every, label]
            found.brier[rows] = squares / total**2 - 2 * of_label / total + 1
            found.wrong[rows] = top != label
            found.complement[rows] = rest / total
        return found

    @classmethod
    def joined(cls, parts: list[tuple[np.ndarray, "Scored"]]) -> "Scored":
        """Return the scores of parts, each with which rows it has."""
        found = cls._empty(len(parts[0][0]))
        for rows, part in parts:
            for whole, own in zip(found, part, strict=True):
                whole[rows] = own
        return found

    def resampled(self, weights: np.ndarray, bins: int, num_draws: int, seed: int) -> Resampled:
        """Return sums over bootstrap draws of the predictions."""
        values = summands(
            weights,
            self.nll,
            self.brier,
            self.wrong,
            self.wrong - self.complement,
            equal_width_bins(1 - self.complement, bins),
            bins,
        )
        return resample(values, np.arange(len(values)), np.random.default_rng(seed), num_draws)

    @classmethod
    def _empty(cls, size: int) -> "Scored":
        return cls(np.empty(size), np.empty(size), np.empty(size), np.empty(size))


class Figures(NamedTuple):
    """Weighted means over predictions."""

    nll: float
    ece: float
    ada_ece: float
    brier: float
    error: float


def figures(scored: Scored, weights: np.ndarray, bins: int) -> Figures:
    """Return NLL, ECE, AdaECE, Brier score and error."""
    total, confidence = weights.sum(), 1 - scored.complement
    gap = weights * (scored.wrong - scored.complement)
    bin_gaps = np.bincount(equal_width_bins(confidence, bins), gap, bins)
    return Figures(
        nll=float(weights @ scored.nll / total),
        ece=float(np.abs(bin_gaps).sum() / total),
        ada_ece=_adaptive_error(scored.complement, gap, weights, bins),
        brier=float(weights @ scored.brier / total),
        error=float(weights @ scored.wrong / total),
    )


def _adaptive_error(
    complement: np.ndarray, gap: np.ndarray, weights: np.ndarray, bins: int
) -> float:
    """Return C4: the gaps of equal parts of the weight; ties are divided in proportion."""
    order = np.argsort(complement, kind="stable")
    complement, gap, weights = complement[order], gap[order].cumsum(), weights[order].cumsum()
    last = np.append(complement[1:] > complement[:-1], True)
    mass, gap = np.append(0.0, weights[last]), np.append(0.0, gap[last])
    cuts = np.interp(np.linspace(0.0, mass[-1], bins + 1), mass, gap)
    return float(np.abs(np.diff(cuts)).sum() / mass[-1])
