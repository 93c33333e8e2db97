"""Penalties that train calibration beside a loss (docs/maths.md, equations L14 to L19 and L26).

The first four measure a batch and are one number; the others measure the logits of each row, the
last with the labels of its neighbours.
"""

import keras
from keras import ops

from keras_focal._typing import Tensor
from keras_focal._validation.choices import check_choice
from keras_focal._validation.numbers import check_positive, check_soft_bins, check_window
from keras_focal.functional._backend.compilation import without_autograph
from keras_focal.functional._backend.precision import to_float
from keras_focal.functional._inputs.probabilities import first_largest, nan_unless
from keras_focal.functional._stable.margin import chosen_class
from keras_focal.functional.losses._batch import Batch
from keras_focal.functional.losses._terms import masked

FLOOR = 1e-10
"""Square below which a root is replaced by a line: it has no gradient at 0."""

LEAST_SHARE = 1e-12
"""Share of the predictions below which a soft bin counts as empty."""

LEAST_WEIGHT = 0.01
"""Weight of predictions below which a bin of the average error is empty, as in its source."""

LARGEST_GAP = 2.0**60
"""A larger difference of logits counts as this, so that its square is finite."""


@keras.saving.register_keras_serializable(package="keras_focal")
@without_autograph
def mdca_penalty(labels: Tensor, logits: Tensor, *, sample_weight: Tensor | None = None) -> Tensor:
    """Return MDCA = 1/K sum_k |mean of p_k - frequency of class k| of a batch.

    The multi-class difference in confidence and accuracy.

    Args:
        labels: Class ids, shape (...) or (..., 1), or rows, shape (..., K), whose largest entry is
            the true class. An id outside [0, K) raises a ValueError where it can be read, and gives
            NaN otherwise.
        logits: Float tensor, shape (..., K), K >= 2.
        sample_weight: None, or float tensor of the shape of `labels` as ids, >= 0.

    Returns:
        Scalar tensor in [0, 2 / K]; 0 for no predictions, NaN if the largest logit of a row is not
        finite. Float32 also for half-precision logits.

    Example:
        >>> from keras_focal import functional
        >>> float(functional.mdca_penalty([0, 0], [[0.0, 0.0], [0.0, 0.0]]))
        0.5

    Source:
        Hebbalaguppe et al., 2022, "A Stitch in Time Saves Nine", section 3.
    """
    batch = Batch(labels, logits, sample_weight)
    gaps = ops.reshape(batch.gaps(), (-1, batch.predicted.shape[-1]))
    mean = ops.sum(ops.expand_dims(batch.shares(), -1) * gaps, axis=0)
    return batch.checked(ops.sum(ops.abs(mean)) / batch.predicted.shape[-1])


@keras.saving.register_keras_serializable(package="keras_focal")
@without_autograph
def dca_penalty(labels: Tensor, logits: Tensor, *, sample_weight: Tensor | None = None) -> Tensor:
    """Return DCA = |mean confidence - accuracy| of a batch.

    The difference between confidence and accuracy, which is the ECE with a single bin.

    Args:
        labels: As for `mdca_penalty`.
        logits: Float tensor, shape (..., K), K >= 2.
        sample_weight: As for `mdca_penalty`.

    Returns:
        Scalar tensor in [0, 1]; 0 for no predictions, NaN if the largest logit of a row is not
        finite. Float32 also for half-precision logits.

    Example:
        >>> from keras_focal import functional
        >>> float(functional.dca_penalty([0, 0], [[0.0, 0.0], [0.0, 0.0]]))
        0.5

    Source:
        Liang et al., 2020, "Improved Trainable Calibration Method for Neural Networks on Medical
        Imaging Classification".
    """
    batch = Batch(labels, logits, sample_weight)
    complement, wrong = batch.top_label()
    return batch.checked(ops.abs(ops.sum(batch.shares() * (complement - wrong))))


@keras.saving.register_keras_serializable(package="keras_focal")
@without_autograph
def soft_binned_ece_penalty(
    labels: Tensor,
    logits: Tensor,
    *,
    sample_weight: Tensor | None = None,
    num_bins: int = 15,
    temperature: float = 0.01,
    norm: int = 2,
) -> Tensor:
    """Return the soft-binned ECE of a batch, (sum_j S_j |A_j - C_j|^norm)^(1 / norm).

    A prediction of confidence c belongs to bin j with membership softmax_j(-(c - x_j)^2 / t), with
    x_j the middle of bin j and t the temperature. S_j is the share of the predictions in bin j, A_j
    their accuracy and C_j their mean confidence, all by membership.

    Args:
        labels: As for `mdca_penalty`.
        logits: Float tensor, shape (..., K), K >= 2.
        sample_weight: As for `mdca_penalty`.
        num_bins: Number of bins of equal width, >= 2.
        temperature: t > 0. As it tends to 0, norm 1 gives the ECE.
        norm: 1 or 2.

    Returns:
        Scalar tensor in [0, 1]; 0 for no predictions, NaN if the largest logit of a row is not
        finite. Float32 also for half-precision logits.

    Raises:
        ValueError: If num_bins is not a whole number >= 2, temperature is not > 0, or norm is
            neither 1 nor 2.

    Numerics:
        The gradient of norm 2 is exact for values > 1e-5, and bounded below. O(N num_bins) memory.

    Example:
        >>> from keras_focal import functional
        >>> error = functional.soft_binned_ece_penalty([0, 0], [[0.0, 0.0], [0.0, 0.0]])
        >>> round(float(error), 4)
        0.5

    Source:
        Karandikar et al., 2021, "Soft Calibration Objectives for Neural Networks", section 4.1.
    """
    num_bins = check_soft_bins("num_bins", num_bins)
    temperature = check_positive("temperature", temperature)
    check_choice("norm", norm, (1, 2))
    batch = Batch(labels, logits, sample_weight)
    complement, wrong = batch.top_label()
    middles = (ops.arange(num_bins, dtype=complement.dtype) + 0.5) / num_bins
    distance = (1.0 - ops.expand_dims(complement, -1)) - middles
    membership = ops.softmax(-(distance * distance) / temperature, axis=-1)
    weighed = ops.expand_dims(batch.shares(), -1) * membership
    share = ops.sum(weighed, axis=0)
    gap = ops.sum(weighed * ops.expand_dims(wrong - complement, -1), axis=0)
    if norm == 1:
        return batch.checked(ops.sum(ops.abs(gap)))
    is_empty = share < LEAST_SHARE
    mean = ops.where(is_empty, 0.0, gap / ops.where(is_empty, 1.0, share))
    return batch.checked(_root(ops.sum(share * mean * mean)))


def _root(square: Tensor) -> Tensor:
    is_small = square < FLOOR
    return ops.where(is_small, square / FLOOR**0.5, ops.sqrt(ops.where(is_small, FLOOR, square)))


@keras.saving.register_keras_serializable(package="keras_focal")
@without_autograph
def soft_binned_ace_penalty(
    labels: Tensor,
    logits: Tensor,
    *,
    sample_weight: Tensor | None = None,
    num_bins: int = 20,
    per_sample: bool = False,
) -> Tensor:
    """Return the soft-binned marginal average calibration error (mL1-ACE) of a batch.

    1/K sum_k mean_j |mean of p_k - frequency of class k| over the bins j of p_k that are not empty.
    Each p_k belongs to the two bins whose middles are nearest, by its distance to them. Unlike in
    the ECE every bin counts alike, however few predictions it holds, which makes it a measure for
    the pixels of rare classes. A class without a label adds 0.

    Args:
        labels: As for `mdca_penalty`.
        logits: Float tensor, shape (..., K), K >= 2.
        sample_weight: As for `mdca_penalty`.
        num_bins: Number of bins of equal width, >= 2.
        per_sample: Whether each sample of the batch, such as an image, is measured alone, over
            all its predictions; the result is their mean.

    Returns:
        Scalar tensor in [0, 1]; 0 for no predictions, NaN if the largest logit of a row is not
        finite. Float32 also for half-precision logits.

    Raises:
        ValueError: If num_bins is not a whole number >= 2; or per_sample is asked for logits with
            one prediction per sample.

    Numerics:
        O(N K) memory, whatever the number of bins. A bin with less than 0.01 predictions is empty.

    Example:
        >>> from keras_focal import functional
        >>> error = functional.soft_binned_ace_penalty([0, 0], [[0.0, 0.0], [0.0, 0.0]])
        >>> round(float(error), 4)
        0.25

    Source:
        Barfoot et al., 2025, "Average Calibration Losses for Reliable Uncertainty in Medical Image
        Segmentation".
    """
    num_bins = check_soft_bins("num_bins", num_bins)
    batch = Batch(labels, logits, sample_weight)
    shape, num_classes = ops.shape(batch.predicted.values), batch.predicted.shape[-1]
    if per_sample and len(shape) < 3:
        raise ValueError(
            "`per_sample` must be False for one prediction per sample. Received: per_sample=True "
            f"for logits of shape {tuple(batch.predicted.shape)}. It is meant for pixels or tokens."
        )
    if 0 in batch.predicted.shape:
        return ops.sum(batch.predicted.values)
    samples = shape[0] if per_sample else 1
    gaps = ops.reshape(batch.gaps(), (samples, -1, num_classes))
    weights = ops.reshape(batch.weights, (samples, -1, 1))
    is_class = chosen_class(ops.reshape(batch.ids, (samples, -1)), num_classes)
    is_class = ops.cast(is_class, gaps.dtype)
    place = ops.clip((gaps + is_class) * num_bins - 0.5, 0.0, num_bins - 1.0)
    below = ops.stop_gradient(ops.clip(ops.floor(place), 0.0, num_bins - 2.0))
    upper = (place - below) * weights
    lower = weights - upper
    column = ops.arange(num_classes, dtype="int32") * num_bins
    row = ops.reshape(ops.arange(samples, dtype="int32"), (-1, 1, 1)) * (num_classes * num_bins)
    bins = ops.reshape(row + column + ops.cast(below, "int32"), (-1,))
    bins = ops.concatenate([bins, bins + 1])

    def sums(of_each: Tensor) -> Tensor:
        parts = [ops.reshape(part * of_each, (-1,)) for part in (lower, upper)]
        total = ops.segment_sum(
            ops.concatenate(parts), bins, num_segments=samples * num_classes * num_bins
        )
        return ops.reshape(total, (samples, num_classes, num_bins))

    weight, gap = sums(ops.ones_like(gaps)), sums(gaps)
    is_full = weight >= LEAST_WEIGHT
    error = ops.where(is_full, ops.abs(gap) / ops.where(is_full, weight, 1.0), 0.0)
    number = ops.sum(ops.cast(is_full, error.dtype), axis=-1)
    has_label = ops.sum(weights * is_class, axis=1) > 0
    of_class = ops.where(has_label, ops.divide_no_nan(ops.sum(error, axis=-1), number), 0.0)
    value = ops.sum(of_class) / ops.cast(samples * num_classes, of_class.dtype)
    # NaN of an invalid label or logit is in no full bin.
    return batch.checked(value + 0.0 * ops.sum(ops.stop_gradient(gaps) * weights))


def _possible(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits, NaN in rows whose largest is not finite, and which of them are not -inf."""
    z = z + nan_unless(ops.isfinite(ops.max(z, axis=-1, keepdims=True)), z.dtype)
    # Not "above -inf", so that NaN stays NaN.
    return z, ops.not_equal(z, -float("inf"))


@keras.saving.register_keras_serializable(package="keras_focal")
@without_autograph
def acls_penalty(
    logits: Tensor, *, margin: float = 10.0, positive: float = 1.0, negative: float = 0.1
) -> Tensor:
    """Return the regulariser of ACLS, adaptive and conditional label smoothing, of each row.

    positive max(0, z_t - margin)^2 + negative / (K - 1) sum_{j != t} max(0, z_t - z_j - margin)^2,
    with t the top class. The second term pulls on the z_j alone: its z_t is a constant in the
    derivative. Since the first looks at z_t itself, adding a number to all logits matters.

    Args:
        logits: Float tensor, shape (..., K), K >= 2. A class of logit -inf adds nothing.
        margin: Number >= 0.
        positive: Number >= 0, the strength on the top class.
        negative: Number >= 0, the strength on the other classes.

    Returns:
        Tensor of shape (...), >= 0; NaN for a row whose largest logit is not finite. Float32 also
        for half-precision logits.

    Example:
        >>> from keras_focal import functional
        >>> value = functional.acls_penalty([[12.0, 0.0, 11.0]], negative=1.0)
        >>> float(value[0])
        6.0

    Source:
        Park et al., 2023, "ACLS: Adaptive and Conditional Label Smoothing for Network Calibration";
        the equation is that of the authors' code.
    """
    z = to_float(logits)
    top, largest = first_largest(ops.stop_gradient(z))
    z, is_possible = _possible(z)
    is_top = chosen_class(top, z.shape[-1])
    of_top = ops.sum(ops.where(is_top, z, 0.0), axis=-1)
    is_other = ops.logical_and(ops.logical_not(is_top), is_possible)
    behind = ops.expand_dims(largest, -1) - ops.where(is_other, z, 0.0)
    beyond = ops.where(is_other, ops.clip(behind - margin, 0.0, LARGEST_GAP), 0.0)
    above = ops.clip(of_top - margin, 0.0, LARGEST_GAP)
    of_others = ops.sum(beyond * beyond, axis=-1) / (z.shape[-1] - 1)
    return positive * above * above + negative * of_others


@keras.saving.register_keras_serializable(package="keras_focal")
@without_autograph
def cals_penalty(
    logits: Tensor,
    *,
    multipliers: Tensor | float = 1e-6,
    rho: Tensor | float = 1.0,
    margin: float = 10.0,
) -> Tensor:
    """Return the augmented Lagrangian of CALS, class-adaptive label smoothing, of each row.

    Each class k has the constraint h_k = (max_j z_j - z_k) / margin - 1 <= 0 and a multiplier l_k.
    The penalty is sum_k (max(0, l_k + rho h_k)^2 - l_k^2) / (2 rho), that of Powell, Hestenes and
    Rockafellar.

    Args:
        logits: Float tensor, shape (..., K), K >= 2. A class of logit -inf adds nothing.
        multipliers: Numbers > 0, shape (K,) or scalar.
        rho: Number > 0.
        margin: Number > 0, a distance between logits.

    Returns:
        Tensor of shape (...), which may be a little negative; NaN for a row whose largest logit is
        not finite. Float32 also for half-precision logits.

    Example:
        >>> from keras_focal import functional
        >>> value = functional.cals_penalty([[20.0, 0.0]], multipliers=1.0)
        >>> float(value[0])
        1.0

    Source:
        Liu et al., 2023, "Class Adaptive Network Calibration"; PHR, one rho and the sum over
        classes are those of the authors' code.
    """
    z = to_float(logits)
    largest = ops.max(z, axis=-1, keepdims=True)
    z, is_possible = _possible(z)
    multipliers, rho = (
        ops.cast(ops.convert_to_tensor(part), z.dtype) for part in (multipliers, rho)
    )
    behind = ops.where(is_possible, largest - ops.where(is_possible, z, 0.0), 0.0)
    behind = ops.minimum(behind, LARGEST_GAP)
    slope = ops.maximum(multipliers + rho * (behind / margin - 1.0), 0.0)
    of_each = (slope * slope - multipliers * multipliers) / (2.0 * rho)
    return ops.sum(ops.where(is_possible, of_each, 0.0), axis=-1)


@keras.saving.register_keras_serializable(package="keras_focal")
@without_autograph
def nacl_penalty(
    labels: Tensor,
    logits: Tensor,
    *,
    sample_weight: Tensor | None = None,
    kernel_size: int = 3,
    norm: int = 1,
) -> Tensor:
    """Return the distance of the logits of each pixel to the labels around it, as in NACL.

    1/K sum_k |z_k - tau_k|^norm, with tau_k the share of class k in the window around the pixel,
    itself included. Inside an object the logits are drawn to the one-hot row, at an edge to the
    classes that meet there. Since the z_k are held near [0, 1], adding a number to all logits
    matters, and confidence is at most e / (e + K - 1) where the penalty is 0.

    Args:
        labels: Class ids, shape (B, ...) or (B, ..., 1), or rows, shape (B, ..., K), whose largest
            entry is the true class. An id outside [0, K) raises a ValueError where it can be read,
            and gives NaN otherwise.
        logits: Float tensor, shape (B, ..., K), K >= 2, with one, two or three axes in the middle:
            tokens, pixels, voxels. A class of logit -inf adds nothing.
        sample_weight: None, or float tensor, >= 0, of the shape of `labels` as ids. It says which
            pixels count: one of weight 0 has penalty 0 and is no neighbour. Other weights change
            nothing, for a pixel is as much of a neighbour whatever its loss weighs.
        kernel_size: Side of the window in pixels, an odd whole number >= 3. What lies outside the
            image is no neighbour.
        norm: 1, or 2 for squares.

    Returns:
        Tensor of shape (B, ...), >= 0; NaN for a row whose largest logit is not finite. Float32
        also for half-precision logits.

    Raises:
        ValueError: If kernel_size is not an odd whole number >= 3, norm is neither 1 nor 2, or
            logits have not one to three axes between the batch and the classes.

    Numerics:
        O(N K) memory, whatever the window.

    Example:
        >>> from keras_focal import functional
        >>> logits = [[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]]
        >>> value = functional.nacl_penalty([[0, 0, 1]], logits)
        >>> [round(float(v), 4) for v in value[0]]
        [0.0, 0.3333, 0.5]

    Source:
        Murugesan et al., 2024, "Neighbor-Aware Calibration of Segmentation Networks with
        Penalty-Based Constraints". The mean over classes is that of the authors' code, which
        counts what lies outside the image as class 0.
    """
    kernel_size = check_window("kernel_size", kernel_size)
    check_choice("norm", norm, (1, 2))
    batch = Batch(labels, logits, sample_weight)
    z = batch.predicted.values
    num_classes = z.shape[-1]
    if not 3 <= len(z.shape) <= 5:
        raise ValueError(
            "`logits` must have one to three axes between the batch and the classes, as for "
            f"tokens, pixels or voxels. Received: shape {tuple(z.shape)}. Neighbours are those of "
            "an image: do not flatten it."
        )
    if 0 in z.shape:
        return ops.sum(z, axis=-1)
    is_class = masked(ops.cast(chosen_class(batch.ids, num_classes), z.dtype), batch.labels.counts)
    # Zeros outside the image: torch pools no volume that is smaller than the window.
    edge = [kernel_size // 2] * 2
    padded = ops.pad(is_class, [[0, 0], *[edge] * (len(z.shape) - 2), [0, 0]])
    around = ops.average_pool(padded, kernel_size, strides=1, data_format="channels_last")
    shares = ops.divide_no_nan(around, ops.sum(around, axis=-1, keepdims=True))
    z, is_possible = _possible(z)
    gap = ops.minimum(ops.abs(ops.where(is_possible, z, 0.0) - shares), LARGEST_GAP)
    of_each = ops.where(is_possible, gap if norm == 1 else gap * gap, 0.0)
    value = masked(ops.mean(of_each, axis=-1), batch.labels.counts)
    # NaN of an invalid label or weight.
    return batch.checked(value + 0.0 * batch.weights)
