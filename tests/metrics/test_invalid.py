"""Entries that cannot be right: an error where they can be read, NaN where not, or left out."""

import keras
import numpy as np
import pytest
from backends import BACKEND
from keras import ops
from metric_inputs import (
    BUILDERS,
    GOOD,
    LABELLED,
    LABELS,
    every_labelled,
    every_metric,
    in_graph,
    numbers,
    with_row,
)

from keras_focal import functional, metrics

# Labels, probabilities and weights whose entry 1 is invalid, and what the error says.
BAD = {
    "id too large": (
        ([1, 2, 0], GOOD, None),
        r"in \[0, 2\). Received: 2 at \[1\]. If the ids",
    ),
    "id below 0": (([1, -1, 0], GOOD, None), "Received: -1 at .1.. To leave it out, pass"),
    "id beyond int32": (([1, 2**32, 0], GOOD, None), "in .0, 2.. Received: 2.14"),
    "id not whole": (([1, 0.5, 0], GOOD, None), "Received: 0.5 at .1.. Give ids, one-hot rows"),
    "id NaN": (([1, np.nan, 0], GOOD, None), "Received: nan at .1."),
    "two positives": (([[0, 1], [1, 1], [1, 0]], GOOD, None), r"one class.*\[1, 1\] at \[1\]"),
    "negative target": (([[0, 1], [1, -0.5], [1, 0]], GOOD, None), r"\[1, -0.5\] at \[1\]"),
    "negative weight": (
        (LABELS, GOOD, [1.0, -1.0, 1.0]),
        "finite numbers >= 0. Received: -1 at",
    ),
    "NaN weight": (
        (LABELS, GOOD, [1.0, np.nan, 1.0]),
        "`sample_weight`.*Received: nan at .1.",
    ),
    "infinite weight": ((LABELS, GOOD, [1.0, np.inf, 1.0]), "Received: inf at .1."),
    "sum": ((LABELS, with_row([0.5, 0.75]), None), "rows that sum to 1"),
    "outside": ((LABELS, with_row([1.5, -0.5]), None), "probabilities, in .0, 1."),
}
# Every fault of a metric of each kind of state, and one of labels, weights and predictions of all.
FAULTS = [
    pytest.param(build, case, id=f"{name}-{case}")
    for name, build in LABELLED.items()
    for case in BAD
    if name in ("ece", "classwise_ece", "nll") or case in ("id too large", "NaN weight", "sum")
]
every_fault = pytest.mark.parametrize(("build", "case"), FAULTS)


def as_tensors(labels, predictions, weights):
    labels = np.asarray(labels)
    labels = labels.astype("float32" if labels.dtype.kind == "f" else "int64")
    weights = np.ones(3) if weights is None else weights
    return labels, np.asarray(predictions, "float32"), np.asarray(weights, "float32")


def updated(metric, labels, predictions, weights, *, compiled):
    """Return the state and the results after an update outside of any model."""
    if not compiled:
        metric.update_state(labels, predictions, weights)
        return metric.variables, numbers(metric)

    def update(*arrays):
        return metric.stateless_update_state(metric.variables, *arrays)

    state = in_graph(update)(*map(ops.convert_to_tensor, (labels, predictions, weights)))
    return state, [float(x) for x in keras.tree.flatten(metric.stateless_result(state))]


@every_fault
def test_what_cannot_be_right_raises_and_adds_nothing(build, case):
    arrays, message = BAD[case]
    metric = build()
    with pytest.raises(ValueError, match=message):
        metric.update_state(*as_tensors(*arrays))
    assert not any(ops.convert_to_numpy(variable).any() for variable in metric.variables)


@every_labelled
@pytest.mark.parametrize("case", ["id too large", "two positives", "NaN weight", "sum"])
def test_what_cannot_be_read_makes_nan(build, case):
    if BACKEND == "torch":
        pytest.skip("torch runs eagerly")
    metric = build(from_logits=False)
    arrays = as_tensors(*BAD[case][0])
    for result in updated(metric, *arrays, compiled=True)[1]:
        assert np.isnan(result)


def assert_skipped(build, case, *, compiled):
    metric, alone = build(skip_invalid=True), build()
    labels, predictions, weights = as_tensors(*BAD[case][0])
    state, got = updated(metric, labels, predictions, weights, compiled=compiled)
    kept = [0, 2]
    alone.update_state(labels[kept], predictions[kept], weights[kept])
    assert got == pytest.approx(numbers(alone), abs=1e-6)
    assert int(state[0]) == 1


@every_fault
def test_what_is_skipped_is_counted_and_in_nothing_else(build, case):
    assert_skipped(build, case, compiled=False)


@every_labelled
@pytest.mark.parametrize("case", ["id too large", "NaN weight", "sum"])
def test_what_is_skipped_in_a_compiled_step_is_counted_too(build, case):
    if BACKEND == "torch":
        pytest.skip("torch runs eagerly")
    assert_skipped(build, case, compiled=True)


@every_fault
def test_what_does_not_count_may_be_anything(build, case):
    """Weight 0 and the ignored class exempt an entry from every rule."""
    labels, predictions, weights = as_tensors(*BAD[case][0])
    kept = [0, 2]
    alone = build()
    alone.update_state(labels[kept], predictions[kept], weights[kept])
    if "weight" not in case:
        weightless = build()
        weightless.update_state(labels, predictions, [1.0, 0.0, 1.0])
        assert numbers(weightless) == pytest.approx(numbers(alone), abs=1e-6)
    if labels.ndim == 1:
        labels = np.where([False, True, False], 9, labels)
        ignoring = build(ignore_class=9)
        ignoring.update_state(labels, predictions, weights)
        assert numbers(ignoring) == pytest.approx(numbers(alone), abs=1e-6)
        assert ignoring.invalid_count == 0


@every_metric
def test_model_of_nan_is_never_the_best(build):
    metric = build(from_logits=True)
    metric.update_state(LABELS, np.full((3, 2), np.nan, "float32"))
    assert np.all(np.isnan(numbers(metric)))
    assert metric.invalid_count == 3
    metric.reset_state()
    assert set(numbers(metric)) == {0.0}


@every_metric
def test_skipping_all_there_is_gives_nan(build):
    metric = build(skip_invalid=True)
    metric.update_state(LABELS, np.full((3, 2), np.nan, "float32"))
    assert np.all(np.isnan(numbers(metric)))


def test_checkpoint_does_not_keep_a_model_of_nan(tmp_path):
    """The third epoch breaks the weights: the best of val_nll must be one before."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse", metrics=[metrics.NegativeLogLikelihood(from_logits=True)])

    class Break(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                self.model.set_weights([w * np.nan for w in self.model.get_weights()])

    x, y = np.eye(2)[LABELS].astype("float32"), np.eye(2)[LABELS].astype("float32")
    path = str(tmp_path / "best.weights.h5")
    best = keras.callbacks.ModelCheckpoint(
        path, "val_nll", mode="min", save_best_only=True, save_weights_only=True
    )
    history = model.fit(
        x, y, epochs=3, validation_data=(x, y), callbacks=[Break(), best], verbose=0
    ).history
    assert np.isnan(history["val_nll"][2])
    model.load_weights(path)
    assert all(np.all(np.isfinite(weights)) for weights in model.get_weights())


@every_metric
def test_rows_of_zeros_are_unlabelled_and_left_out(build):
    metric, alone = build(), build()
    metric.update_state([[0.0, 1.0], [0.0, 0.0], [1.0, 0.0]], GOOD)
    alone.update_state([1, 0], [GOOD[0], GOOD[2]])
    assert numbers(metric) == pytest.approx(numbers(alone), abs=1e-6)


@every_labelled
def test_ignored_class_of_one_output_is_compared_before_the_threshold(build):
    metric, alone = build(ignore_class=-1), build()
    metric.update_state([1, -1, 0], [[0.75], [0.25], [0.5]])
    alone.update_state([1, 0], [[0.75], [0.5]])
    assert numbers(metric) == pytest.approx(numbers(alone), abs=1e-6)


@pytest.mark.parametrize("label", [2, -1, np.nan])
def test_label_of_one_output_outside_zero_to_one_raises(label):
    with pytest.raises(ValueError, match=r"numbers in \[0, 1\] for one output column"):
        metrics.ECE().update_state([1, label], [[0.75], [0.25]])


@every_labelled
@pytest.mark.parametrize("classes", [2, 3])
def test_impossible_class_is_a_probability_of_zero(build, classes):
    """A logit of -inf is valid: the numbers are those of a very low one."""
    if classes == 3 and build is BUILDERS["classwise_ece"]:
        pytest.skip("built for two classes")
    logits = np.array([[2.0, -np.inf, 0.0], [0.0, 1.0, -np.inf]], "float32")[:, :classes]
    if classes == 2:
        logits[1] = [1.0, 0.0]
    metric, low = build(from_logits=True), build(from_logits=True)
    metric.update_state([0, 0], logits)
    low.update_state([0, 0], np.maximum(logits, -200.0))
    assert numbers(metric) == pytest.approx(numbers(low), rel=1e-6)
    assert metric.invalid_count == 0


@every_metric
def test_batch_of_no_rows_changes_nothing(build):
    metric = build()
    metric.update_state(np.zeros(0, "int32"), np.zeros((0, 2), "float32"))
    assert set(numbers(metric)) == {0.0}
    metric.update_state(LABELS, GOOD)
    before = numbers(metric)
    metric.update_state(np.zeros(0, "int32"), np.zeros((0, 2), "float32"))
    assert numbers(metric) == before


@every_metric
@pytest.mark.parametrize("scale", [1e9, 1e-9])
def test_only_ratios_of_weights_matter(build, scale, rng):
    rows = rng.dirichlet(np.ones(2), 700).astype("float32")
    labels, weights = rng.integers(0, 2, 700), rng.uniform(0.5, 2, 700).astype("float32")
    metric, scaled = build(), build()
    for part in (slice(0, 600), slice(600, 700)):
        metric.update_state(labels[part], rows[part], weights[part])
        scaled.update_state(labels[part], rows[part], weights[part] * np.float32(scale))
    assert numbers(scaled) == pytest.approx(numbers(metric), rel=2e-5)


@every_metric
def test_merging_adds_the_invalid_entries(build):
    metric, other = build(), build()
    other.update_state(LABELS, np.full((3, 2), np.nan, "float32"))
    metric.update_state(LABELS, GOOD)
    metric.merge_state([other, other])
    assert metric.invalid_count == 6
    assert np.all(np.isnan(numbers(metric)))


@every_metric
@pytest.mark.parametrize("form", ["ids", "rows"])
def test_classes_may_lie_along_any_axis(build, form, rng):
    """Images of as many rows and columns as classes: no shape tells the axis."""
    rows = rng.dirichlet(np.ones(2), (3, 2, 2)).astype("float32")
    labels = rng.integers(0, 2, (3, 2, 2))
    weights = rng.uniform(0, 1, (3, 2, 2)).astype("float32")
    given = np.eye(2)[labels] if form == "rows" else labels
    last, first = build(), build(axis=1)
    last.update_state(given, rows, weights)
    moved = np.moveaxis(given, -1, 1) if form == "rows" else given
    first.update_state(moved, np.moveaxis(rows, -1, 1), weights)
    assert numbers(first) == pytest.approx(numbers(last), rel=1e-6)


def test_axis_that_is_none_raises():
    with pytest.raises(ValueError, match="`axis` must name an axis of the predictions"):
        metrics.ECE(axis=3).update_state(LABELS, GOOD)


def test_repr_shows_the_arguments():
    text = repr(metrics.ECE(10, from_logits=True, name="e"))
    assert text.startswith("ExpectedCalibrationError(num_bins=10, from_logits=True")
    assert "name='e'" in text


def test_no_error_is_a_kind_of_another():
    assert not isinstance(metrics.MCE(), metrics.ECE)
    assert not isinstance(metrics.RMSCE(), metrics.ECE)
    assert not isinstance(metrics.BinaryECE(), metrics.ECE)


# Functions of whole arrays

ERRORS = [
    functional.expected_calibration_error,
    functional.maximum_calibration_error,
    functional.adaptive_expected_calibration_error,
    functional.smooth_calibration_error,
    lambda *args, **how: functional.brier_decomposition(*args, **how).calibration,
]
every_error = pytest.mark.parametrize("error", ERRORS)


@every_error
@pytest.mark.parametrize("case", ["id too large", "two positives", "NaN weight", "outside"])
def test_functions_of_arrays_raise_too(error, case):
    labels, predictions, weights = as_tensors(*BAD[case][0])
    with pytest.raises(ValueError, match="must"):
        error(labels, predictions, sample_weight=weights)
    with pytest.raises(ValueError, match="must have shape"):
        error(LABELS, GOOD, sample_weight=np.ones(4, "float32"))


@every_error
def test_functions_of_arrays_that_are_not_finite_give_nan(error):
    rows = with_row([np.nan, 0.5])
    assert np.isnan(float(error(LABELS, rows)))
    weighed = float(error(LABELS, rows, sample_weight=[1.0, 0.0, 1.0]))
    alone = float(error(LABELS, np.array(GOOD, "float32"), sample_weight=[1.0, 0.0, 1.0]))
    assert weighed == pytest.approx(alone, abs=1e-6)


@every_error
def test_vector_of_scores_is_the_positive_class_of_two(error, rng):
    scores, labels = rng.uniform(0, 1, 50).astype("float32"), rng.integers(0, 2, 50)
    column = float(error(labels, scores[:, None]))
    assert float(error(labels, scores)) == pytest.approx(column, abs=1e-7)
    assert float(error(labels[:, None], scores)) == pytest.approx(column, abs=1e-7)


@pytest.mark.parametrize("score", [functional.negative_log_likelihood, functional.brier_score])
def test_scores_of_a_vector_are_those_of_its_column(score):
    p, labels = np.array([0.25, 0.75], "float32"), np.array([1, 0])
    column = ops.convert_to_numpy(score(labels, p[:, None]))
    for given in (labels, labels[:, None]):
        got = ops.convert_to_numpy(score(given, p))
        np.testing.assert_array_equal(got, column)


@pytest.mark.parametrize("classes", [2, 3])
def test_as_many_ids_as_classes_are_ids(classes):
    rows, labels = np.full((classes, classes), 1 / classes, "float32"), np.arange(classes)
    nll = ops.convert_to_numpy(functional.negative_log_likelihood(labels, rows))
    np.testing.assert_allclose(nll, np.full(classes, np.log(classes)), rtol=1e-6)


@pytest.mark.nightly
def test_bins_count_every_one_of_many_predictions():
    """A float32 count of 2**24 + 2**20 ones would stop at 2**24."""
    size = 2**24 + 2**20
    labels = np.zeros(size, "uint8")
    labels[: size // 4] = 1
    scores = np.full((size, 1), 0.35, "float32")  # the positive class: 1 in 4, not 0.35
    bins = functional.bin_statistics(labels, scores, num_bins=1)
    assert float(bins.count[0]) == size
    assert float(bins.wrong[0]) == size // 4
    # Confidence 0.65 of class 0, which is right 3 times in 4.
    assert float(bins.gap[0]) / size == pytest.approx(-0.1, abs=1e-6)


@pytest.mark.nightly
def test_mean_score_of_a_large_batch_keeps_its_digits(rng):
    size = 4_000_000
    p = rng.uniform(0.05, 0.95, size).astype("float32")
    metric = metrics.NegativeLogLikelihood()
    metric.update_state(np.ones(size, "int32"), p[:, None])
    exact = -np.log(p.astype("float64")).mean()
    assert float(metric.result()) == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.6, 0.7, 0.9, 0.99, 0.999])
def test_confidence_equal_to_the_threshold_is_not_covered(threshold):
    at = np.float32(threshold)
    above = np.nextafter(at, np.float32(1))
    classes = int(np.ceil(1 / threshold)) + 1
    rows = np.full((2, classes), 0, "float32")
    rows[:, 0] = [at, above]
    rows[:, 1:] = (1 - rows[:, :1]) / (classes - 1)
    metric = metrics.ConfidentCoverage(threshold)
    metric.update_state([0, 0], rows)
    assert float(metric.result()["confident"]) == 0.5
