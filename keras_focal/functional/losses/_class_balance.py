"""Weights of classes by how many samples they have."""

from collections.abc import Sequence

import numpy as np

from keras_focal._validation import check_class_counts, check_fraction


def class_balanced_alpha(counts: Sequence[int], beta: float = 0.9999) -> list[float]:
    """Return one weight per class for `alpha=`, by the effective number of its samples.

    alpha_c is proportional to (1 - beta) / (1 - beta^n_c), and the weights add up to K. beta = 0
    weighs the classes alike; beta -> 1 by 1 / n_c.

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
    # 1 - beta^n without the cancellation at beta near 1.
    lost = -np.expm1(numbers * np.log(beta)) if beta else np.ones(len(numbers))
    weights = 1.0 / lost
    return [float(weight) for weight in weights * len(weights) / weights.sum()]
