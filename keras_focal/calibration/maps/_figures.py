"""Figures of predictions in float64 on the host (docs/maths.md, section C)."""

from typing import NamedTuple

import numpy as np

from keras_focal._host import complement_of_top, equal_width_bins, log_softmax
from keras_focal.calibration.given import HeldOut
from keras_focal.calibration.temperature import Data
from keras_focal.functional.calibration._bootstrap import Resampled, resample, summands


class Figures(NamedTuple):
    """Weighted means over predictions."""

    nll: float
    ece: float
    ada_ece: float
    brier: float
    error: float


class Scored(NamedTuple):
    """What each prediction scores, shape (N,): four numbers, where the logits have K."""

    nll: np.ndarray
    brier: np.ndarray
    wrong: np.ndarray
    complement: np.ndarray

    @classmethod
    def of(cls, logits: np.ndarray, labels: np.ndarray) -> "Scored":
        log_p, rows = log_softmax(logits), np.arange(len(labels))
        p = np.exp(log_p)
        return cls(
            nll=-log_p[rows, labels],
            brier=(p * p).sum(axis=1) - 2 * p[rows, labels] + 1,
            wrong=(logits.argmax(axis=1) != labels).astype("float64"),
            complement=complement_of_top(logits),
        )

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


def figures(
    scored: Scored, logits: np.ndarray, labels: np.ndarray, weights: np.ndarray, bins: int
) -> Figures:
    """Return NLL, ECE, AdaECE, Brier score and error of logits, shape (N, K >= 2)."""
    reading = Data([HeldOut(logits, labels, weights)], bins).at(1.0)
    return Figures(
        nll=reading.nll,
        ece=reading.ece,
        ada_ece=_adaptive_error(
            scored.complement, weights * (scored.wrong - scored.complement), weights, bins
        ),
        brier=float(weights @ scored.brier / weights.sum()),
        error=float(weights @ scored.wrong / weights.sum()),
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
