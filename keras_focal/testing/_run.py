"""Run the checks of a kind of object, and say which ones failed."""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import keras
import numpy as np

from keras_focal._validation.choices import check_choice, check_choices
from keras_focal.testing import _checks
from keras_focal.testing._subjects import LossSubject, MapSubject, MetricSubject, Subject

Checks = Mapping[str, Callable[[Any], None]]


def _by_name(*checks: Callable[[Any], None]) -> Checks:
    return MappingProxyType({check.__name__: check for check in checks})


_OF_ALL = (
    _checks.config_holds_every_argument,
    _checks.config_is_json,
    _checks.config_gives_an_equal_object,
    _checks.is_registered_with_keras,
    _checks.copies_are_equal,
    _checks.saved_model_evaluates_the_same,
    _checks.compiled_equals_eager,
)
_OF_LABELLED = (
    _checks.invalid_predictions_are_never_silent,
    _checks.invalid_labels_are_never_silent,
    _checks.weight_0_leaves_an_entry_out,
    _checks.float64_agrees,
    _checks.order_of_rows_does_not_matter,
)
LOSS_CHECKS: Checks = _by_name(
    *_OF_ALL,
    *_OF_LABELLED,
    _checks.loss_of_a_half_dtype_is_the_float32_one_rounded,
    _checks.half_predictions_give_the_loss_of_their_values,
    _checks.gradient_is_the_slope,
    _checks.large_logits_give_finite_numbers,
)
METRIC_CHECKS: Checks = _by_name(
    *_OF_ALL,
    *_OF_LABELLED,
    _checks.metric_of_a_half_dtype_computes_in_float32,
    _checks.batches_add_up,
    _checks.merged_metrics_add_up,
    _checks.integer_weight_is_a_repetition,
    _checks.reset_metric_is_like_new,
)
MAP_CHECKS: Checks = _by_name(
    *_OF_ALL,
    _checks.rows_are_mapped_by_themselves,
    _checks.large_logits_give_valid_ones,
    _checks.map_of_a_half_dtype_keeps_float32_weights,
)


def check_loss(
    loss: Any,
    y_true: Any,
    y_pred: Any,
    *,
    expected_failures: Mapping[str, str] | None = None,
    only: Iterable[str] | None = None,
) -> None:
    """Check that a loss keeps the promises of the losses of this package.

    They are the checks in `LOSS_CHECKS`: its config holds every argument and rebuilds it; it is
    registered with Keras, copied, pickled, and saved with a model; compiled by XLA it gives the
    eager value; invalid labels and predictions are never silent, and weight 0 leaves them out;
    half precision and float64; its gradient is the slope of its value; the order of rows.

    Args:
        loss: A `keras.losses.Loss`. Give it arguments that are not the defaults, so that one which
            its config forgets is found.
        y_true: Valid labels, shape (N, ...).
        y_pred: Predictions as the loss takes them, shape (N, ..., K), of at least 2 rows. Those of
            a loss of probabilities should lie well inside (0, 1).
        expected_failures: Names of checks that are known to fail, each with the reason. A check
            among them that passes is a failure too, so that the list stays true.
        only: Names of the checks to run; all by default.

    Raises:
        AssertionError: If checks fail. The message has all of them.
        TypeError: If `loss` is no Keras loss.
        ValueError: If `expected_failures` or `only` has a name that is no check, or the
            sample has less than two rows, or unlike numbers of labels and predictions.

    Example:

    >>> import keras
    >>> from keras_focal import losses
    >>> @keras.saving.register_keras_serializable("my_package")
    ... class HalvedBrier(losses.BrierLoss):
    ...     def values(self, labels, logits):
    ...         return 0.5 * super().values(labels, logits)
    >>> check_loss(
    ...     HalvedBrier(from_logits=True), [0, 1, 1], [[2.0, -1.0], [0.0, 3.0], [-1.5, 0.25]]
    ... )
    """
    _check_type("loss", loss, keras.losses.Loss)
    _run(LOSS_CHECKS, LossSubject(loss, *_labelled(y_true, y_pred)), expected_failures, only)


def check_metric(
    metric: Any,
    y_true: Any,
    y_pred: Any,
    *,
    expected_failures: Mapping[str, str] | None = None,
    only: Iterable[str] | None = None,
) -> None:
    """Check that a metric keeps the promises of the metrics of this package.

    They are the checks in `METRIC_CHECKS`: those of config, copies, saved models, XLA, invalid
    input and dtypes that losses have; batches and merged metrics add up; an integer weight is a
    repetition; a metric that was reset is like a new one.

    Args:
        metric: A `keras.metrics.Metric` of labels and predictions. Its state is left alone.
        y_true: Valid labels, shape (N, ...).
        y_pred: Predictions as the metric takes them, shape (N, ..., K), of at least 2 rows.
        expected_failures: Names of checks that are known to fail, each with the reason. A check
            among them that passes is a failure too.
        only: Names of the checks to run; all by default.

    Raises:
        AssertionError: If checks fail. The message has all of them.
        TypeError: If `metric` is no Keras metric.
        ValueError: If `expected_failures` or `only` has a name that is no check, or the
            sample has less than two rows, or unlike numbers of labels and predictions.

    Example:

    >>> from keras_focal import metrics
    >>> check_metric(metrics.BrierScore(), [0, 1, 1], [[0.75, 0.25], [0.5, 0.5], [0.125, 0.875]])
    """
    _check_type("metric", metric, keras.metrics.Metric)
    _run(METRIC_CHECKS, MetricSubject(metric, *_labelled(y_true, y_pred)), expected_failures, only)


def check_map(
    layer: Any,
    y_pred: Any,
    *,
    expected_failures: Mapping[str, str] | None = None,
    only: Iterable[str] | None = None,
) -> None:
    """Check that a calibration map keeps the promises of the maps of this package.

    They are the checks in `MAP_CHECKS`: those of config, copies, saved models and XLA that losses
    have; rows are mapped by themselves; large logits give valid ones; weights stay float32.

    Args:
        layer: A `keras.layers.Layer` from predictions to predictions. It is built, if it was not.
        y_pred: Logits or probabilities as the layer takes them, shape (N, ..., K), of at least 2
            rows.
        expected_failures: Names of checks that are known to fail, each with the reason. A check
            among them that passes is a failure too.
        only: Names of the checks to run; all by default.

    Raises:
        AssertionError: If checks fail. The message has all of them.
        TypeError: If `layer` is no Keras layer.
        ValueError: If `expected_failures` or `only` has a name that is no check, or there
            are less than two rows.

    Example:

    >>> from keras_focal import layers
    >>> check_map(layers.VectorScaling([0.5, 2.0], [0.25, -1.0]), [[2.0, -1.0], [0.0, 3.0]])
    """
    _check_type("layer", layer, keras.layers.Layer)
    _run(MAP_CHECKS, MapSubject(layer, None, _predictions(y_pred)), expected_failures, only)


def _run(
    checks: Checks,
    subject: Subject,
    expected: Mapping[str, str] | None,
    only: Iterable[str] | None,
) -> None:
    expected = expected or {}
    for name in expected:
        check_choice("expected_failures", name, tuple(checks))
    if only is not None:
        chosen = check_choices("only", only, tuple(checks))
        checks = {name: checks[name] for name in chosen}
        expected = {name: reason for name, reason in expected.items() if name in chosen}
    failures: dict[str, Exception] = {}
    for name, check in checks.items():
        try:
            check(subject)
        except Exception as error:  # Whatever a class of the user raises is its failure.
            failures[name] = error
    lines = [
        f"- {name}: {type(error).__name__}: {' '.join(str(error).split())}"
        for name, error in failures.items()
        if name not in expected
    ]
    lines += [
        f"- {name}: it passes, though expected_failures says it fails: {reason}"
        for name, reason in expected.items()
        if name not in failures
    ]
    if lines:
        title = f"{subject.obj!r} fails {len(lines)} of {len(checks)} checks:"
        first = next((error for name, error in failures.items() if name not in expected), None)
        raise AssertionError("\n".join([title, *lines])) from first


def _labelled(y_true: Any, y_pred: Any) -> tuple[np.ndarray, np.ndarray]:
    labels, predictions = np.asarray(y_true), _predictions(y_pred)
    if labels.ndim == 0 or len(labels) != len(predictions):
        raise ValueError(
            "`y_true` and `y_pred` must have one label for each row of predictions. Received: "
            f"shapes {labels.shape} and {predictions.shape}."
        )
    return labels, predictions


def _predictions(y_pred: Any) -> np.ndarray:
    predictions = np.asarray(y_pred, "float32")
    if predictions.ndim < 2 or len(predictions) < 2:
        raise ValueError(
            "`y_pred` must be a sample of shape (N, ..., K) with N of 2 or more. Received: "
            f"shape {predictions.shape}."
        )
    return predictions


def _check_type(name: str, obj: Any, kind: type) -> None:
    if not isinstance(obj, kind):
        raise TypeError(
            f"`{name}` must be an instance of {kind.__module__}.{kind.__qualname__}, not a class. "
            f"Received: {obj!r}."
        )
