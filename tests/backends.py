"""What the tests need of each framework: gradients, compiled or not, and NumPy back."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

BACKEND = keras.backend.backend()
FEW_STEPS_EAGERLY = BACKEND != "jax"
"""A few steps take less than compiling them does, save on JAX: its programs are kept for a run."""

IS_JIT = BACKEND == "jax"
"""Whether a step that is compiled without further words is compiled by XLA, on a CPU."""
jit_or_not = pytest.mark.parametrize(
    "jit", [IS_JIT, pytest.param(not IS_JIT, marks=pytest.mark.nightly)]
)
"""Steps as they are compiled by default, and by night the other way."""


def value_and_gradient(
    function: Callable[[Any], Any], x: Any, *, compiled: bool = False, dtype: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return function(x) and the gradient of its sum with respect to x, as float64 arrays.

    `compiled` means XLA on TensorFlow and jit on JAX; torch runs eagerly in any case.
    """
    x = ops.convert_to_tensor(x, dtype=dtype)
    value, gradient = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[BACKEND](
        function, x, compiled
    )
    return to_numpy(value), to_numpy(gradient)


def compiled_call(function: Callable, *arrays: Any) -> Any:
    """Return function(*arrays), traced: compiled on JAX, in a graph on TensorFlow."""
    if BACKEND == "jax":
        import jax

        return jax.jit(function)(*arrays)
    import tensorflow as tf

    return tf.function(function, autograph=False)(*map(tf.constant, arrays))


def as_usual(function: Callable) -> Callable:
    """Return the function as it is used: under jit on JAX, which else compiles every operation."""
    if BACKEND != "jax":
        return function
    import jax

    return jax.jit(function)


def to_numpy(x: Any) -> np.ndarray:
    """Return a float64 NumPy array of any backend's tensor, half precision too."""
    return ops.convert_to_numpy(ops.cast(ops.stop_gradient(x), "float32")).astype("float64")


def _tensorflow(function: Callable, x: Any, compiled: bool) -> tuple[Any, Any]:
    import tensorflow as tf

    @tf.autograph.experimental.do_not_convert
    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
            total = tf.reduce_sum(tf.cast(value, tf.float32))
        return value, tape.gradient(total, x)

    return tf.function(run, jit_compile=True)(x) if compiled else run(x)


def _jax(function: Callable, x: Any, compiled: bool) -> tuple[Any, Any]:
    import jax

    def run(x):
        gradient = jax.grad(lambda x: ops.sum(ops.cast(function(x), "float32")))(x)
        return function(x), gradient

    return jax.jit(run)(x) if compiled else run(x)


def _torch(function: Callable, x: Any, compiled: bool) -> tuple[Any, Any]:
    x = x.detach().clone().requires_grad_(True)
    value = function(x)
    value.float().sum().backward()
    return value.detach(), x.grad


def operations(model: Any, x: np.ndarray) -> list[str]:
    """Return the sorted names of the operations of a model's graph."""
    if BACKEND == "jax":
        import jax

        return sorted(str(line.primitive) for line in _flat(jax.make_jaxpr(model)(x).jaxpr))
    import tensorflow as tf

    run = tf.function(model, input_signature=[tf.TensorSpec((None, *x.shape[1:]), x.dtype)])
    return sorted(node.type for node in run.get_concrete_function().graph.get_operations())


def _flat(program: Any) -> list[Any]:
    """Return the lines of a JAX program, those of functions inside it too."""
    lines = []
    for line in program.eqns:
        inner = [value.jaxpr for value in line.params.values() if hasattr(value, "jaxpr")]
        lines += [part for body in inner for part in _flat(body)] if inner else [line]
    return lines
