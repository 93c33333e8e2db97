"""The last linear layer and the sparse focal loss in one, without storing the logits.

The logits of a large vocabulary are the largest array of a training step. Here only a part of them
exists at a time: the loss is computed in blocks of rows, its gradient in blocks of classes, so that
each block of the gradient of the kernel is written once (docs/decisions/linear-head.md).
"""

from typing import Any

from keras import ops

from keras_focal._typing import Tensor
from keras_focal._validation.numbers import check_count
from keras_focal._validation.shapes import check_same_shape
from keras_focal.functional._backend.compilation import compiled
from keras_focal.functional._backend.derivative import differentiated_once, with_gradient
from keras_focal.functional._backend.operations import matmul_float32, recomputed
from keras_focal.functional._backend.precision import floating, to_float
from keras_focal.functional._inputs.gamma import (
    Gamma,
    Parameter,
    Parameters,
    read_alpha,
    read_gamma,
)
from keras_focal.functional._inputs.labels import is_left_out, label_factor, read_ids
from keras_focal.functional._inputs.weights import nan_where_no_weight
from keras_focal.functional.losses._focal import log_base, sparse_gradient, sparse_terms
from keras_focal.functional.losses._terms import checked, masked

NAME = "linear_sparse_focal_crossentropy"
MOST_PARTS = 64
SMALLEST_PART = 2**20
"""Number of logits in a part below which more parts save no memory."""


def linear_sparse_focal_crossentropy(
    features: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    *,
    gamma: Gamma = 2.0,
    alpha: Tensor | None = None,
    sample_weight: Tensor | None = None,
    ignore_class: int | None = None,
    num_parts: int | None = None,
) -> Tensor:
    """Return the sparse focal loss of features @ kernel + bias, without reduction.

    Value and gradients equal those of a linear layer followed by
    `sparse_categorical_focal_crossentropy`. It needs a fraction of the memory, and one more matrix
    product.

    Args:
        features: Float tensor, shape (..., D).
        kernel: Float tensor, shape (D, K), K >= 2.
        bias: None, or float tensor of shape (K,).
        labels: Integer tensor, shape (...). An id outside [0, K) raises a ValueError where it
            can be read, and gives NaN otherwise.
        gamma: As for `sparse_categorical_focal_crossentropy`.
        alpha: None, a number, or a tensor of shape (K,): weight of each class.
        sample_weight: None, or float tensor of shape (...): weight of each row. A row of weight 0
            has loss 0 even if its features are not finite.
        ignore_class: None, or the class id of rows to leave out; their loss is 0.
        num_parts: Number of parts in which the logits are computed, >= 1; by default 64, or fewer
            for less than 2**26 logits.

    Returns:
        Tensor of shape (...), >= 0, in nats, float32 or float64. Products of half-precision
        features and kernels are accumulated in float32; gradients have the dtypes of the inputs.

    Raises:
        ValueError: If shapes do not match, or `num_parts` is not a whole number >= 1.

    Example:
        >>> import numpy as np
        >>> from keras_focal import functional
        >>> features, kernel = np.eye(2, dtype="float32"), np.full((2, 3), 0.5, "float32")
        >>> loss = functional.linear_sparse_focal_crossentropy(
        ...     features, kernel, None, np.array([0, 2]), gamma=0.0)
        >>> [round(float(x), 4) for x in loss]
        [1.0986, 1.0986]

    Source:
        Mukhoti et al., 2020, Proposition 1; for the technique, Wijmans et al., 2024, "Cut Your
        Losses in Large-Vocabulary Language Models"; Hsu et al., 2024, "Liger Kernel".
    """
    features, kernel = floating(features), floating(kernel)
    depth, num_classes = kernel.shape
    check_same_shape(
        "features", features.shape[-1:], (depth,), "Give one entry per row of the kernel."
    )
    shape = (*features.shape[:-1], num_classes)
    labels = read_ids(labels, shape)
    ids = labels.values
    if bias is None:
        bias = ops.zeros((num_classes,), dtype=to_float(kernel).dtype)
    else:
        bias = floating(bias)
        check_same_shape("bias", bias.shape, (num_classes,), "Give one entry per class.")
    num_parts = _parts(ids.shape, num_classes) if num_parts is None else num_parts
    num_parts = check_count("num_parts", num_parts)
    gamma = read_gamma(gamma, ids)
    alpha = read_alpha(alpha, num_classes=num_classes)
    weights = ops.ones_like(ids, dtype=to_float(features).dtype)
    if sample_weight is not None:
        sample_weight = ops.convert_to_tensor(sample_weight, dtype=weights.dtype)
        check_same_shape("sample_weight", sample_weight.shape, ids.shape, "Give one for each row.")
        weights = weights * sample_weight
    if ignore_class is not None:
        weights = ops.where(is_left_out(labels, ignore_class), 0.0, weights)
    if sample_weight is not None or ignore_class is not None:
        counts = ops.not_equal(weights, 0)
        labels = labels._replace(counts=counts)
        # 0 * NaN is NaN, so the features of rows that are left out must be finite.
        features = masked(features, counts)
        ids = masked(ids, counts)

    head = _Head(gamma, alpha, num_parts)
    flat = (ops.reshape(x, (-1,)) for x in (ids, *gamma.rows))
    losses = head.losses(
        ops.reshape(features, (-1, depth)), kernel, bias, *flat, *gamma.shared, *alpha.shared
    )
    losses = ops.reshape(losses, ops.shape(ids)) * ops.stop_gradient(nan_where_no_weight(weights))
    return checked(losses, labels, shape)


def _parts(shape: tuple, num_classes: int) -> int:
    """Return the number of parts, such that no part is smaller than necessary."""
    if None in shape:
        return MOST_PARTS
    entries = num_classes
    for length in shape:
        entries *= length
    return max(1, min(MOST_PARTS, entries // SMALLEST_PART))


class _Head:
    """The loss as a function of features (N, D), kernel (D, K) and bias (K,)."""

    def __init__(self, gamma: Parameter, alpha: Parameter, num_parts: int):
        self.gamma = gamma
        self.alpha = alpha
        self.parameters = Parameters(gamma, alpha)
        self.num_parts = num_parts

    def losses(self, *arguments: Tensor) -> Tensor:
        """Return losses from features, kernel, bias, ids, and the tensors of gamma and alpha."""

        def forward(*arguments: Tensor) -> tuple[Tensor, ...]:
            return compiled(self._terms, *arguments)

        def backward(arguments: tuple, terms: tuple, upstream: Tensor) -> list[Tensor | None]:
            _, reference, at_true, at_others, of_gamma, of_alpha = terms
            scaled = (differentiated_once(x * upstream, NAME) for x in (at_true, at_others))
            gradients = compiled(self._gradients, *arguments[:4], reference, *scaled)
            gradients = [*gradients, None, *Parameters(self.gamma).gradients(upstream, [of_gamma])]
            if not self.alpha.is_learned:
                return [*gradients, *([None] * len(self.alpha.shared))]
            (alpha,) = self.alpha.shared
            slope = upstream * of_alpha
            if len(alpha.shape) == 1:
                ids = ops.clip(arguments[3], 0, alpha.shape[0] - 1)
                slope = ops.segment_sum(slope, ids, num_segments=alpha.shape[0])
            else:
                slope = ops.sum(slope)
            return [*gradients, ops.cast(slope, alpha.dtype)]

        return with_gradient(forward, backward)(*arguments)

    def _terms(self, features: Tensor, kernel: Tensor, bias: Tensor, *others: Tensor) -> tuple:
        """Return the terms of all rows and their slopes, computed in parts of the rows."""
        count = ops.shape(features)[0]
        length = -(-count // self.num_parts)
        extra = length * self.num_parts - count
        number = 1 + len(self.gamma.rows)
        rows, shared = others[:number], others[number:]

        def part(x: Tensor) -> Tensor:
            padding = [[0, extra], *[[0, 0]] * (len(x.shape) - 1)]
            return ops.reshape(ops.pad(x, padding), (self.num_parts, length, *x.shape[1:]))

        def terms_of(arrays: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            features, ids, *of_rows = arrays
            gamma, alpha = self.parameters.values(*of_rows, *shared)
            z = matmul_float32(features, kernel) + to_float(bias)
            factor = ops.cast(label_factor(ids), z.dtype)
            terms = sparse_terms(ids, z, gamma, alpha, signed=self.gamma.is_signed)
            value, reference, at_true, at_others, base = terms
            value, at_true, at_others = (x * factor for x in (value, at_true, at_others))
            of_gamma = value * log_base(base) if self.gamma.is_learned else value
            of_alpha = value
            if self.alpha.is_learned:
                of_alpha = factor * sparse_terms(ids, z, gamma, None).value
            return value, reference, at_true, at_others, of_gamma, of_alpha

        terms = ops.map(terms_of, (part(features), *(part(x) for x in rows)))
        return tuple(ops.reshape(term, (-1,))[:count] for term in terms)

    def _gradients(
        self, features: Tensor, kernel: Tensor, bias: Tensor, ids: Tensor, *terms: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients, computed in parts of the classes."""
        depth, num_classes = kernel.shape
        width = -(-num_classes // self.num_parts)
        kernel, bias = recomputed(kernel), recomputed(bias)

        def step(index: Any, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            of_features, of_kernel, of_bias = state
            # The last block ends at the last class. Classes that it shares with the previous block
            # are written again, but not added again.
            start = ops.minimum(index * width, num_classes - width)
            columns = ops.slice(kernel, (0, start), (depth, width))
            z = matmul_float32(features, columns) + to_float(ops.slice(bias, (start,), (width,)))
            slope = sparse_gradient(ids - start, z, *terms)
            is_new = ops.arange(width, dtype="int32") + start >= index * width
            of_columns = matmul_float32(ops.transpose(features), slope)
            new_slope = ops.where(is_new, slope, 0.0)
            return (
                of_features + matmul_float32(new_slope, ops.transpose(columns)),
                ops.slice_update(of_kernel, (0, start), ops.cast(of_columns, of_kernel.dtype)),
                ops.slice_update(
                    of_bias, (start,), ops.cast(ops.sum(slope, axis=0), of_bias.dtype)
                ),
            )

        start = (
            ops.zeros_like(to_float(features)),
            ops.zeros_like(kernel),
            ops.zeros_like(bias),
        )
        blocks = -(-num_classes // width)
        of_features, of_kernel, of_bias = ops.fori_loop(0, blocks, step, start)
        return ops.cast(of_features, features.dtype), of_kernel, of_bias
