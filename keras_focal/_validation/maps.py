"""Rules for the parameters of calibration maps, and for how they are fitted."""

from typing import Any

import numpy as np

from keras_focal._validation.numbers import as_floats, check_at_least, check_pair, check_that


def check_finite(name: str, value: Any, rank: int) -> np.ndarray:
    """Return a float64 array of finite numbers: a list for rank 1, rows for rank 2."""
    array = as_floats(value)
    fits = array.ndim == rank and 0 not in array.shape[:1] and bool(np.all(np.isfinite(array)))
    form = ("a list", "rows")[rank - 1]
    check_that(name, value, f"{form} of finite numbers", fits, "Give what a fit returned.")
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


def check_non_negative(name: str, value: np.ndarray) -> np.ndarray:
    """Return an array of numbers >= 0."""
    return _all(name, value, "numbers >= 0", value >= 0, "0 is the bound.")


def check_non_decreasing(name: str, value: np.ndarray) -> np.ndarray:
    """Return an array with non-decreasing rows."""
    is_step = np.diff(value, axis=-1) >= 0
    return _all(name, value, "rows of non-decreasing numbers", is_step, "Sort them.")


def check_unit_interval(name: str, value: np.ndarray) -> np.ndarray:
    """Return an array of probabilities."""
    is_inside = (value >= 0) & (value <= 1)
    return _all(name, value, "numbers in [0, 1]", is_inside, "They are probabilities.")


def check_table(parts: dict[str, Any], fewer: int) -> dict[str, np.ndarray]:
    """Return the edges and the probabilities of a table by their names: a row of each per class.

    Args:
        parts: Non-decreasing edges, and probabilities, by the names of the arguments.
        fewer: How many edges there are less than probabilities in a row.
    """
    (name, edges), (of_values, values) = parts.items()
    edges = check_non_decreasing(name, check_finite(name, edges, 2))
    values = check_unit_interval(of_values, check_finite(of_values, values, 2))
    check_lengths(**{name: edges, of_values: values})
    if values.shape[1] - edges.shape[1] != fewer or not values.shape[1]:
        raise ValueError(
            f"`{of_values}` must have {'one more number than' if fewer else 'as many numbers as'} "
            f"`{name}` in each row. Received: {values.shape[1]} and {edges.shape[1]}. Repeat "
            "the last number of a short row."
        )
    return {name: edges, of_values: values}


def _all(name: str, value: np.ndarray, rule: str, holds: np.ndarray, fix: str) -> np.ndarray:
    check_that(name, value.tolist(), rule, bool(np.all(holds)), fix)
    return value


def check_simplex(name: str, value: Any, length: int) -> np.ndarray:
    """Return `length` numbers >= 0 that sum to 1."""
    array = as_floats(value)
    fits = array.shape == (length,) and bool(np.all(array >= 0) and abs(array.sum() - 1) < 1e-3)
    fix = "They are the weights of a mixture."
    check_that(name, value, f"{length} numbers >= 0 that sum to 1", fits, fix)
    return array


def check_strength(name: str, value: Any) -> float | None:
    """Return a strength of regularisation, a finite float >= 0, or None."""
    fix = "None lets the data choose it."
    return None if value is None else check_at_least(name, value, 0, fix)


def check_temperature_bounds(bounds: Any) -> tuple[float, float]:
    """Return (low, high) as floats, 0 < low < 1 < high."""
    return check_pair(
        "bounds",
        bounds,
        "0 < low < 1 < high",
        lambda low, high: 0 < low < 1 < high,
        "Leave it out for (1e-3, 1e3).",
    )
