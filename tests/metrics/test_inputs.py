"""What every metric takes and refuses: probabilities, shapes, weights; and what all share."""

import keras
import numpy as np
import pytest
import reference
from backends import BACKEND, to_numpy
from keras import ops
from metric_inputs import (
    BUILDERS,
    GOOD,
    LABELS,
    every_labelled,
    every_metric,
    in_graph,
    numbers,
    with_row,
)

from keras_focal import functional, metrics, plotting
from keras_focal.functional._inputs.probabilities import check_distributions


def test_table_of_builders_holds_every_metric():
    public = {getattr(metrics, name) for name in metrics.__all__}
    bases = {
        metrics.BinnedMetric,
        metrics.CellMetric,
        metrics.PredictionMetric,
        metrics.TotalsMetric,
    }
    # These take a score for each box: test_detection.py.
    of_boxes = {metrics.DetectionCalibrationError, metrics.LocalizationAwareCalibrationError}
    assert {type(build()) for build in BUILDERS.values()} == public - bases - of_boxes


# Predictions that are no probabilities


@every_labelled
@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([-1.5, 2.5], r"in \[0, 1\]. Received: entries from -1.5 to 2.5 with sum 1 in row \[1\]"),
        ([0.5, 0.75], r"sum to 1. Received: entries from 0.5 to 0.75 with sum 1.25 in row \[1\]"),
    ],
    ids=["range", "sum"],
)
def test_rows_that_are_no_distribution_raise_and_add_nothing(build, row, message):
    metric = build()
    with pytest.raises(ValueError, match="`y_pred` must hold probabilities") as caught:
        metric.update_state(LABELS, with_row(row))
    assert caught.match(message)
    assert caught.match("from_logits=True, or end the model in a softmax layer")
    assert not any(ops.convert_to_numpy(variable).any() for variable in metric.variables)


@pytest.mark.parametrize("row", [[0.5, 0.25], [1.5]], ids=["classes", "column"])
def test_batch_of_nothing_but_wrong_rows_raises(row):
    with pytest.raises(ValueError, match=r"must hold probabilities.*in row \[0\]"):
        metrics.ECE().update_state([0, 0], [row, row])


@pytest.mark.parametrize("value", [-0.5, 1.5])
def test_column_outside_zero_to_one_raises(value):
    with pytest.raises(ValueError, match=r"Received: -?\d.5 in row \[2\].*a sigmoid layer"):
        metrics.ECE().update_state([0, 1, 1], [[0.0], [1.0], [value]])


@every_labelled
def test_rows_that_do_not_count_may_hold_anything(build):
    rows = with_row([7.0, -3.0])
    weighed, ignored, alone = build(), build(ignore_class=5), build()
    weighed.update_state(LABELS, rows, [1.0, 0.0, 1.0])
    ignored.update_state([1, 5, 0], rows)
    alone.update_state(LABELS, np.array(GOOD, "float32"), [1.0, 0.0, 1.0])
    assert numbers(weighed) == pytest.approx(numbers(alone))
    assert numbers(ignored) == pytest.approx(numbers(alone))


@pytest.mark.skipif(BACKEND == "jax", reason="JAX arrays carry no mask outside a model")
def test_masked_rows_may_hold_anything():
    rows = ops.convert_to_tensor(with_row([7.0, -3.0])[None])
    rows._keras_mask = ops.convert_to_tensor([[True, False, True]])
    metric = metrics.ECE()
    metric.update_state([LABELS], rows)
    assert to_numpy(metric.bins().count).sum() == 2


@every_metric
@pytest.mark.parametrize("row", [[np.nan, 5.0], [np.inf, 0.0], [np.inf, -np.inf]], ids=str)
def test_rows_that_are_not_finite_make_nan_and_do_not_raise(build, row):
    metric = build()
    metric.update_state(LABELS, with_row(row))
    assert metric.invalid_count == 1
    assert np.all(np.isnan(numbers(metric)))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("num_classes", [2, 1000])
def test_softmax_of_any_precision_passes_also_when_cast_since(dtype, num_classes, rng):
    logits = rng.normal(0, 3, (64, num_classes)).astype("float32")
    rows = ops.softmax(ops.cast(logits, dtype))
    for given in (rows, ops.cast(rows, "float32")):
        metrics.ECE().update_state(np.zeros(64, "int32"), given)


def test_large_arrays_are_checked_like_small_ones():
    rows = np.full((1100, 1000), 1e-3, "float32")
    metrics.ECE().update_state(np.zeros(1100, "int32"), rows)
    rows[1050] = 2e-3
    with pytest.raises(ValueError, match=r"with sum 2 in row \[1050\]"):
        metrics.ECE().update_state(np.zeros(1100, "int32"), rows)


@pytest.mark.parametrize(
    "error",
    [
        functional.expected_calibration_error,
        functional.maximum_calibration_error,
        functional.adaptive_expected_calibration_error,
        functional.smooth_calibration_error,
        functional.brier_decomposition,
        plotting.reliability_diagram,
        plotting.confidence_histogram,
    ],
)
def test_whole_arrays_are_checked_too(error):
    with pytest.raises(ValueError, match="must hold probabilities, rows that sum to 1"):
        error(LABELS, with_row([0.5, 0.75]))
    with pytest.raises(ValueError, match=r"must hold probabilities, in \[0, 1\]"):
        error(LABELS, with_row([1.5, -0.5]), sample_weight=np.ones(3, "float32"))


def test_nothing_is_checked_inside_a_compiled_step():
    rows = ops.convert_to_tensor(with_row([0.5, 0.75]))
    weights = ops.ones(3)

    def checked(rows):
        check_distributions("y_pred", rows, weights)
        return rows + 0.0

    with pytest.raises(ValueError, match="must hold probabilities"):
        checked(rows)
    np.testing.assert_array_equal(to_numpy(in_graph(checked)(rows)), to_numpy(rows))


@pytest.mark.skipif(BACKEND == "torch", reason="torch compiles nothing here")
def test_nothing_is_checked_where_weights_alone_cannot_be_read():
    rows = ops.convert_to_tensor(with_row([0.5, 0.75]))

    def error(weights):
        return functional.expected_calibration_error(LABELS, rows, sample_weight=weights)

    assert np.isnan(to_numpy(in_graph(error)(ops.ones(3))))


@pytest.mark.parametrize("eagerly", [True, False])
def test_model_that_forgot_its_softmax_is_told_when_it_runs_eagerly(eagerly):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Identity()])
    model.compile("sgd", metrics=[metrics.ECE()], run_eagerly=eagerly, loss="mse")
    arguments = with_row([3.0, -1.0]), np.eye(2)[LABELS]
    if eagerly or BACKEND == "torch":
        with pytest.raises(ValueError, match="pass from_logits=True"):
            model.evaluate(*arguments, verbose=0)
    else:
        model.evaluate(*arguments, verbose=0)


@pytest.mark.parametrize("eagerly", [True, False])
def test_model_with_its_softmax_is_evaluated_at_once(eagerly, rng):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Softmax()])
    model.compile("sgd", metrics=[metrics.ECE()], run_eagerly=eagerly, loss="mse")
    logits = rng.normal(0, 2, (20, 2)).astype("float32")
    labels = rng.integers(0, 2, 20)
    got = model.evaluate(logits, np.eye(2)[labels], verbose=0, return_dict=True)["ece"]
    expected = reference.ece(*reference.top_label(labels, reference.softmax64(logits)))
    assert got == pytest.approx(expected, abs=1e-6)


# Shapes


@every_metric
@pytest.mark.parametrize("shape", [(4,), (3, 3), (3, 2, 1)])
def test_labels_that_do_not_fit_raise_with_both_shapes(build, shape):
    with pytest.raises(ValueError, match="`y_true` must have shape") as caught:
        build().update_state(np.zeros(shape, "int32"), GOOD)
    assert str(shape) in str(caught.value)
    assert "predictions of shape (3, 2)" in str(caught.value)


@every_metric
@pytest.mark.parametrize("shape", [(4,), (2,), (3, 2), (1, 3)])
def test_weights_that_do_not_fit_raise_with_both_shapes(build, shape):
    with pytest.raises(ValueError, match=r"`sample_weight` must have shape \(3,\)") as caught:
        build().update_state(LABELS, GOOD, np.ones(shape, "float32"))
    assert f"predictions of shape (3, 2). Received: shape {shape}" in str(caught.value)


@every_labelled
def test_one_number_for_each_sample_is_the_positive_class(build):
    column, flat, both = build(), build(), build()
    column.update_state([[1], [0], [1]], [[0.9], [0.25], [0.75]], [1.0, 2.0, 0.5])
    flat.update_state([1, 0, 1], [0.9, 0.25, 0.75], [1.0, 2.0, 0.5])
    assert numbers(flat) == numbers(column)
    flat.reset_state()
    flat.update_state([[1], [0], [1]], [0.9, 0.25, 0.75], [1.0, 2.0, 0.5])
    assert numbers(flat) == numbers(column)
    both.update_state([1, 0, 1], [[0.1, 0.9], [0.75, 0.25], [0.25, 0.75]], [1.0, 2.0, 0.5])
    assert numbers(flat) == pytest.approx(numbers(both), rel=1e-5)


def test_diagram_takes_one_number_for_each_sample():
    flat = plotting.reliability_diagram([1, 0, 1], [0.9, 0.25, 0.75])
    column = plotting.reliability_diagram([1, 0, 1], [[0.9], [0.25], [0.75]])
    assert flat.get_title() == column.get_title()


@pytest.mark.parametrize("from_logits", [False, True])
def test_segmentation_is_that_of_all_pixels(from_logits, rng):
    """Images (B, H, W, K) with weights (B, H, W) and a class that marks the border."""
    logits = rng.normal(0, 2, (2, 8, 16, 4)).astype("float32")
    labels = rng.integers(0, 5, (2, 8, 16))
    weights = rng.integers(0, 3, (2, 8, 16)).astype("float32")
    p = reference.softmax64(logits)
    kept = (labels != 4).ravel()
    pixels, classes = p.reshape(-1, 4)[kept], labels.ravel()[kept]
    of_kept = weights.ravel()[kept]
    nll = -np.log(pixels[np.arange(len(pixels)), classes])
    expected = {
        metrics.ECE: reference.ece(*reference.top_label(classes, pixels), weights=of_kept),
        metrics.ClasswiseECE: reference.classwise_ece(classes, pixels, weights=of_kept).mean(),
        metrics.NegativeLogLikelihood: np.average(nll, weights=of_kept),
    }
    for build, value in expected.items():
        metric = build(from_logits=from_logits, ignore_class=4)
        metric.update_state(labels, logits if from_logits else p.astype("float32"), weights)
        assert float(metric.result()) == pytest.approx(value, rel=1e-5)


def test_weight_of_an_image_is_that_of_its_pixels(rng):
    rows = rng.dirichlet(np.ones(3), (2, 4, 4)).astype("float32")
    labels = rng.integers(0, 3, (2, 4, 4))
    image, pixels = metrics.ECE(), metrics.ECE()
    image.update_state(labels, rows, np.array([0.5, 2.0], "float32"))
    pixels.update_state(labels, rows, np.repeat([0.5, 2.0], 16).reshape(2, 4, 4).astype("float32"))
    assert float(image.result()) == float(pixels.result())


# What all share


@every_metric
def test_metric_that_has_seen_nothing_reads_zero(build):
    assert set(numbers(build())) == {0.0}


@every_metric
def test_metrics_of_another_class_or_layout_do_not_merge(build):
    metric = build()
    metric.update_state(LABELS, GOOD)
    before = numbers(metric)
    for other in (*(make() for make in BUILDERS.values()), keras.metrics.Mean()):
        if type(other) is not type(metric):
            with pytest.raises(ValueError, match="must be of the class and layout"):
                metric.merge_state([other])
    assert numbers(metric) == before


@pytest.mark.parametrize(
    ("build", "arguments"),
    [
        (metrics.ECE, {"num_bins": 10}),
        (metrics.AdaECE, {"num_bins": 10}),
        (metrics.BinaryECE, {"class_id": 0}),
        (metrics.BinaryECE, {"num_bins": 10}),
        (metrics.ClasswiseECE, {"num_classes": 3}),
        (metrics.CalibrationMetrics, {"readings": ["ece"]}),
        (metrics.ConfidentCoverage, {"threshold": 0.9}),
    ],
)
def test_metrics_of_other_arguments_do_not_merge(build, arguments):
    with pytest.raises(ValueError, match="must be of the class and layout"):
        build().merge_state([build(**arguments)])
