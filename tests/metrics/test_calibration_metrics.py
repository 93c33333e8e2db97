"""CalibrationMetrics: the numbers of the metrics of one error each, under names of their own."""

import keras
import numpy as np
import pytest
import reference
from keras import ops

from keras_focal import metrics

ALONE = {
    "ece": metrics.ECE,
    "ada_ece": metrics.AdaECE,
    "mce": metrics.MCE,
    "rmsce": metrics.RMSCE,
}


@pytest.fixture
def data(rng):
    logits = rng.normal(0, 2, (500, 6)).astype("float32")
    return rng.integers(0, 6, 500), logits


def numbers(metric):
    return {name: float(value) for name, value in metric.result().items()}


@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("num_bins", [1, 7, 15])
def test_readings_are_those_of_the_single_metrics(from_logits, num_bins, data, rng):
    labels, logits = data
    predictions = logits if from_logits else reference.softmax64(logits).astype("float32")
    weights = rng.uniform(0, 2, 500).astype("float32")
    together = metrics.CalibrationMetrics(num_bins, from_logits, list(ALONE))
    alone = {name: cls(num_bins, from_logits) for name, cls in ALONE.items()}
    for part in np.array_split(np.arange(500), 3):
        for metric in (together, *alone.values()):
            metric.update_state(labels[part], predictions[part], weights[part])
    got = numbers(together)
    assert list(got) == [f"calibration_{name}" for name in ALONE]
    for name, metric in alone.items():
        assert got[f"calibration_{name}"] == pytest.approx(float(metric.result()), abs=1e-6)


def test_readings_are_the_oracle_s(data):
    labels, logits = data
    metric = metrics.CalibrationMetrics(from_logits=True)
    metric.update_state(labels, logits)
    top = reference.top_label(labels, reference.softmax64(logits))
    got = numbers(metric)
    assert got["calibration_ece"] == pytest.approx(reference.ece(*top), abs=1e-6)
    assert got["calibration_mce"] == pytest.approx(reference.mce(*top), abs=1e-6)
    assert got["calibration_ada_ece"] == pytest.approx(reference.adaptive_ece(*top), abs=2e-3)


def test_only_the_chosen_readings_are_kept(data):
    metric = metrics.CalibrationMetrics(from_logits=True, readings=["mce", "ece"], name="head")
    metric.update_state(*data)
    assert list(numbers(metric)) == ["head_mce", "head_ece"]
    # No cells for bins of equal mass.
    assert sum(int(np.prod(v.shape)) for v in metric.variables) < 200


@pytest.mark.parametrize("readings", [["ada_ece", "ece"], ["ece", "ada_ece"]])
def test_cells_are_the_finest_of_the_state_in_any_order_of_readings(readings, data):
    metric = metrics.CalibrationMetrics(from_logits=True, readings=readings)
    metric.update_state(*data)
    np.testing.assert_array_equal(metric.cells().count, metric.equal_mass_cells().count)


def test_accuracy_and_error_are_the_shares_of_right_and_wrong_predictions(data, rng):
    labels, logits = data
    weights = rng.uniform(0, 2, 500).astype("float32")
    metric = metrics.CalibrationMetrics(from_logits=True, readings=["accuracy", "error"])
    metric.update_state(labels, logits, weights)
    right = np.average(logits.argmax(-1) == labels, weights=weights)
    expected = {"calibration_accuracy": right, "calibration_error": 1 - right}
    assert numbers(metric) == pytest.approx(expected, rel=1e-6)


def brier_parts_again(confidence, right, num_bins, weights):
    """Reliability, resolution and uncertainty, and the Brier score of bin means, in a loop."""
    bins = np.ceil(confidence * num_bins)
    mean = np.average(right, weights=weights)
    parts, brier = np.zeros(2), 0.0
    for i in np.unique(bins):
        inside, weight = bins == i, weights[bins == i].sum()
        if weight:
            forecast = np.average(confidence[inside], weights=weights[inside])
            accuracy = np.average(right[inside], weights=weights[inside])
            parts += weight * np.array([(forecast - accuracy) ** 2, (accuracy - mean) ** 2])
            brier += np.sum(weights[inside] * (forecast - right[inside]) ** 2)
    total = weights.sum()
    return [*parts / total, mean * (1 - mean), brier / total]


PARTS = [f"top_label_brier_{part}" for part in ("reliability", "resolution", "uncertainty")]


@pytest.mark.parametrize("num_bins", [1, 7, 15])
def test_brier_parts_of_the_top_label_are_the_oracle_s(num_bins, data, rng):
    labels, logits = data
    weights = rng.uniform(0, 2, 500) * (rng.random(500) < 0.8)
    metric = metrics.CalibrationMetrics(num_bins, from_logits=True, readings=PARTS)
    for part in np.array_split(np.arange(500), 3):
        metric.update_state(labels[part], logits[part], weights[part].astype("float32"))
    top = reference.top_label(labels, reference.softmax64(logits))
    *parts, brier = brier_parts_again(*top, num_bins, weights)
    got = numbers(metric)
    assert list(got) == [f"calibration_{name}" for name in PARTS]
    reliability, resolution, uncertainty = got.values()
    np.testing.assert_allclose([reliability, resolution, uncertainty], parts, atol=1e-6)
    assert reliability - resolution + uncertainty == pytest.approx(brier, abs=1e-6)


def test_brier_parts_give_the_brier_score_of_one_confidence_per_bin(rng):
    labels, rows = rng.integers(0, 2, 200), np.array([[0.9, 0.1], [0.3, 0.7], [0.55, 0.45]])
    p = rows[rng.integers(0, 3, 200)].astype("float32")
    metric = metrics.CalibrationMetrics(readings=PARTS)
    metric.update_state(labels, p)
    reliability, resolution, uncertainty = numbers(metric).values()
    confidence, right = reference.top_label(labels, p)
    brier = np.mean((confidence - right) ** 2)
    assert reliability - resolution + uncertainty == pytest.approx(brier, abs=1e-6)


def test_unknown_reading_raises_with_all_names():
    with pytest.raises(ValueError, match=r"'ada_ece'.*'accuracy'.*'top_label_brier_uncertainty'"):
        metrics.CalibrationMetrics(readings=["ece", "brier"])


@pytest.mark.parametrize("readings", [[], "ece", ["ece", "ece"], ["nll"], 3, None])
def test_readings_that_are_no_choice_raise(readings):
    with pytest.raises(ValueError, match="`readings` must be a list of one or more of 'ece'"):
        metrics.CalibrationMetrics(readings=readings)


@pytest.mark.parametrize("readings", [["ece", "ada_ece", "mce"], ["accuracy", "error", *PARTS]])
def test_empty_metric_reads_zero(readings):
    assert set(numbers(metrics.CalibrationMetrics(readings=readings)).values()) == {0.0}


def test_prediction_that_is_not_finite_is_counted_once(data):
    labels, logits = data
    logits[:3, 0] = np.nan
    metric = metrics.CalibrationMetrics(from_logits=True)
    metric.update_state(labels, logits)
    assert metric.invalid_count == 3.0


def test_metrics_of_other_readings_but_the_same_bins_merge(data):
    labels, logits = data
    parts = [
        metrics.CalibrationMetrics(from_logits=True, readings=readings)
        for readings in (["ece", "mce"], ["mce"])
    ]
    for metric, part in zip(parts, np.array_split(np.arange(500), 2), strict=True):
        metric.update_state(labels[part], logits[part])
    parts[0].merge_state([parts[1]])
    whole = metrics.CalibrationMetrics(from_logits=True, readings=["ece", "mce"])
    whole.update_state(labels, logits)
    assert numbers(parts[0]) == pytest.approx(numbers(whole), abs=1e-7)
    with pytest.raises(ValueError, match="must be of the class and layout"):
        parts[0].merge_state([metrics.CalibrationMetrics(readings=["ada_ece"])])


def two_heads():
    inputs = keras.Input((4,))
    outputs = {name: keras.layers.Dense(6, name=name)(inputs) for name in ("near", "far")}
    model = keras.Model(inputs, outputs)
    model.compile(
        "sgd",
        {
            name: keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            for name in ("near", "far")
        },
        metrics={
            name: [metrics.CalibrationMetrics(7, True, ["ece", "mce"], name=name)]
            for name in ("near", "far")
        },
    )
    return model


def test_logs_of_two_outputs_hold_all_readings_of_both(rng, few_steps):
    model = two_heads()
    x, y = rng.normal(0, 1, (70, 4)).astype("float32"), rng.integers(0, 6, 70)
    targets = {"near": y, "far": (y + 1) % 6}
    logs = model.fit(x, targets, batch_size=32, validation_data=(x, targets), verbose=0).history
    values = model.evaluate(x, targets, batch_size=32, verbose=0, return_dict=True)
    for name, right in targets.items():
        predictions = ops.convert_to_tensor(model.predict(x, verbose=0)[name])
        expected = metrics.CalibrationMetrics(7, True, ["ece", "mce"], name=name)
        expected.update_state(right, predictions)
        for key, value in numbers(expected).items():
            assert values[key] == pytest.approx(value, abs=1e-6)
            assert logs[f"val_{key}"][0] == pytest.approx(value, abs=1e-6)


def test_early_stopping_watches_one_reading(rng):
    x, y = rng.normal(0, 1, (64, 4)).astype("float32"), rng.integers(0, 6, 64)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(6)])
    model.compile(
        keras.optimizers.SGD(0.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[metrics.CalibrationMetrics(from_logits=True, readings=["mce", "ece"])],
    )
    stop = keras.callbacks.EarlyStopping("val_calibration_ece", mode="min", patience=1)
    logs = model.fit(x, y, epochs=9, validation_data=(x, y), callbacks=[stop], verbose=0)
    assert len(logs.epoch) == 2
