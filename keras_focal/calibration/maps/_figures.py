"""Figures of predictions in float64 on the host (docs/maths.md, section C)."""

from typing import NamedTuple

import numpy as np

from keras_focal._host import complement_of_top, softmax
from keras_focal.calibration.given import HeldOut
from keras_focal.calibration.temperature import Data


class Figures(NamedTuple):
    """Weighted means over predictions."""

    nll: float
    ece: float
    ada_ece: float
    brier: float
    error: float


def figures(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray, bins: int) -> Figures:
    """Return NLL, ECE, AdaECE, Brier score and error of logits, shape (N, K >= 2)."""
    reading = Data([HeldOut(logits, labels, weights)], bins).at(1.0)
    p = softmax(logits)
    rows = np.arange(len(labels))
    squares = (p * p).sum(axis=1) - 2 * p[rows, labels] + 1
    complement, wrong = complement_of_top(logits), logits.argmax(axis=1) != labels
    return Figures(
        nll=reading.nll,
        ece=reading.ece,
        ada_ece=_adaptive_error(complement, weights * (wrong - complement), weights, bins),
        brier=float(weights @ squares / weights.sum()),
        error=float(weights @ wrong / weights.sum()),
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
