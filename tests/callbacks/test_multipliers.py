"""ClassMultipliers: the update of CALS, and compiled steps that follow it."""

import json

import keras
import numpy as np
import pytest

from keras_focal import losses
from keras_focal.callbacks import ClassMultipliers, attach

X = np.array([[9.0, 0.0, 3.0], [0.0, 6.0, 5.0]], "float32")


def identity_model(penalty, from_logits=True, run_eagerly=True):
    """Return a model that gives its input, so that every logit is known."""
    last = None if from_logits else "softmax"
    dense = keras.layers.Dense(3, last, use_bias=False, kernel_initializer="identity")
    model = keras.Sequential([keras.Input((3,)), dense])
    loss = losses.Calibrated(losses.get("CE", from_logits=from_logits), penalty)
    model.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=run_eagerly)
    return model


def expected_update(multipliers, rho, margin, x=X):
    """The mean over held-out predictions of the derivative of the penalty, by the two branches."""
    found = []
    for row in x.astype("float64"):
        h = (row.max() - row) / margin - 1
        slope = [
            m + rho * each if m + rho * each > 0 else 0.0
            for m, each in zip(multipliers, h, strict=True)
        ]
        found.append(np.clip(slope, 1e-6, 1e6))
    return np.mean(found, axis=0)


def fit(model, callback, epochs=1, **kwargs):
    return model.fit(X, np.array([0, 1]), epochs=epochs, verbose=0, callbacks=[callback], **kwargs)


@pytest.mark.parametrize("from_logits", [True, False])
def test_multipliers_are_the_mean_slopes_of_held_out_logits(from_logits):
    penalty = losses.CALS(3, margin=4.0, multipliers=[0.5, 0.25, 1.0], rho=2.0)
    fit(identity_model(penalty, from_logits), ClassMultipliers(X))
    expected = expected_update([0.5, 0.25, 1.0], 2.0, 4.0)
    np.testing.assert_allclose(penalty.multipliers, expected, rtol=1e-5)
    assert penalty.rho == 2.0


def test_each_epoch_begins_from_the_multipliers_of_the_last():
    penalty = losses.CALS(3, margin=4.0)
    history = fit(identity_model(penalty), ClassMultipliers(X), epochs=3).history
    expected = np.full(3, 1e-6)
    for mean in history["multiplier_mean"]:
        expected = expected_update(expected, 1.0, 4.0)
        assert mean == pytest.approx(expected.mean(), rel=1e-5)
    np.testing.assert_allclose(penalty.multipliers, expected, rtol=1e-5)


@pytest.mark.nightly
def test_rho_grows_where_the_penalty_does_not_fall():
    penalty = losses.CALS(3, margin=4.0)
    callback = ClassMultipliers(X, growth=1.5, period=2, highest_rho=2.0)
    history = fit(identity_model(penalty), callback, epochs=6).history
    np.testing.assert_allclose(history["rho"], [1.0, 1.5, 1.5, 2.0, 2.0, 2.0])
    calm = losses.CALS(3, margin=20.0)
    fit(identity_model(calm), ClassMultipliers(X, period=1), epochs=3)
    assert calm.rho == 1.0
    np.testing.assert_allclose(calm.multipliers, 1e-6)


def test_compiled_steps_use_the_new_multipliers():
    penalty = losses.CALS(3, margin=4.0)
    model = identity_model(penalty, run_eagerly=False)
    history = fit(model, ClassMultipliers(X), epochs=3).history["loss"]
    multipliers = np.full(3, 1e-6)
    for value in history:
        own = losses.CALS(3, margin=4.0, multipliers=multipliers.tolist())
        loss = losses.Calibrated(losses.get("CE", from_logits=True), own)
        assert value == pytest.approx(float(loss(np.array([0, 1]), X)), rel=1e-5)
        multipliers = expected_update(multipliers, 1.0, 4.0)


def test_saved_model_keeps_the_multipliers(tmp_path):
    penalty = losses.CALS(3, margin=4.0)
    model = identity_model(penalty)
    fit(model, ClassMultipliers(X))
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert loaded.loss.penalty.multipliers == penalty.multipliers


def test_run_that_resumes_reads_the_multipliers_of_its_record(tmp_path):
    whole = losses.CALS(3, margin=4.0)
    fit(identity_model(whole), ClassMultipliers(X, period=2), epochs=4)
    first = losses.CALS(3, margin=4.0)
    fit(identity_model(first), ClassMultipliers(X, period=2, directory=tmp_path), epochs=2)
    second = losses.CALS(3, margin=4.0)
    callback = ClassMultipliers(X, period=2, directory=tmp_path)
    fit(identity_model(second), callback, epochs=4, initial_epoch=2)
    assert second.get_config() == whole.get_config()
    assert [row["epoch"] for row in callback.rows] == [0, 1, 2, 3]


@pytest.mark.nightly
@pytest.mark.parametrize("run_eagerly", [True, False])
def test_run_killed_between_a_backup_and_its_row_goes_on_as_if_it_had_not_been(
    tmp_path, run_eagerly
):
    unbroken, resumed = (losses.CALS(3, margin=4.0) for _ in range(2))
    fit(identity_model(unbroken), ClassMultipliers(X, directory=tmp_path), epochs=4)
    record = tmp_path / "class_multipliers.json"
    record.write_text(json.dumps(json.loads(record.read_text())[:2]))
    # The weights, which do not change here, are those of the end of the third epoch.
    callback = ClassMultipliers(X, directory=tmp_path)
    fit(identity_model(resumed, run_eagerly=run_eagerly), callback, epochs=4, initial_epoch=3)
    np.testing.assert_allclose(resumed.multipliers, unbroken.multipliers, rtol=1e-6)
    assert [row["epoch"] for row in json.loads(record.read_text())] == [0, 1, 2, 3]


def test_run_that_resumes_without_a_record_warns(tmp_path):
    callback = ClassMultipliers(X, directory=tmp_path)
    callback.set_model(identity_model(losses.CALS(3)))
    callback.on_train_begin()
    with pytest.warns(UserWarning, match="has no earlier epoch"):
        callback.on_epoch_begin(1)


@pytest.mark.parametrize("text", ["{}", "[1]", json.dumps([{"epoch": 0, "multipliers": [1, 2]}])])
def test_record_that_is_none_raises(tmp_path, text):
    (tmp_path / "class_multipliers.json").write_text(text)
    with pytest.raises(ValueError, match="`directory` must hold a record"):
        fit(identity_model(losses.CALS(3)), ClassMultipliers(X, directory=tmp_path))


def test_model_without_one_such_loss_is_refused():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    model.compile("sgd", losses.get("CE", from_logits=True))
    with pytest.raises(ValueError, match=r"needs one loss with the penalty CALS\. Received: 0 of"):
        fit(model, ClassMultipliers(X))


def test_model_of_several_outputs_is_refused():
    inputs = keras.Input((3,))
    heads = {name: keras.layers.Dense(3, name=name)(inputs) for name in "ab"}
    model = keras.Model(inputs, heads)
    loss = losses.Calibrated(losses.get("CE", from_logits=True), losses.CALS(3))
    model.compile("sgd", {"a": loss, "b": losses.get("CE", from_logits=True)}, run_eagerly=True)
    labels = {name: np.array([0, 1]) for name in "ab"}
    with pytest.raises(ValueError, match="needs a model with one output"):
        model.fit(X, labels, verbose=0, callbacks=[ClassMultipliers(X)])


def test_attach_finds_the_multipliers_of_a_model():
    penalty = losses.CALS(3, margin=4.0)
    model = identity_model(penalty)
    attach(model)
    penalty.assign(0.5, 1.0)
    assert model.loss.penalty.multipliers == [0.5] * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"growth": 0.9}, "`growth` must be a finite number >= 1"),
        ({"tolerance": -1}, "`tolerance` must be a finite number >= 0"),
        ({"period": 0}, "`period` must be a whole number >= 1"),
        ({"highest_rho": 0}, "`highest_rho` must be a finite number > 0"),
    ],
)
def test_what_is_no_setting_raises(arguments, message):
    with pytest.raises(ValueError, match=message):
        ClassMultipliers(X, **arguments)
