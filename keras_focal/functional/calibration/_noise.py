"""The calibration error that a perfectly calibrated model shows by chance.

Computed on the host in float64, for reports rather than for a training step.
"""

from typing import NamedTuple

import numpy as np

from keras_focal._validation.numbers import check_count, check_open_interval
from keras_focal.functional.calibration._bins import BinStatistics, bin_means


class NoiseFloor(NamedTuple):
    """The calibration error and the accuracies of a perfectly calibrated model.

    Attributes:
        expected: Mean of the calibration error.
        upper: The error that chance exceeds with probability 1 - level.
        low: Lower end of the accuracy of each bin, shape (bins,); NaN in an empty bin.
        high: Upper end, the same shape.

    Example:
        >>> from keras_focal import functional
        >>> floor = functional.noise_floor(functional.bin_statistics([0] * 9, [[0.8, 0.2]] * 9))
        >>> floor.expected < floor.upper
        True
    """

    expected: float
    upper: float
    low: np.ndarray
    high: np.ndarray


def noise_floor(
    bins: BinStatistics, *, level: float = 0.95, num_draws: int = 2000, seed: int = 0
) -> NoiseFloor:
    """Return the calibration error and the accuracies that arise by chance alone.

    The number of correct predictions in each bin is drawn from a binomial distribution with the
    count and the mean confidence of the bin. An error below `upper` is no evidence of
    miscalibration.

    Args:
        bins: BinStatistics from `bin_statistics` or the `bins()` of a metric. A weight counts as
            that many predictions, rounded to a whole number in each bin.
        level: Fraction of the draws below `upper`, and between `low` and `high`, in (0, 1).
        num_draws: Number of draws, >= 1.
        seed: Seed of the draws.

    Returns:
        NoiseFloor; its errors are 0 if all bins are empty.

    Raises:
        ValueError: If `level` is not in (0, 1) or `num_draws` is not a whole number >= 1.

    Example:
        >>> from keras_focal import functional
        >>> bins = functional.bin_statistics([0] * 50, [[0.8, 0.2]] * 50)
        >>> floor = functional.noise_floor(bins)
        >>> 0.03 < floor.expected < 0.06 < floor.upper
        True

    Source:
        Broecker and Smith, 2007, Increasing the Reliability of Reliability Diagrams; Vaicenavicius
        et al., 2019.
    """
    check_open_interval("level", level, 0.0, 1.0, "it is a fraction of the draws")
    num_draws = check_count("num_draws", num_draws)
    count, _, confidence = bin_means(bins)
    confidence = np.nan_to_num(confidence)
    size = np.rint(count).astype("int64")
    right = np.random.default_rng(seed).binomial(size, confidence, (num_draws, len(count)))
    errors = np.abs(right - size * confidence).sum(axis=1) / max(size.sum(), 1)
    tails = (1.0 - level) / 2.0, (1.0 + level) / 2.0
    low, high = np.full_like(count, np.nan), np.full_like(count, np.nan)
    some = size > 0
    low[some], high[some] = np.quantile(right[:, some] / size[some], tails, axis=0)
    return NoiseFloor(float(errors.mean()), float(np.quantile(errors, level)), low, high)
