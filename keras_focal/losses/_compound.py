"""A weighted sum of losses, in one."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_focal._typing import DType, Tensor
from keras_focal._validation.numbers import check_at_least, check_that
from keras_focal._validation.shapes import check_same_shape
from keras_focal.functional._backend.compilation import without_autograph
from keras_focal.functional._inputs.weights import ones_and_mask
from keras_focal.losses._base import check_loss, no_values, within

OF_REGIONS = (keras.losses.Dice, keras.losses.Tversky)
"""Keras's losses of probabilities that give one number for all predictions along `axis`."""


@keras.saving.register_keras_serializable(package="keras_focal")
class CompoundLoss(keras.losses.Loss):
    """Weighted sum of losses of the same labels and predictions: sum_i weights_i * losses_i.

    Each loss is called and reduced by itself, so that one of pixels and one of images can be added,
    such as focal and Dice loss. `GammaScheduler` and `AdaptiveGamma` find the gamma of each. Wrap
    the parts, not the sum: `CompoundLoss([HardExampleMining(a), b])`.

    Args:
        losses: `keras.losses.Loss` objects of this package or of Keras, with one `reduction` for
            all, which is that of the sum. All take logits, or all take probabilities.
        weights: Number >= 0 for each loss; None for 1 each.
        name: Name of the loss.
        dtype: Dtype of the result, by default that of the first loss.

    Call arguments:
        y_true: As for each of the losses. `keras.losses.Dice` and `Tversky` take rows.
        y_pred: As for each of the losses.
        sample_weight: As in `keras.losses.Loss`. `keras.losses.Dice` and `Tversky` have no weights
            or masks of single pixels; `Dice(axis=(1, 2, 3))` takes weights of images.

    Returns:
        Loss, float32 (or float64).

    Raises:
        ValueError: If one is not a `keras.losses.Loss`; weights are negative, not finite or not one
            for each; reductions differ; some losses take logits and some probabilities. When
            called, if weights or masks are finer than what a loss can weigh, or if without a
            reduction the losses have values of different shapes.

    Example:
        >>> import keras
        >>> from keras_focal import losses
        >>> loss = losses.CompoundLoss(
        ...     [losses.CategoricalFocalCrossentropy(gamma=2.0), keras.losses.Dice()], [1.0, 0.5])
        >>> round(float(loss([[1.0, 0.0]], [[0.5, 0.5]])), 4)
        0.4233

    Source:
        The sum of a cross-entropy and a Dice loss is that of Taghanaki et al., 2019, "Combo loss".
    """

    def __init__(
        self,
        losses: Sequence[keras.losses.Loss],
        weights: Sequence[float] | None = None,
        name: str | None = "compound_loss",
        dtype: DType | None = None,
    ):
        is_sequence = isinstance(losses, list | tuple) and len(losses) > 0
        fix = "Give a list such as [BinaryFocalCrossentropy(), keras.losses.Dice()]."
        check_that("losses", losses, "a list of one loss or more", is_sequence, fix)
        losses = [check_loss("losses", loss) for loss in losses]
        weights = [1.0] * len(losses) if weights is None else list(weights)
        fix = f"There are {len(losses)} losses."
        check_that("weights", weights, "one for each loss", len(weights) == len(losses), fix)
        _check_reductions(losses)
        _check_predictions(losses)
        super().__init__(name=name, reduction=losses[0].reduction, dtype=dtype or losses[0].dtype)
        self.losses = losses
        self.weights = [check_at_least("weights", weight, 0.0) for weight in weights]

    @without_autograph
    def __call__(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> Tensor:
        with keras.name_scope(self.name):
            for loss in self.losses:
                if isinstance(loss, OF_REGIONS):
                    _check_region(loss, y_true, y_pred, sample_weight)
            parts = [loss(y_true, y_pred, sample_weight) for loss in self.losses]
            shapes = [tuple(part.shape) for part in parts]
            if len(set(shapes)) > 1:
                raise ValueError(
                    "`losses` must have values of one shape where `reduction` is None. Received: "
                    f"values of shape {', '.join(map(str, shapes))}. Give each loss a reduction."
                )
            weighted = zip(self.weights, parts, strict=True)
            return sum(weight * ops.cast(part, self.dtype) for weight, part in weighted)

    @without_autograph
    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        raise no_values(self)

    def get_config(self) -> dict[str, Any]:
        return {
            "losses": [keras.saving.serialize_keras_object(loss) for loss in self.losses],
            "weights": self.weights,
            "name": self.name,
            "dtype": self.dtype,
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.losses!r}, weights={self.weights!r})"

    def __reduce__(self) -> tuple:
        config = keras.saving.serialize_keras_object(self)
        return keras.saving.deserialize_keras_object, (config,)


def _check_reductions(losses: list[keras.losses.Loss]) -> None:
    """Raise unless all losses are reduced alike."""
    same = {"mean": "sum_over_batch_size", "none": None}
    if len({same.get(loss.reduction, loss.reduction) for loss in losses}) > 1:
        raise ValueError(
            "`losses` must have the same `reduction`. Received: "
            f"{[loss.reduction for loss in losses]}. A sum and a mean differ in scale by the size "
            "of the batch."
        )


def _check_predictions(losses: list[keras.losses.Loss]) -> None:
    """Raise if some losses take logits and some take probabilities."""
    parts = within(losses)
    of_logits = [part for part in parts if getattr(part, "from_logits", False)]
    others = [
        part
        for part in parts
        if isinstance(part, OF_REGIONS) or not getattr(part, "from_logits", True)
    ]
    if of_logits and others:
        raise ValueError(
            "`losses` must all take logits or all take probabilities. Received: "
            f"{type(of_logits[0]).__name__} of logits and {type(others[0]).__name__} of "
            "probabilities. End the model in a softmax or sigmoid and leave from_logits=False, or "
            "use parts that take logits."
        )


def _check_region(
    loss: keras.losses.Loss, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None
) -> None:
    """Raise if a loss of regions has no place for labels, weights or a mask."""
    name = type(loss).__name__
    y_true, predictions = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
    fix = f"{name} takes one-hot rows."
    check_same_shape("y_true", y_true.shape, predictions.shape, fix)
    axes = loss.axis if loss.axis is None or isinstance(loss.axis, list | tuple) else [loss.axis]
    rank = 0 if axes is None else len(predictions.shape) - len(axes)
    if sample_weight is not None:
        shape = tuple(ops.convert_to_tensor(sample_weight).shape)
        fits = len(shape) <= rank
        fix = f"{name} has one value for all predictions along axis={loss.axis}."
        check_that("sample_weight", shape, f"of at most {rank} axes for {name}", fits, fix)
    if ones_and_mask(y_pred, -1, "float32")[1] is not None:
        raise ValueError(
            f"`y_pred` must have no mask for {name}, which would count masked predictions. "
            "Received: predictions with a mask. Use a loss that applies masks."
        )
