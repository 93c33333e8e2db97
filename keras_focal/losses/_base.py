"""Base classes of the losses: labels and predictions, gamma, weights and config."""

from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from keras_focal._typing import DType, Tensor
from keras_focal._validation.classes import check_class_id
from keras_focal._validation.entries import probability_error
from keras_focal._validation.gamma import check_gamma
from keras_focal._validation.numbers import check_that
from keras_focal._validation.shapes import can_be_equal, check_axis, check_class_axis
from keras_focal.functional._backend.compilation import without_autograph
from keras_focal.functional._backend.operations import value_now
from keras_focal.functional._backend.precision import compute_dtype
from keras_focal.functional._inputs.gamma import Parameter, held
from keras_focal.functional._inputs.labels import Labels, as_labels, read_labels, read_targets
from keras_focal.functional._inputs.probabilities import (
    LARGEST_PROBABILITY,
    clipped,
    logits_from_binary_probabilities,
    logits_from_probabilities,
    warn_if_activated,
)
from keras_focal.functional._stable.predicted import Predicted, Probabilities, read_predicted
from keras_focal.functional.losses._terms import masked
from keras_focal.gammas import GammaRule, HeldState, sample_dependent
from keras_focal.losses._weighting import Weighting, read_weighting

TOLERANCE = 1e-3
"""How far outside [0, 1] a probability may lie, to allow for rounding in half precision."""


Gamma = float | str | GammaRule
"""What the losses take as gamma: a number, a rule, or the name of a rule."""


class ModelLoss(keras.losses.Loss):
    """Base class of all losses: converts labels and predictions to labels and logits.

    A subclass implements `values` and lists its own arguments in `own_arguments`.
    """

    own_arguments: ClassVar[tuple[str, ...]] = ()

    takes_probabilities: ClassVar[bool] = False
    """Whether `values` takes probabilities as they were given, as the losses of `functional` do.

    A subclass with `values` or `of_outputs` of its own is given logits unless it says otherwise.
    """

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        own = vars(cls)
        if ("values" in own or "of_outputs" in own) and "takes_probabilities" not in own:
            cls.takes_probabilities = False

    def __init__(
        self,
        *,
        from_logits: bool = False,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: DType | None = None,
    ):
        # The result has a half-precision dtype only if `dtype` asks for one.
        super().__init__(name=name, reduction=reduction, dtype=dtype or compute_dtype(None))
        self.from_logits = bool(from_logits)
        self.axis = int(axis)

    def values(self, labels: Labels, logits: Tensor | Predicted) -> Tensor:
        """Return the loss of each prediction, without reduction.

        Args:
            labels: Labels with the mask and the weights of the predictions.
            logits: Float tensor with the class axis at the end; `Probabilities` under
                `from_logits=False` if the loss has `takes_probabilities`.
        """
        raise NotImplementedError

    def labels(self, y_true: Tensor, y_pred: Tensor) -> Labels:
        """Return labels, checked against `y_pred`, both with the class axis at the end."""
        raise NotImplementedError

    def clipped(self, predictions: Tensor) -> Tensor:
        """Return probabilities within the range in which they have logits."""
        raise NotImplementedError

    def logits(self, predictions: Tensor) -> Tensor:
        """Return the logits of probabilities."""
        raise NotImplementedError

    @without_autograph
    def __call__(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> Tensor:
        with keras.name_scope(self.name):
            values, weighting = self.measured(y_true, y_pred, sample_weight)
            return weighting.reduced(values, self.reduction, self.dtype)

    @without_autograph
    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the loss of each prediction, without weights."""
        return self.measured(y_true, y_pred)[0]

    def measured(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> tuple[Tensor, Weighting]:
        """Return the loss of each prediction, and its weight."""
        dtype = compute_dtype(self.dtype)
        predictions = _as_predictions(y_pred, dtype)
        check_axis(predictions, self.axis)
        weighting = read_weighting(y_pred, sample_weight, self.axis, dtype)
        predictions = ops.moveaxis(predictions, self.axis, -1)
        labels = self.labels(y_true, predictions)
        weighting = self._without_ignored(labels, weighting)
        labels = labels._replace(counts=weighting.counts, weights=weighting.of_each)
        logits: Tensor | Predicted = predictions
        if self.from_logits:
            warn_if_activated(y_pred)
        else:
            if labels.counts is not None:
                predictions = masked(predictions, labels.counts)
            valid = self.clipped(predictions) + _nan_unless_probability(predictions)
            logits = Probabilities(valid) if self.takes_probabilities else self.logits(valid)
        values = self.values(labels, logits)
        if not self.from_logits:
            _check_probabilities(values, predictions)
        return ops.cast(values, dtype), weighting

    def _without_ignored(self, labels: Labels, weighting: Weighting) -> Weighting:
        return weighting

    def get_config(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in self.own_arguments}
        return {
            **own,
            "from_logits": self.from_logits,
            "axis": self.axis,
            "reduction": self.reduction,
            "name": self.name,
            "dtype": self.dtype,
        }

    def __repr__(self) -> str:
        shown = {name: getattr(self, name) for name in (*self.own_arguments, "from_logits")}
        usual = {"axis": -1, "reduction": "sum_over_batch_size", "dtype": compute_dtype(None)}
        shown |= {name: getattr(self, name) for name in usual if getattr(self, name) != usual[name]}
        arguments = ", ".join(f"{name}={value!r}" for name, value in shown.items())
        return f"{type(self).__name__}({arguments})"

    def __reduce__(self) -> tuple:
        config = keras.saving.serialize_keras_object(self)
        return keras.saving.deserialize_keras_object, (config,)


class ClassificationLoss(ModelLoss):
    """Base class of losses for one class per prediction.

    Labels are class ids, shape (...) or (..., 1), or rows of the shape of `y_pred`. A subclass
    implements `values(labels, logits)` and lists its own arguments in `own_arguments`.
    """

    def __init__(self, *, ignore_class: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.ignore_class = check_class_id("ignore_class", ignore_class)

    def labels(self, y_true: Tensor, y_pred: Tensor) -> Labels:
        check_class_axis(y_pred.shape, "y_pred")
        y_true = as_labels(y_true, "y_true")
        if len(y_true.shape) == len(y_pred.shape):
            # Rows have the same class axis as the predictions.
            moved = ops.moveaxis(y_true, self.axis, -1)
            if can_be_equal(moved.shape, y_pred.shape):
                y_true = moved
        return self.read(y_true, y_pred.shape)

    def read(self, y_true: Tensor, shape: tuple) -> Labels:
        """Return labels of a form that the loss accepts."""
        return read_labels(y_true, shape, "y_true")

    def clipped(self, predictions: Tensor) -> Tensor:
        return clipped(predictions)

    def logits(self, predictions: Tensor) -> Tensor:
        return logits_from_probabilities(predictions)

    def _without_ignored(self, labels: Labels, weighting: Weighting) -> Weighting:
        return weighting.without(labels, self.ignore_class)


class OutputLoss(ModelLoss):
    """Base class of losses for independent binary outputs, averaged over `axis`.

    Targets are in [0, 1] and have the shape of `y_pred`, or that shape without a last axis of
    length 1. A subclass implements `of_outputs(targets, logits)`.
    """

    def labels(self, y_true: Tensor, y_pred: Tensor) -> Labels:
        y_true = as_labels(y_true, "y_true")
        if len(y_true.shape) == len(y_pred.shape) - 1 and y_pred.shape[-1] == 1:
            y_true = ops.expand_dims(y_true, -1)
        else:
            check_axis(y_true, self.axis)
            y_true = ops.moveaxis(y_true, self.axis, -1)
        fix = "Give one label in [0, 1] for each output."
        return read_targets(y_true, y_pred.shape, fix, "y_true")

    def clipped(self, predictions: Tensor) -> Tensor:
        return clipped(predictions, LARGEST_PROBABILITY)

    def logits(self, predictions: Tensor) -> Tensor:
        return logits_from_binary_probabilities(predictions)

    def of_outputs(self, targets: Labels, logits: Tensor | Predicted) -> Tensor:
        """Return the loss of each output."""
        raise NotImplementedError

    def values(self, labels: Labels, logits: Tensor | Predicted) -> Tensor:
        if labels.counts is not None:
            shape = ops.shape(read_predicted(logits).values)
            counts = ops.broadcast_to(ops.expand_dims(labels.counts, -1), shape)
            labels = labels._replace(counts=counts)
        values = self.of_outputs(labels, logits)
        # Not ops.mean, which converts float64 to float32 on torch.
        return ops.sum(values, axis=-1) / ops.cast(ops.shape(values)[-1], values.dtype)


OF_OUTPUTS = (OutputLoss, keras.losses.BinaryCrossentropy, keras.losses.BinaryFocalCrossentropy)
"""Losses of independent outputs, which have no top class."""


class FocalLoss(ModelLoss):
    """Base class that holds gamma. List it before the base class that reads the labels."""

    def __init__(self, gamma: Gamma, **kwargs: Any):
        super().__init__(**kwargs)
        if isinstance(gamma, dict) and "class_name" in gamma:
            gamma = keras.saving.deserialize_keras_object(gamma)
        self._gamma_argument = gamma
        self._rule: Any = None
        self._state: HeldState | None = None
        if isinstance(gamma, GammaRule):
            self._rule = gamma
        elif isinstance(gamma, str | dict) or callable(gamma):
            self._rule = sample_dependent(gamma)
        else:
            numbers = {"gamma": check_gamma("gamma", gamma)}
            self._state = HeldState(numbers, name="gamma", dtype=compute_dtype(self.dtype))

    @property
    def gamma(self) -> float | GammaRule:
        """The current exponent, or the rule that gives each sample its own.

        A number can be assigned. A compiled model uses the new value on TensorFlow and torch. On
        JAX, call `keras_focal.callbacks.attach(model)` first, or use `GammaScheduler`, which calls
        it.
        """
        return self._rule if self._state is None else self._state["gamma"]

    @gamma.setter
    def gamma(self, value: float) -> None:
        if self._state is None:
            raise ValueError(
                f"`gamma` must remain the rule that the loss was created with. Received: "
                f"gamma={value!r} for {self._rule!r}. Create a loss with gamma={value!r} instead."
            )
        self._state.assign(gamma=check_gamma("gamma", value))

    @property
    def gamma_state(self) -> HeldState | None:
        """The state that holds gamma if it is a number; None for a sample-dependent gamma."""
        return self._state

    def _traced_gamma(self) -> Parameter | Any:
        """Return gamma in the form that the functional losses take."""
        if self._state is None:
            return self._rule.now()
        return held(self._state.read("gamma"))

    def get_config(self) -> dict[str, Any]:
        gamma = self._gamma_argument if self._state is None else self.gamma
        if isinstance(gamma, GammaRule):
            gamma = keras.saving.serialize_keras_object(gamma)
        return {**super().get_config(), "gamma": gamma}


def check_loss(name: str, loss: Any) -> keras.losses.Loss:
    """Return a loss that is part of another, from the object or its config."""
    if isinstance(loss, dict):
        loss = keras.saving.deserialize_keras_object(loss)
    fix = "Create it first, such as BrierLoss(from_logits=True)."
    is_loss = isinstance(loss, keras.losses.Loss)
    check_that(name, loss, "a `keras.losses.Loss` object", is_loss, fix)
    return loss


def no_values(loss: keras.losses.Loss) -> ValueError:
    """Return the error of a loss that has no value for each prediction, inside another loss."""
    return ValueError(
        f"`loss` must have a value for each prediction. Received: {loss!r}, which is a number of "
        "the batch. Wrap its parts instead."
    )


def within(values: Any) -> list[keras.losses.Loss]:
    """Return the losses in a structure, and those in their attributes, each once."""
    found: dict[int, keras.losses.Loss] = {}

    def search(values: Any) -> None:
        for value in keras.tree.flatten(values):
            if isinstance(value, keras.losses.Loss) and id(value) not in found:
                found[id(value)] = value
                search(list(vars(value).values()))

    search(values)
    return list(found.values())


def measured(
    loss: keras.losses.Loss, y_true: Tensor, y_pred: Tensor, sample_weight: Any, dtype: str
) -> tuple[Tensor, Weighting]:
    """Return what any loss gives for each prediction, without its reduction, and the weights."""
    if isinstance(loss, ModelLoss):
        return loss.measured(y_true, y_pred, sample_weight)
    computed = compute_dtype(dtype)
    y_true, predictions = (
        ops.convert_to_tensor(y, dtype=None if hasattr(y, "dtype") else computed)
        for y in (y_true, y_pred)
    )
    axis = getattr(loss, "axis", -1)
    weighting = read_weighting(y_pred, sample_weight, axis, computed)
    ignore_class = getattr(loss, "ignore_class", None)
    if ignore_class is not None:
        labels = read_labels(y_true, ops.moveaxis(predictions, axis, -1).shape, "y_true")
        weighting = weighting.without(labels, ignore_class)
    values = loss.call(ops.cast(y_true, dtype), ops.cast(predictions, dtype))
    # + 0.0 drops the mask that Keras attaches to the values for an ignored class.
    return ops.cast(values, computed) + 0.0, weighting


def _as_predictions(y_pred: Tensor, dtype: str) -> Tensor:
    """Return predictions as a float tensor of `dtype`; half precision is kept for float32."""
    if not hasattr(y_pred, "shape"):
        return ops.convert_to_tensor(y_pred, dtype=dtype)
    y_pred = ops.convert_to_tensor(y_pred)
    is_half = keras.backend.standardize_dtype(y_pred.dtype) in ("float16", "bfloat16")
    # Kernels cast half precision to float32 row by row.
    return y_pred if is_half and dtype == "float32" else ops.cast(y_pred, dtype)


def _is_probability(p: Any) -> Any:
    return (p >= -TOLERANCE) & (p <= 1.0 + TOLERANCE)


def _nan_unless_probability(p: Tensor) -> Tensor:
    return ops.where(_is_probability(p), 0.0, float("nan"))


def _check_probabilities(values: Tensor, predictions: Tensor) -> None:
    """Raise if a value can be read and is NaN because a prediction lies outside [0, 1]."""
    now = value_now(values)
    if now is None or not np.isnan(now).any():
        return
    p = np.asarray(value_now(predictions), "float32")
    wrong = p[~_is_probability(p) & ~np.isnan(p)]
    if wrong.size:
        raise probability_error("y_pred", "in [0, 1]", f"{wrong[0]:g}", "softmax or sigmoid")
