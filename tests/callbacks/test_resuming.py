"""A run that was killed goes on as if it had not been, or says what it lacks."""

import json
import warnings

import keras
import numpy as np
import pytest
from keras import ops

from keras_focal.callbacks import AdaptiveGamma, CalibrationMonitor
from keras_focal.gammas import AdaptiveBins
from keras_focal.losses import SparseCategoricalFocalCrossentropy
from keras_focal.metrics import AdaECE

NOISE = np.random.default_rng(0)
X = NOISE.normal(0, 2, (96, 2)).astype("float32")
Y = (X + NOISE.normal(0, 2, X.shape)).argmax(1)
EPOCHS = 3


def model():
    dense = keras.layers.Dense(2, use_bias=False, kernel_initializer="identity")
    model = keras.Sequential([keras.Input((2,)), dense])
    loss = SparseCategoricalFocalCrossentropy(AdaptiveBins(num_bins=4), from_logits=True)
    model.compile(keras.optimizers.SGD(0.2), loss, metrics=[AdaECE(from_logits=True)])
    # Compiling takes longer than these few steps.
    model.run_eagerly = True
    return model


def train(model, callbacks, *, epochs=EPOCHS, is_validated=True, **kwargs):
    pair = (X[48:], Y[48:]) if is_validated else None
    kwargs = {"batch_size": 16, "shuffle": False, "verbose": 0, **kwargs}
    model.fit(X[:48], Y[:48], epochs=epochs, validation_data=pair, callbacks=callbacks, **kwargs)


class Kill(keras.callbacks.Callback):
    """Stop the run at the end of epoch 1, after the callbacks before it and not those behind."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            raise InterruptedError("killed")


def run(folder, order):
    """Train with a kill between callbacks, resume; return the weights, gammas and rows."""
    parts = {
        "backup": lambda: keras.callbacks.BackupAndRestore(folder / "backup"),
        "gamma": lambda: AdaptiveGamma(directory=folder),
        "monitor": lambda: CalibrationMonitor(folder),
        "kill": Kill,
    }
    if "kill" in order:
        with pytest.raises(InterruptedError):
            train(model(), [parts[name]() for name in order])
    resumed = model()
    train(resumed, [parts[name]() for name in order if name != "kill"])
    rule = resumed.loss.gamma
    kernel = ops.convert_to_numpy(resumed.layers[0].kernel).tolist()
    rows = json.loads((folder / "adaptive_gamma.json").read_text())
    return kernel, rule.gammas, rule.edges, rows, (folder / "calibration.csv").read_text()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return run(tmp_path_factory.mktemp("whole"), ["gamma", "monitor", "backup"])


@pytest.mark.parametrize(
    "order",
    [["backup", "kill", "gamma", "monitor"], ["gamma", "monitor", "kill", "backup"]],
    ids=" ".join,
)
def test_run_killed_within_an_epoch_goes_on_in_any_order_of_callbacks(
    order, tmp_path, uninterrupted
):
    assert run(tmp_path, order) == uninterrupted


def messages_of(callbacks, **kwargs):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(model(), callbacks, **kwargs)
    return [str(one.message) for one in caught if "resumes at" in str(one.message)]


def test_resuming_without_a_record_of_the_epochs_before_warns(tmp_path):
    late = {"initial_epoch": 2}
    (gamma,) = messages_of([AdaptiveGamma(directory=tmp_path)], **late)
    assert "AdaptiveGamma resumes at epoch 2" in gamma
    assert str(tmp_path / "adaptive_gamma.json") in gamma
    (monitor,) = messages_of([CalibrationMonitor(tmp_path)], **late)
    assert "CalibrationMonitor resumes at epoch 2" in monitor
    assert str(tmp_path / "calibration.csv") in monitor
    # Now both have a record of the epoch before.
    callbacks = [AdaptiveGamma(directory=tmp_path), CalibrationMonitor(tmp_path)]
    assert messages_of(callbacks, epochs=4, initial_epoch=3) == []


@pytest.mark.parametrize(
    ("callback", "name", "texts"),
    [
        (
            lambda folder: AdaptiveGamma(directory=folder),
            "adaptive_gamma.json",
            [
                "",
                '[{"epoch": 0, "gammas": [1',
                "{}",
                "null",
                "[3]",
                '[{"epoch": 0}]',
                '[{"epoch": 0, "gammas": [1, 1], "edges": [0.5, 0.6, 0.7]}]',
                '[{"epoch": 0, "gammas": [1, 1, 1, null], "edges": [0.5, 0.6, 0.7]}]',
                '[{"epoch": 0, "gammas": [1, 1, 1, 1], "edges": [0.5, 0.2, 0.7]}]',
                "\x00\x00\x00",
            ],
        ),
        (
            CalibrationMonitor,
            "calibration.csv",
            [
                "",
                "epoch,data\r\nzero,training\r\n",
                "a,b\r\n1,2\r\n",
                "epoch,data\r\n0,training,9\r\n",
                "epoch,data,ece\r\n0,training,0.1\r\n1,tra",
                "\x00\x00\x00",
            ],
        ),
    ],
    ids=["AdaptiveGamma", "CalibrationMonitor"],
)
def test_damaged_record_names_its_file(callback, name, texts, tmp_path):
    for text in texts:
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=rf"`directory` must hold a record.*{name}.*Restore"):
            train(model(), [callback(tmp_path)], initial_epoch=2)


def test_record_that_is_no_text_names_its_file(tmp_path):
    (tmp_path / "adaptive_gamma.json").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ValueError, match=r"adaptive_gamma\.json"):
        train(model(), [AdaptiveGamma(directory=tmp_path)])
