"""Gradients and compiled functions of each backend, for what checks them."""

from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from keras_focal._typing import Tensor

Function = Callable[[Tensor], Tensor]


def gradient(function: Function, x: np.ndarray) -> np.ndarray:
    """Return the gradient of the scalar function(x)."""
    point = ops.convert_to_tensor(x)
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                tape.watch(point)
                value = function(point)
            found = tape.gradient(value, point)
        case "jax":
            import jax

            found = jax.jit(jax.grad(function))(point)
        case _:
            point = point.detach().clone().requires_grad_(True)
            function(point).backward()
            found = point.grad
    return ops.convert_to_numpy(found)


def compiled(function: Function) -> Function | None:
    """Return the function compiled by XLA; None on torch, where Keras has none."""
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            untouched = tf.autograph.experimental.do_not_convert(function)
            return tf.function(untouched, jit_compile=True)
        case "jax":
            import jax

            return jax.jit(function)
        case _:
            return None


def has_float64() -> bool:
    """Return whether tensors can be float64, which JAX leaves off by default."""
    if keras.backend.backend() != "jax":
        return True
    import jax

    return bool(jax.config.read("jax_enable_x64"))
