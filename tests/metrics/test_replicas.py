"""Several workers that each see a part: the state on every one is that of all rows."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from backends import BACKEND
from keras import ops

import keras_focal
from keras_focal import metrics

SIZE = 41
# Batches of each worker: the last ones are ragged, and of unlike sizes.
PARTS = [[(0, 16), (16, 25)], [(25, 37), (37, 41)]]

BUILD = """
def build():
    return [
        metrics.CalibrationMetrics(from_logits=True),
        metrics.ClasswiseECE(from_logits=True, num_classes=4),
        metrics.NegativeLogLikelihood(from_logits=True),
        metrics.RefinementError(from_logits=True),
    ]
"""

# A custom loop over a MultiWorkerMirroredStrategy; beside it, metrics of this worker's part alone.
WORKER = (
    """
import json, os, sys
import tensorflow as tf
strategy = tf.distribute.MultiWorkerMirroredStrategy()  # before anything else of TensorFlow
import keras, numpy as np
from keras_focal import metrics
"""
    + BUILD
    + """
data, index, folder = np.load(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
parts = json.loads(sys.argv[4])[index]

def batches(context):
    def rows():
        for start, end in parts:
            yield data["labels"][start:end], data["logits"][start:end], data["weights"][start:end]
    shapes = [tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None, 4)), tf.TensorSpec((None,))]
    return tf.data.Dataset.from_generator(rows, output_signature=tuple(shapes))

with strategy.scope():
    together = build()

@tf.function
def step(*batch):
    def update(*batch):
        for metric in together:
            metric.update_state(*batch)
    strategy.run(update, batch)

for batch in strategy.distribute_datasets_from_function(batches):
    step(*batch)
results = {}
for metric in together:
    value = metric.result()
    results.update(value if isinstance(value, dict) else {metric.name: value})
print("RESULT", json.dumps({name: float(value) for name, value in results.items()}))

for number, metric in enumerate(build()):
    for start, end in parts:
        metric.update_state(*(data[name][start:end] for name in ("labels", "logits", "weights")))
    state = [keras.ops.convert_to_numpy(variable) for variable in metric.variables]
    np.savez(f"{folder}/{index}-{number}.npz", *state)
"""
)


def build():
    names = {"metrics": metrics}
    exec(BUILD, names)
    return names["build"]()


def numbers(built):
    found = {}
    for metric in built:
        value = metric.result()
        found.update(value if isinstance(value, dict) else {metric.name: value})
    return {name: float(value) for name, value in found.items()}


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("localhost", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return {
        "labels": rng.integers(0, 4, SIZE).astype("int32"),
        "logits": rng.normal(0, 2, (SIZE, 4)).astype("float32"),
        # Quarters: sums of them are exact in any order.
        "weights": (rng.integers(0, 9, SIZE) / 4).astype("float32"),
    }


@pytest.fixture(scope="module")
def whole(data):
    built = build()
    for metric in built:
        metric.update_state(*data.values())
    return numbers(built)


@pytest.fixture(scope="module")
def workers(data, tmp_path_factory):
    """Two processes of one cluster: their results, and the folder of their parts' states."""
    if BACKEND != "tensorflow":
        pytest.skip("tf.distribute works with the TensorFlow backend alone")
    folder = tmp_path_factory.mktemp("workers")
    np.savez(folder / "data.npz", **data)
    cluster = {"worker": [f"localhost:{port}" for port in free_ports(2)]}
    processes = []
    for index in range(2):
        environment = {
            **os.environ,
            "KERAS_BACKEND": "tensorflow",
            "CUDA_VISIBLE_DEVICES": "-1",
            "PYTHONPATH": str(Path(keras_focal.__file__).parents[1]),
            "TF_CONFIG": json.dumps(
                {"cluster": cluster, "task": {"type": "worker", "index": index}}
            ),
        }
        arguments = [folder / "data.npz", index, folder, json.dumps(PARTS)]
        command = [sys.executable, "-c", WORKER, *map(str, arguments)]
        processes.append(
            subprocess.Popen(
                command,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        answers = [process.communicate(timeout=180) for process in processes]
    finally:
        for process in processes:
            process.kill()
    results = []
    for process, (out, err) in zip(processes, answers, strict=True):
        assert process.returncode == 0, err
        line = next(line for line in out.splitlines() if line.startswith("RESULT "))
        results.append(json.loads(line.removeprefix("RESULT ")))
    return results, folder


@pytest.mark.nightly
def test_workers_of_one_cluster_read_the_number_of_all_rows(workers, whole):
    for result in workers[0]:
        assert result == pytest.approx(whole, rel=1e-6)
    assert workers[0][0] == workers[0][1]


def merged(folder):
    """Return metrics of all parts, each of which has written its states into the folder."""
    whole, *others = (build() for _ in range(1 + len(PARTS)))
    for index, parts in enumerate(others):
        for number, metric in enumerate(parts):
            with np.load(folder / f"{index}-{number}.npz") as state:
                for variable, value in zip(metric.variables, state.values(), strict=True):
                    variable.assign(value)
    for metric, *parts in zip(whole, *others, strict=True):
        metric.merge_state(parts)
    return whole


@pytest.mark.nightly
def test_states_of_processes_written_to_files_merge_to_the_number_of_all_rows(workers, whole):
    assert numbers(merged(workers[1])) == pytest.approx(whole, rel=1e-6)


def test_states_written_to_files_merge_to_the_number_of_all_rows(data, whole, tmp_path):
    for index in range(len(PARTS)):
        # Rows of weight 0 are those of the other part: JAX compiles one size.
        weights = np.where(np.arange(SIZE) % len(PARTS) == index, data["weights"], 0)
        for number, metric in enumerate(build()):
            metric.update_state(data["labels"], data["logits"], weights.astype("float32"))
            state = [ops.convert_to_numpy(variable) for variable in metric.variables]
            np.savez(tmp_path / f"{index}-{number}.npz", *state)
    assert numbers(merged(tmp_path)) == pytest.approx(whole, rel=1e-6)


def test_state_is_plain_arrays_of_numpy(data, whole, tmp_path):
    """So that a state may be written by one backend and added up by another."""
    for metric in build():
        metric.update_state(*data.values())
        state = [ops.convert_to_numpy(variable) for variable in metric.variables]
        np.savez(tmp_path / "state.npz", *state)
        copy = type(metric).from_config(metric.get_config())
        with np.load(tmp_path / "state.npz") as arrays:
            for variable, value in zip(copy.variables, arrays.values(), strict=True):
                variable.assign(value)
        assert numbers([copy]) == numbers([metric])
        assert numbers([metric]).items() <= whole.items()
