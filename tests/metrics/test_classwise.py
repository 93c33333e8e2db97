"""Classwise ECE: every class against the oracle, in any number of batches."""

import keras
import numpy as np
import pytest
import reference
from backends import jit_or_not
from keras import ops

from keras_focal import metrics

SIZE, CLASSES = 400, 6


@pytest.fixture
def data(rng):
    return rng.integers(0, CLASSES, SIZE), rng.normal(0, 2, (SIZE, CLASSES)).astype("float32")


def fed(metric, labels, predictions, weights=None, batches=3):
    for part in np.array_split(np.arange(len(labels)), batches):
        metric.update_state(
            labels[part], predictions[part], None if weights is None else weights[part]
        )
    return metric


@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("num_bins", [1, 15])
def test_errors_are_the_oracle_s_of_each_class(from_logits, num_bins, data):
    labels, logits = data
    p = reference.softmax64(logits)
    predictions = logits if from_logits else p.astype("float32")
    metric = fed(metrics.ClasswiseECE(num_bins, from_logits), labels, predictions)
    expected = reference.classwise_ece(labels, p, num_bins)
    np.testing.assert_allclose(ops.convert_to_numpy(metric.by_class()), expected, atol=1e-6)
    assert float(metric.result()) == pytest.approx(expected.mean(), abs=1e-6)


def test_probabilities_on_an_edge_lie_in_the_bin_below(rng):
    # Tenths, half of which are edges of ten bins that a rounding would leave.
    tenths = rng.multinomial(10, np.full(4, 0.25), 300) / 10
    labels = rng.integers(0, 4, 300)
    metric = fed(metrics.ClasswiseECE(10), labels, tenths.astype("float32"))
    expected = np.zeros(4)
    for k in range(4):
        for value in np.unique(tenths[:, k]):
            inside = tenths[:, k] == value
            # 0 shares the first bin with 0.1; every other value has a bin of its own.
            if value > 0.1:
                expected[k] += abs((tenths[inside, k] - (labels[inside] == k)).sum()) / 300
        low = tenths[:, k] <= 0.1
        expected[k] += abs((tenths[low, k] - (labels[low] == k)).sum()) / 300
    np.testing.assert_allclose(ops.convert_to_numpy(metric.by_class()), expected, atol=1e-6)


def test_weights_count(data, rng):
    labels, logits = data
    weights = rng.uniform(0, 2, SIZE).astype("float32")
    metric = fed(metrics.ClasswiseECE(from_logits=True), labels, logits, weights)
    expected = reference.classwise_ece(labels, reference.softmax64(logits), weights=weights)
    assert float(metric.result()) == pytest.approx(expected.mean(), abs=1e-6)


def test_class_that_never_occurs_counts():
    # Both rows are right to give class 2 nothing: its error is 0 and a third of the mean.
    metric = metrics.ClasswiseECE()
    metric.update_state([0, 1], [[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    expected = reference.classwise_ece([0, 1], [[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    assert expected[2] == 0
    assert float(metric.result()) == pytest.approx(expected.mean())


def test_rare_probabilities_keep_their_digits():
    # 1e-9 of a class that never comes: its error is that, and not the rounding of 1 - 1e-9.
    rows = np.array([[1.0, 1e-9]] * 8, "float32")
    metric = fed(metrics.ClasswiseECE(), np.zeros(8, "int32"), rows)
    assert float(metric.by_class()[1]) == pytest.approx(1e-9, rel=1e-3)


def test_merged_parts_equal_the_whole(data):
    labels, logits = data
    whole = fed(metrics.ClasswiseECE(from_logits=True), labels, logits)
    parts = [
        fed(metrics.ClasswiseECE(from_logits=True), labels[part], logits[part])
        for part in np.array_split(np.arange(SIZE), 2)
    ]
    parts[0].merge_state(parts[1:])
    assert float(parts[0].result()) == pytest.approx(float(whole.result()), abs=1e-7)


def test_merging_another_number_of_classes_raises(data):
    metric = fed(metrics.ClasswiseECE(from_logits=True), *data)
    with pytest.raises(ValueError, match="'num_classes': 3"):
        metric.merge_state([metrics.ClasswiseECE(num_classes=3)])


def test_other_number_of_classes_raises(data):
    metric = metrics.ClasswiseECE(num_classes=3, from_logits=True)
    with pytest.raises(ValueError, match="`y_pred` must have the 3 classes of the metric"):
        metric.update_state(*data)


def test_prediction_that_is_not_finite_is_counted_and_left_out(data):
    labels, logits = data
    broken = logits.copy()
    broken[5, 1] = np.nan
    metric = fed(metrics.ClasswiseECE(from_logits=True, skip_invalid=True), labels, broken)
    kept = np.arange(SIZE) != 5
    alone = fed(metrics.ClasswiseECE(from_logits=True), labels[kept], logits[kept])
    assert metric.invalid_count == 1
    assert float(metric.result()) == pytest.approx(float(alone.result()), abs=1e-6)


def test_metric_that_has_seen_nothing_reads_zero():
    metric = metrics.ClasswiseECE()
    assert float(metric.result()) == 0.0
    assert metric.invalid_count == 0


@jit_or_not
def test_error_in_compile_is_that_of_the_predictions(jit, rng):
    x, y = rng.normal(0, 1, (70, 4)).astype("float32"), rng.integers(0, CLASSES, 70)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(CLASSES)])
    model.compile(
        "sgd",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[metrics.ClasswiseECE(from_logits=True)],
        jit_compile=jit and keras.backend.backend() != "torch",
    )
    for _ in range(2):
        logs = model.evaluate(x, y, batch_size=32, verbose=0, return_dict=True)
    p = reference.softmax64(model.predict(x, verbose=0))
    expected = reference.classwise_ece(y, p).mean()
    assert logs["classwise_ece"] == pytest.approx(expected, abs=1e-6)
