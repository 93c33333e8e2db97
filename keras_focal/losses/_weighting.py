"""How much each value counts: masks, the ignored class and sample weights, as in Keras."""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_focal.functional._backend.operations import value_now
from keras_focal.functional._inputs.weights import nan_where_no_weight

Tensor = Any


class _Ones(keras.losses.Loss):
    """Charge every prediction 1, so that unreduced it shows the mask that Keras has."""

    def __init__(self, axis: int, dtype: str):
        super().__init__(name="mask", reduction=None, dtype=dtype)
        self.axis = axis
        self.ones: Tensor = None

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        self.ones = ops.ones_like(ops.take(y_pred, 0, axis=self.axis), dtype=self.dtype)
        return self.ones


class _Given(keras.losses.Loss):
    """The reduction of Keras, of values that are handed over."""

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return y_pred


class Weighting(NamedTuple):
    """How much each value counts. All parts have the shape of the values, or are None.

    Attributes:
        mask: Bool: what is neither masked nor of the ignored class.
        weights: Sample weights, float; NaN in place of what is no weight.
        given: The sample weights as they came.
    """

    mask: Tensor | None
    weights: Tensor | None
    given: Any = None

    @property
    def counts(self) -> Tensor | None:
        """Where a value counts; None if all do."""
        if self.weights is None:
            return self.mask
        counts = self.weights != 0
        return counts if self.mask is None else ops.logical_and(counts, self.mask)

    def of_each(self, reduction: str | None = None) -> Tensor | None:
        """Return the weight of each value; a mean divides by the number that the mask leaves."""
        if self.mask is None:
            return self.weights
        if self.weights is None:
            weights = ops.cast(self.mask, "float32")
        else:
            weights = ops.where(self.mask, self.weights, ops.zeros_like(self.weights))
        if reduction in ("mean", "sum_over_batch_size"):
            # In float32: a product of half-precision numbers would round.
            share = ops.mean(ops.cast(self.mask, "float32"))
            weights = weights * ops.cast(ops.divide_no_nan(1.0, share), weights.dtype)
        return weights

    def reduced(self, values: Tensor, reduction: str | None, dtype: str) -> Tensor:
        """Return the values, weighted and reduced as Keras does.

        Raises:
            ValueError: If a weight that counts is negative or not finite, and can be read.
        """
        weights = self.of_each(reduction)
        reduce = _Given(reduction=reduction, dtype=keras.backend.standardize_dtype(values.dtype))
        result = reduce(0.0, values, weights)
        now = None if weights is None else value_now(result)
        if now is not None and np.isnan(now).any():
            self._check()
        return ops.cast(result, dtype)

    def _check(self) -> None:
        weights = value_now(self.of_each())
        if weights is None or not np.isnan(weights).any():
            return
        given = np.asarray(value_now(ops.convert_to_tensor(self.given)))
        wrong = given[~((given >= 0) & (given < np.inf))]
        raise ValueError(
            "`sample_weight` must hold finite numbers >= 0. Received: "
            f"{wrong[0] if wrong.size else np.nan:g}. Give a sample that is not to count weight 0."
        )


def read_weighting(y_pred: Any, sample_weight: Any, axis: int, dtype: str) -> Weighting:
    """Return the mask of predictions, and their sample weights.

    Args:
        y_pred: Predictions as the model gave them: a mask travels with the object.
        sample_weight: None, or weights that broadcast to the values as in Keras: of fewer axes,
            along the last ones.
        axis: The axis of `y_pred` that no value has.
        dtype: Dtype of the weights.

    Raises:
        ValueError: If the shapes do not match.
    """
    ones = _Ones(axis, dtype)
    shown = ones(0.0, y_pred)
    mask = None if shown is ones.ones else shown > 0
    if sample_weight is None:
        return Weighting(mask, None)
    weights = ops.convert_to_tensor(sample_weight, dtype=dtype)
    values = ones.ones
    _check_fit(weights.shape, values.shape)
    if len(weights.shape) == len(values.shape) + 1:
        weights = ops.squeeze(weights, axis=-1)
    weights = nan_where_no_weight(weights)
    return Weighting(mask, ops.broadcast_to(weights, ops.shape(values)), sample_weight)


def _check_fit(weights: tuple, values: tuple) -> None:
    """Raise unless weights broadcast to values, or have one axis of length 1 more."""
    weights, values = tuple(weights), tuple(values)
    shape = weights[:-1] if len(weights) == len(values) + 1 and weights[-1] == 1 else weights
    fits = len(shape) <= len(values)
    if fits and shape:
        last = values[-len(shape) :]
        # What is not known is that of samples: it is not the last of several axes.
        fits = all(a in (1, b) or a is None or b is None for a, b in zip(shape, last, strict=True))
        is_of_samples = len(shape) == 1 < len(values) and shape[0] is None is not values[-1]
        fits = fits and not is_of_samples
    if not fits:
        raise ValueError(
            f"`sample_weight` must have shape {values}, that of the values it weighs, or one that "
            f"broadcasts to it. Received: shape {weights}. Weigh each prediction; `class_weight` "
            "has no meaning for several class ids per sample: use `alpha`."
        )
