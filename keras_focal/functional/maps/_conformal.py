"""Nonconformity scores of split conformal prediction (docs/maths.md, section S).

A prediction set holds the classes whose score is at most a threshold, and the threshold is a
quantile of the scores of held-out labels.
"""

from keras import ops

from keras_focal._typing import Tensor
from keras_focal._validation.choices import check_choice
from keras_focal._validation.numbers import check_at_least
from keras_focal._validation.shapes import check_class_axis
from keras_focal.functional._backend.precision import to_float
from keras_focal.functional._inputs.probabilities import are_distributions

METHODS = ("lac", "aps", "raps")

SLACK = 2.0**-18
"""How far above the threshold a score still counts as equal to it: rounding of sums in float32."""


def conformal_scores(
    probabilities: Tensor,
    method: str = "lac",
    *,
    penalty: float = 0.01,
    rank: float = 5,
    u: Tensor | None = None,
) -> Tensor:
    """Return the nonconformity score of each class: the lower, the sooner it is in the set.

    "lac" is 1 - p_y. "aps" is rho_y + u p_y, with rho_y the sum of the probabilities of all classes
    that rank before y. "raps" adds penalty * max(0, o_y - rank), with o_y = 1, 2, ... the rank of
    y. Equal probabilities rank by class id.

    Args:
        probabilities: Float tensor, shape (..., K), K >= 2: distributions. Rows are divided by
            their sums.
        method: "lac", "aps" or "raps".
        penalty: Number >= 0, the regularisation of "raps"; lambda in the source.
        rank: Number >= 0 of classes that "raps" does not penalise; k_reg in the source.
        u: None, or a tensor of random numbers, uniform in [0, 1], that broadcasts to (..., 1). They
            make sets of "aps" and "raps" smaller. None counts as 1.

    Returns:
        Float tensor of the shape of `probabilities`, >= 0; float32 also for half precision.

    Raises:
        ValueError: If the method is unknown, penalty or rank is negative, or there is no class axis
            of known length >= 2.

    Example:
        >>> from keras_focal import functional
        >>> scores = functional.conformal_scores([[0.25, 0.5, 0.125, 0.125]], "aps")
        >>> [float(score) for score in scores[0]]
        [0.75, 0.5, 0.875, 1.0]

    Source:
        Sadinle, Lei and Wasserman, 2019 ("lac"); Romano, Sesia and Candes, 2020 ("aps");
        Angelopoulos, Bates, Malik and Jordan, 2021 ("raps", whose u is this one).
    """
    check_choice("method", method, METHODS)
    penalty, rank = check_at_least("penalty", penalty, 0), check_at_least("rank", rank, 0)
    p = to_float(probabilities)
    check_class_axis(p.shape, "probabilities")
    p = p / ops.sum(p, axis=-1, keepdims=True)
    if method == "lac":
        return 1.0 - p
    falling = -ops.sort(-p, axis=-1)
    own = falling if u is None else falling * ops.cast(u, p.dtype)
    scores = ops.cumsum(falling, axis=-1) - falling + own
    if method == "raps":
        beyond = ops.arange(1, p.shape[-1] + 1, dtype=p.dtype) - rank
        scores = scores + penalty * ops.maximum(beyond, 0.0)
    places = ops.argsort(ops.argsort(-p, axis=-1), axis=-1)
    return ops.take_along_axis(scores, places, axis=-1)


def conformal_sets(scores: Tensor, probabilities: Tensor, threshold: Tensor) -> Tensor:
    """Return where scores are at most the threshold, bool, of the shape of the scores.

    Of a row that is no distribution nothing is known: its set holds every class.
    """
    is_known = ops.expand_dims(are_distributions(probabilities), -1)
    return ops.logical_or(scores <= threshold + SLACK, ops.logical_not(is_known))
