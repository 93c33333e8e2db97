"""What a user says of predictions and labels."""

from dataclasses import dataclass
from typing import Any

from keras_focal._validation.choices import check_choice
from keras_focal._validation.classes import check_class_id
from keras_focal.calibration.given._arrays import Rows, as_numpy, flattened, to_numpy

PER_LABEL = "per_label"
"""The `multi_label` that asks for a fit of each label."""


@dataclass(frozen=True)
class Declared:
    """What a user says of predictions and labels.

    Attributes:
        from_logits: Whether predictions are logits or probabilities.
        ignore_class: None, or the id of labels to leave out.
        multi_label: Whether every column is a label of its own.
        by_label: Whether each of these labels has a fit of its own.
    """

    from_logits: bool = True
    ignore_class: int | None = None
    multi_label: bool = False
    by_label: bool = False

    @classmethod
    def of(cls, from_logits: Any, ignore_class: Any, multi_label: Any) -> "Declared":
        """Check the arguments."""
        check_choice("from_logits", from_logits, (True, False))
        check_choice("multi_label", multi_label, (False, True, PER_LABEL))
        ignored = check_class_id("ignore_class", ignore_class)
        return cls(bool(from_logits), ignored, bool(multi_label), multi_label == PER_LABEL)

    def rows(self, predictions: Any, labels: Any, sample_weight: Any) -> Rows:
        """Return the predictions that count, as they are, or raise."""
        # What a probability of 0 counts as depends on its dtype.
        predictions = to_numpy(predictions) if self.from_logits else as_numpy(predictions)
        if predictions.size == 0:
            raise ValueError(
                f"`logits` must hold at least one prediction. Received: shape {predictions.shape}. "
                "Calibration needs held-out data."
            )
        if predictions.ndim < 2:
            raise ValueError(
                f"`logits` must have shape (..., K). Received: shape {predictions.shape}. For one "
                "logit per sample add an axis: logits[:, None]."
            )
        return flattened(
            predictions,
            labels,
            sample_weight,
            ignore_class=self.ignore_class,
            multi_label=self.multi_label,
        )

    def parts(self, predictions: Any, labels: Any, sample_weight: Any) -> list[Rows]:
        """Return the predictions that count of each fit: all in one, or of each label, or raise."""
        rows = self.rows(predictions, labels, sample_weight)
        if not self.by_label:
            return [rows]
        predictions, labels = as_numpy(predictions), as_numpy(labels)
        of_one = Declared(self.from_logits, self.ignore_class)
        return [
            of_one.rows(predictions[..., k : k + 1], labels[..., k], sample_weight)
            for k in range(predictions.shape[-1])
        ]
