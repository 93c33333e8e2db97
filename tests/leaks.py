"""Memory and traces of long runs: what does not end must not grow.

KERAS_BACKEND=tensorflow python tests/leaks.py [--part N] [--publish]

Each task runs in a process of its own, with the classes of this package and, as a control, with
those of Keras. The figure is the growth of the resident size over the second half of the run: the
first half fills the caches of the framework. `--part 10` runs a tenth of each; `--publish` writes
docs/results/leaks.json, from which tests/promises.py makes a table.
"""

import argparse
import gc
import json
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np

sys.path.append(str(Path(__file__).parent / "benchmarks"))
from harness import RESULTS, environment, in_process, resident

from keras_focal import calibration, callbacks, losses, metrics

CLASSES, BATCH, STEPS, READINGS = 4, 8, 50, 8
COUNTS = {"train steps": 10_000, "fits": 1_000, "calibrations": 200, "batch sizes": 60}
RNG = np.random.default_rng(0)
X = RNG.normal(0, 2, (BATCH * STEPS, CLASSES)).astype("float32")
Y = (X + RNG.normal(0, 2, X.shape)).argmax(1).astype("int32")


class Traced:
    """The calls of a loss in Python: one for each time that a step is traced, if it is."""

    count = 0


class Focal(losses.SparseCategoricalFocalCrossentropy):
    def __call__(self, *batch, **kwargs):
        Traced.count += 1
        return super().__call__(*batch, **kwargs)


class Stock(keras.losses.SparseCategoricalCrossentropy):
    def __call__(self, *batch, **kwargs):
        Traced.count += 1
        return super().__call__(*batch, **kwargs)


def built(is_stock):
    dense = keras.layers.Dense(CLASSES, kernel_initializer="identity")
    model = keras.Sequential([keras.Input((CLASSES,)), dense])
    ours = [metrics.CalibrationMetrics(from_logits=True, name="all")]
    loss = Stock(from_logits=True) if is_stock else Focal(from_logits=True)
    model.compile("sgd", loss, metrics=["accuracy"] if is_stock else ours)
    return model


def calls_of(is_stock, folder):
    """Return the callbacks of one `fit`."""
    if is_stock:
        return []
    scheduler = callbacks.GammaScheduler(lambda epoch: 3.0 / (1 + epoch))
    return [scheduler, callbacks.CalibrationMonitor(folder)]


def run(task, count, is_stock, folder):
    """Yield after each unit of work, a step or whatever else is counted."""
    model = built(is_stock)
    if task == "train steps":
        calls = calls_of(is_stock, folder)
        for epoch in range(count // STEPS):
            how = {"initial_epoch": epoch, "epochs": epoch + 1, "callbacks": calls}
            model.fit(X, Y, batch_size=BATCH, verbose=0, **how)
            yield from range(STEPS)
    elif task == "fits":
        for _ in range(count):
            calls = calls_of(is_stock, folder)
            model.fit(X[:BATCH], Y[:BATCH], batch_size=BATCH, verbose=0, callbacks=calls)
            yield
    elif task == "calibrations":
        for _ in range(count):
            if is_stock:
                on_top = keras.layers.Dense(CLASSES)(model.outputs[0])
                keras.Model(model.inputs, on_top).predict(X, verbose=0)
            else:
                calibration.calibrate(model, X, Y, from_logits=True, verbose=0)
            yield
    else:
        for size in range(1, count + 1):
            model.fit(X[: 2 * size], Y[: 2 * size], batch_size=size, verbose=0)
            yield


def measured(task, count, is_stock):
    """Return the resident size in MiB over the run, its growth over the second half, the traces."""
    found, every = [], max(1, count // READINGS)
    with tempfile.TemporaryDirectory() as folder:
        for number, _ in enumerate(run(task, count, is_stock, folder), start=1):
            if number % every == 0:
                gc.collect()
                found.append((resident() / 2**20, Traced.count))
    middle, last = found[len(found) // 2 - 1], found[-1]
    return {
        "count": count,
        "resident_mib": [round(mib, 1) for mib, _ in found],
        "growth_mib": last[0] - middle[0],
        "traces": last[1],
        "traces_of_second_half": last[1] - middle[1],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", type=int, default=1, help="run one N-th of each count")
    parser.add_argument("--publish", action="store_true", help="write docs/results/leaks.json")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    parser.add_argument("--stock", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        count = COUNTS[options.task] // options.part
        print(json.dumps(measured(options.task, count, options.stock)))
        return
    backend = keras.backend.backend()
    rows = {}
    for task in COUNTS:
        arguments = [__file__, "--task", task, "--part", str(options.part)]
        ours = in_process(*arguments, backend=backend)
        stock = in_process(*arguments, "--stock", backend=backend)
        rows[task] = {"keras_focal": ours, "keras": stock}
        print(task, json.dumps(rows[task]), flush=True)
    if options.publish:
        path = RESULTS / "leaks.json"
        found = json.loads(path.read_text()) if path.exists() else {}
        part = f" --part {options.part}" if options.part > 1 else ""
        found[backend] = {
            "command": f"KERAS_BACKEND={backend} python tests/leaks.py{part} --publish",
            "environment": environment(backend),
            "rows": rows,
        }
        path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
