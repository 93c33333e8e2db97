"""Venn-Abers calibration: what isotonic regression gives to one more prediction of each label.

With cumulative sums W and H of the weights and of the hits by log-odds, one more hit of weight 1
between the predictions a and a + 1 gets (docs/maths.md, Q13)

    p1(a) = max over i <= a of min over j > i of (H_j - H_i + 1) / (W_j - W_i + 1).

p0 is 1 - p1 of the opposite labels on the reversed axis, where 1 - p0 keeps its digits.
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from keras_focal._host import log_probabilities
from keras_focal.calibration.maps._one_vs_rest import joined, padded, targets_of
from keras_focal.calibration.maps._sample import Fitted, Options, Sample

NEAR = 2.0**-19
"""Log-odds that differ by this share, or by this where they are below 1, count as tied: a layer in
float32 must find a prediction of the fit at its own step."""

MOST_STEPS = 2**22
"""Steps of all classes that a layer may hold: those of 20,000 predictions of 100 classes."""


class Steps(NamedTuple):
    """log(1 - p0) and log p1 of the log-odds: step functions of pieces (a, b] between edges."""

    edges: np.ndarray
    log_q0: np.ndarray
    log_p1: np.ndarray

    def at(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return both at log-odds."""
        place = np.searchsorted(self.edges, x)
        return self.log_q0[place], self.log_p1[place]

    def merged(self, x: np.ndarray) -> np.ndarray:
        """Return the log-odds of p1 / (1 - p0 + p1)."""
        log_q0, log_p1 = self.at(x)
        return log_p1 - log_q0

    def compact(self) -> "Steps":
        """Return the same without edges at which nothing steps, but for one."""
        is_step = (np.diff(self.log_q0) != 0) | (np.diff(self.log_p1) != 0)
        is_step[0] |= not is_step.any()
        kept = np.append(True, is_step)
        return Steps(self.edges[is_step], self.log_q0[kept], self.log_p1[kept])


def fit_venn_abers(sample: Sample, options: Options, guess: Any = None) -> Fitted:
    return _fit(sample, options, [np.ones(len(sample.labels), bool)])


def fit_cross_venn_abers(sample: Sample, options: Options, guess: Any = None) -> Fitted:
    return _fit(sample, options, [sample.folds == fold for fold in np.unique(sample.folds)])


def _fit(sample: Sample, options: Options, parts: list[np.ndarray]) -> Fitted:
    """Fit to each part of the sample alone; what they give is merged by geometric means."""
    classes, hits = targets_of(sample, smoothing=False)
    log_p, log_q = sample.log_probabilities
    log_odds = log_p - log_q
    steps: list[Steps] = []
    for k in classes:
        of_parts = [_steps(log_odds[at, k], hits[at, k], sample.weights[at]) for at in parts]
        steps.append(_mean(of_parts))
        _check_size(len(classes) * max(len(each.edges) for each in steps))
    edges, log_q0, log_p1 = (padded(part) for part in zip(*steps, strict=True))
    return Fitted(
        apply=partial(_applied, steps=steps, classes=classes),
        arguments=(edges.tolist(), (-np.expm1(log_q0)).tolist(), np.exp(log_p1).tolist()),
        num_parameters=sum(2 * len(each.log_p1) for each in steps),
        options=options,
    )


def _check_size(size: int) -> None:
    """Raise where the table of all classes would be larger than a layer should hold."""
    if size > MOST_STEPS:
        raise ValueError(
            "`method` must be another one for so many predictions of so many classes. Received: a "
            f"Venn-Abers map, whose table has {size:,} steps or more, over {MOST_STEPS:,}. Fit it "
            "to fewer held-out predictions."
        )


def _applied(logits: np.ndarray, steps: list[Steps], classes: range) -> np.ndarray:
    log_p, log_q = log_probabilities(logits)
    return joined([steps[i].merged(log_p[:, k] - log_q[:, k]) for i, k in enumerate(classes)])


def _steps(x: np.ndarray, hits: np.ndarray, weights: np.ndarray) -> Steps:
    """Return the step functions of one class by its log-odds."""
    knots, place = np.unique(x, return_inverse=True)
    weight = np.bincount(place, weights, len(knots))
    hit = np.bincount(place, weights * hits, len(knots))
    q0 = _one_more_hit(weight[::-1], (weight - hit)[::-1])[::-1]
    p1 = _one_more_hit(weight, hit)
    # A tie has the p0 of what lies above it, and the p1 of what lies below.
    near = NEAR * np.maximum(np.abs(knots), 1.0)
    half = np.diff(knots) / 2
    edges = np.empty(2 * len(knots))
    edges[::2] = knots - np.minimum(near, np.append(np.inf, half))
    edges[1::2] = knots + np.minimum(near, np.append(half, np.inf))
    piece = np.arange(len(edges) + 1)
    return Steps(edges, np.log(q0[(piece + 1) // 2]), np.log(p1[piece // 2])).compact()


def _one_more_hit(weight: np.ndarray, hit: np.ndarray) -> np.ndarray:
    """Return p1 of a prediction below the first log-odds, ..., above the last, shape (M + 1,)."""
    w, h = (np.append(0.0, np.cumsum(each)) for each in (weight, hit))
    # The least slope from below leads to the end of a run without hits: what follows has some,
    # and what came before it was not of hits alone.
    is_end = np.append(hit[1:] > 0, True) & (hit < weight)
    is_end[-1] = True
    ends = np.flatnonzero(is_end) + 1
    following = _lower_hull(w[ends].tolist(), h[ends].tolist())
    at = np.searchsorted(ends, np.arange(1, len(w)))
    from_w, from_h = w[:-1] - 1, h[:-1] - 1

    def slopes(rows: np.ndarray, to: np.ndarray) -> np.ndarray:
        return (h[ends[to]] - from_h[rows]) / (w[ends[to]] - from_w[rows])

    rows = np.arange(len(at))
    least = slopes(rows, at)
    # Along a lower hull slopes fall and then rise.
    while len(rows := rows[following[at[rows]] > at[rows]]):
        onward = following[at[rows]]
        found = slopes(rows, onward)
        is_less = found <= least[rows]
        rows = rows[is_less]
        at[rows], least[rows] = onward[is_less], found[is_less]
    return np.minimum(np.maximum.accumulate(np.append(least, 1.0)), 1.0)


def _lower_hull(w: list[float], h: list[float]) -> np.ndarray:
    """Return which point follows each on the lower hull of it and all after it; of the last, it."""
    last = len(w) - 1
    following = [last] * len(w)
    for i in range(last - 1, -1, -1):
        j = i + 1
        while j < last:
            k = following[j]
            if (h[j] - h[i]) * (w[k] - w[i]) < (h[k] - h[i]) * (w[j] - w[i]):
                break
            j = k
        following[i] = j
    return np.array(following)


def _mean(parts: list[Steps]) -> Steps:
    """Return the mean of step functions: geometric means of 1 - p0 and of p1."""
    if len(parts) == 1:
        return parts[0]
    edges = np.unique(np.concatenate([part.edges for part in parts]))
    # Each piece ends at its edge, and the last one nowhere.
    ends = np.append(edges, np.inf)
    log_q0, log_p1 = np.mean([part.at(ends) for part in parts], axis=0)
    return Steps(edges, log_q0, log_p1).compact()
