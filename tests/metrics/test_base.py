"""The state behind the calibration metrics: batches, weights, masks, counters, devices."""

import keras
import numpy as np
import pytest
import reference
from backends import BACKEND, jit_or_not, to_numpy
from keras import ops

from keras_focal import metrics

EVERY_METRIC = pytest.mark.parametrize(
    "build", [metrics.ECE, metrics.MCE, metrics.AdaECE], ids=["ece", "mce", "ada_ece"]
)
SURE = [[1.0, 0.0]]


@pytest.fixture
def data(rng):
    """64 labels, probabilities of shape (64, 4), weights in quarters (exact in float32)."""
    rows = rng.dirichlet(np.ones(4), 64).astype("float32")
    return rng.integers(0, 4, 64), rows, rng.integers(0, 9, 64).astype("float32") / 4


def fed(metric, labels, predictions, weights=None, size=64):
    """Update `metric` in batches of `size` rows and return it."""
    for start in range(0, len(labels), size):
        part = slice(start, start + size)
        metric.update_state(
            labels[part], predictions[part], None if weights is None else weights[part]
        )
    return metric


def state(metric):
    return [ops.convert_to_numpy(variable) for variable in metric.variables]


def sums(metric):
    """The sums per cell in float64, to all their digits."""
    _, high, low = state(metric)
    return high.astype("float64") + low


# Feeding


@EVERY_METRIC
def test_batch_split_does_not_matter(build, data):
    whole, split = fed(build(), *data), fed(build(), *data, size=16)
    np.testing.assert_allclose(to_numpy(split.cells().count), to_numpy(whole.cells().count))
    np.testing.assert_allclose(float(split.result()), float(whole.result()), atol=1e-6)


@EVERY_METRIC
def test_merged_parts_equal_the_whole(build, data):
    labels, rows, weights = data
    parts = [
        fed(build(), labels[part], rows[part], weights[part], size=16)
        for part in (slice(0, 16), slice(16, 48), slice(48, 64))
    ]
    merged = build()
    merged.merge_state(parts)
    whole = fed(build(), *data)
    np.testing.assert_array_equal(to_numpy(merged.cells().count), to_numpy(whole.cells().count))
    np.testing.assert_allclose(float(merged.result()), float(whole.result()), atol=1e-6)


def test_merging_adds_to_what_is_there(data):
    metric = fed(metrics.ECE(), *data[:2])
    metric.merge_state([fed(metrics.ECE(), *data[:2])])
    assert to_numpy(metric.cells().count).sum() == 128


def test_merging_leaves_the_other_metrics_as_they_are(data):
    other = fed(metrics.ECE(), *data)
    before = state(other)
    metrics.ECE().merge_state([other])
    for a, b in zip(before, state(other), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "other",
    [lambda: metrics.ECE(num_bins=10), metrics.MCE, metrics.AdaECE],
    ids=["bins", "mce", "ada_ece"],
)
def test_merging_another_kind_of_metric_raises_and_adds_nothing(other, data):
    metric = metrics.ECE()
    with pytest.raises(ValueError, match="`metrics` must be of the class and layout"):
        metric.merge_state([fed(metrics.ECE(), *data), other()])
    assert all(not part.any() for part in state(metric))


@EVERY_METRIC
def test_reset_forgets_everything(build, data):
    metric = fed(build(), *data)
    metric.update_state(data[0], np.full((64, 4), np.nan, "float32"))
    metric.reset_state()
    assert float(metric.result()) == 0.0
    assert metric.invalid_count == 0
    assert all(not part.any() for part in state(metric))


@EVERY_METRIC
def test_empty_metric_is_zero(build):
    assert float(build().result()) == 0.0


@EVERY_METRIC
def test_batch_of_no_rows_changes_nothing(build, data):
    metric = fed(build(), *data[:2])
    before = float(metric.result())
    metric.update_state(np.zeros(0, "int32"), np.zeros((0, 4), "float32"))
    assert float(metric.result()) == before


@EVERY_METRIC
def test_stateless_update_equals_the_stateful_one(build, data):
    metric = build()
    metric_state = metric.stateless_update_state(metric.variables, *data)
    result = metric.stateless_result(metric_state)
    assert not any(part.any() for part in state(metric))
    np.testing.assert_allclose(float(result), float(fed(build(), *data).result()), atol=1e-7)


def test_bins_hold_what_the_oracle_finds(data):
    labels, rows, weights = data
    bins = fed(metrics.ECE(), *data, size=16).bins()
    count, gap = np.array(
        reference.equal_width_gaps(*reference.top_label(labels, rows), 15, weights)
    ).T
    np.testing.assert_allclose(to_numpy(bins.count), count, rtol=1e-6)
    np.testing.assert_allclose(to_numpy(bins.gap), count * gap, atol=1e-5)


def test_bins_of_equal_mass_hold_equal_mass(data):
    bins = fed(metrics.AdaECE(num_bins=5), *data).bins()
    np.testing.assert_allclose(to_numpy(bins.count), data[2].sum() / 5, rtol=1e-6)


# Counters


@EVERY_METRIC
def test_count_goes_on_beyond_2_to_the_24(build):
    # A float32 counter stops here: 2**24 + 1 = 2**24.
    metric = build()
    metric.update_state([1], SURE, [2.0**24])
    for _ in range(64):
        metric.update_state([0], SURE)
    assert to_numpy(metric.cells().count).sum() == 2**24 + 64
    np.testing.assert_allclose(float(metric.result()), 2**24 / (2**24 + 64), rtol=2e-7)


@pytest.mark.nightly
def test_gap_goes_on_beyond_2_to_the_24():
    metric = metrics.ECE(num_bins=1)
    metric.update_state([1], SURE, [2.0**28])
    for _ in range(64):
        metric.update_state([1], SURE)
    metric.update_state([0], [[0.0, 1.0]], [2.0**28])
    before = sums(metric)
    for _ in range(3):
        metric.update_state([1], [[0.75, 0.25]])
    np.testing.assert_array_equal((sums(metric) - before).sum(axis=0), [3, 3, 0.75])


@pytest.mark.nightly
def test_fractional_weights_add_up_beyond_2_to_the_24():
    # 0.375 is a fortieth of the spacing of floats above 2**28: a float32 sum would not move.
    metric = metrics.ECE()
    metric.update_state([0], SURE, [2.0**28])
    before = sums(metric)
    for _ in range(80):
        metric.update_state([1], SURE, [0.375])
    np.testing.assert_array_equal((sums(metric) - before).sum(axis=0), [30.0, 30.0, 0.0])


@pytest.mark.nightly
def test_doubt_adds_up_beyond_2_to_the_24():
    # Right predictions of confidence 0.75 have a gap of -0.25 each, however many there were.
    metric = metrics.ECE()
    metric.update_state([1], [[0.75, 0.25]], [2.0**26])
    metric.update_state([0], [[0.75, 0.25]], [3 * 2.0**26])
    for _ in range(80):
        metric.update_state([1], [[0.75, 0.25]], [1.0])
    np.testing.assert_allclose(to_numpy(metric.bins().gap).sum(), 60.0, rtol=1e-6)


def test_many_small_weights_add_up():
    metric = metrics.ECE()
    weight = np.float32(0.1)
    for _ in range(100):
        metric.update_state([1], [[0.75, 0.25]], [weight])
    np.testing.assert_allclose(to_numpy(metric.bins().count).sum(), 10.0, rtol=1e-6)
    np.testing.assert_allclose(to_numpy(metric.bins().gap).sum(), 7.5, rtol=1e-6)


# Predictions that are not finite


@EVERY_METRIC
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_predictions_that_are_not_finite_are_counted_and_not_binned(build, bad, data):
    labels, rows, weights = data
    broken = rows.copy()
    broken[[3, 10, 40], [0, 3, 1]] = bad
    weights = weights + 0.25
    kept = weights * ~np.isin(np.arange(64), [3, 10, 40])
    metric = fed(build(skip_invalid=True), labels, broken, weights, size=16)
    assert metric.invalid_count == 3
    assert to_numpy(metric.cells().count).sum() == kept.sum()
    expected = float(fed(build(), labels, rows, kept).result())
    np.testing.assert_allclose(float(metric.result()), expected, atol=1e-6)


@jit_or_not
def test_invalid_count_works_inside_a_compiled_step(jit, data):
    if jit and BACKEND == "torch":
        pytest.skip("Keras runs torch eagerly unless torch.compile is asked for")
    labels, rows, _ = data
    broken = rows.copy()
    broken[5, 2] = np.nan
    metric = metrics.ECE()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Identity()])
    model.compile(metrics=[metric], loss=lambda y, p: ops.zeros_like(p[:, 0]), jit_compile=jit)
    model.evaluate(broken, labels, verbose=0)
    assert metric.invalid_count == 1
    assert to_numpy(metric.cells().count).sum() == 63


# Weights and masks

TOKENS = np.array([[5, 3, 0, 0], [2, 0, 0, 0], [1, 4, 2, 3], [4, 4, 1, 0]] * 4)
TAGS = np.arange(64).reshape(16, 4) % 3


def tagger():
    """Probabilities of shape (B, 4, 3) with the mask tokens != 0."""
    return keras.Sequential(
        [
            keras.Input((4,), dtype="int32"),
            keras.layers.Embedding(6, 8, mask_zero=True, embeddings_initializer="normal"),
            keras.layers.Dense(3, activation="softmax", kernel_initializer="he_normal"),
        ]
    )


def masked_error(model, sample_weight=None):
    """ECE of the unmasked predictions by the oracle."""
    rows = model.predict(TOKENS, verbose=0)
    weights = np.ones((16, 1)) if sample_weight is None else sample_weight.reshape(16, -1)
    weights = ((TOKENS != 0) * weights).ravel()
    return reference.ece(
        *reference.top_label(TAGS.ravel(), rows.reshape(-1, 3)), weights=weights
    ), weights.sum()


@pytest.mark.parametrize("shape", [None, (16,), (16, 1), (16, 4)])
def test_mask_and_sample_weight_of_an_eager_call_count(shape, rng):
    model = tagger()
    sample_weight = None if shape is None else rng.integers(1, 5, shape).astype("float32")
    metric = metrics.ECE()
    metric.update_state(TAGS, model(TOKENS), sample_weight)
    expected, total = masked_error(model, sample_weight)
    assert to_numpy(metric.cells().count).sum() == total
    np.testing.assert_allclose(float(metric.result()), expected, atol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("argument", ["metrics", "weighted_metrics"])
def test_mask_counts_in_evaluate(argument, weighted, rng):
    if BACKEND == "torch" and weighted and argument == "weighted_metrics":
        pytest.skip("Keras's loss rescales torch sample weights in place by the mask")
    sample_weight = rng.integers(1, 5, (16, 4)).astype("float32") if weighted else None
    model = tagger()
    metric = metrics.ECE()
    model.compile(loss="sparse_categorical_crossentropy", **{argument: [metric]})
    logs = model.evaluate(
        TOKENS, TAGS, sample_weight=sample_weight, batch_size=8, verbose=0, return_dict=True
    )
    # `metrics` never receives sample weights from Keras.
    expected, total = masked_error(model, sample_weight if argument != "metrics" else None)
    assert to_numpy(metric.cells().count).sum() == total
    np.testing.assert_allclose(logs["ece"], expected, atol=1e-6)


def test_update_leaves_the_callers_weights_as_they_are():
    weights = ops.ones((16, 4)) * 0.5
    metrics.ECE().update_state(TAGS, tagger()(TOKENS), weights)
    np.testing.assert_array_equal(to_numpy(weights), np.full((16, 4), 0.5))


def test_weight_per_sample_is_spread_over_a_sequence(rng):
    rows = rng.dirichlet(np.ones(4), (16, 4)).astype("float32")
    labels, weights = rng.integers(0, 4, (16, 4)), rng.uniform(0, 2, 16).astype("float32")
    metric = metrics.ECE()
    metric.update_state(labels, rows, weights)
    expected = reference.ece(
        *reference.top_label(labels.ravel(), rows.reshape(-1, 4)), weights=weights.repeat(4)
    )
    np.testing.assert_allclose(float(metric.result()), expected, atol=1e-6)


@EVERY_METRIC
def test_weight_zero_leaves_a_prediction_out(build, data):
    labels, rows, _ = data
    kept = np.arange(64) % 3 > 0
    left_out = fed(build(), labels, rows, kept.astype("float32"))
    alone = fed(build(), labels[kept], rows[kept])
    np.testing.assert_allclose(float(left_out.result()), float(alone.result()), atol=1e-6)


# Shapes that cannot match, arguments


@pytest.mark.parametrize("labels", [(63,), (64, 2), (64, 4, 1), (64, 1, 1)])
def test_labels_of_another_shape_raise(labels, data):
    with pytest.raises(ValueError, match="`y_true` must have shape"):
        metrics.ECE().update_state(np.zeros(labels, "int32"), data[1])


@EVERY_METRIC
@pytest.mark.parametrize("num_bins", [0, -1, 2.5, "15", None, float("nan"), True])
def test_number_of_bins_that_is_no_count_raises(build, num_bins):
    with pytest.raises(ValueError, match="`num_bins` must be a whole number >= 1"):
        build(num_bins=num_bins)


@EVERY_METRIC
def test_state_has_a_fixed_size(build, data):
    metric = build()
    before = [part.shape for part in state(metric)]
    fed(metric, *data)
    assert [part.shape for part in state(metric)] == before


@EVERY_METRIC
@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(None, "float32"), ("float32", "float32"), ("bfloat16", "float32"), ("float16", "float32")],
)
def test_result_is_float32_also_where_half_precision_is_asked_for(build, dtype, expected, data):
    result = fed(build(dtype=dtype), *data).result()
    assert keras.backend.standardize_dtype(result.dtype) == expected


@pytest.mark.skipif(BACKEND == "jax", reason="JAX holds no float64 unless x64 is enabled")
def test_float64_dtype_gives_a_float64_result(data):
    result = fed(metrics.ECE(dtype="float64"), *data).result()
    assert keras.backend.standardize_dtype(result.dtype) == "float64"


@EVERY_METRIC
def test_float64_predictions_are_taken(build, data):
    labels, rows, weights = data
    double = fed(build(), labels, rows.astype("float64"), weights.astype("float64"))
    single = fed(build(), labels, rows, weights)
    np.testing.assert_allclose(float(double.result()), float(single.result()), atol=1e-6)


# A class that is left out


@pytest.mark.parametrize("shape", [(60,), (60, 1), (5, 4, 3)])
@EVERY_METRIC
def test_ignored_class_is_left_out(build, shape, rng):
    rows = rng.dirichlet(np.ones(4), shape[:3] if len(shape) == 3 else 60).astype("float32")
    labels = rng.integers(0, 4, shape)
    metric = fed(build(ignore_class=2), labels, rows)
    kept = labels.reshape(-1) != 2
    alone = fed(build(), labels.reshape(-1)[kept], rows.reshape(-1, 4)[kept])
    np.testing.assert_allclose(float(metric.result()), float(alone.result()), atol=1e-6)
    assert to_numpy(metric.cells().count).sum() == kept.sum()


def test_ignored_class_may_lie_outside_the_classes():
    metric = metrics.ECE(ignore_class=255)
    metric.update_state([0, 255], [[0.9, 0.1], [0.9, 0.1]])
    assert float(metric.result()) == pytest.approx(0.1)


@pytest.mark.parametrize("value", [1.5, "2", [1]])
def test_ignored_class_that_is_no_id_raises(value):
    with pytest.raises(ValueError, match="`ignore_class` must be a whole number or None"):
        metrics.ECE(ignore_class=value)


# Devices


def replicated_model(is_trained):
    """A compiled linear classifier that learns nothing, and the metrics that count."""
    together = metrics.CalibrationMetrics(from_logits=True, name="all")
    weighted = metrics.ECE(from_logits=True, name="weighted_ece")
    scores = [metrics.NegativeLogLikelihood(from_logits=True)]
    scores += [metrics.ClasswiseECE(15, True)] if is_trained else []
    model = keras.Sequential(
        [keras.Input((5,)), keras.layers.Dense(4, kernel_initializer="he_normal")]
    )
    model.compile(
        optimizer=keras.optimizers.SGD(0.0),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[together, *scores],
        weighted_metrics=[weighted],
    )
    return model, [together, weighted]


def check_replicated(model, compiled_metrics, sizes, rng, *, is_trained):
    """Measure rows of two sizes in batches of 16, or train on the first; compare with arrays."""
    parts = []
    for size in sizes:
        x = rng.normal(0, 2, (size, 5)).astype("float32")
        parts.append((x, rng.integers(0, 4, size), rng.integers(0, 4, size).astype("float32")))
    x, y, weights = parts[0]
    how = {"batch_size": 16, "verbose": 0}
    if is_trained:
        history = model.fit(
            x, y, epochs=2, sample_weight=weights, validation_data=parts[1], **how
        ).history
    else:
        history = {}
        for prefix, (x, y, weights) in zip(("", "val_"), parts, strict=True):
            found = model.evaluate(x, y, sample_weight=weights, return_dict=True, **how)
            history |= {prefix + name: value for name, value in found.items()}
    counts = [to_numpy(metric.cells().count).sum() for metric in compiled_metrics]
    assert counts == [sizes[1], parts[1][2].sum()]
    kernel, bias = (ops.convert_to_numpy(part) for part in model.layers[0].weights)
    for prefix, (x, y, weights) in zip(("", "val_"), parts, strict=True):
        logits = x @ kernel + bias
        p = reference.softmax64(logits)
        top = reference.top_label(y, p)
        alone = metrics.AdaECE(from_logits=True)
        alone.update_state(y, logits)
        expected = {
            "all_ece": reference.ece(*top),
            "all_mce": reference.mce(*top),
            "all_ada_ece": float(alone.result()),
            "weighted_ece": reference.ece(*top, weights=weights),
            "nll": reference.nll(y, logits, 1.0),
        }
        if is_trained:
            expected["classwise_ece"] = reference.classwise_ece(y, p).mean()
        for name, value in expected.items():
            np.testing.assert_allclose(history[prefix + name], value, atol=1e-6, err_msg=name)


is_trained = pytest.mark.parametrize(
    "is_trained",
    [False, pytest.param(True, marks=pytest.mark.nightly)],
    ids=["measured", "trained"],
)


@pytest.mark.nightly
@is_trained
def test_mirrored_strategy_gives_the_number_of_one_device(mirrored, is_trained, rng):
    with mirrored.scope():
        model = replicated_model(is_trained)
    # The last batch of 51 rows is ragged; that of 33 leaves one replica empty.
    check_replicated(*model, (51, 33), rng, is_trained=is_trained)


@is_trained
def test_data_parallel_gives_the_number_of_one_device(data_parallel, is_trained, rng):
    check_replicated(*replicated_model(is_trained), (64, 32), rng, is_trained=is_trained)
