"""Two processes, each with half of every batch: the numbers are those of one device."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import job
import numpy as np
import pytest
from backends import BACKEND, value_and_gradient

import keras_focal

FOLDER = Path(__file__).parent
SECONDS = 600

pytestmark = pytest.mark.nightly


def run(name, folder, devices=1):
    """Return what the two processes of a script found."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "-1",
        "PYTHONPATH": os.pathsep.join([str(Path(keras_focal.__file__).parents[1]), str(FOLDER)]),
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} "
        "--xla_backend_optimization_level=0",
    }
    results = [folder / f"{index}.json" for index in range(2)]
    processes = [
        subprocess.Popen(
            [sys.executable, FOLDER / name, address, str(index), result],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index, result in enumerate(results)
    ]
    try:
        said = [process.communicate(timeout=SECONDS)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, text in zip(processes, said, strict=True):
        assert process.returncode == 0, text
    return [json.loads(result.read_text()) for result in results]


def check_losses(found, names=job.LOSSES):
    """Compare values, and the gradients of each half of the rows."""
    x, *rest = job.data()
    for name in names:
        loss = job.loss_of(name)
        value, gradient = value_and_gradient(lambda x, loss=loss: loss(x, *rest), x)
        for one, half in zip(found, np.split(gradient, 2), strict=True):
            np.testing.assert_allclose(one[name]["value"], value, 2e-6, err_msg=name)
            np.testing.assert_allclose(one[name]["gradient"], half, 2e-5, 1e-8, err_msg=name)


def check_equal(found, expected, rtol=1e-5):
    for one in found:
        assert one.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(one[name], value, rtol, err_msg=name)


def last_epoch(history):
    return {name: values[-1] for name, values in history.items() if name not in ("loss", "gamma")}


@pytest.mark.skipif(BACKEND != "jax", reason="jax.distributed works with the JAX backend alone")
def test_two_jax_processes_train_evaluate_and_differentiate_as_one_device(tmp_path):
    found = run("jax_worker.py", tmp_path)
    expected = job.trained()
    for part in ("history", "evaluated"):
        check_equal([one[part] for one in found], expected[part])
    for one in found:
        np.testing.assert_allclose(one["kernel"], expected["kernel"], 1e-5)
    check_losses(found)


@pytest.mark.skipif(BACKEND != "torch", reason="DistributedDataParallel is torch's")
def test_two_torch_processes_train_measure_and_differentiate_as_one_device(tmp_path):
    found, expected = run("torch_worker.py", tmp_path), job.trained()
    check_equal([one["metrics"] for one in found], last_epoch(expected["history"]))
    for one in found:
        means = np.reshape(one["losses"], (len(job.SCHEDULE), -1)).mean(1)
        np.testing.assert_allclose(means, expected["history"]["loss"], 1e-5)
        np.testing.assert_allclose(one["kernel"], expected["kernel"], 1e-5)
    *of_rows, of_batches = job.LOSSES
    check_losses(found, of_rows)
    # A process sees the rows of its own share.
    halves = zip(*(np.split(array, 2) for array in job.data()), strict=True)
    expected = np.mean([float(job.loss_of(of_batches)(*half)) for half in halves])
    for one in found:
        np.testing.assert_allclose(one[of_batches]["value"], expected, 2e-6)
