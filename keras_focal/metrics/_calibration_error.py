"""Calibration errors for `model.compile`: ECE, AdaECE, MCE, RMSCE and the ECE of one class."""

from typing import Any

import keras

from keras_focal import functional
from keras_focal._typing import DType, Tensor
from keras_focal._validation.classes import check_one_class
from keras_focal.functional import ClassBinStatistics
from keras_focal.functional.calibration._bins import Predictions, one_class
from keras_focal.functional.calibration._partitions import EqualMass, EqualWidth
from keras_focal.metrics._cells import BinnedMetric


@keras.saving.register_keras_serializable(package="keras_focal")
class ExpectedCalibrationError(BinnedMetric):
    """Expected calibration error (ECE): the mean gap between confidence and accuracy.

    ECE = sum_i |B_i| / N |A_i - C_i|, where A_i and C_i are the accuracy and the mean confidence of
    bin i, one of `num_bins` bins (a, b] of equal width in the confidence of the top label. The
    result is exact over batches, replicas and merged states.

    Args:
        num_bins: Number of bins, >= 1.
        from_logits: Whether predictions are logits (True) or probabilities.
        ignore_class: None, or the class id of predictions to leave out.
        name: Name in the logs.
        dtype: Dtype of the result, float32 by default.
        axis: The class axis of the predictions.
        skip_invalid: Whether to leave out invalid entries and count them in `invalid_count`. By
            default an invalid entry makes the result NaN, and eager calls raise an error.

    Raises:
        ValueError: If `num_bins` is not a whole number >= 1.

    Example:
        >>> import keras_focal
        >>> metric = keras_focal.metrics.ExpectedCalibrationError()
        >>> metric.update_state([0, 1], [[0.9, 0.1], [0.9, 0.1]])
        >>> round(float(metric.result()), 4)
        0.4

    Source:
        Naeini et al., 2015; Mukhoti et al., 2020, eq. 1.
    """

    def __init__(
        self,
        num_bins: int = 15,
        from_logits: bool = False,
        ignore_class: int | None = None,
        name: str = "ece",
        dtype: DType | None = None,
        *,
        axis: int = -1,
        skip_invalid: bool = False,
    ):
        super().__init__(
            (EqualWidth,), num_bins, from_logits, ignore_class, name, dtype, axis, skip_invalid
        )

    _reading = staticmethod(functional.ece_from_bins)


@keras.saving.register_keras_serializable(package="keras_focal")
class RootMeanSquareCalibrationError(BinnedMetric):
    """Root-mean-square calibration error (RMSCE), which emphasises large gaps.

    RMSCE = sqrt(sum_i |B_i| / N (A_i - C_i)^2) over bins of equal width. It is at least the ECE.

    Args:
        num_bins: Number of bins, >= 1.
        from_logits: Whether predictions are logits (True) or probabilities.
        ignore_class: None, or the class id of predictions to leave out.
        name: Name in the logs.
        dtype: Dtype of the result, float32 by default.
        axis: The class axis of the predictions.
        skip_invalid: Whether to leave out invalid entries and count them in `invalid_count`. By
            default an invalid entry makes the result NaN, and eager calls raise an error.

    Raises:
        ValueError: If `num_bins` is not a whole number >= 1.

    Example:
        >>> import keras_focal
        >>> metric = keras_focal.metrics.RootMeanSquareCalibrationError()
        >>> metric.update_state([0, 1], [[0.9, 0.1], [0.3, 0.7]])
        >>> round(float(metric.result()), 4)
        0.2236

    Source:
        Kumar et al., 2019, Verified Uncertainty Calibration.
    """

    def __init__(
        self,
        num_bins: int = 15,
        from_logits: bool = False,
        ignore_class: int | None = None,
        name: str = "rmsce",
        dtype: DType | None = None,
        *,
        axis: int = -1,
        skip_invalid: bool = False,
    ):
        super().__init__(
            (EqualWidth,), num_bins, from_logits, ignore_class, name, dtype, axis, skip_invalid
        )

    _reading = staticmethod(functional.rmsce_from_bins)


@keras.saving.register_keras_serializable(package="keras_focal")
class MaximumCalibrationError(BinnedMetric):
    """Maximum calibration error (MCE): the largest gap between confidence and accuracy of any bin.

    MCE = max_i |A_i - C_i| over bins of equal width that are not empty.

    Args:
        num_bins: Number of bins, >= 1.
        from_logits: Whether predictions are logits (True) or probabilities.
        ignore_class: None, or the class id of predictions to leave out.
        name: Name in the logs.
        dtype: Dtype of the result, float32 by default.
        axis: The class axis of the predictions.
        skip_invalid: Whether to leave out invalid entries and count them in `invalid_count`. By
            default an invalid entry makes the result NaN, and eager calls raise an error.

    Raises:
        ValueError: If `num_bins` is not a whole number >= 1.

    Example:
        >>> import keras_focal
        >>> metric = keras_focal.metrics.MaximumCalibrationError()
        >>> metric.update_state([0, 1], [[0.9, 0.1], [0.3, 0.7]])
        >>> round(float(metric.result()), 4)
        0.3

    Source:
        Naeini et al., 2015; Mukhoti et al., 2020, eq. 2.
    """

    def __init__(
        self,
        num_bins: int = 15,
        from_logits: bool = False,
        ignore_class: int | None = None,
        name: str = "mce",
        dtype: DType | None = None,
        *,
        axis: int = -1,
        skip_invalid: bool = False,
    ):
        super().__init__(
            (EqualWidth,), num_bins, from_logits, ignore_class, name, dtype, axis, skip_invalid
        )

    _reading = staticmethod(functional.mce_from_bins)


@keras.saving.register_keras_serializable(package="keras_focal")
class AdaptiveExpectedCalibrationError(BinnedMetric):
    """Adaptive ECE (AdaECE): the mean gap between confidence and accuracy over bins of equal mass.

    AdaECE = sum_i |B_i| / N |A_i - C_i| with all |B_i| equal. It is not the class-wise ACE of Nixon
    et al. Since exact bins of equal mass would require all confidences, the metric stores sums over
    8192 cells of width 1/256 in log2(confidence / (1 - confidence)), 192 KB, and assembles the bins
    from these; a cell at an edge is divided in proportion.
    `functional.adaptive_expected_calibration_error` is exact on whole arrays.

    Args:
        num_bins: Number of bins, >= 1.
        from_logits: Whether predictions are logits (True) or probabilities.
        ignore_class: None, or the class id of predictions to leave out.
        name: Name in the logs.
        dtype: Dtype of the result, float32 by default.
        axis: The class axis of the predictions.
        skip_invalid: Whether to leave out invalid entries and count them in `invalid_count`. By
            default an invalid entry makes the result NaN, and eager calls raise an error.

    Raises:
        ValueError: If `num_bins` is not a whole number >= 1.

    Example:
        >>> import keras_focal
        >>> metric = keras_focal.metrics.AdaptiveExpectedCalibrationError(num_bins=2)
        >>> metric.update_state([0, 1], [[0.9, 0.1], [0.7, 0.3]])
        >>> round(float(metric.result()), 4)
        0.4

    Source:
        Mukhoti et al., 2020, eq. 3.
    """

    def __init__(
        self,
        num_bins: int = 15,
        from_logits: bool = False,
        ignore_class: int | None = None,
        name: str = "ada_ece",
        dtype: DType | None = None,
        *,
        axis: int = -1,
        skip_invalid: bool = False,
    ):
        super().__init__(
            (EqualMass,), num_bins, from_logits, ignore_class, name, dtype, axis, skip_invalid
        )

    _reading = staticmethod(functional.ece_from_bins)


@keras.saving.register_keras_serializable(package="keras_focal")
class BinaryExpectedCalibrationError(BinnedMetric):
    """ECE of the probability of one class, compared with the frequency of that class.

    ECE = sum_i |B_i| / N |freq_i - mean p_i| over `num_bins` bins (a, b] of equal width in the
    probability p of the class. `ExpectedCalibrationError` uses the top label instead, so that with
    two classes no confidence is below 1/2. In `bins()` a prediction counts as wrong if its label is
    any other class: the accuracy in a reliability diagram is the frequency of the class.

    Args:
        num_bins: Number of bins, >= 1.
        from_logits: Whether predictions are logits (True) or probabilities.
        class_id: Id of the class; 1 is the positive class of two.
        ignore_class: None, or the class id of predictions to leave out.
        name: Name in the logs.
        dtype: Dtype of the result, float32 by default.
        axis: The class axis of the predictions.
        skip_invalid: Whether to leave out invalid entries and count them in `invalid_count`. By
            default an invalid entry makes the result NaN, and eager calls raise an error.

    Raises:
        ValueError: If `num_bins` is not a whole number >= 1 or `class_id` is not a class id.

    Example:
        >>> import keras_focal
        >>> metric = keras_focal.metrics.BinaryExpectedCalibrationError()
        >>> metric.update_state([0, 1], [[0.25], [0.25]])
        >>> round(float(metric.result()), 4)
        0.25

    Source:
        Niculescu-Mizil and Caruana, 2005, Predicting Good Probabilities with Supervised Learning.
    """

    _kind_of_bins = ClassBinStatistics

    def __init__(
        self,
        num_bins: int = 15,
        from_logits: bool = False,
        class_id: int = 1,
        ignore_class: int | None = None,
        name: str = "binary_ece",
        dtype: DType | None = None,
        *,
        axis: int = -1,
        skip_invalid: bool = False,
    ):
        super().__init__(
            (EqualWidth,), num_bins, from_logits, ignore_class, name, dtype, axis, skip_invalid
        )
        self.class_id = check_one_class("class_id", class_id)

    def _predictions(self, ids: Tensor, predictions: Tensor) -> Predictions:
        check_one_class("class_id", self.class_id, max(predictions.shape[-1], 2))
        return one_class(ids, predictions, self.class_id, from_logits=self.from_logits)

    _reading = staticmethod(functional.ece_from_bins)

    @property
    def _layout(self) -> Any:
        return {"class_id": self.class_id, "bins": super()._layout}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "class_id": self.class_id}
