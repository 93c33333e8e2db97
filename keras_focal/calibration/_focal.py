"""Focal temperature scaling: the posterior map of a focal loss after a temperature.

log h(q) = log q - gamma log(1 - q) - log(1 + gamma w), w = -q log q / (1 - q), q = softmax(beta z),
and the calibrated probabilities are h(q) / sum h(q). NLL with its first two derivatives by beta and
gamma is summed in float64 on the host (docs/maths.md, P4); Newton's method does the rest.
"""

import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from keras_focal._validation.gamma import check_gamma_bounds
from keras_focal._validation.maps import check_temperature_bounds
from keras_focal._validation.numbers import check_count
from keras_focal.calibration._fit import BOUNDS, fitted
from keras_focal.calibration._held_out import Data, Declared, HeldOut, data_of

GAMMA_BOUNDS = (-0.9, 10.0)

STARTS = (0.0, 3.0)
"""Gammas that the search begins at: NLL need not be convex in gamma."""


@dataclass(frozen=True)
class FocalTemperatureFit:
    """A fitted temperature and gamma, and what they did on the data that they were fitted on.

    Attributes:
        temperature: T, to divide logits by first.
        gamma: Gamma of the posterior map that follows, > -1; 0 is plain temperature scaling.
        at_bound: Whether T or gamma is a bound of the search.
        converged: Whether the derivatives of NLL by log T and gamma, but by one at its bound, are
            within 1e-8 of 0.
        num_samples: Number of predictions.
        nll_before: Mean negative log-likelihood in nats at T = 1, gamma = 0.
        nll_after: The same at the fit; never above that of `fit_temperature`.
        ece_before: Expected calibration error, a fraction, at T = 1, gamma = 0.
        ece_after: The same at the fit.
        reason: Why T is a bound, in words; empty where it is not.
    """

    temperature: float
    gamma: float
    at_bound: bool
    converged: bool
    num_samples: int
    nll_before: float
    nll_after: float
    ece_before: float
    ece_after: float
    reason: str = ""


def fit_focal_temperature(
    logits: Any,
    labels: Any = None,
    *,
    from_logits: bool = True,
    sample_weight: Any = None,
    ignore_class: int | None = None,
    multi_label: bool = False,
    num_bins: int = 15,
    bounds: tuple[float, float] = BOUNDS,
    gamma_bounds: tuple[float, float] = GAMMA_BOUNDS,
    verbose: int = 0,
) -> FocalTemperatureFit:
    """Return the temperature and the gamma of least negative log-likelihood on held-out logits.

    The calibrated model ends in `FocalPosterior(fit.gamma, fit.temperature)` and a softmax or
    sigmoid. The order of the classes stays. gamma < 0
    bends the other way than the map of a focal loss: it lowers confidence, which a network trained
    with cross-entropy asks for.

    Args:
        logits: As for `fit_temperature`; batches are read about 30 times.
        labels: As for `fit_temperature`.
        from_logits: As for `fit_temperature`.
        sample_weight: None, or weights >= 0 of the shape of `labels` as ids.
        ignore_class: None, or the id of labels to leave out, such as 255.
        multi_label: As for `fit_temperature`.
        num_bins: Bins of the calibration error.
        bounds: Least and greatest temperature.
        gamma_bounds: Least and greatest gamma, -1 < low <= 0 < high.
        verbose: 1 shows the progress of each pass over batches.

    Returns:
        FocalTemperatureFit. Where plain temperature scaling ends at a bound, so does this, with
        gamma = 0 and a warning.

    Raises:
        ValueError: As for `fit_temperature`, or if `gamma_bounds` are out of order.

    Example:
        >>> import numpy as np
        >>> from keras_focal.calibration import fit_focal_temperature
        >>> logits = np.random.default_rng(0).normal(0, 2, (500, 3))
        >>> labels = (logits + np.random.default_rng(1).normal(0, 3, (500, 3))).argmax(axis=1)
        >>> fit = fit_focal_temperature(logits, labels)
        >>> fit.converged and fit.nll_after < fit.nll_before
        True

    Source:
        Komisarenko and Kull, 2024, "Improving Calibration by Relating Focal Loss, Temperature
        Scaling, and Properness"; there on a grid of (gamma, T).
    """
    num_bins = check_count("num_bins", num_bins)
    low, high = check_temperature_bounds(bounds)
    gamma_bounds = check_gamma_bounds(gamma_bounds)
    declared = Declared.of(from_logits, ignore_class, multi_label)
    data = data_of(logits, labels, sample_weight, declared, num_bins, verbose, stacklevel=2)
    fit = focal_fitted(data, (low, high), gamma_bounds)
    if fit.reason:
        warnings.warn(fit.reason, stacklevel=2)
    return fit


def focal_fitted(
    data: Data, bounds: tuple[float, float], gamma_bounds: tuple[float, float]
) -> FocalTemperatureFit:
    """Return the temperature and gamma of least NLL within bounds."""
    low, high = bounds
    plain = fitted(data, "nll", bounds)
    if plain.at_bound:
        temperature, gamma, nll, ece = plain.temperature, 0.0, plain.nll_after, plain.ece_after
        at_bound, converged = True, False
    else:
        search = _Search(data, (-np.log(high), -np.log(low)), gamma_bounds)
        # A map of gamma sharpens logits about 1 + 0.9 gamma times.
        best = min(
            (
                search.descend(-np.log(plain.temperature * (1.0 + 0.9 * gamma)), gamma)
                for gamma in STARTS
                if gamma < gamma_bounds[1]
            ),
            key=lambda point: point.nll,
        )
        temperature, gamma, nll = float(np.exp(-best.log_beta)), best.gamma, best.nll
        at_bound, converged = search.is_bound(best), search.excess(best) <= 1e-8
        gaps = data.summed(lambda batch: _gaps(batch, 1.0 / temperature, gamma, data.num_bins))
        ece = float(np.abs(gaps[1:]).sum())
    return FocalTemperatureFit(
        temperature=temperature,
        gamma=gamma,
        at_bound=at_bound,
        converged=converged,
        num_samples=plain.num_samples,
        nll_before=plain.nll_before,
        nll_after=nll,
        ece_before=plain.ece_before,
        ece_after=ece,
        reason=plain.reason,
    )


def focal_temperature_map(logits: np.ndarray, temperature: float, gamma: float) -> np.ndarray:
    """Return calibrated logits, shape (N, K >= 2): 0 of the top class, in float64."""
    below = logits - logits.max(axis=1, keepdims=True)
    return _relative_to_top(below, 1.0 / temperature, gamma).value


class _Point(NamedTuple):
    """A place of the search: NLL there, its gradient and its Hessian by (log beta, gamma)."""

    log_beta: float
    gamma: float
    nll: float
    gradient: np.ndarray
    hessian: np.ndarray


@dataclass(frozen=True)
class _Search:
    """Newton's method within bounds, each step no longer than one that lowers NLL."""

    data: Data
    log_beta_bounds: tuple[float, float]
    gamma_bounds: tuple[float, float]

    def at(self, log_beta: float, gamma: float) -> _Point:
        beta = float(np.exp(log_beta))
        sums = self.data.summed(lambda batch: _derivatives(batch, beta, gamma))
        nll, by_beta, by_gamma, beta_beta, beta_gamma, gamma_gamma = sums[1:]
        gradient = np.array([beta * by_beta, by_gamma])
        mixed = beta * beta_gamma
        hessian = np.array(
            [[beta * beta * beta_beta + beta * by_beta, mixed], [mixed, gamma_gamma]]
        )
        return _Point(float(log_beta), float(gamma), float(nll), gradient, hessian)

    @property
    def _bounds(self) -> np.ndarray:
        return np.array([self.log_beta_bounds, self.gamma_bounds]).T

    def _is_held(self, point: _Point) -> np.ndarray:
        """Return which of (log beta, gamma) stands at a bound that NLL falls beyond."""
        low, high = self._bounds
        place = np.array([point.log_beta, point.gamma])
        return ((place <= low) & (point.gradient > 0)) | ((place >= high) & (point.gradient < 0))

    def is_bound(self, point: _Point) -> bool:
        return bool(self._is_held(point).any())

    def excess(self, point: _Point) -> float:
        """Return the largest derivative that is not held by a bound: 0 at a minimum."""
        return float(np.abs(np.where(self._is_held(point), 0.0, point.gradient)).max())

    def descend(self, log_beta: float, gamma: float) -> _Point:
        """Return the minimum that lies downhill."""
        low, high = self._bounds
        point = self.at(*np.clip([log_beta, gamma], low, high))
        for _ in range(100):
            if self.excess(point) <= 1e-11:
                break
            place, step = np.array([point.log_beta, point.gamma]), self._step(point)
            for _ in range(30):
                following = self.at(*np.clip(place + step, low, high))
                # At the minimum NLL is flat to its last digit, its gradient is not.
                is_level = following.nll <= point.nll + 1e-14 * abs(point.nll)
                if following.nll < point.nll or (
                    is_level and self.excess(following) < self.excess(point)
                ):
                    break
                step = step / 4.0
            else:
                break
            point = following
        return point

    def _step(self, point: _Point) -> np.ndarray:
        """Return Newton's step where NLL is convex, a step downhill elsewhere; at most (1, 2)."""
        free = ~self._is_held(point)
        step = np.zeros(2)
        values, vectors = np.linalg.eigh(point.hessian[np.ix_(free, free)])
        values = np.maximum(np.abs(values), 1e-12)
        step[free] = -vectors @ ((vectors.T @ point.gradient[free]) / values)
        return step / max(1.0, abs(step[0]), abs(step[1]) / 2.0)


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


def _derivatives(batch: HeldOut, beta: float, gamma: float) -> np.ndarray:
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


def _gaps(batch: HeldOut, beta: float, gamma: float, num_bins: int) -> np.ndarray:
    """Return the gap of each bin of the calibrated confidence."""

    def work(below: np.ndarray, rows: slice) -> np.ndarray:
        total = np.exp(_relative_to_top(below, beta, gamma).value).sum(axis=1)
        return batch.gaps(total[None], rows, num_bins)

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
