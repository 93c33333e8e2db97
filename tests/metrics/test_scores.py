"""Scores: the means of plain NumPy, over any number of batches, parts and weights."""

import keras
import numpy as np
import pytest
import reference
from backends import jit_or_not
from keras import ops

from keras_focal import functional, metrics
from keras_focal.functional.calibration._bins import top_label

SIZE, CLASSES = 300, 5
BUILDERS = {
    "nll": metrics.NegativeLogLikelihood,
    "brier": metrics.BrierScore,
    "confident": lambda **how: metrics.ConfidentCoverage(threshold=0.6, **how),
    "by_correctness": metrics.ScoresByCorrectness,
    "logit_norm": lambda from_logits=True, **how: metrics.LogitNorm(**how),
}
every_score = pytest.mark.parametrize("name", BUILDERS)


@pytest.fixture
def data(rng):
    logits = rng.normal(0, 2, (SIZE, CLASSES)).astype("float32")
    return rng.integers(0, CLASSES, SIZE), logits, rng.uniform(0, 2, SIZE).astype("float32")


def expected_scores(labels, p, weights, predictions):
    """Every score again, by name."""
    weights = weights.astype("float64")
    p = np.asarray(p, "float64")
    nll = -np.log(p[np.arange(len(p)), labels])
    brier = ((p - np.eye(p.shape[1])[labels]) ** 2).sum(1)
    entropy = -(p * np.log(p)).sum(1)
    confidence, right = reference.top_label(labels, p)
    covered = weights * (confidence > 0.6)
    found = {
        "nll": np.average(nll, weights=weights),
        "brier": np.average(brier, weights=weights),
        "confident": covered.sum() / weights.sum(),
        "confident_accuracy": np.average(right, weights=covered),
        "logit_norm": np.average(np.linalg.norm(predictions, axis=1), weights=weights),
    }
    for group, member in (("right", right), ("wrong", 1 - right)):
        found[f"by_correctness_nll_{group}"] = np.average(nll, weights=weights * member)
        found[f"by_correctness_entropy_{group}"] = np.average(entropy, weights=weights * member)
    return found


def numbers(metric):
    value = metric.result()
    value = value if isinstance(value, dict) else {metric.name: value}
    return {name: float(x) for name, x in value.items()}


@every_score
@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("form", ["ids", "columns", "rows"])
def test_scores_are_the_oracle_s(name, from_logits, form, data):
    labels, logits, weights = data
    p = reference.softmax64(logits)
    given = {"ids": labels, "columns": labels[:, None], "rows": np.eye(CLASSES)[labels]}[form]
    predictions = logits if from_logits else p.astype("float32")
    metric = BUILDERS[name](from_logits=from_logits)
    for part in np.array_split(np.arange(SIZE), 4):
        metric.update_state(given[part].astype("float32"), predictions[part], weights[part])
    expected = expected_scores(labels, p, weights, predictions)
    got = numbers(metric)
    assert got
    assert got == pytest.approx({key: expected[key] for key in got}, rel=2e-6)


@every_score
def test_merged_parts_equal_the_whole(name, data):
    labels, logits, weights = data
    whole, *parts = (BUILDERS[name](from_logits=True) for _ in range(3))
    whole.update_state(labels, logits, weights)
    for metric, part in zip(parts, np.array_split(np.arange(SIZE), 2), strict=True):
        metric.update_state(labels[part], logits[part], weights[part])
    parts[0].merge_state(parts[1:])
    assert numbers(parts[0]) == pytest.approx(numbers(whole), rel=1e-6)


@every_score
def test_empty_metric_reads_zero(name):
    assert set(numbers(BUILDERS[name]()).values()) == {0.0}


@every_score
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_prediction_that_is_not_finite_is_counted_and_left_out(name, bad, data):
    labels, logits, weights = data
    broken = logits.copy()
    broken[7, 2] = bad
    metric = BUILDERS[name](from_logits=True, skip_invalid=True)
    metric.update_state(labels, broken, weights)
    kept = np.arange(SIZE) != 7
    alone = BUILDERS[name](from_logits=True)
    alone.update_state(labels[kept], logits[kept], weights[kept])
    assert metric.invalid_count == 1
    assert numbers(metric) == pytest.approx(numbers(alone), rel=1e-6)


@pytest.mark.parametrize("name", ["nll", "brier"])
@pytest.mark.parametrize("from_logits", [True, False])
def test_one_column_is_the_positive_class_of_two(name, from_logits, rng):
    z = rng.normal(0, 2, (50, 1)).astype("float32")
    labels = rng.integers(0, 2, 50)
    p = 1 / (1 + np.exp(-z.astype("float64")))
    one, two = (BUILDERS[name](from_logits=from_logits) for _ in range(2))
    one.update_state(labels, z if from_logits else p.astype("float32"))
    pair = np.concatenate([0 * z, z], 1) if from_logits else np.concatenate([1 - p, p], 1)
    two.update_state(labels, pair.astype("float32"))
    assert numbers(one) == pytest.approx(numbers(two), rel=1e-5)


def test_soft_rows_are_targets(rng):
    q, p = rng.dirichlet(np.ones(4), 20), rng.dirichlet(np.ones(4), 20)
    nll, brier = metrics.NegativeLogLikelihood(), metrics.BrierScore()
    for metric in (nll, brier):
        metric.update_state(q.astype("float32"), p.astype("float32"))
    assert float(nll.result()) == pytest.approx(-(q * np.log(p)).sum(1).mean(), rel=1e-5)
    assert float(brier.result()) == pytest.approx(((p - q) ** 2).sum(1).mean(), rel=1e-5)


def test_probability_zero_of_the_truth_costs_126_doublings():
    metric = metrics.NegativeLogLikelihood()
    metric.update_state([1], [[1.0, 0.0]])
    assert float(metric.result()) == pytest.approx(126 * np.log(2), rel=1e-6)


def test_nll_keeps_its_digits_for_sure_predictions():
    # p is 1 - 2e-9 here: in float32 log of it would be 0.
    values = functional.negative_log_likelihood([0], [[20.0, 0.0]], from_logits=True)
    assert float(values[0]) == pytest.approx(np.log1p(np.exp(-20.0)), rel=1e-5)


def test_entropy_of_equal_probabilities_is_the_logarithm_of_their_number():
    value = functional.entropy(np.full((1, 7), 3.0, "float32"), from_logits=True)
    assert float(value[0]) == pytest.approx(np.log(7), rel=1e-6)


def test_mean_goes_on_beyond_2_to_the_24():
    metric = metrics.BrierScore()
    metric.update_state([0], [[1.0, 0.0]], [2.0**26])
    for _ in range(64):
        metric.update_state([1], [[1.0, 0.0]])
    assert float(metric.result()) == pytest.approx(2 * 64 / (2**26 + 64), rel=1e-5)


def test_covered_predictions_exceed_the_threshold():
    metric = metrics.ConfidentCoverage(threshold=0.5)
    metric.update_state([0, 0, 0], [[0.5, 0.5], [0.75, 0.25], [0.25, 0.75]])
    assert numbers(metric) == pytest.approx({"confident": 2 / 3, "confident_accuracy": 0.5})


@pytest.mark.parametrize("threshold", [0.0, 1.0, -1.0, 2.0])
def test_threshold_outside_zero_to_one_raises(threshold):
    with pytest.raises(ValueError, match=r"`threshold` must be in \(0, 1\)"):
        metrics.ConfidentCoverage(threshold=threshold)


def test_published_share_of_sure_predictions(real_data):
    with np.load(real_data / "logits/cifar10_resnet50_cross_entropy.npz") as data:
        labels, logits = data["test_labels"], data["test_logits"]
    metric = metrics.ConfidentCoverage(from_logits=True)
    metric.update_state(labels, logits)
    confidence, right = reference.top_label(labels, reference.softmax64(logits))
    sure = confidence > 0.99
    assert numbers(metric) == pytest.approx(
        {"confident": sure.mean(), "confident_accuracy": right[sure].mean()}, abs=1e-6
    )


@jit_or_not
def test_scores_in_compile_are_those_of_the_predictions(jit, rng):
    x, y = rng.normal(0, 1, (70, 4)).astype("float32"), rng.integers(0, CLASSES, 70)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(CLASSES)])
    model.compile(
        "sgd",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[build(from_logits=True) for build in BUILDERS.values()],
        jit_compile=jit and keras.backend.backend() != "torch",
    )
    for _ in range(2):
        logs = model.evaluate(x, y, batch_size=32, verbose=0, return_dict=True)
    logits = model.predict(x, verbose=0)
    expected = expected_scores(y, reference.softmax64(logits), np.ones(70), logits)
    assert {key: logs[key] for key in expected} == pytest.approx(expected, rel=1e-5)


# --- scores of one softmax


def rows_again(labels, logits, from_logits):
    """Wrongness, NLL and entropy from the functions of one score each."""
    how = {"from_logits": from_logits}
    return [
        top_label(labels, logits, **how).wrong,
        functional.negative_log_likelihood(labels, logits, **how),
        functional.entropy(logits, **how),
    ]


@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("form", ["ids", "columns", "soft rows"])
@pytest.mark.parametrize("classes", [1, 2, CLASSES])
def test_scores_of_one_softmax_are_those_of_each(from_logits, form, classes, rng):
    logits = rng.normal(0, 3, (60, classes)).astype("float32")
    p = 1 / (1 + np.exp(-logits)) if classes == 1 else reference.softmax64(logits)
    given = logits if from_logits else p.astype("float32")
    labels = rng.integers(0, max(classes, 2), 60)
    if form == "columns":
        labels = labels[:, None]
    if form == "soft rows" and classes > 1:
        labels = rng.dirichlet(np.ones(classes), 60).astype("float32")
    got = functional.prediction_scores(labels, given, from_logits=from_logits)
    for part, expected in zip(got, rows_again(labels, given, from_logits), strict=True):
        np.testing.assert_allclose(
            ops.convert_to_numpy(part), ops.convert_to_numpy(expected), rtol=2e-5, atol=1e-7
        )


def test_scores_of_sure_predictions_keep_their_digits():
    wrong, nll, entropy = functional.prediction_scores([0], [[20.0, 0.0]], from_logits=True)
    rest = np.exp(-20.0)
    assert float(wrong[0]) == 0.0
    assert float(nll[0]) == pytest.approx(np.log1p(rest), rel=1e-5)
    p = np.array([1 / (1 + rest), rest / (1 + rest)])
    assert float(entropy[0]) == pytest.approx(-(p * np.log(p)).sum(), rel=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_of_what_is_not_finite_are_nan(bad):
    rows = np.array([[1.0, bad, 0.0], [1.0, 2.0, 0.0], [1.0, 2.0, 0.0]], "float32")
    _, nll, entropy = functional.prediction_scores([0, 3, 1], rows, from_logits=True)
    np.testing.assert_array_equal(np.isnan(ops.convert_to_numpy(nll)), [True, True, False])
    np.testing.assert_array_equal(np.isnan(ops.convert_to_numpy(entropy)), [True, False, False])


def test_scores_stay_finite_at_the_ends_of_float32():
    top = np.finfo("float32").max
    _, nll, entropy = functional.prediction_scores([0], [[-top, top]], from_logits=True)
    assert float(nll[0]) >= 2.0**99
    assert np.isfinite(float(nll[0]))
    assert float(entropy[0]) == 0.0


def test_impossible_classes_have_no_part_in_the_scores():
    rows, fewer = np.array([[1.0, -np.inf, 0.0]], "float32"), np.array([[1.0, 0.0]], "float32")
    got = functional.prediction_scores([0], rows, from_logits=True)
    alone = functional.prediction_scores([0], fewer, from_logits=True)
    for part, expected in zip(got, alone, strict=True):
        assert float(part[0]) == pytest.approx(float(expected[0]), rel=1e-6)
    assert float(functional.entropy(rows, from_logits=True)[0]) == float(got.entropy[0])


def test_equal_probabilities_are_a_tie_and_nearly_equal_ones_are_not():
    p = np.float32(0.3)
    rows = np.array([[p, p, 0.4 - p], [p, np.nextafter(p, 1, dtype="float32"), 0.1]], "float32")
    wrong = functional.prediction_scores([0, 0], rows).wrong
    np.testing.assert_array_equal(ops.convert_to_numpy(wrong), [0.0, 1.0])


# --- the norm of the logits


def test_logit_norm_takes_no_word_on_logits():
    assert "from_logits" not in metrics.LogitNorm().get_config()


def test_logit_norm_of_one_column_is_its_size():
    metric = metrics.LogitNorm()
    metric.update_state([0, 1], [[-3.0], [5.0]])
    assert float(metric.result()) == pytest.approx(4.0)
