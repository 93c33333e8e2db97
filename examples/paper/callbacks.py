"""What happens between the epochs of a run, so that it can be resumed and looked at."""

import time
from collections.abc import Container
from pathlib import Path

import keras
import numpy as np
from keras import ops

from examples.paper.data import Data, Split
from examples.paper.files import DamagedFileError, load_weights, read_json
from examples.paper.runs import Run, Snapshot

SNAPSHOT_SAMPLES = 10_000
PREDICT_BATCH = 500


def backup(run: Run) -> keras.callbacks.BackupAndRestore:
    """Return the backup of each epoch: to come last, since what it has seen, the others wrote.

    It stays when training ends, until `runs.finish` removes it: what follows may be killed too.
    """
    return _Backup(run.backup, double_checkpoint=True, delete_checkpoint=False)


class _Backup(keras.callbacks.BackupAndRestore):
    """A backup that names the file from which it cannot be restored."""

    def on_train_begin(self, logs: dict | None = None) -> None:
        try:
            super().on_train_begin(logs)
        except (KeyError, OSError, ValueError) as error:
            state = Path(self._training_metadata_path)
            if state.is_file():
                read_json(state)
            what = "the weights of an epoch"
            raise DamagedFileError(Path(self._weights_path), what, error) from error


def best_weights(run: Run) -> keras.callbacks.ModelCheckpoint:
    """Return what keeps the weights of the best validation accuracy, over a break as well."""
    accuracies = run.log().get("val_accuracy", ())
    return keras.callbacks.ModelCheckpoint(
        run.folder / "best.weights.h5",
        monitor="val_accuracy",
        mode="max",
        save_best_only=True,
        save_weights_only=True,
        initial_value_threshold=np.nanmax(accuracies) if len(accuracies) else None,
    )


class LastWeights(keras.callbacks.Callback):
    """Writes the weights of each of the last epochs, of which `average_weights` is the mean."""

    def __init__(self, run: Run, count: int):
        super().__init__()
        self.folder = run.folder / "last"
        self.begin = run.settings["epochs"] - count

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if epoch >= self.begin:
            self.folder.mkdir(exist_ok=True)
            self.model.save_weights(self.folder / f"epoch_{epoch + 1:04d}.weights.h5")


def average_weights(run: Run, model: keras.Model) -> None:
    """Give a model the mean of the weights that `LastWeights` wrote.

    Raises:
        DamagedFileError: If a file does not hold them.
    """
    files = sorted((run.folder / "last").iterdir())
    total = [np.zeros(weight.shape) for weight in model.weights]
    for file in files:
        load_weights(model, file)
        total = [a + b for a, b in zip(total, model.get_weights(), strict=True)]
    model.set_weights([weight / len(files) for weight in total])


def first(values: np.ndarray) -> np.ndarray:
    """Return what belongs to the whole sample: the first position where a sample has several."""
    return values if values.ndim == 1 else values[:, 0]


def predict(model: keras.Model, split: Split) -> np.ndarray:
    """Return the logits of each sample, float32, shape (N, K)."""
    logits = model.predict(split.x, batch_size=PREDICT_BATCH, verbose=0)
    return logits if logits.ndim == 2 else logits[:, 0]


class FreshDraws(keras.callbacks.Callback):
    """Makes what dropout draws depend on the seed and the epoch alone.

    A backup does not hold the state of random layers: a resumed run would draw otherwise. On torch,
    Keras leaves dropout to torch's own generator.
    """

    def __init__(self, seed: int):
        super().__init__()
        self.seed = seed

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        states = (v for v in self.model.variables if v.name == "seed_generator_state")
        for index, state in enumerate(states):
            state.assign([self.seed, (epoch << 16) + index])
        if keras.backend.backend() == "torch":
            import torch

            torch.manual_seed((self.seed << 16) + epoch)


class Stopwatch(keras.callbacks.Callback):
    """Adds the seconds that an epoch took, validation included, to its logs."""

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        logs["seconds"] = time.perf_counter() - self._began


class Snapshots(keras.callbacks.Callback):
    """Writes a `Snapshot` after chosen epochs, 1 being the first."""

    def __init__(self, folder: Path, epochs: Container[int], dataset: Data):
        super().__init__()
        self.folder = folder
        self.epochs = epochs
        self.train_part = dataset.train.take(slice(SNAPSHOT_SAMPLES))
        self.test = dataset.test

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if epoch + 1 not in self.epochs:
            return
        last = self.model.get_layer("logits")
        both = keras.Model(self.model.inputs, [self.model.outputs[0], last.input])
        logits, features = both.predict(self.train_part.x, batch_size=PREDICT_BATCH, verbose=0)
        Snapshot(
            epoch=epoch + 1,
            test_logits=predict(self.model, self.test),
            test_labels=first(self.test.y),
            train_logits=logits,
            train_labels=first(self.train_part.y),
            train_feature_norms=np.linalg.norm(features.astype("float32"), axis=-1),
            kernel_norm=float(np.linalg.norm(ops.convert_to_numpy(last.kernel))),
        ).save(self.folder)
