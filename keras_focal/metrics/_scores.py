"""Scores that are means over predictions: NLL, Brier score, coverage, entropy and logit norm."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from keras_focal import functional
from keras_focal._typing import DType, Tensor
from keras_focal._validation.numbers import check_open_interval
from keras_focal.functional._inputs.class_labels import IGNORED, class_of_each
from keras_focal.functional._inputs.entries import Entries
from keras_focal.functional.calibration._bins import top_label
from keras_focal.metrics._totals import TotalsMetric


class _MeanScore(TotalsMetric):
    """Base class of weighted means of one score."""

    def __init__(
        self,
        from_logits: bool,
        ignore_class: int | None,
        name: str,
        dtype: DType | None,
        axis: int,
        skip_invalid: bool,
    ):
        super().__init__(2, from_logits, ignore_class, name, dtype, axis, skip_invalid)

    @abstractmethod
    def _score(self, entries: Entries) -> Tensor:
        """Return the score of each prediction, shape (...); NaN where it is invalid."""

    def _amounts(self, entries: Entries) -> list[Tensor]:
        score = self._score(entries)
        return [ops.ones_like(score), score]

    def _reading(self, *totals: Tensor) -> tuple[Tensor, Tensor]:
        weight, total = totals
        return ops.divide_no_nan(total, weight), weight


@keras.saving.register_keras_serializable(package="keras_focal")
class NegativeLogLikelihood(_MeanScore):
    """Negative log-likelihood (NLL): the mean of -log p of the true class, in nats.

    It is a proper score: its expectation is minimal only for the true class probabilities.

    Args:
        from_logits: Whether predictions are logits (True) or probabilities. A probability of 0
            counts as 2**-126; prefer logits.
        ignore_class: None, or the class id of predictions to leave out.
        name: Name in the logs.
        dtype: Dtype of the result, float32 by default.
        axis: The class axis of the predictions.
        skip_invalid: Whether to leave out invalid entries and count them in `invalid_count`. By
            default an invalid entry makes the result NaN, and eager calls raise an error.

    Example:
        >>> import keras_focal
        >>> metric = keras_focal.metrics.NegativeLogLikelihood()
        >>> metric.update_state([0, 1], [[0.5, 0.5], [0.75, 0.25]])
        >>> round(float(metric.result()), 4)
        1.0397

    Source:
        Mukhoti et al., 2020, section 5.1.
    """

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        name: str = "nll",
        dtype: DType | None = None,
        *,
        axis: int = -1,
        skip_invalid: bool = False,
    ):
        super().__init__(from_logits, ignore_class, name, dtype, axis, skip_invalid)

    def _score(self, entries: Entries) -> Tensor:
        return functional.negative_log_likelihood(
            entries.labels, entries.predictions, from_logits=self.from_logits
        )


@keras.saving.register_keras_serializable(package="keras_focal")
class BrierScore(_MeanScore):
    """Brier score: the mean of sum_c (p_c - q_c)^2, in [0, 2].

    It is a proper score: its expectation is minimal only for the true class probabilities.

    Args:
        from_logits: Whether predictions are logits (True) or probabilities.
        ignore_class: None, or the class id of predictions to leave out.
        name: Name in the logs.
        dtype: Dtype of the result, float32 by default.
        axis: The class axis of the predictions.
        skip_invalid: Whether to leave out invalid entries and count them in `invalid_count`. By
            default an invalid entry makes the result NaN, and eager calls raise an error.

    Example:
        >>> import keras_focal
        >>> metric = keras_focal.metrics.BrierScore()
        >>> metric.update_state([0, 1], [[0.5, 0.5], [0.75, 0.25]])
        >>> round(float(metric.result()), 4)
        0.8125

    Source:
        Brier, 1950; Mukhoti et al., 2020, section 5.1.
    """

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        name: str = "brier",
        dtype: DType | None = None,
        *,
        axis: int = -1,
        skip_invalid: bool = False,
    ):
        super().__init__(from_logits, ignore_class, name, dtype, axis, skip_invalid)

    def _score(self, entries: Entries) -> Tensor:
        return functional.brier_score(
            entries.labels, entries.predictions, from_logits=self.from_logits
        )


@keras.saving.register_keras_serializable(package="keras_focal")
class LogitNorm(_MeanScore):
    """Mean L2 norm of the logits, which grows as a network becomes over-confident.

    For a model that outputs logits. For an output of features it is the norm of the features.
    Labels are used only for `ignore_class`.

    Args:
        ignore_class: None, or the class id of predictions to leave out.
        name: Name in the logs.
        dtype: Dtype of the result, float32 by default.
        axis: The class axis of the predictions.
        skip_invalid: Whether to leave out invalid entries and count them in `invalid_count`. By
            default an invalid entry makes the result NaN, and eager calls raise an error.

    Example:
        >>> import keras_focal
        >>> metric = keras_focal.metrics.LogitNorm()
        >>> metric.update_state([0, 1], [[3.0, -4.0], [0.0, 1.0]])
        >>> float(metric.result())
        3.0

    Source:
        Mukhoti et al., 2020, Figure 7(a); for features, Figure 10.
    """

    # A norm is neither better high nor better low.
    _directions: Mapping[str, str] = {}

    def __init__(
        self,
        ignore_class: int | None = None,
        name: str = "logit_norm",
        dtype: DType | None = None,
        *,
        axis: int = -1,
        skip_invalid: bool = False,
    ):
        super().__init__(True, ignore_class, name, dtype, axis, skip_invalid)

    def _read(self, labels: Tensor, predictions: Tensor, weights: Tensor) -> Entries:
        # Features have no classes, so labels matter only for `ignore_class`.
        ids = class_of_each(labels, predictions.shape, self.ignore_class)
        weights = ops.where(ops.equal(ids, IGNORED), 0.0, weights)
        return super()._read(ops.zeros_like(ids), predictions, weights)

    def _score(self, entries: Entries) -> Tensor:
        return functional.logit_norm(entries.predictions)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("from_logits")
        return config


@keras.saving.register_keras_serializable(package="keras_focal")
class ConfidentCoverage(TotalsMetric):
    """Coverage: the fraction of predictions above a confidence threshold, and their accuracy.

    With the default threshold it is |S99| of the paper. The logs contain `name` and
    `name_accuracy`. A calibrated model has an accuracy of at least `threshold` on them.

    Args:
        threshold: Confidence of the top label that a prediction must exceed, in (0, 1).
        from_logits: Whether predictions are logits (True) or probabilities.
        ignore_class: None, or the class id of predictions to leave out.
        name: Name in the logs.
        dtype: Dtype of the results, float32 by default.
        axis: The class axis of the predictions.
        skip_invalid: Whether to leave out invalid entries and count them in `invalid_count`. By
            default an invalid entry makes the result NaN, and eager calls raise an error.

    Raises:
        ValueError: If `threshold` is not in (0, 1).

    Example:
        >>> import keras_focal
        >>> metric = keras_focal.metrics.ConfidentCoverage(threshold=0.8)
        >>> metric.update_state([0, 1, 1], [[0.9, 0.1], [0.9, 0.1], [0.7, 0.3]])
        >>> {name: round(float(value), 4) for name, value in metric.result().items()}
        {'confident': 0.6667, 'confident_accuracy': 0.5}

    Source:
        Mukhoti et al., 2020, appendix, Table 13.
    """

    # Coverage is neither better high nor better low.
    _directions: Mapping[str, str] = {"accuracy": "up"}

    def __init__(
        self,
        threshold: float = 0.99,
        from_logits: bool = False,
        ignore_class: int | None = None,
        name: str = "confident",
        dtype: DType | None = None,
        *,
        axis: int = -1,
        skip_invalid: bool = False,
    ):
        check_open_interval("threshold", threshold, 0.0, 1.0, "it is a confidence")
        super().__init__(3, from_logits, ignore_class, name, dtype, axis, skip_invalid)
        self.threshold = float(threshold)

    def _amounts(self, entries: Entries) -> list[Tensor]:
        top = top_label(entries.ids, entries.predictions, from_logits=self.from_logits)
        dtype = top.confidence.dtype
        is_covered = ops.cast(top.confidence > ops.cast(self.threshold, dtype), dtype)
        ones = ops.ones_like(top.complement) + (top.complement - top.complement)
        return [ones, is_covered, is_covered * (1.0 - top.wrong)]

    def _reading(self, *totals: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        weight, covered, right = totals
        results = {
            self._name: ops.divide_no_nan(covered, weight),
            f"{self._name}_accuracy": ops.divide_no_nan(right, covered),
        }
        return results, weight

    @property
    def _layout(self) -> Any:
        return {"threshold": self.threshold}

    def get_config(self) -> dict[str, Any]:
        return {"threshold": self.threshold, **super().get_config()}


@keras.saving.register_keras_serializable(package="keras_focal")
class ScoresByCorrectness(TotalsMetric):
    """Mean NLL and entropy of correct and of wrong predictions, separately.

    The logs contain `name_nll_right`, `name_nll_wrong`, `name_entropy_right` and
    `name_entropy_wrong`, in nats. While a network becomes over-confident, the entropy of its wrong
    predictions decreases and their NLL increases.

    Args:
        from_logits: Whether predictions are logits (True) or probabilities.
        ignore_class: None, or the class id of predictions to leave out.
        name: Prefix of the names in the logs.
        dtype: Dtype of the results, float32 by default.
        axis: The class axis of the predictions.
        skip_invalid: Whether to leave out invalid entries and count them in `invalid_count`. By
            default an invalid entry makes the result NaN, and eager calls raise an error.

    Example:
        >>> import keras_focal
        >>> metric = keras_focal.metrics.ScoresByCorrectness(name="by")
        >>> metric.update_state([0, 1], [[0.5, 0.5], [0.75, 0.25]])
        >>> {name: round(float(value), 4) for name, value in metric.result().items()}
        {'by_nll_right': 0.6931, 'by_entropy_right': 0.6931, 'by_nll_wrong': 1.3863, \
'by_entropy_wrong': 0.5623}

    Source:
        Mukhoti et al., 2020, Figures 1, 2 and 3.
    """

    # An entropy is neither better high nor better low.
    _directions: Mapping[str, str] = {"nll_right": "down", "nll_wrong": "down"}

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        name: str = "by_correctness",
        dtype: DType | None = None,
        *,
        axis: int = -1,
        skip_invalid: bool = False,
    ):
        super().__init__(6, from_logits, ignore_class, name, dtype, axis, skip_invalid)

    def _amounts(self, entries: Entries) -> list[Tensor]:
        wrong, nll, entropy = functional.prediction_scores(
            entries.labels, entries.predictions, from_logits=self.from_logits
        )
        right = 1.0 - wrong
        return [right, right * nll, right * entropy, wrong, wrong * nll, wrong * entropy]

    def _reading(self, *totals: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        results = {}
        for group, (weight, nll, entropy) in (("right", totals[:3]), ("wrong", totals[3:])):
            results[f"{self._name}_nll_{group}"] = ops.divide_no_nan(nll, weight)
            results[f"{self._name}_entropy_{group}"] = ops.divide_no_nan(entropy, weight)
        return results, totals[0] + totals[3]
