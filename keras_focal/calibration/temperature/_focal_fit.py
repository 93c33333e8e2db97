"""Focal temperature scaling: a temperature and the gamma of a posterior map, by Newton's method.

NLL with its first two derivatives by beta = 1 / T and gamma is summed in float64 on the host.
"""

import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from keras_focal._validation.gamma import check_gamma_bounds
from keras_focal._validation.maps import check_temperature_bounds
from keras_focal._validation.numbers import check_count
from keras_focal.calibration.given import Declared, HeldOut, held_out_of
from keras_focal.calibration.temperature._bounds import BOUNDS, reasons
from keras_focal.calibration.temperature._fit import TemperatureFit, fitted
from keras_focal.calibration.temperature._focal_map import derivatives, focal_gaps
from keras_focal.calibration.temperature._gathered import gathered_by_label
from keras_focal.calibration.temperature._sums import Data

GAMMA_BOUNDS = (-0.9, 10.0)

STARTS = (0.0, 3.0)
"""Gammas that the search begins at: NLL need not be convex in gamma."""


@dataclass(frozen=True)
class FocalTemperatureFit:
    """A fitted temperature and gamma, and their effect on the data that they were fitted to.

    Attributes:
        temperature: T, by which logits are divided first.
        gamma: Gamma of the posterior map that follows, > -1. 0 is plain temperature scaling.
        at_bound: Whether T or gamma is a bound of the search.
        converged: Whether the derivatives of the NLL by log T and gamma are within 1e-8 of 0, other
            than that of a parameter at its bound.
        num_samples: Number of predictions.
        nll_before: Mean negative log-likelihood in nats at T = 1, gamma = 0.
        nll_after: The same at the fit. Never above that of `fit_temperature`.
        ece_before: Expected calibration error, a fraction, at T = 1, gamma = 0.
        ece_after: The same at the fit.
        reason: Why T is a bound, in words. Empty otherwise.
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
    multi_label: bool | str = False,
    num_bins: int = 15,
    bounds: tuple[float, float] = BOUNDS,
    gamma_bounds: tuple[float, float] = GAMMA_BOUNDS,
    verbose: int = 0,
) -> Any:
    """Return the temperature and gamma with the smallest NLL on held-out logits.

    Apply them with `FocalPosterior(fit.gamma, fit.temperature)`, followed by a softmax or a
    sigmoid. The order of the classes is preserved. A negative gamma lowers high confidences, the
    opposite of what undoes a focal loss; networks trained with cross-entropy often need it.

    Args:
        logits: As for `fit_temperature`. Batches are read about 30 times.
        labels: As for `fit_temperature`.
        from_logits: As for `fit_temperature`.
        sample_weight: None, or weights >= 0 of the shape of the class ids.
        ignore_class: None, or a class id whose predictions are dropped, such as 255.
        multi_label: As for `fit_temperature`, but "per_label" keeps all predictions in memory.
        num_bins: Number of bins of the calibration error.
        bounds: Smallest and largest temperature.
        gamma_bounds: Smallest and largest gamma, -1 < low <= 0 < high.
        verbose: 1 shows a progress bar for each pass over batches.

    Returns:
        FocalTemperatureFit. For "per_label" a tuple of them. Where plain temperature scaling ends
        at a bound, so does this fit, with gamma = 0 and a warning.

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
    data: list[Data] = []
    if declared.by_label:
        settings = {"num_bins": num_bins, "is_summed": False}
        parts = gathered_by_label(logits, labels, sample_weight, declared, verbose, **settings)
        for part in parts:  # a comprehension may be a frame between the user and us
            data.append(Data([part.held_out(stacklevel=2)], num_bins))
    else:
        batches = held_out_of(logits, labels, sample_weight, declared, verbose, stacklevel=2)
        data = [Data(batches, num_bins)]
    fits = tuple(focal_fitted(of_one, (low, high), gamma_bounds) for of_one in data)
    for reason in reasons(fits):
        warnings.warn(reason, stacklevel=2)
    return fits if declared.by_label else fits[0]


def focal_fitted(
    data: Data, bounds: tuple[float, float], gamma_bounds: tuple[float, float]
) -> FocalTemperatureFit:
    """Return the temperature and gamma of least NLL within bounds."""
    plain = fitted(data, "nll", bounds)
    found = focal_least(data, plain, bounds, gamma_bounds)
    ece = plain.ece_after
    if not plain.at_bound:
        beta = 1.0 / found.temperature
        gaps = data.summed(lambda batch: focal_gaps(batch, beta, found.gamma, data.num_bins))
        ece = float(np.abs(gaps[1:]).sum())
    return FocalTemperatureFit(
        temperature=found.temperature,
        gamma=found.gamma,
        at_bound=found.at_bound,
        converged=found.converged,
        num_samples=plain.num_samples,
        nll_before=plain.nll_before,
        nll_after=found.nll,
        ece_before=plain.ece_before,
        ece_after=ece,
        reason=plain.reason,
    )


class Least(NamedTuple):
    """A temperature and gamma, their NLL, and as in `FocalTemperatureFit` how they were found."""

    temperature: float
    gamma: float
    nll: float
    at_bound: bool
    converged: bool


def focal_least(
    data: Data,
    plain: TemperatureFit,
    bounds: tuple[float, float],
    gamma_bounds: tuple[float, float],
    guess: tuple[float, float] | None = None,
) -> Least:
    """Return the temperature and gamma of least NLL within bounds.

    Args:
        data: Held-out predictions.
        plain: Their best temperature without a gamma.
        bounds: Smallest and largest temperature.
        gamma_bounds: Smallest and largest gamma.
        guess: None, or what nearly the same data gave: the minimum is the one downhill of it.
    """
    if plain.at_bound:
        return Least(plain.temperature, 0.0, plain.nll_after, at_bound=True, converged=False)
    low, high = bounds
    search = _Search(data, (-np.log(high), -np.log(low)), gamma_bounds)
    best = search.least(plain, guess)
    return Least(
        temperature=float(np.exp(-best.log_beta)),
        gamma=best.gamma,
        nll=best.nll,
        at_bound=search.is_bound(best),
        converged=search.excess(best) <= 1e-8,
    )


class _Point(NamedTuple):
    """A place of the search: NLL there, its gradient and its Hessian by (log beta, gamma)."""

    log_beta: float
    gamma: float
    nll: float
    gradient: np.ndarray
    hessian: np.ndarray


class _Effort(NamedTuple):
    """How exact a search is.

    Attributes:
        rough: Whether the terms of NLL have the roundings of float32.
        rows: How many rows of a batch are read, about; 0 for all.
        enough: Largest derivative at the end.
        level: Relative difference of two NLL that may be rounding.
        most: Steps at most.
        order: Of the derivatives; with 1 the Hessian stays that of the start.
    """

    rough: bool
    rows: int
    enough: float
    level: float
    most: int = 100
    order: int = 2


_EFFORTS = (
    _Effort(rough=True, rows=600, enough=1e-4, level=1e-6),
    _Effort(rough=True, rows=0, enough=1e-5, level=1e-6),
    _Effort(rough=False, rows=0, enough=5e-9, level=1e-14, most=5, order=1),
    _Effort(rough=False, rows=0, enough=5e-9, level=1e-14),
)
"""Some of the rows say where to look, float32 how to come near, and float64 where it is."""


@dataclass(frozen=True)
class _Search:
    """Newton's method within bounds, each step no longer than one that lowers NLL."""

    data: Data
    log_beta_bounds: tuple[float, float]
    gamma_bounds: tuple[float, float]

    def least(self, plain: TemperatureFit, guess: tuple[float, float] | None) -> _Point:
        """Return the minimum downhill of a guess, or the least of those that are found.

        Args:
            plain: The best temperature without a gamma.
            guess: Temperature and gamma that are near the best.
        """
        _, near, *exact = _EFFORTS
        alone = (-np.log(plain.temperature), 0.0)
        if guess is not None:
            places = [(-np.log(guess[0]), guess[1])]
        else:
            # A map of gamma sharpens logits about 1 + 0.9 gamma times.
            starts = [(alone[0] - np.log1p(0.9 * gamma), gamma) for gamma in STARTS]
            places = self._valleys([start for start in starts if start[1] < self.gamma_bounds[1]])
        best = min((self.descend(place, near) for place in places), key=lambda point: point.nll)
        for effort in exact:
            place = np.array([best.log_beta, best.gamma]) + self._step(best)
            best = self.descend(place, effort, best.hessian)
            if self.excess(best) <= effort.enough:
                break
        return best if best.nll <= plain.nll_after else self.descend(alone, exact[-1])

    def _valleys(self, starts: list[tuple[float, float]]) -> list[tuple[float, float]]:
        """Return places near the minima downhill of starts, each once, from some of the rows."""
        few, *_ = _EFFORTS
        places: list[tuple[float, float]] = []
        for start in starts:
            found = self.descend(start, few)
            # What few rows say at a bound says little of all.
            place = start if self.is_bound(found) else (found.log_beta, found.gamma)
            if not any(np.allclose(place, other, rtol=0.0, atol=0.05) for other in places):
                places.append(place)
        return places

    def at(self, place: np.ndarray, effort: _Effort, hessian: Any = None) -> _Point:
        """Return what NLL is at a place within bounds; the Hessian is given where it is not."""
        low, high = self._bounds
        log_beta, gamma = np.clip(place, low, high).tolist()
        beta = float(np.exp(log_beta))

        def work(batch: HeldOut) -> np.ndarray:
            every = max(1, len(batch.labels) // effort.rows) if effort.rows else 1
            sums = derivatives(
                batch, beta, gamma, order=effort.order, rough=effort.rough, every=every
            )
            return np.append(batch.weights[::every].sum(), sums)

        _, share, *sums = self.data.summed(work)
        nll, by_beta, by_gamma, *second = np.array(sums) / share
        if second:
            beta_beta, beta_gamma, gamma_gamma = second
            mixed = beta * beta_gamma
            hessian = np.array(
                [[beta * beta * beta_beta + beta * by_beta, mixed], [mixed, gamma_gamma]]
            )
        return _Point(log_beta, gamma, float(nll), np.array([beta * by_beta, by_gamma]), hessian)

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

    def descend(self, place: Any, effort: _Effort, hessian: Any = None) -> _Point:
        """Return the minimum that lies downhill."""
        point = self.at(np.array(place), effort, hessian)
        for _ in range(effort.most):
            if self.excess(point) <= effort.enough:
                break
            place, step = np.array([point.log_beta, point.gamma]), self._step(point)
            for _ in range(30):
                following = self.at(place + step, effort, point.hessian)
                # At the minimum NLL is flat to its last digit, its gradient is not.
                is_level = following.nll <= point.nll + effort.level * abs(point.nll)
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
