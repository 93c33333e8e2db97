"""Precision: computations use float32 or better, whatever the dtype of the inputs."""

from typing import Any

import keras
from keras import ops

from keras_focal import _host
from keras_focal._typing import Tensor

TINY = _host.TINY
"""The smallest normal float32. Some devices flush smaller numbers to zero."""

LOWEST = -(2.0 - 2.0**-23) * 2.0**127
"""The lowest finite float32."""

_HALF = ("float16", "bfloat16")


def compute_dtype(dtype: Any) -> str:
    """Return the dtype to compute in: `dtype`, or float32 if it is a half-precision dtype.

    None means `keras.config.floatx()`.
    """
    dtype = keras.dtype_policies.get(dtype or keras.config.floatx()).compute_dtype
    return "float32" if dtype in _HALF else dtype


def held_dtype(dtype: str) -> str:
    """Return the dtype of a variable of `dtype`: JAX has float64 only if it is enabled."""
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
    """Return `x` as a float tensor of its own precision; kernels cast it to float32 row by row."""
    x = ops.convert_to_tensor(x)
    return x if "float" in keras.backend.standardize_dtype(x.dtype) else ops.cast(x, "float32")
