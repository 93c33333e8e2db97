"""Calibration errors of detected boxes (docs/maths.md, section C).

A detection has a score, which is compared with a target in [0, 1]: whether the box is matched with
an object, or how far it overlaps that object. Detections are sorted into groups, such as classes or
parts of the image, and in each group into bins of equal width in score.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from keras import ops

from keras_focal._typing import Tensor
from keras_focal._validation.entries import check_weights, place_of
from keras_focal._validation.numbers import check_count
from keras_focal._validation.shapes import check_same_shape, check_weights_fit
from keras_focal.functional._backend.operations import value_now
from keras_focal.functional._backend.precision import to_float
from keras_focal.functional._inputs.class_labels import INVALID, ids_in_range
from keras_focal.functional._inputs.entries import is_counted
from keras_focal.functional._inputs.probabilities import check_distributions, nan_unless
from keras_focal.functional._inputs.weights import weights_like
from keras_focal.functional.calibration._bins import (
    BinStatistics,
    Predictions,
    contributions,
    equal_width_bins,
    one_class,
    only_counted,
)
from keras_focal.functional.calibration._errors import ece_from_bins
from keras_focal.functional.calibration._sums import Sums


class Detections(NamedTuple):
    """Detections, each part of shape (...).

    Attributes:
        predictions: Score, 1 - score, and 1 - target. The complement is NaN where invalid.
        weights: Float32 weight of each.
    """

    predictions: Predictions
    weights: Tensor


def detection_calibration_error(
    matches: Tensor,
    scores: Tensor,
    boxes: Tensor | None = None,
    *,
    num_bins: int = 15,
    box_bins: Sequence[int] = (),
    from_logits: bool = False,
    sample_weight: Tensor | None = None,
) -> Tensor:
    """Return the detection ECE (D-ECE): the mean gap between score and precision.

    D-ECE = sum_i |B_i| / N |precision_i - mean score_i| over bins of equal width in score or, with
    `box_bins`, in score and box together. Few boxes can have a small error whatever was missed:
    compare detectors only at the same recall, or beside their AP.

    Args:
        matches: 1 where a box is matched with an object, else 0, shape (...).
        scores: Scores in [0, 1], or logits, of the same shape.
        boxes: Numbers in [0, 1] that describe each box, such as its center and size relative to
            the image, shape (..., len(box_bins)). Only with `box_bins`.
        num_bins: Number of bins in score, >= 1.
        box_bins: Number of bins in each column of `boxes`.
        from_logits: Whether `scores` are logits.
        sample_weight: None, or weights >= 0 of shape (...), 0 for padding.

    Returns:
        Scalar tensor, a fraction in [0, 1]; 0 for no detections.

    Raises:
        ValueError: If shapes do not match, or a number of nonzero weight is out of range and can be
            read. Inside a compiled step the result is NaN instead.

    Example:
        >>> from keras_focal import functional
        >>> error = functional.detection_calibration_error([1, 0], [0.9, 0.9])
        >>> round(float(error), 4)
        0.4

    Source:
        Küppers et al., 2020, Multivariate Confidence Calibration for Object Detection.
    """
    num_bins, box_bins = check_count("num_bins", num_bins), check_box_bins(box_bins)
    found = read_detections(
        matches,
        scores,
        sample_weight,
        from_logits=from_logits,
        are_matches=True,
        names=("matches", "scores"),
    )
    group = box_groups(boxes, found.weights, box_bins)
    bins, invalid = _bins(found, group, math.prod(box_bins), num_bins)
    return ece_from_bins(bins) + invalid


def localization_aware_calibration_error(
    overlaps: Tensor,
    scores: Tensor,
    class_ids: Tensor | None = None,
    *,
    num_classes: int = 1,
    num_bins: int = 25,
    from_logits: bool = False,
    sample_weight: Tensor | None = None,
) -> Tensor:
    """Return the localization-aware ECE (LaECE): the gap between score and precision times IoU.

    LaECE = mean over classes of sum_i |B_i| / N |precision_i * mean IoU_i - mean score_i|, where
    the IoU is that of the matched boxes in bin i. Classes without detections are left out. Few
    boxes can have a small error whatever was missed: compare detectors only at the same recall, or
    beside their AP.

    Args:
        overlaps: IoU of each box with the object that it is matched with, 0 where there is none,
            shape (...).
        scores: Scores in [0, 1], or logits, of the same shape.
        class_ids: Predicted classes in [0, num_classes), of the same shape. None for one class.
        num_classes: Number of classes, >= 1.
        num_bins: Number of bins in score, >= 1.
        from_logits: Whether `scores` are logits.
        sample_weight: None, or weights >= 0 of shape (...), 0 for padding.

    Returns:
        Scalar tensor, a fraction in [0, 1]; 0 for no detections.

    Raises:
        ValueError: If shapes do not match, or a number of nonzero weight is out of range and can be
            read. Inside a compiled step the result is NaN instead.

    Example:
        >>> from keras_focal import functional
        >>> error = functional.localization_aware_calibration_error([0.8, 0.0], [0.9, 0.9])
        >>> round(float(error), 4)
        0.5

    Source:
        Oksuz et al., 2023, Towards Building Self-Aware Object Detectors.
    """
    num_bins = check_count("num_bins", num_bins)
    num_classes = check_count("num_classes", num_classes)
    found = read_detections(
        overlaps,
        scores,
        sample_weight,
        from_logits=from_logits,
        are_matches=False,
        names=("overlaps", "scores"),
    )
    group = class_groups(class_ids, found.weights, num_classes)
    bins, invalid = _bins(found, group, num_classes, num_bins)
    return mean_of_present(*class_errors(bins, num_classes)) + invalid


def check_box_bins(box_bins: Sequence[int]) -> tuple[int, ...]:
    """Return numbers of bins as whole numbers >= 1."""
    if isinstance(box_bins, int):
        raise ValueError(
            "`box_bins` must be a sequence with the number of bins in each column of `boxes`. "
            f"Received: {box_bins}. For one column give [{box_bins}]."
        )
    return tuple(check_count("box_bins", number) for number in box_bins)


def read_detections(
    targets: Tensor,
    scores: Tensor,
    sample_weight: Tensor | None,
    *,
    from_logits: bool,
    are_matches: bool,
    names: tuple[str, str] = ("y_true", "y_pred"),
    is_checked: bool = True,
) -> Detections:
    """Return what detections contribute.

    Args:
        targets: What scores are compared with, in [0, 1], shape (...).
        scores: Scores, or logits, of the same shape.
        sample_weight: None, or weights of shape (...) or of whole images.
        from_logits: Whether `scores` are logits.
        are_matches: Whether targets must be 0 or 1.
        names: Names of the first two arguments.
        is_checked: Whether an invalid detection raises an error where it can be read.

    Raises:
        ValueError: If shapes do not match, or a detection is invalid and can be read.
    """
    targets, scores = to_float(targets), ops.expand_dims(to_float(scores), -1)
    shape = scores.shape[:-1]
    fix = "Give one for each detection; padding gets weight 0."
    check_same_shape(names[0], targets.shape, shape, fix)
    if sample_weight is not None:
        sample_weight = ops.convert_to_tensor(sample_weight, dtype="float32")
        check_weights_fit("sample_weight", sample_weight.shape, scores.shape)
    weights = weights_like(ops.ones_like(targets, dtype="float32"), sample_weight)
    is_target = ops.logical_and(targets >= 0, targets <= 1)
    if are_matches:
        is_target = ops.logical_or(ops.equal(targets, 0), ops.equal(targets, 1))
    if is_checked:
        check_distributions(names[1], scores, weights, from_logits=from_logits)
        rule = "1 (matched) or 0" if are_matches else "numbers in [0, 1]"
        fix = "Match boxes with objects at an IoU threshold." if are_matches else "They are IoU."
        _check(names[0], targets, is_target, weights, rule, fix)
        given = value_now(weights)
        if given is not None:
            check_weights("sample_weight", given)
    ones = ops.ones_like(targets, dtype="int32")
    confidence, complement, _ = one_class(ones, scores, from_logits=from_logits)
    complement = complement + nan_unless(is_target, complement.dtype)
    wrong = ops.cast(1.0 - targets, complement.dtype)
    return Detections(Predictions(confidence, complement, wrong), weights)


def box_groups(
    boxes: Tensor | None, weights: Tensor, box_bins: Sequence[int], *, is_checked: bool = True
) -> Tensor:
    """Return the int32 bin of each box in the bins of all columns, or INVALID.

    Args:
        boxes: Numbers in [0, 1], shape (..., len(box_bins)); None without `box_bins`.
        weights: Weights of the detections, shape (...).
        box_bins: Number of bins in each column.
        is_checked: Whether a number out of range raises an error where it can be read.
    """
    group = ops.zeros_like(weights, dtype="int32")
    if (boxes is None) != (not box_bins):
        received = "None" if boxes is None else "boxes"
        raise ValueError(
            "`boxes` must be given if and only if there are `box_bins`. Received: boxes="
            f"{received}, box_bins={tuple(box_bins)}."
        )
    if boxes is None:
        return group
    boxes = to_float(boxes)
    fix = f"Give a column for each of the {len(box_bins)} `box_bins`."
    check_same_shape("boxes", boxes.shape, (*weights.shape, len(box_bins)), fix)
    is_inside = ops.logical_and(boxes >= 0, boxes <= 1)
    if is_checked:
        fix = "Divide pixels by the width and height of the image."
        of_rows = ops.expand_dims(weights, -1)
        _check("boxes", boxes, is_inside, of_rows, "numbers in [0, 1]", fix)
    boxes = ops.where(is_inside, boxes, 0.0)
    for column, number in enumerate(box_bins):
        group = group * number + equal_width_bins(ops.take(boxes, column, axis=-1), number)
    return ops.where(ops.all(is_inside, axis=-1), group, INVALID)


def class_groups(
    class_ids: Tensor | None, weights: Tensor, num_classes: int, *, is_checked: bool = True
) -> Tensor:
    """Return class ids as int32, or INVALID.

    Args:
        class_ids: Whole numbers in [0, num_classes), shape (...); None for one class.
        weights: Weights of the detections, shape (...).
        num_classes: Number of classes.
        is_checked: Whether an id out of range raises an error where it can be read.
    """
    if class_ids is None:
        if num_classes > 1:
            raise ValueError(
                f"`class_ids` must give the class of each detection, since there are "
                f"{num_classes} classes. Received: None."
            )
        return ops.zeros_like(weights, dtype="int32")
    class_ids = ops.convert_to_tensor(class_ids)
    fix = "Give one for each detection; padding gets weight 0."
    check_same_shape("class_ids", class_ids.shape, weights.shape, fix)
    group = ids_in_range(class_ids, num_classes)
    if is_checked:
        rule = f"whole numbers in [0, {num_classes})"
        fix = "Padding gets weight 0."
        _check("class_ids", class_ids, ops.not_equal(group, INVALID), weights, rule, fix)
    return group


def are_valid(found: Detections, group: Tensor) -> Tensor:
    """Return where detections and their groups are valid, shape (...)."""
    is_valid = ops.isfinite(found.predictions.complement)
    return ops.logical_and(is_valid, ops.not_equal(group, INVALID))


def rows_of(found: Detections, group: Tensor, is_kept: Tensor) -> tuple[Tensor, ...]:
    """Return what `cells_added` takes, each part of shape (n,)."""
    weights = ops.where(is_kept, found.weights, 0.0)
    group = ops.where(is_kept, group, 0)
    predictions = only_counted(found.predictions, is_kept)
    wrong = ops.where(is_kept, predictions.wrong, 0.0)
    parts = (*predictions._replace(wrong=wrong), weights, group)
    return tuple(ops.reshape(part, (-1,)) for part in parts)


def cells_added(num_bins: int, high: Tensor, low: Tensor, *rows: Tensor) -> Sums:
    """Return the sums of cells, (group, bin) with the bin last, after detections."""
    *parts, weights, group = rows
    predictions = Predictions(*parts)
    index = group * num_bins + equal_width_bins(predictions.confidence, num_bins)
    return Sums(high, low).added(index, contributions(predictions, weights))


def class_errors(bins: BinStatistics, num_classes: int) -> tuple[Tensor, Tensor]:
    """Return the error and the weight of each class, each of shape (num_classes,)."""
    gap, count = (ops.reshape(part, (num_classes, -1)) for part in (bins.gap, bins.count))
    weights = ops.sum(count, axis=1)
    return ops.divide_no_nan(ops.sum(ops.abs(gap), axis=1), weights), weights


def mean_of_present(errors: Tensor, weights: Tensor) -> Tensor:
    """Return the mean of the errors of classes that have a weight; 0 if none has."""
    is_present = ops.cast(weights > 0, errors.dtype)
    return ops.divide_no_nan(ops.sum(errors), ops.sum(is_present))


def _bins(
    found: Detections, group: Tensor, num_groups: int, num_bins: int
) -> tuple[BinStatistics, Tensor]:
    """Return the bins of all groups, and a scalar: NaN if a detection is invalid, else 0."""
    is_kept, is_invalid = is_counted(are_valid(found, group), found.weights)
    zeros = Sums.zeros((num_groups * num_bins, 3))
    sums = cells_added(num_bins, *zeros, *rows_of(found, group, is_kept))
    return sums.statistics(), nan_unless(ops.logical_not(ops.any(is_invalid)), "float32")


def _check(
    name: str, values: Tensor, is_right: Tensor, weights: Tensor, rule: str, fix: str
) -> None:
    """Raise if a value of nonzero weight breaks a rule and can be read."""
    given, right, weight = map(value_now, (values, is_right, weights))
    if given is None or right is None or weight is None:
        return
    is_bad = ~right & (weight != 0)
    if is_bad.any():
        raise ValueError(
            f"`{name}` must hold {rule}. Received: {given[is_bad][0]:g}{place_of(is_bad)}. {fix}"
        )
