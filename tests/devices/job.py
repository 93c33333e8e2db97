"""What workers compute of their shares of the rows, and one device of all of them."""

import keras
import numpy as np
from keras import ops

from keras_focal import callbacks, losses, metrics

SIZE, CLASSES, BATCH = 48, 4, 16
RATE = 0.2
SCHEDULE = {0: 3.0, 1: 1.0}
LOSSES = ("FL-3", "FLSD-53", "Brier", "MMCE")
"""The last one looks at the rows of a batch together."""


def data():
    """Return features, labels and weights, which are quarters: they add up exactly."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 2, (SIZE, CLASSES)).astype("float32")
    y = (x + rng.normal(0, 2, x.shape)).argmax(1).astype("int32")
    return x, y, (rng.integers(1, 9, SIZE) / 4).astype("float32")


class Batches(keras.utils.PyDataset):
    """Batches of all rows; of each one the share of one worker."""

    def __init__(self, index=0, workers=1):
        super().__init__()
        self.index, self.share = index, BATCH // workers

    def __len__(self):
        return SIZE // BATCH

    def __getitem__(self, number):
        start = number * BATCH + self.index * self.share
        return tuple(array[start : start + self.share] for array in data())


def built_metrics():
    return [
        metrics.ECE(from_logits=True),
        metrics.AdaECE(from_logits=True),
        metrics.CalibrationMetrics(from_logits=True, name="all"),
        metrics.ClasswiseECE(from_logits=True, num_classes=CLASSES),
        metrics.RefinementError(from_logits=True),
    ]


def built_model():
    dense = keras.layers.Dense(CLASSES, kernel_initializer="identity")
    return keras.Sequential([keras.Input((CLASSES,)), dense])


def numbers(built):
    """Return the results of metrics as numbers, by name."""
    found = {}
    for metric in built:
        value = metric.result()
        found.update(value if isinstance(value, dict) else {metric.name: value})
    return {name: float(value) for name, value in found.items()}


def trained(index=0, workers=1):
    """Return what `fit` and `evaluate` say of the worker's share, and the kernel they leave."""
    model, batches = built_model(), Batches(index, workers)
    loss = losses.SparseCategoricalFocalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(RATE), loss, weighted_metrics=built_metrics())
    scheduler = callbacks.GammaScheduler(SCHEDULE)
    how = {"epochs": len(SCHEDULE), "shuffle": False, "verbose": 0, "callbacks": [scheduler]}
    history = model.fit(batches, **how).history
    evaluated = model.evaluate(batches, verbose=0, return_dict=True)
    kernel = ops.convert_to_numpy(model.layers[0].kernel).tolist()
    return {"history": history, "evaluated": evaluated, "kernel": kernel}


def loss_of(name):
    """Return the loss of a name, a function of logits, labels and weights."""
    loss = losses.get(name, from_logits=True)
    return lambda logits, labels, weights: loss(labels, logits, weights)
