"""What a loss is given: weights, masks, ids and probabilities, right or refused, as in Keras."""

import warnings

import keras
import numpy as np
import pytest
from backends import BACKEND, compiled_call, to_numpy, value_and_gradient
from keras import ops

from keras_focal import functional, gammas, losses, metrics

Z = np.random.default_rng(0).normal(size=(3, 3, 4)).astype("float32")
Y = np.random.default_rng(1).integers(0, 4, (3, 3))
CLASSES = {
    "sparse": losses.SparseCategoricalFocalCrossentropy,
    "brier": losses.BrierLoss,
    "smoothed": losses.LabelSmoothingCrossentropy,
    "dual": losses.DualFocalCrossentropy,
    "poly": losses.PolyLoss,
    "focal + brier": losses.FocalCalibrationLoss,
}
every_class = pytest.mark.parametrize("name", CLASSES)
some_weights = pytest.mark.parametrize(
    "shape", [(), (3,), (3, 1), (1, 3), (3, 3), (3, 3, 1)], ids=str
)


def weights_of(shape):
    return np.random.default_rng(2).uniform(0.5, 2.0, shape).astype("float32")


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
@some_weights
def test_weights_of_any_shape_are_those_of_stock_keras(shape, reduction):
    weights = weights_of(shape)
    for ignored in (None, -1, 255):
        arguments = {"from_logits": True, "ignore_class": ignored, "reduction": reduction}
        # Under a mask Keras broadcasts weights in place, which torch cannot.
        each = weights.reshape(3, 3) if weights.size == 9 else np.broadcast_to(weights, (3, 3))
        given = weights if ignored is None else each
        expected = keras.losses.SparseCategoricalCrossentropy(**arguments)(Y, Z, given)
        loss = CLASSES["sparse"](gamma=0.0, **arguments)
        assert float(loss(Y, Z, weights)) == pytest.approx(float(expected), rel=1e-5)


@some_weights
def test_the_miner_and_mmce_weigh_as_the_loss_itself(shape):
    weights = weights_of(shape)
    plain = CLASSES["sparse"](gamma=0.0, from_logits=True)
    expected = float(plain(Y, Z, weights))
    for ignored in (None, 255):
        loss = CLASSES["sparse"](gamma=0.0, from_logits=True, ignore_class=ignored)
        whole = losses.HardExampleMining(loss, fraction=1.0)
        assert float(whole(Y, Z, weights)) == pytest.approx(expected, rel=1e-5)
        without = losses.MMCELoss(weight=0.0, from_logits=True, ignore_class=ignored)
        assert float(without(Y, Z, weights)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf])
@every_class
def test_a_weight_that_is_none_is_an_error(name, wrong):
    weights = np.ones((3, 3), "float32")
    weights[1, 2] = wrong
    with pytest.raises(ValueError, match=r"`sample_weight` must hold finite numbers >= 0"):
        CLASSES[name](from_logits=True)(Y, Z, weights)
    with pytest.raises(ValueError, match=rf">= 0\. Received: {wrong:g}\. Weight 0"):
        CLASSES[name](from_logits=True)(Y, Z, float(wrong))


@pytest.mark.skipif(BACKEND == "torch", reason="torch compiles nothing here")
def test_a_negative_weight_is_nan_inside_a_compiled_step():
    value = compiled_call(CLASSES["sparse"](from_logits=True), Y, Z, -np.ones((3, 3), "float32"))
    assert np.isnan(to_numpy(value))


@pytest.mark.parametrize("by", ["weight 0", "ignored class", "negative ignored class"])
@every_class
def test_what_does_not_count_is_exempt_from_every_rule(name, by):
    labels, weights, ignored = Y.copy(), np.ones((3, 3), "float32"), None
    labels[0, 1], logits = 77, Z.copy()
    logits[0, 1] = np.nan
    if by == "weight 0":
        weights[0, 1] = 0.0
    else:
        ignored = 77 if by == "ignored class" else -1
        labels[0, 1] = ignored
    loss = CLASSES[name](from_logits=True, ignore_class=ignored, reduction="sum")
    value, gradient = value_and_gradient(lambda z: loss(labels, z, weights), logits)
    kept = np.ones((3, 3), bool)
    kept[0, 1] = False
    plain = CLASSES[name](from_logits=True, reduction="sum")
    assert value == pytest.approx(float(plain(Y[kept], Z[kept])), rel=1e-5)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[0, 1], 0.0)


def test_weights_that_do_not_fit_name_alpha():
    with pytest.raises(ValueError, match=r"`sample_weight` must have shape.*use `alpha`"):
        CLASSES["sparse"](from_logits=True)(Y, Z, np.ones(2, "float32"))


def test_class_weight_on_several_ids_per_sample_is_refused():
    model = keras.Sequential([keras.Input((5,)), keras.layers.Embedding(9, 4)])
    model.compile("sgd", CLASSES["sparse"](from_logits=True))
    with pytest.raises(ValueError, match="use `alpha`"):
        model.fit(np.ones((4, 5)), np.ones((4, 5), int), class_weight={0: 1.0, 1: 2.0}, verbose=0)


@every_class
def test_probabilities_outside_the_unit_interval_are_refused(name):
    with pytest.raises(ValueError, match=r"`y_pred` must hold probabilities.*from_logits=True"):
        CLASSES[name]()(Y, Z)


@every_class
def test_a_probability_of_nan_gives_nan_and_no_error(name):
    p = np.full((3, 3, 4), 0.25, "float32")
    p[0, 0, 1] = np.nan
    values = to_numpy(CLASSES[name](reduction=None)(Y, p))
    assert np.argwhere(np.isnan(values)).tolist() == [[0, 0]]


@pytest.mark.parametrize("axis", [1, -1])
def test_alpha_of_outputs_weighs_along_the_axis_of_the_loss(axis):
    targets, logits = np.eye(2, dtype="float32")[Y % 2], Z[..., :2]
    loss = losses.BinaryFocalCrossentropy(alpha=[0.1, 0.9], from_logits=True, axis=axis)
    expected = losses.BinaryFocalCrossentropy(alpha=[0.1, 0.9], from_logits=True)(targets, logits)
    given = (np.moveaxis(x, -1, axis) for x in (targets, logits))
    assert float(loss(*given)) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("alpha", [True, "0.25", [0.5, "a"], -1.0])
def test_an_alpha_that_is_no_number_is_refused(alpha):
    with pytest.raises(ValueError, match="`alpha` must be"):
        losses.BinaryFocalCrossentropy(alpha=alpha)


def test_a_rule_with_negative_gammas_needs_an_inverse_form():
    rule = gammas.AdaptiveBins(1, -2.0)
    for loss in (losses.PolyLoss, losses.DualFocalCrossentropy):
        with pytest.raises(ValueError, match="not defined for negative exponents"):
            loss(gamma=rule, from_logits=True)(Y, Z)


@pytest.mark.parametrize("fraction", [0.5, 1.0])
def test_the_miner_does_not_hide_nan(fraction):
    logits = Z.copy()
    logits[1, 1] = np.nan
    mined = losses.HardExampleMining(CLASSES["sparse"](from_logits=True), fraction)
    assert np.isnan(float(mined(Y, logits)))


def test_the_miner_of_everything_keeps_everything():
    number = 2**21
    z = ops.zeros((number, 2))
    mined = losses.HardExampleMining(
        CLASSES["sparse"](gamma=0.0, from_logits=True), 1.0, reduction=None
    )
    assert int(ops.sum(mined(np.zeros(number, "int32"), z) > 0)) == number


def test_the_miner_weighs_a_loss_without_an_axis_as_keras_does(rng):
    targets, predictions = rng.normal(size=(2, 2, 5, 4)).astype("float32")
    weights = rng.uniform(size=(2, 5)).astype("float32")
    part = keras.losses.MeanSquaredError()
    found = losses.HardExampleMining(part, 1.0)(targets, predictions, weights)
    assert float(found) == pytest.approx(float(part(targets, predictions, weights)), rel=1e-6)


def test_a_ragged_label_is_refused_in_a_sentence():
    if BACKEND != "tensorflow":
        pytest.skip("TensorFlow alone has ragged tensors")
    import tensorflow as tf

    with pytest.raises(ValueError, match="Received: a RaggedTensor"):
        CLASSES["sparse"](from_logits=True)(tf.ragged.constant([[1, 2], [1]]), Z[:2, :2])


def test_repr_shows_the_arguments():
    loss = losses.PolyLoss(gamma=1.0, epsilon=0.5, from_logits=True)
    text = "PolyLoss(gamma=1.0, epsilon=0.5, ignore_class=None, from_logits=True)"
    assert repr(loss) == text
    assert repr(losses.HardExampleMining(loss, 0.5)) == f"HardExampleMining({text}, fraction=0.5)"
    rare = losses.BrierLoss(axis=1, reduction="sum", dtype="float64")
    assert "from_logits=False, axis=1, reduction='sum', dtype='float64'" in repr(rare)


ACTIVATED = {
    "sparse": ("softmax", losses.SparseCategoricalFocalCrossentropy),
    "categorical": ("softmax", losses.CategoricalFocalCrossentropy),
    "brier": ("softmax", losses.BrierLoss),
    "binary": ("sigmoid", losses.BinaryFocalCrossentropy),
}


def activated_model(activation, **compiled_with):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation=activation)])
    model.compile("sgd", **compiled_with)
    return model


def warnings_of_a_fit(model, rows):
    x, y = np.ones((4, 4)), np.eye(3)[[0, 1, 2, 0]] if rows else np.array([0, 1, 2, 0])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(x, y, verbose=0)
    return [str(one.message) for one in caught if "must be logits" in str(one.message)]


@pytest.mark.skipif(BACKEND == "jax", reason="Keras marks no activation on JAX, nor warns there")
@pytest.mark.parametrize("name", ACTIVATED)
def test_logits_that_come_out_of_an_activation_warn(name, few_steps):
    activation, cls = ACTIVATED[name]
    rows = name in ("categorical", "binary")
    assert warnings_of_a_fit(activated_model(activation, loss=cls(from_logits=True)), rows)
    assert not warnings_of_a_fit(activated_model(activation, loss=cls()), rows)
    assert not warnings_of_a_fit(activated_model(None, loss=cls(from_logits=True)), rows)


@pytest.mark.skipif(BACKEND == "jax", reason="Keras marks no activation on JAX, nor warns there")
def test_a_metric_of_logits_that_come_out_of_an_activation_warns():
    ece = metrics.ECE(from_logits=True)
    model = activated_model("softmax", loss="sparse_categorical_crossentropy", metrics=[ece])
    assert warnings_of_a_fit(model, False)


FUNCTIONS = {
    "sparse": (3, None, functional.sparse_categorical_focal_crossentropy, None),
    "binary": (1, None, functional.binary_focal_crossentropy, None),
    "metrics": (
        3,
        "softmax",
        "sparse_categorical_crossentropy",
        [functional.expected_calibration_error, functional.brier_score],
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_model_compiled_with_a_function_takes_columns_and_loads(name, tmp_path, few_steps):
    width, activation, loss, measures = FUNCTIONS[name]
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(width, activation=activation)])
    model.compile("sgd", loss, metrics=measures)
    x, y = np.ones((4, 4), "float32"), np.array([[0], [1], [1], [0]])
    model.fit(x, y, verbose=0)
    expected = model.evaluate(x, y, verbose=0)
    assert np.isfinite(expected).all()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.loss is loss or loaded.loss == loss
    assert loaded.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-6)


@pytest.mark.skipif(BACKEND == "torch", reason="torch compiles nothing here")
@pytest.mark.parametrize("rows", [1, 2000])
def test_the_smallest_normal_loss_is_not_flushed_in_a_compiled_step(rows):
    loss = losses.SparseCategoricalFocalCrossentropy(gamma=0.0, from_logits=True, reduction="sum")
    z = np.tile(np.float32([0.0, -86.6446]), (rows, 1))
    value = to_numpy(compiled_call(loss, np.zeros(rows, "int32"), z))
    assert value == pytest.approx(rows * 2.34816e-38, rel=1e-4)


def test_ids_of_a_column_train_a_compiled_model():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile("sgd", CLASSES["sparse"](from_logits=True))
    history = model.fit(np.ones((8, 4)), np.arange(8)[:, None] % 3, verbose=0, epochs=2)
    assert np.isfinite(history.history["loss"]).all()


def test_ids_that_start_at_one_are_loud_in_fit():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile("sgd", CLASSES["sparse"](from_logits=True))
    y = np.arange(8) % 3 + 1
    if BACKEND == "torch":
        with pytest.raises(ValueError, match="subtract 1"):
            model.fit(np.ones((8, 4)), y, verbose=0)
    else:
        assert np.isnan(model.fit(np.ones((8, 4)), y, verbose=0).history["loss"]).all()
