"""Class weights from the number of samples of each class."""

from collections.abc import Sequence

import numpy as np

from keras_focal._validation.classes import check_class_counts
from keras_focal._validation.numbers import check_fraction


def class_balanced_alpha(counts: Sequence[int], beta: float = 0.9999) -> list[float]:
    """Return class weights for `alpha` from the effective number of samples of each class.

    alpha_c is proportional to (1 - beta) / (1 - beta^n_c), and the weights sum to K. beta = 0 gives
    equal weights; as beta -> 1 they become proportional to 1 / n_c.

    Args:
        counts: Number of training samples of each class, K numbers > 0.
        beta: Number in [0, 1).

    Returns:
        List of K floats > 0.

    Raises:
        ValueError: If a count is zero or negative, or beta is not in [0, 1).

    Example:
        >>> import keras_focal
        >>> alpha = keras_focal.losses.class_balanced_alpha([1000, 100, 10], beta=0.99)
        >>> [round(weight, 3) for weight in alpha]
        [0.23, 0.363, 2.407]

    Source:
        Cui et al., 2019, "Class-Balanced Loss Based on Effective Number of Samples".
    """
    numbers = np.array(check_class_counts("counts", counts))
    beta = check_fraction("beta", beta)
    # 1 - beta^n, without cancellation for beta near 1.
    lost = -np.expm1(numbers * np.log(beta)) if beta else np.ones(len(numbers))
    weights = 1.0 / lost
    return [float(weight) for weight in weights * len(weights) / weights.sum()]
