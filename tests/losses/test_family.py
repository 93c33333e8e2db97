"""What holds for every loss over classes: labels of either form, axes, weights, masks."""

import keras
import numpy as np
import pytest
import reference
from backends import BACKEND, to_numpy, value_and_gradient
from keras import ops

from keras_focal import losses

# Each with arguments under which all of its terms count.
LOSSES = {
    "brier": (losses.BrierLoss, {}),
    "mmce": (losses.MMCELoss, {}),
    "mmce weighted": (losses.MMCELoss, {"form": "weighted"}),
    "smoothing": (losses.LabelSmoothingCrossentropy, {}),
    "entropy": (losses.EntropyRegularizedCrossentropy, {"weight": 0.5}),
    "margin": (losses.MarginLabelSmoothingCrossentropy, {"margin": 1.0}),
    "focal tversky": (losses.FocalTversky, {}),
    "unified focal": (losses.UnifiedFocalLoss, {}),
    "dual": (losses.DualFocalCrossentropy, {}),
    "poly": (losses.PolyLoss, {"gamma": 2.0}),
    "focal + brier": (losses.FocalCalibrationLoss, {"gamma": "FLSD-53"}),
}
OF_OUTPUTS = {
    "asymmetric": (losses.AsymmetricLoss, {}),
    "quality": (losses.QualityFocalCrossentropy, {}),
    "varifocal": (losses.VarifocalLoss, {}),
}
AS_USUAL = BACKEND == "jax"
every_loss = pytest.mark.parametrize("name", LOSSES)
of_outputs = pytest.mark.parametrize("name", OF_OUTPUTS)
# One number of the batch: no sample has a loss of its own.
OF_A_BATCH = ("mmce", "mmce weighted", "focal tversky", "unified focal")
of_samples = pytest.mark.parametrize("name", [n for n in LOSSES if n not in OF_A_BATCH])


def build(name, **more):
    cls, arguments = {**LOSSES, **OF_OUTPUTS}[name]
    return cls(**{"from_logits": True, **arguments, **more})


def sample(*shape):
    rng = np.random.default_rng(0)
    shape = shape or (8,)
    return rng.integers(0, 5, shape), rng.normal(0, 2, (*shape, 5)).astype("float32")


def one_hot(labels):
    return np.eye(5, dtype="float32")[labels]


# --- Labels and axes ----------------------------------------------------------------------------


@every_loss
def test_ids_and_one_hot_rows_of_any_form_are_equal(name):
    labels, logits = sample()
    loss = build(name)
    expected = float(loss(labels, logits))
    forms = [labels[:, None], labels.astype("float32"), labels.tolist(), one_hot(labels)]
    for form in forms:
        assert float(loss(form, logits)) == pytest.approx(expected, rel=1e-6)


@every_loss
def test_probabilities_give_the_loss_of_their_logits(name):
    labels, logits = sample()
    p = reference.softmax64(logits).astype("float32")
    expected = float(build(name)(labels, logits))
    assert float(build(name, from_logits=False)(labels, p)) == pytest.approx(expected, rel=2e-5)


@of_outputs
def test_probabilities_of_outputs_give_the_loss_of_their_logits(name):
    targets, logits = one_hot(sample()[0]), sample()[1]
    p = (1 / (1 + np.exp(-logits.astype("float64")))).astype("float32")
    expected = float(build(name)(targets, logits))
    assert float(build(name, from_logits=False)(targets, p)) == pytest.approx(expected, rel=2e-5)


@every_loss
def test_class_axis_may_come_first(name):
    labels, logits = sample(2, 3, 4)
    expected = to_numpy(build(name, reduction=None)(labels, logits))
    y_pred = np.moveaxis(logits, -1, 1)
    loss = build(name, axis=1, reduction=None)
    for form in (labels, labels[..., None], np.moveaxis(one_hot(labels), -1, 1)):
        np.testing.assert_allclose(to_numpy(loss(form, y_pred)), expected, rtol=2e-6, atol=1e-7)


@of_outputs
def test_outputs_are_averaged_over_their_axis(name):
    rng = np.random.default_rng(0)
    targets, logits = rng.random((4, 3, 2)), rng.normal(0, 2, (4, 3, 2))
    targets, logits = targets.astype("float32"), logits.astype("float32")
    single = build(name, reduction=None)(targets[..., None], logits[..., None])
    assert tuple(single.shape) == (4, 3, 2)
    for axis in (1, -1):
        value = build(name, axis=axis, reduction=None)(targets, logits)
        np.testing.assert_allclose(to_numpy(value), to_numpy(single).mean(axis), rtol=1e-5)


@of_outputs
def test_labels_of_one_output_may_lack_the_last_axis(name):
    targets, logits = np.array([0.25, 1.0], "float32"), np.array([[1.0], [-2.0]], "float32")
    loss = build(name)
    assert float(loss(targets, logits)) == float(loss(targets[:, None], logits))


# --- Weights, masks, ignored classes ------------------------------------------------------------


@pytest.mark.parametrize("weights", [(8,), (8, 1)], ids=str)
@of_samples
def test_weights_and_reductions_are_those_of_keras(name, weights):
    labels, logits = sample()
    weights = np.random.default_rng(1).uniform(0, 2, weights).astype("float32")
    values = to_numpy(build(name, reduction=None)(labels, logits))
    weighed = values * weights.ravel()
    for reduction, expected in {
        "sum": weighed.sum(),
        "sum_over_batch_size": weighed.mean(),
        "mean_with_sample_weight": weighed.sum() / weights.sum(),
    }.items():
        value = build(name, reduction=reduction)(labels, logits, weights)
        assert float(value) == pytest.approx(expected, rel=1e-5)


@every_loss
def test_an_ignored_class_is_as_if_it_had_not_come(name):
    labels, logits = sample()
    labels[[1, 4]] = 3
    kept = labels != 3
    expected = float(build(name)(labels[kept], logits[kept]))
    loss = build(name, ignore_class=3)
    for form in (labels, labels[:, None], one_hot(labels)):
        assert float(loss(form, logits)) == pytest.approx(expected, rel=2e-6)


@every_loss
def test_a_weight_of_zero_is_as_if_the_sample_had_not_come(name):
    labels, logits = sample()
    weights = np.array([1, 0, 2, 1, 0, 1, 1, 1], "float32")
    rows = [0, 2, 2, 3, 5, 6, 7]
    arguments = {"reduction": "mean_with_sample_weight"}
    value = build(name, **arguments)(labels, logits, weights)
    expected = build(name, **arguments)(labels[rows], logits[rows])
    assert float(value) == pytest.approx(float(expected), rel=2e-6)


STEPS = np.array([[1, 2, 0], [3, 0, 0], [5, 4, 1], [2, 0, 5]], "int32")


def masked_model(loss):
    model = keras.Sequential(
        [
            keras.Input((3,), dtype="int32"),
            keras.layers.Embedding(6, 4, mask_zero=True, embeddings_initializer="normal"),
            keras.layers.Dense(5, kernel_initializer=keras.initializers.RandomNormal(stddev=20)),
        ]
    )
    model.compile(loss=loss)
    return model


@pytest.mark.parametrize("name", ["mmce", "focal tversky", "dual", "mining"])
def test_masked_steps_count_for_nothing(name):
    def loss():
        if name == "mining":
            return losses.HardExampleMining(build("brier"), 0.5)
        return build(name)

    labels, _ = sample(4, 3)
    model = masked_model(loss())
    logits = model.predict(STEPS, verbose=0)
    valid = STEPS != 0
    value = model.evaluate(STEPS, labels, batch_size=4, verbose=0)
    assert value == pytest.approx(float(loss()(labels[valid], logits[valid])), rel=1e-5)


# --- MMCE ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize("form", ["published", "weighted", "repository"])
def test_mmce_loss_is_crossentropy_plus_weight_times_mmce(form, weighed):
    labels, logits = sample(20)
    weights = np.random.default_rng(1).uniform(0, 2, 20) if weighed else np.ones(20)
    weights = weights.astype("float32")
    p = reference.softmax64(logits)
    ce = np.average(-np.log(p[np.arange(20), labels]), weights=weights)
    expected = ce + 8.0 * reference.mmce(labels, logits, weights, form)
    loss = build("mmce", weight=8.0, form=form, reduction="mean_with_sample_weight")
    value = loss(labels, logits, weights if weighed else None)
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_mmce_loss_of_a_batch_of_one_trains():
    for labels in ([0], [1]):
        _, gradient = value_and_gradient(
            lambda z, labels=labels: build("mmce")(np.array(labels), z),
            np.array([[2.0, 0.0]], "float32"),
        )
        assert np.all(np.isfinite(gradient))
        assert gradient[0, labels[0]] < 0


# --- Hard examples ------------------------------------------------------------------------------


def by_hand(values, fraction, weights=None):
    weights = np.ones(len(values)) if weights is None else weights
    present = np.flatnonzero(weights)
    number = int(np.ceil(fraction * len(present) - 1e-9))
    hardest = present[np.argsort(-values[present], kind="stable")[:number]]
    return (weights * values)[hardest], weights[hardest]


@pytest.mark.parametrize("fraction", [0.01, 0.125, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("weighed", [False, True])
def test_only_the_hardest_part_counts(fraction, weighed):
    labels, logits = sample()
    weights = np.array([1, 0, 2, 1, 0.5, 1, 1, 0], "float32") if weighed else None
    inner = build("brier", reduction=None)
    values, kept = by_hand(to_numpy(inner(labels, logits)), fraction, weights)
    for reduction, expected in {
        "sum_over_batch_size": values.sum() / len(kept),
        "mean_with_sample_weight": values.sum() / kept.sum(),
        "sum": values.sum(),
    }.items():
        loss = losses.HardExampleMining(inner, fraction, reduction=reduction)
        assert float(loss(labels, logits, weights)) == pytest.approx(expected, rel=1e-5)


def test_a_part_that_rounds_up_in_float32_is_not_one_more():
    labels, logits = np.zeros(10, "int32"), np.zeros((10, 2), "float32")
    loss = losses.HardExampleMining(losses.BrierLoss(from_logits=True), 0.1, reduction=None)
    assert np.count_nonzero(to_numpy(loss(labels, logits))) == 1


def test_of_equal_losses_the_first_count():
    labels, logits = np.zeros(6, "int32"), np.zeros((6, 2), "float32")
    loss = losses.HardExampleMining(losses.BrierLoss(from_logits=True), 0.5, reduction="none")
    np.testing.assert_allclose(to_numpy(loss(labels, logits)), [0.5] * 3 + [0] * 3)


def test_easy_samples_have_no_gradient():
    labels, logits = sample()
    inner = build("smoothing")
    _, all_of_them = value_and_gradient(lambda z: inner(labels, z), logits, compiled=AS_USUAL)
    loss = losses.HardExampleMining(inner, 0.5)
    _, gradient = value_and_gradient(lambda z: loss(labels, z), logits, compiled=AS_USUAL)
    values = to_numpy(build("smoothing", reduction=None)(labels, logits))
    hard = values >= np.sort(values)[4]
    np.testing.assert_array_equal(gradient[~hard], 0.0)
    np.testing.assert_allclose(gradient[hard], 2 * all_of_them[hard], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("ignore_class", [0, 255])
@pytest.mark.parametrize(
    "inner", [keras.losses.SparseCategoricalCrossentropy, losses.SparseCategoricalFocalCrossentropy]
)
def test_ignored_samples_are_neither_hard_nor_counted(inner, ignore_class):
    labels, logits = sample()
    labels[labels == 0] = 1
    labels[[1, 4]] = ignore_class
    kept = labels != ignore_class
    with_it, without = (
        losses.HardExampleMining(inner(from_logits=True, ignore_class=ignored), 0.5)
        for ignored in (ignore_class, None)
    )
    assert float(with_it(labels, logits)) == pytest.approx(
        float(without(labels[kept], logits[kept])), rel=1e-5
    )


@pytest.mark.skipif(BACKEND != "tensorflow", reason="only TensorFlow traces unknown lengths")
@pytest.mark.parametrize("name", ["mmce", "mining"])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_batch_size_may_be_unknown(name, jit_compile):
    import tensorflow as tf

    loss = losses.HardExampleMining(build("brier"), 0.3) if name == "mining" else build(name)
    step = tf.function(
        loss,
        jit_compile=jit_compile,
        input_signature=[tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None, 5))],
    )
    labels, logits = sample()
    for size in (8, 3):
        part = labels[:size].astype("int32"), logits[:size]
        assert float(step(*part)) == pytest.approx(float(loss(*part)), rel=1e-5)


# --- Gamma of the relatives ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "cls",
    [
        losses.DualFocalCrossentropy,
        losses.PolyLoss,
        losses.FocalCalibrationLoss,
        losses.QualityFocalCrossentropy,
        losses.VarifocalLoss,
    ],
)
def test_gamma_of_a_relative_can_be_set(cls):
    labels, logits = sample()
    loss = cls(gamma=5.0, from_logits=True)
    loss.gamma = 1.0
    expected = cls(gamma=1.0, from_logits=True)(one_hot(labels), logits)
    assert float(loss(one_hot(labels), logits)) == float(expected)


# --- Bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [-0.1, np.nan, np.inf, None, "2"])
@pytest.mark.parametrize(
    "cls",
    [
        losses.MMCELoss,
        losses.EntropyRegularizedCrossentropy,
        losses.MarginLabelSmoothingCrossentropy,
        losses.FocalCalibrationLoss,
    ],
)
def test_a_weight_below_zero_is_an_error(cls, weight):
    with pytest.raises(ValueError, match=r"`weight` must be a finite number >= 0. Received"):
        cls(weight=weight)


@pytest.mark.parametrize(
    ("build_it", "message"),
    [
        (lambda: losses.MarginLabelSmoothingCrossentropy(margin=-1), r"`margin` must be .* >= 0"),
        (lambda: losses.PolyLoss(epsilon=-1.5), r"`epsilon` must be a finite number >= -1"),
        (lambda: losses.PolyLoss(gamma=-1.0), r"`gamma` must be a finite number >= 0"),
        (lambda: losses.LabelSmoothingCrossentropy(1.0), r"`label_smoothing` must be a number in"),
        (lambda: losses.AsymmetricLoss(shift=1.0), r"`shift` must be a number in \[0, 1\)"),
        (lambda: losses.AsymmetricLoss(gamma_neg=-1), r"`gamma_neg` must be a finite number >= 0"),
        (lambda: losses.VarifocalLoss(alpha=-1), r"`alpha` must be a finite number >= 0"),
        (lambda: losses.FocalTversky(gamma=0), r"`gamma` must be a finite number > 0"),
        (lambda: losses.UnifiedFocalLoss(delta=0), r"`delta` must be a number in \(0, 1\)"),
        (lambda: losses.UnifiedFocalLoss(background=-1), "`background` must be a whole number"),
        (lambda: losses.MMCELoss(form="squared"), r"`form` must be one of 'published'"),
        (lambda: losses.BrierLoss(ignore_class=1.5), r"`ignore_class` must be a whole number"),
        (lambda: losses.HardExampleMining("mse"), r"`loss` must be a `keras.losses.Loss` object"),
        (
            lambda: losses.HardExampleMining(losses.BrierLoss(), 0.0),
            r"`fraction` must be a number in \(0, 1\]",
        ),
    ],
)
def test_arguments_out_of_range_are_an_error(build_it, message):
    with pytest.raises(ValueError, match=message):
        build_it()


@pytest.mark.parametrize(
    ("labels", "predictions"),
    [((3,), (2, 5)), ((2, 4), (2, 5)), ((2, 3), (2, 4, 5)), ((), (2, 5)), ((2, 5, 1), (2, 5))],
    ids=str,
)
@every_loss
def test_shapes_that_cannot_match_are_an_error(name, labels, predictions):
    with pytest.raises(ValueError, match=r"`y_true` must have shape .* Received: shape"):
        build(name)(np.zeros(labels, "int32"), np.zeros(predictions, "float32"))


@pytest.mark.parametrize("name", [*LOSSES, "mining"])
def test_ids_that_are_not_whole_are_an_error(name):
    loss = losses.HardExampleMining(build("brier")) if name == "mining" else build(name)
    with pytest.raises(ValueError, match=r"`y_true` must hold class ids, whole numbers"):
        loss(np.array([0.5, 1.0]), np.zeros((2, 5), "float32"))


@every_loss
def test_class_ids_survive_a_half_dtype(name):
    logits = np.zeros((1, 300), "float32")
    logits[0, 257] = 20.0
    loss = build(name, dtype="bfloat16")
    assert float(loss(np.array([257]), ops.convert_to_tensor(logits))) == pytest.approx(
        float(build(name)(np.array([257]), logits)), rel=2.0**-8
    )
