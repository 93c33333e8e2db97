"""The last linear layer and the sparse focal loss in one, without storing the logits.

Arguments are read here, and rows weighted and reduced. The logits and the gradients are computed
in parts by `_linear_parts.py`.
"""

from typing import Any, Literal

from keras import ops

from keras_focal._typing import Tensor
from keras_focal._validation.choices import check_choice
from keras_focal._validation.numbers import (
    check_at_least,
    check_count,
    check_fraction,
    check_positive,
    check_that,
    is_number,
)
from keras_focal._validation.shapes import check_same_shape
from keras_focal.functional._backend.compilation import without_autograph
from keras_focal.functional._backend.precision import floating, to_float
from keras_focal.functional._inputs.gamma import Gamma, read_alpha, read_gamma
from keras_focal.functional._inputs.labels import is_left_out, read_ids
from keras_focal.functional._inputs.weights import nan_where_no_weight
from keras_focal.functional.losses._linear_parts import Form, Head, LinearHeadStatistics
from keras_focal.functional.losses._terms import checked, masked

MOST_PARTS = 64
MOST_PARTS_OF_SUM = 16
"""Each part of a sum is added to the gradient of the kernel, which takes time."""
SMALLEST_PART = 2**20
"""Number of logits in a part below which more parts save no memory."""


@without_autograph
def linear_sparse_focal_crossentropy(
    features: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    *,
    gamma: Gamma = 2.0,
    alpha: Tensor | None = None,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    sample_weight: Tensor | None = None,
    ignore_class: int | None = None,
    return_statistics: bool = False,
    reduction: Literal["sum", "mean"] | None = None,
    num_parts: int | None = None,
) -> Tensor | tuple[Tensor, LinearHeadStatistics]:
    """Return the sparse focal loss of features @ kernel + bias.

    Value and gradients equal those of a linear layer followed by
    `sparse_categorical_focal_crossentropy`, but the logits are never stored. Without a reduction
    it takes four matrix products in place of three, one of them to compute the logits again. With
    one it takes three, since the gradients are computed together with the loss; then it is
    wasteful outside of training, except on JAX. The statistics let perplexity, accuracy and
    calibration be measured in the same pass.

    Args:
        features: Float tensor, shape (..., D).
        kernel: Float tensor, shape (D, K), K >= 2.
        bias: None, or float tensor of shape (K,).
        labels: Integer tensor, shape (...). An id outside [0, K) raises a ValueError where it
            can be read, and gives NaN otherwise.
        gamma: As for `sparse_categorical_focal_crossentropy`.
        alpha: None, a number, or a tensor of shape (K,): weight of each class.
        label_smoothing: s, a number in [0, 1), only for cross-entropy, that is with `gamma` 0 and
            no `alpha`: targets are (1 - s) q + s / K, as in Keras.
        z_loss: Number >= 0: this times (log sum_j exp(z_j))^2 is added to the loss of each row. It
            keeps the normaliser near 1; 1e-4 is usual.
        softcap: None, or a number > 0: the logits are softcap * tanh(z / softcap).
        sample_weight: None, or float tensor of shape (...): weight of each row. A row of weight 0
            has loss 0 even if its features are not finite.
        ignore_class: None, or the class id of rows to leave out; their loss is 0.
        return_statistics: Whether to return `LinearHeadStatistics` too. Weights do not change them.
        reduction: None for the loss of each row; "sum" for the sum of weight times loss; "mean" for
            that divided by the sum of the weights, of which rows of `ignore_class` have none.
        num_parts: Number of parts in which the logits are computed, >= 1; by default 64, 16 with a
            reduction, and fewer for less than 2**20 logits a part.

    Returns:
        Tensor of shape (...), or () with a reduction, >= 0, in nats, float32 or float64; with
        `return_statistics`, the pair of it and the statistics. Products of half-precision features
        and kernels are accumulated in float32; gradients have the dtypes of the inputs.

    Raises:
        ValueError: If shapes do not match, a number is outside its range, `reduction` is unknown,
            or `label_smoothing` is combined with a focal loss or class weights.

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
        Losses in Large-Vocabulary Language Models"; Hsu et al., 2024, "Liger Kernel". The z-loss is
        that of Chowdhery et al., 2022, "PaLM", section 5; the cap that of Gemma Team, 2024.
    """
    check_choice("reduction", reduction, (None, "sum", "mean"))
    form = _read_form(gamma, alpha, label_smoothing, z_loss, softcap, return_statistics)
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
    if num_parts is None:
        most = MOST_PARTS if reduction is None else MOST_PARTS_OF_SUM
        num_parts = _parts(ids.shape, num_classes, most)
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

    head = Head(gamma, alpha, form, num_parts)
    weights = ops.stop_gradient(nan_where_no_weight(weights))
    flat = (ops.reshape(x, (-1,)) for x in (ids, *gamma.rows))
    arguments = (
        ops.reshape(features, (-1, depth)),
        kernel,
        bias,
        *flat,
        *gamma.shared,
        *alpha.shared,
    )
    if reduction is None:
        losses, *statistics = head.losses(*arguments)
        losses = ops.reshape(losses, ops.shape(ids)) * weights
    else:
        losses, *statistics = head.total(ops.reshape(weights, (-1,)), *arguments)
        if reduction == "mean":
            losses = ops.divide_no_nan(losses, ops.sum(weights))
    losses = checked(losses, labels, shape)
    if not return_statistics:
        return losses
    of_rows = (ops.reshape(ops.stop_gradient(x), ops.shape(ids)) for x in statistics)
    return losses, LinearHeadStatistics(*(masked(x, labels.counts) for x in of_rows))


def _read_form(
    gamma: Gamma, alpha: Any, label_smoothing: Any, z_loss: Any, softcap: Any, statistics: bool
) -> Form:
    smoothing = check_fraction("label_smoothing", label_smoothing)
    is_crossentropy = is_number(gamma) and gamma == 0 and alpha is None
    check_that(
        "label_smoothing",
        smoothing,
        "0 unless `gamma` is 0 and `alpha` is None",
        smoothing == 0 or is_crossentropy,
        "Smoothed targets are defined for cross-entropy: give gamma=0.0.",
    )
    z_loss = check_at_least("z_loss", z_loss, 0.0)
    softcap = None if softcap is None else check_positive("softcap", softcap)
    return Form(smoothing, z_loss, softcap, bool(statistics))


def _parts(shape: tuple, num_classes: int, most: int) -> int:
    """Return the number of parts, such that no part is smaller than necessary."""
    if None in shape:
        return most
    entries = num_classes
    for length in shape:
        entries *= length
    return max(1, min(most, entries // SMALLEST_PART))
