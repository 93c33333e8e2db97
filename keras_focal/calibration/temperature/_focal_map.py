"""The posterior map of a focal loss after a temperature, with its derivatives, on the host.

log h(q) = log q - gamma log(1 - q) - log(1 + gamma w), w = -q log q / (1 - q), q = softmax(beta z),
and the calibrated probabilities are h(q) / sum h(q) (docs/maths.md, P4).
"""

from typing import NamedTuple

import numpy as np

from keras_focal._host import weighted_sum
from keras_focal.calibration.given import LOWEST, HeldOut
from keras_focal.calibration.temperature._gaps import gaps_of

_BLOCK = 2**17
"""Numbers in a block: more of them, in some ten arrays, would not stay near the processor."""


def focal_temperature_map(logits: np.ndarray, temperature: float, gamma: float) -> np.ndarray:
    """Return calibrated logits, shape (N, K >= 2): 0 of the top class, in float64."""
    value = np.empty(logits.shape)
    size = max(1, _BLOCK // logits.shape[1])
    for start in range(0, len(logits), size):
        block = logits[start : start + size].astype("float64")
        top, rows = block.argmax(axis=1), np.arange(len(block))
        block -= block[rows, top][:, None]
        at = _Place.of(block, top, 1.0 / temperature, gamma)
        of_block = value[start : start + size]
        np.multiply(at.log_rest, -gamma, out=of_block)
        of_block += at.log_q
        of_block -= np.log(at.spread)
        of_block -= at.top.value[:, None]
        of_block[rows, top] = 0.0
    return value


class _Map(NamedTuple):
    """log h and its derivatives by beta and gamma."""

    value: np.ndarray
    by_beta: np.ndarray
    by_gamma: np.ndarray
    beta_beta: np.ndarray
    beta_gamma: np.ndarray
    gamma_gamma: np.ndarray


class _Place(NamedTuple):
    """What log h is made of at some beta and gamma: of other classes than the top, and of the top.

    Attributes:
        log_q: log q, shape (rows, K). At the top this and the following are those of the second.
        log_rest: log(1 - q).
        inverse: 1 / (1 - q).
        odds: q / (1 - q).
        w: -q log q / (1 - q).
        spread: 1 + gamma w.
        top: log h of the top class, and its derivatives.
        mean: Mean of z under q, relative to the top, shape (rows,).
        variance: Its derivative by beta.
    """

    log_q: np.ndarray
    log_rest: np.ndarray
    inverse: np.ndarray
    odds: np.ndarray
    w: np.ndarray
    spread: np.ndarray
    top: _Map
    mean: np.ndarray
    variance: np.ndarray

    @classmethod
    def of(cls, below: np.ndarray, top: np.ndarray, beta: float, gamma: float) -> "_Place":
        """Return the place; the largest of each row of `below` becomes the second."""
        rows, ones = np.arange(len(below)), np.ones(below.shape[1], below.dtype)
        below[rows, top] = -np.inf
        second = below.max(axis=1)
        below[rows, top] = second
        under = below - second[:, None]
        q = np.multiply(under, beta)
        np.exp(q, out=q)
        q[rows, top] = 0.0
        second, rest = second.astype("float64"), (q @ ones).astype("float64")
        moment = under * q
        slope = (moment @ ones) / rest
        curvature = np.einsum("nk,nk->n", moment, under) / rest - slope * slope
        slope += second
        log_rest = beta * second + np.log(rest)
        rest = np.exp(log_rest)
        log_total, complement = np.log1p(rest), rest / (1.0 + rest)
        of_top = _top_map(rest, log_rest, log_total, complement, slope, curvature, gamma)
        q *= _column(np.exp(beta * second - log_total), q)
        log_q = np.multiply(below, beta, out=under)
        log_q -= _column(log_total, q)
        others = np.subtract(1.0, q, out=moment)
        inverse = np.reciprocal(others)
        odds = np.multiply(q, inverse, out=q)
        w = odds * log_q
        np.negative(w, out=w)
        mean = complement * slope
        variance = (complement - complement * complement) * slope * slope + complement * curvature
        log_others = np.log(others, out=others)
        spread = w * gamma
        spread += 1.0
        return cls(log_q, log_others, inverse, odds, w, spread, of_top, mean, variance)

    def relative(self, top: np.ndarray, gamma: float) -> np.ndarray:
        """Return h of each class, divided by that of the top class; 0 at the top."""
        p = self.log_rest * -gamma
        p += self.log_q
        p -= _column(self.top.value, p)
        np.exp(p, out=p)
        p /= self.spread
        p[np.arange(len(p)), top] = 0.0
        return p


def derivatives(
    batch: HeldOut,
    beta: float,
    gamma: float,
    *,
    order: int = 2,
    rough: bool = False,
    every: int = 1,
) -> np.ndarray:
    """Return the weighted sums of NLL and its derivatives b, g, and of order 2 bb, bg, gg.

    Args:
        batch: Held-out logits.
        beta: 1 / temperature.
        gamma: Gamma of the map.
        order: Of the last derivatives, 1 or 2.
        rough: Whether the terms of a class may have the roundings of float32.
        every: Only every so many rows are read.
    """

    def work(below: np.ndarray, rows: slice) -> np.ndarray:
        if rough:
            np.maximum(below, LOWEST, out=below)
        top = batch.top[rows]
        at = _Place.of(below, top, beta, gamma)
        sums = _Sums(at, below, top, batch.labels[rows], gamma)
        columns = sums.first() if order == 1 else sums.first() + sums.second()
        return np.array([weighted_sum(batch.weights[rows], column) for column in columns])

    dtype = "float32" if rough else "float64"
    return batch.by_blocks(work, dtype, exponentials=4, numbers=_BLOCK, every=every)


class _Sums:
    """NLL of the rows of a block, and its derivatives: means under p less the terms of the label.

    By log q the derivative of q is q, that of the odds is odds (1 + odds), and so on.
    """

    def __init__(
        self, at: _Place, below: np.ndarray, top: np.ndarray, labels: np.ndarray, gamma: float
    ):
        self.at, self.gamma, self.labels = at, gamma, labels
        self.is_top = top == labels
        self.p = at.relative(top, gamma)
        self.total = 1.0 + self.p.sum(axis=1, dtype="float64")
        self.p /= _column(self.total, self.p)
        self.from_mean = np.subtract(below, _column(at.mean, self.p), out=below)
        self.moved = self.p * self.from_mean
        self.w1k = at.w * at.inverse
        self.w1k -= at.odds
        self.w1k /= at.spread
        self.slope = at.odds - self.w1k
        self.slope *= gamma
        self.slope += 1.0
        self.wk = at.w / at.spread
        self.by_gamma = at.log_rest + self.wk
        np.negative(self.by_gamma, out=self.by_gamma)
        # Relative to the top, where a term is 0: the sum over the others less theirs at the top.
        self.others = 1.0 - 1.0 / self.total
        self.sum_b = _over(self.moved, self.slope)
        self.sum_g = _over(self.p, self.by_gamma)
        self.mean_b = self.sum_b - at.top.by_beta * self.others
        self.mean_g = self.sum_g - at.top.by_gamma * self.others

    def _of_label(self, x: np.ndarray) -> np.ndarray:
        return x[np.arange(len(x)), self.labels].astype("float64")

    def _relative(self, own: np.ndarray, top: np.ndarray) -> np.ndarray:
        """Return terms of the label less those of the top."""
        return np.where(self.is_top, 0.0, own - top)

    def first(self) -> tuple[np.ndarray, ...]:
        """Return NLL and its derivatives by beta and gamma, each of shape (rows,)."""
        at, label = self.at, self._of_label
        value = label(at.log_q) - self.gamma * label(at.log_rest) - np.log(label(at.spread))
        by_beta = label(self.slope) * label(self.from_mean)
        return (
            np.log(self.total) - self._relative(value, at.top.value),
            self.mean_b - self._relative(by_beta, at.top.by_beta),
            self.mean_g - self._relative(label(self.by_gamma), at.top.by_gamma),
        )

    def second(self) -> tuple[np.ndarray, ...]:
        """Return the second derivatives bb, bg and gg; ends what the first ones need."""
        at, label, top, others = self.at, self._of_label, self.at.top, self.others
        odds1 = at.odds * at.inverse
        bend = self.w1k * at.spread
        bend *= at.inverse
        bend += odds1 * (at.w - 1.0)
        bend /= at.spread
        mixed = self.w1k / at.spread
        self.w1k *= self.w1k
        self.w1k *= self.gamma
        np.subtract(self.w1k, bend, out=bend)
        bend += odds1
        bend *= self.gamma
        np.subtract(at.odds, mixed, out=mixed)
        slope, distance = label(self.slope), label(self.from_mean)
        own_bb = label(bend) * distance * distance - slope * at.variance
        own_bg, own_gg = label(mixed) * distance, label(self.wk) ** 2
        sum_slope = _over(self.p, self.slope)
        # Each with the product of first derivatives, whose mean is a part of it.
        mixed += self.slope * self.by_gamma
        sum_bg = _over(self.moved, mixed)
        self.slope *= self.slope
        self.slope += bend
        self.slope *= self.moved
        sum_bb = _over(self.slope, self.from_mean) - at.variance * sum_slope
        self.by_gamma *= self.by_gamma
        self.wk *= self.wk
        self.by_gamma += self.wk
        sum_gg = _over(self.p, self.by_gamma)
        mean_bb = sum_bb - top.by_beta * (self.sum_b + self.mean_b) - top.beta_beta * others
        mean_bg = sum_bg - top.by_beta * self.sum_g - top.by_gamma * self.mean_b
        mean_gg = sum_gg - top.by_gamma * (self.sum_g + self.mean_g) - top.gamma_gamma * others
        return (
            mean_bb - self.mean_b**2 - self._relative(own_bb, top.beta_beta),
            mean_bg
            - top.beta_gamma * others
            - self.mean_b * self.mean_g
            - self._relative(own_bg, top.beta_gamma),
            mean_gg - self.mean_g**2 - self._relative(own_gg, top.gamma_gamma),
        )


def _over(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the sum over the classes of a product, float64."""
    return np.einsum("nk,nk->n", x, y).astype("float64")


def _column(of_row: np.ndarray, like: np.ndarray) -> np.ndarray:
    return of_row.astype(like.dtype)[:, None]


def focal_gaps(batch: HeldOut, beta: float, gamma: float, num_bins: int) -> np.ndarray:
    """Return the gap of each bin of the calibrated confidence."""

    def work(below: np.ndarray, rows: slice) -> np.ndarray:
        top = batch.top[rows]
        total = 1.0 + _Place.of(below, top, beta, gamma).relative(top, gamma).sum(axis=1)
        return gaps_of(batch, total, rows, num_bins)

    return batch.by_blocks(work, exponentials=4, numbers=_BLOCK)


def _top_map(
    rest: np.ndarray,
    log_rest: np.ndarray,
    log_total: np.ndarray,
    complement: np.ndarray,
    slope: np.ndarray,
    curvature: np.ndarray,
    gamma: float,
) -> _Map:
    """Return log h of the top class: by log of the rest, which stays finite where 1 - q is 0.

    Args:
        rest: Sum of exp(beta z) over the others, relative to the top, shape (rows,).
        log_rest: Its logarithm.
        log_total: log(1 + rest).
        complement: 1 - q.
        slope: Derivative of `log_rest` by beta.
        curvature: Its second derivative.
        gamma: Gamma of the map.
    """
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
