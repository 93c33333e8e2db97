"""The last linear layer and the sparse focal loss in one, without storing the logits.

The logits of a large vocabulary are the largest array of a training step. Here only a part of them
exists at a time: the loss is computed in blocks of rows, its gradient in blocks of classes, so that
each block of the gradient of the kernel is written once (docs/decisions/linear-head.md). What
evaluation needs of the logits is computed from the same blocks (docs/maths.md, H1 to H5).
"""

from typing import Any, Literal, NamedTuple

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
from keras_focal.functional._backend.compilation import compiled
from keras_focal.functional._backend.derivative import differentiated_once, with_gradient
from keras_focal.functional._backend.operations import matmul_float32, recomputed
from keras_focal.functional._backend.precision import floating, to_float
from keras_focal.functional._inputs.class_labels import INVALID
from keras_focal.functional._inputs.gamma import (
    Gamma,
    Parameter,
    Parameters,
    read_alpha,
    read_gamma,
)
from keras_focal.functional._inputs.labels import is_left_out, label_factor, read_ids
from keras_focal.functional._inputs.probabilities import first_largest, nan_unless
from keras_focal.functional._inputs.weights import nan_where_no_weight
from keras_focal.functional.losses._focal import (
    SparseTerms,
    log_base,
    sparse_gradient,
    sparse_terms,
)
from keras_focal.functional.losses._terms import checked, masked

NAME = "linear_sparse_focal_crossentropy"
MOST_PARTS = 64
SMALLEST_PART = 2**20
"""Number of logits in a part below which more parts save no memory."""


class LinearHeadStatistics(NamedTuple):
    """What a linear head predicts for each row, float tensors of the shape of the labels.

    None of them has a gradient. A row that is left out has zeros; an invalid label has a
    `neg_log_likelihood` and a `correct` of NaN. `metrics.BinaryExpectedCalibrationError`, given
    `correct` and `confidence[..., None]`, is the top-label ECE over all classes.

    Attributes:
        neg_log_likelihood: -log p_t in nats, whatever the loss is; its mean is log perplexity.
        log_sum_exp: log sum_j exp(z_j), the normaliser of the logits.
        entropy: -sum_j p_j log p_j in nats.
        confidence: The largest probability.
        correct: 1.0 where the class of the largest probability, the lowest of equal ones, is the
            label, else 0.0.

    Example:
        >>> import numpy as np
        >>> from keras_focal import functional, metrics
        >>> _, of_rows = functional.linear_sparse_focal_crossentropy(
        ...     np.eye(2, dtype="float32"), 2 * np.eye(2, dtype="float32"), None, np.array([0, 0]),
        ...     return_statistics=True)
        >>> ece = metrics.BinaryExpectedCalibrationError()
        >>> ece.update_state(of_rows.correct, of_rows.confidence[..., None])
        >>> round(float(ece.result()), 4)
        0.3808
    """

    neg_log_likelihood: Tensor
    log_sum_exp: Tensor
    entropy: Tensor
    confidence: Tensor
    correct: Tensor


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
        num_parts: Number of parts in which the logits are computed, >= 1; by default 64, or fewer
            for less than 2**26 logits.

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

    head = _Head(gamma, alpha, form, num_parts)
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


class _Form(NamedTuple):
    """What is added to the focal loss of the logits, and what is returned beside it."""

    label_smoothing: float
    z_loss: float
    softcap: float | None
    statistics: bool


def _read_form(
    gamma: Gamma, alpha: Any, label_smoothing: Any, z_loss: Any, softcap: Any, statistics: bool
) -> _Form:
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
    return _Form(smoothing, z_loss, softcap, bool(statistics))


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

    def __init__(self, gamma: Parameter, alpha: Parameter, form: _Form, num_parts: int):
        self.gamma = gamma
        self.alpha = alpha
        self.form = form
        self.parameters = Parameters(gamma, alpha)
        self.num_parts = num_parts

    @property
    def _num_statistics(self) -> int:
        return len(LinearHeadStatistics._fields) if self.form.statistics else 0

    def losses(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        """Return the loss of each row, and the statistics if they are wanted.

        The gradients are computed in the backward pass, from logits that are computed again.

        Args:
            arguments: Features, kernel, bias, ids, and the tensors of gamma and alpha.
        """

        def forward(*arguments: Tensor) -> tuple[Tensor, ...]:
            return compiled(self._terms, *arguments)

        def backward(arguments: tuple, terms: tuple, upstream: Tensor) -> list[Tensor | None]:
            reference, *slopes, of_gamma, of_alpha = terms[1 + self._num_statistics :]
            scaled = (differentiated_once(x * upstream, NAME) for x in slopes)
            gradients = compiled(self._gradients, *arguments[:4], reference, *scaled)
            others = self._of_parameters(arguments[3], upstream, of_gamma, of_alpha)
            return [*gradients, None, *others]

        results = with_gradient(forward, backward, self._num_statistics)(*arguments)
        return results if self._num_statistics else (results,)

    def total(self, weights: Tensor, *arguments: Tensor) -> tuple[Tensor, ...]:
        """Return the sum of weights times losses, and the statistics if they are wanted.

        The gradients of the sum are computed in the forward pass, and multiplied by a number in
        the backward pass.

        Args:
            weights: Float tensor, shape (N,).
            arguments: As for `losses`.
        """

        def forward(*arguments: Tensor) -> tuple[Tensor, ...]:
            return compiled(self._total, *arguments)

        def backward(arguments: tuple, terms: tuple, upstream: Tensor) -> list[Tensor | None]:
            *gradients, of_gamma, of_alpha = (
                differentiated_once(x, NAME) for x in terms[1 + self._num_statistics :]
            )
            scaled = (
                ops.cast(of_each * upstream, x.dtype)
                for of_each, x in zip(gradients, arguments[:3], strict=True)
            )
            ids, weights = arguments[3:5]
            others = self._of_parameters(ids, upstream * weights, of_gamma, of_alpha)
            return [*scaled, None, None, *others]

        features, kernel, bias, ids, *others = arguments
        results = with_gradient(forward, backward, self._num_statistics)(
            features, kernel, bias, ids, weights, *others
        )
        return results if self._num_statistics else (results,)

    def _of_parameters(
        self, ids: Tensor, upstream: Tensor, of_gamma: Tensor, of_alpha: Tensor
    ) -> list[Tensor | None]:
        """Return the gradients with respect to the tensors of gamma and alpha."""
        gradients = Parameters(self.gamma).gradients(upstream, [of_gamma])
        if not self.alpha.is_learned:
            return [*gradients, *([None] * len(self.alpha.shared))]
        (alpha,) = self.alpha.shared
        slope = upstream * of_alpha
        if len(alpha.shape) == 1:
            ids = ops.clip(ids, 0, alpha.shape[0] - 1)
            slope = ops.segment_sum(slope, ids, num_segments=alpha.shape[0])
        else:
            slope = ops.sum(slope)
        return [*gradients, ops.cast(slope, alpha.dtype)]

    def _logits(self, features: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        z = matmul_float32(features, kernel) + to_float(bias)
        cap = self.form.softcap
        return z if cap is None else cap * ops.tanh(z / cap)

    def _in_parts(self, *rows: Tensor) -> tuple[Tensor, ...]:
        """Return tensors (N, ...) as (parts, rows of a part, ...), filled up with rows of zeros."""
        count = ops.shape(rows[0])[0]
        length = -(-count // self.num_parts)
        extra = length * self.num_parts - count

        def part(x: Tensor) -> Tensor:
            padding = [[0, extra], *[[0, 0]] * (len(x.shape) - 1)]
            return ops.reshape(ops.pad(x, padding), (self.num_parts, length, *x.shape[1:]))

        return tuple(map(part, rows))

    def _terms(self, features: Tensor, kernel: Tensor, bias: Tensor, *others: Tensor) -> tuple:
        """Return the terms of all rows, computed in parts of the rows: those of `_terms_of`."""
        number = 1 + len(self.gamma.rows)
        rows, shared = others[:number], others[number:]

        def terms_of(arrays: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            features, *rows = arrays
            return self._terms_of(self._logits(features, kernel, bias), *rows, *shared)

        terms = ops.map(terms_of, self._in_parts(features, *rows))
        return tuple(ops.reshape(term, (-1,))[: ops.shape(features)[0]] for term in terms)

    def _terms_of(self, z: Tensor, ids: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        """Return the terms of rows of logits.

        They are the loss, its statistics, the reference and the slopes that `_slope` takes, and
        the derivatives with respect to gamma and alpha.
        """
        gamma, alpha = self.parameters.values(*others)
        factor = ops.cast(label_factor(ids), z.dtype)
        focal = sparse_terms(ids, z, gamma, alpha, signed=self.gamma.is_signed)
        of_gamma = of_alpha = factor * focal.value
        if self.gamma.is_learned:
            of_gamma = of_gamma * log_base(focal.of_true.complement)
        if self.alpha.is_learned:
            of_alpha = factor * sparse_terms(ids, z, gamma, None).value
        statistics = _statistics(ids, z, focal) if self.form.statistics else ()
        value, *slopes = (x * factor for x in self._with_form(z, focal))
        return value, *statistics, focal.reference, *slopes, of_gamma, of_alpha

    def _total(
        self,
        features: Tensor,
        kernel: Tensor,
        bias: Tensor,
        ids: Tensor,
        weights: Tensor,
        *others: Tensor,
    ) -> tuple[Tensor, ...]:
        """Return the sum of the losses, the statistics, and the gradients of the sum.

        The gradients are those of features, kernel, bias, in float32, and of the values of gamma
        and alpha of each row.
        """
        number = len(self.gamma.rows)
        of_rows, shared = others[:number], others[number:]
        number = 1 + self._num_statistics
        parts = self._in_parts(features, ids, weights, *of_rows)
        length, dtype = ops.shape(parts[1])[1], to_float(features).dtype

        def step(index: Any, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            total, of_kernel, of_bias, of_features, found = state
            features, ids, weights, *of_rows = (x[index] for x in parts)
            z = self._logits(features, kernel, bias)
            terms = self._terms_of(z, ids, *of_rows, *shared)
            reference, *slopes, of_gamma, of_alpha = terms[number:]
            slope = self._slope(ids, z, reference, *(x * weights for x in slopes))
            gradients = self._products(features, kernel, slope, of_kernel)
            new = ops.stack([*terms[1:number], of_gamma, of_alpha], axis=-1)
            return (
                total + ops.sum(terms[0] * weights),
                gradients[1],
                of_bias + ops.sum(slope, axis=0),
                ops.slice_update(of_features, (index, 0, 0), gradients[0][None]),
                ops.slice_update(found, (index, 0, 0), new[None]),
            )

        start = (
            ops.zeros((), dtype=dtype),
            ops.zeros_like(to_float(kernel)),
            ops.zeros_like(to_float(bias)),
            ops.zeros_like(to_float(parts[0])),
            ops.zeros((self.num_parts, length, number + 1), dtype=dtype),
        )
        total, *of_weights, of_features, found = ops.fori_loop(0, self.num_parts, step, start)
        count = ops.shape(features)[0]
        of_features, found = (
            ops.reshape(x, (-1, x.shape[-1]))[:count] for x in (of_features, found)
        )
        *statistics, of_gamma, of_alpha = (found[:, i] for i in range(number + 1))
        return total, *statistics, of_features, *of_weights, of_gamma, of_alpha

    def _products(
        self, features: Tensor, kernel: Tensor, slope: Tensor, of_kernel: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the gradient of rows of features, and `of_kernel` plus that of the kernel.

        The classes are taken in parts, so that the product that is added to `of_kernel` is no
        larger than the slope.
        """
        depth, num_classes = kernel.shape
        rows = slope.shape[0]
        blocks = 1 if rows is None else min(-(-depth // rows), num_classes)
        width = -(-num_classes // blocks)

        def step(index: Any, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            of_features, of_kernel = state
            start = ops.minimum(index * width, num_classes - width)
            is_new = ops.arange(width, dtype="int32") + start >= index * width
            part = ops.slice(slope, (0, start), (ops.shape(slope)[0], width))
            part = ops.where(is_new, part, 0.0)
            columns = ops.slice(kernel, (0, start), (depth, width))
            before = ops.slice(of_kernel, (0, start), (depth, width))
            added = before + matmul_float32(ops.transpose(features), part)
            return (
                of_features + matmul_float32(part, ops.transpose(columns)),
                ops.slice_update(of_kernel, (0, start), ops.cast(added, of_kernel.dtype)),
            )

        start = (ops.zeros_like(to_float(features)), of_kernel)
        return ops.fori_loop(0, -(-num_classes // width), step, start)

    def _with_form(self, z: Tensor, focal: SparseTerms) -> tuple[Tensor, ...]:
        """Return the loss with smoothing and z-loss, and the slopes that its gradient is made of.

        The gradient of both is a p - b, with a and b the same for all logits of a row
        (docs/maths.md, H2 and H3).
        """
        s, z_loss = self.form.label_smoothing, self.form.z_loss
        value, _, at_true, at_others, of_true = focal
        if s == z_loss == 0:
            return value, at_true, at_others
        normaliser = ops.logsumexp(z, axis=-1)
        uniform = normaliser - ops.mean(z, axis=-1)
        value = (1.0 - s) * value + s * uniform + z_loss * normaliser * normaliser
        a = s + 2.0 * z_loss * normaliser
        b = ops.full_like(a, s / z.shape[-1])
        at_true = (1.0 - s) * at_true - a * of_true.p
        return value, at_true, (1.0 - s) * at_others + a * of_true.complement, b

    def _slope(
        self, ids: Tensor, z: Tensor, reference: Tensor, at_true: Tensor, at_others: Tensor, *b: Any
    ) -> Tensor:
        """Return the gradient with respect to features @ kernel + bias."""
        slope = sparse_gradient(ids, z, reference, at_true, at_others)
        for share in b:
            slope = slope - ops.expand_dims(share, -1)
        cap = self.form.softcap
        return slope if cap is None else slope * (1.0 - ops.square(z / cap))

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
            z = self._logits(features, columns, ops.slice(bias, (start,), (width,)))
            slope = self._slope(ids - start, z, *terms)
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


def _statistics(ids: Tensor, z: Tensor, focal: SparseTerms) -> LinearHeadStatistics:
    """Return the statistics of rows of logits."""
    # Added: a compiler may drop the NaN in a product with what it knows to be 0 or 1.
    invalid = nan_unless(ops.not_equal(ids, INVALID), z.dtype)
    top, largest = first_largest(z)
    behind = ops.expand_dims(largest, -1) - z
    weights = ops.exp(-behind)
    total = ops.sum(weights, axis=-1)
    # A logit of -inf has weight 0.
    mean_behind = ops.sum(weights * ops.where(weights > 0, behind, 0.0), axis=-1) / total
    return LinearHeadStatistics(
        neg_log_likelihood=focal.of_true.neg_log_p + invalid,
        log_sum_exp=largest + ops.log(total),
        entropy=ops.log(total) + mean_behind,
        confidence=1.0 / total,
        correct=ops.cast(ops.equal(top, ids), z.dtype) + invalid,
    )
