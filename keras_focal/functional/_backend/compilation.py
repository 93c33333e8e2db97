"""Compilation of kernels.

JAX compiles whole steps, as does a TensorFlow function with `jit_compile=True`; torch runs eagerly.
A TensorFlow graph without `jit_compile`, which Keras uses on machines without a GPU, writes every
intermediate array to memory. There a kernel becomes an island: compiled by XLA inside the
uncompiled graph (docs/decisions/kernels.md).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import Any, TypeVar, cast

import keras
import numpy as np

from keras_focal._typing import Tensor

SMALLEST_ISLAND = 2**10
"""Size of the widest array below which starting compiled code costs more than it saves."""

MOST_ENTRIES = 2**13
"""Number of entries from which on compiled code is faster than a few operations."""

_SMALL = {1 << octave for octave in range(11)}
_LARGE = {step << octave for octave in range(8, 29) for step in range(4, 8)}
SIZES = np.array(sorted(_SMALL | _LARGE), "int32")
"""Numbers of rows to which an unknown number is padded, since code is compiled for each size.

Powers of two up to 1,024, then four sizes per octave.
"""


Function = TypeVar("Function", bound=Callable[..., Any])


def without_autograph(function: Function) -> Function:
    """Return the function such that AutoGraph of TensorFlow does not rewrite it.

    Nothing here branches on a tensor, and rewriting takes many times as long as tracing. `fit` of
    Keras rewrites nothing; `tf.function` does unless it gets `autograph=False`.
    """
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    return cast(Function, tf.autograph.experimental.do_not_convert(function))


@dataclass(frozen=True)
class Kernel:
    """A function of tensors, its other arguments given: equal ones are compiled once in a process.

    Attributes:
        function: Function of the values, then of tensors.
        values: Its first arguments, which are no tensors and have a hash.
    """

    function: Callable[..., Any]
    values: tuple[Any, ...] = ()

    def __call__(self, *tensors: Tensor) -> Any:
        return self.function(*self.values, *tensors)


def over_rows(
    kernel: Callable,
    *arrays: Tensor,
    axes: int,
    shared: tuple[Tensor, ...] = (),
    few: Callable | None = None,
) -> Any:
    """Return kernel(*arrays, *shared), compiled if that is faster.

    Args:
        kernel: Function that treats rows independently. It takes the arrays, or the same rows with
            one leading axis, and returns a tensor or a tuple of tensors with the same leading axes.
        arrays: Tensors of shapes (...) or (..., K).
        axes: Number of axes before K.
        shared: Tensors that all rows have in common.
        few: The same function in few operations, faster for less than `MOST_ENTRIES` entries.
    """
    if keras.backend.backend() != "tensorflow":
        return kernel(*arrays, *shared)
    import tensorflow as tf

    if not tf.inside_function():
        return kernel(*arrays, *shared)
    leading = arrays[0].shape[:axes]
    width = max(math.prod(array.shape[axes:]) for array in arrays)
    is_known = None not in leading
    operations, limit = (kernel, SMALLEST_ISLAND) if few is None else (few, MOST_ENTRIES)
    if (is_known and math.prod(leading) * width < limit) or not _has_xla():
        return operations(*arrays, *shared)
    island = _island(kernel)
    if is_known:
        return island(*arrays, *shared)
    if few is None:
        return _padded(island, arrays, axes, shared)

    # As one node, the branch that is not taken costs nothing.
    @partial(tf.function, experimental_attributes={"_noinline": True}, autograph=False)
    def padded(*tensors: Tensor) -> Any:
        return _padded(island, tensors[: len(arrays)], axes, tensors[len(arrays) :])

    entries = tf.size(arrays[0]) * (width // math.prod(arrays[0].shape[axes:]))
    return tf.cond(
        entries < MOST_ENTRIES,
        lambda: operations(*arrays, *shared),
        lambda: padded(*arrays, *shared),
    )


def are_operations_graphed() -> bool:
    """Return whether operations become those of a TensorFlow graph that is not compiled."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return tf.inside_function() and not is_in_xla()


def is_in_xla() -> bool:
    """Return whether a TensorFlow graph, or one around it, is traced to be compiled."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    graph = tf.compat.v1.get_default_graph() if tf.inside_function() else None
    while graph is not None:
        # Branches and loops are graphs of their own, so contexts do not nest.
        context = graph._get_control_flow_context()
        if context is not None and context.IsXLAContext():
            return True
        graph = getattr(graph, "outer_graph", None)
    return False


def _padded(
    island: Callable, arrays: tuple[Tensor, ...], axes: int, shared: tuple[Tensor, ...]
) -> Any:
    """Return island(*arrays, *shared) for an unknown number of rows."""
    import tensorflow as tf

    leading = arrays[0].shape[:axes]
    count, rows = _with_rows(arrays, axes)
    results = island(*rows, *shared)

    def restored(result: Tensor) -> Tensor:
        shape = tf.concat([tf.shape(arrays[0])[:axes], result.shape[1:]], axis=0)
        return tf.ensure_shape(tf.reshape(result[:count], shape), (*leading, *result.shape[1:]))

    return tf.nest.map_structure(restored, results)


def _with_rows(arrays: tuple[Tensor, ...], axes: int) -> tuple[Tensor, list[Tensor]]:
    """Return the number of rows, and the arrays with their rows on one axis, padded with zeros.

    Code is compiled for each number of rows; padding keeps the number of sizes small.
    """
    import tensorflow as tf

    rows = [tf.reshape(array, (-1, *array.shape[axes:])) for array in arrays]
    count = tf.shape(rows[0])[0]
    extra = tf.gather(SIZES, tf.searchsorted(SIZES, [count]))[0] - count
    padded = [tf.pad(row, [[0, extra], *[[0, 0]] * (len(row.shape) - 1)]) for row in rows]
    return count, padded


def compiled(kernel: Callable, *arrays: Tensor, rows: tuple[Tensor, ...] = ()) -> Any:
    """Return kernel(*arrays, *rows), compiled in a TensorFlow graph if the arrays are large.

    Args:
        kernel: Function of tensors.
        arrays: Tensors. Nothing is compiled if one of their shapes is unknown.
        rows: Tensors of shape (n,) or (n, ...). If n is unknown, rows of zeros are added, which
            must not change the result of the kernel.
    """
    if keras.backend.backend() != "tensorflow":
        return kernel(*arrays, *rows)
    import tensorflow as tf

    is_known = all(None not in array.shape for array in arrays)
    is_large = is_known and sum(math.prod(array.shape) for array in arrays) >= SMALLEST_ISLAND
    if not is_large or not tf.inside_function() or not _has_xla():
        return kernel(*arrays, *rows)
    is_counted = all(row.shape[0] is not None for row in rows)
    all_rows = rows if is_counted else _with_rows(rows, 1)[1]
    # Variables are read here: replicated ones cannot be passed to the function.
    inputs = map(tf.convert_to_tensor, (*arrays, *all_rows))
    return _island(kernel)(*inputs)


def _island(kernel: Callable) -> Callable:
    """Return the kernel, compiled by XLA; the same object for equal ones of class `Kernel`."""
    import tensorflow as tf

    if isinstance(kernel, Kernel):
        return _kept_island(kernel, keras.config.floatx())
    return tf.function(kernel, jit_compile=True, autograph=False)


@lru_cache(maxsize=128)
def _kept_island(kernel: Kernel, floatx: str) -> Callable:
    import tensorflow as tf

    return tf.function(kernel, jit_compile=True, autograph=False)


def jitted(kernel: Callable) -> Callable:
    """Return the kernel, compiled as a whole on JAX, which otherwise compiles each operation.

    The other backends run single operations without compiling them.
    """
    if keras.backend.backend() != "jax":
        return kernel
    import jax

    return jax.jit(kernel)


def is_compiled() -> bool:
    """Return whether the code that is being traced will be compiled."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.inside_function()
    return keras.backend.backend() == "jax"


def num_devices() -> int:
    """Return over how many devices one tensor may be divided: all of JAX, else one."""
    if keras.backend.backend() != "jax":
        return 1
    import jax

    return jax.device_count()


@cache
def _has_xla() -> bool:
    """Return whether this TensorFlow was built with XLA."""
    import tensorflow as tf

    with tf.init_scope():
        try:
            tf.function(tf.negative, jit_compile=True)(1.0)
        except tf.errors.OpError:
            return False
    return True
