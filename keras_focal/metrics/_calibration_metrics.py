"""Several calibration errors from one state and one update."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras

from keras_focal import functional
from keras_focal._typing import DType, Tensor
from keras_focal._validation.choices import check_choices
from keras_focal.functional import BinStatistics
from keras_focal.functional._backend.compilation import Kernel
from keras_focal.functional.calibration._partitions import EqualMass, EqualWidth, Partition
from keras_focal.metrics._cells import BinnedMetric


def _brier_part(name: str, bins: BinStatistics) -> Tensor:
    return getattr(functional.top_label_brier_parts(bins), name)


_READINGS: dict[str, tuple[type[Partition], Callable[[BinStatistics], Tensor]]] = {
    "ece": (EqualWidth, functional.ece_from_bins),
    "ada_ece": (EqualMass, functional.ece_from_bins),
    "mce": (EqualWidth, functional.mce_from_bins),
    "rmsce": (EqualWidth, functional.rmsce_from_bins),
    "accuracy": (EqualWidth, functional.accuracy_from_bins),
    "error": (EqualWidth, functional.error_from_bins),
    "top_label_brier_reliability": (EqualWidth, partial(_brier_part, "reliability")),
    "top_label_brier_resolution": (EqualWidth, partial(_brier_part, "resolution")),
    "top_label_brier_uncertainty": (EqualWidth, partial(_brier_part, "uncertainty")),
}
# The uncertainty depends on the accuracy alone, so it has no direction.
_UP = ("accuracy", "top_label_brier_resolution")
_DIRECTIONS = {
    reading: "up" if reading in _UP else "down"
    for reading in _READINGS
    if reading != "top_label_brier_uncertainty"
}


@keras.saving.register_keras_serializable(package="keras_focal")
class CalibrationMetrics(BinnedMetric):
    """Several calibration errors from one update, by default ECE, AdaECE and MCE.

    The values equal those of the single metrics, at the cost of the most expensive one. The logs
    contain an entry for each reading, named after the metric and the reading: `calibration_ece`,
    `val_calibration_ece`.

    Args:
        num_bins: Number of bins, >= 1.
        from_logits: Whether predictions are logits (True) or probabilities.
        readings: Which to report: "ece", "ada_ece", "mce", "rmsce", "accuracy", "error", and the
            parts of `functional.top_label_brier_parts` as "top_label_brier_reliability",
            "top_label_brier_resolution" and "top_label_brier_uncertainty".
        ignore_class: None, or the class id of predictions to leave out.
        name: Prefix of the names in the logs. Give the metrics of several outputs different names.
        dtype: Dtype of the results, float32 by default.
        axis: The class axis of the predictions.
        skip_invalid: Whether to leave out invalid entries and count them in `invalid_count`. By
            default an invalid entry makes the result NaN, and eager calls raise an error.

    Raises:
        ValueError: If `num_bins` is not a whole number >= 1 or a reading is unknown.

    Example:
        >>> import keras_focal
        >>> metric = keras_focal.metrics.CalibrationMetrics()
        >>> metric.update_state([0, 1], [[0.9, 0.1], [0.3, 0.7]])
        >>> {name: round(float(value), 4) for name, value in metric.result().items()}
        {'calibration_ece': 0.2, 'calibration_ada_ece': 0.2, 'calibration_mce': 0.3}

    Source:
        Mukhoti et al., 2020, eq. 1, 2 and 3.
    """

    _directions = _DIRECTIONS

    def __init__(
        self,
        num_bins: int = 15,
        from_logits: bool = False,
        readings: Sequence[str] = ("ece", "ada_ece", "mce"),
        ignore_class: int | None = None,
        name: str = "calibration",
        dtype: DType | None = None,
        *,
        axis: int = -1,
        skip_invalid: bool = False,
    ):
        self.readings = check_choices("readings", readings, tuple(_READINGS))
        kinds = dict.fromkeys(_READINGS[reading][0] for reading in self.readings)
        super().__init__(
            tuple(kinds), num_bins, from_logits, ignore_class, name, dtype, axis, skip_invalid
        )

    @property
    def _reading(self) -> Kernel:
        kinds = tuple(type(partition) for partition in self._table.partitions)
        return Kernel(_read_each, (self._name, tuple(self.readings), kinds))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "readings": self.readings}


def _read_each(
    name: str, readings: Sequence[str], kinds: Sequence[type[Partition]], *bins: BinStatistics
) -> dict[str, Tensor]:
    """Return the readings from the bins of each kind."""
    bins_of = dict(zip(kinds, bins, strict=True))
    results = {}
    for reading in readings:
        kind, error = _READINGS[reading]
        results[f"{name}_{reading}"] = error(bins_of[kind])
    return results
