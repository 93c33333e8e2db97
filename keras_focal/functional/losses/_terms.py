"""How a loss reads its labels, and hands over the gradient that it works out with its value.

Labels are class ids or rows. A kernel returns the value and the gradient together, both from the
odds of the classes (docs/maths.md, section M), so that neither is lost to a difference of numbers
near 1.
"""

from collections.abc import Callable
from typing import NamedTuple

from keras import ops

from keras_focal.functional._backend.compilation import over_rows
from keras_focal.functional._backend.derivative import with_gradient
from keras_focal.functional._backend.precision import Tensor, floating, to_float
from keras_focal.functional._inputs.labels import are_ids, ids_or_rows
from keras_focal.functional._stable.margin import StableProbability


class Terms(NamedTuple):
    """What a kernel returns.

    Attributes:
        value: The loss of each row of logits, shape (...), or of each logit.
        gradient: Its gradient, the shape of the logits.
    """

    value: Tensor
    gradient: Tensor


def only_of_classes(labels: Tensor, terms: Terms) -> Terms:
    """Return the terms, 0 where an id names no class."""
    if not are_ids(labels, terms.gradient):
        return terms
    num_classes = terms.gradient.shape[-1]
    is_class = ops.cast(ops.logical_and(labels >= 0, labels < num_classes), terms.value.dtype)
    return Terms(terms.value * is_class, terms.gradient * ops.expand_dims(is_class, -1))


def loss_of_rows(kernel: Callable, labels: Tensor, logits: Tensor, *of_rows: Tensor) -> Tensor:
    """Return the value that a kernel gives each row of logits, with the gradient it gives.

    Args:
        kernel: Function (labels, z, *of_rows) -> Terms that treats every row alone.
        labels: Class ids, shape (...) or (..., 1), or rows, shape (..., K).
        logits: Float tensor, shape (..., K); the kernel gets float32 or better.
        of_rows: More tensors of shape (...) or (..., K) for the kernel.

    Returns:
        Tensor of shape (...).
    """
    logits = floating(logits)
    labels = ids_or_rows(labels, logits.shape)
    if 0 in logits.shape:
        return ops.sum(to_float(logits), axis=-1)
    return _with_terms(kernel, labels, logits, *of_rows, axes=len(logits.shape) - 1)


def loss_of_outputs(
    kernel: Callable, targets: Tensor, logits: Tensor, *of_outputs: Tensor
) -> Tensor:
    """Return the value that a kernel gives each independent logit, with the gradient it gives.

    Args:
        kernel: Function (targets, z, *of_outputs) -> Terms that treats every entry alone.
        targets: Tensor of the shape of `logits`.
        logits: Float tensor of any shape; the kernel gets float32 or better.
        of_outputs: More tensors of that shape for the kernel.

    Returns:
        Tensor of the shape of `logits`.
    """
    logits = floating(logits)
    targets = ops.stop_gradient(ops.convert_to_tensor(targets))
    return _with_terms(kernel, targets, logits, *of_outputs, axes=len(logits.shape))


def _with_terms(
    kernel: Callable, labels: Tensor, logits: Tensor, *others: Tensor, axes: int
) -> Tensor:
    def upcast(labels: Tensor, z: Tensor, *others: Tensor) -> Terms:
        return kernel(labels, to_float(z), *others)

    def forward(z: Tensor) -> Terms:
        return Terms(*over_rows(upcast, labels, z, *others, axes=axes))

    def differentiate(z: Tensor, terms: Terms, upstream: Tensor) -> Tensor:
        if axes < len(z.shape):
            upstream = ops.expand_dims(upstream, -1)
        return ops.cast(terms.gradient * upstream, z.dtype)

    return with_gradient(forward, differentiate)(logits)


def crossentropy_terms(targets: Tensor, of_each: StableProbability) -> Terms:
    """Return -sum_c q_c log p_c and its gradient."""
    # A class without weight adds nothing, also where its neg_log_p is infinite (logit -inf).
    value = ops.sum(ops.where(targets > 0, targets * of_each.neg_log_p, 0.0), axis=-1)
    others = ops.sum(targets, axis=-1, keepdims=True) - targets
    return Terms(value, of_each.p * others - of_each.complement * targets)
