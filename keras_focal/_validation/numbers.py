"""Rules for numbers: finite, positive, whole, within an interval."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

Condition = Callable[..., bool]


def check_that(name: str, value: Any, rule: str, holds: bool, fix: str) -> None:
    """Raise unless `holds`, with the wording that all rules share."""
    if not holds:
        raise ValueError(f"`{name}` must be {rule}. Received: {name}={value!r}. {fix}")


def is_number(value: Any) -> bool:
    """Tell whether `value` is a real scalar: a Python or NumPy number, not a bool or a string."""
    if isinstance(value, bool):
        return False
    is_scalar = isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind in "fiu"
    return is_scalar or isinstance(value, int | float | np.number)


def as_floats(value: Any) -> np.ndarray:
    """Return a float64 array of `value`; NaN, which no rule admits, if it holds no numbers."""
    try:
        array = np.asarray(value)
        return array.astype("float64") if array.dtype.kind in "fiu" else np.array(np.nan)
    except (TypeError, ValueError):
        return np.array(np.nan)


def check_real(name: str, value: Any, rule: str, holds: Condition, fix: str) -> float:
    """Return `value` as a finite float that satisfies `holds`."""
    fits = is_number(value) and bool(np.isfinite(value)) and holds(value)
    check_that(name, value, rule, fits, fix)
    return float(value)


def check_at_least(name: str, value: Any, least: float, fix: str = "0 leaves it out.") -> float:
    """Return `value` as a finite float >= `least`."""
    return check_real(name, value, f"a finite number >= {least:g}", lambda x: x >= least, fix)


def check_positive(name: str, value: Any) -> float:
    """Return `value` as a finite float > 0."""
    return check_real(name, value, "a finite number > 0", lambda x: x > 0, "1 changes nothing.")


def check_fraction(name: str, value: Any, fix: str = "0 leaves it out, 0.05 is usual.") -> float:
    """Return `value` as a float in [0, 1)."""
    return check_real(name, value, "a number in [0, 1)", lambda x: 0 <= x < 1, fix)


def check_part(name: str, value: Any) -> float:
    """Return `value` as a float in (0, 1]."""
    fix = "1 keeps everything, 0.25 a quarter."
    return check_real(name, value, "a number in (0, 1]", lambda x: 0 < x <= 1, fix)


def check_whole(name: str, value: Any, rule: str, holds: Condition, fix: str) -> int:
    """Return `value` as an int that satisfies `holds`."""
    fits = is_number(value) and float(value).is_integer() and holds(value)
    check_that(name, value, rule, fits, fix)
    return int(value)


def check_count(name: str, value: Any) -> int:
    """Return `value` as an int >= 1."""
    fix = "Give an int such as 15."
    return check_whole(name, value, "a whole number >= 1", lambda x: x >= 1, fix)


def check_soft_bins(name: str, value: Any) -> int:
    """Return `value` as an int >= 2."""
    fix = "A prediction is divided between bins: 15 or 20 are usual."
    return check_whole(name, value, "a whole number >= 2", lambda x: x >= 2, fix)


def check_window(name: str, value: Any) -> int:
    """Return `value` as an odd int >= 3."""
    fix = "A window has its pixel in the middle: 3 is usual."
    return check_whole(
        name, value, "an odd whole number >= 3", lambda x: x >= 3 and x % 2 == 1, fix
    )


def check_open_interval(name: str, value: Any, low: float, high: float, why: str) -> None:
    """Raise unless every entry of `value` lies strictly between `low` and `high`."""
    array = as_floats(value)
    if not np.all((array > low) & (array < high)):
        raise ValueError(
            f"`{name}` must be in ({low:g}, {high:g}): {why}. Received: {name}={value!s}."
        )


def check_pair(name: str, value: Any, rule: str, holds: Condition, fix: str) -> tuple[float, float]:
    """Return (low, high) as finite floats that satisfy `holds`."""
    ends = as_floats(value)
    fits = ends.shape == (2,) and bool(np.all(np.isfinite(ends))) and holds(*ends)
    check_that(name, value, f"(low, high) with {rule}", bool(fits), fix)
    return float(ends[0]), float(ends[1])


def check_bounds(low: Any, high: Any) -> tuple[float, float]:
    """Return two finite floats, `low` < `high`."""
    ends = as_floats([low, high])
    if not (ends.shape == (2,) and np.all(np.isfinite(ends)) and ends[0] < ends[1]):
        raise ValueError(
            f"`low` must be < `high`, both finite. Received: low={low!r}, high={high!r}. Give the "
            "smaller bound first."
        )
    return float(ends[0]), float(ends[1])


def check_increasing(name: str, values: Sequence[float], fix: str) -> None:
    """Raise unless each value is larger than the one before."""
    if any(b <= a for a, b in pairwise(values)):
        raise ValueError(
            f"`{name}` must be strictly increasing. Received: {name}={list(values)}. {fix}"
        )
