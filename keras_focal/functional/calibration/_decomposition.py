"""The Brier score split into calibration and refinement (docs/maths.md, C13 and C14)."""

from typing import NamedTuple

from keras import ops

from keras_focal._typing import Tensor
from keras_focal._validation.numbers import check_count
from keras_focal.functional._inputs.entries import is_counted, read_entries
from keras_focal.functional._inputs.probabilities import nan_unless
from keras_focal.functional.calibration._bins import BinStatistics, equal_width_bins
from keras_focal.functional.calibration._scores import (
    brier_score,
    class_probabilities,
    class_targets,
)


class BrierParts(NamedTuple):
    """The Brier score and its two parts, each a scalar: brier = calibration + refinement.

    Attributes:
        brier: Mean of sum_k (p_k - q_k)^2, in [0, 2].
        calibration: The loss due to p_k differing from the frequency of class k, in [0, brier].
        refinement: The loss due to frequencies other than 0 and 1, in [0, brier].

    Example:
        >>> from keras_focal import functional
        >>> parts = functional.brier_decomposition([0, 1], [[0.75, 0.25]] * 2)
        >>> float(parts.brier) == float(parts.calibration + parts.refinement)
        True
    """

    brier: Tensor
    calibration: Tensor
    refinement: Tensor


def brier_decomposition(
    labels: Tensor,
    predictions: Tensor,
    *,
    num_bins: int = 15,
    from_logits: bool = False,
    sample_weight: Tensor | None = None,
    ignore_class: int | None = None,
) -> BrierParts:
    """Return the Brier score and its calibration and refinement over bins of equal width.

    calibration = sum_k sum_b n_bk / N (mean of p_k - frequency of class k)^2, over all classes k
    and the n_bk predictions whose p_k lies in bin b. refinement = brier - calibration, the variance
    of p_k - q_k within the bins. If all predictions in a bin are equal, this is the textbook
    decomposition; otherwise the refinement includes the variance of p_k within each bin.

    Args:
        labels: Class ids, shape (...) or (..., 1), or one-hot or soft rows q, shape (..., K).
        predictions: Probabilities or logits, shape (..., K); K = 1 is the positive class of two.
        num_bins: Number of bins of each class, a whole number >= 1.
        from_logits: Whether `predictions` are logits.
        sample_weight: None, or float tensor of the shape of `labels` as ids.
        ignore_class: None, or the id of labels to leave out, such as 255.

    Returns:
        BrierParts, each in [0, 2] up to rounding; zeros for no predictions, NaN if a prediction of
        nonzero weight is not finite.

    Raises:
        ValueError: As `bin_statistics`.

    Example:
        >>> from keras_focal import functional
        >>> parts = functional.brier_decomposition([0, 0, 0, 1], [[0.5, 0.5]] * 4)
        >>> [round(float(part), 4) for part in parts]
        [0.5, 0.125, 0.375]

    Source:
        Murphy, 1973, A New Vector Partition of the Probability Score; DeGroot and Fienberg, 1983,
        The Comparison and Evaluation of Forecasters.
    """
    num_bins = check_count("num_bins", num_bins)
    entries = read_entries(
        labels, predictions, sample_weight, from_logits=from_logits, ignore_class=ignore_class
    )
    if 0 in entries.predictions.shape:
        return BrierParts(*ops.zeros((3,)))
    p = class_probabilities(entries.predictions, from_logits=from_logits)
    targets = ops.cast(class_targets(entries.labels, entries.predictions.shape), p.dtype)
    score = brier_score(entries.labels, entries.predictions, from_logits=from_logits)
    is_kept, is_invalid = is_counted(ops.isfinite(score), entries.weights)
    invalid = nan_unless(ops.logical_not(ops.any(is_invalid)), p.dtype)
    weights = ops.cast(ops.where(is_kept, entries.weights, 0.0), p.dtype)
    p, difference = (
        ops.where(ops.expand_dims(is_kept, -1), part, 0.0) for part in (p, p - targets)
    )
    total = ops.sum(weights)
    brier = ops.divide_no_nan(ops.sum(weights * ops.where(is_kept, score, 0.0)), total) + invalid
    bins = equal_width_bins(p, num_bins)
    # Each class has its own bins.
    num_classes = p.shape[-1]
    bins = bins + num_bins * ops.arange(num_classes, dtype="int32")
    weights = ops.expand_dims(weights, -1) * ops.ones_like(difference)
    rows = ops.reshape(ops.stack([weights, weights * difference], axis=-1), (-1, 2))
    sums = ops.segment_sum(rows, ops.reshape(bins, (-1,)), num_bins * num_classes)
    squares = ops.divide_no_nan(sums[:, 1] * sums[:, 1], sums[:, 0])
    calibration = ops.divide_no_nan(ops.sum(squares), total) + invalid
    return BrierParts(brier, calibration, brier - calibration)


class TopLabelBrierParts(NamedTuple):
    """The parts of the Brier score of the top label, each a scalar.

    Attributes:
        reliability: Mean squared gap between the confidence and the accuracy of a bin, in [0, 1].
        resolution: Mean squared distance of the accuracy of a bin from the overall accuracy, in
            [0, 0.25].
        uncertainty: Variance of correctness, accuracy (1 - accuracy), in [0, 0.25].

    Example:
        >>> from keras_focal import functional
        >>> bins = functional.bin_statistics([0, 1], [[0.75, 0.25]] * 2)
        >>> float(functional.top_label_brier_parts(bins).uncertainty)
        0.25
    """

    reliability: Tensor
    resolution: Tensor
    uncertainty: Tensor


def top_label_brier_parts(bins: BinStatistics) -> TopLabelBrierParts:
    """Return the reliability, resolution and uncertainty of the top label, from bins.

    With C_i and A_i the mean confidence and accuracy of bin i, and A the overall accuracy:
    reliability = sum_i |B_i| / N (C_i - A_i)^2, the squared RMSCE; resolution =
    sum_i |B_i| / N (A_i - A)^2; uncertainty = A (1 - A). reliability - resolution + uncertainty is
    the mean of (C_i - correctness)^2. It equals the Brier score of the top label if all
    confidences in a bin are equal; their variance within bins is left out.

    Args:
        bins: BinStatistics, such as `bin_statistics` returns.

    Returns:
        TopLabelBrierParts; zeros for no predictions.

    Example:
        >>> from keras_focal import functional
        >>> bins = functional.bin_statistics([0, 0, 0, 1], [[0.75, 0.25]] * 2 + [[0.5, 0.5]] * 2)
        >>> [round(float(part), 4) for part in functional.top_label_brier_parts(bins)]
        [0.0312, 0.0625, 0.1875]

    Source:
        Murphy, 1973, A New Vector Partition of the Probability Score.
    """
    total = ops.sum(bins.count)
    squares = ops.divide_no_nan(bins.gap * bins.gap, bins.count)
    error = ops.divide_no_nan(ops.sum(bins.wrong), total)
    # Error rates differ as accuracies do, and small ones keep their digits.
    distance = ops.divide_no_nan(bins.wrong, bins.count) - error
    return TopLabelBrierParts(
        reliability=ops.divide_no_nan(ops.sum(squares), total),
        resolution=ops.divide_no_nan(ops.sum(bins.count * distance * distance), total),
        uncertainty=error * (1.0 - error),
    )
