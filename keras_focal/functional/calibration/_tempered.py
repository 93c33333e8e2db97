"""NLL at several temperatures at once, and the least between them: docs/maths.md, T2 and T3."""

import math
from typing import NamedTuple

import numpy as np
from keras import ops

from keras_focal._typing import Tensor
from keras_focal.functional._backend.operations import polynomial
from keras_focal.functional._inputs.class_labels import are_rows
from keras_focal.functional._inputs.entries import Entries
from keras_focal.functional._inputs.probabilities import first_largest
from keras_focal.functional._stable.margin import LARGEST_GAP, chosen_class
from keras_focal.functional.calibration._scores import class_logits, class_targets
from keras_focal.functional.calibration._sums import block_sum

FAR = 120.0
"""exp of minus this is 0 in float32."""

MOST = 2**23
"""Numbers that are held at once: with more, the temperatures are taken one after another."""

_UNKNOWN = 128
"""What an unknown number of samples counts as."""


class Standing(NamedTuple):
    """Predictions relative to their largest logit, all that NLL at a temperature depends on.

    Attributes:
        behind: Largest logit minus logit, shape (n, K), at most `FAR` times the largest
            temperature; that for the top class, which is left out of sums.
        cost: Mean of the largest logit minus logit over the targets, shape (n,).
        mass: Sum of the targets, shape (n,): 1 for a class id.
    """

    behind: Tensor
    cost: Tensor
    mass: Tensor


def standing_of(entries: Entries, least_beta: float, *, from_logits: bool) -> Standing:
    """Return what NLL at a temperature depends on; `cost` is NaN for an invalid entry."""
    logits = class_logits(entries.predictions, from_logits=from_logits)
    num_classes = logits.shape[-1]
    top, largest = first_largest(logits)
    behind = ops.expand_dims(largest, -1) - logits
    if are_rows(entries.labels, entries.predictions.shape):
        targets = ops.cast(class_targets(entries.labels, entries.predictions.shape), logits.dtype)
        mass = ops.sum(targets, axis=-1)
        costs = targets * ops.minimum(behind, LARGEST_GAP)
    else:
        is_true = chosen_class(entries.ids, num_classes)
        mass = ops.sum(ops.cast(is_true, logits.dtype), axis=-1)
        costs = ops.where(is_true, ops.minimum(behind, LARGEST_GAP), 0.0)
    # An id that is no class has no cost; inf - inf, of a row without a largest logit, is NaN.
    is_valid = ops.logical_and(entries.ids >= 0, ops.isfinite(ops.min(behind, axis=-1)))
    cost = ops.where(is_valid, ops.sum(costs, axis=-1), float("nan"))
    far = FAR / least_beta
    behind = ops.where(chosen_class(top, num_classes), far, ops.minimum(behind, far))
    parts = (ops.reshape(behind, (-1, num_classes)), *(ops.reshape(x, (-1,)) for x in (cost, mass)))
    return Standing(*(ops.cast(part, "float32") for part in parts))


def tempered_sums(standing: Standing, weights: Tensor, betas: np.ndarray) -> Tensor:
    """Return what predictions add up to at fixed temperatures, shape (2 + 3 len(betas),).

    Args:
        standing: Valid predictions.
        weights: Float32 tensor, shape (n,).
        betas: 1 / temperatures, the least first.

    Returns:
        Weight of the predictions, weight of those that no temperature near 0 makes certain and
        right, then NLL, slope and curvature by beta at each of `betas`.
    """
    behind, cost, mass = standing

    def at(betas: Tensor) -> Tensor:
        beta = ops.expand_dims(betas, -1)
        shares = ops.exp(-ops.expand_dims(beta, -1) * behind)
        rest = ops.sum(shares, axis=-1)
        shares = shares * behind
        mean = ops.sum(shares, axis=-1) / (1.0 + rest)
        square = ops.sum(shares * behind, axis=-1) / (1.0 + rest)
        nll = mass * ops.log1p(rest) + beta * cost
        curvature = mass * ops.maximum(square - mean * mean, 0.0)
        return block_sum(weights * ops.stack([nll, cost - mass * mean, curvature]))

    size = math.prod(_UNKNOWN if part is None else part for part in behind.shape)
    temperatures = ops.convert_to_tensor(betas.astype("float32"))
    if size * len(betas) <= MOST:
        sums = at(temperatures)
    else:
        sums = ops.transpose(ops.map(lambda beta: at(beta)[:, 0], temperatures[:, None]))
    counts = [weights, ops.where(cost > 0, weights, 0.0)]
    return ops.concatenate([block_sum(ops.stack(counts)), ops.reshape(sums, (-1,))])


def least_tempered(sums: Tensor, betas: np.ndarray, bounds: tuple[float, float]) -> Tensor:
    """Return the mean NLL at the best temperature within bounds, a scalar; 0 of no predictions.

    Between two of `betas` NLL is taken as the polynomial of degree 5 in log beta that has its
    value, slope and curvature at both. With four of them an octave, that is exact in float32.

    Args:
        sums: Those of `tempered_sums`.
        betas: Their 1 / temperatures, evenly spaced on a log scale, beyond the bounds.
        bounds: Least and greatest temperature.
    """
    places = np.log(betas)
    step = float(places[1] - places[0])
    ends = [(-math.log(bound) - places[0]) / step for bound in reversed(bounds)]
    means = ops.reshape(ops.divide_no_nan(sums[2:], sums[0]), (3, len(betas)))
    nll, slope, curvature = (means[i] for i in range(3))
    beta = ops.convert_to_tensor(betas.astype("float32"))
    first = step * beta * slope
    second = step * (first + step * beta * beta * curvature)
    start = ops.sum(ops.cast(first <= 0, "int32")) - 1
    start = ops.clip(start, *(math.floor(end) for end in ends))
    f0, f1 = (ops.take(nll, start + i) for i in (0, 1))
    p0, p1 = (ops.take(first, start + i) for i in (0, 1))
    q0, q1 = (ops.take(second, start + i) for i in (0, 1))
    rise = f1 - f0
    series = (
        p0,
        q0 / 2,
        10 * rise - 6 * p0 - 4 * p1 - 1.5 * q0 + 0.5 * q1,
        -15 * rise + 8 * p0 + 7 * p1 + 1.5 * q0 - q1,
        6 * rise - 3 * (p0 + p1) - 0.5 * (q0 - q1),
    )
    low, high = (ops.clip(end - ops.cast(start, nll.dtype), 0.0, 1.0) for end in ends)
    x = ops.where(p1 <= 0, 1.0, ops.divide_no_nan(p0, p0 - p1))
    x = ops.clip(ops.where(p0 >= 0, 0.0, x), low, high)
    for _ in range(4):
        slope = polynomial([(i + 1) * c for i, c in enumerate(series)], x)
        curvature = polynomial([(i + 2) * (i + 1) * c for i, c in enumerate(series[1:])], x)
        newton = ops.where(curvature > 0, ops.divide_no_nan(slope, curvature), 0.0)
        x = ops.clip(x - newton, low, high)
    return f0 + x * polynomial(series, x)
