"""Fitting a temperature on held-out logits: float64 on the host, the same on every backend."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_focal._validation.choices import check_choice
from keras_focal._validation.maps import check_temperature_bounds
from keras_focal._validation.numbers import check_count
from keras_focal.calibration.given import Declared, held_out_of
from keras_focal.calibration.temperature._bounds import BOUNDS, bound_message, reasons
from keras_focal.calibration.temperature._gathered import gathered_by_label
from keras_focal.calibration.temperature._grid_sums import GridSums
from keras_focal.calibration.temperature._sums import GRID, Data, Reading


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
        ece_after: The same at T. NaN where `calibrate` had too many predictions to keep, or of a
            report, unless T is one of 0.1, 0.2, ... 10.
        reason: Why T is a bound, in words; empty where it is not.
    """

    temperature: float
    criterion: str
    at_bound: bool
    num_samples: int
    nll_before: float
    nll_after: float
    ece_before: float
    ece_after: float
    reason: str = ""


def fit_temperature(
    logits: Any,
    labels: Any = None,
    criterion: str = "nll",
    *,
    from_logits: bool = True,
    sample_weight: Any = None,
    ignore_class: int | None = None,
    multi_label: bool | str = False,
    num_bins: int = 15,
    bounds: tuple[float, float] = BOUNDS,
    verbose: int = 0,
) -> Any:
    """Return the temperature that calibrates held-out logits best.

    "nll" finds the one temperature of least negative log-likelihood, which is convex in 1 / T, to
    a relative error of 1e-9. "ece" takes the temperature of least expected calibration error from
    the paper's grid 0.1, 0.2, ... 10; the first of equal minima wins.

    Args:
        logits: Array or tensor, shape (..., K), K >= 2, or (..., 1) for the logit of the positive
            class of two. Finite, but for a -inf, probability 0, of a class that is not the label.
            Or, with `labels` None, batches (logits, labels) or (logits, labels, sample_weight) of
            any number of samples: a `tf.data.Dataset` or another iterable that can be read again.
            It is read 3 times for "ece", about 7 times for "nll", a batch at a time: memory does
            not grow with the number of samples. Probabilities where `from_logits` is False.
        labels: Class ids, shape (...) or (..., 1), or one-hot rows, shape (..., K). A row of zeros
            has no label and is left out.
        criterion: "nll" or "ece".
        from_logits: Whether `logits` are logits. Of a probability of 0 or 1 in one column it is
            not known how sure it is: it counts as the nearest number to it, and a warning says how
            many there are.
        sample_weight: None, or weights >= 0 of the shape of `labels` as ids. What weighs 0 is left
            out before anything is checked.
        ignore_class: None, or the id of labels to leave out, such as 255.
        multi_label: Whether the K columns are labels that are independent of each other, each with
            a sigmoid. `labels` then has the shape of `logits`, with 0 and 1. True fits one T for
            all, "per_label" one T for each: the fits come as a tuple, and batches are read once.
        num_bins: Bins of the calibration error.
        bounds: Least and greatest temperature of the "nll" search.
        verbose: 1 shows the progress of each pass over batches.

    Returns:
        TemperatureFit, or a tuple of them for "per_label", whose temperatures
        `TemperatureScaling([fit.temperature for fit in fits])` takes. Where every prediction is
        right, NLL falls all the way to T = 0: the lower bound is returned with `at_bound=True` and
        a warning. Where the logits say nothing of the labels it falls to T = infinity: the upper
        bound.

    Raises:
        ValueError: If the data are empty, not finite, or of shapes that do not match, a label is
            not an id in [0, K) or a row names several classes, probabilities are given as logits
            or the reverse, an argument is unknown, or batches have no end or can be read only once.

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
    declared = Declared.of(from_logits, ignore_class, multi_label)
    data: list[Data | GridSums] = []
    if declared.by_label:
        settings = {"num_bins": num_bins, "bounds": (low, high)}
        parts = gathered_by_label(logits, labels, sample_weight, declared, verbose, **settings)
        for part in parts:  # a comprehension may be a frame between the user and us
            data.append(part.data(stacklevel=2))
    else:
        batches = held_out_of(logits, labels, sample_weight, declared, verbose, stacklevel=2)
        data = [Data(batches, num_bins)]
    fits = tuple(fitted(of_one, criterion, (low, high)) for of_one in data)
    for reason in reasons(fits):
        warnings.warn(reason, stacklevel=2)
    return fits if declared.by_label else fits[0]


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
        reason=bound_message(temperature, low, _found(data, after)) if at_bound else "",
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


def _found(data: Data | GridSums, at: Reading) -> str:
    """Return what the data say at a bound: they are separable, say nothing, or neither."""
    if at.is_separable:
        return "separable"
    return "nothing" if data.says_nothing() else ""
