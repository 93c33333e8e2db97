"""Labels."""

from keras import ops

from keras_focal.functional._backend.precision import Tensor
from keras_focal.functional._stable.margin import chosen_class


def class_ids(labels: Tensor, predictions_shape: tuple) -> Tensor:
    """Return class ids of shape predictions_shape[:-1] from ids, ids (..., 1), or rows (..., K).

    Rows give their largest entry. Against one output column, labels are >= 0.5 or not.
    """
    labels = ops.convert_to_tensor(labels)
    same_rank = len(labels.shape) == len(predictions_shape)
    if same_rank and labels.shape[-1] not in (1, None):
        return ops.cast(ops.argmax(labels, axis=-1), "int32")
    if same_rank:
        labels = ops.squeeze(labels, axis=-1)
    if predictions_shape[-1] == 1:
        return ops.cast(ops.cast(labels, "float32") > 0.5, "int32")
    return ops.cast(labels, "int32")


def ids_or_rows(labels: Tensor, logits_shape: tuple) -> Tensor:
    """Return int32 ids of shape (...) from (...) or (..., 1); rows (..., K) as they are."""
    labels = ops.stop_gradient(ops.convert_to_tensor(labels))
    if len(labels.shape) == len(logits_shape):
        if labels.shape[-1] != 1:
            return labels
        labels = ops.squeeze(labels, axis=-1)
    return ops.cast(labels, "int32")


def are_ids(labels: Tensor, logits: Tensor) -> bool:
    """Tell ids (...) from rows (..., K)."""
    return len(labels.shape) < len(logits.shape)


def targets_of(labels: Tensor, z: Tensor) -> Tensor:
    """Return the target distribution of each row of logits; zeros for an id outside [0, K)."""
    if are_ids(labels, z):
        return ops.cast(chosen_class(labels, z.shape[-1]), z.dtype)
    return ops.cast(labels, z.dtype)
