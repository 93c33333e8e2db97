"""A sum of losses is the sum of what each gives alone, or an error that says why it cannot be."""

import keras
import numpy as np
import pytest
import reference
from backends import to_numpy, value_and_gradient

from keras_focal import losses
from keras_focal.callbacks import GammaScheduler

IDS = np.array([[0, 2, 1], [1, 1, 0]])
ROWS = np.eye(3, dtype="float32")[IDS]
Z = np.random.default_rng(0).normal(0, 2, (2, 3, 3)).astype("float32")
P = reference.softmax64(Z).astype("float32")


def focal(**arguments):
    return losses.CategoricalFocalCrossentropy(**{"gamma": 2.0, **arguments})


def test_focal_and_dice_are_added_with_their_weights():
    axes = (1, 2)
    p, q = P.astype("float64"), ROWS.astype("float64")
    p_t = (p * q).sum(-1)
    expected = 0.5 * np.mean((1 - p_t) ** 2 * -np.log(p_t))
    dice = 1 - 2 * (p * q).sum(axes) / (p.sum(axes) + q.sum(axes))
    expected += 3.0 * dice.mean()
    loss = losses.CompoundLoss([focal(), keras.losses.Dice(axis=axes)], [0.5, 3.0])
    assert float(loss(ROWS, P)) == pytest.approx(expected, rel=1e-5)


def test_call_of_hard_examples_gives_the_loss_of_each():
    part = focal(from_logits=True)
    found = losses.HardExampleMining(part, 0.5).call(ROWS, Z)
    np.testing.assert_array_equal(to_numpy(found), to_numpy(part.call(ROWS, Z)))


def test_the_gradient_is_that_of_the_sum():
    parts = [focal(from_logits=True), losses.BrierLoss(from_logits=True)]
    loss = losses.CompoundLoss(parts, [2.0, 0.5])
    (_, whole), *each = (value_and_gradient(lambda z, f=f: f(ROWS, z), Z) for f in (loss, *parts))
    np.testing.assert_allclose(whole, 2.0 * each[0][1] + 0.5 * each[1][1], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("reduction", ["sum", "mean", "mean_with_sample_weight", None])
def test_weights_and_ignored_classes_are_those_of_each_part(reduction):
    arguments = {"from_logits": True, "reduction": reduction}
    parts = [
        losses.SparseCategoricalFocalCrossentropy(ignore_class=2, **arguments),
        losses.BrierLoss(**arguments),
        keras.losses.SparseCategoricalCrossentropy(**arguments),
    ]
    weights = np.array([[0.0, 2.0, 1.0], [0.5, 1.0, 1.0]], "float32")
    found = to_numpy(losses.CompoundLoss(parts, [1.0, 2.0, 3.0])(IDS, Z, weights))
    each = [to_numpy(part(IDS, Z, weights)) for part in parts]
    np.testing.assert_allclose(found, each[0] + 2.0 * each[1] + 3.0 * each[2], rtol=1e-6)


def test_a_mask_of_the_model_reaches_each_part():
    steps = np.array([[1, 2, 0], [3, 0, 0]], "int32")
    model = keras.Sequential(
        [
            keras.Input((3,), dtype="int32"),
            keras.layers.Embedding(4, 3, mask_zero=True, embeddings_initializer="normal"),
        ]
    )
    parts = [focal(from_logits=True), losses.BrierLoss(from_logits=True)]
    model.compile(loss=losses.CompoundLoss(parts), run_eagerly=True)
    value = model.evaluate(steps, ROWS, verbose=0)
    kept, logits = steps != 0, model.predict(steps, verbose=0)
    expected = sum(float(part(ROWS[kept], logits[kept])) for part in parts)
    assert value == pytest.approx(expected, rel=1e-5)


def test_a_schedule_changes_the_gamma_of_a_part(few_steps):
    part = focal(from_logits=True, gamma=5.0)
    mined = losses.HardExampleMining(part, 0.5)
    loss = losses.CompoundLoss([losses.CompoundLoss([mined]), losses.BrierLoss(from_logits=True)])
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    model.compile("sgd", loss)
    x, y = np.ones((2, 3), "float32"), ROWS[:, 0]
    model.fit(x, y, verbose=0, callbacks=[GammaScheduler({0: 1.0})])
    assert part.gamma == 1.0
    value = model.evaluate(x, y, verbose=0)
    assert value == pytest.approx(float(loss(y, model.predict(x, verbose=0))), rel=1e-5)


def test_dice_takes_weights_of_images():
    dice = keras.losses.Dice(axis=(1, 2))
    weights = np.array([0.5, 2.0], "float32")
    loss = losses.CompoundLoss([dice])
    assert float(loss(ROWS, P, weights)) == float(dice(ROWS, P, weights))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: losses.CompoundLoss([]), "`losses` must be a list of one loss or more"),
        (lambda: losses.CompoundLoss(focal()), "`losses` must be a list"),
        (lambda: losses.CompoundLoss(["dice"]), "`losses` must be a `keras.losses.Loss` object"),
        (lambda: losses.CompoundLoss([focal()], [1.0, 2.0]), "`weights` must be one for each"),
        (lambda: losses.CompoundLoss([focal()], [-1.0]), "`weights` must be a finite number >= 0"),
        (
            lambda: losses.CompoundLoss([focal(), focal(reduction="sum")]),
            "must have the same `reduction`",
        ),
        (
            lambda: losses.CompoundLoss([focal(from_logits=True), keras.losses.Dice()]),
            "all take logits or all take probabilities",
        ),
        (
            lambda: losses.CompoundLoss(
                [losses.HardExampleMining(focal(from_logits=True)), focal()]
            ),
            "all take logits or all take probabilities",
        ),
        (
            lambda: losses.HardExampleMining(losses.CompoundLoss([focal()]))(ROWS, P),
            "Wrap its parts instead",
        ),
    ],
)
def test_a_sum_that_cannot_be_is_an_error(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("labels", "weights", "message"),
    [
        (ROWS, np.ones((2, 3), "float32"), "`sample_weight` must be of at most 0 axes for Dice"),
        (IDS, None, "`y_true` must have shape"),
    ],
)
def test_what_dice_has_no_place_for_is_an_error(labels, weights, message):
    with pytest.raises(ValueError, match=message):
        losses.CompoundLoss([keras.losses.Dice()])(labels, P, weights)


def test_a_mask_that_dice_would_not_see_is_an_error():
    predictions = keras.ops.convert_to_tensor(P)
    keras.src.backend.set_keras_mask(predictions, keras.ops.convert_to_tensor(IDS > 0))
    with pytest.raises(ValueError, match="`y_pred` must have no mask for Dice"):
        losses.CompoundLoss([keras.losses.Dice(axis=(1, 2))])(ROWS, predictions)


def test_without_a_reduction_values_of_different_shapes_are_an_error():
    parts = [focal(reduction=None), keras.losses.Dice(axis=(1, 2), reduction=None)]
    with pytest.raises(ValueError, match=r"values of shape \(2, 3\), \(2,\)"):
        losses.CompoundLoss(parts)(ROWS, P)
