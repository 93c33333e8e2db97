"""What metrics add to the first epochs of models: processor seconds, most of them for compiling.

python tests/benchmarks/first_fit.py [--quick] [--publish]

Each figure is of a process of its own, which trains two small models one after the other for an
epoch. What the second adds is what is compiled again.
"""

import json
import statistics
import sys
import time
from importlib.util import find_spec

from harness import Row, environment, in_process, main

METRICS = {
    "accuracy": (),
    "keras_focal, ECE": ("ECE",),
    "keras_focal, AdaECE": ("AdaECE",),
    "keras_focal, CalibrationMetrics": ("CalibrationMetrics",),
}
MODELS = ("first model", "second model")
BACKENDS = [name for name in ("tensorflow", "jax") if find_spec(name)]
GOAL = 0.5
"""Most seconds that a metric may add to an epoch."""


def print_seconds(name):
    """Print the processor seconds of the first epoch of two models with a metric, as JSON."""
    import keras
    import numpy as np

    from keras_focal import metrics

    rng = np.random.default_rng(0)
    x, y = rng.random((256, 32), "float32"), rng.integers(0, 10, 256)
    seconds = []
    for model in [keras.Sequential([keras.layers.Dense(10)]) for _ in (None, *MODELS)]:
        accuracy = keras.metrics.SparseCategoricalAccuracy()
        # The first is without the metric: it bears what TensorFlow does once in any case.
        added = [getattr(metrics, each)(from_logits=True) for each in METRICS[name] if seconds]
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("sgd", loss, metrics=[accuracy, *added])
        start = time.process_time()
        model.fit(x, y, batch_size=32, verbose=0)
        seconds.append(time.process_time() - start)
    print(json.dumps(seconds[1:]))


def rows_of(backend, rounds):
    found = {name: [] for name in METRICS}
    for _ in range(rounds):
        for name in METRICS:
            found[name].append(in_process(__file__, "--fit", name, backend=backend))
    rows = []
    for index, model in enumerate(MODELS):
        for name in list(METRICS)[1:]:
            pairs = zip(found[name], found["accuracy"], strict=True)
            added = [ours[index] - theirs[index] for ours, theirs in pairs]
            low, middle, high = statistics.quantiles(added, n=4) if rounds > 1 else added * 3
            unit = "processor s more than accuracy"
            table = "First epoch, processor seconds that a metric adds"
            rows.append(Row(table, f"{backend}, {model}", name, unit, middle, low, high, GOAL))
    return rows


def measure(quick):
    backends = BACKENDS[:1] if quick else BACKENDS
    rows = [row for backend in backends for row in rows_of(backend, 1 if quick else 3)]
    return rows, environment(*backends)


if __name__ == "__main__":
    if "--fit" in sys.argv:
        print_seconds(sys.argv[2])
    else:
        main("first_fit", measure)
