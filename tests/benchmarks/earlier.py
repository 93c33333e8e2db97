"""Losses, metrics and fits against themselves before their kernels were remade.

python tests/benchmarks/earlier.py [--quick] [--publish]

Each commit runs in a process of its own, and the processes take turns.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from harness import ROOT, checked_out, environment, main, ratio_rows
from losses import detections, sample, tensorflow_losses, tensorflow_step, train_steps
from metrics import predictions

import keras_focal
from keras_focal import functional, metrics
from keras_focal.calibration import fit_temperature

BEFORE = "a68e58b"
SECONDS = 0.1
"""How long a case is called in one turn."""


def cases():
    """Return what is called, by name: functions that make a call."""
    found = {
        f"{name}, {list(shape)}, {mode}": loss_of(name, shape, jit=mode == "XLA")
        for shape in [(128, 10), (4096, 100), (256, 32000)]
        for name in ("keras_focal", "keras_focal, FLSD-53")
        for mode in ("graph", "XLA")
    }
    for mode in ("graph", "XLA"):
        found[f"binary, [2, 49104, 80], {mode}"] = binary_of((2, 49104, 80), jit=mode == "XLA")
        found[f"MMCELoss, [4096, 10], {mode}"] = mmce_of((4096, 10), jit=mode == "XLA")
    found["train step, MLP, K = 10, batch 128"] = lambda: train_steps(10)["keras_focal"]
    for metric in (metrics.ECE, metrics.AdaECE, metrics.CalibrationMetrics):
        for rows in (128, 4096):
            found[f"{metric.__name__}, [{rows}, 10], XLA"] = update_of(metric, rows)
    for criterion in ("nll", "ece"):
        found[f"fit_temperature, [50000, 10], {criterion}"] = fit_of(criterion)
    return found


def loss_of(name, shape, *, jit):
    return lambda: tensorflow_step(tensorflow_losses()[name], *sample(shape), jit=jit)


def binary_of(shape, *, jit):
    def loss(y, z):
        return functional.binary_focal_crossentropy(y, z, gamma=2.0, alpha=0.25)

    return lambda: tensorflow_step(loss, *detections(shape), jit=jit)


def mmce_of(shape, *, jit):
    def loss(y, z):
        return functional.maximum_mean_calibration_error(y, z)

    return lambda: tensorflow_step(loss, *sample(shape), jit=jit)


def update_of(metric, rows):
    def make():
        import tensorflow as tf

        labels, logits = map(tf.constant, predictions(rows))
        state = metric(from_logits=True)
        update = tf.function(state.update_state, jit_compile=True, autograph=False)
        return lambda: (update(labels, logits), state.variables[-1].numpy())

    return make


def fit_of(criterion):
    labels, logits = predictions(50_000)
    return lambda: lambda: fit_temperature(logits, labels, criterion)


def answer(package):
    """Answer the names of cases on standard input with the seconds of a call, until it ends."""
    if not Path(keras_focal.__file__).is_relative_to(package):
        raise SystemExit(f"{package} is not what is imported, but {keras_focal.__file__}")
    made, calls, repeats = cases(), {}, {}
    for line in sys.stdin:
        name = line.rstrip("\n")
        if name not in calls:
            calls[name] = call = made[name]()
            call()
            start = time.perf_counter()
            call()
            repeats[name] = max(1, int(SECONDS / (time.perf_counter() - start)))
        start = time.perf_counter()
        for _ in range(repeats[name]):
            calls[name]()
        print("seconds", (time.perf_counter() - start) / repeats[name], flush=True)


def asked(worker, name):
    """Return what a process answers to the name of a case."""
    worker.stdin.write(f"{name}\n")
    worker.stdin.flush()
    for line in worker.stdout:
        if line.startswith("seconds "):
            return float(line.split()[1])
    raise RuntimeError(f"the process that was asked for {name!r} ended")


def worker_of(package):
    paths = os.pathsep.join([str(package), str(Path(__file__).parent)])
    return subprocess.Popen(
        [sys.executable, __file__, "--answer", str(package)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths, "KERAS_BACKEND": "tensorflow"},
    )


def measure(quick):
    rows, names = [], list(cases())
    with tempfile.TemporaryDirectory() as folder:
        packages = {"now": ROOT, f"at {BEFORE}": checked_out(Path(folder), BEFORE)}
        workers = {name: worker_of(package) for name, package in packages.items()}
        for case in names[:1] if quick else names:
            times = {name: [] for name in workers}
            for turn in range(2 if quick else 26):
                for name, worker in workers.items():
                    seconds = asked(worker, case)
                    times[name] += [seconds] if turn else []  # the first compiles
            ratios = ratio_rows("Time of a call", case, times, f"at {BEFORE}", {"now": 1.1})
            rows.append(next(row for row in ratios if row.variant == "now"))
        for worker in workers.values():
            worker.communicate()
    return rows, environment("tensorflow", "numpy")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--answer"]:
        answer(sys.argv[2])
    else:
        main("earlier", measure)
