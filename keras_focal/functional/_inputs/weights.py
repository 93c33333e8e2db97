"""Sample weights and Keras masks, combined in one tensor."""

import keras
from keras import ops

from keras_focal._typing import Tensor


class _Ones(keras.losses.Loss):
    """A loss of 1 for every prediction, whose unreduced value shows the mask that Keras applies."""

    def __init__(self, axis: int | None, dtype: str):
        super().__init__(name="mask", reduction=None, dtype=dtype)
        self.axis = axis
        self.ones: Tensor = None

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        if self.axis is not None:
            y_pred = y_pred[(*([slice(None)] * (self.axis % len(y_pred.shape))), 0)]
        self.ones = ops.ones_like(y_pred, dtype=self.dtype)
        return self.ones


def ones_and_mask(y_pred: Tensor, axis: int | None, dtype: str) -> tuple[Tensor, Tensor | None]:
    """Return a one for each prediction, and the bool mask of the predictions, or None.

    The mask is obtained from Keras, since only Keras can access the mask of `y_pred` on every
    backend.

    Args:
        y_pred: Tensor, shape (..., K, ...), as returned by the model, since a mask is an attribute
            of the object; or a list.
        axis: The axis of `y_pred` that holds the classes of one prediction; None if each entry is
            a prediction.
        dtype: Dtype of the ones.
    """
    if isinstance(y_pred, list | tuple):
        # Keras would treat a list as a structure of scalars.
        y_pred = ops.convert_to_tensor(y_pred, dtype=dtype)
    ones = _Ones(axis, dtype)
    masked = ones(0.0, y_pred)
    return ones.ones, None if masked is ones.ones else masked > 0


def effective_weights(
    y_pred: Tensor, sample_weight: Tensor | None, *, axis: int | None = -1, dtype: str = "float32"
) -> Tensor:
    """Return sample weight times mask of each prediction: the shape of `y_pred` without `axis`.

    Args:
        y_pred: Tensor, shape (..., K, ...), as returned by the model, since a mask is an attribute
            of the object.
        sample_weight: None, or a tensor of weights of samples or of single predictions.
        axis: The axis of `y_pred` that holds the classes of one prediction; None if each entry is
            a prediction.
        dtype: Dtype of the weights.
    """
    weights, mask = ones_and_mask(y_pred, axis, dtype)
    if sample_weight is not None:
        given = align_weights(ops.convert_to_tensor(sample_weight, dtype=dtype), weights)
        weights = weights * given
    # A masked entry has weight 0 even if the given weight is NaN.
    return weights if mask is None else ops.where(mask, weights, ops.zeros_like(weights))


def align_weights(sample_weight: Tensor, values: Tensor) -> Tensor:
    """Return sample weights with the rank of `values`: (B,), (B, 1) or the full shape.

    Weights with fewer axes are weights of whole samples and broadcast over the trailing axes.
    """
    surplus = len(sample_weight.shape) - len(values.shape)
    if surplus == 1 and sample_weight.shape[-1] == 1:
        return ops.squeeze(sample_weight, axis=-1)
    for _ in range(-surplus):
        sample_weight = ops.expand_dims(sample_weight, -1)
    return sample_weight


def weights_like(values: Tensor, sample_weight: Tensor | None) -> Tensor:
    """Return weights of the shape of `values`: ones, or `sample_weight` broadcast to it."""
    ones = ops.ones_like(values)
    if sample_weight is None:
        return ones
    return ones * align_weights(ops.convert_to_tensor(sample_weight, dtype=ones.dtype), ones)


def nan_where_no_weight(weights: Tensor) -> Tensor:
    """Return weights, with NaN in place of negative and infinite ones."""
    is_weight = ops.logical_and(weights >= 0, weights < float("inf"))
    return ops.where(is_weight, weights, float("nan"))
