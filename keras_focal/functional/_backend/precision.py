"""The precision that the package computes in: float32 or better, whatever comes in."""

from typing import Any

import keras
from keras import ops

from keras_focal import _host

Tensor = Any

TINY = _host.TINY
"""The smallest normal float32."""

LOWEST = -(2.0 - 2.0**-23) * 2.0**127
"""The lowest finite float32."""

_HALF = ("float16", "bfloat16")


def compute_dtype(dtype: Any) -> str:
    """Return the dtype to compute in: `dtype` itself, or float32 in place of a half dtype.

    `None` stands for `keras.config.floatx()`.
    """
    dtype = keras.dtype_policies.get(dtype or keras.config.floatx()).compute_dtype
    return "float32" if dtype in _HALF else dtype


def held_dtype(dtype: str) -> str:
    """Return the dtype that a variable of `dtype` has here: JAX has float64 only if told so."""
    if dtype == "float64" and keras.backend.backend() == "jax":
        import jax

        return str(jax.dtypes.canonicalize_dtype(dtype))
    return dtype


def to_float(x: Any) -> Tensor:
    """Return `x` as a float tensor: half precision and integers become float32."""
    x = ops.convert_to_tensor(x)
    dtype = keras.backend.standardize_dtype(x.dtype)
    if dtype in ("float32", "float64"):
        return x
    return ops.cast(x, "float32")


def floating(x: Tensor) -> Tensor:
    """Return `x` as a float tensor of its own precision: a kernel raises it row by row."""
    x = ops.convert_to_tensor(x)
    return x if "float" in keras.backend.standardize_dtype(x.dtype) else ops.cast(x, "float32")
