"""From labels, logits and parameters to the value and the gradient of a loss.

A kernel returns the value and the gradient together, both from stable probabilities
(docs/maths.md, section M), so that neither suffers from cancellation near p = 1.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_focal._typing import Tensor
from keras_focal.functional._backend.compilation import over_rows
from keras_focal.functional._backend.derivative import with_gradient
from keras_focal.functional._backend.operations import value_now
from keras_focal.functional._backend.precision import to_float
from keras_focal.functional._inputs.gamma import Parameter, Parameters
from keras_focal.functional._inputs.labels import (
    Labels,
    check_labels,
    label_factor,
    nan_unless_target,
)
from keras_focal.functional._stable.margin import StableProbability
from keras_focal.functional._stable.predicted import Predicted


class Terms(NamedTuple):
    """The result of a kernel.

    Attributes:
        value: The loss of each row of predictions, shape (...), or of each output.
        gradient: The gradient of the loss, of the shape of the predictions.
        slopes: The derivative with respect to each learned parameter, of the shape of the value or
            with one axis more.
    """

    value: Tensor
    gradient: Tensor
    slopes: tuple[Tensor, ...] = ()


class Given(NamedTuple):
    """The inputs of a kernel.

    Attributes:
        labels: Class ids or targets; NaN in place of an invalid target of an output.
        predicted: Logits or probabilities, float32 or better.
        parameters: gamma, alpha.
        factor: 1, 0 for an unlabelled row, NaN for an invalid label; None for outputs.
        counts: Bool tensor that marks the entries that count; None if all do.
    """

    labels: Tensor
    predicted: Predicted
    parameters: list[Any]
    factor: Tensor | None
    counts: Tensor | None

    def masked(self, result: Tensor) -> Tensor:
        """Return a result, with an entry for each label or one axis more, times the factor.

        Entries that do not count are 0, whatever was computed for them.
        """
        if self.factor is not None:
            result = result * _like(self.factor, result)
        return masked(result, self.counts)


class Arguments:
    """The arguments of a kernel, flattened to tensors and rebuilt from them.

    Attributes:
        arrays: Labels, predictions, and other tensors with an entry for each row.
        shared: Tensors that all rows have in common.
    """

    def __init__(self, labels: Labels, predicted: Predicted, *parameters: Parameter):
        self._kind = type(predicted)
        self._parameters = Parameters(*parameters)
        self._counts = () if labels.counts is None else (labels.counts,)
        self.arrays = (labels.values, predicted.values, *self._counts, *self._parameters.rows)
        self.shared = self._parameters.shared

    def given(self, *tensors: Tensor, are_outputs: bool = False) -> Given:
        """Return the inputs of the kernel from all tensors, or from some rows of them."""
        labels, predicted = tensors[0], self._kind(to_float(tensors[1]))
        parameters = self._parameters.values(*tensors[2 + len(self._counts) :])
        factor = None
        if are_outputs:
            labels = nan_unless_target(labels)
        else:
            factor = ops.cast(label_factor(labels), predicted.dtype)
        return Given(labels, predicted, parameters, factor, self.counts(tensors))

    def counts(self, tensors: tuple[Tensor, ...]) -> Tensor | None:
        """Return the tensor that marks where labels count, from all tensors; None if all do."""
        return tensors[2] if self._counts else None

    def gradients(
        self, of_predictions: Tensor, upstream: Tensor, slopes: Sequence[Tensor]
    ) -> list[Tensor | None]:
        """Return the gradient with respect to each argument."""
        before = [None, of_predictions, *([None] * len(self._counts))]
        return before + self._parameters.gradients(upstream, slopes)


def masked(x: Tensor, counts: Tensor | None) -> Tensor:
    """Return x with 0 where an entry does not count, whatever its value, NaN included."""
    if counts is None:
        return x
    is_counted = counts if len(counts.shape) == len(x.shape) else ops.expand_dims(counts, -1)
    return ops.where(is_counted, x, ops.zeros((), dtype=x.dtype))


def loss_of_rows(
    kernel: Callable, labels: Labels, predicted: Predicted, *parameters: Parameter
) -> Tensor:
    """Return the value of a kernel for each row of predictions, with the gradient of the kernel.

    Args:
        kernel: Function (labels, predicted, *parameters) -> Terms that treats rows independently.
            Its labels are class ids, -1 if invalid, or rows of targets; its predictions are
            float32 or better.
        labels: Labels of shape (...) or (..., K).
        predicted: Predictions, shape (..., K).
        parameters: Further arguments of the kernel: gamma, alpha.

    Returns:
        Tensor of shape (...): 0 where a label does not count, NaN where it is invalid.

    Raises:
        ValueError: If a label that counts is invalid and can be read.
    """
    return _loss(kernel, labels, predicted, parameters, len(predicted.shape) - 1)


def loss_of_outputs(
    kernel: Callable, targets: Labels, predicted: Predicted, *parameters: Parameter
) -> Tensor:
    """Return the value of a kernel for each independent output, with the gradient of the kernel.

    Args:
        kernel: Function (targets, predicted, *parameters) -> Terms that treats entries
            independently.
        targets: Labels of the shape of `predicted`.
        predicted: Predictions of any shape; those of the kernel are float32 or better.
        parameters: Further arguments of the kernel: gamma, alpha.

    Returns:
        Tensor of that shape: 0 where a target does not count, NaN where it is invalid.

    Raises:
        ValueError: If a target that counts is invalid and can be read.
    """
    return _loss(kernel, targets, predicted, parameters, len(predicted.shape))


def _loss(
    kernel: Callable,
    labels: Labels,
    predicted: Predicted,
    parameters: tuple[Parameter, ...],
    axes: int,
) -> Tensor:
    are_outputs = axes == len(predicted.shape)
    if 0 in predicted.shape:
        values = to_float(predicted.values)
        return values if are_outputs else ops.sum(values, axis=-1)
    arguments = Arguments(labels, predicted, *parameters)
    number = len(arguments.arrays)

    def rows(*tensors: Tensor) -> tuple[Tensor, ...]:
        given = arguments.given(*tensors, are_outputs=are_outputs)
        value, gradient, slopes = kernel(given.labels, given.predicted, *given.parameters)
        return tuple(map(given.masked, (value, gradient, *slopes)))

    def forward(*tensors: Tensor) -> tuple[Tensor, ...]:
        return over_rows(rows, *tensors[:number], axes=axes, shared=tensors[number:])

    def backward(tensors: tuple, terms: tuple, upstream: Tensor) -> list[Tensor | None]:
        _, gradient, *slopes = terms
        gradient = ops.cast(gradient * _like(upstream, gradient), tensors[1].dtype)
        return arguments.gradients(gradient, upstream, slopes)

    values = with_gradient(forward, backward)(*arguments.arrays, *arguments.shared)
    return checked(values, labels, predicted.shape, are_outputs=are_outputs)


def checked(
    values: Tensor, labels: Labels, logits_shape: tuple, *, are_outputs: bool = False
) -> Tensor:
    """Return the values of a loss, after checking labels if one is NaN.

    Raises:
        ValueError: If a value is NaN because of an invalid label, and can be read.
    """
    now = value_now(values)
    if now is not None and np.isnan(now).any():
        check_labels(labels, logits_shape[-1], are_outputs=are_outputs)
    return values


def _like(x: Tensor, other: Tensor) -> Tensor:
    return x if len(x.shape) == len(other.shape) else ops.expand_dims(x, -1)


def pulled_back(predicted: Predicted, of_each: StableProbability, weights: Tensor) -> Tensor:
    """Return the gradient of -sum_c w_c log p_c, grouped such that nothing cancels near p = 1."""
    others = ops.sum(weights, axis=-1, keepdims=True) - weights
    own = predicted.by_log(of_each.complement * weights)
    return predicted.by_share(of_each.p, others) - own


def crossentropy_terms(targets: Tensor, predicted: Predicted, of_each: StableProbability) -> Terms:
    """Return -sum_c q_c log p_c and its gradient."""
    # A class of weight 0 adds nothing, even if its -log p is infinite (logit -inf).
    value = ops.sum(ops.where(targets > 0, targets * of_each.neg_log_p, 0.0), axis=-1)
    return Terms(value, pulled_back(predicted, of_each, targets))
