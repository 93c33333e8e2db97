"""Maximum mean calibration error: a differentiable distance between confidence and accuracy.

With e_i = w_i (c_i - r_i) it is the norm of sum_i e_i phi(r_i) in the feature space of the kernel
k(r, r') = exp(-|r - r'| / 0.4). For sorted confidences the kernel factorises into exp(r / 0.4) and
exp(-r / 0.4), neither larger than 12.2, so the double sum over pairs becomes cumulative sums: O(N
log N) time and O(N) memory (docs/maths.md, equation L2).
"""

from typing import Any, NamedTuple

import keras
from keras import ops

from keras_focal._typing import Tensor
from keras_focal._validation.choices import check_choice
from keras_focal.functional._backend.compilation import without_autograph
from keras_focal.functional._backend.derivative import with_gradient
from keras_focal.functional._backend.operations import running_sum, scatter_add
from keras_focal.functional.losses._batch import Batch

FORMS = ("published", "weighted", "repository")

WIDTH = 0.4
"""The width of the kernel in confidence."""

FLOOR = 1e-10
"""Lower bound for the squared error in the gradient: the square root has none at 0."""


@keras.saving.register_keras_serializable(package="keras_focal")
@without_autograph
def maximum_mean_calibration_error(
    labels: Tensor,
    logits: Tensor,
    *,
    sample_weight: Tensor | None = None,
    form: str = "published",
) -> Tensor:
    """Return MMCE = sqrt(sum_ij (c_i - r_i)(c_j - r_j) k(r_i, r_j)) / N of a batch.

    r is the confidence (the largest probability of a row), c is 1 if the prediction is correct and
    0 otherwise, and k(r, r') = exp(-|r - r'| / 0.4).

    Args:
        labels: Class ids, shape (...) or (..., 1), or rows, shape (..., K), whose largest entry is
            the true class. An id outside [0, K) raises a ValueError where it can be read, and gives
            NaN otherwise.
        logits: Float tensor, shape (..., K), K >= 2.
        sample_weight: None, or float tensor of the shape of `labels` as ids, >= 0.
        form: "published" is the equation above. "weighted" is the form of Kumar et al. that divides
            the sum over correct predictions by their number, and the sum over wrong predictions by
            theirs; if all are correct, or all are wrong, only one sum remains. "repository" is what
            the code of Mukhoti et al. computes: it divides by these numbers twice, and is 0 if all
            predictions are correct or all are wrong.

    Returns:
        Scalar tensor, in [0, 1]; 0 for no predictions. Float32 also for half-precision logits.

    Raises:
        ValueError: If `form` is unknown.

    Numerics:
        The gradient is exact for MMCE > 1e-5, and tends to 0 with MMCE below. O(N log N) time and
        O(N) memory for N predictions.

    Example:
        >>> from keras_focal import functional
        >>> error = functional.maximum_mean_calibration_error([0, 1], [[0.0, 0.0], [0.0, 0.0]])
        >>> round(float(error), 4)
        0.0

    Source:
        Kumar et al., 2018, "Trainable Calibration Measures for Neural Networks from Kernel Mean
        Embeddings"; Mukhoti et al., 2020, section 5.1.
    """
    check_choice("form", form, FORMS)
    batch = Batch(labels, logits, sample_weight)
    if 0 in batch.predicted.shape:
        return ops.sum(batch.predicted.values)
    complement, is_wrong = batch.top_label()
    is_right, weights = 1.0 - is_wrong, ops.reshape(batch.weights, (-1,))
    scale, has_both = (ops.stop_gradient(x) for x in _scale(is_right, weights, form))
    floor = FLOOR if form == "repository" else 0.0

    def forward(complement: Tensor, is_right: Tensor, scale: Tensor) -> _Distance:
        return _distance(complement, is_right, scale, floor)

    def backward(_: tuple, distance: tuple, upstream: Tensor) -> list[Tensor | None]:
        return [upstream * distance[1], None, None]

    distance = with_gradient(forward, backward)(complement, is_right, scale)
    return batch.checked(has_both * distance)


def _scale(is_right: Tensor, weights: Tensor, form: str) -> tuple[Tensor, Any]:
    """Return the factor of each c - r, and a factor of the result."""
    if form == "published":
        return ops.divide_no_nan(weights, ops.sum(weights)), ops.ones((), dtype=weights.dtype)
    right, wrong = ops.sum(weights * is_right), ops.sum(weights * (1.0 - is_right))
    number = ops.where(is_right > 0, right, wrong)
    if form == "weighted":
        return ops.divide_no_nan(weights, number), ops.ones((), dtype=weights.dtype)
    has_both = ops.cast(ops.logical_and(right > 0, wrong > 0), weights.dtype)
    return ops.divide_no_nan(weights, number * number), has_both


class _Distance(NamedTuple):
    """A norm and its gradient with respect to the complements."""

    value: Tensor
    gradient: Tensor


def _distance(complement: Tensor, is_right: Tensor, scale: Tensor, added: float) -> _Distance:
    """Return sqrt(sum_ij e_i e_j k_ij + added), e = scale (c - r) with r = 1 - complement."""
    error = scale * (complement - (1.0 - is_right))
    below, same, above = _kernel_sums(complement, error)
    field = below + same + above
    square = ops.clip(ops.sum(error * field), 0.0, float("inf")) + added
    slope = scale * field + error * (above - below) / WIDTH
    return _Distance(ops.sqrt(square), slope / ops.sqrt(ops.clip(square, FLOOR, float("inf"))))


def _kernel_sums(position: Tensor, mass: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return sum_j mass_j k_ij over all j below i, level with i, and above i."""
    order = ops.argsort(position)
    ordered, masses = ops.take(position, order), ops.take(mass, order)
    first, end = _level(ordered)
    # Summed from both ends, so that no sum is a difference of two.
    rising = _running_sum(masses * ops.exp(ordered / WIDTH))
    falling = ops.flip(_running_sum(ops.flip(masses * ops.exp(-ordered / WIDTH))))
    at_place = _running_sum(masses)
    sums = (
        ops.exp(-ordered / WIDTH) * ops.take(rising, first),
        ops.take(at_place, end) - ops.take(at_place, first),
        ops.exp(ordered / WIDTH) * ops.take(falling, end),
    )
    place = ops.argsort(order)
    below, same, above = (ops.take(x, place) for x in sums)
    return below, same, above


def _level(ordered: Tensor) -> tuple[Tensor, Tensor]:
    """Return where the entries that equal each entry of a sorted row begin, and where they end.

    Not `searchsorted`, which XLA on TensorFlow computes by comparing all pairs.
    """
    is_new = ops.cast(ordered[1:] != ordered[:-1], "int32")
    group = _running_sum(is_new)
    sizes = scatter_add(ops.zeros_like(group), group, ops.ones_like(group))
    ends = _running_sum(sizes)
    return ops.take(ends, group), ops.take(ends, group + 1)


def _running_sum(x: Tensor) -> Tensor:
    """Return the sums of the first 0, 1, ... N entries."""
    return ops.concatenate([ops.zeros((1,), dtype=x.dtype), running_sum(x)])
