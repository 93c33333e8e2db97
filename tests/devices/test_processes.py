"""Several processes or devices, each with a part of every batch: the numbers are those of one."""

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import job
import numpy as np
import pytest
from backends import BACKEND, value_and_gradient

import keras_focal

FOLDER = Path(__file__).parent
SECONDS = 600

pytestmark = pytest.mark.nightly


def only(backend):
    return pytest.mark.skipif(backend != BACKEND, reason=f"works with the {backend} backend alone")


def run(name, folder, processes=2, devices=1):
    """Return what the processes of a script found, each of which may have several devices."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(processes)]
        for one in sockets:
            one.bind(("localhost", 0))
        addresses = ",".join(f"localhost:{one.getsockname()[1]}" for one in sockets)
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "-1",
        "PYTHONPATH": os.pathsep.join([str(Path(keras_focal.__file__).parents[1]), str(FOLDER)]),
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} "
        "--xla_backend_optimization_level=0",
    }
    results = [folder / f"{index}.json" for index in range(processes)]
    started = [
        subprocess.Popen(
            [sys.executable, FOLDER / name, addresses, str(index), result],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index, result in enumerate(results)
    ]
    try:
        said = [process.communicate(timeout=SECONDS)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    for process, text in zip(started, said, strict=True):
        assert process.returncode == 0, text
    return [json.loads(result.read_text()) for result in results]


def check_losses(found, names=job.LOSSES):
    """Compare values, and the gradients of the rows of each process."""
    x, *rest = job.data()
    for name in names:
        loss = job.loss_of(name)
        value, gradient = value_and_gradient(lambda x, loss=loss: loss(x, *rest), x)
        for one, part in zip(found, np.split(gradient, len(found)), strict=True):
            np.testing.assert_allclose(one[name]["value"], value, 2e-6, err_msg=name)
            np.testing.assert_allclose(one[name]["gradient"], part, 2e-5, 1e-8, err_msg=name)


def check_loss_of_batches(found):
    """A process sees the rows of its own share."""
    name = job.LOSSES[-1]
    halves = zip(*(np.split(array, 2) for array in job.data()), strict=True)
    expected = np.mean([float(job.loss_of(name)(*half)) for half in halves])
    for one in found:
        np.testing.assert_allclose(one[name]["value"], expected, 2e-6)


def check_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, 1e-5, err_msg=name)


def check_fit(found):
    expected = job.trained()
    for one in found:
        check_equal(one["history"], expected["history"])
        check_equal(one["evaluated"], expected["evaluated"])
        np.testing.assert_allclose(one["kernel"], expected["kernel"], 1e-5)


def check_loop(found):
    """Compare a loop of one's own with `fit`."""
    expected = job.trained()
    history = expected["history"]
    gammas, means = history.pop("gamma"), history.pop("loss")
    for one in found:
        check_equal(one["metrics"], {name: values[-1] for name, values in history.items()})
        losses = np.reshape(one["losses"], (len(gammas), -1))
        np.testing.assert_allclose(losses.mean(1), means, 1e-5)
        np.testing.assert_allclose(one["kernel"], expected["kernel"], 1e-5)


@only("jax")
def test_two_jax_processes_train_evaluate_and_differentiate_as_one_device(tmp_path):
    found = run("jax_worker.py", tmp_path)
    check_fit(found)
    check_losses(found)


@only("jax")
def test_mesh_of_halved_rows_and_classes_gives_what_one_device_gives(tmp_path):
    (found,) = run("mesh_worker.py", tmp_path, processes=1, devices=4)
    check_fit([found])
    check_losses([found])
    whole = job.built_metrics()
    x, y, weights = job.data()
    for metric in whole:
        metric.update_state(y, x, weights)
    check_equal(found["metrics"], job.numbers(whole))


@only("torch")
def test_two_torch_processes_train_measure_and_differentiate_as_one_device(tmp_path):
    found = run("torch_worker.py", tmp_path)
    check_loop(found)
    check_losses(found, job.LOSSES[:-1])
    check_loss_of_batches(found)


@only("tensorflow")
def test_two_tensorflow_workers_train_measure_and_differentiate_as_one_device(tmp_path):
    found = run("tensorflow_worker.py", tmp_path)
    check_loop(found)
    check_losses(found, job.LOSSES[:-1])
    check_loss_of_batches(found)
