"""The ECE of one class: against the oracle, of one, two and more columns."""

import numpy as np
import pytest
import reference
from backends import to_numpy

from keras_focal import metrics, plotting
from keras_focal.functional.calibration._bins import one_class

SIZE = 300


@pytest.fixture
def data(rng):
    """Labels and logits of the positive class, shapes (300,) and (300, 1)."""
    z = rng.normal(-1, 2, (SIZE, 1)).astype("float32")
    return (rng.random(SIZE) < 0.3).astype("int32"), z


def of_class_one(labels, p, **how):
    """ECE of p against the event "the label is 1"."""
    return reference.ece(np.asarray(p, "float64"), (labels == 1).astype("float64"), **how)


def fed(metric, labels, predictions, weights=None):
    for part in np.array_split(np.arange(SIZE), 3):
        metric.update_state(
            labels[part], predictions[part], None if weights is None else weights[part]
        )
    return metric


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("num_bins", [1, 15])
def test_error_is_the_oracle_s_of_class_one(columns, from_logits, num_bins, data, rng):
    labels, z = data
    weights = rng.uniform(0, 2, SIZE).astype("float32")
    logits = z if columns == 1 else np.concatenate([np.ones_like(z), z + 1], 1)
    p = 1 / (1 + np.exp(-z.astype("float64")))
    given = p if columns == 1 else np.concatenate([1 - p, p], 1)
    predictions = logits if from_logits else given.astype("float32")
    metric = fed(metrics.BinaryECE(num_bins, from_logits), labels, predictions, weights)
    expected = of_class_one(labels, p[:, 0], num_bins=num_bins, weights=weights)
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)


def test_top_label_reads_another_number():
    # Half of 0.1 and half of 0.9, each right as often as it says of class 1 in the mean alone.
    labels, p = np.array([1, 0, 0, 1]), [[0.25], [0.25], [0.75], [0.75]]
    binary, top = metrics.BinaryECE(), metrics.ECE()
    binary.update_state(labels, p)
    top.update_state(labels, p)
    assert float(binary.result()) == pytest.approx(0.25)
    assert float(top.result()) == pytest.approx(0.25)
    binary.update_state([0, 0], [[0.25], [0.25]])
    top.update_state([0, 0], [[0.25], [0.25]])
    # Top label: 0.75 is right 4 times of 6. Class 1: 0.25 comes 1 time of 4, 0.75 1 time of 2.
    assert float(binary.result()) == pytest.approx(0.25 * 2 / 6)
    assert float(top.result()) == pytest.approx(0.75 - 4 / 6)


def test_other_class_of_two_has_the_same_error(data):
    # 1 - p is off the frequency of the other class by as much; no p here is on an edge.
    labels, z = data
    one, zero = (fed(metrics.BinaryECE(class_id=k, from_logits=True), labels, z) for k in (1, 0))
    assert float(one.result()) == pytest.approx(float(zero.result()), abs=1e-6)
    both = fed(metrics.ClasswiseECE(from_logits=True), labels, z)
    np.testing.assert_allclose(to_numpy(both.by_class()), float(one.result()), atol=1e-6)


@pytest.mark.parametrize("class_id", [0, 2, 3])
def test_class_of_several_is_read_against_the_rest(class_id, rng):
    logits = rng.normal(0, 2, (SIZE, 4)).astype("float32")
    labels = rng.integers(0, 4, SIZE)
    metric = fed(metrics.BinaryECE(class_id=class_id, from_logits=True), labels, logits)
    expected = reference.classwise_ece(labels, reference.softmax64(logits))[class_id]
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)


def test_bins_hold_frequency_and_mean_probability(data):
    labels, z = data
    metric = fed(metrics.BinaryECE(10, from_logits=True), labels, z)
    bins = metric.bins()
    p = 1 / (1 + np.exp(-z.astype("float64")[:, 0]))
    count, gap = np.array(reference.equal_width_gaps(p, labels == 1, 10)).T
    np.testing.assert_allclose(to_numpy(bins.count), count)
    np.testing.assert_allclose(to_numpy(bins.gap), count * gap, atol=1e-4)
    assert to_numpy(bins.wrong).sum() == (labels != 1).sum()
    title = plotting.reliability_diagram(bins=bins).get_title()
    assert title == f"ECE {100 * float(metric.result()):.2f} %"


def test_sure_logits_keep_their_doubt():
    top = one_class([1, 0], [[20.0], [-20.0]], from_logits=True)
    np.testing.assert_allclose(to_numpy(top.complement)[0], np.exp(-20.0), rtol=1e-5)
    np.testing.assert_allclose(to_numpy(top.confidence)[1], np.exp(-20.0), rtol=1e-5)


@pytest.mark.parametrize("rows", [[[np.nan, 0.5]], [[0.5, np.nan]], [[np.nan]], [[np.inf]]])
@pytest.mark.parametrize("from_logits", [True, False])
def test_what_is_not_finite_is_counted_and_makes_nan(rows, from_logits):
    metric = metrics.BinaryECE(from_logits=from_logits)
    metric.update_state([0], np.array(rows, "float32"))
    assert metric.invalid_count == 1
    assert np.isnan(float(metric.result()))


@pytest.mark.parametrize(("class_id", "columns"), [(2, 1), (2, 2), (3, 3)])
def test_class_beyond_the_predictions_raises(class_id, columns):
    metric = metrics.BinaryECE(class_id=class_id, from_logits=True)
    with pytest.raises(ValueError, match=f"`class_id` must be .* < {max(columns, 2)}, the number"):
        metric.update_state([0], np.zeros((1, columns), "float32"))
