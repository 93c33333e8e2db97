"""A run that was killed goes on as if it had not been, or says what it lacks."""

import json
import warnings

import keras
import numpy as np
import pytest
from backends import FEW_STEPS_EAGERLY
from keras import ops

from keras_focal.callbacks import AdaptiveGamma, CalibrationMonitor, RefinementStopping
from keras_focal.gammas import AdaptiveBins
from keras_focal.losses import SparseCategoricalFocalCrossentropy
from keras_focal.metrics import AdaECE, RefinementError

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
    [
        ["backup", "kill", "gamma", "monitor"],
        pytest.param(["gamma", "monitor", "kill", "backup"], marks=pytest.mark.nightly),
    ],
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


@pytest.mark.nightly
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
        (
            lambda folder: RefinementStopping(directory=folder),
            "refinement_stopping.json",
            [
                "",
                "{}",
                '[{"epoch": 0, "refinement": 1',
                '[{"epoch": 0, "refinement": 1.0}]',
                '[{"epoch": 0, "refinement": null, "temperatures": {}}]',
            ],
        ),
    ],
    ids=["AdaptiveGamma", "CalibrationMonitor", "RefinementStopping"],
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


# --- RefinementStopping, which may have stopped, and has weights to restore


class Swing(keras.callbacks.Callback):
    """Train ever faster, so that the refinement error goes down and up again."""

    def on_epoch_begin(self, epoch, logs=None):
        self.model.optimizer.learning_rate.assign(0.02 * 9.0**epoch)


class KillAt(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            raise InterruptedError("killed")


def stopped(folder, order, kills=(), restore=True):
    """Train with kills at the ends of epochs; return the weights, the state of the callback."""

    def part(name, kill):
        return {
            "backup": lambda: keras.callbacks.BackupAndRestore(folder / "backup"),
            "stop": lambda: RefinementStopping(
                patience=2, restore_best_weights=restore, directory=folder
            ),
            "kill": lambda: KillAt(kill),
        }[name]()

    for kill in kills:
        with pytest.raises(InterruptedError):
            train(refining(), [Swing(), *(part(name, kill) for name in order)], epochs=8)
    resumed = refining()
    callbacks = {name: part(name, None) for name in order if name != "kill"}
    train(resumed, [Swing(), *callbacks.values()], epochs=8)
    stop = callbacks["stop"]
    kernel = ops.convert_to_numpy(resumed.layers[0].kernel).tolist()
    return kernel, stop.best_epoch, stop.best, stop.stopped_epoch, stop.rows


def refining():
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense(2, use_bias=False)
    model = keras.Sequential([keras.Input((2,)), dense])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    metric = RefinementError(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, metrics=[metric])
    model.run_eagerly = FEW_STEPS_EAGERLY
    return model


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    found = stopped(tmp_path_factory.mktemp("whole"), ["backup", "stop"])
    # It did stop, some epochs after the best one.
    assert 0 < found[1] < found[3] < 7
    return found


@pytest.mark.nightly
@pytest.mark.parametrize(
    "order",
    [
        pytest.param(["backup", "kill", "stop"], marks=pytest.mark.nightly),
        ["stop", "kill", "backup"],
    ],
)
def test_run_killed_at_any_epoch_stops_where_it_would_have(order, tmp_path, whole):
    _, best, _, last, _ = whole
    assert stopped(tmp_path, order, (best, last)) == whole
    assert len([*tmp_path.glob("refinement_best_*")]) == 1


@pytest.mark.nightly
def test_run_killed_after_its_last_epoch_keeps_the_last_weights(tmp_path, whole):
    once, twice = (
        stopped(tmp_path / str(number), ["backup", "kill", "stop"], kills, restore=False)
        for number, kills in enumerate(((), (whole[3],)))
    )
    assert twice == once
    assert once[0] != whole[0]
    assert not [*tmp_path.rglob("refinement_best_*")]


@pytest.mark.nightly
def test_weights_are_kept_until_no_backup_can_need_them(tmp_path):
    """A run may be killed between the record of a best epoch and the backup of that epoch."""
    callback = RefinementStopping(patience=9, directory=tmp_path)
    train(refining(), [callback], epochs=1)
    again = RefinementStopping(patience=9, directory=tmp_path)
    with pytest.raises(InterruptedError):
        train(refining(), [KillAt(1), again], epochs=2, initial_epoch=1)
    names = {path.name for path in tmp_path.glob("refinement_best_*")}
    assert "refinement_best_0000.npz" in names
    # Killed while the weights are written, it leaves those before as they were.
    before = (tmp_path / "refinement_best_0000.npz").read_bytes()
    (tmp_path / "refinement_best_0001.part").write_bytes(b"half")
    last = RefinementStopping(patience=9, directory=tmp_path)
    train(refining(), [last], epochs=2, initial_epoch=1)
    assert [row["epoch"] for row in last.rows] == [0, 1]
    assert not [*tmp_path.glob("*.part")]
    assert before


def test_resuming_without_the_record_or_the_best_weights_warns(tmp_path):
    def messages():
        stop = RefinementStopping(directory=tmp_path)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            train(refining(), [stop], epochs=2, initial_epoch=1)
        found = [str(one.message) for one in caught if "resumes at" in str(one.message)]
        return found, [row["epoch"] for row in stop.rows]

    (message,), rows = messages()
    assert "RefinementStopping resumes at epoch 1" in message
    assert str(tmp_path / "refinement_stopping.json") in message
    train(refining(), [RefinementStopping(directory=tmp_path)], epochs=1)
    (tmp_path / "refinement_best_0000.npz").unlink()
    (message,), rows = messages()
    assert f"there is no {tmp_path / 'refinement_best_0000.npz'}" in message
    assert rows == [1]


def test_damaged_or_foreign_weights_name_their_file(tmp_path):
    train(refining(), [RefinementStopping(directory=tmp_path)], epochs=1)
    path = tmp_path / "refinement_best_0000.npz"
    whole = path.read_bytes()
    for content in (b"", b"\x00\x01", whole[:-40]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"weights written by.*refinement_best_0000.*Restore"):
            train(refining(), [RefinementStopping(directory=tmp_path)], epochs=2, initial_epoch=1)
    np.savez(path, np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"weights of this model.*refinement_best_0000"):
        train(refining(), [RefinementStopping(directory=tmp_path)], epochs=2, initial_epoch=1)


def test_weights_of_half_precision_come_back(tmp_path):
    kernel = keras.layers.Dense(2, use_bias=False, dtype="bfloat16")
    model = keras.Sequential([keras.Input((2,)), kernel])
    model.compile("sgd", "mse", metrics=[RefinementError(from_logits=True)])
    model.run_eagerly = FEW_STEPS_EAGERLY
    one_hot = np.eye(2)[Y]
    stop = RefinementStopping(directory=tmp_path)
    how = {"batch_size": 48, "verbose": 0, "callbacks": [stop]}
    model.fit(X, one_hot, validation_data=(X, one_hot), **how)
    (weights,) = stop._read_weights(tmp_path / "refinement_best_0000.npz")
    kernel = ops.convert_to_numpy(ops.cast(model.weights[0], "float32"))
    np.testing.assert_array_equal(weights.astype("float32"), kernel)
