"""Which losses a callback finds in a model, which it is told of, and what it says if there is none.

The model is one weight w = logit on the input 1 with the label 1. After training, the loss that
`evaluate` gives shows the gamma that the compiled step uses.
"""

import warnings
from functools import partial

import keras
import numpy as np
import pytest
import reference
from backends import FEW_STEPS_EAGERLY
from keras import ops

from keras_focal.callbacks import GammaScheduler, attach
from keras_focal.gammas import AdaptiveBins
from keras_focal.losses import BinaryFocalCrossentropy, get

X = np.ones((4, 1), "float32")
SCHEDULE = {0: 5.0, 1: 0.5}


@keras.saving.register_keras_serializable(package="keras_focal_tests")
class FocalOfLogits(BinaryFocalCrossentropy):
    def __init__(self, gamma=2.0, **kwargs):
        super().__init__(gamma, **{"from_logits": True, **kwargs})


class Compound(keras.losses.Loss):
    """focal + 0.5 * squared error, written as one loss."""

    def __init__(self, focal):
        super().__init__()
        self.focal = focal

    def call(self, y_true, y_pred):
        squares = ops.mean(ops.square(y_true - y_pred), axis=-1)
        return self.focal.call(y_true, y_pred) + 0.5 * squares


def in_function(focal):
    def compound(y_true, y_pred):
        return focal(y_true, y_pred) + 0.5 * ops.mean(ops.square(y_true - y_pred))

    return compound


def model_with(loss, run_eagerly=False):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.5), loss, run_eagerly=run_eagerly)
    return model


# Where the matter is what a callback finds or says.
eager_model_with = partial(model_with, run_eagerly=FEW_STEPS_EAGERLY)


def fit(model, *callbacks, epochs=2):
    model.fit(X, X, epochs=epochs, verbose=0, callbacks=[*callbacks])


def assert_uses(model, gamma, squares=0.0):
    """Hold the loss of `evaluate` against focal + squares * (1 - w)^2."""
    weight = ops.convert_to_numpy(model.weights[0]).item()
    expected = reference.binary_focal(1.0, weight, gamma)[0] + squares * (1 - weight) ** 2
    assert model.evaluate(X, X, verbose=0) == pytest.approx(expected, rel=3e-6)


# --- found


@pytest.mark.parametrize("is_attached", [False, True], ids=["fitted", "attached first"])
@pytest.mark.parametrize(
    "loss",
    [FocalOfLogits, [FocalOfLogits], [FocalOfLogits()]],
    ids=["class", "list of a class", "list"],
)
def test_loss_that_keras_makes_an_object_of_is_found(loss, is_attached):
    model = eager_model_with(loss)
    if is_attached:
        attach(model)
    fit(model, GammaScheduler(SCHEDULE))
    assert_uses(model, 0.5)
    fit(model, GammaScheduler({0: 3.0}), epochs=1)
    assert_uses(model, 3.0)


def test_loss_inside_another_is_found():
    model = model_with(Compound(FocalOfLogits()))
    fit(model, GammaScheduler(SCHEDULE))
    assert_uses(model, 0.5, squares=0.5)


@pytest.mark.parametrize("name", [lambda f: f, lambda f: [f.gamma_state]], ids=["loss", "state"])
def test_loss_called_by_a_function_is_named(name):
    focal = FocalOfLogits()
    model = eager_model_with(in_function(focal))
    with pytest.raises(ValueError, match=r"needs a focal loss in the model.*losses=\[focal\]"):
        fit(model, GammaScheduler(SCHEDULE))
    fit(model, GammaScheduler(SCHEDULE, losses=name(focal)))
    assert_uses(model, 0.5, squares=0.5)


def test_losses_of_two_outputs_have_a_schedule_each():
    inputs = keras.Input((1,))
    outputs = {name: keras.layers.Dense(1, name=name)(inputs) for name in "ab"}
    focal = {name: FocalOfLogits() for name in "ab"}
    model = keras.Model(inputs, outputs)
    model.compile("sgd", focal, run_eagerly=FEW_STEPS_EAGERLY)
    schedulers = [
        GammaScheduler({0: 1.0}, losses=focal["a"]),
        GammaScheduler({0: 4.0}, losses=focal["b"]),
    ]
    logs = model.fit(X, {"a": X, "b": X}, verbose=0, callbacks=schedulers).history
    assert [focal["a"].gamma, focal["b"].gamma] == [1.0, 4.0]
    assert [logs["gamma"], logs["gamma_1"]] == [[1.0], [4.0]]


@pytest.mark.parametrize("losses", ["mse", FocalOfLogits(AdaptiveBins()), [], 3.0], ids=str)
def test_argument_that_has_no_gamma_to_schedule_is_refused(losses):
    with pytest.raises(ValueError, match=r"`losses` must be focal losses whose gamma is a number"):
        GammaScheduler(SCHEDULE, losses=losses)


# --- attach


def test_attached_model_follows_each_loss_that_is_changed_by_hand():
    focal = FocalOfLogits(4.0)
    model = model_with(Compound(focal))
    fit(model)
    attach(model)
    for gamma in (1.0, 0.0):
        focal.gamma = gamma
        fit(model)
        assert_uses(model, gamma, squares=0.5)


@pytest.mark.parametrize("loss", ["mse", FocalOfLogits("FLSD-53")], ids=["mse", "by sample"])
def test_attaching_a_model_without_a_gamma_that_can_change_is_refused(loss):
    with pytest.raises(ValueError, match=r"`model` must be compiled with a focal loss whose gamma"):
        attach(model_with(loss))


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="other backends read what is there")
def test_gamma_that_a_compiled_step_of_ones_own_cannot_see_warns():
    import jax

    focal = FocalOfLogits(2.0)
    step = jax.jit(focal)
    before = step(X, 0 * X)
    with pytest.warns(UserWarning, match=r"keeps the old gamma as a constant.*attach\(model"):
        focal.gamma = 0.0
    assert step(X, 0 * X) == before

    def handed(gamma, y, z):
        state = focal.gamma_state
        with keras.StatelessScope(state_mapping=[(state.variables[0], gamma)]):
            return focal(y, z)

    for gamma in (0.0, 1.0):
        expected = reference.binary_focal(1.0, 0.0, gamma)[0]
        assert float(jax.jit(handed)(np.float32(gamma), X, 0 * X)) == pytest.approx(expected)


# --- a schedule that is missing


def warnings_of(model, *callbacks):
    """Return what our losses warn of in two fits and an evaluation."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(model, *callbacks)
        fit(model, *callbacks)
    return [str(one.message) for one in caught if "FLSc" in str(one.message)]


def test_scheduled_loss_trained_without_its_callback_warns_once():
    model = model_with(get("FLSc-531", labels="binary", from_logits=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.evaluate(X, X, verbose=0)
    found = warnings_of(model)
    assert len(found) == 1
    assert "GammaScheduler('FLSc-531')" in found[0]


def test_scheduled_loss_with_its_callback_or_with_a_gamma_of_ones_own_does_not_warn():
    model = eager_model_with(get("FLSc-531", labels="binary", from_logits=True))
    assert warnings_of(model, GammaScheduler("FLSc-531")) == []
    loss = get("FLSc-531", labels="binary", from_logits=True)
    loss.gamma = 5.0
    assert warnings_of(eager_model_with(loss)) == []


@pytest.mark.parametrize(
    "gamma",
    [
        "FLSc-531",
        "flsc531",
        lambda epoch: 1.0,
        keras.optimizers.schedules.ExponentialDecay(5.0, 1, 0.5),
        {0: 5.0, 10: 1.0},
    ],
    ids=["preset", "preset in small letters", "function", "schedule", "dict"],
)
def test_schedule_in_place_of_gamma_names_the_callback(gamma):
    with pytest.raises(ValueError, match=r"`gamma` must .*Received: gamma=.*GammaScheduler\("):
        BinaryFocalCrossentropy(gamma)


# --- what is printed


def test_gamma_that_float32_rounds_is_no_change(capsys):
    fit(eager_model_with(FocalOfLogits()), GammaScheduler({0: 0.7}, verbose=1), epochs=3)
    assert capsys.readouterr().out.count("gamma is now") == 1
