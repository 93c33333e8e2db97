"""Fitting a temperature on held-out logits: float64 on the host, the same on every backend."""

import warnings
from dataclasses import dataclass
from typing import Any

from keras_focal._temperature import Reading, least_nll
from keras_focal._validation.choices import check_choice
from keras_focal._validation.maps import check_temperature_bounds
from keras_focal._validation.numbers import check_count
from keras_focal.calibration.given import Declared, held_out_of
from keras_focal.calibration.temperature._bounds import BOUNDS, bound_message, reasons
from keras_focal.calibration.temperature._gathered import gathered_by_label
from keras_focal.calibration.temperature._grid_sums import GridSums
from keras_focal.calibration.temperature._sums import Data


@dataclass(frozen=True)
class TemperatureFit:
    """A fitted temperature and its effect on the data that it was fitted to.

    Attributes:
        temperature: T, by which logits are divided.
        criterion: "nll" or "ece".
        at_bound: Whether T is a bound of the search and the optimum lies beyond it.
        num_samples: Number of predictions.
        nll_before: Mean negative log-likelihood in nats at T = 1.
        nll_after: The same at T.
        ece_before: Expected calibration error, a fraction, at T = 1.
        ece_after: The same at T. NaN in a report, and where `calibrate` had too many predictions
            to keep, unless T is one of 0.1, 0.2, ... 10.
        reason: Why T is a bound, in words. Empty otherwise.
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

    "nll" minimises the negative log-likelihood, which is convex in 1 / T, to a relative error of
    1e-9 in T. "ece" takes the temperature of the paper's grid 0.1, 0.2, ... 10 with the smallest
    expected calibration error, the first if several have it.

    Args:
        logits: Array or tensor, shape (..., K), K >= 2, or (..., 1) for the logit of the positive
            class. All must be finite, except that a class other than the label may have a logit
            of -inf (probability 0). With `from_logits=False`, probabilities. If `labels` is None,
            batches (logits, labels) or (logits, labels, sample_weight): a `tf.data.Dataset` or
            another iterable that can be read several times (3 or 4 times for "ece", about 7 for
            "nll"). Only one batch is held in memory at a time.
        labels: Class ids, shape (...) or (..., 1), or one-hot rows, shape (..., K). A row of zeros
            is an unlabeled prediction and is ignored.
        criterion: "nll" or "ece".
        from_logits: Whether `logits` are logits or probabilities. Probabilities that were rounded
            to 0 or 1 count as the nearest number that is not, and a warning gives their number.
        sample_weight: None, or weights >= 0 of the shape of the class ids. Predictions of weight 0
            are dropped before any check.
        ignore_class: None, or a class id whose predictions are dropped, such as 255.
        multi_label: Whether the K columns are independent labels, each with a sigmoid. `labels`
            then has the shape of `logits`, with entries 0 and 1. True fits one temperature for all
            labels, "per_label" one for each. Batches are then read once.
        num_bins: Number of bins of the calibration error.
        bounds: Smallest and largest temperature of the "nll" search.
        verbose: 1 shows a progress bar for each pass over batches.

    Returns:
        TemperatureFit. For "per_label" a tuple of them, one for each label; pass their
        temperatures to `TemperatureScaling` as a list. If every prediction is right, the
        likelihood increases all the way to T = 0, and the lower bound is returned with
        `at_bound=True` and a warning. If the logits carry no information about the labels, it
        increases all the way to infinity, and the upper bound is returned.

    Raises:
        ValueError: If the data are empty or not finite, shapes do not match, a label is not a
            class id in [0, K), a row names several classes, `from_logits` does not describe the
            data, an argument is unknown, or batches never end or can be read only once.

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
        temperature, at_bound = data.of_least_error(), False
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


def _found(data: Data | GridSums, at: Reading) -> str:
    """Return what the data say at a bound: they are separable, say nothing, or neither."""
    if at.is_separable:
        return "separable"
    return "nothing" if data.says_nothing() else ""
