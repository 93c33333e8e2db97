"""Fitting a temperature on held-out logits: float64 on the host, the same on every backend."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_focal._validation import check_choice, check_count, check_temperature_bounds
from keras_focal.calibration._grid_sums import GridSums
from keras_focal.calibration._held_out import GRID, Data, GivenBatches, HeldOut, Reading


@dataclass(frozen=True)
class TemperatureFit:
    """A fitted temperature and what it did on the data that it was fitted on.

    Attributes:
        temperature: T, to divide logits by.
        criterion: "nll" or "ece".
        at_bound: Whether T is a bound of the search and the optimum lies beyond it.
        num_samples: Number of predictions.
        nll_before: Mean negative log-likelihood in nats at T = 1.
        nll_after: The same at T.
        ece_before: Expected calibration error, a fraction, at T = 1.
        ece_after: The same at T.
    """

    temperature: float
    criterion: str
    at_bound: bool
    num_samples: int
    nll_before: float
    nll_after: float
    ece_before: float
    ece_after: float


def fit_temperature(
    logits: Any,
    labels: Any = None,
    criterion: str = "nll",
    *,
    sample_weight: Any = None,
    num_bins: int = 15,
    bounds: tuple[float, float] = (1e-3, 1e3),
    verbose: int = 0,
) -> TemperatureFit:
    """Return the temperature that calibrates held-out logits best.

    "nll" finds the one temperature of least negative log-likelihood, which is convex in 1 / T, to
    a relative error of 1e-9. "ece" takes the temperature of least expected calibration error from
    the paper's grid 0.1, 0.2, ... 10; the first of equal minima wins.

    Args:
        logits: Array or tensor, shape (..., K), K >= 2, or (..., 1) for the logit of the positive
            class of two. Finite. Or, with `labels` None, batches (logits, labels) or (logits,
            labels, sample_weight) of any number of samples: a `tf.data.Dataset` or another iterable
            that can be read again. It is read 3 times for "ece", about 7 times for "nll", a batch
            at a time: memory does not grow with the number of samples.
        labels: Class ids, shape (...) or (..., 1), or one-hot rows, shape (..., K).
        criterion: "nll" or "ece".
        sample_weight: None, or weights >= 0 of the shape of `labels` as ids.
        num_bins: Bins of the calibration error.
        bounds: Least and greatest temperature of the "nll" search.
        verbose: 1 shows the progress of each pass over batches.

    Returns:
        TemperatureFit. Where every prediction is right, NLL falls all the way to T = 0: the
        lower bound is returned with `at_bound=True` and a warning. Where the logits say nothing
        of the labels it falls to T = infinity: the upper bound.

    Raises:
        ValueError: If the data are empty, not finite, or of shapes that do not match, a label is
            not an id in [0, K), an argument is unknown, or batches can be read only once.

    Example:
        >>> from keras_focal.calibration import fit_temperature
        >>> logits = [[4.0, 0.0]] * 3 + [[0.0, 4.0]]
        >>> fit = fit_temperature(logits, [0, 0, 1, 1])
        >>> round(fit.temperature, 4)
        3.641

    Source:
        Guo et al., 2017, section 4.2; Mukhoti et al., 2020, section 5.1.
    """
    check_choice("criterion", criterion, ("nll", "ece"))
    num_bins = check_count("num_bins", num_bins)
    low, high = check_temperature_bounds(bounds)
    if labels is None:
        data = Data(GivenBatches(logits, sample_weight, verbose), num_bins)
    else:
        data = Data([HeldOut.from_arrays(logits, labels, sample_weight)], num_bins)
    fit = fitted(data, criterion, (low, high))
    if fit.at_bound:
        warnings.warn(bound_message(fit.temperature, low), stacklevel=2)
    return fit


def fitted(data: Data | GridSums, criterion: str, bounds: tuple[float, float]) -> TemperatureFit:
    """Return the temperature of least NLL within bounds, or of least ECE on the grid."""
    low, high = bounds
    before = data.at(1.0)
    if criterion == "ece":
        temperature, at_bound = float(GRID[np.argmin(data.grid_errors())]), False
        after = data.at(1.0 / temperature)
    else:
        after, at_bound = least_nll(data, before, 1.0 / high, 1.0 / low)
        temperature = 1.0 / after.beta
    if at_bound:
        temperature = min(bounds, key=lambda bound: abs(bound - temperature))
    return TemperatureFit(
        temperature=temperature,
        criterion=criterion,
        at_bound=at_bound,
        num_samples=before.num_samples,
        nll_before=before.nll,
        nll_after=after.nll,
        ece_before=before.ece,
        ece_after=after.ece,
    )


def least_nll(
    data: Data | GridSums, at: Reading, bottom: float, top: float
) -> tuple[Reading, bool]:
    """Return the reading at the beta in [bottom, top] of least NLL, and whether it is a bound.

    Newton's method on log beta from `at` on, held to a factor of 10 a step and to a bracket that
    shrinks. NLL is convex in beta.
    """
    if at.is_separable:
        return data.at(top), True
    bounds = (bottom, top)
    for _ in range(200):
        is_beyond = at.slope > 0 or (at.slope == 0 and at.curvature == 0)
        if at.beta == bounds[not is_beyond]:
            return data.at(at.beta), True
        bottom, top = (bottom, at.beta) if is_beyond else (at.beta, top)
        limit = -np.log(10.0) if is_beyond else np.log(10.0)
        is_flat = abs(at.slope) >= abs(limit) * at.beta * at.curvature
        step = limit if is_flat else -at.slope / (at.beta * at.curvature)
        beta = float(at.beta * np.exp(step))
        if not bottom < beta < top:
            is_bound = (bottom if is_beyond else top) in bounds
            beta = (bottom if is_beyond else top) if is_bound else float(np.sqrt(bottom * top))
        # After a small step comes the last one, about its square.
        at = data.at(beta, rough=abs(step) > 0.01)
        if abs(step) <= 2e-5:
            break
    return at, False


def bound_message(temperature: float, low: float) -> str:
    if temperature == low:
        return (
            f"The temperature lies at its lower bound {temperature:g}: every held-out prediction "
            "is right (the data are separable), so no temperature above 0 is best. Use more "
            'held-out data, or criterion="ece".'
        )
    return (
        f"The temperature lies at its upper bound {temperature:g}: the logits say nothing of the "
        "labels. Check that labels and logits are in the same order."
    )
