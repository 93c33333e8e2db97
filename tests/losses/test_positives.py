"""A detector's loss is a sum over anchors, divided by the number of positive ones."""

import keras
import numpy as np
import pytest
from backends import BACKEND, to_numpy, value_and_gradient

from keras_focal import losses
from keras_focal.callbacks._losses import losses_of

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(-2, 2, (2, 50, 3)).astype("float32")
TARGETS = np.zeros((2, 50, 3), "float32")
TARGETS[0, [3, 9, 30], [0, 2, 2]] = TARGETS[1, 7, 1] = 1.0
POSITIVES = 4


def focal(**arguments):
    return losses.BinaryFocalCrossentropy(gamma=2.0, alpha=0.25, from_logits=True, **arguments)


def by_hand(weights, logits=LOGITS):
    """Return sum_i w_i L_i / sum_{i positive} w_i of the binary focal loss."""
    p = 1 / (1 + np.exp(-logits.astype("float64")))
    positive = -0.25 * TARGETS * (1 - p) ** 2 * np.log(p)
    negative = -0.75 * (1 - TARGETS) * p**2 * np.log(1 - p)
    weights = np.broadcast_to(weights, (2, 50))
    count = weights[TARGETS.max(-1) > 0].sum()
    return (weights * (positive + negative).mean(-1)).sum() / (count or 1.0)


@pytest.mark.parametrize("base", [focal(), focal(reduction="sum", axis=1)], ids=repr)
def test_the_sum_is_divided_by_the_number_of_positives(base):
    loss = losses.NormalizedByPositives(base)
    order = (0, 2, 1) if base.axis == 1 else (0, 1, 2)
    value = loss(TARGETS.transpose(order), LOGITS.transpose(order))
    assert float(value) == pytest.approx(by_hand(1.0), rel=1e-5)


def test_weights_scale_both_sums():
    weights = RNG.uniform(0, 2, (2, 50)).astype("float32")
    weights[0, :5] = 0.0
    loss = losses.NormalizedByPositives(focal())
    value = float(loss(TARGETS, LOGITS, weights))
    assert value == pytest.approx(by_hand(weights), rel=1e-5)
    assert float(loss(TARGETS, LOGITS, weights / 7)) == pytest.approx(value, rel=1e-5)


def test_weights_of_kerashub_leave_its_result_as_it_is():
    weights = np.ones((2, 50), "float32") / POSITIVES
    weights[1, 20:] = 0.0
    expected = focal(reduction="sum")(TARGETS, LOGITS, weights)
    found = losses.NormalizedByPositives(focal())(TARGETS, LOGITS, weights)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)
    # A batch without positives has weight 0 there.
    assert float(losses.NormalizedByPositives(focal())(TARGETS, LOGITS, 0 * weights)) == 0.0


def test_without_positives_the_sum_remains():
    found = losses.NormalizedByPositives(focal())(0 * TARGETS, LOGITS)
    expected = focal(reduction="sum")(0 * TARGETS, LOGITS)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


def test_background_that_is_added_does_not_weaken_the_gradient_of_a_positive():
    loss = losses.NormalizedByPositives(focal())
    gradients = [
        value_and_gradient(lambda z, n=n: loss(TARGETS[:, :n], z), LOGITS[:, :n])[1]
        for n in (40, 50)
    ]
    np.testing.assert_allclose(gradients[0], gradients[1][:, :40], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    "base",
    [
        losses.VarifocalLoss(from_logits=True),
        keras.losses.BinaryFocalCrossentropy(from_logits=True, apply_class_balancing=True),
    ],
    ids=["varifocal", "keras"],
)
def test_any_loss_of_outputs_is_a_base(base):
    base.reduction = "sum"
    found = losses.NormalizedByPositives(base)(0.5 * TARGETS, LOGITS)
    expected = float(base(0.5 * TARGETS, LOGITS)) / POSITIVES
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_targets_of_one_output_may_lack_the_last_axis():
    loss = losses.NormalizedByPositives(focal())
    whole = loss(TARGETS[..., :1], LOGITS[..., :1])
    assert float(loss(TARGETS[..., 0], LOGITS[..., :1])) == float(whole)


def test_masked_predictions_are_in_neither_sum():
    predictions = keras.ops.convert_to_tensor(LOGITS)
    mask = RNG.random((2, 50)) > 0.3
    predictions._keras_mask = keras.ops.convert_to_tensor(mask)
    value = losses.NormalizedByPositives(focal())(TARGETS, predictions)
    assert float(value) == pytest.approx(by_hand(mask.astype("float64")), rel=1e-5)


def test_a_schedule_finds_the_gamma_of_the_base():
    base = focal()
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    model.compile("sgd", losses.NormalizedByPositives(base))
    assert base in losses_of(model)


@pytest.mark.parametrize(
    "base", [losses.BrierLoss(), keras.losses.CategoricalCrossentropy()], ids=["ours", "of Keras"]
)
def test_a_loss_with_a_background_class_is_an_error(base):
    with pytest.raises(ValueError, match="`base` must be a loss of independent outputs"):
        losses.NormalizedByPositives(base)


def test_it_has_no_values_for_another_loss_to_choose_from():
    loss = losses.HardExampleMining(losses.NormalizedByPositives(focal()))
    with pytest.raises(ValueError, match="Wrap its parts instead"):
        loss(TARGETS, LOGITS)


@pytest.mark.skipif(BACKEND == "torch", reason="torch compiles nothing here")
def test_a_weight_that_is_none_is_nan_inside_a_compiled_step():
    from backends import compiled_call

    weights = np.ones((2, 50), "float32")
    weights[0, 0] = -1.0
    loss = losses.NormalizedByPositives(focal())
    assert np.isnan(to_numpy(compiled_call(loss, TARGETS, LOGITS, weights)))
    with pytest.raises(ValueError, match="`sample_weight`"):
        loss(TARGETS, LOGITS, weights)
