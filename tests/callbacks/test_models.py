"""Whatever kind of model: its compiled steps use the gamma that a callback sets.

The model is one weight w = logit on the input 1 with the label 1, trained by SGD. Its path under a
sequence of gammas follows from the oracle's gradient, and so does the loss of each validation.
"""

from contextlib import nullcontext

import keras
import numpy as np
import pytest
import reference
from keras import ops

from keras_focal.callbacks import AdaptiveGamma, GammaScheduler
from keras_focal.gammas import AdaptiveBins
from keras_focal.losses import BinaryFocalCrossentropy
from keras_focal.metrics import AdaECE, LogitNorm

BACKEND = keras.backend.backend()
LEARNING_RATE = 0.5
START = -1.0
X = np.ones((4, 1), "float32")


@keras.saving.register_keras_serializable(package="keras_focal_tests")
class CountingLoss(BinaryFocalCrossentropy):
    """Count how often Python runs the loss: once per trace where steps are compiled."""

    calls = 0

    def values(self, labels, logits):
        CountingLoss.calls += 1
        return super().values(labels, logits)


def compiled(model, gamma):
    loss = CountingLoss(gamma, from_logits=True)
    # LogitNorm, which compiles faster, is reset as AdaECE is.
    metric = AdaECE(from_logits=True) if isinstance(gamma, AdaptiveBins) else LogitNorm()
    model.compile(keras.optimizers.SGD(LEARNING_RATE), loss, metrics=[metric])
    return model


# --- the kinds of models


def logit_layer():
    start = keras.initializers.Constant(START)
    return keras.layers.Dense(1, use_bias=False, kernel_initializer=start)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.logit = logit_layer()

    def call(self, x):
        return self.logit(x)


class OwnBuild(Subclassed):
    def build(self, shape):
        self.logit.build(shape)


class OwnMetrics(Subclassed):
    """Hides what Keras would track besides the loss and the compiled metrics."""

    @property
    def metrics(self):
        return [one for one in super().metrics if one.name in ("loss", "compile_metrics")]


class NoHost(Subclassed):
    """Has no metric that would leave a state below it alone when it is reset."""

    @property
    def metrics(self):
        return [one for one in super().metrics if one.name == "compile_metrics"]


class OwnComputeLoss(Subclassed):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return 1.0 * super().compute_loss(x, y, y_pred, sample_weight, training)


class CallingTrainStep(Subclassed):
    def train_step(self, *args):
        return super().train_step(*args)


class GuideTrainStep(keras.Model):
    """The train step of keras.io's guides "Customizing what happens in fit()"."""

    def _update(self, y, y_pred, loss):
        for metric in self.metrics:
            metric.update_state(loss) if metric.name == "loss" else metric.update_state(y, y_pred)
        return {"loss": loss}

    def _tensorflow(self, data):
        import tensorflow as tf

        x, y = data
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(y=y, y_pred=y_pred)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        return self._update(y, y_pred, loss)

    def _torch(self, data):
        import torch

        x, y = data
        self.zero_grad()
        y_pred = self(x, training=True)
        loss = self.compute_loss(y=y, y_pred=y_pred)
        loss.backward()
        gradients = [variable.value.grad for variable in self.trainable_weights]
        with torch.no_grad():
            self.optimizer.apply(gradients, self.trainable_weights)
        return self._update(y, y_pred, loss)

    def scope(self, metrics):
        return nullcontext()

    def _loss_and_updates(self, trainable, others, metrics, x, y):
        y_pred, others = self.stateless_call(trainable, others, x, training=True)
        with self.scope(metrics):
            loss = self.compute_loss(x, y, y_pred)
        return loss, (y_pred, others)

    def _jax(self, state, data):
        import jax

        trainable, others, optimizer, metrics = state
        x, y = data
        gradient = jax.value_and_grad(self._loss_and_updates, has_aux=True)
        (loss, (y_pred, others)), gradients = gradient(trainable, others, metrics, x, y)
        trainable, optimizer = self.optimizer.stateless_apply(optimizer, gradients, trainable)
        new, logs = [], {}
        for metric in self.metrics:
            these = metrics[len(new) : len(new) + len(metric.variables)]
            new_values = (loss,) if metric.name == "loss" else (y, y_pred)
            these = metric.stateless_update_state(these, *new_values)
            logs[metric.name] = metric.stateless_result(these)
            new += these
        return logs, (trainable, others, optimizer, new)

    def train_step(self, *args):
        return getattr(self, f"_{BACKEND}")(*args)


class ScopedTrainStep(GuideTrainStep):
    """The same, with the line that docs/guides/gamma.md asks for."""

    def scope(self, metrics):
        return keras.StatelessScope(state_mapping=zip(self.metrics_variables, metrics, strict=True))


def functional(model_class=keras.Model):
    inputs = keras.Input((1,))
    return model_class(inputs, logit_layer()(inputs))


def built():
    model = OwnBuild()
    model.build((None, 1))
    return model


def called():
    model = Subclassed()
    model(X)
    return model


def nested():
    inner = functional()
    inner.compile("sgd", "mse")
    inputs = keras.Input((1,))
    return keras.Model(inputs, inner(inputs))


def in_sequence():
    return keras.Sequential([Subclassed()])


def own_train_step():
    return functional(GuideTrainStep)


def scoped_train_step():
    return functional(ScopedTrainStep)


KINDS = [
    functional,
    Subclassed,
    built,
    called,
    nested,
    in_sequence,
    OwnMetrics,
    NoHost,
    OwnComputeLoss,
    CallingTrainStep,
    own_train_step,
    *([scoped_train_step] if BACKEND == "jax" else []),
    "loaded",
]
# On JAX these compile their steps anew at each change.
CARRY_NOTHING = {NoHost, own_train_step}
# State is Keras's to carry in the first, hidden from it in the second, and nowhere in the third.
COMPILED_ANEW = {functional, OwnMetrics, NoHost}


def made(kind, gamma, folder):
    if kind != "loaded":
        return compiled(kind(), gamma)
    compiled(functional(), gamma).save(folder / "model.keras")
    return keras.saving.load_model(folder / "model.keras")


# --- the callbacks


def scheduled(model):
    return GammaScheduler({0: 5.0, 1: 0.0, 2: 2.5})


def adaptive(model):
    return AdaptiveGamma()


class Watch(keras.callbacks.Callback):
    """Note the gamma that each epoch begins with, and the weight that it ends with."""

    def on_train_begin(self, logs=None):
        self.gammas, self.weights = [], []

    def on_epoch_begin(self, epoch, logs=None):
        gamma = self.model.loss.gamma
        self.gammas.append(gamma.gammas[0] if isinstance(gamma, AdaptiveBins) else gamma)

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append(ops.convert_to_numpy(self.model.weights[0]).item())


def assert_followed(model, callback, start, epochs=2):
    """Fit, hold every weight and validation loss against the oracle, return the last weight."""
    watch = Watch()
    history = model.fit(
        X,
        X,
        epochs=epochs,
        verbose=0,
        validation_data=(X, X),
        callbacks=[callback(model), watch],
    ).history
    assert len(set(watch.gammas)) == epochs
    weight, path, losses = start, [], []
    for gamma in watch.gammas:
        weight -= LEARNING_RATE * reference.binary_focal(1.0, weight, gamma)[1]
        path.append(weight)
        losses.append(reference.binary_focal(1.0, weight, gamma)[0])
    np.testing.assert_allclose(watch.weights, path, rtol=0, atol=2e-6)
    if "val_loss" in history:
        np.testing.assert_allclose(history["val_loss"], losses, rtol=2e-5)
    return watch.weights[-1]


# Of each way to carry a state one is always tested, that of Keras in `test_gamma`; a JAX step of
# one's own has a way of its own.
USUAL = {OwnMetrics, NoHost, own_train_step}
CASES = [
    *(
        pytest.param(kind, scheduled, marks=[] if kind in USUAL else pytest.mark.nightly)
        for kind in KINDS
    ),
    # AdaECE compiles slowly; `test_adaptive` fits a functional model by day.
    *(pytest.param(kind, adaptive, marks=pytest.mark.nightly) for kind in (functional, NoHost)),
]


def name_of(case):
    return getattr(case, "__name__", case)


@pytest.mark.parametrize(("kind", "callback"), CASES, ids=name_of)
def test_every_kind_of_model_follows_its_gammas(kind, callback, tmp_path):
    def gamma():
        return 3.0 if callback is scheduled else AdaptiveBins(1, 1.0)

    CountingLoss.calls = 0
    model = made(kind, gamma(), tmp_path)
    weight = assert_followed(model, callback, START, epochs=3)
    calls, variables = CountingLoss.calls, len(model.metrics_variables)
    # A second fit traces nothing anew and adds no state.
    weight = assert_followed(model, callback, weight)
    if BACKEND == "tensorflow" or (BACKEND == "jax" and kind not in CARRY_NOTHING):
        assert 0 < CountingLoss.calls == calls <= 4
    assert len(model.metrics_variables) == variables
    if callback is scheduled and kind in COMPILED_ANEW:
        # Nor does compiling anew: the state of the old loss is gone.
        compiled(model, gamma())
        assert_followed(model, callback, weight)
        assert len(model.metrics_variables) == variables
    results = model.evaluate(X, X, verbose=0, return_dict=True)
    assert {*model.metrics_names} - {"compile_metrics"} <= {*results}
    model.save_weights(tmp_path / "model.weights.h5")
    if not isinstance(kind, str) and kind not in (nested, in_sequence):
        plain = kind()
        plain(X)
        plain.load_weights(tmp_path / "model.weights.h5")
