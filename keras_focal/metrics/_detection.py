"""Calibration errors of detected boxes: D-ECE and LaECE."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_focal._typing import DType, Tensor
from keras_focal._validation.numbers import check_count
from keras_focal._validation.shapes import check_weights_fit
from keras_focal.functional import BinStatistics, ece_from_bins
from keras_focal.functional._backend.compilation import Kernel, compiled, without_autograph
from keras_focal.functional._inputs.probabilities import warn_if_activated
from keras_focal.functional._inputs.weights import effective_weights
from keras_focal.functional.calibration._detections import (
    are_valid,
    box_groups,
    cells_added,
    check_box_bins,
    class_errors,
    class_groups,
    mean_of_present,
    read_detections,
    rows_of,
)
from keras_focal.metrics._cells import CellMetric


class _DetectionMetric(CellMetric):
    """Base class: scores are compared with targets in bins of score, separately in each group."""

    _are_matches: bool

    def __init__(
        self,
        num_groups: int,
        num_bins: int,
        from_logits: bool,
        name: str,
        dtype: DType | None,
        skip_invalid: bool,
    ):
        super().__init__(from_logits, None, name, dtype, -1, skip_invalid)
        self.num_bins = check_count("num_bins", num_bins)
        self._add_cells(num_groups * self.num_bins)

    @abstractmethod
    def _groups(self, given: Any, weights: Tensor) -> Tensor:
        """Return the group of each detection."""

    def _detected(self, y_true: Tensor, y_pred: Tensor, sample_weight: Any, given: Any) -> None:
        """Accumulate detections, of which `given` tells the groups."""
        if self.from_logits:
            warn_if_activated(y_pred)
        if sample_weight is not None:
            sample_weight = ops.convert_to_tensor(sample_weight)
            shape = ops.convert_to_tensor(y_pred).shape
            check_weights_fit("sample_weight", sample_weight.shape, (*shape, 1))
        found = read_detections(
            y_true,
            y_pred,
            # From `y_pred` itself, since a mask is an attribute of the object.
            effective_weights(y_pred, sample_weight, axis=None),
            from_logits=self.from_logits,
            are_matches=self._are_matches,
            is_checked=not self.skip_invalid,
        )
        if 0 not in found.weights.shape:
            self._update((found, self._groups(given, found.weights)))

    def _update(self, entries: Any) -> None:
        """Accumulate detections and their groups."""
        found, group = entries
        is_kept = self._counted(are_valid(found, group), found.weights)
        kernel = Kernel(cells_added, (self.num_bins,))
        rows = rows_of(found, group, is_kept)
        self._assign(compiled(kernel, *self._sums(), rows=rows))

    def bins(self) -> BinStatistics:
        """Return the bins of all groups, those of a group together, parts of shape (cells,)."""
        return self._sums().statistics()

    def get_config(self) -> dict[str, Any]:
        config = {"num_bins": self.num_bins, **super().get_config()}
        return {
            name: value for name, value in config.items() if name not in ("ignore_class", "axis")
        }


@keras.saving.register_keras_serializable(package="keras_focal")
class DetectionCalibrationError(_DetectionMetric):
    """Detection ECE (D-ECE): the mean gap between the scores of boxes and their precision.

    D-ECE = sum_i |B_i| / N |precision_i - mean score_i| over bins (a, b] of equal width in score.
    With `box_bins`, such as (5, 5) for the relative center of boxes, a bin is one of score and box
    together, so that errors of opposite sign in two parts of the image do not cancel. Without, it
    is `BinaryExpectedCalibrationError` of (matched, score).

    Match boxes with objects first, at an IoU threshold: `pycocotools` does. Boxes that a detector
    does not report are not measured: a few boxes with a high score can have a small error whatever
    was missed. Compare detectors only at the same recall, or beside their average precision.

    Args:
        num_bins: Number of bins in score, >= 1.
        from_logits: Whether scores are logits (True) or in [0, 1].
        box_bins: Number of bins in each column of `boxes`; empty to leave boxes out.
        name: Name in the logs.
        dtype: Dtype of the result, float32 by default.
        skip_invalid: Whether to leave out invalid entries and count them in `invalid_count`. By
            default an invalid entry makes the result NaN, and eager calls raise an error.

    Raises:
        ValueError: If a number of bins is not a whole number >= 1.

    Example:
        >>> import keras_focal
        >>> metric = keras_focal.metrics.DetectionCalibrationError()
        >>> matches, scores = [[1, 0, 0]], [[0.9, 0.9, -1.0]]
        >>> metric.update_state(matches, scores, sample_weight=[[1, 1, 0]])  # the last is padding
        >>> round(float(metric.result()), 4)
        0.4

    Source:
        Küppers et al., 2020, Multivariate Confidence Calibration for Object Detection; on the
        caution, Kuzucu et al., 2024, On Calibration of Object Detectors.
    """

    _are_matches = True

    def __init__(
        self,
        num_bins: int = 15,
        from_logits: bool = False,
        box_bins: Sequence[int] = (),
        name: str = "d_ece",
        dtype: DType | None = None,
        *,
        skip_invalid: bool = False,
    ):
        self.box_bins = list(check_box_bins(box_bins))
        groups = math.prod(self.box_bins)
        super().__init__(groups, num_bins, from_logits, name, dtype, skip_invalid)

    @without_autograph
    def update_state(
        self,
        y_true: Tensor,
        y_pred: Tensor,
        sample_weight: Tensor | None = None,
        *,
        boxes: Tensor | None = None,
    ) -> None:
        """Accumulate detections.

        Args:
            y_true: 1 where a box is matched with an object, else 0, shape (...), such as
                (images, boxes).
            y_pred: Scores or logits, of the same shape.
            sample_weight: None, or weights >= 0 of that shape or of whole images; 0 for padding. A
                mask on `y_pred` counts as weight 0.
            boxes: Numbers in [0, 1] that describe each box, shape (..., len(box_bins)). Only with
                `box_bins`.

        Raises:
            ValueError: If the shapes do not match, or `boxes` are missing. Unless `skip_invalid` is
                set, also if an entry of nonzero weight is out of range and can be read; inside a
                compiled step the result is NaN instead.
        """
        self._detected(y_true, y_pred, sample_weight, boxes)

    def _groups(self, given: Any, weights: Tensor) -> Tensor:
        return box_groups(given, weights, self.box_bins, is_checked=not self.skip_invalid)

    @property
    def _layout(self) -> Any:
        return {"num_bins": self.num_bins, "box_bins": self.box_bins}

    def _numbers(self) -> tuple[Tensor, Tensor]:
        bins = self.bins()
        return ece_from_bins(bins), ops.sum(bins.count)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "box_bins": list(self.box_bins)}


@keras.saving.register_keras_serializable(package="keras_focal")
class LocalizationAwareCalibrationError(_DetectionMetric):
    """Localization-aware ECE (LaECE): the gap between scores and precision times IoU.

    LaECE = mean over classes of sum_i |B_i| / N |precision_i * mean IoU_i - mean score_i| over bins
    (a, b] of equal width in score, where the IoU is that of the matched boxes in bin i. A score is
    right if it says both whether a box is matched and how well it fits. Classes without detections
    are left out of the mean.

    The same caution as for `DetectionCalibrationError` applies: a few boxes with a small error may
    miss most objects.

    Args:
        num_classes: Number of classes, >= 1.
        num_bins: Number of bins in score, >= 1.
        from_logits: Whether scores are logits (True) or in [0, 1].
        name: Name in the logs.
        dtype: Dtype of the result, float32 by default.
        skip_invalid: Whether to leave out invalid entries and count them in `invalid_count`. By
            default an invalid entry makes the result NaN, and eager calls raise an error.

    Raises:
        ValueError: If `num_bins` or `num_classes` is not a whole number >= 1.

    Example:
        >>> import keras_focal
        >>> metric = keras_focal.metrics.LocalizationAwareCalibrationError(num_classes=2)
        >>> overlaps, scores, class_ids = [0.8, 0.0, 0.5], [0.9, 0.9, 0.5], [0, 0, 1]
        >>> metric.update_state(overlaps, scores, class_ids=class_ids)
        >>> round(float(metric.result()), 4)
        0.25

    Source:
        Oksuz et al., 2023, Towards Building Self-Aware Object Detectors via Reliable Uncertainty
        Quantification and Calibration.
    """

    _are_matches = False

    def __init__(
        self,
        num_classes: int = 1,
        num_bins: int = 25,
        from_logits: bool = False,
        name: str = "la_ece",
        dtype: DType | None = None,
        *,
        skip_invalid: bool = False,
    ):
        self.num_classes = check_count("num_classes", num_classes)
        super().__init__(self.num_classes, num_bins, from_logits, name, dtype, skip_invalid)

    @without_autograph
    def update_state(
        self,
        y_true: Tensor,
        y_pred: Tensor,
        sample_weight: Tensor | None = None,
        *,
        class_ids: Tensor | None = None,
    ) -> None:
        """Accumulate detections.

        Args:
            y_true: IoU of each box with the object that it is matched with, 0 where there is none,
                shape (...), such as (images, boxes).
            y_pred: Scores or logits, of the same shape.
            sample_weight: None, or weights >= 0 of that shape or of whole images; 0 for padding. A
                mask on `y_pred` counts as weight 0.
            class_ids: Predicted classes in [0, num_classes), of the same shape. None for one class.

        Raises:
            ValueError: If the shapes do not match, or `class_ids` are missing. Unless
                `skip_invalid` is set, also if an entry of nonzero weight is out of range and can be
                read; inside a compiled step the result is NaN instead.
        """
        self._detected(y_true, y_pred, sample_weight, class_ids)

    def _groups(self, given: Any, weights: Tensor) -> Tensor:
        return class_groups(given, weights, self.num_classes, is_checked=not self.skip_invalid)

    @property
    def _layout(self) -> Any:
        return {"num_bins": self.num_bins, "num_classes": self.num_classes}

    def by_class(self) -> Tensor:
        """Return the error of each class, shape (num_classes,); NaN without detections."""
        errors, weights = class_errors(self.bins(), self.num_classes)
        errors = ops.where(weights > 0, errors, float("nan"))
        return self._unless_invalid(errors, ops.sum(weights))

    def _numbers(self) -> tuple[Tensor, Tensor]:
        errors, weights = class_errors(self.bins(), self.num_classes)
        return mean_of_present(errors, weights), ops.sum(weights)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_classes": self.num_classes}
