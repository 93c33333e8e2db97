"""Calibration metrics: what they add to a train step, and a long run of updates against peers.

python tests/benchmarks/metrics.py [--quick] [--publish]

metrics_jax.py has the same on JAX.
"""

import numpy as np
from harness import Row, environment, interleaved, main, ratio_rows

BATCH = 4096
CLASSES = 10


def train_steps(classes, *, jit):
    """Return calls of the compiled train step of a small network with different metrics."""
    import keras

    from keras_focal import metrics

    def model_with(chosen):
        keras.utils.set_random_seed(0)
        layers = [keras.Input((32,)), keras.layers.Dense(128, "relu"), keras.layers.Dense(classes)]
        model = keras.Sequential(layers)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("sgd", loss, metrics=chosen, jit_compile=jit)
        rng = np.random.default_rng(0)
        x, y = rng.random((128, 32), "float32"), rng.integers(0, classes, 128)
        model.fit(x, y, batch_size=128, verbose=0)
        on_jax = keras.backend.backend() == "jax"
        return jax_step(model, x, y) if on_jax else tensorflow_step(model, x, y)

    return {
        "accuracy": model_with(["accuracy"]),
        "no metric": model_with([]),
        "keras_focal, ECE": model_with([metrics.ECE(from_logits=True)]),
        "keras_focal, CalibrationMetrics": model_with(
            [metrics.CalibrationMetrics(from_logits=True)]
        ),
        "keras_focal, ECE, AdaECE and MCE": model_with(
            [cls(from_logits=True) for cls in (metrics.ECE, metrics.AdaECE, metrics.MCE)]
        ),
    }


def tensorflow_step(model, x, y):
    import tensorflow as tf

    batches = iter(tf.data.Dataset.from_tensors((x, y)).cache().repeat())
    return lambda: model.train_function(batches)


def jax_step(model, x, y):
    import jax

    data = [(jax.device_put(x), jax.device_put(y))]
    parts = ("trainable", "non_trainable", "optimizer", "metrics")
    state = [model._get_jax_state(**{f"{part}_variables": True for part in parts})]

    def call():
        logs, state[0] = model.train_function(state[0], iter(data))
        jax.block_until_ready(logs)

    return call


def step_rows(backend, modes, quick, rounds):
    rows = []
    for classes in (10,) if quick else (10, 1000):
        for mode, jit in modes.items():
            times = interleaved(train_steps(classes, jit=jit), rounds, 0.2)
            goal = 1.15 if classes == 1000 else 1.3
            rows += ratio_rows(
                f"Train step of {backend}, MLP, batch 128: ECE, AdaECE and MCE",
                f"K = {classes}, {mode}",
                times,
                "accuracy",
                {"keras_focal, CalibrationMetrics": goal},
            )[1:]
    return rows


def predictions(size):
    """Return labels and logits of an over-confident network."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (size, CLASSES))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (p.cumsum(axis=1) < rng.random((size, 1))).sum(axis=1).clip(0, CLASSES - 1)
    return labels.astype("int32"), (2.5 * logits).astype("float32")


def streams(size):
    """Return calls that add `size` predictions in batches and give the error in the end."""
    import keras
    import tensorflow as tf

    from keras_focal import metrics

    labels, logits = predictions(size)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    starts = range(0, size, BATCH)

    def of_keras(metric):
        batches = [
            (tf.constant(labels[at : at + BATCH]), tf.constant(probabilities[at : at + BATCH]))
            for at in starts
        ]
        update = tf.function(metric.update_state, jit_compile=True)

        def call():
            metric.reset_state()
            for batch in batches:
                update(*batch)
            return metric.result()

        return call

    calls = {
        "keras_focal, ECE": of_keras(metrics.ECE()),
        "keras_focal, AdaECE": of_keras(metrics.AdaECE()),
        "keras_focal, CalibrationMetrics": of_keras(metrics.CalibrationMetrics()),
        "Keras, SparseCategoricalAccuracy": of_keras(keras.metrics.SparseCategoricalAccuracy()),
        "NumPy, one sort of the confidences": lambda: np.sort(probabilities.max(axis=1)),
    }
    peers = {"torchmetrics, ECE": of_torchmetrics, "netcal, ECE on the whole": of_netcal}
    for name, peer in peers.items():
        try:
            calls[name] = peer(labels, probabilities, starts)
        except ImportError:
            calls[name] = None
    return calls


def of_torchmetrics(labels, probabilities, starts):
    import torch
    from torchmetrics.classification import MulticlassCalibrationError

    metric = MulticlassCalibrationError(CLASSES, n_bins=15, validate_args=False)
    parts = [slice(at, at + BATCH) for at in starts]
    batches = [
        (torch.from_numpy(probabilities[part]), torch.from_numpy(labels[part]).long())
        for part in parts
    ]

    def call():
        metric.reset()
        for batch in batches:
            metric.update(*batch)
        return metric.compute()

    return call


def of_netcal(labels, probabilities, starts):
    from netcal.metrics import ECE

    return lambda: ECE(15).measure(probabilities, labels)


def stream_rows(size, rounds):
    calls = streams(size)
    case = f"{size} predictions, {CLASSES} classes, batches of {BATCH}"
    floor = "Keras, SparseCategoricalAccuracy"
    times = interleaved({name: call for name, call in calls.items() if call}, rounds, 0.01)
    goals = {"keras_focal, ECE": 0.75, "keras_focal, CalibrationMetrics": 1.2}
    table = "Updates and one result, TensorFlow XLA"
    rows = ratio_rows(table, case, times, floor, goals)
    rows += [
        Row(table, case, name, floor, None, note=f"{name} is not installed")
        for name, call in calls.items()
        if not call
    ]
    values = {name: calls[name]() for name in calls if "ECE" in name and calls[name]}
    return rows + [
        Row("The value that each gives", case, name, "ECE", float(value))
        for name, value in values.items()
        if not isinstance(value, dict)
    ]


def measure(quick):
    rounds = 1 if quick else 9
    rows = step_rows("TensorFlow", {"graph": False, "XLA": True}, quick, rounds)
    rows += stream_rows(BATCH * 2 if quick else 2**20, rounds)
    return rows, environment("tensorflow", "torchmetrics", "netcal")


if __name__ == "__main__":
    main("metrics", measure)
