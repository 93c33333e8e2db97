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


class Steps(NamedTuple):
    """A step function: its edges, and one more logarithm of its values."""

    edges: np.ndarray
    logs: np.ndarray


class Bracket(NamedTuple):
    """log(1 - p0), whose steps are [a, b), and log p1, whose steps are (a, b]."""

    q0: Steps
    p1: Steps

    def merged(self, x: np.ndarray) -> np.ndarray:
        """Return the log-odds of p1 / (1 - p0 + p1)."""
        q0 = self.q0.logs[np.searchsorted(self.q0.edges, x, "right")]
        return self.p1.logs[np.searchsorted(self.p1.edges, x, "left")] - q0


def fit_venn_abers(sample: Sample, options: Options, guess: Any = None) -> Fitted:
    return _fit(sample, options, [np.ones(len(sample.labels), bool)])


def fit_cross_venn_abers(sample: Sample, options: Options, guess: Any = None) -> Fitted:
    return _fit(sample, options, [sample.folds == fold for fold in np.unique(sample.folds)])


def _fit(sample: Sample, options: Options, parts: list[np.ndarray]) -> Fitted:
    """Fit to each part of the sample alone; what they give is merged by geometric means."""
    classes, hits = targets_of(sample, smoothing=False)
    log_p, log_q = sample.log_probabilities
    log_odds = log_p - log_q
    brackets = []
    for k in classes:
        of_parts = [_bracket(log_odds[at, k], hits[at, k], sample.weights[at]) for at in parts]
        brackets.append(Bracket(*(_mean(list(each)) for each in zip(*of_parts, strict=True))))
    lower_edges, log_q0, upper_edges, log_p1 = (
        padded(tuple(part)) for part in zip(*((*b.q0, *b.p1) for b in brackets), strict=True)
    )
    return Fitted(
        apply=partial(_applied, brackets=brackets, classes=classes),
        arguments=(
            lower_edges.tolist(),
            (-np.expm1(log_q0)).tolist(),
            upper_edges.tolist(),
            np.exp(log_p1).tolist(),
        ),
        num_parameters=sum(len(steps.logs) for bracket in brackets for steps in bracket),
        options=options,
    )


def _applied(logits: np.ndarray, brackets: list[Bracket], classes: range) -> np.ndarray:
    log_p, log_q = log_probabilities(logits)
    return joined(
        [brackets[i].merged(log_p[:, k] - log_q[:, k]) for i, k in enumerate(classes)]
    )


def _bracket(x: np.ndarray, hits: np.ndarray, weights: np.ndarray) -> Bracket:
    """Return the bracket of one class by its log-odds."""
    edges, place = np.unique(x, return_inverse=True)
    weight = np.bincount(place, weights, len(edges))
    hit = np.bincount(place, weights * hits, len(edges))
    q0 = _one_more_hit(weight[::-1], (weight - hit)[::-1])[::-1]
    return Bracket(*(_steps(edges, np.log(each)) for each in (q0, _one_more_hit(weight, hit))))


def _steps(edges: np.ndarray, logs: np.ndarray) -> Steps:
    """Return a step function without the edges at which nothing steps, but for one."""
    is_step = logs[1:] != logs[:-1]
    is_step[0] |= not is_step.any()
    return Steps(edges[is_step], logs[np.append(True, is_step)])


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
    """Return the mean of step functions: the logarithm of a geometric mean."""
    if len(parts) == 1:
        return parts[0]
    edges = np.unique(np.concatenate([part.edges for part in parts]))
    # Above an edge, or below all: the side on which it closes does not matter there.
    logs = np.zeros(len(edges) + 1)
    for part in parts:
        logs += part.logs[np.append(0, np.searchsorted(part.edges, edges, "right"))]
    return _steps(edges, logs / len(parts))
