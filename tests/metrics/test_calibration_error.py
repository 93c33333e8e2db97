"""ECE, MCE and AdaECE as metrics: against the oracle, inside training, on published logits.

The arrays of the oracle have one shape, (512, 4): JAX compiles every operation again for a new one.
"""

import keras
import numpy as np
import pytest
import reference
from backends import BACKEND, FEW_STEPS_EAGERLY, to_numpy
from keras import ops
from predictions import CASES, PUBLISHED, SIZE, example, published_test_set

from keras_focal import functional, metrics

EQUAL_WIDTH = pytest.mark.parametrize(
    ("build", "oracle"),
    [(metrics.ECE, reference.ece), (metrics.MCE, reference.mce)],
    ids=["ece", "mce"],
)
EVERY_METRIC = pytest.mark.parametrize(
    "build", [metrics.ECE, metrics.MCE, metrics.AdaECE], ids=["ece", "mce", "ada_ece"]
)


def value(metric, labels, predictions, weights=None):
    metric.update_state(labels, predictions, weights)
    return float(metric.result())


# Against the oracle


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("case", CASES)
@EQUAL_WIDTH
def test_equal_width_error_equals_the_oracle(build, oracle, case, from_logits):
    labels, logits, probabilities = example(case)
    rows = reference.softmax64(logits) if from_logits else probabilities
    got = value(build(from_logits=from_logits), labels, logits if from_logits else probabilities)
    np.testing.assert_allclose(got, oracle(*reference.top_label(labels, rows)), atol=1e-6)


@pytest.mark.parametrize("num_bins", [1, 10])
@EQUAL_WIDTH
def test_number_of_bins_is_used(build, oracle, num_bins):
    labels, _, probabilities = example("random")
    expected = oracle(*reference.top_label(labels, probabilities), num_bins)
    got = value(build(num_bins=num_bins), labels, probabilities)
    np.testing.assert_allclose(got, expected, atol=1e-6)


def largest_error_of_cells(case, from_logits, num_bins):
    """What a cell divided in proportion can move: at each edge at most its weight, twice."""
    labels, logits, probabilities = example(case)
    metric = metrics.AdaECE(num_bins=num_bins, from_logits=from_logits)
    metric.update_state(labels, logits if from_logits else probabilities)
    count = to_numpy(metric.cells().count)
    ends = np.cumsum(count)
    edges = np.arange(1, num_bins) * SIZE / num_bins
    return float(metric.result()), 2 * count[np.searchsorted(ends, edges)].sum() / SIZE


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("num_bins", [2, 15])
@pytest.mark.parametrize("case", ["random", "saturated", "flat"])
def test_adaptive_error_is_within_the_bound_of_its_cells(case, num_bins, from_logits):
    labels, logits, probabilities = example(case)
    rows = reference.softmax64(logits) if from_logits else probabilities
    expected = reference.adaptive_ece(*reference.top_label(labels, rows), num_bins)
    got, bound = largest_error_of_cells(case, from_logits, num_bins)
    assert abs(got - expected) <= bound + 1e-6


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("num_bins", [2, 15])
def test_adaptive_error_equals_the_oracle_where_confidences_have_cells_of_their_own(
    num_bins, from_logits
):
    labels, logits, probabilities = example("ties")
    confidence, correct = reference.top_label(labels, probabilities)
    got = value(
        metrics.AdaECE(num_bins=num_bins, from_logits=from_logits),
        labels,
        logits if from_logits else probabilities,
    )
    expected = reference.adaptive_ece(confidence, correct, num_bins)
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_adaptive_error_of_many_predictions_is_accurate_to_a_hundredth_of_a_point(rng):
    # Over- and under-confidence alternate in stripes of the logit, so that errors do not cancel.
    size = 100_000
    logit = rng.normal(3.0, 3.0, size).astype("float32")
    confidence = 1 / (1 + np.exp(-np.abs(logit.astype("float64"))))
    shift = 0.05 * np.sign(np.sin(4 * np.pi * np.abs(logit)))
    right = rng.random(size) < np.clip(confidence + shift, 0, 1)
    # Bins of equal weight again: differences of the running gap at equal steps.
    order = np.argsort(confidence)
    running = np.concatenate([[0.0], np.cumsum((confidence - right)[order])])
    at_edges = np.interp(np.linspace(0, size, 16), np.arange(size + 1), running)
    expected = np.abs(np.diff(at_edges)).sum() / size
    labels = np.where(right, logit > 0, logit <= 0).astype("int32")
    got = value(metrics.AdaECE(from_logits=True), labels, logit[:, None])
    np.testing.assert_allclose(got, expected, atol=1e-4)


@EQUAL_WIDTH
def test_fractional_weights_equal_the_oracle(build, oracle, rng):
    labels, _, probabilities = example("random")
    weights = rng.uniform(0, 3, SIZE).astype("float32") * (rng.random(SIZE) < 0.8)
    confidence, correct = reference.top_label(labels, probabilities)
    if build is metrics.ECE:
        expected = oracle(confidence, correct, weights=weights)
    else:
        bins = reference.equal_width_gaps(confidence, correct, 15, weights)
        expected = max(abs(gap) for weight, gap in bins if weight)
    np.testing.assert_allclose(value(build(), labels, probabilities, weights), expected, atol=1e-6)


def test_fractional_weights_of_adaptive_error_equal_the_oracle(rng):
    labels, _, probabilities = example("ties")
    weights = rng.uniform(0, 3, SIZE).astype("float32")
    expected = reference.adaptive_ece(*reference.top_label(labels, probabilities), weights=weights)
    got = value(metrics.AdaECE(), labels, probabilities, weights)
    np.testing.assert_allclose(got, expected, atol=1e-6)


@EVERY_METRIC
def test_integer_weights_equal_repetition(build, rng):
    labels, _, probabilities = example("random")
    times = rng.integers(0, 3, SIZE)
    repeated = value(build(), labels.repeat(times), probabilities.repeat(times, axis=0))
    np.testing.assert_allclose(value(build(), labels, probabilities, times), repeated, atol=1e-6)


@EVERY_METRIC
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("case", ["random", "ties"])
def test_row_order_never_matters(build, case, from_logits, rng):
    labels, logits, probabilities = example(case)
    rows = logits if from_logits else probabilities
    expected = value(build(from_logits=from_logits), labels, rows)
    for order in (
        np.argsort(rows.max(-1)),
        np.lexsort((labels, rows.max(-1))),
        rng.permutation(SIZE),
    ):
        got = value(build(from_logits=from_logits), labels[order], rows[order])
        np.testing.assert_allclose(got, expected, atol=1e-6)


def test_tied_predictions_on_the_edge_of_a_cell_share_it(rng):
    # Odds of 4 and 1 lie on an edge exactly; vectorised and remaining rows must round alike.
    row = np.array([[0.8, 0.2], [0.5, 0.5], [np.log(4.0), 0.0]], "float32")
    for probabilities, from_logits in ((row[0], False), (row[1], False), (row[2], True)):
        metric = metrics.AdaECE(from_logits=from_logits)
        metric.update_state(np.zeros(37, "int32"), np.tile(probabilities, (37, 1)))
        assert sorted(to_numpy(metric.cells().count))[-1] == 37


# What is in a bin


def test_confidence_one_falls_in_the_last_bin():
    metric = metrics.ECE()
    metric.update_state([0], [[1.0, 0.0]])
    assert to_numpy(metric.bins().count).argmax() == 14


def test_confidence_on_an_edge_falls_in_the_bin_below():
    metric = metrics.ECE(num_bins=10)
    metric.update_state([0], [[0.6, 0.4]])
    assert to_numpy(metric.bins().count).argmax() == 5


def test_tie_of_top_class_goes_to_the_lowest_index():
    metric = metrics.ECE()
    metric.update_state([1], [[0.5, 0.5]])
    assert to_numpy(metric.bins().wrong).sum() == 1


def test_maximum_error_leaves_out_empty_bins():
    labels, rows = [0, 0, 0, 1], [[0.7, 0.3]] * 4
    np.testing.assert_allclose(value(metrics.MCE(), labels, rows), 0.05, atol=1e-6)


def test_maximum_error_is_the_largest_not_the_mean_gap():
    labels, rows = [0, 1, 1, 1], [[1.0, 0.0], [1.0, 0.0], [0.4, 0.6], [0.4, 0.6]]
    np.testing.assert_allclose(value(metrics.MCE(), labels, rows), 0.5, atol=1e-6)


# Forms of labels and predictions


@EVERY_METRIC
@pytest.mark.parametrize("form", ["column", "one_hot", "float_ids", "uint8"])
def test_every_form_of_label_gives_the_same(build, form):
    ids, _, probabilities = example("random")
    labels = {
        "column": ids[:, None],
        "one_hot": np.eye(4, dtype="float32")[ids],
        "float_ids": ids.astype("float32"),
        "uint8": ids.astype("uint8"),
    }[form]
    assert value(build(), labels, probabilities) == value(build(), ids, probabilities)


@EVERY_METRIC
@pytest.mark.parametrize("column_of_labels", [False, True])
@pytest.mark.parametrize("from_logits", [False, True])
def test_binary_output_of_one_column_equals_two_columns(build, from_logits, column_of_labels, rng):
    logit = rng.normal(0, 3, (SIZE, 1)).astype("float32")
    labels = (rng.random((SIZE, 1)) < 0.4).astype("int32")
    one, two = logit, np.concatenate([np.zeros_like(logit), logit], -1)
    if not from_logits:
        one = 1 / (1 + np.exp(-logit))
        two = np.concatenate([1 - one, one], -1)
    metric = build(from_logits=from_logits)
    got = value(metric, labels if column_of_labels else labels[:, 0], one)
    expected = value(build(from_logits=from_logits), labels[:, 0], two)
    np.testing.assert_allclose(got, expected, atol=1e-7)


def test_binary_error_equals_the_oracle(rng):
    p = rng.random((SIZE, 1)).astype("float32")
    labels = rng.integers(0, 2, SIZE)
    expected = reference.ece(*reference.top_label(labels, np.concatenate([1 - p, p], -1)))
    np.testing.assert_allclose(value(metrics.ECE(), labels, p), expected, atol=1e-6)


@EVERY_METRIC
@pytest.mark.parametrize("labels_shape", [(16, 32), (16, 32, 1), (16, 32, 4)])
def test_leading_axes_are_samples(build, labels_shape):
    ids, _, probabilities = example("random")
    labels = np.eye(4)[ids] if labels_shape[-1] == 4 else ids
    got = value(build(), labels.reshape(labels_shape), probabilities.reshape(16, 32, 4))
    np.testing.assert_allclose(got, value(build(), ids, probabilities), atol=1e-6)


@EVERY_METRIC
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_predictions_are_computed_in_float32(build, dtype):
    labels, logits, _ = example("random")
    half = ops.cast(logits, dtype)
    got = value(build(from_logits=True), labels, half)
    assert got == value(build(from_logits=True), labels, ops.cast(half, "float32"))


# On the published logits


def stream(metric, real_data, name):
    """Update with the 10,000 published test logits in batches of 1000; return the error in %."""
    labels, logits = published_test_set(real_data, name)
    for start in range(0, len(labels), 1000):
        metric.update_state(labels[start : start + 1000], logits[start : start + 1000])
    return 100 * float(metric.result())


@pytest.mark.parametrize(("name", "ece", "ada_ece"), PUBLISHED)
def test_streamed_ece_meets_the_published_figure_to_the_last_digit(real_data, name, ece, ada_ece):
    assert round(stream(metrics.ECE(from_logits=True), real_data, name), 2) == ece


@pytest.mark.parametrize(("name", "ece", "ada_ece"), PUBLISHED)
def test_streamed_ada_ece_is_within_a_hundredth_of_a_point(real_data, name, ece, ada_ece):
    assert abs(stream(metrics.AdaECE(from_logits=True), real_data, name) - ada_ece) <= 0.01


# Inside training


def model_and_data(rng, output_dtype=None, size=64):
    x = rng.normal(size=(size, 5)).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(4, kernel_initializer="he_normal", dtype=output_dtype),
        ]
    )
    return model, x, rng.integers(0, 4, size)


def compile_with_metrics(model, learning_rate=0.1, **kwargs):
    model.compile(
        optimizer=keras.optimizers.SGD(learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[
            metrics.ECE(from_logits=True),
            metrics.AdaECE(from_logits=True),
            metrics.MCE(from_logits=True),
        ],
        **kwargs,
    )


MODES = [
    pytest.param({}, id="default"),
    pytest.param({"run_eagerly": True}, id="eager"),
    pytest.param({"jit_compile": True}, id="jit", marks=pytest.mark.nightly),
    pytest.param({"steps_per_execution": 2}, id="several_steps", marks=pytest.mark.nightly),
]


@pytest.mark.parametrize("mode", MODES)
def test_logs_of_a_compiled_model_hold_the_errors_of_its_predictions(mode, rng):
    if BACKEND == "torch" and mode.keys() & {"jit_compile", "steps_per_execution"}:
        pytest.skip("Keras runs torch steps one by one; torch.compile needs a C++ compiler")
    if BACKEND == "jax" and "jit_compile" in mode:
        pytest.skip("the default on JAX is jit")
    model, x, y = model_and_data(rng)
    compile_with_metrics(model, **mode)
    history = model.fit(
        x, y, batch_size=16, epochs=2, validation_data=(x, y), validation_batch_size=16, verbose=0
    ).history
    for name in ("ece", "ada_ece", "mce"):
        assert len(history[name]) == 2
    logits = model.predict(x, verbose=0)
    top = reference.top_label(y, reference.softmax64(logits))
    alone = functional.adaptive_expected_calibration_error
    expected = {"val_ece": reference.ece(*top), "val_mce": reference.mce(*top)}
    for name, error in expected.items():
        np.testing.assert_allclose(history[name][-1], error, atol=1e-5)
    adaptive = float(alone(y, logits, from_logits=True))
    # A cell of the metric holds a sample or two of 64.
    np.testing.assert_allclose(history["val_ada_ece"][-1], adaptive, atol=0.02)


def test_errors_of_bfloat16_predictions_inside_a_compiled_step(rng):
    model, x, y = model_and_data(rng, output_dtype="mixed_bfloat16")
    compile_with_metrics(model)
    logs = model.evaluate(x, y, batch_size=64, verbose=0, return_dict=True)
    logits = model(x)
    assert keras.backend.standardize_dtype(logits.dtype) == "bfloat16"
    top = reference.top_label(y, reference.softmax64(to_numpy(logits)))
    np.testing.assert_allclose(logs["ece"], reference.ece(*top), atol=1e-6)
    np.testing.assert_allclose(logs["mce"], reference.mce(*top), atol=1e-6)


@pytest.fixture(scope="module")
def unchanging():
    """A fit that learns nothing, with ragged batches and validation data, until one callback stops
    it; its history, its data in two parts, its callbacks and its last learning rate."""
    rng = np.random.default_rng(0)
    model, x, y = model_and_data(rng, size=120)
    compile_with_metrics(model, learning_rate=1e-30, run_eagerly=FEW_STEPS_EAGERLY)
    watched = [
        ("val_ece", "min"),
        ("val_ece", "auto"),
        ("val_ada_ece", "auto"),
        ("val_mce", "auto"),
    ]
    stoppings = [
        keras.callbacks.EarlyStopping(monitor=name, mode=mode, patience=2) for name, mode in watched
    ]
    slowers = [
        keras.callbacks.ReduceLROnPlateau(monitor="val_ece", mode=mode, factor=0.5, patience=2)
        for mode in ("min", "auto")
    ]
    history = model.fit(
        x[:70],
        y[:70],
        batch_size=32,
        epochs=5,
        validation_data=(x[70:], y[70:]),
        callbacks=[*slowers, *stoppings],
        verbose=0,
    ).history
    logits = model.predict(x, verbose=0)
    parts = {"": (y[:70], logits[:70]), "val_": (y[70:], logits[70:])}
    return history, parts, stoppings, float(model.optimizer.learning_rate)


@pytest.mark.nightly
def test_early_stopping_takes_a_lower_error_for_better(unchanging):
    """With mode="min", and with mode="auto", which asks the metric."""
    for stopping in unchanging[2]:
        assert stopping.stopped_epoch == 2
        assert bool(stopping.monitor_op(0.1, 0.2))
        assert not bool(stopping.monitor_op(0.2, 0.1))


def test_learning_rate_falls_where_the_error_does_not(unchanging):
    # Two callbacks, of mode "min" and "auto", halve it once each.
    assert unchanging[3] == pytest.approx(0.25e-30)


@pytest.mark.parametrize("part", ["", "val_"], ids=["training", "validation"])
def test_every_epoch_reads_its_own_data_once(unchanging, part):
    history, parts, *_ = unchanging
    labels, logits = parts[part]
    top = reference.top_label(labels, reference.softmax64(logits))
    for name, oracle in (("ece", reference.ece), ("mce", reference.mce)):
        np.testing.assert_allclose(history[part + name], [oracle(*top)] * 3, atol=1e-6)
    adaptive = value(metrics.AdaECE(from_logits=True), labels, logits)
    np.testing.assert_allclose(history[f"{part}ada_ece"], [adaptive] * 3, atol=1e-6)


# Names and configuration


@pytest.mark.parametrize(
    ("short", "long", "name"),
    [
        (metrics.ECE, metrics.ExpectedCalibrationError, "ece"),
        (metrics.MCE, metrics.MaximumCalibrationError, "mce"),
        (metrics.AdaECE, metrics.AdaptiveExpectedCalibrationError, "ada_ece"),
    ],
)
def test_short_name_is_the_class_itself(short, long, name):
    assert short is long
    assert long().name == name
    assert long().num_bins == 15
    assert long().from_logits is False


@EVERY_METRIC
def test_config_round_trip_keeps_every_argument(build):
    metric = build(num_bins=7, from_logits=True, name="mine", dtype="float32")
    copy = type(metric).from_config(metric.get_config())
    assert copy.get_config() == metric.get_config()
    assert (copy.num_bins, copy.from_logits, copy.name) == (7, True, "mine")
