"""Operations that Keras does not have, or not as fast."""

from typing import Any

import keras
from keras import ops

from keras_focal.functional._backend.compilation import is_compiled
from keras_focal.functional._backend.precision import Tensor, to_float


def value_now(x: Tensor) -> Any:
    """Return a tensor as a NumPy array; None where it has no value, as inside a compiled step."""
    if keras.backend.backend() == "torch":
        import torch

        # Reading would break the graph in two.
        if torch.compiler.is_compiling():
            return None
    try:
        return ops.convert_to_numpy(x)
    except Exception:  # each framework raises its own type
        return None


def scatter_add(x: Tensor, index: Tensor, rows: Tensor) -> Tensor:
    """Return x with rows[i] added to row index[i] for every i, in place where x is given up.

    Keras's own adds to nothing but zeros before 3.14: a pass over all of x, which may be large.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.tensor_scatter_nd_add(x, ops.expand_dims(index, -1), rows)
    if keras.backend.backend() == "jax":
        return x.at[index].add(rows)
    return x.index_add(0, index, rows)


def matmul_float32(a: Tensor, b: Tensor) -> Tensor:
    """Return the matrix product in float32 or better, also of half-precision matrices."""
    if keras.backend.backend() == "jax":
        import jax.numpy as jnp

        return jnp.matmul(a, b, preferred_element_type=jnp.promote_types(a.dtype, jnp.float32))
    return ops.matmul(to_float(a), to_float(b))


def afresh(x: Tensor) -> Tensor:
    """Return x, so that what is computed from it is computed again.

    A compiler that finds the same expression in the forward and the backward pass keeps its
    result in memory from the one to the other: an array as large as the logits.
    """
    if keras.backend.backend() != "jax":
        return x
    import jax

    return jax.lax.optimization_barrier(x)


def log_of_one_plus(x: Tensor) -> Tensor:
    """Return log(1 + x) for x in [0, 1], to 2e-7 in float32.

    Compiled for a CPU, log1p takes most of the time of a sigmoid cross-entropy; this series does
    not. Where every operation is a pass over memory, log1p is the faster.
    """
    if keras.backend.standardize_dtype(x.dtype) == "float64" or not is_compiled():
        return ops.log1p(x)
    t = x / (2.0 + x)
    square = t * t
    series = 1.0 / 13.0
    for divisor in (11.0, 9.0, 7.0, 5.0, 3.0, 1.0):
        series = series * square + 1.0 / divisor
    return 2.0 * t * series
