"""The last linear layer and the sparse focal loss in one, computed in parts.

The logits of a large vocabulary are the largest array of a training step. Here only a part of them
exists at a time: the loss is computed in blocks of rows, its gradient in blocks of classes, so that
each block of the gradient of the kernel is written once (docs/decisions/linear-head.md). What
evaluation needs of the logits is computed from the same blocks (docs/maths.md, H1 to H5).
"""

from typing import Any, NamedTuple

from keras import ops

from keras_focal._typing import Tensor
from keras_focal.functional._backend.compilation import compiled, num_devices
from keras_focal.functional._backend.derivative import differentiated_once, with_gradient
from keras_focal.functional._backend.operations import matmul_float32, recomputed
from keras_focal.functional._backend.precision import to_float
from keras_focal.functional._inputs.class_labels import INVALID
from keras_focal.functional._inputs.gamma import Parameter, Parameters
from keras_focal.functional._inputs.labels import label_factor
from keras_focal.functional._inputs.probabilities import first_largest, nan_unless
from keras_focal.functional._stable.predicted import Logits
from keras_focal.functional.losses._blocks import ClassBlocks, RowBlocks, row_shares
from keras_focal.functional.losses._focal import (
    SparseTerms,
    log_base,
    sparse_gradient,
    sparse_terms,
)

NAME = "linear_sparse_focal_crossentropy"
MOST_BLOCKS = 16
SMALLEST_BLOCK = 2**18
"""Number of logits in a block of a part; smaller ones fit in a cache no better."""


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
        return self._of_product(matmul_float32(features, kernel), bias)

    def _of_product(self, product: Tensor, bias: Tensor) -> Tensor:
        """Return the logits of features @ kernel."""
        z = product + to_float(bias)
        cap = self.form.softcap
        return z if cap is None else cap * ops.tanh(z / cap)

    def _terms(self, features: Tensor, kernel: Tensor, bias: Tensor, *others: Tensor) -> tuple:
        """Return the terms of all rows, computed in parts of the rows: those of `_terms_of`."""
        number = 1 + len(self.gamma.rows)
        rows, shared = others[:number], others[number:]

        def terms_of(arrays: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            features, *rows = arrays
            return self._terms_of(self._logits(features, kernel, bias), *rows, *shared)

        count = ops.shape(features)[0]
        parts = RowBlocks(row_shares(features.shape[0]), self.num_parts)
        given = (parts.stacked(parts.filled(x, self.num_parts)) for x in (features, *rows))
        terms = ops.map(terms_of, tuple(given))
        return tuple(parts.emptied(parts.unstacked(term), count) for term in terms)

    def _terms_of(self, z: Tensor, ids: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        """Return the terms of rows of logits.

        They are the loss, its statistics, the reference and the slopes that `_slope` takes, and
        the derivatives with respect to gamma and alpha.
        """
        gamma, alpha = self.parameters.values(*others)
        factor = ops.cast(label_factor(ids), z.dtype)
        focal = sparse_terms(ids, Logits(z), gamma, alpha, signed=self.gamma.is_signed)
        of_gamma = of_alpha = factor * focal.value
        if self.gamma.is_learned:
            of_gamma = of_gamma * log_base(focal.of_true.complement)
        if self.alpha.is_learned:
            of_alpha = factor * sparse_terms(ids, Logits(z), gamma, None).value
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
        num_blocks = self._num_blocks(features.shape[0], kernel.shape[1])
        shares = row_shares(features.shape[0])
        parts, blocks = RowBlocks(shares, self.num_parts), RowBlocks(shares, num_blocks)
        multiple = self.num_parts * num_blocks
        given = tuple(parts.filled(x, multiple) for x in (features, ids, weights, *of_rows))
        dtype = to_float(features).dtype

        def step(index: Any, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            total, of_kernel, of_bias, of_features, found = state
            features, *rows = (parts.taken(x, index) for x in given)
            product = matmul_float32(features, kernel)
            slope, new_total, new = self._slope_of_part(blocks, product, bias, rows, shared)
            gradient = matmul_float32(slope, ops.transpose(kernel))
            return (
                total + new_total,
                _with_product(of_kernel, features, slope),
                of_bias + ops.sum(slope, axis=0),
                parts.replaced(of_features, index, gradient),
                parts.replaced(found, index, new),
            )

        start = (
            ops.zeros((), dtype=dtype),
            ops.zeros_like(to_float(kernel)),
            ops.zeros_like(to_float(bias)),
            ops.zeros_like(to_float(given[0])),
            ops.zeros((ops.shape(given[0])[0], self._num_statistics + 2), dtype=dtype),
        )
        total, *of_weights, of_features, found = ops.fori_loop(0, self.num_parts, step, start)
        count = ops.shape(features)[0]
        of_features, found = parts.emptied(of_features, count), parts.emptied(found, count)
        *statistics, of_gamma, of_alpha = (found[:, i] for i in range(found.shape[-1]))
        return total, *statistics, of_features, *of_weights, of_gamma, of_alpha

    def _num_blocks(self, count: int | None, num_classes: int) -> int:
        """Return in how many blocks the rows of a part are taken by `_slope_of_part`."""
        if count is None:
            return MOST_BLOCKS
        of_part = -(-count // self.num_parts) * num_classes
        # A power of two, of which numbers of rows are multiples: then nothing is filled up.
        return 1 << (min(MOST_BLOCKS, max(1, of_part // SMALLEST_BLOCK)).bit_length() - 1)

    def _slope_of_part(
        self,
        blocks: RowBlocks,
        product: Tensor,
        bias: Tensor,
        rows: list[Tensor],
        shared: tuple[Tensor, ...],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradient of the logits, the sum of the losses, and what is kept of each row.

        The gradient takes the place of the logits, block by block of the rows: what is computed in
        between is no larger than a block.

        Args:
            blocks: Blocks of the n rows of the part.
            product: Features times kernel, shape (n, K).
            bias: Float tensor, shape (K,).
            rows: Ids, weights and values of gamma, shape (n,).
            shared: Tensors of gamma and alpha that all rows have in common.
        """
        number = 1 + self._num_statistics

        def step(index: Any, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            total, slopes, found = state
            ids, weights, *of_rows = (blocks.taken(x, index) for x in rows)
            z = self._of_product(blocks.taken(slopes, index), bias)
            terms = self._terms_of(z, ids, *of_rows, *shared)
            reference, *scales, of_gamma, of_alpha = terms[number:]
            slope = self._slope(ids, z, reference, *(x * weights for x in scales))
            new = ops.stack([*terms[1:number], of_gamma, of_alpha], axis=-1)
            return (
                total + ops.sum(terms[0] * weights),
                blocks.replaced(slopes, index, slope),
                blocks.replaced(found, index, new),
            )

        start = (
            ops.zeros((), dtype=product.dtype),
            product,
            ops.zeros((ops.shape(product)[0], number + 1), dtype=product.dtype),
        )
        total, slopes, found = ops.fori_loop(0, blocks.count, step, start)
        return slopes, total, found

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
        slope = sparse_gradient(Logits, ids, z, reference, at_true, at_others)
        for share in b:
            slope = slope - ops.expand_dims(share, -1)
        cap = self.form.softcap
        return slope if cap is None else slope * (1.0 - ops.square(z / cap))

    def _gradients(
        self, features: Tensor, kernel: Tensor, bias: Tensor, ids: Tensor, *terms: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients, computed in parts of the classes."""
        blocks = ClassBlocks(kernel.shape[1], self.num_parts)
        kernel, bias = recomputed(kernel), recomputed(bias)

        def step(index: Any, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            of_features, of_kernel, of_bias = state
            columns = blocks.taken(kernel, index)
            z = self._logits(features, columns, blocks.taken(bias, index))
            slope = self._slope(blocks.place(ids, index), z, *terms)
            of_columns = matmul_float32(ops.transpose(features), slope)
            new_slope = ops.where(blocks.is_new(index), slope, 0.0)
            return (
                of_features + matmul_float32(new_slope, ops.transpose(columns)),
                blocks.replaced(of_kernel, index, of_columns),
                blocks.replaced(of_bias, index, ops.sum(slope, axis=0)),
            )

        start = (
            ops.zeros_like(to_float(features)),
            ops.zeros_like(kernel),
            ops.zeros_like(bias),
        )
        of_features, of_kernel, of_bias = ops.fori_loop(0, blocks.count, step, start)
        return ops.cast(of_features, features.dtype), of_kernel, of_bias


def _with_product(total: Tensor, features: Tensor, slope: Tensor) -> Tensor:
    """Return total + features^T slope, in parts of the classes, each smaller than the slope.

    Args:
        total: Float tensor, shape (D, K).
        features: Float tensor, shape (n, D).
        slope: Float tensor, shape (n, K).
    """
    depth, num_classes = total.shape
    rows = slope.shape[0]
    # With several devices a block is copied out of their shares: it is made smaller for that.
    of_slope = 4 if num_devices() == 1 else 6
    blocks = ClassBlocks(num_classes, 1 if rows is None else -(-of_slope * depth // rows))

    def step(index: Any, total: Tensor) -> Tensor:
        part = ops.where(blocks.is_new(index), blocks.taken(slope, index), 0.0)
        added = matmul_float32(ops.transpose(features), part)
        return blocks.replaced(total, index, blocks.taken(total, index) + added)

    return ops.fori_loop(0, blocks.count, step, total)


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
