"""Operations that Keras lacks, or for which a faster version exists."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_focal._typing import Tensor
from keras_focal.functional._backend.compilation import is_compiled, is_in_xla
from keras_focal.functional._backend.precision import LOWEST, to_float

BLOCK = 64
"""Number of summands that are added in one cumulative sum."""

MANY_OUTPUTS = 2**20
"""Number of binary outputs from which on memory takes longer than computing them twice."""

LEVELS = 3
"""Number of times that a row of unknown length is divided: up to 64**4 entries."""


def value_now(x: Tensor) -> Any:
    """Return a tensor as a NumPy array, or None if it has no value yet, as in a compiled step."""
    if keras.backend.backend() == "torch":
        import torch

        # Reading a value would break the graph.
        if torch.compiler.is_compiling():
            return None
    try:
        return ops.convert_to_numpy(x)
    except Exception:  # each framework raises its own type
        return None


def scatter_add(x: Tensor, index: Tensor, rows: Tensor) -> Tensor:
    """Return x with rows[i] added to row index[i] for every i, in place if x is donated.

    Before 3.14 the one in Keras only adds to zeros, which takes another pass over all of x.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.tensor_scatter_nd_add(x, ops.expand_dims(index, -1), rows)
    if keras.backend.backend() == "jax":
        return x.at[index].add(rows)
    return x.index_add(0, index, rows)


def running_sum(x: Tensor) -> Tensor:
    """Return the sums of the first 1, 2, ... N entries of a tensor of shape (N,).

    In blocks, since XLA on TensorFlow computes a cumulative sum in quadratic time. An unknown N is
    divided as the largest would be.
    """
    return _running_sum(x, LEVELS)


def _running_sum(x: Tensor, levels: int) -> Tensor:
    size = x.shape[0]
    if levels == 0 or (size is not None and size <= BLOCK):
        return ops.cumsum(x)
    extra = -ops.shape(x)[0] % BLOCK
    blocks = ops.reshape(ops.pad(x, [[0, extra]]), (-1, BLOCK))
    within = ops.cumsum(blocks, axis=1)
    before = ops.pad(_running_sum(within[:-1, -1], levels - 1), [[1, 0]])
    return ops.reshape(within + ops.expand_dims(before, -1), (-1,))[: ops.shape(x)[0]]


def matmul_float32(a: Tensor, b: Tensor) -> Tensor:
    """Return the matrix product in float32 or better, also of half-precision matrices."""
    if keras.backend.backend() == "jax":
        import jax.numpy as jnp

        return jnp.matmul(a, b, preferred_element_type=jnp.promote_types(a.dtype, jnp.float32))
    return ops.matmul(to_float(a), to_float(b))


def recomputed(x: Tensor) -> Tensor:
    """Return x such that expressions of it are recomputed rather than kept in memory.

    A compiler that finds the same expression in the forward and the backward pass would keep its
    result, an array as large as the logits, in memory in between.
    """
    if keras.backend.backend() != "jax":
        return x
    import jax

    return jax.lax.optimization_barrier(x)


def recomputed_outputs(x: Tensor) -> Tensor:
    """Return predictions of binary outputs as `recomputed` does, many on TensorFlow too.

    XLA drops barriers in a program for a CPU. There a logit of -inf becomes the lowest finite
    number, which makes no difference to an output.
    """
    is_large = None not in x.shape and math.prod(x.shape) >= MANY_OUTPUTS
    is_float32 = keras.backend.standardize_dtype(x.dtype) == "float32"
    return ops.maximum(x, LOWEST) if is_large and is_float32 and is_in_xla() else recomputed(x)


def polynomial(coefficients: Sequence[Any], x: Tensor) -> Any:
    """Return the polynomial of x with these coefficients, from the lowest power up."""
    *lower, value = coefficients
    for coefficient in reversed(lower):
        value = value * x + coefficient
    return value


LOG_COEFFICIENTS = (
    -0.499996483,
    0.33321324,
    -0.248571634,
    0.191536546,
    -0.137538016,
    0.0792045221,
    -0.0300657861,
    0.00536482269,
)
"""Minimax polynomial of (log(1 + x) / x - 1) / x on [0, 1], from the lowest power up."""


def log_of_one_plus(x: Tensor) -> Tensor:
    """Return log(1 + x) for x in [0, 1], with a relative error of 2e-7 in float32.

    When compiled for a CPU, log1p takes most of the time of a sigmoid cross-entropy and this
    polynomial is faster. When each operation is a pass over memory, log1p is faster.
    """
    if keras.backend.standardize_dtype(x.dtype) == "float64" or not is_compiled():
        return ops.log1p(x)
    return x + x * (x * polynomial(LOG_COEFFICIENTS, x))
