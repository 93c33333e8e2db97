"""What every focal loss shares: its gamma, its weights, its config."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_focal._validation import check_alpha, check_fraction, check_gamma
from keras_focal.functional import align_weights, compute_dtype, effective_weights
from keras_focal.gammas import GammaRule, sample_dependent

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_focal")
class GammaState(keras.metrics.Metric):
    """A gamma that a callback may change while a compiled step is running.

    A metric, because metric variables are the only state besides weights that Keras hands to a
    compiled step on every backend; one that reports nothing and is never reset.
    """

    def __init__(self, gamma: float, name: str = "gamma", dtype: Any = "float32"):
        super().__init__(name=name, dtype=dtype)
        self.variable = self.add_variable(
            shape=(),
            initializer=keras.initializers.Constant(gamma),
            dtype="float32",
            aggregation="only_first_replica",
            name="gamma",
        )

    @property
    def gamma(self) -> float:
        """The value now."""
        return float(ops.convert_to_numpy(self.variable))

    def assign(self, gamma: float) -> None:
        """Set the value."""
        self.variable.assign(gamma)

    def get_config(self) -> dict[str, Any]:
        return {"gamma": self.gamma, "name": self.name, "dtype": self.dtype}

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: only `assign` changes gamma."""

    def reset_state(self) -> None:
        """Do nothing: gamma outlives the epoch."""

    def result(self) -> dict[str, Tensor]:
        """Return no entry, so that neither logs nor `evaluate` change."""
        return {}


class FocalLoss(keras.losses.Loss):
    """Base of the focal losses: holds gamma and turns probabilities into logits.

    A subclass gives `call`.
    """

    _largest_alpha: float | None = None

    def __init__(
        self,
        gamma: Any,
        alpha: Any,
        from_logits: bool,
        label_smoothing: float,
        axis: int,
        reduction: str | None,
        name: str | None,
        dtype: Any,
    ):
        super().__init__(name=name, reduction=reduction, dtype=compute_dtype(dtype))
        self.alpha = check_alpha(alpha, self._largest_alpha)
        self.from_logits = bool(from_logits)
        self.label_smoothing = check_fraction("label_smoothing", label_smoothing)
        self.axis = int(axis)
        if isinstance(gamma, dict):
            gamma = keras.saving.deserialize_keras_object(gamma)
        self._gamma_argument = gamma
        self._rule: Any = None
        self._state: GammaState | None = None
        if isinstance(gamma, str):
            self._rule = sample_dependent(gamma)
        elif isinstance(gamma, GammaRule):
            self._rule = gamma
        else:
            self._state = GammaState(check_gamma("gamma", gamma))

    @property
    def gamma(self) -> float | GammaRule:
        """The exponent now, or the rule that gives each sample its own.

        A number can be assigned. A model that is already compiled sees the new value on
        TensorFlow and torch; on JAX only through `keras_focal.callbacks.GammaScheduler`.
        """
        return self._state.gamma if self._state is not None else self._rule

    @gamma.setter
    def gamma(self, value: float) -> None:
        if self._state is None:
            raise ValueError(
                f"`gamma` must stay the rule that the loss was built with. Received: "
                f"gamma={value!r} for {self._rule!r}. Build a loss with gamma={value!r} instead."
            )
        self._state.assign(check_gamma("gamma", value))

    @property
    def gamma_state(self) -> GammaState | None:
        """The state that holds a gamma given as a number; None for a sample-dependent gamma."""
        return self._state

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        # Keras would take a list for a structure of scalars.
        y_true, y_pred = (
            ops.convert_to_tensor(y, dtype=self.dtype) if isinstance(y, list | tuple) else y
            for y in (y_true, y_pred)
        )
        return super().__call__(y_true, y_pred, sample_weight)

    def _traced_gamma(self) -> Tensor | Callable:
        """Return gamma as the functional losses take it."""
        if self._state is None:
            return self._rule.now()
        return ops.stop_gradient(ops.convert_to_tensor(self._state.variable))

    def get_config(self) -> dict[str, Any]:
        gamma = self._gamma_argument if self._state is None else self._state.gamma
        if isinstance(gamma, GammaRule):
            gamma = keras.saving.serialize_keras_object(gamma)
        return {
            "gamma": gamma,
            "alpha": self.alpha,
            "from_logits": self.from_logits,
            "label_smoothing": self.label_smoothing,
            "axis": self.axis,
            "reduction": self.reduction,
            "name": self.name,
            "dtype": self.dtype,
        }

    def __reduce__(self) -> tuple:
        config = keras.saving.serialize_keras_object(self)
        return keras.saving.deserialize_keras_object, (config,)


def weights_of_valid(
    valid: Tensor, y_pred: Tensor, sample_weight: Any, axis: int, reduction: str | None
) -> Tensor:
    """Return the sample weights under which only `valid` entries count.

    They count as Keras counts entries under a mask: a mean divides by the number of valid ones.
    """
    unmasked = effective_weights(y_pred, None, axis=axis)
    weights = ops.cast(valid, unmasked.dtype)
    if reduction in ("mean", "sum_over_batch_size"):
        # Keras divides by the entries that its own mask leaves; correct for the ignored ones.
        weights *= ops.divide_no_nan(ops.sum(unmasked), ops.sum(unmasked * weights))
    if sample_weight is not None:
        sample_weight = ops.convert_to_tensor(sample_weight, dtype=weights.dtype)
        if len(sample_weight.shape) > len(weights.shape):
            weights = ops.expand_dims(weights, -1)
        weights *= align_weights(sample_weight, weights)
    return weights
