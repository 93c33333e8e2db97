"""The last linear layer and the sparse focal loss in one, without the logits between them.

The logits of a large vocabulary are the largest array of a training step. Here no more than a part
of them exists at a time: the loss takes the rows part by part, its gradient the classes, so that
the gradient of the kernel is written block by block and never added up
(docs/decisions/linear-head.md).
"""

from typing import Any

from keras import ops

from keras_focal._validation import check_count, check_same_shape
from keras_focal.functional._backend.compilation import compiled
from keras_focal.functional._backend.operations import afresh, matmul_float32
from keras_focal.functional._backend.precision import Tensor, floating, to_float
from keras_focal.functional._inputs.gamma import Gamma, split_rows
from keras_focal.functional.losses._focal import SparseTerms, sparse_gradient, sparse_terms

MOST_PARTS = 64
SMALLEST_PART = 2**20
"""Logits in a part below which more parts save nothing."""


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

    The value and the gradients are those of the two steps one after the other, at a fraction of
    the memory and one more matrix product.

    Args:
        features: Float tensor, shape (..., D).
        kernel: Float tensor, shape (D, K), K >= 2.
        bias: None, or float tensor of shape (K,).
        labels: Integer tensor, shape (...). An id outside [0, K) adds loss 0 and gradient 0.
        gamma: As for `sparse_categorical_focal_crossentropy`.
        alpha: None, a number, or a tensor of shape (K,): weight of each class.
        sample_weight: None, or float tensor of shape (...): weight of each row. A row of weight 0
            adds nothing, even if its features are not finite.
        ignore_class: None, or the id of rows that add nothing.
        num_parts: Number of parts that the logits are taken in, >= 1; by default 64, or fewer for
            less than 2**26 logits.

    Returns:
        Tensor of shape (...), >= 0, in nats, float32 or float64. Half-precision features and
        kernels are multiplied and added up in float32; gradients come in their dtypes.

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
        Mukhoti et al., 2020, Proposition 1; the technique: Wijmans et al., 2024, "Cut Your Losses
        in Large-Vocabulary Language Models"; Hsu et al., 2024, "Liger Kernel".
    """
    features, kernel = floating(features), floating(kernel)
    labels = ops.cast(labels, "int32")
    depth, num_classes = kernel.shape
    check_same_shape(
        "features", features.shape[-1:], (depth,), "Give features with one entry per kernel row."
    )
    check_same_shape("labels", labels.shape, features.shape[:-1], "Give one class id per row.")
    if bias is None:
        bias = ops.zeros((num_classes,), dtype=to_float(kernel).dtype)
    else:
        bias = floating(bias)
        check_same_shape("bias", bias.shape, (num_classes,), "Give one entry per class.")
    num_parts = _parts(labels.shape, num_classes) if num_parts is None else num_parts
    num_parts = check_count("num_parts", num_parts)
    gamma, gammas = split_rows(gamma, labels)

    weights = ops.ones_like(labels, dtype=to_float(features).dtype)
    if sample_weight is not None:
        sample_weight = ops.convert_to_tensor(sample_weight, dtype=weights.dtype)
        check_same_shape("sample_weight", sample_weight.shape, labels.shape, "Weigh each row.")
        weights = weights * sample_weight
    if ignore_class is not None:
        weights = ops.where(ops.equal(labels, ignore_class), 0.0, weights)
    if sample_weight is not None or ignore_class is not None:
        counts = ops.not_equal(weights, 0)
        labels = ops.where(counts, labels, -1)
        # 0 * NaN is NaN: a row that adds nothing must be finite.
        features = ops.where(
            ops.expand_dims(counts, -1), features, ops.zeros((), dtype=features.dtype)
        )

    shape = ops.shape(labels)
    flat = (ops.reshape(labels, (-1,)), *(ops.reshape(g, (-1,)) for g in gammas))
    head = _Head(flat, gamma, alpha, num_parts)
    losses = head.losses(ops.reshape(features, (-1, depth)), kernel, bias)
    return ops.reshape(losses, shape) * ops.stop_gradient(weights)


def _parts(shape: tuple, num_classes: int) -> int:
    """Return the number of parts: no part much smaller than it need be."""
    if None in shape:
        return MOST_PARTS
    entries = num_classes
    for length in shape:
        entries *= length
    return max(1, min(MOST_PARTS, entries // SMALLEST_PART))


class _Head:
    """The loss as a function of features (N, D), kernel (D, K) and bias (K,)."""

    def __init__(self, rows: tuple[Tensor, ...], gamma: Gamma, alpha: Any, num_parts: int):
        self.rows = rows
        self.gamma = gamma
        self.alpha = alpha
        self.num_parts = num_parts

    def losses(self, features: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        @ops.custom_gradient
        def value_of(features: Tensor, kernel: Tensor, bias: Tensor) -> tuple[Tensor, Any]:
            terms = compiled(self._terms, features, kernel, bias, *self.rows)

            def gradient(*args: Tensor, upstream: Tensor | None = None) -> tuple[Tensor, ...]:
                upstream = args[0] if upstream is None else upstream
                _, reference, pull, push = terms
                return compiled(
                    self._gradients,
                    features,
                    kernel,
                    bias,
                    self.rows[0],
                    reference,
                    pull * upstream,
                    push * upstream,
                )

            return terms[0], gradient

        return value_of(features, kernel, bias)

    def _terms(self, features: Tensor, kernel: Tensor, bias: Tensor, *rows: Tensor) -> SparseTerms:
        """Return the terms of all rows, computed part by part of the rows."""
        count = ops.shape(features)[0]
        length = -(-count // self.num_parts)
        extra = length * self.num_parts - count

        def part(x: Tensor, fill: int = 0) -> Tensor:
            padding = [[0, extra], *[[0, 0]] * (len(x.shape) - 1)]
            x = ops.pad(x, padding, constant_values=fill)
            return ops.reshape(x, (self.num_parts, length, *x.shape[1:]))

        def terms_of(arrays: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            features, labels, *gammas = arrays
            z = matmul_float32(features, kernel) + to_float(bias)
            return tuple(sparse_terms(labels, z, gammas[0] if gammas else self.gamma, self.alpha))

        labels, *gammas = rows
        parts = (part(features), part(labels, -1), *(part(g) for g in gammas))
        return SparseTerms(*(ops.reshape(t, (-1,))[:count] for t in ops.map(terms_of, parts)))

    def _gradients(
        self, features: Tensor, kernel: Tensor, bias: Tensor, labels: Tensor, *terms: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients, computed part by part of the classes."""
        depth, num_classes = kernel.shape
        width = -(-num_classes // self.num_parts)
        kernel, bias = afresh(kernel), afresh(bias)

        def step(index: Any, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            of_features, of_kernel, of_bias = state
            # The last block ends at the last class: the classes that it has in common with the
            # block before are written again, but not added again.
            start = ops.minimum(index * width, num_classes - width)
            columns = ops.slice(kernel, (0, start), (depth, width))
            z = matmul_float32(features, columns) + to_float(ops.slice(bias, (start,), (width,)))
            slope = sparse_gradient(labels - start, z, *terms)
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
