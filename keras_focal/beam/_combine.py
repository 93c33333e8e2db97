"""A `beam.CombineFn` that measures calibration and fits temperatures in one pass over records."""

from collections.abc import Iterable
from typing import Any

import apache_beam as beam

from keras_focal._validation.classes import check_class_id
from keras_focal._validation.maps import check_temperature_bounds
from keras_focal._validation.numbers import check_count
from keras_focal.calibration.report import CalibrationReport, CalibrationState, Settings


class CombineCalibration(beam.CombineFn):
    """Combine records of predictions and labels into one `CalibrationReport`.

    A record is (predictions, label) or (predictions, label, weight) of one row of shape (K,), or
    (predictions, labels) or (predictions, labels, weights) of a batch of rows (n, K), which is
    the faster form. Any split of the records over machines gives the same report.

    The state has a fixed size, 0.2 MB for 10 classes and 0.6 MB for 1000. Predictions wait beside
    it until 65,536 numbers are together; `compact` takes them in. Records are read once, and still
    T of least NLL is that of `fit_temperature`, to 2e-8.

    Args:
        num_bins: Bins of the calibration errors.
        from_logits: Whether predictions are logits or probabilities.
        bounds: Least and greatest temperature of the fit by NLL. Wider ones take longer.
        ignore_class: None, or the id of labels to leave out, such as 255.

    Raises:
        ValueError: If an argument is out of range. From `add_input`, before anything is added: if a
            record is not of 2 or 3 parts, its shapes do not match, a label is not an id in
            [0, K), a weight is not >= 0, K is not that of other records, or predictions are no
            probabilities though `from_logits` is False.

    Example:
        >>> from keras_focal.beam import CombineCalibration
        >>> combine = CombineCalibration(from_logits=True)
        >>> records = [([4.0, 0.0], 0), ([[4.0, 0.0], [4.0, 0.0], [0.0, 4.0]], [0, 1, 1])]
        >>> report = combine.apply(records)
        >>> report.count, report.accuracy, round(report.nll_fit.temperature, 4)
        (4.0, 0.75, 3.641)

    Source:
        Mukhoti et al., 2020, sections 2 and 5.1; Guo et al., 2017, section 4.2.
    """

    def __init__(
        self,
        num_bins: int = 15,
        from_logits: bool = False,
        bounds: tuple[float, float] = (0.05, 20.0),
        ignore_class: int | None = None,
    ):
        super().__init__()
        num_bins, bounds = check_count("num_bins", num_bins), check_temperature_bounds(bounds)
        ignored = check_class_id("ignore_class", ignore_class)
        self._settings = Settings(num_bins, bool(from_logits), bounds, ignored)

    def create_accumulator(self) -> CalibrationState:
        return CalibrationState(self._settings)

    def add_input(self, mutable_accumulator: CalibrationState, element: Any) -> CalibrationState:
        mutable_accumulator.add(element)
        return mutable_accumulator

    def merge_accumulators(self, accumulators: Iterable[CalibrationState]) -> CalibrationState:
        merged = self.create_accumulator()
        for accumulator in accumulators:
            merged.merge(accumulator)
        return merged

    def compact(self, accumulator: CalibrationState) -> CalibrationState:
        accumulator.flush()
        return accumulator

    def extract_output(self, accumulator: CalibrationState) -> CalibrationReport:
        return accumulator.report()
