"""The calibration error of bins without what chance adds to it (docs/maths.md, C12)."""

from keras import ops

from keras_focal.functional._backend.precision import Tensor
from keras_focal.functional.calibration._bins import BinStatistics


def debiased_calibration_error(bins: BinStatistics) -> Tensor:
    """Return the debiased root-mean-square calibration error of bins.

    sqrt(max(0, sum_i n_i / N ((A_i - C_i)^2 - A_i (1 - A_i) / (n_i - 1)))): A_i and C_i are the
    accuracy and the mean confidence of the n_i predictions of bin i. Chance alone makes (A_i -
    C_i)^2 too large by the variance of A_i. Its unbiased estimate is subtracted, so that the sum,
    before the clip, is right on average.

    Args:
        bins: BinStatistics with parts of shape (bins,): the `bins()` of a metric or of
            `bin_statistics`. A weight counts as so many predictions.

    Returns:
        Scalar tensor, a fraction in [0, 1]; 0 for empty bins. A bin of one prediction or less
        shows no variance, so its gap cannot be told from chance: it counts in N and adds 0.

    Example:
        >>> from keras_focal import functional
        >>> bins = functional.bin_statistics([0, 0, 0, 0, 1] * 4, [[0.5, 0.5]] * 20)
        >>> round(float(functional.rmsce_from_bins(bins)), 4)
        0.3
        >>> round(float(functional.debiased_calibration_error(bins)), 4)
        0.2856

    Source:
        Kumar, Liang and Ma, 2019, Verified Uncertainty Calibration. The paper
        estimates the square of the error; the root of it is returned.
    """
    count, wrong, gap = bins
    inaccuracy = ops.divide_no_nan(wrong, count)
    gap = ops.divide_no_nan(gap, count)
    variance = ops.divide_no_nan(inaccuracy * (1.0 - inaccuracy), count - 1.0)
    squares = ops.where(count > 1.0, count * (gap * gap - variance), 0.0)
    return ops.sqrt(ops.maximum(ops.divide_no_nan(ops.sum(squares), ops.sum(count)), 0.0))
