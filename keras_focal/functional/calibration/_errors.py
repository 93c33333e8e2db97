"""Calibration errors of predictions and of bins (docs/maths.md, section C)."""

import keras
from keras import ops

from keras_focal._typing import Tensor
from keras_focal._validation.choices import check_choice
from keras_focal._validation.numbers import check_count
from keras_focal.functional._backend.compilation import without_autograph
from keras_focal.functional._inputs.entries import Entries, is_counted, read_entries
from keras_focal.functional._inputs.probabilities import nan_unless
from keras_focal.functional.calibration._bins import (
    BinStatistics,
    Predictions,
    contributions,
    equal_width_bins,
    only_counted,
    top_label,
)
from keras_focal.functional.calibration._partitions import equal_mass_bins
from keras_focal.functional.calibration._sums import Sums


def bin_statistics(
    labels: Tensor,
    predictions: Tensor,
    *,
    num_bins: int = 15,
    from_logits: bool = False,
    sample_weight: Tensor | None = None,
    ignore_class: int | None = None,
) -> BinStatistics:
    """Return the count, the wrong predictions and the gap of bins of equal width in confidence.

    Args:
        labels: Class ids, shape (...) or (..., 1), or one-hot or soft rows, shape (..., K). Rows
            of zeros are left out.
        predictions: Float tensor, shape (..., K): probabilities or logits. K = 1, or shape (N,),
            is the probability or the logit of the positive class of two.
        num_bins: Number of bins, a whole number >= 1.
        from_logits: Whether `predictions` are logits.
        sample_weight: None, or float tensor of the shape of `labels` as ids, or of whole samples.
        ignore_class: None, or the id of labels to leave out, such as 255.

    Returns:
        BinStatistics with parts of shape (num_bins,). All are NaN if a prediction of nonzero weight
        is not finite.

    Raises:
        ValueError: If `num_bins` is not a whole number >= 1, a label is not a class id, a weight is
            negative or not finite, probabilities lie outside [0, 1], or a row does not sum to 1
            within 0.01. Entries of weight 0 are not checked. Inside a compiled step values cannot
            be checked, and an invalid one gives NaN.

    Example:
        >>> from keras_focal import functional
        >>> bins = functional.bin_statistics([0, 1], [[0.9, 0.1], [0.8, 0.2]], num_bins=5)
        >>> [float(n) for n in bins.count]
        [0.0, 0.0, 0.0, 1.0, 1.0]
    """
    num_bins = check_count("num_bins", num_bins)
    entries = read_entries(
        labels, predictions, sample_weight, from_logits=from_logits, ignore_class=ignore_class
    )
    top, weights, invalid = counted_top(entries, from_logits)
    bins = ops.reshape(equal_width_bins(top.confidence, num_bins), (-1,))
    rows = ops.reshape(contributions(top, weights), (-1, 3))
    statistics = Sums.zeros((num_bins, 3)).added(bins, rows).statistics()
    return BinStatistics(*(part + invalid for part in statistics))


def counted_top(entries: Entries, from_logits: bool) -> tuple[Predictions, Tensor, Tensor]:
    """Return the top labels, their weights, and a scalar: NaN if an entry is invalid, else 0."""
    top = top_label(entries.ids, entries.predictions, from_logits=from_logits)
    is_kept, is_invalid = is_counted(ops.isfinite(top.complement), entries.weights)
    weights = ops.where(is_kept, entries.weights, 0.0)
    invalid = nan_unless(ops.logical_not(ops.any(is_invalid)), "float32")
    return only_counted(top, is_kept), weights, invalid


def ece_from_bins(bins: BinStatistics) -> Tensor:
    """Return the expected calibration error (ECE) of bins: sum |gap| / sum count.

    Args:
        bins: BinStatistics with parts of shape (bins,).

    Returns:
        Scalar tensor, a fraction in [0, 1]; 0 if all bins are empty.

    Example:
        >>> from keras_focal import functional
        >>> bins = functional.bin_statistics([0, 1], [[0.9, 0.1], [0.3, 0.7]])
        >>> round(float(functional.ece_from_bins(bins)), 4)
        0.2

    Source:
        Naeini et al., 2015; Mukhoti et al., 2020, eq. 1.
    """
    return ops.divide_no_nan(ops.sum(ops.abs(bins.gap)), ops.sum(bins.count))


def rmsce_from_bins(bins: BinStatistics) -> Tensor:
    """Return the root-mean-square calibration error (RMSCE) of bins.

    sqrt(sum count (gap / count)^2 / sum count).

    Args:
        bins: BinStatistics with parts of shape (bins,).

    Returns:
        Scalar tensor, a fraction in [0, 1]; 0 if all bins are empty.

    Example:
        >>> from keras_focal import functional
        >>> bins = functional.bin_statistics([0, 1], [[0.9, 0.1], [0.3, 0.7]])
        >>> round(float(functional.rmsce_from_bins(bins)), 4)
        0.2236

    Source:
        Kumar et al., 2019, Verified Uncertainty Calibration.
    """
    squares = ops.divide_no_nan(bins.gap * bins.gap, bins.count)
    return ops.sqrt(ops.divide_no_nan(ops.sum(squares), ops.sum(bins.count)))


def mce_from_bins(bins: BinStatistics) -> Tensor:
    """Return the maximum calibration error (MCE) of bins: the largest |gap| / count.

    Args:
        bins: BinStatistics with parts of shape (bins,).

    Returns:
        Scalar tensor, a fraction in [0, 1]. Empty bins are left out; 0 if all are empty.

    Example:
        >>> from keras_focal import functional
        >>> bins = functional.bin_statistics([0, 1], [[0.9, 0.1], [0.3, 0.7]])
        >>> round(float(functional.mce_from_bins(bins)), 4)
        0.3

    Source:
        Naeini et al., 2015; Mukhoti et al., 2020, eq. 2.
    """
    return ops.max(ops.divide_no_nan(ops.abs(bins.gap), bins.count))


def accuracy_from_bins(bins: BinStatistics) -> Tensor:
    """Return the accuracy of the predictions in bins.

    Args:
        bins: BinStatistics with parts of shape (bins,).

    Returns:
        Scalar tensor, a fraction in [0, 1]; 0 if all bins are empty.

    Example:
        >>> from keras_focal import functional
        >>> bins = functional.bin_statistics([0, 1], [[0.9, 0.1], [0.9, 0.1]])
        >>> float(functional.accuracy_from_bins(bins))
        0.5
    """
    total = ops.sum(bins.count)
    return ops.divide_no_nan(total - ops.sum(bins.wrong), total)


def error_from_bins(bins: BinStatistics) -> Tensor:
    """Return the error rate of the predictions in bins, more accurate than 1 - accuracy if small.

    Args:
        bins: BinStatistics with parts of shape (bins,).

    Returns:
        Scalar tensor, a fraction in [0, 1]; 0 if all bins are empty.

    Example:
        >>> from keras_focal import functional
        >>> bins = functional.bin_statistics([0, 1, 1, 0], [[0.9, 0.1]] * 4)
        >>> float(functional.error_from_bins(bins))
        0.5
    """
    return ops.divide_no_nan(ops.sum(bins.wrong), ops.sum(bins.count))


@keras.saving.register_keras_serializable(package="keras_focal")
@without_autograph
def expected_calibration_error(
    labels: Tensor,
    predictions: Tensor,
    *,
    num_bins: int = 15,
    from_logits: bool = False,
    sample_weight: Tensor | None = None,
    ignore_class: int | None = None,
) -> Tensor:
    """Return the expected calibration error, ECE = sum_i |B_i| / N |A_i - C_i|.

    A_i and C_i are the accuracy and the mean confidence of bin i, one of `num_bins` bins of equal
    width in confidence.

    Args:
        labels: Class ids, shape (...) or (..., 1), or rows, shape (..., K).
        predictions: Probabilities or logits, shape (..., K); K = 1 for two classes.
        num_bins: Number of bins, >= 1.
        from_logits: Whether `predictions` are logits.
        sample_weight: None, or float tensor of the shape of `labels` as ids.
        ignore_class: None, or the id of labels to leave out, such as 255.

    Returns:
        Scalar tensor, a fraction in [0, 1]; 0 for no predictions. NaN if a prediction of nonzero
        weight is not finite.

    Raises:
        ValueError: As `bin_statistics`.

    Example:
        >>> from keras_focal import functional
        >>> error = functional.expected_calibration_error([0, 1], [[0.9, 0.1], [0.9, 0.1]])
        >>> round(float(error), 4)
        0.4

    Source:
        Naeini et al., 2015; Mukhoti et al., 2020, eq. 1.
    """
    bins = bin_statistics(
        labels,
        predictions,
        num_bins=num_bins,
        from_logits=from_logits,
        sample_weight=sample_weight,
        ignore_class=ignore_class,
    )
    return ece_from_bins(bins)


@keras.saving.register_keras_serializable(package="keras_focal")
@without_autograph
def maximum_calibration_error(
    labels: Tensor,
    predictions: Tensor,
    *,
    num_bins: int = 15,
    from_logits: bool = False,
    sample_weight: Tensor | None = None,
    ignore_class: int | None = None,
) -> Tensor:
    """Return the maximum calibration error, MCE = max_i |A_i - C_i| over bins that are not empty.

    A_i and C_i are the accuracy and the mean confidence of bin i, one of `num_bins` bins of equal
    width in confidence.

    Args:
        labels: Class ids, shape (...) or (..., 1), or rows, shape (..., K).
        predictions: Probabilities or logits, shape (..., K); K = 1 for two classes.
        num_bins: Number of bins, >= 1.
        from_logits: Whether `predictions` are logits.
        sample_weight: None, or float tensor of the shape of `labels` as ids.
        ignore_class: None, or the id of labels to leave out, such as 255.

    Returns:
        Scalar tensor, a fraction in [0, 1]; 0 for no predictions. NaN if a prediction of nonzero
        weight is not finite.

    Raises:
        ValueError: As `bin_statistics`.

    Example:
        >>> from keras_focal import functional
        >>> error = functional.maximum_calibration_error([0, 1], [[0.9, 0.1], [0.3, 0.7]])
        >>> round(float(error), 4)
        0.3

    Source:
        Naeini et al., 2015; Mukhoti et al., 2020, eq. 2.
    """
    bins = bin_statistics(
        labels,
        predictions,
        num_bins=num_bins,
        from_logits=from_logits,
        sample_weight=sample_weight,
        ignore_class=ignore_class,
    )
    return mce_from_bins(bins)


@keras.saving.register_keras_serializable(package="keras_focal")
@without_autograph
def adaptive_expected_calibration_error(
    labels: Tensor,
    predictions: Tensor,
    *,
    num_bins: int = 15,
    from_logits: bool = False,
    sample_weight: Tensor | None = None,
    ignore_class: int | None = None,
    binning: str = "tie-safe",
) -> Tensor:
    """Return the adaptive ECE: the exact ECE over bins with equal numbers of predictions.

    Args:
        labels: Class ids, shape (N,) or (N, 1), or rows, shape (N, K).
        predictions: Probabilities or logits, shape (N, K); K = 1 for two classes.
        num_bins: Number of bins, >= 1.
        from_logits: Whether `predictions` are logits.
        sample_weight: None, or float tensor of shape (N,); "tie-safe" only.
        ignore_class: None, or the id of labels to leave out, such as 255; "tie-safe" only.
        binning: "tie-safe" cuts the sorted predictions into bins of exactly equal weight.
            Predictions of equal confidence are divided in proportion, so the order of rows does
            not matter. "paper" reproduces the edges of the paper's code: interpolated between
            sorted confidences and open at the lowest edge, which drops the smallest confidence.

    Returns:
        Scalar tensor, a fraction in [0, 1]; 0 for no predictions.

    Raises:
        ValueError: If `binning` is unknown, or weights are given with "paper". Also as
            `bin_statistics`.

    Example:
        >>> from keras_focal import functional
        >>> error = functional.adaptive_expected_calibration_error(
        ...     [0, 1], [[0.9, 0.1], [0.7, 0.3]], num_bins=2)
        >>> round(float(error), 4)
        0.4

    Source:
        Mukhoti et al., 2020, eq. 3.
    """
    check_choice("binning", binning, ("tie-safe", "paper"))
    num_bins = check_count("num_bins", num_bins)
    if binning == "paper":
        for name, value in {"sample_weight": sample_weight, "ignore_class": ignore_class}.items():
            if value is not None:
                raise ValueError(
                    f"`{name}` must be None with binning='paper', which counts samples. Received: "
                    f"{name}={'weights' if name == 'sample_weight' else value}. Use "
                    "binning='tie-safe'."
                )
    entries = read_entries(
        labels, predictions, sample_weight, from_logits=from_logits, ignore_class=ignore_class
    )
    top, weights, invalid = counted_top(entries, from_logits)
    confidence, complement, wrong, weights = (
        ops.reshape(part, (-1,)) for part in (*top, ops.cast(weights, top.wrong.dtype))
    )
    if confidence.shape[0] == 0:
        return ops.zeros((), dtype=confidence.dtype)
    # Predictions of weight 0 come last.
    order = ops.argsort(ops.where(weights > 0, -complement, float("inf")))
    confidence, complement, wrong, weights = (
        ops.take(part, order) for part in (confidence, complement, wrong, weights)
    )
    gap = weights * (wrong - complement)
    if binning == "paper":
        error = _paper_error(confidence, gap, ops.sum(weights), num_bins)
        return error + ops.cast(invalid, gap.dtype)
    # Predictions of equal confidence share a cell, at the index of the first of them.
    first = ops.searchsorted(-complement, -complement, side="left")
    size = confidence.shape[0]
    cells = BinStatistics(
        *(ops.segment_sum(part, first, size) for part in (weights, weights * wrong, gap))
    )
    return ece_from_bins(equal_mass_bins(cells, num_bins)) + ops.cast(invalid, gap.dtype)


def _paper_error(confidence: Tensor, gap: Tensor, size: Tensor, num_bins: int) -> Tensor:
    """Return the error over bins with the edges of the paper's code.

    Args:
        confidence: Float tensor, shape (N,), sorted as far as predictions count.
        gap: Float tensor, shape (N,), 0 for those that do not count.
        size: Scalar, the number of predictions that count: they come first.
        num_bins: Number of bins.
    """
    last = ops.relu(size - 1.0)
    position = ops.minimum(size * ops.arange(num_bins + 1, dtype=size.dtype) / num_bins, last)
    below = ops.floor(position)
    low, high = (
        ops.take(confidence, ops.cast(place, "int32"))
        for place in (below, ops.minimum(below + 1.0, last))
    )
    edges = low + ops.cast(position - below, low.dtype) * (high - low)
    # Bin i is (edge i, edge i + 1], so the smallest confidence is in none.
    bins = ops.searchsorted(edges, confidence, side="left")
    # What does not count may lie beyond the last edge.
    bins = ops.minimum(ops.cast(bins, "int32"), num_bins)
    sums = ops.segment_sum(gap, bins, num_bins + 1)
    return ops.divide_no_nan(ops.sum(ops.abs(sums[1:])), size)
