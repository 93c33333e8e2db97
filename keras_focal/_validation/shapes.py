"""Rules for static shapes. An unknown length fits any other."""

from typing import Any


def check_axis(predictions: Any, axis: int) -> None:
    """Raise unless predictions have the axis."""
    rank = len(predictions.shape)
    if not -rank <= axis < rank:
        raise ValueError(
            f"`axis` must name an axis of the predictions. Received: axis={axis} for shape "
            f"{tuple(predictions.shape)}. The last axis is -1."
        )


def check_class_axis(shape: Any, name: str = "logits") -> None:
    """Raise unless the last axis is a class axis: of known length >= 2."""
    shape = tuple(shape)
    if not shape or shape[-1] is None or shape[-1] < 2:
        raise ValueError(
            f"`{name}` must have a class axis of known length >= 2. Received: shape {shape}, with "
            "the class axis last. For one output per sample use the binary focal loss, "
            "BinaryFocalCrossentropy."
        )


def check_known_rank(name: str, value: Any) -> None:
    """Raise if a tensor of a TensorFlow graph has an unknown number of axes."""
    if getattr(value.shape, "rank", 0) is None:
        raise ValueError(
            f"`{name}` must have a known number of axes. Received: a tensor of unknown rank. Use "
            "labels of one rank in all batches, or call `set_shape` on the tensor."
        )


def can_be_equal(shape: Any, other: Any) -> bool:
    """Tell whether two static shapes can be equal."""
    return len(shape) == len(other) and all(map(_match, shape, other))


def _match(a: Any, b: Any) -> bool:
    # An unknown length is None, or a symbol of the framework.
    return not isinstance(a, int) or not isinstance(b, int) or a == b


def check_same_shape(name: str, shape: Any, expected: Any, fix: str) -> None:
    """Raise unless two static shapes can be equal."""
    shape, expected = tuple(shape), tuple(expected)
    if not can_be_equal(shape, expected):
        raise ValueError(f"`{name}` must have shape {expected}. Received: shape {shape}. {fix}")


def check_no_ragged(name: str, value: Any) -> None:
    """Raise if `value` is a RaggedTensor."""
    if type(value).__name__ == "RaggedTensor":
        raise ValueError(
            f"`{name}` must have rows of one length. Received: a RaggedTensor. Pad it with "
            "`.to_tensor()` and give the padding weight 0."
        )


def check_labels_fit(name: str, labels_shape: Any, predictions_shape: Any) -> None:
    """Raise unless labels are ids (...) or (..., 1), or rows (..., K), for predictions (..., K)."""
    labels_shape, predictions_shape = tuple(labels_shape), tuple(predictions_shape)
    ids = predictions_shape[:-1]
    forms = (ids, (*ids, 1), predictions_shape)
    if not predictions_shape or not any(can_be_equal(labels_shape, form) for form in forms):
        raise ValueError(
            f"`{name}` must have shape {ids} (class ids), {(*ids, 1)}, or "
            f"{predictions_shape} (rows) for predictions of shape {predictions_shape}. Received: "
            f"shape {labels_shape}."
        )


def check_weights_fit(name: str, weights_shape: Any, predictions_shape: Any) -> None:
    """Raise unless weights are of whole samples or of each prediction (...) of shape (..., K)."""
    weights_shape, rows = tuple(weights_shape), tuple(predictions_shape)[:-1]
    is_column = len(weights_shape) == len(rows) + 1 and weights_shape[-1] == 1
    shape = weights_shape[:-1] if is_column else weights_shape
    fits = len(shape) <= len(rows) and all(
        a == 1 or _match(a, b) for a, b in zip(shape, rows, strict=False)
    )
    if not fits:
        forms = " or ".join(str(form) for form in dict.fromkeys((rows[:1], rows)))
        raise ValueError(
            f"`{name}` must have shape {forms}, a weight for each sample or each prediction, for "
            f"predictions of shape {tuple(predictions_shape)}. Received: shape {weights_shape}."
        )


def check_weights_broadcast(name: str, weights_shape: Any, values_shape: Any) -> None:
    """Raise unless weights broadcast to values, or have one axis of length 1 more."""
    weights, values = tuple(weights_shape), tuple(values_shape)
    shape = weights[:-1] if len(weights) == len(values) + 1 and weights[-1] == 1 else weights
    fits = len(shape) <= len(values)
    if fits and shape:
        last = values[-len(shape) :]
        fits = all(a == 1 or _match(a, b) for a, b in zip(shape, last, strict=True))
        # An unknown length is that of the batch, never of the last of several axes.
        is_of_samples = len(shape) == 1 < len(values) and shape[0] is None is not values[-1]
        fits = fits and not is_of_samples
    if not fits:
        raise ValueError(
            f"`{name}` must have shape {values}, that of the values it weights, or one that "
            f"broadcasts to it. Received: shape {weights}. Give a weight for each prediction. "
            "`class_weight` is not defined for several class ids per sample: use `alpha`."
        )
