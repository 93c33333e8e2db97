"""Masks, the ignored class and sample weights of the losses, as in Keras."""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_focal._typing import Tensor
from keras_focal._validation.entries import check_weights
from keras_focal._validation.shapes import check_weights_broadcast
from keras_focal.functional._backend.operations import value_now
from keras_focal.functional._inputs.labels import Labels, is_left_out
from keras_focal.functional._inputs.weights import nan_where_no_weight, ones_and_mask


class _Reduction(keras.losses.Loss):
    """Applies the reduction of Keras to given values."""

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return y_pred


class Weighting(NamedTuple):
    """The mask and the sample weights of the values of a loss.

    Attributes:
        ones: 1 for each value.
        mask: Bool tensor of that shape: True for values neither masked nor of the ignored class, or
            None.
        weights: Sample weights, float, with NaN in place of invalid ones. They broadcast to the
            values, or have one more axis of length 1, as in Keras. None if all are 1.
        given: The sample weights as given, for error messages.
    """

    ones: Tensor
    mask: Tensor | None = None
    weights: Tensor | None = None
    given: Any = None

    @property
    def counts(self) -> Tensor | None:
        """Bool tensor: where a value counts, of the shape of the values; None if all do."""
        weights = self.of_each
        return None if weights is None else weights != 0

    @property
    def of_each(self) -> Tensor | None:
        """The weight of each value, 0 where it is masked; None if all are 1."""
        if self.weights is None:
            return None if self.mask is None else ops.cast(self.mask, self.ones.dtype)
        is_column = len(self.weights.shape) > len(self.ones.shape)
        weights = ops.squeeze(self.weights, axis=-1) if is_column else self.weights
        weights = ops.broadcast_to(weights, ops.shape(self.ones))
        return weights if self.mask is None else ops.where(self.mask, weights, 0.0 * self.ones)

    def without(self, labels: Labels, ignore_class: int | None) -> "Weighting":
        """Return a weighting that masks the entries of the ignored class."""
        if ignore_class is None:
            return self
        valid = ops.logical_not(is_left_out(labels, ignore_class))
        return self._replace(mask=valid if self.mask is None else ops.logical_and(self.mask, valid))

    def for_keras(self, reduction: str | None) -> Tensor | None:
        """Return sample weights that include the mask, as Keras computes them."""
        if self.mask is None:
            return self.weights
        weights = self.of_each
        if reduction in ("mean", "sum_over_batch_size"):
            # A mean divides by the number of values that are not masked.
            share = ops.mean(ops.cast(self.mask, "float32"))
            weights = weights * ops.cast(ops.divide_no_nan(1.0, share), self.ones.dtype)
        if self.weights is not None and len(self.weights.shape) > len(self.ones.shape):
            weights = ops.expand_dims(weights, -1)
        return weights

    def reduced(self, values: Tensor, reduction: str | None, dtype: str) -> Tensor:
        """Return the values, weighted and reduced as in Keras.

        Raises:
            ValueError: If a weight that counts is negative or not finite, and can be read.
        """
        weights = self.for_keras(reduction)
        reduce = _Reduction(
            reduction=reduction, dtype=keras.backend.standardize_dtype(values.dtype)
        )
        result = reduce(0.0, values, weights)
        now = None if weights is None else value_now(result)
        if now is not None and np.isnan(now).any():
            self._check()
        return ops.cast(result, dtype)

    def _check(self) -> None:
        weights = value_now(self.of_each)
        if weights is None or not np.isnan(weights).any():
            return
        check_weights("sample_weight", value_now(self.given))


def read_weighting(
    y_pred: Tensor, sample_weight: Tensor | None, axis: int, dtype: str
) -> Weighting:
    """Return the mask of predictions, and their sample weights.

    Args:
        y_pred: Predictions as returned by the model, since a mask is an attribute of the object.
        sample_weight: None, or weights that broadcast to the values as in Keras; weights with
            fewer axes align with the last ones.
        axis: The axis of `y_pred` over which a value is computed.
        dtype: Dtype of the weights.

    Raises:
        ValueError: If the shapes do not match.
    """
    ones, mask = ones_and_mask(y_pred, axis, dtype)
    if sample_weight is None:
        return Weighting(ones, mask)
    weights = ops.convert_to_tensor(sample_weight, dtype=dtype)
    check_weights_broadcast("sample_weight", weights.shape, ones.shape)
    return Weighting(ones, mask, nan_where_no_weight(weights), weights)
