"""Bins of equal width as they are drawn: arguments are checked, and bins are read."""

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_focal import functional
from keras_focal._validation.shapes import check_labels_fit
from keras_focal.functional import BinStatistics, ClassBinStatistics


class Words(NamedTuple):
    """What the axes of a picture of bins are called.

    Attributes:
        predicted: The axis that the bins divide.
        observed: What is compared with it.
    """

    predicted: str
    observed: str

    @classmethod
    def of(cls, bins: BinStatistics) -> "Words":
        """Return the words for bins of the top label, or of the probability of one class."""
        if isinstance(bins, ClassBinStatistics):
            return cls("predicted probability", "fraction of positives")
        return cls("confidence", "accuracy")


class FilledBins(NamedTuple):
    """The bins that are not empty, float64 arrays of shape (filled bins,), and overall means.

    Attributes:
        centers: Middle of each bin on the axis of confidence.
        width: Width of a bin.
        share: Weight of each bin over the weight of all, in per cent.
        accuracy: Accuracy in each bin, a fraction.
        confidence: Mean confidence in each bin, a fraction.
        mean_accuracy: Accuracy of all predictions; NaN without any.
        mean_confidence: Mean confidence of all predictions; NaN without any.
    """

    centers: np.ndarray
    width: float
    share: np.ndarray
    accuracy: np.ndarray
    confidence: np.ndarray
    mean_accuracy: float
    mean_confidence: float


def given_bins(
    y_true: Any,
    y_pred: Any,
    bins: BinStatistics | None,
    *,
    num_bins: int,
    from_logits: bool,
    sample_weight: Any,
) -> BinStatistics:
    """Return `bins`, or else what bins hold of `y_true` and `y_pred`; raise unless one is given."""
    parts = {"y_true": y_true, "y_pred": y_pred, "bins": bins}
    given = [name for name, value in parts.items() if value is not None]
    if given not in (["bins"], ["y_true", "y_pred"]):
        raise ValueError(
            "`bins` must be given, or else both `y_true` and `y_pred`. Received: "
            f"{', '.join(given) or 'none of them'}. Pass the predictions, or the bins of a metric."
        )
    if bins is None:
        labels, predictions = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        if len(predictions.shape) == 1 <= len(labels.shape):
            predictions = ops.expand_dims(predictions, -1)
        check_labels_fit("y_true", labels.shape, predictions.shape)
        return functional.bin_statistics(
            y_true,
            predictions,
            num_bins=num_bins,
            from_logits=from_logits,
            sample_weight=sample_weight,
        )
    if not isinstance(bins, BinStatistics):
        raise ValueError(
            "`bins` must be a BinStatistics, as `bins()` of a metric returns it. Received: "
            f"bins={bins!r}. For a number of bins use `num_bins`."
        )
    return bins


def filled_bins(bins: BinStatistics) -> FilledBins:
    """Return the bins that are not empty."""
    count, accuracy, confidence = functional.bin_means(bins)
    filled = count > 0
    total = count.sum() if filled.any() else np.nan
    share, accuracy, confidence = (part[filled] for part in (count / total, accuracy, confidence))
    return FilledBins(
        centers=(np.flatnonzero(filled) + 0.5) / len(count),
        width=1.0 / len(count),
        share=100.0 * share,
        accuracy=accuracy,
        confidence=confidence,
        mean_accuracy=float(share @ accuracy) if filled.any() else np.nan,
        mean_confidence=float(share @ confidence) if filled.any() else np.nan,
    )
