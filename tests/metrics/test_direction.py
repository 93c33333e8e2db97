"""`mode="auto"` of Keras's callbacks knows which way every reading is better, or asks."""

import json
import pickle

import keras
import numpy as np
import pytest
from backends import FEW_STEPS_EAGERLY

from keras_focal import metrics

X, Y = np.ones((8, 3), "float32"), np.zeros(8)
BRIER = [f"top_label_brier_{part}" for part in ("reliability", "resolution", "uncertainty")]
ERRORS = ["ece", "ada_ece", "mce", "rmsce", "error", BRIER[0]]
NAMED = [
    metrics.CalibrationMetrics(
        readings=[*ERRORS, "accuracy", *BRIER[1:]], from_logits=True, name="cal"
    ),
    metrics.ConfidentCoverage(from_logits=True),
    metrics.ScoresByCorrectness(from_logits=True, name="by"),
    metrics.LogitNorm(),
    metrics.NegativeLogLikelihood(from_logits=True),
    metrics.RefinementError(from_logits=True),
]
DOWN = [
    "nll",
    "refinement",
    "by_nll_right",
    "by_nll_wrong",
    *(f"cal_{reading}" for reading in ERRORS),
]
UP = ["cal_accuracy", f"cal_{BRIER[1]}", "confident_accuracy"]
UNKNOWN = ["confident", "logit_norm", "by_entropy_wrong", f"cal_{BRIER[2]}", "cal"]


@pytest.fixture(scope="module")
def model():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=NAMED, run_eagerly=FEW_STEPS_EAGERLY)
    model.fit(X, Y, verbose=0)
    return model


def direction_of(model, monitor, tmp_path):
    """Return the directions in which each of Keras's callbacks takes a value as better."""
    found = set()
    for callback in (
        keras.callbacks.EarlyStopping(monitor),
        keras.callbacks.ModelCheckpoint(tmp_path / "m.keras", monitor, save_best_only=True),
        keras.callbacks.ReduceLROnPlateau(monitor),
    ):
        callback.set_model(model)
        callback.on_train_begin()
        callback.on_epoch_begin(0)
        callback.on_epoch_end(0, {monitor: 0.5})
        is_up, is_down = (bool(callback.monitor_op(value, 0.5)) for value in (0.75, 0.25))
        found.add({(True, False): "up", (False, True): "down"}[is_up, is_down])
    return found


@pytest.mark.parametrize("prefix", ["", "val_"])
def test_every_reading_that_is_good_or_bad_is_known(model, prefix, tmp_path):
    for direction, names in (("down", DOWN), ("up", UP), ("down", DOWN)):
        for name in names:
            assert direction_of(model, prefix + name, tmp_path) == {direction}, name


def test_reading_that_is_neither_is_left_to_the_user(model, tmp_path):
    # Each after one that is known.
    for known, name in zip([*DOWN, *UP], UNKNOWN * 2, strict=False):
        direction_of(model, known, tmp_path)
        with pytest.raises(ValueError, match=f"monitor={name}, but .*Pass `mode="):
            direction_of(model, name, tmp_path)


def test_name_is_plain_text_to_all_but_a_comparison():
    metric = NAMED[0]
    assert metric.name == "cal"
    assert metric.name != "calibration"
    assert metric.name not in ("ca", "cal_", "cal_nll", "call", None)
    assert {metric.name: 1}["cal"] == 1
    assert "cal_ece" not in {metric.name: 1}
    assert json.loads(json.dumps(metric.get_config()))["name"] == "cal"
    assert type(metric.from_config(metric.get_config()).name) is type(metric.name)
    assert type(pickle.loads(pickle.dumps(metric.name))) is str


@pytest.mark.parametrize("metric", NAMED, ids=lambda metric: str(metric.name))
def test_readings_and_configs_have_names_of_plain_text(metric):
    """A name that compares equal to others is no key: Keras 3.12 sorts the readings."""
    metric.update_state(Y, np.eye(8, 3, dtype="float32"))
    found = metric.result()
    names = [*found] if isinstance(found, dict) else []
    assert {type(name) for name in [*names, metric.get_config()["name"]]} == {str}
