"""The calibration error of bins, corrected for sampling noise (docs/maths.md, C12)."""

from keras import ops

from keras_focal._typing import Tensor
from keras_focal.functional.calibration._bins import BinStatistics


def debiased_calibration_error(bins: BinStatistics) -> Tensor:
    """Return the debiased root-mean-square calibration error of bins.

    sqrt(max(0, sum_i n_i / N ((A_i - C_i)^2 - A_i (1 - A_i) / (n_i - 1)))), where A_i and C_i are
    the accuracy and the mean confidence of the n_i predictions in bin i. Sampling noise inflates
    (A_i - C_i)^2 by the variance of A_i. Subtracting an unbiased estimate of that variance makes
    the sum, before it is clipped at 0, unbiased.

    Args:
        bins: BinStatistics with parts of shape (bins,), from `bin_statistics` or the `bins()` of a
            metric. A weight counts as that many predictions.

    Returns:
        Scalar tensor, a fraction in [0, 1]; 0 for empty bins. The variance cannot be estimated
        from a single prediction, so a bin with a count of at most 1 is included in N and adds 0.

    Example:
        >>> from keras_focal import functional
        >>> bins = functional.bin_statistics([0, 0, 0, 0, 1] * 4, [[0.5, 0.5]] * 20)
        >>> round(float(functional.rmsce_from_bins(bins)), 4)
        0.3
        >>> round(float(functional.debiased_calibration_error(bins)), 4)
        0.2856

    Source:
        Kumar, Liang and Ma, 2019, Verified Uncertainty Calibration. The paper estimates the
        squared error; this function returns its square root.
    """
    count, wrong, gap = bins
    inaccuracy = ops.divide_no_nan(wrong, count)
    gap = ops.divide_no_nan(gap, count)
    variance = ops.divide_no_nan(inaccuracy * (1.0 - inaccuracy), count - 1.0)
    squares = ops.where(count > 1.0, count * (gap * gap - variance), 0.0)
    return ops.sqrt(ops.maximum(ops.divide_no_nan(ops.sum(squares), ops.sum(count)), 0.0))
