"""What the losses share: how labels and predictions come in, gamma, weights, config."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_focal._validation import (
    check_axis,
    check_class_axis,
    check_class_id,
    check_gamma,
    check_labels_fit,
    check_same_shape,
    check_whole_labels,
)
from keras_focal.functional import (
    align_weights,
    class_ids,
    compute_dtype,
    effective_weights,
    logits_from_binary_probabilities,
    logits_from_probabilities,
)
from keras_focal.gammas import GammaRule, HeldState, sample_dependent

Tensor = Any


class ClassificationLoss(keras.losses.Loss):
    """Base of the losses: reads labels of either form, and turns probabilities into logits.

    Labels are class ids, shape (...) or (..., 1), or rows with the class axis of `y_pred`. A
    subclass gives `call`.
    """

    # Whether every output is a yes-or-no answer of its own, so that no label is a class id.
    _is_independent = False
    # Whether `call` gets (y_true, weights) in place of y_true, since it depends on the batch.
    _takes_weights = False

    def __init__(
        self,
        from_logits: bool,
        axis: int,
        reduction: str | None,
        name: str | None,
        dtype: Any,
        ignore_class: int | None = None,
    ):
        super().__init__(name=name, reduction=reduction, dtype=compute_dtype(dtype))
        self.from_logits = bool(from_logits)
        self.axis = int(axis)
        self.ignore_class = check_class_id("ignore_class", ignore_class)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        # Keras would take a list for a structure of scalars.
        y_true, y_pred = as_tensor(y_true, self.dtype), as_tensor(y_pred, self.dtype)
        self.check_labels(y_true, y_pred)
        if self.ignore_class is not None:
            valid = self.is_valid(y_true, y_pred)
            sample_weight = weights_of_valid(
                valid, y_pred, sample_weight, self.axis, self.reduction
            )
        if self._takes_weights:
            y_true = (y_true, effective_weights(y_pred, sample_weight, axis=self.axis))
        return super().__call__(y_true, y_pred, sample_weight)

    def check_labels(self, y_true: Any, y_pred: Any) -> None:
        """Raise where class ids that can be read now are not whole numbers."""
        shape: tuple = getattr(y_true, "shape", ())
        like: tuple = getattr(y_pred, "shape", ())
        may_be_ids = len(shape) < len(like) or (len(shape) > 0 and shape[-1] == 1)
        if may_be_ids and not self._is_independent:
            check_whole_labels(y_true)

    def is_valid(self, y_true: Any, y_pred: Any) -> Tensor:
        """Return where the class is not the one to leave out, shape (...)."""
        labels, predictions = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        labels, predictions = self._classes_last(labels, predictions)
        return ops.not_equal(class_ids(labels, predictions.shape), self.ignore_class)

    def _classes_last(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        """Return labels and predictions with the class axis of both at the end."""
        check_class_axis(y_pred, self.axis)
        pairs = zip(y_true.shape, y_pred.shape, strict=False)
        are_alike = all(a is None or b is None or a == b for a, b in pairs)
        if are_alike and len(y_true.shape) == len(y_pred.shape):
            y_true = ops.moveaxis(y_true, self.axis, -1)
        y_pred = ops.moveaxis(y_pred, self.axis, -1)
        check_labels_fit("y_true", y_true.shape, y_pred.shape)
        return y_true, y_pred

    def _labels_and_logits(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        """Return labels of either form, and the logits of shape (..., K)."""
        y_true, y_pred = self._classes_last(y_true, y_pred)
        return y_true, y_pred if self.from_logits else logits_from_probabilities(y_pred)

    def _targets_and_logits(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        """Return targets and logits of independent outputs, of the shape of `y_pred`."""
        if len(y_true.shape) == len(y_pred.shape) - 1 and y_pred.shape[-1] == 1:
            y_true = ops.expand_dims(y_true, -1)
        fix = "Give one label in [0, 1] for each output."
        check_same_shape("y_true", y_true.shape, y_pred.shape, fix)
        check_axis(y_pred, self.axis)
        return y_true, y_pred if self.from_logits else logits_from_binary_probabilities(y_pred)

    def _averaged(self, values: Tensor) -> Tensor:
        """Return the mean over `axis`."""
        # Not ops.mean, which makes float32 of float64 on torch.
        count = ops.cast(ops.shape(values)[self.axis], values.dtype)
        return ops.sum(values, axis=self.axis) / count

    def get_config(self) -> dict[str, Any]:
        return {
            "from_logits": self.from_logits,
            "axis": self.axis,
            "reduction": self.reduction,
            "name": self.name,
            "dtype": self.dtype,
        }

    def __reduce__(self) -> tuple:
        config = keras.saving.serialize_keras_object(self)
        return keras.saving.deserialize_keras_object, (config,)


class FocalLoss(ClassificationLoss):
    """Base of the focal losses: holds gamma. A subclass gives `call`."""

    def __init__(
        self,
        gamma: Any,
        from_logits: bool,
        axis: int,
        reduction: str | None,
        name: str | None,
        dtype: Any,
        ignore_class: int | None = None,
    ):
        super().__init__(from_logits, axis, reduction, name, dtype, ignore_class)
        if isinstance(gamma, dict):
            gamma = keras.saving.deserialize_keras_object(gamma)
        self._gamma_argument = gamma
        self._rule: Any = None
        self._state: HeldState | None = None
        if isinstance(gamma, GammaRule):
            self._rule = gamma
        elif isinstance(gamma, str) or callable(gamma):
            self._rule = sample_dependent(gamma)
        else:
            self._state = HeldState({"gamma": check_gamma("gamma", gamma)}, name="gamma")

    @property
    def gamma(self) -> float | GammaRule:
        """The exponent now, or the rule that gives each sample its own.

        A number can be assigned. A model that is already compiled sees the new value on
        TensorFlow and torch; on JAX after `keras_focal.callbacks.attach(model)`, and with
        `GammaScheduler`, which does that.
        """
        return self._rule if self._state is None else self._state["gamma"]

    @gamma.setter
    def gamma(self, value: float) -> None:
        if self._state is None:
            raise ValueError(
                f"`gamma` must stay the rule that the loss was built with. Received: "
                f"gamma={value!r} for {self._rule!r}. Build a loss with gamma={value!r} instead."
            )
        self._state.assign(gamma=check_gamma("gamma", value))

    @property
    def gamma_state(self) -> HeldState | None:
        """The state that holds a gamma given as a number; None for a sample-dependent gamma."""
        return self._state

    def _traced_gamma(self) -> Tensor | Callable:
        """Return gamma as the functional losses take it."""
        if self._state is None:
            return self._rule.now()
        return self._state.read("gamma")

    def get_config(self) -> dict[str, Any]:
        gamma = self._gamma_argument if self._state is None else self.gamma
        if isinstance(gamma, GammaRule):
            gamma = keras.saving.serialize_keras_object(gamma)
        return {"gamma": gamma, **super().get_config()}


def as_tensor(y: Any, dtype: str) -> Any:
    """Return a list as a tensor, all else as it is."""
    return ops.convert_to_tensor(y, dtype=dtype) if isinstance(y, list | tuple) else y


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
