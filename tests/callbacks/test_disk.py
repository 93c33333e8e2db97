"""A disk that is full while a callback writes: the old files stay, and nothing is half written."""

import resource

import keras
import numpy as np
import pytest

from keras_focal import callbacks, metrics
from keras_focal.gammas import AdaptiveBins
from keras_focal.losses import SparseCategoricalFocalCrossentropy
from keras_focal.plotting import reliability_diagram

X = np.random.default_rng(0).normal(0, 2, (32, 2)).astype("float32")
Y = X.argmax(1)


@pytest.fixture
def full_disk():
    """A callback: from the first validation on, no file may grow beyond 20 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    class Fill(keras.callbacks.Callback):
        def on_test_begin(self, logs=None):
            resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))

    yield Fill()
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def train(*calls, epoch):
    dense = keras.layers.Dense(2, use_bias=False, kernel_initializer="identity")
    model = keras.Sequential([keras.Input((2,)), dense])
    loss = SparseCategoricalFocalCrossentropy(AdaptiveBins(num_bins=4), from_logits=True)
    kinds = metrics.ECE, metrics.AdaECE, metrics.RefinementError
    model.compile("sgd", loss, metrics=[kind(from_logits=True) for kind in kinds])
    model.run_eagerly = True
    how = {"initial_epoch": epoch, "epochs": epoch + 1, "validation_data": (X, Y)}
    model.fit(X, Y, batch_size=32, verbose=0, callbacks=list(calls), **how)


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (lambda folder: callbacks.AdaptiveGamma(directory=folder), "adaptive_gamma.json"),
        (
            lambda folder: callbacks.CalibrationMonitor(folder, pictures=reliability_diagram),
            "reliability_diagram_ece_training_0001.png",
        ),
        (
            lambda folder: callbacks.RefinementStopping(directory=folder, start_from_epoch=1),
            "refinement_best_0001.npz",
        ),
    ],
    ids=["AdaptiveGamma", "CalibrationMonitor", "RefinementStopping"],
)
# NumPy 1 leaves an archive open that it could not write.
@pytest.mark.filterwarnings(
    r"ignore:Exception ignored in.*ZipFile:pytest.PytestUnraisableExceptionWarning"
)
def test_full_disk_is_named_and_leaves_every_file_as_it_was(made, name, tmp_path, full_disk):
    def files():
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    train(made(tmp_path), epoch=0)
    before = files()
    assert before
    with pytest.raises(OSError, match=name):
        train(full_disk, made(tmp_path), epoch=1)
    assert files() == before
