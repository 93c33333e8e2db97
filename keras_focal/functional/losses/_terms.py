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
from keras_focal.functional._backend.precision import floating, to_float
from keras_focal.functional._inputs.gamma import Parameter, Parameters
from keras_focal.functional._inputs.labels import (
    Labels,
    check_labels,
    label_factor,
    nan_unless_target,
)
from keras_focal.functional._stable.margin import StableProbability


class Terms(NamedTuple):
    """The result of a kernel.

    Attributes:
        value: The loss of each row of logits, shape (...), or of each logit.
        gradient: The gradient of the loss, of the shape of the logits.
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
        z: Float32 logits.
        parameters: gamma, alpha.
        factor: 1, 0 for an unlabelled row, NaN for an invalid label; None for outputs.
        counts: Bool tensor that marks the entries that count; None if all do.
    """

    labels: Tensor
    z: Tensor
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
        arrays: Labels, logits, and other tensors with an entry for each row.
        shared: Tensors that all rows have in common.
    """

    def __init__(self, labels: Labels, logits: Tensor, *parameters: Parameter):
        self._parameters = Parameters(*parameters)
        self._counts = () if labels.counts is None else (labels.counts,)
        self.arrays = (labels.values, logits, *self._counts, *self._parameters.rows)
        self.shared = self._parameters.shared

    def given(self, *tensors: Tensor, are_outputs: bool = False) -> Given:
        """Return the inputs of the kernel from all tensors, or from some rows of them."""
        labels, z = tensors[0], to_float(tensors[1])
        parameters = self._parameters.values(*tensors[2 + len(self._counts) :])
        factor = None
        if are_outputs:
            labels = nan_unless_target(labels)
        else:
            factor = ops.cast(label_factor(labels), z.dtype)
        return Given(labels, z, parameters, factor, self.counts(tensors))

    def counts(self, tensors: tuple[Tensor, ...]) -> Tensor | None:
        """Return the tensor that marks where labels count, from all tensors; None if all do."""
        return tensors[2] if self._counts else None

    def gradients(
        self, of_logits: Tensor, upstream: Tensor, slopes: Sequence[Tensor]
    ) -> list[Tensor | None]:
        """Return the gradient with respect to each argument."""
        before = [None, of_logits, *([None] * len(self._counts))]
        return before + self._parameters.gradients(upstream, slopes)


def masked(x: Tensor, counts: Tensor | None) -> Tensor:
    """Return x with 0 where an entry does not count, whatever its value, NaN included."""
    if counts is None:
        return x
    is_counted = counts if len(counts.shape) == len(x.shape) else ops.expand_dims(counts, -1)
    return ops.where(is_counted, x, ops.zeros((), dtype=x.dtype))


def loss_of_rows(
    kernel: Callable, labels: Labels, logits: Tensor, *parameters: Parameter
) -> Tensor:
    """Return the value of a kernel for each row of logits, with the gradient of the kernel.

    Args:
        kernel: Function (labels, z, *parameters) -> Terms that treats rows independently. Its
            labels are class ids, -1 if invalid, or rows of targets; its logits are float32 or
            better.
        labels: Labels of shape (...) or (..., K).
        logits: Float tensor, shape (..., K).
        parameters: Further arguments of the kernel: gamma, alpha.

    Returns:
        Tensor of shape (...): 0 where a label does not count, NaN where it is invalid.

    Raises:
        ValueError: If a label that counts is invalid and can be read.
    """
    return _loss(kernel, labels, logits, parameters, len(logits.shape) - 1)


def loss_of_outputs(
    kernel: Callable, targets: Labels, logits: Tensor, *parameters: Parameter
) -> Tensor:
    """Return the value of a kernel for each independent logit, with the gradient of the kernel.

    Args:
        kernel: Function (targets, z, *parameters) -> Terms that treats entries independently.
        targets: Labels of the shape of `logits`.
        logits: Float tensor of any shape; those of the kernel are float32 or better.
        parameters: Further arguments of the kernel: gamma, alpha.

    Returns:
        Tensor of the shape of `logits`: 0 where a target does not count, NaN where it is invalid.

    Raises:
        ValueError: If a target that counts is invalid and can be read.
    """
    return _loss(kernel, targets, logits, parameters, len(logits.shape))


def _loss(
    kernel: Callable, labels: Labels, logits: Tensor, parameters: tuple[Parameter, ...], axes: int
) -> Tensor:
    logits = floating(logits)
    are_outputs = axes == len(logits.shape)
    if 0 in logits.shape:
        return to_float(logits) if are_outputs else ops.sum(to_float(logits), axis=-1)
    arguments = Arguments(labels, logits, *parameters)
    number = len(arguments.arrays)

    def rows(*tensors: Tensor) -> tuple[Tensor, ...]:
        given = arguments.given(*tensors, are_outputs=are_outputs)
        value, gradient, slopes = kernel(given.labels, given.z, *given.parameters)
        return tuple(map(given.masked, (value, gradient, *slopes)))

    def forward(*tensors: Tensor) -> tuple[Tensor, ...]:
        return over_rows(rows, *tensors[:number], axes=axes, shared=tensors[number:])

    def backward(tensors: tuple, terms: tuple, upstream: Tensor) -> list[Tensor | None]:
        _, gradient, *slopes = terms
        gradient = ops.cast(gradient * _like(upstream, gradient), tensors[1].dtype)
        return arguments.gradients(gradient, upstream, slopes)

    values = with_gradient(forward, backward)(*arguments.arrays, *arguments.shared)
    return checked(values, labels, logits.shape, are_outputs=are_outputs)


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


def crossentropy_terms(targets: Tensor, of_each: StableProbability) -> Terms:
    """Return -sum_c q_c log p_c and its gradient."""
    # A class of weight 0 adds nothing, even if its -log p is infinite (logit -inf).
    value = ops.sum(ops.where(targets > 0, targets * of_each.neg_log_p, 0.0), axis=-1)
    others = ops.sum(targets, axis=-1, keepdims=True) - targets
    return Terms(value, of_each.p * others - of_each.complement * targets)
