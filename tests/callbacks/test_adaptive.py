"""AdaptiveGamma: gammas of bins follow the validation data, and compiled steps follow the gammas.

A model that gives back its input, logits of two classes, has a confidence and an accuracy that the
test sets, so that the gap of every bin and with it every gamma is known.
"""

import json
import warnings

import keras
import numpy as np
import pytest
import reference
from backends import FEW_STEPS_EAGERLY
from keras import ops

from keras_focal.callbacks import AdaptiveGamma
from keras_focal.functional import adapted_gammas
from keras_focal.gammas import AdaptiveBins
from keras_focal.losses import SparseCategoricalFocalCrossentropy
from keras_focal.metrics import ECE, AdaECE, CalibrationMetrics

BACKEND = keras.backend.backend()
compiled = pytest.mark.skipif(BACKEND == "torch", reason="Keras on torch compiles no step")


def identity_model(
    rule, metrics=None, learning_rate=0.0, *, run_eagerly=FEW_STEPS_EAGERLY, **kwargs
):
    model = keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(2, use_bias=False, kernel_initializer="identity"),
        ]
    )
    loss = kwargs.pop("loss", None) or SparseCategoricalFocalCrossentropy(rule, from_logits=True)
    metrics = [AdaECE(from_logits=True)] if metrics is None else metrics
    optimizer = keras.optimizers.SGD(learning_rate)
    model.compile(optimizer, loss, metrics=metrics, run_eagerly=run_eagerly, **kwargs)
    return model


def compiled_model(rule, **kwargs):
    return identity_model(rule, run_eagerly=False, **kwargs)


def held_out(confidence, accuracy, size=200):
    """Return logits of this confidence in class 0, and labels right as often as `accuracy`."""
    logit = np.log(confidence / (1 - confidence))
    x = np.tile(np.array([[logit, 0.0]], "float32"), (size, 1))
    return x, (np.arange(size) >= round(accuracy * size)).astype("int32")


def fit(model, callback, data, epochs=3, **kwargs):
    callbacks = [callback, *kwargs.pop("callbacks", ())]
    return model.fit(
        data[0][:8],
        data[1][:8],
        batch_size=8,
        epochs=epochs,
        validation_data=kwargs.pop("validation_data", data),
        validation_batch_size=len(data[0]),
        verbose=0,
        callbacks=callbacks,
        **kwargs,
    ).history


def path(gap, epochs, gamma=1.0, **arguments):
    steps = []
    for _ in range(epochs):
        gamma = reference.adafocal(gamma, gap, **arguments)
        steps.append(gamma)
    return steps


# --- the equation


@pytest.mark.parametrize(
    ("confidence", "accuracy", "rate"),
    [(0.9, 0.7, 1.0), (0.6, 0.8, 3.0)],
    ids=["over-confident", "under-confident"],
)
def test_gammas_move_as_the_paper_s_equation_says(confidence, accuracy, rate):
    rule, callback = AdaptiveBins(num_bins=3), AdaptiveGamma(rate)
    history = fit(identity_model(rule), callback, held_out(confidence, accuracy), epochs=5)
    expected = path(confidence - accuracy, 5, rate=rate)
    for row, gamma in zip(callback.rows, expected, strict=True):
        np.testing.assert_allclose(row["gaps"], confidence - accuracy, atol=2e-6)
        np.testing.assert_allclose(row["gammas"], gamma, rtol=2e-5)
    np.testing.assert_allclose(history["gamma_max"], expected, rtol=2e-5)
    if rate == 1.0:
        assert rule.gammas[0] == pytest.approx(np.e, rel=2e-5)
    else:
        # From step 3 on the inverse focal loss.
        assert [row["gammas"][0] > 0 for row in callback.rows] == [True] * 2 + [False] * 3


def test_each_bin_moves_by_its_own_gap():
    low, high = held_out(0.6, 0.8, size=100), held_out(0.95, 0.5, size=100)
    data = [np.concatenate(parts) for parts in zip(low, high, strict=True)]
    rule, callback = AdaptiveBins(num_bins=2), AdaptiveGamma(rate=0.5)
    fit(identity_model(rule), callback, data, epochs=2)
    expected = [path(-0.2, 2, rate=0.5)[-1], path(0.45, 2, rate=0.5)[-1]]
    np.testing.assert_allclose(rule.gammas, expected, rtol=1e-4)
    assert 0.59 < rule.edges[0] < 0.951


def test_gammas_stop_at_their_bounds():
    rule = AdaptiveBins(num_bins=2)
    fit(identity_model(rule), AdaptiveGamma(rate=9.0, high=3.0), held_out(0.9, 0.1), epochs=2)
    assert rule.gammas == [3.0, 3.0]


def test_gammas_are_cut_from_what_calibration_metrics_hold_in_any_order():
    for readings in (["ada_ece", "ece"], ["ece", "ada_ece", "mce"]):
        rule = AdaptiveBins(num_bins=3)
        metric = CalibrationMetrics(from_logits=True, readings=readings)
        fit(identity_model(rule, [metric]), AdaptiveGamma(), held_out(0.9, 0.7), epochs=1)
        np.testing.assert_allclose(rule.gammas, np.exp(0.2), rtol=1e-5)


# --- compiled steps


class CountingLoss(SparseCategoricalFocalCrossentropy):
    """Count how often Python runs the loss: once per trace where steps are compiled."""

    calls = 0

    def values(self, labels, logits):
        self.calls += 1
        return super().values(labels, logits)


def assert_losses_follow(model, callback, epochs=4, **kwargs):
    """Hold training and validation loss of each epoch against the gamma that it began with."""
    confidence, accuracy = 0.9, 0.6
    x, y = held_out(confidence, accuracy)
    history = fit(model, callback, (x, y), epochs, **kwargs)
    for epoch, gamma in enumerate([1.0, *path(confidence - accuracy, epochs)[:-1]]):
        expected = [
            reference.sparse_focal(label, x[0].astype("float64"), gamma)[0] for label in (0, 1)
        ]
        validation = accuracy * expected[0] + (1 - accuracy) * expected[1]
        assert history["val_loss"][epoch] == pytest.approx(validation, rel=5e-5)
        assert history["loss"][epoch] == pytest.approx(expected[0], rel=5e-5)


@pytest.mark.nightly
def test_each_epoch_uses_the_gammas_that_the_last_validation_gave():
    assert_losses_follow(compiled_model(AdaptiveBins(num_bins=3)), AdaptiveGamma(), epochs=3)


@compiled
@pytest.mark.nightly
def test_each_epoch_uses_its_gammas_under_xla():
    model = compiled_model(AdaptiveBins(num_bins=3), jit_compile=True)
    assert_losses_follow(model, AdaptiveGamma(), epochs=3)


def test_each_epoch_uses_its_gammas_when_run_eagerly():
    model = identity_model(AdaptiveBins(num_bins=3), run_eagerly=True)
    assert_losses_follow(model, AdaptiveGamma(), epochs=2)


@pytest.mark.nightly
@compiled
def test_number_of_traces_does_not_grow_with_the_epochs():
    loss = CountingLoss(AdaptiveBins(num_bins=3), from_logits=True)
    model, data = compiled_model(None, loss=loss), held_out(0.9, 0.6)
    fit(model, AdaptiveGamma(), data, epochs=2)
    calls = loss.calls
    assert calls > 0
    fit(model, AdaptiveGamma(), data, epochs=6)
    assert loss.calls == calls


@pytest.mark.nightly
def test_gammas_are_followed_after_an_earlier_fit_without_the_callback():
    model = compiled_model(AdaptiveBins(num_bins=3))
    x, y = held_out(0.9, 0.6)
    how = {"batch_size": 8, "validation_batch_size": len(x), "verbose": 0}
    model.fit(x[:8], y[:8], validation_data=(x, y), **how)
    assert_losses_follow(model, AdaptiveGamma(), epochs=3)


class OwnMetrics(keras.Model):
    """A model that hides attached state from Keras."""

    @property
    def metrics(self):
        return [metric for metric in super().metrics if not metric.name.startswith("bins")]


def test_model_that_overrides_metrics_follows_its_gammas():
    plain = identity_model(AdaptiveBins(num_bins=3))
    model = OwnMetrics(plain.inputs, plain.outputs)
    loss = SparseCategoricalFocalCrossentropy(AdaptiveBins(num_bins=3), from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss, metrics=[AdaECE(from_logits=True)])
    assert_losses_follow(model, AdaptiveGamma(), epochs=3)


def test_training_sample_below_the_validation_confidences_has_the_gamma_of_the_first_bin():
    rule = AdaptiveBins(num_bins=2, gamma=[4.0, 0.5], edges=[0.8])
    x, y = held_out(0.9, 0.0, size=8)
    value = identity_model(rule).evaluate(x, y, verbose=0)[0]
    expected, _ = reference.sparse_focal(1, x[0].astype("float64"), 4.0)
    assert value == pytest.approx(expected, rel=5e-6)


@pytest.mark.nightly
def test_mirrored_replicas_follow_their_gammas(mirrored):
    with mirrored.scope():
        model = compiled_model(AdaptiveBins(num_bins=3))
    assert_losses_follow(model, AdaptiveGamma(), epochs=2)


def test_data_parallel_devices_follow_their_gammas(data_parallel):
    assert_losses_follow(compiled_model(AdaptiveBins(num_bins=3)), AdaptiveGamma(), epochs=2)


# --- resuming

BLOBS = np.random.default_rng(0)
X = BLOBS.normal(0, 2, (224, 2)).astype("float32")
Y = (X + BLOBS.normal(0, 2, X.shape)).argmax(1)


def train(model, epochs, callbacks, **kwargs):
    return model.fit(
        X[:24],
        Y[:24],
        validation_data=(X[24:], Y[24:]),
        batch_size=8,
        validation_batch_size=200,
        shuffle=False,
        epochs=epochs,
        verbose=0,
        callbacks=callbacks,
        **kwargs,
    ).history


def learner():
    return identity_model(AdaptiveBins(num_bins=3), learning_rate=0.2)


def state(model):
    kernel = ops.convert_to_numpy(model.layers[0].kernel).tolist()
    return [kernel, model.loss.gamma.gammas, model.loss.gamma.edges]


@pytest.fixture(scope="module")
def uninterrupted():
    model = learner()
    train(model, 4, [AdaptiveGamma()])
    return state(model)


class Crash(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise InterruptedError("crash")


@pytest.mark.nightly
def test_saved_and_loaded_model_goes_on_as_if_never_interrupted(tmp_path, uninterrupted):
    model = learner()
    train(model, 2, [AdaptiveGamma()])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    train(loaded, 4, [AdaptiveGamma()], initial_epoch=2)
    assert state(loaded) == uninterrupted


def test_checkpoint_of_an_earlier_callback_holds_the_gammas_of_the_next_epoch(tmp_path):
    model = learner()
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "model.keras")
    train(model, 2, [checkpoint, AdaptiveGamma()])
    assert state(keras.saving.load_model(tmp_path / "model.keras")) == state(model)


def test_run_restored_from_a_backup_goes_on_as_if_never_interrupted(tmp_path, uninterrupted):
    def callbacks():
        return [
            keras.callbacks.BackupAndRestore(tmp_path / "backup"),
            AdaptiveGamma(directory=tmp_path / "gammas"),
        ]

    with pytest.raises(InterruptedError):
        train(learner(), 4, [*callbacks(), Crash()])
    model = learner()
    last = callbacks()
    train(model, 4, last)
    assert state(model) == uninterrupted
    rows = json.loads((tmp_path / "gammas" / "adaptive_gamma.json").read_text())
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    assert rows == last[1].rows


def test_new_run_does_not_begin_with_the_record_of_an_old_one(tmp_path, uninterrupted):
    rows = [{"epoch": epoch, "gammas": [9.0] * 3, "edges": [0.5] * 2} for epoch in range(4)]
    (tmp_path / "adaptive_gamma.json").write_text(json.dumps(rows))
    model = learner()
    train(model, 4, [AdaptiveGamma(directory=tmp_path)])
    assert state(model) == uninterrupted


# --- what it reads and leaves


def test_evaluate_changes_no_gamma_and_returns_what_it_did():
    model, callback = learner(), AdaptiveGamma()
    train(model, 1, [callback])
    before = state(model)
    how = {"batch_size": 200, "verbose": 0, "return_dict": True}
    results = model.evaluate(X[24:], Y[24:], callbacks=[callback], **how)
    assert set(results) == {"loss", "ada_ece"}
    assert state(model) == before


def test_weights_file_of_an_adaptive_model_loads_into_a_plain_one(tmp_path):
    model = learner()
    train(model, 1, [AdaptiveGamma()])
    assert len(model.weights) == 1
    model.save_weights(tmp_path / "model.weights.h5")
    learner().load_weights(tmp_path / "model.weights.h5")


def test_epochs_without_validation_leave_gammas_alone():
    model, callback = learner(), AdaptiveGamma()
    # pytest.warns would also pass on what Keras itself warns of on JAX.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        train(model, 3, [callback], validation_freq=2)
    assert any("found no validation predictions" in str(one.message) for one in caught)
    assert [row["epoch"] for row in callback.rows] == [1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_validation_in_which_nothing_counts_leaves_gammas_alone():
    rule = AdaptiveBins(num_bins=1, gamma=1.5)
    data = (*held_out(0.9, 0.5), np.zeros(200))
    metrics = [AdaECE(from_logits=True)]
    model = identity_model(rule, metrics=[], weighted_metrics=metrics)
    with pytest.warns(UserWarning, match="found no validation predictions"):
        fit(model, AdaptiveGamma(), data)
    assert [*rule.gammas] == [1.5]


@pytest.mark.nightly
def test_gammas_follow_the_gaps_of_real_training():
    model, callback = learner(), AdaptiveGamma(rate=2.0)
    train(model, 3, [callback])
    gammas = [1.0] * 3
    for row in callback.rows:
        gammas = adapted_gammas(gammas, row["gaps"], rate=2.0)
        np.testing.assert_allclose(row["gammas"], gammas, rtol=1e-6)


def test_outputs_have_a_callback_each():
    inputs = keras.Input((2,))
    outputs = {
        name: keras.layers.Dense(2, kernel_initializer="identity", name=name)(inputs)
        for name in "ab"
    }
    rules = {name: AdaptiveBins(num_bins=2) for name in "ab"}
    model = keras.Model(inputs, outputs)
    model.compile(
        keras.optimizers.SGD(0.0),
        {n: SparseCategoricalFocalCrossentropy(rules[n], from_logits=True) for n in "ab"},
        metrics={n: [AdaECE(from_logits=True, name=f"{n}_error")] for n in "ab"},
        run_eagerly=FEW_STEPS_EAGERLY,
    )
    x, y = held_out(0.9, 0.7)
    targets = {"a": y, "b": 1 - y}
    with pytest.raises(ValueError, match=r"Received: 2 of them.*Use one callback for each output"):
        model.fit(x, targets, verbose=0, callbacks=[AdaptiveGamma()])
    callbacks = [AdaptiveGamma(rule=rules[n], metric=f"{n}_error") for n in "ab"]
    how = {"batch_size": len(x), "verbose": 0}
    model.fit(x, targets, validation_data=(x, targets), callbacks=callbacks, **how)
    np.testing.assert_allclose(rules["a"].gammas, np.exp(0.2), rtol=1e-5)
    np.testing.assert_allclose(rules["b"].gammas, np.exp(0.6), rtol=1e-5)


# --- bad input


@pytest.mark.parametrize("rate", [-1.0, float("nan"), "1", None])
def test_negative_rate_is_refused(rate):
    with pytest.raises(ValueError, match=r"`rate` must be a finite number >= 0. Received: rate="):
        AdaptiveGamma(rate)


@pytest.mark.parametrize(("low", "high"), [(20.0, -2.0), (3.0, 3.0)])
def test_bounds_out_of_order_are_refused(low, high):
    with pytest.raises(ValueError, match=r"`low` must be < `high`.*Received: low="):
        AdaptiveGamma(low=low, high=high)


def test_bound_within_the_switch_is_refused():
    with pytest.raises(ValueError, match=r"within `switch` of 0.*low=0.2 or more to rule it out"):
        AdaptiveGamma(low=0.0)


def test_switch_of_zero_is_refused():
    with pytest.raises(ValueError, match="`switch` must be a finite number > 0"):
        AdaptiveGamma(switch=0.0)


@pytest.mark.parametrize("gamma", [2.0, "FLSD-53"])
def test_loss_without_adaptive_bins_is_refused(gamma):
    with pytest.raises(ValueError, match=r"AdaptiveBins. Received: 0 of them.*Compile with"):
        fit(identity_model(gamma), AdaptiveGamma(), held_out(0.9, 0.7))


@pytest.mark.parametrize("metrics", [[], [ECE(from_logits=True)]], ids=["none", "equal width"])
def test_model_without_bins_of_equal_mass_is_refused(metrics):
    with pytest.raises(ValueError, match=r"bins of equal mass. Received: none. Add metrics="):
        fit(identity_model(AdaptiveBins(), metrics), AdaptiveGamma(), held_out(0.9, 0.7))


def test_metric_of_an_unknown_name_is_refused_and_the_known_listed():
    with pytest.raises(ValueError, match=r"named 'mine'. Received: 'ada_ece'. Choose one"):
        fit(identity_model(AdaptiveBins()), AdaptiveGamma(metric="mine"), held_out(0.9, 0.7))
