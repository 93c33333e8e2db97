"""The posterior map of a focal loss after a temperature, with its derivatives, on the host.

log h(q) = log q - gamma log(1 - q) - log(1 + gamma w), w = -q log q / (1 - q), q = softmax(beta z),
and the calibrated probabilities are h(q) / sum h(q) (docs/maths.md, P4).
"""

from functools import partial
from typing import NamedTuple

import numpy as np

from keras_focal.calibration.given import HeldOut
from keras_focal.calibration.temperature._sums import gaps_of


def focal_temperature_map(logits: np.ndarray, temperature: float, gamma: float) -> np.ndarray:
    """Return calibrated logits, shape (N, K >= 2): 0 of the top class, in float64."""
    below = logits - logits.max(axis=1, keepdims=True)
    return _relative_to_top(below, 1.0 / temperature, gamma).value


class _Top(NamedTuple):
    """What log h of the top class of each row needs, shape (rows, 1).

    Attributes:
        log_rest: log of the sum of exp(beta z) over the others, relative to the top.
        slope: Its derivative by beta: the mean of the others, relative to the top.
        curvature: Its second derivative.
        log_total: log(1 + rest).
        complement: 1 - q.
    """

    log_rest: np.ndarray
    slope: np.ndarray
    curvature: np.ndarray
    log_total: np.ndarray
    complement: np.ndarray


class _Map(NamedTuple):
    """log h and its derivatives by beta and gamma."""

    value: np.ndarray
    by_beta: np.ndarray
    by_gamma: np.ndarray
    beta_beta: np.ndarray
    beta_gamma: np.ndarray
    gamma_gamma: np.ndarray


def derivatives(batch: HeldOut, beta: float, gamma: float) -> np.ndarray:
    """Return the weighted sums of NLL and its derivatives b, g, bb, bg, gg."""

    def work(below: np.ndarray, rows: slice) -> np.ndarray:
        terms = _relative_to_top(below, beta, gamma)
        p = np.exp(terms.value)
        total = p.sum(axis=1)
        p /= total[:, None]
        label = batch.labels[rows, None]

        def mean(x: np.ndarray) -> np.ndarray:
            return np.einsum("nk,nk->n", p, x)

        def excess(x: np.ndarray) -> np.ndarray:
            return mean(x) - np.take_along_axis(x, label, axis=1)[:, 0]

        b, g = terms.by_beta, terms.by_gamma
        mean_b, mean_g = mean(b), mean(g)
        columns = (
            np.log(total) - np.take_along_axis(terms.value, label, axis=1)[:, 0],
            excess(b),
            excess(g),
            excess(terms.beta_beta) + mean(b * b) - mean_b * mean_b,
            excess(terms.beta_gamma) + mean(b * g) - mean_b * mean_g,
            excess(terms.gamma_gamma) + mean(g * g) - mean_g * mean_g,
        )
        return np.array([batch.weights[rows] @ column for column in columns])

    return batch.by_blocks(work, exponentials=4)


def focal_gaps(batch: HeldOut, beta: float, gamma: float, num_bins: int) -> np.ndarray:
    """Return the gap of each bin of the calibrated confidence."""

    def work(below: np.ndarray, rows: slice) -> np.ndarray:
        total = np.exp(_relative_to_top(below, beta, gamma).value).sum(axis=1)
        return gaps_of(batch, total[None], rows, num_bins)

    return batch.by_blocks(work, exponentials=4)


def _relative_to_top(below: np.ndarray, beta: float, gamma: float) -> _Map:
    """Return log h of each class less that of the top class, 0 at the top, shape (rows, K).

    `below`, logits minus the largest of their row, is overwritten.
    """
    top = below.argmax(axis=1)[:, None]
    set_top = partial(np.put_along_axis, indices=top, axis=1)
    set_top(below, values=-np.inf)
    second = below.max(axis=1, keepdims=True)
    set_top(below, values=0.0)
    under = below - second
    set_top(under, values=0.0)
    e = np.exp(beta * under)
    set_top(e, values=0.0)
    rest = e.sum(axis=1, keepdims=True)
    mean = (e * under).sum(axis=1, keepdims=True) / rest
    curvature = (e * under * under).sum(axis=1, keepdims=True) / rest - mean * mean
    log_rest = beta * second + np.log(rest)
    e *= np.exp(beta * second)
    rest = np.exp(log_rest)
    of_row = _Top(log_rest, second + mean, curvature, np.log1p(rest), rest / (1.0 + rest))
    of_top = _top_map(of_row, rest, gamma)
    others = _other_map(below, e, of_row, beta, gamma)
    for part, part_of_top in zip(others, of_top, strict=True):
        np.subtract(part, part_of_top, out=part)
        set_top(part, values=0.0)
    return others


def _top_map(row: _Top, rest: np.ndarray, gamma: float) -> _Map:
    """Return log h of the top class: by log of the rest, which stays finite where 1 - q is 0."""
    log_rest, slope, curvature, log_total, complement = row
    # w as a function of log rest, and its two derivatives; 1, 0 and 0 where there is no rest.
    w = np.where(rest > 0, log_total / np.where(rest > 0, rest, 1.0), 1.0)
    w1 = 1.0 / (1.0 + rest) - w
    w2 = -complement * (1.0 - complement) - w1
    k = 1.0 / (1.0 + gamma * w)
    bend = complement * (1.0 - complement) * slope * slope + complement * curvature
    return _Map(
        (gamma - 1.0) * log_total - gamma * log_rest + np.log(k),
        (gamma - 1.0) * complement * slope - gamma * slope - gamma * w1 * slope * k,
        log_total - log_rest - w * k,
        (gamma - 1.0) * bend
        - gamma * curvature
        - gamma * ((w2 * slope * slope + w1 * curvature) * k - gamma * (w1 * slope * k) ** 2),
        complement * slope - slope - w1 * slope * k * k,
        (w * k) ** 2,
    )


def _other_map(below: np.ndarray, e: np.ndarray, row: _Top, beta: float, gamma: float) -> _Map:
    """Return log h of the classes with q <= 1/2 from e = exp(beta below); nothing at the top."""
    total = 1.0 + np.exp(row.log_rest)
    q, odds = e / total, e / (total - e)
    log_q = beta * below - row.log_total
    # By log q: d q = q, d odds = odds (1 + odds), and so on.
    odds1 = odds * (1.0 + odds)
    w = -odds * log_q
    w1 = w * (1.0 + odds) - odds
    w2 = w1 * (1.0 + odds) + w * odds1 - odds1
    k = 1.0 / (1.0 + gamma * w)
    log_complement = np.log1p(-q)
    slope = 1.0 + gamma * odds - gamma * w1 * k
    bend = gamma * odds1 - gamma * (w2 * k - gamma * (w1 * k) ** 2)
    by_beta = below - row.complement * row.slope
    bend_of_row = (
        row.complement * (1.0 - row.complement) * row.slope**2 + row.complement * row.curvature
    )
    return _Map(
        log_q - gamma * log_complement + np.log(k),
        slope * by_beta,
        -log_complement - w * k,
        bend * by_beta * by_beta - slope * bend_of_row,
        (odds - w1 * k * k) * by_beta,
        (w * k) ** 2,
    )
