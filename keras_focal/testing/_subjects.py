"""What is checked, together with a sample that it is checked on."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_focal._typing import Tensor
from keras_focal.testing._ulp import as_float64


@dataclass(frozen=True)
class Subject(ABC):
    """An object and a sample: labels, if it takes some, and predictions, with rows first."""

    obj: Any
    y_true: Any
    y_pred: np.ndarray

    def rebuilt(self, **changes: Any) -> Any:
        """Return a new object of the same config, but for changes."""
        return type(self.obj).from_config({**self.obj.get_config(), **changes})

    @abstractmethod
    def value(
        self, obj: Any, y_true: Any, y_pred: Any, sample_weight: np.ndarray | None = None
    ) -> Tensor:
        """Return what an object makes of a sample. It can be traced."""

    @abstractmethod
    def model(self, obj: Any) -> keras.Model:
        """Return a compiled model that uses an object, and takes `y_pred` as it is."""

    def result(self, obj: Any) -> np.ndarray:
        """Return what an object makes of the sample, float64."""
        return as_float64(self.value(obj, self.y_true, self.y_pred))

    def evaluated(self, model: keras.Model) -> dict[str, float]:
        """Return what a model of `model` measures on the sample."""
        labels = np.zeros(len(self.y_pred)) if self.y_true is None else self.y_true
        values = model.evaluate(self.y_pred, labels, verbose=0, return_dict=True)
        return {name: float(value) for name, value in values.items()}

    def _inputs(self) -> keras.KerasTensor:
        return keras.Input(self.y_pred.shape[1:])


class LossSubject(Subject):
    def value(
        self, obj: Any, y_true: Any, y_pred: Any, sample_weight: np.ndarray | None = None
    ) -> Tensor:
        return obj(y_true, y_pred, sample_weight)

    def model(self, obj: Any) -> keras.Model:
        inputs = self._inputs()
        model = keras.Model(inputs, keras.layers.Identity()(inputs))
        model.compile("sgd", loss=obj, run_eagerly=True)
        return model


class MetricSubject(Subject):
    def value(
        self, obj: Any, y_true: Any, y_pred: Any, sample_weight: np.ndarray | None = None
    ) -> Tensor:
        state = obj.stateless_reset_state()
        return self.read(
            obj, obj.stateless_update_state(state, y_true, y_pred, sample_weight=sample_weight)
        )

    def read(self, obj: Any, state: list[Tensor]) -> Tensor:
        """Return the result of a state; that of several readings as one tensor."""
        found = obj.stateless_result(state)
        if not isinstance(found, dict):
            return found
        return ops.stack([ops.convert_to_tensor(found[name]) for name in sorted(found)])

    def model(self, obj: Any) -> keras.Model:
        inputs = self._inputs()
        # A loss of 0, since Keras evaluates no model without a loss.
        outputs = keras.layers.ActivityRegularization()(inputs)
        model = keras.Model(inputs, outputs)
        model.compile("sgd", weighted_metrics=[obj], run_eagerly=True)
        return model


class MapSubject(Subject):
    def rebuilt(self, **changes: Any) -> Any:
        layer = super().rebuilt(**changes)
        for one in (self.obj, layer):
            if not one.built:
                one.build(self.y_pred.shape)
        layer.set_weights(self.obj.get_weights())
        return layer

    def value(
        self, obj: Any, y_true: Any, y_pred: Any, sample_weight: np.ndarray | None = None
    ) -> Tensor:
        return obj(y_pred)

    def model(self, obj: Any) -> keras.Model:
        inputs = self._inputs()
        outputs = obj(inputs)
        mean = keras.layers.Flatten()(ops.cast(outputs, "float32"))
        model = keras.Model(inputs, ops.mean(mean, axis=-1))
        model.compile("sgd", loss="mse", run_eagerly=True)
        return model
