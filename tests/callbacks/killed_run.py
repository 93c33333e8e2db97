"""Train with a gamma by callback, and kill the process: python killed_run.py FOLDER RULE [KILL].

KILL is "batch N", in the middle of an epoch, or "write NAME", when half of a file is written. A run
goes on from the backup in its folder; one that ends prints what it ends with.
"""

import json
import os
import signal
import sys
from pathlib import Path

import keras
import numpy as np

from keras_focal import callbacks, metrics
from keras_focal.callbacks import _record, _refinement
from keras_focal.gammas import AdaptiveBins
from keras_focal.losses import SparseCategoricalFocalCrossentropy

EPOCHS = 4
NOISE = np.random.default_rng(0)
X = NOISE.normal(0, 2, (96, 2)).astype("float32")
Y = (X + NOISE.normal(0, 2, X.shape)).argmax(1)


class KillInBatch(keras.callbacks.Callback):
    """Kill the process after so many batches of the whole run."""

    def __init__(self, number):
        super().__init__()
        self.number = number
        self.epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch * 3 + batch == self.number:
            os.kill(os.getpid(), signal.SIGKILL)


def kill_in_write(name):
    """Kill the process when half of a file is written."""
    write = _record.write

    def killed(path, write_to):
        def half(part):
            write_to(part)
            if path.name == name:
                part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])
                os.kill(os.getpid(), signal.SIGKILL)

        write(path, half)

    _record.write = _refinement.write = callbacks._monitor.write = killed


def main(folder, rule, kill=""):
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense(2, use_bias=False, kernel_initializer="identity")
    model = keras.Sequential([keras.Input((2,)), dense])
    gamma = AdaptiveBins(num_bins=4) if rule == "adaptive" else 0.0
    kinds = metrics.ECE, metrics.AdaECE, metrics.RefinementError
    model.compile(
        keras.optimizers.Adam(0.2),
        SparseCategoricalFocalCrossentropy(gamma, from_logits=True),
        metrics=[kind(from_logits=True) for kind in kinds],
    )
    model.run_eagerly = True
    of_gamma = {
        "adaptive": lambda: callbacks.AdaptiveGamma(directory=folder),
        "schedule": lambda: callbacks.GammaScheduler({0: 5.0, 1: 3.0, 3: 1.0}),
    }[rule]()
    refinement = callbacks.RefinementStopping(patience=9, start_from_epoch=2, directory=folder)
    calls = [
        of_gamma,
        callbacks.CalibrationMonitor(folder),
        refinement,
        keras.callbacks.BackupAndRestore(folder / "backup", delete_checkpoint=False),
    ]
    how, _, where = kill.partition(" ")
    if how == "batch":
        calls.append(KillInBatch(int(where)))
    elif how == "write":
        kill_in_write(where)
    how = {"batch_size": 16, "shuffle": False, "verbose": 0, "callbacks": calls}
    model.fit(X[:48], Y[:48], epochs=EPOCHS, validation_data=(X[48:], Y[48:]), **how)
    files = {
        path.name: path.read_text()
        for path in folder.iterdir()
        if path.suffix in (".json", ".csv", ".part")
    }
    kernel = keras.ops.convert_to_numpy(dense.kernel).tolist()
    print(json.dumps({"kernel": kernel, "rows": refinement.rows, "files": files}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
