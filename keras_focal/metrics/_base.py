"""Base class of the metrics: labels and predictions are accumulated in a state of fixed size."""

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

import keras
from keras import ops

from keras_focal._typing import DType, Tensor
from keras_focal._validation.classes import check_class_id
from keras_focal._validation.shapes import check_axis, check_labels_fit, check_weights_fit
from keras_focal.functional._backend.compilation import without_autograph
from keras_focal.functional._backend.precision import compute_dtype
from keras_focal.functional._inputs.class_labels import as_labels
from keras_focal.functional._inputs.entries import Entries, as_predictions, is_counted, read_entries
from keras_focal.functional._inputs.probabilities import nan_unless, warn_if_activated
from keras_focal.functional._inputs.weights import effective_weights
from keras_focal.metrics._direction import Monitored

_LARGEST_COUNT = 2**31 - 1


class PredictionMetric(Monitored, keras.metrics.Metric):
    """Base class of all metrics.

    A subclass implements `_update`, `_merge`, `_numbers` and `_layout`. Two states can be merged if
    their layouts are equal. Invalid entries are only counted.
    """

    def __init__(
        self,
        from_logits: bool,
        ignore_class: int | None,
        name: str,
        dtype: DType | None,
        axis: int,
        skip_invalid: bool,
    ):
        super().__init__(name=name, dtype=compute_dtype(dtype))
        self.from_logits = bool(from_logits)
        self.ignore_class = check_class_id("ignore_class", ignore_class)
        self.axis = int(axis)
        self.skip_invalid = bool(skip_invalid)
        self._invalid = self.add_variable((), "zeros", dtype="int32", name="invalid")

    @without_autograph
    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        """Accumulate predictions.

        An entry is invalid if its label is neither a class id in [0, K) nor a row for one class,
        its weight is negative or not finite, a logit is NaN or +inf, a probability lies outside
        [0, 1], or probabilities do not sum to 1 within 0.01. A logit of -inf is a probability of 0.
        Entries that have weight 0, are masked, are of the ignored class, or have a row of zeros as
        label are left out without a check.

        Args:
            y_true: Class ids, shape (...) or (..., 1), or one-hot or soft rows, shape (..., K).
            y_pred: Probabilities or logits, shape (..., K), with the classes along `axis`; K = 1,
                or shape (B,), is the positive class of two.
            sample_weight: None, or weights >= 0 of shape (B,), (B, 1) or (...). A mask on `y_pred`
                counts as weight 0.

        Raises:
            ValueError: If the shapes do not match. Unless `skip_invalid` is set, also if an entry
                is invalid and can be read: in eager mode and on torch. Inside a compiled step
                (`tf.function`, `jax.jit`, and therefore `fit` on TensorFlow and JAX), and for
                predictions that are not finite, the result is NaN instead.
        """
        if self.from_logits:
            warn_if_activated(y_pred)
        labels, predictions = as_labels(y_true), ops.convert_to_tensor(y_pred)
        if len(predictions.shape) == 1 <= len(labels.shape):
            y_pred = predictions = as_predictions(predictions, labels)
        check_axis(predictions, self.axis)
        axis = self.axis % len(predictions.shape)
        if axis != len(predictions.shape) - 1:
            if labels.shape == predictions.shape:
                labels = ops.moveaxis(labels, axis, -1)
            predictions = ops.moveaxis(predictions, axis, -1)
        check_labels_fit("y_true", labels.shape, predictions.shape)
        if sample_weight is not None:
            sample_weight = ops.convert_to_tensor(sample_weight)
            check_weights_fit("sample_weight", sample_weight.shape, predictions.shape)
        # From `y_pred` itself, since a mask is an attribute of the object.
        weights = effective_weights(y_pred, sample_weight, axis=axis)
        if 0 not in predictions.shape:
            self._update(self._read(labels, predictions, weights))

    def _read(self, labels: Tensor, predictions: Tensor, weights: Tensor) -> Entries:
        return read_entries(
            labels,
            predictions,
            weights,
            from_logits=self.from_logits,
            ignore_class=self.ignore_class,
            names=("y_true", "y_pred"),
            is_checked=not self.skip_invalid,
        )

    def _counted(self, is_valid: Tensor, weights: Tensor) -> Tensor:
        """Count the invalid entries, and return which valid ones have a weight, shape (...)."""
        is_kept, is_invalid = is_counted(is_valid, weights)
        number = ops.sum(ops.cast(is_invalid, "int32"))
        self._invalid.assign(self._invalid + ops.minimum(number, _LARGEST_COUNT - self._invalid))
        return is_kept

    @abstractmethod
    def _update(self, entries: Entries) -> None:
        """Accumulate predictions."""

    @abstractmethod
    def _numbers(self) -> tuple[Any, Tensor]:
        """Return the result for the valid entries, a tensor or a dict, and their total weight."""

    @property
    @abstractmethod
    def _layout(self) -> Any:
        """What two metrics must have in common to be merged."""

    @abstractmethod
    def _merge(self, other: Any) -> None:
        """Add the state of a metric of the same layout."""

    @without_autograph
    def result(self) -> Tensor | dict[str, Tensor]:
        """Return the result: 0.0 before any prediction, NaN if an entry was invalid.

        With `skip_invalid`, it is NaN only if all entries with a weight were invalid.
        """
        return self._unless_invalid(*self._numbers())

    def _unless_invalid(self, value: Any, weight: Tensor) -> Any:
        is_right = ops.equal(ops.convert_to_tensor(self._invalid), 0)
        if self.skip_invalid:
            is_right = ops.logical_or(is_right, weight > 0)
        invalid = nan_unless(is_right, self.dtype)
        return keras.tree.map_structure(lambda x: ops.cast(x, self.dtype) + invalid, value)

    @property
    def invalid_count(self) -> int:
        """Number of invalid entries so far."""
        return int(ops.convert_to_numpy(self._invalid))

    def merge_state(self, metrics: Iterable["PredictionMetric"]) -> None:
        """Add the state of other metrics, as if this one had received their predictions.

        Args:
            metrics: Metrics of the same class and layout.

        Raises:
            ValueError: If a metric has a different class or layout; then nothing is added.
        """
        metrics = list(metrics)
        for other in metrics:
            if type(other) is not type(self) or other._layout != self._layout:
                raise ValueError(
                    "`metrics` must be of the class and layout of the metric they are merged into. "
                    f"Received: {type(other).__name__} with "
                    f"{getattr(other, '_layout', 'no layout')} for {type(self).__name__} with "
                    f"{self._layout}."
                )
        for other in metrics:
            self._merge(other)
            room = _LARGEST_COUNT - self._invalid
            self._invalid.assign(self._invalid + ops.minimum(other._invalid, room))

    def get_config(self) -> dict[str, Any]:
        return {
            "from_logits": self.from_logits,
            "ignore_class": self.ignore_class,
            "axis": self.axis,
            "skip_invalid": self.skip_invalid,
            "name": self._name,
            "dtype": self.dtype,
        }

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"
