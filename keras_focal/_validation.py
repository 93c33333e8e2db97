"""One wording per rule. Every error names the argument, the rule, what came and the likely fix."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np


def check_number(name: str, value: Any, rule: str, holds: bool, fix: str = "") -> None:
    """Raise unless `holds`."""
    if not holds:
        raise ValueError(
            f"`{name}` must be {rule}. Received: {name}={value!r}.{' ' + fix if fix else ''}"
        )


def is_number(value: Any) -> bool:
    """Tell whether `value` is a real scalar: a Python or NumPy number, not a bool, not a string."""
    if isinstance(value, bool):
        return False
    is_scalar = isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind in "fiu"
    return is_scalar or isinstance(value, int | float | np.number)


def check_gamma(name: str, value: Any) -> float:
    """Return `value` as a float, a focusing exponent: finite and >= 0."""
    return check_at_least(name, value, 0, "0 gives cross-entropy, 1 to 5 are usual.")


def check_exponent(name: str, value: Any, *, signed: bool) -> float:
    """Return `value` as a finite float, the exponent of a loss: >= 0 unless `signed`."""
    if not signed:
        return check_gamma(name, value)
    fits = is_number(value) and bool(np.isfinite(value))
    check_number(name, value, "a finite number", fits, "0 gives cross-entropy, 1 to 5 are usual.")
    return float(value)


def _as_floats(value: Any) -> np.ndarray:
    """Return a float64 array of `value`; NaN, which no rule admits, if it holds no numbers."""
    try:
        array = np.asarray(value)
        return array.astype("float64") if array.dtype.kind in "fiu" else np.array(np.nan)
    except (TypeError, ValueError):
        return np.array(np.nan)


def check_posterior_gamma(name: str, value: Any) -> float:
    """Return `value` as a float > -1: the gamma of the map to the posterior."""
    fits = is_number(value) and bool(np.isfinite(value)) and value > -1
    check_number(name, value, "a finite number > -1", fits, "Give that of the loss, such as 2.")
    return float(value)


def check_alpha(value: Any, largest: float | None = None) -> float | list[float] | None:
    """Return class weights as None, a float or a list of floats, each in [0, `largest`]."""
    if value is None:
        return None
    array = _as_floats(value)
    fits = array.ndim <= 1 and array.size > 0 and bool(np.all(np.isfinite(array) & (array >= 0)))
    bound = ""
    if largest is not None:
        fits = fits and bool(np.all(array <= largest))
        bound = f" and <= {largest:g}"
    check_number(
        "alpha",
        value,
        f"None, a number >= 0{bound}, or a list of K such numbers",
        fits,
        "It weighs the classes; leave it out to weigh them alike.",
    )
    return float(array) if array.ndim == 0 else [float(weight) for weight in array]


def check_alpha_length(alpha: Any, num_classes: int) -> None:
    """Raise unless a list of class weights has one entry per class."""
    if isinstance(alpha, list) and len(alpha) != num_classes:
        raise ValueError(
            f"`alpha` must have one weight per class. Received: {len(alpha)} weights for "
            f"{num_classes} classes. Give a list of {num_classes} numbers, or one number."
        )


def check_fraction(name: str, value: Any, fix: str = "0 leaves it out, 0.05 is usual.") -> float:
    """Return `value` as a float in [0, 1)."""
    fits = is_number(value) and 0 <= value < 1
    check_number(name, value, "a number in [0, 1)", fits, fix)
    return float(value)


def check_part(name: str, value: Any) -> float:
    """Return `value` as a float in (0, 1]."""
    fits = is_number(value) and 0 < value <= 1
    check_number(name, value, "a number in (0, 1]", fits, "1 keeps everything, 0.25 a quarter.")
    return float(value)


def check_at_least(name: str, value: Any, least: float, fix: str = "0 leaves it out.") -> float:
    """Return `value` as a finite float >= `least`."""
    fits = is_number(value) and bool(np.isfinite(value)) and value >= least
    check_number(name, value, f"a finite number >= {least:g}", fits, fix)
    return float(value)


def check_class_counts(name: str, value: Any) -> list[float]:
    """Return numbers of samples per class as a list of floats, each finite and > 0."""
    array = _as_floats(value)
    fits = array.ndim == 1 and array.size > 0 and bool(np.all(np.isfinite(array) & (array > 0)))
    fix = "Leave out a class without samples, or give it the count 1."
    check_number(name, value, "a list of one number > 0 for each class", fits, fix)
    return [float(count) for count in array]


def check_count(name: str, value: Any) -> int:
    """Return `value` as an int >= 1."""
    whole = is_number(value) and float(value).is_integer() and value >= 1
    check_number(name, value, "a whole number >= 1", whole, "Give an int such as 15.")
    return int(value)


def check_class_id(name: str, value: Any) -> int | None:
    """Return a class id as an int, None as it is."""
    if value is None:
        return None
    is_whole = is_number(value) and float(value).is_integer()
    fix = "Give the id that marks predictions to leave out, such as 255."
    check_number(name, value, "a whole number or None", is_whole, fix)
    return int(value)


def check_one_class(name: str, value: Any, num_classes: int | None = None) -> int:
    """Return the id of a class as an int, in [0, `num_classes`) where their number is known."""
    fits = is_number(value) and float(value).is_integer() and value >= 0
    bound = ""
    if num_classes is not None:
        fits = fits and value < num_classes
        bound = f" and < {num_classes}, the number of classes"
    check_number(
        name, value, f"a whole number >= 0{bound}", fits, "1 is the positive class of two."
    )
    return int(value)


def check_positive(name: str, value: Any) -> float:
    """Return `value` as a finite float > 0."""
    check_number(
        name,
        value,
        "a finite number > 0",
        is_number(value) and bool(np.isfinite(value)) and value > 0,
        "1 changes nothing.",
    )
    return float(value)


def check_open_interval(name: str, value: Any, low: float, high: float, why: str) -> None:
    """Raise unless every entry of `value` lies strictly between `low` and `high`."""
    array = _as_floats(value)
    if not np.all((array > low) & (array < high)):
        raise ValueError(
            f"`{name}` must be in ({low:g}, {high:g}): {why}. Received: {name}={value!s}."
        )


def check_rising(name: str, values: Sequence[float], fix: str) -> None:
    """Raise unless each value is larger than the one before."""
    if any(b <= a for a, b in pairwise(values)):
        raise ValueError(f"`{name}` must rise. Received: {name}={list(values)}. {fix}")


def check_bounds(low: float, high: float) -> None:
    """Raise unless `low` < `high`."""
    if not low < high:
        raise ValueError(
            f"`low` must be < `high`. Received: low={low:g}, high={high:g}. Give the smaller bound "
            "first."
        )


def check_bin_gammas(value: Any, num_bins: int) -> list[float]:
    """Return a gamma for each bin, each finite, from one number or a list of them."""
    array = _as_floats(value)
    fits = array.shape in ((), (num_bins,)) and bool(np.all(np.isfinite(array)))
    check_number(
        "gamma",
        value,
        f"a finite number or a list of {num_bins}, one for each bin",
        fits,
        "1 is the usual start; a gamma < 0 is that of the inverse focal loss.",
    )
    return [float(gamma) for gamma in np.broadcast_to(array, (num_bins,))]


def check_edges(value: Any, num_bins: int) -> list[float]:
    """Return the edges between `num_bins` bins of [0, 1] as floats."""
    array = _as_floats(value)
    fits = array.shape == (num_bins - 1,)
    fits = fits and bool(np.all((array >= 0) & (array <= 1)) and np.all(np.diff(array) >= 0))
    check_number(
        "edges",
        value,
        f"{num_bins - 1} numbers in [0, 1] that never fall, for {num_bins} bins",
        fits,
        "Leave it out for bins of equal width.",
    )
    return [float(edge) for edge in array]


def check_switch_bounds(low: Any, high: Any, switch: float) -> tuple[float, float]:
    """Return bounds of gamma as floats: low < high, neither within `switch` of 0."""
    ends = _as_floats([low, high])
    if not (ends.shape == (2,) and np.all(np.isfinite(ends)) and ends[0] < ends[1]):
        raise ValueError(
            f"`low` must be < `high`, both finite. Received: low={low!r}, high={high!r}. Give the "
            "smaller bound first."
        )
    if np.any(np.abs(ends) < switch):
        raise ValueError(
            f"`low` and `high` must not be within `switch` of 0. Received: low={low!r}, "
            f"high={high!r}, switch={switch:g}. Take low={-switch:g} or less to let the inverse "
            f"focal loss in, or low={switch:g} or more to keep it out."
        )
    return float(ends[0]), float(ends[1])


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Raise unless `value` is one of `choices`."""
    if value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"`{name}` must be one of {listed}. Received: {name}={value!r}.")


def check_choices(name: str, value: Any, choices: Sequence[Any]) -> list[Any]:
    """Return a list of one or more different ones of `choices`, or raise."""
    listed = ", ".join(repr(choice) for choice in choices)
    items = [] if isinstance(value, str) or not isinstance(value, Iterable) else list(value)
    is_right = all(item in choices for item in items) and len(items) == len(set(items))
    if not items or not is_right:
        raise ValueError(
            f"`{name}` must be a list of one or more of {listed}, each once. "
            f"Received: {name}={value!r}. Take names from that list."
        )
    return items


def check_axis(predictions: Any, axis: int) -> None:
    """Raise unless predictions have the axis."""
    rank = len(predictions.shape)
    if not -rank <= axis < rank:
        raise ValueError(
            f"`axis` must name an axis of the predictions. Received: axis={axis} for shape "
            f"{tuple(predictions.shape)}. The last axis is -1."
        )


def check_class_axis(logits: Any, axis: int = -1) -> int:
    """Return the number of classes: static, >= 2."""
    check_axis(logits, axis)
    num_classes = logits.shape[axis]
    if num_classes is None or num_classes < 2:
        raise ValueError(
            "`y_pred` must have a class axis of known length >= 2. Received: shape "
            f"{tuple(logits.shape)}, axis={axis}. For one probability per sample use "
            "BinaryFocalCrossentropy."
        )
    return int(num_classes)


def check_same_shape(name: str, shape: Any, expected: Any, fix: str) -> None:
    """Raise unless two static shapes can be equal; an unknown length (None) fits anything."""
    shape, expected = tuple(shape), tuple(expected)
    same = len(shape) == len(expected) and all(
        a is None or b is None or a == b for a, b in zip(shape, expected, strict=True)
    )
    if not same:
        raise ValueError(f"`{name}` must have shape {expected}. Received: shape {shape}. {fix}")


def check_no_ragged(name: str, value: Any) -> None:
    """Raise where a tensor has rows of unlike lengths."""
    if type(value).__name__ == "RaggedTensor":
        raise ValueError(
            f"`{name}` must have rows of one length. Received: a RaggedTensor. Pad it with "
            "`.to_tensor()` and give the padding weight 0."
        )


def check_labels_fit(name: str, labels_shape: Any, predictions_shape: Any) -> None:
    """Raise unless labels are ids (...) or (..., 1), or rows (..., K), for predictions (..., K)."""
    labels_shape, predictions_shape = tuple(labels_shape), tuple(predictions_shape)
    rows, num_classes = predictions_shape[:-1], predictions_shape[-1:]
    fits = any(
        len(labels_shape) == len(form)
        and all(
            not isinstance(a, int) or not isinstance(b, int) or a == b
            for a, b in zip(labels_shape, form, strict=True)
        )
        for form in (rows, (*rows, 1), (*rows, *num_classes))
    )
    if not predictions_shape or not fits:
        raise ValueError(
            f"`{name}` must have shape {rows} (class ids), {(*rows, 1)}, or "
            f"{predictions_shape} (rows) for predictions of shape {predictions_shape}. Received: "
            f"shape {labels_shape}."
        )


def check_weights_fit(name: str, weights_shape: Any, predictions_shape: Any) -> None:
    """Raise unless weights are of whole samples or of each prediction (...) of shape (..., K)."""
    weights_shape, rows = tuple(weights_shape), tuple(predictions_shape)[:-1]
    is_column = len(weights_shape) == len(rows) + 1 and weights_shape[-1] == 1
    shape = weights_shape[:-1] if is_column else weights_shape
    fits = len(shape) <= len(rows) and all(
        not isinstance(a, int) or not isinstance(b, int) or a in (1, b)
        for a, b in zip(shape, rows, strict=False)
    )
    if not fits:
        forms = " or ".join(str(form) for form in dict.fromkeys((rows[:1], rows)))
        raise ValueError(
            f"`{name}` must have shape {forms}, a weight for each sample or each prediction, for "
            f"predictions of shape {tuple(predictions_shape)}. Received: shape {weights_shape}."
        )


def check_probabilities(
    name: str,
    low: np.ndarray,
    high: np.ndarray,
    total: np.ndarray,
    weight: np.ndarray,
    *,
    is_binary: bool,
    tolerance: float,
) -> None:
    """Raise unless rows are probabilities; rows that are not finite or weigh nothing pass.

    Args:
        name: Name of the argument.
        low: Least entry of each row, of any shape.
        high: Largest entry of each.
        total: Sum of each.
        weight: Weight of each.
        is_binary: Whether a row is one probability, of the positive class.
        tolerance: How far an entry may lie outside [0, 1], and a sum from 1.
    """
    is_inside = (low >= -tolerance) & (high <= 1.0 + tolerance)
    is_sum = (np.abs(total - 1.0) <= tolerance) | is_binary
    # On torch, Keras asks for shapes with nothing but ones in place of predictions.
    if np.all(is_inside & is_sum) or np.all((low == 1.0) & (high == 1.0)):
        return
    # A NaN shows in the sum, an infinity in the extremes.
    counts = np.isfinite(low) & np.isfinite(high) & ~np.isnan(total) & (weight != 0)
    for is_right, rule in (
        (is_inside, "probabilities, in [0, 1]"),
        (is_sum, "probabilities, rows that sum to 1"),
    ):
        is_bad = counts & ~is_right
        if not is_bad.any():
            continue
        index = np.unravel_index(is_bad.argmax(), is_bad.shape)
        place = ", ".join(map(str, index))
        row = f"{low[index]:g}"
        if not is_binary:
            row = f"entries from {low[index]:g} to {high[index]:g} with sum {total[index]:g}"
        last = "sigmoid" if is_binary else "softmax"
        raise ValueError(
            f"`{name}` must hold {rule}. Received: {row} in row [{place}]. For logits pass "
            f"from_logits=True, or end the model in a {last} layer."
        )


def check_gamma_bounds(bounds: Any) -> tuple[float, float]:
    """Return (low, high) as floats, -1 < low <= 0 < high."""
    ends = _as_floats(bounds)
    check_number(
        "gamma_bounds",
        bounds,
        "(low, high) with -1 < low <= 0 < high",
        ends.shape == (2,) and bool(-1 < ends[0] <= 0 < ends[1] < np.inf),
        "Leave it out for (-0.9, 10).",
    )
    return float(ends[0]), float(ends[1])


def check_temperature_bounds(bounds: Any) -> tuple[float, float]:
    """Return (low, high) as floats, 0 < low < 1 < high."""
    ends = _as_floats(bounds)
    check_number(
        "bounds",
        bounds,
        "(low, high) with 0 < low < 1 < high",
        ends.shape == (2,) and bool(0 < ends[0] < 1 < ends[1] < np.inf),
        "Leave it out for (1e-3, 1e3).",
    )
    return float(ends[0]), float(ends[1])


def check_finite(name: str, value: Any, rank: int) -> np.ndarray:
    """Return a float64 array of finite numbers: a list for rank 1, rows for rank 2."""
    array = _as_floats(value)
    fits = array.ndim == rank and 0 not in array.shape[:1] and bool(np.all(np.isfinite(array)))
    form = ("a list", "rows")[rank - 1]
    check_number(name, value, f"{form} of finite numbers", fits, "Give what a fit returned.")
    return array


def check_lengths(**arrays: np.ndarray) -> None:
    """Raise unless arrays, by the names of arguments, have one length: the number of classes."""
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        names = " and ".join(f"`{name}`" for name in lengths)
        listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(
            f"{names} must have one entry per class. Received: lengths {listed}. Give as many as "
            "there are classes."
        )


def check_none_negative(name: str, value: np.ndarray) -> np.ndarray:
    """Return an array of numbers >= 0."""
    check_number(name, value.tolist(), "numbers >= 0", bool(np.all(value >= 0)), "0 is the bound.")
    return value


def check_never_falls(name: str, value: np.ndarray) -> np.ndarray:
    """Return rows of numbers that do not fall."""
    fits = bool(np.all(np.diff(value, axis=-1) >= 0))
    check_number(name, value.tolist(), "rows that do not fall", fits, "Sort them.")
    return value


def check_unit_interval(name: str, value: np.ndarray) -> np.ndarray:
    """Return an array of probabilities."""
    fits = bool(np.all((value >= 0) & (value <= 1)))
    check_number(name, value.tolist(), "numbers in [0, 1]", fits, "They are probabilities.")
    return value


def check_simplex(name: str, value: Any, length: int) -> np.ndarray:
    """Return `length` numbers >= 0 of sum 1."""
    array = _as_floats(value)
    fits = array.shape == (length,) and bool(np.all(array >= 0) and abs(array.sum() - 1) < 1e-3)
    check_number(
        name, value, f"{length} numbers >= 0 of sum 1", fits, "They are the shares of a mixture."
    )
    return array


def check_strength(name: str, value: Any) -> float | None:
    """Return a strength of regularisation, a finite float >= 0; None as it is."""
    if value is None:
        return None
    fits = is_number(value) and bool(np.isfinite(value)) and value >= 0
    check_number(name, value, "None or a finite number >= 0", fits, "None lets the data choose it.")
    return float(value)
