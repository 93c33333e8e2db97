"""RefinementError: the NLL at the temperature that a fit of all predictions finds."""

import keras
import numpy as np
import pytest
import reference
from keras import ops

from keras_focal import metrics
from keras_focal.calibration import fit_temperature
from keras_focal.functional.calibration import _tempered
from keras_focal.metrics import _refinement

SIZE, CLASSES = 300, 5


@pytest.fixture
def data(rng):
    logits = rng.normal(0, 2, (SIZE, CLASSES))
    p = reference.softmax64(logits)
    labels = (p.cumsum(1) < rng.random((SIZE, 1))).sum(1).clip(0, CLASSES - 1)
    return labels, (2.5 * logits).astype("float32"), rng.uniform(0, 2, SIZE).astype("float32")


def updated(labels, predictions, weights=None, parts=1, **how):
    metric = metrics.RefinementError(**how)
    for part in np.array_split(np.arange(len(predictions)), parts):
        weight = None if weights is None else weights[part]
        metric.update_state(labels[part], predictions[part], weight)
    return metric


def oracle(labels, logits, weights=None):
    temperature = reference.best_temperature(labels, logits, weights)
    return reference.nll(labels, logits, temperature, weights), temperature


def assert_is(metric, nll, temperature):
    assert metric.best[0] == pytest.approx(nll, rel=3e-6)
    # Where NLL is flat, what float32 rounds off its slope moves T the further.
    assert metric.temperature == pytest.approx(temperature, rel=5e-5)
    assert float(metric.result()) == pytest.approx(nll, rel=3e-6, abs=1e-7)


@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("form", ["ids", "columns", "rows"])
def test_refinement_is_the_oracle_s(form, from_logits, data):
    labels, logits, weights = data
    given = {"ids": labels, "columns": labels[:, None], "rows": np.eye(CLASSES)[labels]}[form]
    p = reference.softmax64(logits)
    predictions = logits if from_logits else p.astype("float32")
    exact = logits if from_logits else np.log(np.maximum(p, 2.0**-126))
    metric = updated(given.astype("float32"), predictions, weights, 4, from_logits=from_logits)
    assert_is(metric, *oracle(labels, exact, weights))


@pytest.mark.parametrize("temperature", [0.06, 0.11, 0.3, 0.9, 1.7, 4.0, 9.0, 17.0])
def test_result_of_a_step_is_the_fit_at_any_temperature(temperature, rng):
    logits = rng.normal(0, 2, (200, 4))
    labels = (logits + rng.gumbel(size=(200, 4))).argmax(1)
    logits = (temperature * logits).astype("float32")
    fit = fit_temperature(logits, labels, bounds=(0.05, 20.0))
    assert_is(updated(labels, logits, from_logits=True), fit.nll_after, fit.temperature)


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        (30 * np.eye(4), np.arange(4)),
        (np.zeros((8, 4)), np.arange(8) % 4),
        (-5 * np.eye(4), np.arange(4)),
        ([[0.001, 0.0], [0.001, 0.0], [0.0, 0.001]], [0, 0, 0]),
    ],
    ids=["separable", "saying nothing", "always wrong", "too small"],
)
def test_beyond_the_bounds_it_is_the_nll_at_a_bound(logits, labels):
    logits, labels = np.asarray(logits, "float32"), np.asarray(labels)
    with pytest.warns(UserWarning, match="bound"):
        fit = fit_temperature(logits, labels, bounds=(0.05, 20.0))
    assert_is(updated(labels, logits, from_logits=True), fit.nll_after, fit.temperature)


def test_bounds_hold_in_the_step_and_on_the_host(data):
    labels, given, _ = data
    for scale, bounds in ((1, (0.3, 1.9)), (6, (0.7, 20.0)), (1, (0.5, 1.0001))):
        logits = given / scale
        with pytest.warns(UserWarning, match="bound"):
            fit = fit_temperature(logits, labels, bounds=bounds)
        metric = updated(labels, logits, from_logits=True, bounds=bounds)
        assert_is(metric, fit.nll_after, fit.temperature)


def test_one_column_is_the_positive_class_of_two(rng):
    z = rng.normal(0, 3, (200, 1)).astype("float32")
    labels = (z[:, 0] + rng.logistic(0, 2, 200) > 0).astype("int32")
    both = np.concatenate([0 * z, z], 1)
    expected = oracle(labels, both)
    for one in (z, z[:, 0]):
        assert_is(updated(labels, one, from_logits=True), *expected)
    p = 1 / (1 + np.exp(-z))
    assert updated(labels, p).best == pytest.approx(expected, rel=1e-5)


def test_independent_labels_share_a_temperature(rng):
    z = rng.normal(0, 3, (60, 2, 3)).astype("float32")
    labels = (z + rng.logistic(0, 2, z.shape) > 0).astype("int32")
    weights = rng.uniform(0, 2, 60).astype("float32")
    flat = np.repeat(weights, 6), labels.reshape(-1), z.reshape(-1, 1)
    both = np.concatenate([0 * flat[2], flat[2]], 1)
    expected = oracle(flat[1], both, flat[0])
    how = {"from_logits": True, "multi_label": True}
    for given in (weights, weights[:, None, None], np.tile(weights[:, None], (1, 2))):
        assert_is(updated(labels, z, given, **how), *expected)
    # A label that is missing counts for nothing.
    missing = np.where(rng.random(z.shape) < 0.3, -1, labels)
    kept = missing.reshape(-1) >= 0
    expected = oracle(flat[1][kept], both[kept], flat[0][kept])
    assert_is(updated(missing, z, weights, ignore_class=-1, **how), *expected)


def test_masked_labels_count_for_nothing(rng):
    z = rng.normal(0, 3, (10, 4, 3)).astype("float32")
    labels = (z + rng.logistic(0, 2, z.shape) > 0).astype("int32")
    mask = np.arange(4) < 2
    y_pred = ops.convert_to_tensor(z)
    y_pred._keras_mask = ops.convert_to_tensor(np.tile(mask, (10, 1)))
    if not hasattr(y_pred, "_keras_mask"):
        pytest.skip("this backend's tensors take no mask")
    metric = metrics.RefinementError(from_logits=True, multi_label=True)
    metric.update_state(labels, y_pred)
    flat = z[:, mask].reshape(-1, 1)
    assert_is(metric, *oracle(labels[:, mask].reshape(-1), np.concatenate([0 * flat, flat], 1)))


def test_axis_is_refused_for_independent_labels():
    with pytest.raises(ValueError, match=r"`axis` must be -1 with multi_label=True.*axis=1"):
        metrics.RefinementError(multi_label=True, axis=1)


def test_soft_rows_are_targets(rng):
    logits = rng.normal(0, 2, (80, 4))
    rows = reference.softmax64(logits / 2)
    metric = updated(rows.astype("float32"), logits.astype("float32"), from_logits=True)
    entropy = -(rows * np.log(rows)).sum(1).mean()
    assert_is(metric, entropy, 2.0)


def test_it_is_at_most_the_nll_and_no_less_for_a_harder_set(data):
    labels, logits, weights = data
    metric = updated(labels, logits, weights, from_logits=True)
    assert float(metric.result()) < reference.nll(labels, logits, 1.0, weights)
    # A temperature or a shift of the logits takes nothing from what they say.
    other = updated(labels, logits / 3 + 7, weights, from_logits=True)
    assert other.best[0] == pytest.approx(metric.best[0], rel=1e-5)
    assert other.temperature == pytest.approx(metric.temperature / 3, rel=1e-5)


@pytest.mark.parametrize("most", [_tempered.MOST, 0], ids=["at once", "one by one"])
def test_many_predictions_are_summed_one_temperature_after_another(most, data, monkeypatch):
    labels, logits, weights = data
    monkeypatch.setattr(_tempered, "MOST", most)
    _refinement._kernels.cache_clear()
    fit = fit_temperature(logits, labels, sample_weight=weights)
    assert_is(updated(labels, logits, weights, from_logits=True), fit.nll_after, fit.temperature)


def test_logits_of_minus_infinity_and_far_behind_are_probability_0(rng):
    logits = rng.normal(0, 2, (50, 4)).astype("float32")
    labels = (logits[:, :3] + rng.gumbel(size=(50, 3))).argmax(1)
    expected = oracle(labels, logits[:, :3])
    for far in (-np.inf, -1e30, -1e6):
        logits[:, 3] = far
        assert_is(updated(labels, logits, from_logits=True), *expected)


def test_empty_metric_reads_zero_and_an_invalid_one_nan(data):
    labels, logits, _ = data
    assert metrics.RefinementError().best == (0.0, 1.0)
    assert float(metrics.RefinementError().result()) == 0.0
    broken = logits.copy()
    broken[3] = np.nan
    kept = np.arange(SIZE) != 3
    metric = updated(labels, broken, from_logits=True, skip_invalid=True)
    expected = updated(labels[kept], logits[kept], from_logits=True).best
    assert metric.best == pytest.approx(expected, rel=1e-6)
    assert metric.invalid_count == 1
    metric = updated(labels, broken, from_logits=True)
    assert np.isnan([*metric.best, float(metric.result()), metric.temperature]).all()


def test_merged_parts_equal_the_whole(data):
    labels, logits, weights = data
    halves = (slice(0, 100), slice(100, None))
    one, two = (updated(labels[h], logits[h], weights[h], from_logits=True) for h in halves)
    one.merge_state([two])
    whole = updated(labels, logits, weights, from_logits=True)
    assert one.best == pytest.approx(whole.best, rel=2e-6)
    with pytest.raises(ValueError, match="layout"):
        one.merge_state([metrics.RefinementError(bounds=(0.1, 10.0))])


def test_compiled_step_of_unknown_size_gives_the_same(data):
    labels, logits, weights = data
    model = keras.Sequential([keras.Input((CLASSES,)), keras.layers.Identity()])
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=[metrics.RefinementError(from_logits=True)],
    )
    logs = model.evaluate(
        logits, labels, sample_weight=weights, batch_size=128, verbose=0, return_dict=True
    )
    assert logs["refinement"] == pytest.approx(
        float(updated(labels, logits, weights, from_logits=True).result()), rel=1e-6
    )
