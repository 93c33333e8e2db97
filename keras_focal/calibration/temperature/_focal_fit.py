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
from keras_focal.calibration.given import Declared, held_out_of
from keras_focal.calibration.temperature._bounds import BOUNDS, reasons
from keras_focal.calibration.temperature._fit import fitted
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
    data: Data,
    bounds: tuple[float, float],
    gamma_bounds: tuple[float, float],
    guess: tuple[float, float] | None = None,
) -> FocalTemperatureFit:
    """Return the temperature and gamma of least NLL within bounds, or the ones downhill of a guess.

    A guess is what nearly the same data gave.
    """
    low, high = bounds
    plain = fitted(data, "nll", bounds)
    if plain.at_bound:
        temperature, gamma, nll, ece = plain.temperature, 0.0, plain.nll_after, plain.ece_after
        at_bound, converged = True, False
    else:
        search = _Search(data, (-np.log(high), -np.log(low)), gamma_bounds)
        # A map of gamma sharpens logits about 1 + 0.9 gamma times.
        starts = [(plain.temperature * (1.0 + 0.9 * gamma), gamma) for gamma in STARTS]
        best = min(
            (
                search.descend(-np.log(temperature), gamma)
                for temperature, gamma in ([guess] if guess else starts)
                if gamma < gamma_bounds[1]
            ),
            key=lambda point: point.nll,
        )
        temperature, gamma, nll = float(np.exp(-best.log_beta)), best.gamma, best.nll
        at_bound, converged = search.is_bound(best), search.excess(best) <= 1e-8
        gaps = data.summed(lambda batch: focal_gaps(batch, 1.0 / temperature, gamma, data.num_bins))
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
        sums = self.data.summed(lambda batch: derivatives(batch, beta, gamma))
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
            if self.excess(point) <= 1e-9:
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
