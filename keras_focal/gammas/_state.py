"""State of a loss that callbacks change between compiled steps: gamma, or the gamma of each bin."""

import traceback
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_focal._typing import DType, Tensor
from keras_focal.functional._backend.operations import value_now
from keras_focal.functional._backend.precision import held_dtype


@keras.saving.register_keras_serializable(package="keras_focal")
class HeldState(keras.metrics.Metric):
    """Named numbers that callbacks change and compiled steps read.

    On TensorFlow and torch, a step reads the variables directly. On JAX it only sees what Keras
    passes to it: weights, which are saved in checkpoints, and the variables of metrics. Therefore
    this class is a metric, which reports nothing and is never reset, and `callbacks.attach` adds it
    to a metric of the model. If a step on JAX does not receive the state, the numbers are constants
    of the compiled step, and attached models are compiled again after a change.

    Args:
        values: A number or a sequence of numbers for each name.
        name: Name of the state.
        dtype: Dtype of the variables.

    Example:
        >>> from keras_focal.gammas import HeldState
        >>> state = HeldState({"gamma": 0.1})
        >>> state.assign(gamma=3.0), state.assign(gamma=3.0)
        (True, False)
        >>> state["gamma"], float(state.read("gamma"))
        (3.0, 3.0)
    """

    def __init__(
        self,
        values: Mapping[str, float | Iterable[float]],
        name: str = "held_state",
        dtype: DType = "float32",
    ):
        super().__init__(name=name, dtype=dtype)
        # The numbers as given: 0.1 stays 0.1 even if the variables round it.
        self._numbers = {key: _as_numbers(value) for key, value in values.items()}
        self._held = {
            key: keras.Variable(
                # An initializer, not a value: Keras may create the loss while tracing a step.
                keras.initializers.Constant(np.asarray(value, held_dtype(self.dtype))),
                shape=np.shape(value),
                dtype=held_dtype(self.dtype),
                trainable=False,
                autocast=False,
                aggregation="only_first_replica",
                synchronization="on_read",
                name=key,
            )
            for key, value in self._numbers.items()
        }
        self._is_compiled_in = False
        self._listeners: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
        self.unscheduled: str | None = None
        """Warning to issue once when a training step reads the state before any `assign`."""

    def __getitem__(self, key: str) -> Any:
        """The current number of that name, or a list of numbers."""
        value = self._numbers[key]
        return list(value) if isinstance(value, tuple) else value

    def assign(self, **values: Any) -> bool:
        """Set numbers; return whether any of them changed, compared in the dtype of the state."""
        dtype = held_dtype(self.dtype)
        numbers = {key: _as_numbers(value) for key, value in values.items()}
        has_changed = any(
            not np.array_equal(np.asarray(value, dtype), np.asarray(self._numbers[key], dtype))
            for key, value in numbers.items()
        )
        listeners = list(self._listeners.items())
        for model, (before, _) in listeners:
            before(model)
        for key, value in numbers.items():
            self._held[key].assign(np.asarray(value, dtype))
            self._numbers[key] = value
        self.unscheduled = None
        if has_changed and self._is_compiled_in:
            self._is_compiled_in = False
            rebuilt = [after(model) for model, (_, after) in listeners]
            if not any(rebuilt):
                warnings.warn(
                    f"A step compiled by JAX keeps the old {', '.join(values)} as a constant. Call "
                    "keras_focal.callbacks.attach(model, state) before training; in your own "
                    "jitted step, pass the state in with "
                    "keras.StatelessScope(state_mapping=zip(state.variables, values)).",
                    stacklevel=3,
                )
        return has_changed

    def read(self, key: str) -> Tensor:
        """Return the number or numbers of that name as a tensor without a gradient."""
        if self.unscheduled and _is_training_step():
            warnings.warn(self.unscheduled, stacklevel=2)
            self.unscheduled = None
        variable = self._held[key]
        if keras.backend.backend() != "jax":
            return ops.stop_gradient(ops.convert_to_tensor(variable))
        try:
            value = ops.convert_to_tensor(variable)
        except TypeError:
            # The trainer removes the values of all variables while a step runs.
            value = None
        is_compiling = value_now(ops.zeros(())) is None
        if value is None or (is_compiling and value_now(value) is not None):
            # The step did not receive the state.
            self._is_compiled_in |= is_compiling
            value = ops.convert_to_tensor(self._numbers[key], dtype=held_dtype(self.dtype))
        return ops.stop_gradient(value)

    def listen(self, model: Any, before: Callable, after: Callable) -> None:
        """Call `before(model)` before each change, and `after(model)` after a change that compiled
        steps cannot see. `after` returns whether the steps of the model will be compiled again."""
        self._listeners[model] = before, after

    def handed_over(self) -> None:
        """Record that all compiled steps receive the state from now on."""
        self._is_compiled_in = False

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: only `assign` changes the state."""

    def reset_state(self) -> None:
        """Do nothing: the state outlives the epoch."""

    def result(self) -> dict[str, Tensor]:
        """Return no results, so that logs and `evaluate` are unaffected."""
        return {}

    def get_config(self) -> dict[str, Any]:
        values = {key: self[key] for key in self._numbers}
        return {"values": values, "name": self.name, "dtype": self.dtype}

    def __reduce__(self) -> tuple:
        return type(self).from_config, (self.get_config(),)


def _as_numbers(value: Any) -> float | tuple[float, ...]:
    return tuple(map(float, value)) if np.ndim(value) else float(value)


def _is_training_step() -> bool:
    """Return whether the caller runs inside the `train_step` of a Keras model."""
    return any(frame.f_code.co_name == "train_step" for frame, _ in traceback.walk_stack(None))
