"""What Keras itself cannot do on several devices, without anything of this package.

python tests/devices/stock_keras.py

Prints the versions, and how each attempt ends. The attempts are a small model with loss="mse".
"""

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from harness import environment

X = np.ones((9, 3), "float32")
WORKER = "--worker"


def fit(scope=None, batch_size=4, **compiled):
    import keras

    with scope or nullcontext():
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse", **compiled)
    model.fit(X, X[:, :1], batch_size=batch_size, verbose=0)


def mirrored(**compiled):
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    fit(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope(), **compiled)


def several_steps():
    mirrored(steps_per_execution=2)


def several_workers():
    import tensorflow as tf

    fit(tf.distribute.MultiWorkerMirroredStrategy().scope())


def uneven_batches():
    import keras

    keras.distribution.set_distribution(keras.distribution.DataParallel())
    fit()


ATTEMPTS = {
    "tensorflow, MirroredStrategy, steps_per_execution=2": several_steps,
    "tensorflow, MultiWorkerMirroredStrategy, fit": several_workers,
    "jax, DataParallel, a batch that the devices do not divide": uneven_batches,
}


def attempted(name):
    """Return how an attempt ends, in processes of its own."""
    backend = name.partition(",")[0]
    number = 2 if "MultiWorker" in name else 1
    first = 20_000 + os.getpid() % 20_000
    addresses = [f"localhost:{first + index}" for index in range(number)]
    started = []
    for index in range(number):
        cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {
            **os.environ,
            "KERAS_BACKEND": backend,
            "CUDA_VISIBLE_DEVICES": "-1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        }
        if number > 1:
            environment["TF_CONFIG"] = json.dumps(cluster)
        command = [sys.executable, __file__, WORKER, name]
        pipe = subprocess.PIPE
        started.append(
            subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)
        )
    try:
        return started[0].communicate(timeout=120)[0].strip() or "ended without a word"
    except subprocess.TimeoutExpired:
        return "does not end"
    finally:
        for process in started:
            process.kill()


def worker(name):
    try:
        ATTEMPTS[name]()
    except Exception as error:
        print(f"{type(error).__name__}: {str(error).splitlines()[0][:100]}", flush=True)
    else:
        print("works", flush=True)
    # The other worker may wait for this one for ever.
    os._exit(0)


def main():
    versions = environment("tensorflow", "jax", "torch")
    print(", ".join(f"{name} {versions[name]}" for name in ("keras", "tensorflow", "jax", "torch")))
    for name in ATTEMPTS:
        print(f"- {name}: {attempted(name)}", flush=True)


if __name__ == "__main__":
    worker(sys.argv[2]) if WORKER in sys.argv else main()
