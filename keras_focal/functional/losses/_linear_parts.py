"""The last linear layer and the sparse focal loss in one, computed in parts.

The logits of a large vocabulary are the largest array of a training step. Here only a part of them
exists at a time: the loss is computed in blocks of rows, its gradient in blocks of classes, so that
each block of the gradient of the kernel is written once (docs/decisions/linear-head.md). What
evaluation needs of the logits is computed from the same blocks (docs/maths.md, H1 to H5).
"""

from typing import Any, NamedTuple

from keras import ops

from keras_focal._typing import Tensor
from keras_focal.functional._backend.compilation import compiled
from keras_focal.functional._backend.derivative import differentiated_once, with_gradient
from keras_focal.functional._backend.operations import matmul_float32, recomputed
from keras_focal.functional._backend.precision import to_float
from keras_focal.functional._inputs.class_labels import INVALID
from keras_focal.functional._inputs.gamma import Parameter, Parameters
from keras_focal.functional._inputs.labels import label_factor
from keras_focal.functional._inputs.probabilities import first_largest, nan_unless
from keras_focal.functional.losses._focal import (
    SparseTerms,
    log_base,
    sparse_gradient,
    sparse_terms,
)

NAME = "linear_sparse_focal_crossentropy"


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


class Form(NamedTuple):
    """What is added to the focal loss of the logits, and what is returned beside it."""

    label_smoothing: float
    z_loss: float
    softcap: float | None
    statistics: bool


class Head:
    """The loss as a function of features (N, D), kernel (D, K) and bias (K,)."""

    def __init__(self, gamma: Parameter, alpha: Parameter, form: Form, num_parts: int):
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
