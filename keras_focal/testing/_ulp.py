"""Comparison in units of the last place."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_focal._validation.choices import check_choice
from keras_focal._validation.numbers import check_real

# Bits of the significand, the hidden one too, and the least exponent of a normal number.
_FORMATS = {
    "float64": (53, -1022),
    "float32": (24, -126),
    "bfloat16": (8, -126),
    "float16": (11, -14),
}


def assert_close_ulp(actual: Any, desired: Any, ulp: float, dtype: str | None = None) -> None:
    """Assert that numbers differ by at most some units in the last place (ULPs).

    One ULP of a number is the gap between it and the next larger number of the format: 2^-23 of
    1.0 in float32. It is taken at the desired numbers, which can therefore be more exact than the
    format. NaN equals NaN, and an infinity equals itself.

    Args:
        actual: Numbers, array or tensor of any backend.
        desired: Numbers that can be broadcast to the shape of `actual`.
        ulp: Largest difference, 0 or more.
        dtype: Format of the ULP: "float64", "float32", "bfloat16" or "float16". The dtype of
            `actual` by default.

    Raises:
        AssertionError: If a difference is larger. The message has the worst element.
        ValueError: If `ulp` is negative or `dtype` is none of these formats.

    Example:

    >>> assert_close_ulp(np.float32(0.1), 0.1, 0.5)
    >>> assert_close_ulp(np.float32(0.1), 0.1, 0.1)
    Traceback (most recent call last):
    AssertionError: 0.2 ULP of float32 > 0.1 at (): 0.10000000149011612, not 0.1.
    """
    check_real("ulp", ulp, "a number of at least 0", lambda x: x >= 0, "0.5 is correct rounding.")
    given = actual if hasattr(actual, "dtype") else np.asarray(actual, "float64")
    dtype = dtype or keras.backend.standardize_dtype(given.dtype)
    check_choice("dtype", dtype, tuple(_FORMATS))
    x, y = np.broadcast_arrays(as_float64(given), as_float64(desired))
    bits, least = _FORMATS[dtype]
    with np.errstate(invalid="ignore"):
        exponent = np.where(y == 0, least, np.maximum(np.frexp(y)[1] - 1, least))
        differences = np.abs(x - y) / np.ldexp(1.0, exponent + 1 - bits)
    is_same = (x == y) | (np.isnan(x) & np.isnan(y))
    differences = np.where(is_same, 0.0, np.where(np.isnan(differences), np.inf, differences))
    if differences.size and differences.max() > ulp:
        worst = np.unravel_index(differences.argmax(), differences.shape)
        where = tuple(int(i) for i in worst)
        raise AssertionError(
            f"{differences[worst]:.3g} ULP of {dtype} > {ulp} at {where}: "
            f"{float(x[worst])!r}, not {float(y[worst])!r}."
        )


def as_float64(values: Any) -> np.ndarray:
    """Return numbers or a tensor of any float dtype as a float64 array."""
    if not isinstance(values, np.ndarray | np.generic | float | int | list | tuple):
        # NumPy has no bfloat16 of its own.
        is_bfloat16 = keras.backend.standardize_dtype(values.dtype) == "bfloat16"
        values = ops.convert_to_numpy(ops.cast(values, "float32") if is_bfloat16 else values)
    return np.asarray(values, "float64")
