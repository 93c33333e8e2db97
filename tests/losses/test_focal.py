"""The loss classes: against the oracle, against Keras's own classes, and by their contract."""

import keras
import numpy as np
import pytest
import reference
from backends import BACKEND, to_numpy, value_and_gradient
from keras import ops

from keras_focal import losses
from keras_focal.gammas import SampleDependentGamma

CLASSES = {
    "sparse": losses.SparseCategoricalFocalCrossentropy,
    "categorical": losses.CategoricalFocalCrossentropy,
    "binary": losses.BinaryFocalCrossentropy,
}
OF_KERAS = {
    "sparse": keras.losses.SparseCategoricalCrossentropy,
    "categorical": keras.losses.CategoricalCrossentropy,
    "binary": keras.losses.BinaryCrossentropy,
}
# Without jit, JAX compiles every operation by itself, for every new shape.
AS_USUAL = BACKEND == "jax"
REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none", None)

every_kind = pytest.mark.parametrize("kind", CLASSES)
rows_only = pytest.mark.parametrize("kind", ["sparse", "categorical"])
every_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)


def one_hot(labels, num_classes=5):
    return np.eye(num_classes, dtype="float32")[labels]


def sample(kind, *shape, num_classes=5):
    """Return targets and logits of the given leading shape, far from where Keras clips."""
    rng = np.random.default_rng(0)
    shape = shape or (8,)
    logits = rng.normal(0, 1.5, (*shape, num_classes)).astype("float32")
    labels = rng.integers(0, num_classes, shape)
    # Every third row is easy, so that p_t lies on both sides of 0.2 and 0.5.
    rows = np.arange(0, labels.size, 3)
    logits.reshape(-1, num_classes)[rows, labels.ravel()[rows]] += 3
    if kind == "sparse":
        return labels, logits
    if kind == "categorical":
        return one_hot(labels, num_classes), logits
    return rng.integers(0, 2, logits.shape).astype("float32"), logits


def probabilities(kind, logits):
    logits = logits.astype("float64")
    p = 1 / (1 + np.exp(-logits)) if kind == "binary" else reference.softmax64(logits)
    return p.astype("float32")


def by_hand(kind, targets, logits, gamma):
    """Return the unreduced loss of the oracle."""
    flat = logits.reshape(-1, logits.shape[-1])
    if kind == "binary":
        pairs = zip(targets.ravel(), logits.ravel(), strict=True)
        values = np.array([reference.binary_focal(*pair, gamma)[0] for pair in pairs])
        return values.reshape(logits.shape).mean(-1)
    if kind == "sparse":
        rows = zip(targets.ravel(), flat, strict=True)
        values = [reference.sparse_focal(*row, gamma)[0] for row in rows]
    else:
        rows = zip(targets.reshape(flat.shape), flat, strict=True)
        values = [reference.categorical_focal(*row, gamma)[0] for row in rows]
    return np.reshape(values, logits.shape[:-1])


# --- Values -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(8,), (4, 3), (2, 3, 4)], ids=["B", "BT", "BHW"])
@every_kind
def test_unreduced_loss_is_the_focal_loss_of_each_prediction(kind, shape):
    targets, logits = sample(kind, *shape)
    loss = CLASSES[kind](gamma=3.0, from_logits=True, reduction=None)
    value = loss(targets, logits)
    assert tuple(value.shape) == shape
    np.testing.assert_allclose(to_numpy(value), by_hand(kind, targets, logits, 3.0), rtol=3e-6)


@every_kind
def test_the_default_is_the_mean_of_gamma_two_on_probabilities(kind):
    targets, logits = sample(kind)
    value = CLASSES[kind]()(targets, probabilities(kind, logits))
    assert float(value) == pytest.approx(by_hand(kind, targets, logits, 2.0).mean(), rel=1e-5)


@every_kind
def test_probabilities_give_the_loss_of_their_logits(kind):
    targets, logits = sample(kind)
    of_logits = CLASSES[kind](gamma=2.0, from_logits=True, reduction=None)(targets, logits)
    of_probabilities = CLASSES[kind](gamma=2.0, reduction=None)(
        targets, probabilities(kind, logits)
    )
    np.testing.assert_allclose(to_numpy(of_probabilities), to_numpy(of_logits), rtol=2e-5)


@rows_only
def test_rows_of_probabilities_need_not_sum_to_one(kind):
    targets, logits = sample(kind)
    p = probabilities(kind, logits)
    loss = CLASSES[kind](gamma=2.0, reduction=None)
    np.testing.assert_allclose(
        to_numpy(loss(targets, p / 3)), to_numpy(loss(targets, p)), rtol=2e-5
    )


@every_kind
def test_gradient_is_finite_where_probabilities_are_zero_or_one(kind):
    p = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], "float32")
    targets = {"sparse": np.array([0, 0])}.get(kind, one_hot([0, 0], 3))
    value, gradient = value_and_gradient(
        lambda p: CLASSES[kind](gamma=0.5)(targets, p), p, compiled=AS_USUAL
    )
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))


@every_kind
def test_gradient_on_a_hopeless_sample_is_minus_one(kind):
    if kind == "binary":
        targets, logits = np.ones((1, 1), "float32"), np.array([[-100.0]], "float32")
    else:
        targets, logits = np.array([0]), np.array([[-100.0, 0.0, -200.0]], "float32")
        targets = one_hot(targets, 3) if kind == "categorical" else targets
    loss = CLASSES[kind](gamma=2.0, from_logits=True)
    value, gradient = value_and_gradient(lambda z: loss(targets, z), logits, compiled=AS_USUAL)
    assert value == pytest.approx(100.0)
    assert gradient[0, 0] == pytest.approx(-1.0)


# --- Agreement with Keras -----------------------------------------------------------------------


@pytest.mark.parametrize("from_logits", [True, False], ids=["logits", "probabilities"])
@every_kind
def test_gamma_zero_equals_cross_entropy(kind, from_logits):
    targets, logits = sample(kind)
    y_pred = logits if from_logits else probabilities(kind, logits)
    arguments = {"from_logits": from_logits, "reduction": None}
    np.testing.assert_allclose(
        to_numpy(CLASSES[kind](gamma=0.0, **arguments)(targets, y_pred)),
        to_numpy(OF_KERAS[kind](**arguments)(targets, y_pred)),
        rtol=1e-5,
    )


@pytest.mark.parametrize("kind", ["categorical", "binary"])
def test_gamma_zero_equals_cross_entropy_with_label_smoothing(kind):
    targets, logits = sample(kind)
    arguments = {"from_logits": True, "label_smoothing": 0.1, "reduction": None}
    np.testing.assert_allclose(
        to_numpy(CLASSES[kind](gamma=0.0, **arguments)(targets, logits)),
        to_numpy(OF_KERAS[kind](**arguments)(targets, logits)),
        rtol=1e-5,
    )


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("from_logits", [True, False], ids=["logits", "probabilities"])
def test_categorical_agrees_with_keras(from_logits, label_smoothing):
    targets, logits = sample("categorical")
    y_pred = logits if from_logits else probabilities("categorical", logits)
    arguments = {
        "alpha": 0.25,
        "gamma": 2.0,
        "from_logits": from_logits,
        "label_smoothing": label_smoothing,
        "reduction": None,
    }
    np.testing.assert_allclose(
        to_numpy(losses.CategoricalFocalCrossentropy(**arguments)(targets, y_pred)),
        to_numpy(keras.losses.CategoricalFocalCrossentropy(**arguments)(targets, y_pred)),
        rtol=1e-5,
    )


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("from_logits", [True, False], ids=["logits", "probabilities"])
def test_binary_agrees_with_keras(from_logits, balanced):
    targets, logits = sample("binary")
    y_pred = logits if from_logits else probabilities("binary", logits)
    arguments = {"gamma": 2.0, "from_logits": from_logits, "reduction": None}
    ours = losses.BinaryFocalCrossentropy(alpha=0.25 if balanced else None, **arguments)
    of_keras = keras.losses.BinaryFocalCrossentropy(
        apply_class_balancing=balanced, alpha=0.25, **arguments
    )
    np.testing.assert_allclose(
        to_numpy(ours(targets, y_pred)), to_numpy(of_keras(targets, y_pred)), rtol=1e-5
    )


@every_reduction
@pytest.mark.parametrize("weights", [None, (8,), (8, 1)], ids=str)
@every_kind
def test_reductions_and_sample_weights_are_those_of_keras(kind, weights, reduction):
    targets, logits = sample(kind)
    if weights is not None:
        weights = np.random.default_rng(1).uniform(0, 2, weights).astype("float32")
    arguments = {"from_logits": True, "reduction": reduction}
    value = to_numpy(CLASSES[kind](gamma=0.0, **arguments)(targets, logits, weights))
    expected = to_numpy(OF_KERAS[kind](**arguments)(targets, logits, weights))
    assert value.shape == expected.shape
    np.testing.assert_allclose(value, expected, rtol=1e-5)


@every_reduction
@pytest.mark.parametrize("weights", [(4, 3), (4, 1)], ids=str)
@every_kind
def test_sample_weights_of_single_steps_are_those_of_keras(kind, weights, reduction):
    targets, logits = sample(kind, 4, 3)
    weights = np.random.default_rng(1).uniform(0, 2, weights).astype("float32")
    arguments = {"from_logits": True, "reduction": reduction}
    np.testing.assert_allclose(
        to_numpy(CLASSES[kind](gamma=0.0, **arguments)(targets, logits, weights)),
        to_numpy(OF_KERAS[kind](**arguments)(targets, logits, weights)),
        rtol=1e-5,
    )


# --- Label forms and axes -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "float32"])
@pytest.mark.parametrize("shape", [(8,), (8, 1)], ids=str)
def test_class_ids_of_either_shape_and_any_dtype_are_equal(shape, dtype):
    labels, logits = sample("sparse")
    loss = losses.SparseCategoricalFocalCrossentropy(from_logits=True)
    value = loss(labels.reshape(shape).astype(dtype), logits)
    assert float(value) == pytest.approx(by_hand("sparse", labels, logits, 2.0).mean(), rel=3e-6)


def test_class_ids_may_be_a_list():
    labels, logits = sample("sparse")
    loss = losses.SparseCategoricalFocalCrossentropy(from_logits=True)
    assert float(loss(labels.tolist(), logits.tolist())) == float(loss(labels, logits))


def test_class_ids_of_sequences_may_have_a_last_axis():
    labels, logits = sample("sparse", 4, 3)
    loss = losses.SparseCategoricalFocalCrossentropy(from_logits=True)
    assert float(loss(labels[..., None], logits)) == float(loss(labels, logits))


def test_one_hot_rows_equal_class_ids():
    labels, logits = sample("sparse")
    sparse, categorical = (
        CLASSES[kind](gamma=2.0, alpha=[1, 2, 3, 4, 5], from_logits=True, reduction=None)
        for kind in ("sparse", "categorical")
    )
    np.testing.assert_allclose(
        to_numpy(categorical(one_hot(labels), logits)), to_numpy(sparse(labels, logits)), rtol=1e-6
    )


def test_binary_labels_may_lack_the_last_axis_of_one():
    targets, logits = sample("binary", num_classes=1)
    loss = losses.BinaryFocalCrossentropy(from_logits=True)
    assert float(loss(targets[:, 0], logits)) == float(loss(targets, logits))


@pytest.mark.parametrize("from_logits", [True, False], ids=["logits", "probabilities"])
@rows_only
def test_class_axis_of_an_image_may_come_first(kind, from_logits):
    targets, logits = sample(kind, 2, 3, 4)
    y_pred = logits if from_logits else probabilities(kind, logits)
    arguments = {"alpha": [1, 2, 3, 4, 5], "from_logits": from_logits, "reduction": None}
    expected = CLASSES[kind](**arguments)(targets, y_pred)
    if kind == "categorical":
        targets = np.moveaxis(targets, -1, 1)
    for axis in (1, -3):
        value = CLASSES[kind](axis=axis, **arguments)(targets, np.moveaxis(y_pred, -1, 1))
        assert tuple(value.shape) == (2, 3, 4)
        np.testing.assert_allclose(to_numpy(value), to_numpy(expected), rtol=1e-6)


@pytest.mark.parametrize("axis", [1, -1])
def test_binary_loss_is_averaged_over_its_axis(axis):
    targets, logits = sample("binary", 4, 3)
    arguments = {"from_logits": True, "reduction": None, "axis": axis}
    np.testing.assert_allclose(
        to_numpy(losses.BinaryFocalCrossentropy(gamma=0.0, **arguments)(targets, logits)),
        to_numpy(keras.losses.BinaryCrossentropy(**arguments)(targets, logits)),
        rtol=1e-5,
    )


# --- Alpha --------------------------------------------------------------------------------------


@rows_only
def test_a_vector_of_alpha_weighs_the_class_of_each_label(kind):
    labels, logits = sample("sparse")
    alpha = np.array([0.5, 1.0, 0.0, 2.0, 3.0])
    targets = one_hot(labels) if kind == "categorical" else labels
    value = CLASSES[kind](alpha=alpha, from_logits=True, reduction=None)(targets, logits)
    expected = alpha[labels] * by_hand("sparse", labels, logits, 2.0)
    np.testing.assert_allclose(to_numpy(value), expected, rtol=3e-6)


@rows_only
def test_a_number_as_alpha_weighs_every_class(kind):
    targets, logits = sample(kind)
    value = CLASSES[kind](alpha=0.25, from_logits=True, reduction=None)(targets, logits)
    expected = 0.25 * by_hand(kind, targets, logits, 2.0)
    np.testing.assert_allclose(to_numpy(value), expected, rtol=3e-6)


def test_a_vector_of_binary_alpha_weighs_each_output():
    targets, logits = sample("binary", num_classes=3)
    alpha = [0.1, 0.5, 0.9]
    rows = [
        np.mean([reference.binary_focal(*x, 2.0, a)[0] for *x, a in zip(*row, alpha, strict=True)])
        for row in zip(targets, logits, strict=True)
    ]
    loss = losses.BinaryFocalCrossentropy(alpha=alpha, from_logits=True, reduction=None)
    np.testing.assert_allclose(to_numpy(loss(targets, logits)), rows, rtol=3e-6)


# --- Sample-dependent gamma ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("FLSD-53", lambda p: 5 if p < 0.2 else 3),
        ("FLSD-532", lambda p: 5 if p < 0.2 else 3 if p < 0.5 else 2),
    ],
)
@every_kind
def test_flsd_takes_its_gamma_from_the_probability_of_the_truth(kind, name, rule):
    targets, logits = sample(kind)
    p_t = reference.softmax64(logits)[np.arange(8), sample("sparse")[0]]
    assert set(np.digitize(p_t, [0.2, 0.5])) == {0, 1, 2}
    value = CLASSES[kind](gamma=name, from_logits=True, reduction=None)(targets, logits)
    np.testing.assert_allclose(to_numpy(value), by_hand(kind, targets, logits, rule), rtol=3e-6)


def test_a_probability_at_the_threshold_takes_the_upper_gamma():
    loss = losses.SparseCategoricalFocalCrossentropy(gamma="FLSD-53", from_logits=True)
    # Five equal logits: p_t is 1 / 5, the float32 number nearest to 0.2.
    value = loss(np.array([0]), np.zeros((1, 5), "float32"))
    assert float(value) == pytest.approx(0.8**3 * np.log(5), rel=1e-6)


def test_a_preset_equals_its_rule_and_the_config_of_its_rule():
    targets, logits = sample("sparse")
    rule = SampleDependentGamma([0.2], [5.0, 3.0])
    values = {
        float(CLASSES["sparse"](gamma=gamma, from_logits=True)(targets, logits))
        for gamma in ("FLSD-53", rule, keras.saving.serialize_keras_object(rule))
    }
    assert len(values) == 1


# --- Masks and ignored classes ------------------------------------------------------------------


def masked_model(loss):
    """A model whose predictions carry the mask of zeros in its input; its logits are random."""
    model = keras.Sequential(
        [
            keras.Input((3,), dtype="int32"),
            keras.layers.Embedding(6, 4, mask_zero=True, embeddings_initializer="normal"),
            keras.layers.Dense(5, kernel_initializer=keras.initializers.RandomNormal(stddev=20)),
        ]
    )
    model.compile(loss=loss)
    return model


STEPS = np.array([[1, 2, 0], [3, 0, 0], [5, 4, 1], [2, 0, 5]], "int32")
STEP_WEIGHTS = np.random.default_rng(1).uniform(0.5, 2, STEPS.shape).astype("float32")

weighed_and_reduced = pytest.mark.parametrize(
    ("weights", "reduction"),
    [
        (None, "sum_over_batch_size"),
        (STEP_WEIGHTS, "sum_over_batch_size"),
        (STEP_WEIGHTS, "mean_with_sample_weight"),
        (STEP_WEIGHTS, "sum"),
    ],
    ids=["mean", "weighed mean", "mean over weights", "weighed sum"],
)


@weighed_and_reduced
@every_kind
def test_masked_steps_count_for_nothing(kind, reduction, weights):
    targets, _ = sample(kind, 4, 3)
    model = masked_model(CLASSES[kind](gamma=2.0, from_logits=True, reduction=reduction))
    logits = model.predict(STEPS, verbose=0)
    valid = (STEPS != 0).astype("float64")
    weighed = valid if weights is None else valid * weights
    total = (weighed * by_hand(kind, targets, logits, 2.0)).sum()
    divisor = {"sum_over_batch_size": valid.sum(), "sum": 1.0}.get(reduction, weighed.sum())
    value = model.evaluate(STEPS, targets, sample_weight=weights, batch_size=4, verbose=0)
    assert value == pytest.approx(total / divisor, rel=1e-5)


@pytest.mark.parametrize("weights", [None, (8,), (8, 1)], ids=str)
@every_reduction
@pytest.mark.parametrize("ignore_class", [0, 255])
def test_ignored_entries_count_as_in_keras(ignore_class, reduction, weights):
    labels, logits = sample("sparse")
    labels[[1, 4]] = ignore_class
    if weights is not None:
        weights = np.random.default_rng(1).uniform(0.5, 2, weights).astype("float32")
    arguments = {"from_logits": True, "ignore_class": ignore_class, "reduction": reduction}
    value = to_numpy(CLASSES["sparse"](gamma=0.0, **arguments)(labels, logits, weights))
    expected = to_numpy(OF_KERAS["sparse"](**arguments)(labels, logits, weights))
    assert value.shape == expected.shape
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-7)


@every_reduction
def test_ignored_pixels_count_as_in_keras(reduction):
    labels, logits = sample("sparse", 2, 3, 4)
    labels[:, 1] = 255
    arguments = {"from_logits": True, "ignore_class": 255, "reduction": reduction}
    expected = OF_KERAS["sparse"](**arguments)(labels, logits)
    for loss, y_pred in (
        (CLASSES["sparse"](gamma=0.0, **arguments), logits),
        (CLASSES["sparse"](gamma=0.0, axis=1, **arguments), np.moveaxis(logits, -1, 1)),
    ):
        value = to_numpy(loss(labels, y_pred))
        np.testing.assert_allclose(value, to_numpy(expected), rtol=1e-5, atol=1e-7)


def test_ignored_entries_have_no_gradient_and_others_share_the_mean():
    labels, logits = sample("sparse")
    labels[[1, 4]] = 255
    loss = CLASSES["sparse"](from_logits=True, ignore_class=255)
    gradient = value_and_gradient(lambda z: loss(labels, z), logits)[1]
    kept = np.setdiff1d(np.arange(8), [1, 4])
    expected = [reference.sparse_focal(labels[i], logits[i], 2.0)[1] / 6 for i in kept]
    np.testing.assert_array_equal(gradient[[1, 4]], 0.0)
    np.testing.assert_allclose(gradient[kept], expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(8,), (8, 1)], ids=str)
def test_ignored_labels_may_have_a_last_axis(shape):
    labels, logits = sample("sparse")
    labels[[1, 4]] = 3
    loss = CLASSES["sparse"](from_logits=True, ignore_class=3)
    kept = labels != 3
    expected = by_hand("sparse", labels[kept], logits[kept], 2.0).mean()
    assert float(loss(labels.reshape(shape), logits)) == pytest.approx(expected, rel=3e-6)


@pytest.mark.parametrize("reduction", REDUCTIONS[:4])
def test_the_loss_of_ignored_entries_alone_is_zero(reduction):
    loss = CLASSES["sparse"](from_logits=True, ignore_class=0, reduction=reduction)
    labels, logits = np.zeros(8, "int32"), sample("sparse")[1]
    value, gradient = value_and_gradient(lambda z: loss(labels, z), logits)
    assert value == 0.0
    np.testing.assert_array_equal(gradient, 0.0)


@weighed_and_reduced
def test_ignored_and_masked_entries_both_drop_out(reduction, weights):
    labels, _ = sample("sparse", 4, 3)
    labels[0, 0] = labels[0, 2] = labels[2, 1] = 255
    model = masked_model(CLASSES["sparse"](from_logits=True, ignore_class=255, reduction=reduction))
    logits = model.predict(STEPS, verbose=0)
    valid = (STEPS != 0) & (labels != 255)
    values = by_hand("sparse", labels[valid], logits[valid], 2.0)
    weighed = np.ones(valid.sum()) if weights is None else weights[valid]
    divisor = {"sum_over_batch_size": valid.sum(), "sum": 1.0}.get(reduction, weighed.sum())
    value = model.evaluate(STEPS, labels, sample_weight=weights, batch_size=4, verbose=0)
    assert value == pytest.approx((weighed * values).sum() / divisor, rel=1e-5)


# --- Precision ----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["int32", "float32", "list"])
@pytest.mark.parametrize("label", [257, 2049])
@pytest.mark.parametrize(
    "dtype", ["bfloat16", "float16", "mixed_bfloat16", keras.DTypePolicy("mixed_float16")], ids=str
)
def test_class_ids_survive_a_half_dtype(dtype, label, form):
    logits = np.zeros((1, 2100), "float32")
    logits[0, label] = 20.0
    labels = [label] if form == "list" else np.array([label], form)
    loss = CLASSES["sparse"](gamma=0.0, from_logits=True, dtype=dtype)
    assert float(loss(labels, logits)) == pytest.approx(np.log1p(2099 * np.exp(-20.0)), rel=0.01)


@pytest.mark.parametrize("form", ["int32", "float32", "list of int", "list of float"])
@pytest.mark.parametrize("floatx", ["bfloat16", "float16"])
def test_class_ids_survive_a_half_floatx(floatx, form):
    label = 2049
    logits = np.zeros((1, 2100), "float32")
    logits[0, label] = 20.0
    labels = {"list of int": [label], "list of float": [float(label)]}.get(form)
    before = keras.config.floatx()
    keras.config.set_floatx(floatx)
    try:
        loss = CLASSES["sparse"](gamma=0.0, from_logits=True)
        value = float(loss(np.array([label], form) if labels is None else labels, logits))
    finally:
        keras.config.set_floatx(before)
    assert value == pytest.approx(np.log1p(2099 * np.exp(-20.0)), rel=3e-6)


def test_the_ignored_class_is_told_from_its_neighbours_in_half_dtypes():
    logits = np.random.default_rng(0).normal(0, 1, (2, 300)).astype("float32")
    arguments = {"from_logits": True, "reduction": "sum", "dtype": "bfloat16"}
    value = CLASSES["sparse"](ignore_class=257, **arguments)(np.array([256, 257]), logits)
    expected = CLASSES["sparse"](**arguments)(np.array([256]), logits[:1])
    assert float(value) == pytest.approx(float(expected), rel=1e-6)


@every_kind
def test_half_precision_predictions_are_computed_in_float32(kind):
    targets, logits = sample(kind)
    half = ops.cast(ops.convert_to_tensor(logits), "bfloat16")
    value = CLASSES[kind](from_logits=True, dtype="bfloat16")(targets, half)
    assert keras.backend.standardize_dtype(value.dtype) == "bfloat16"
    expected = by_hand(kind, targets, to_numpy(half), 2.0).mean()
    assert float(value) == pytest.approx(expected, rel=2.0**-8)


@pytest.mark.parametrize("floatx", ["bfloat16", "float16"])
@every_kind
def test_a_half_floatx_changes_no_loss(kind, floatx):
    targets, logits = sample(kind)
    before = keras.config.floatx()
    keras.config.set_floatx(floatx)
    try:
        loss = CLASSES[kind](gamma="FLSD-53", alpha=0.3, from_logits=True)
        value, gradient = value_and_gradient(lambda z: loss(targets, z), logits, dtype="float32")
    finally:
        keras.config.set_floatx(before)
    loss = CLASSES[kind](gamma="FLSD-53", alpha=0.3, from_logits=True)
    expected, slopes = value_and_gradient(lambda z: loss(targets, z), logits)
    assert value == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-6)


@pytest.mark.skipif(BACKEND == "jax", reason="JAX has no float64 unless jax_enable_x64 is set")
@every_kind
def test_float64_is_computed_in_float64(kind):
    targets, logits = sample(kind)
    # None of these is a float32 number.
    logits = logits.astype("float64") + 1e-9
    loss = CLASSES[kind](from_logits=True, dtype="float64", reduction=None)
    value = loss(targets, logits)
    assert keras.backend.standardize_dtype(value.dtype) == "float64"
    np.testing.assert_allclose(
        ops.convert_to_numpy(value), by_hand(kind, targets, logits, 2.0), rtol=1e-13
    )


# --- Compiled steps -----------------------------------------------------------------------------


@pytest.mark.nightly
@pytest.mark.skipif(BACKEND == "torch", reason="torch runs eagerly")
@every_kind
def test_the_compiled_loss_is_the_eager_one(kind):
    targets, logits = sample(kind)
    loss = CLASSES[kind](gamma="FLSD-53", alpha=[0.1, 0.2, 0.3, 0.4, 0.5], from_logits=True)
    expected = value_and_gradient(lambda z: loss(targets, z), logits)
    actual = value_and_gradient(lambda z: loss(targets, z), logits, compiled=True)
    np.testing.assert_allclose(actual[0], expected[0], rtol=3e-6)
    np.testing.assert_allclose(actual[1], expected[1], atol=1e-6 * np.abs(expected[1]).max())


@pytest.mark.skipif(BACKEND != "tensorflow", reason="only TensorFlow traces unknown lengths")
@pytest.mark.parametrize("ignore_class", [None, 2])
@pytest.mark.parametrize("last_axis", [(), (1,)], ids=["(B,)", "(B, 1)"])
def test_the_batch_size_may_be_unknown(last_axis, ignore_class):
    import tensorflow as tf

    labels, logits = sample("sparse")
    loss = CLASSES["sparse"](from_logits=True, ignore_class=ignore_class)
    step = tf.function(
        loss,
        input_signature=[tf.TensorSpec((None, *last_axis), tf.int32), tf.TensorSpec((None, 5))],
    )
    for size in (8, 3):
        part = labels[:size].astype("int32").reshape(size, *last_axis), logits[:size]
        assert float(step(*part)) == pytest.approx(float(loss(*part)), rel=1e-6)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="only TensorFlow traces unknown lengths")
@pytest.mark.parametrize("kind", ["categorical", "binary"])
def test_every_length_but_that_of_the_classes_may_be_unknown(kind):
    import tensorflow as tf

    targets, logits = sample(kind, 4, 3)
    loss = CLASSES[kind](from_logits=True)
    step = tf.function(loss, input_signature=[tf.TensorSpec((None, None, 5))] * 2)
    assert float(step(targets, logits)) == pytest.approx(float(loss(targets, logits)), rel=1e-6)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="only TensorFlow traces unknown lengths")
def test_an_unknown_number_of_classes_is_an_error():
    import tensorflow as tf

    step = tf.function(
        CLASSES["sparse"](from_logits=True),
        input_signature=[tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None, None))],
    )
    with pytest.raises(ValueError, match=r"known length"):
        step(np.zeros(2, "int32"), np.zeros((2, 3), "float32"))


# --- Bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [[1.0, 2.0], [1.0] * 6])
@every_kind
def test_alpha_of_wrong_length_is_an_error_at_the_first_call(kind, alpha):
    alpha = [min(a, 1.0) for a in alpha]
    with pytest.raises(ValueError, match=f"`alpha` must have one weight .* {len(alpha)} weights"):
        CLASSES[kind](alpha=alpha, from_logits=True)(*sample(kind))


def test_binary_alpha_above_one_is_an_error():
    with pytest.raises(ValueError, match=r"`alpha` must be .* <= 1.*alpha=1.5"):
        losses.BinaryFocalCrossentropy(alpha=1.5)


@pytest.mark.parametrize(
    ("kind", "labels", "predictions"),
    [
        ("sparse", (3,), (2, 5)),
        ("sparse", (2, 5), (2, 5)),
        ("sparse", (2, 3), (2, 4, 5)),
        ("sparse", (), (2, 5)),
        ("categorical", (2,), (2, 5)),
        ("categorical", (2, 1), (2, 5)),
        ("categorical", (2, 4), (2, 5)),
        ("categorical", (3, 5), (2, 5)),
        ("binary", (2,), (2, 5)),
        ("binary", (3, 5), (2, 5)),
        ("binary", (2, 1), (2, 5)),
    ],
    ids=str,
)
def test_shapes_that_cannot_match_are_an_error(kind, labels, predictions):
    with pytest.raises(ValueError, match=r"`y_true` must have shape .* Received: shape"):
        CLASSES[kind](from_logits=True)(np.zeros(labels, "int32"), np.zeros(predictions, "float32"))


@pytest.mark.parametrize("labels", [[0.5, 1.0], [0.0, np.nan]], ids=str)
@pytest.mark.parametrize("form", [list, np.array, ops.convert_to_tensor])
def test_class_ids_that_are_not_whole_are_an_error(form, labels):
    loss = losses.SparseCategoricalFocalCrossentropy(from_logits=True)
    with pytest.raises(ValueError, match=r"`y_true` must hold class ids, whole numbers"):
        loss(form(labels), np.zeros((2, 5), "float32"))


@rows_only
def test_a_single_class_is_an_error(kind):
    with pytest.raises(ValueError, match=r"length >= 2.*\(2, 1\).*BinaryFocalCrossentropy"):
        CLASSES[kind](from_logits=True)(np.zeros((2, 1)), np.zeros((2, 1), "float32"))


@pytest.mark.parametrize("axis", [2, -3])
@every_kind
def test_an_axis_that_predictions_lack_is_an_error(kind, axis):
    with pytest.raises(ValueError, match=f"`axis` must name an axis .* axis={axis}"):
        CLASSES[kind](from_logits=True, axis=axis)(*sample(kind))
