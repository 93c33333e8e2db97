"""What a metric of fixed size loses to one that keeps everything: exactness, and memory.

python tests/benchmarks/streaming.py [--quick] [--publish]

The exact AdaECE is computed here in float64 and shares no code with the package.
"""

import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from harness import Row, environment, in_process, main, peak_of, resident

BATCH = 4096
CLASSES = 10
NUM_BINS = 15
DRAWS = 5
ERROR_TABLE = "AdaECE of the metric against the exact tie-safe value"
MEMORY_TABLE = "Memory of a stream"
CELL = np.log(2) / 256
"""Width of a cell of the metric in the logit."""

ONE_CELL = "two values in one cell"
COARSE = (
    f"{ONE_CELL}: a cell takes all its confidences, odds within a factor of 2^(1/256), for one; "
    "gaps of opposite sign in it cancel"
)
FEW = (
    "stripes: the order within a cell at an edge of a bin is lost; a prediction on the wrong side "
    "of an edge moves the error by up to 2 / N"
)
"""Why an error is above its goal: in the case made for it, and in the others."""


# Distributions: from a generator and a size, the logit of the top label and its chance to be wrong


def complements(logit):
    return 1 / (1 + np.exp(np.asarray(logit, "float64")))


def over_confident_by(logit, gap):
    return logit, (complements(logit) + gap).clip(0, 1)


def striped(logit, width):
    """Give logits a gap of 5 % whose sign turns at each multiple of `width` of the logit."""
    return over_confident_by(logit, np.where(logit // width % 2 == 0, 0.05, -0.05))


def wide(rng, size):
    return np.abs(rng.normal(0, 4, size))


def half_near_one(rng, size):
    """Half of the predictions between confidence 0.9999 and beyond the last cell."""
    low, high = rng.uniform(0, 9.2, size), rng.uniform(9.22, 20, size)
    return striped(np.where(rng.random(size) < 0.5, low, high), 1)


def two_values(first, second):
    def draw(rng, size):
        is_first = rng.random(size) < 0.4
        return over_confident_by(np.where(is_first, first, second), np.where(is_first, 0.05, -0.05))

    return draw


def uniformly_over_confident(rng, size):
    logit = wide(rng, size)
    return logit, complements(logit / 2.5)


DISTRIBUTIONS = {
    "+-5 % in stripes of width 4": lambda rng, size: striped(wide(rng, size), 4),
    "+-5 % in stripes of width 1": lambda rng, size: striped(wide(rng, size), 1),
    "+-5 % in stripes of width 0.25": lambda rng, size: striped(wide(rng, size), 0.25),
    "+-5 % in stripes of width 1, half above 0.9999": half_near_one,
    "all confidences equal": lambda rng, size: over_confident_by(np.full(size, 2.0), 0.05),
    "two values": two_values(1.0, 2.0),
    ONE_CELL: two_values(400.2 * CELL, 400.8 * CELL),
    "uniformly over-confident": uniformly_over_confident,
}


def sample(draw, seed, size):
    """Return labels and logits of two classes, float32; the lower one is 0: nothing is rounded."""
    rng = np.random.default_rng(seed)
    logit, chance = draw(rng, size)
    top = rng.integers(0, 2, size)
    labels = np.where(rng.random(size) < chance, 1 - top, top)
    logits = np.zeros((size, 2), "float32")
    logits[np.arange(size), top] = logit
    return labels.astype("int32"), logits


def exact(labels, logits):
    """Return AdaECE in float64: predictions of equal confidence are divided in proportion."""
    logits = logits.astype("float64")
    complement = complements(np.abs(logits[:, 1] - logits[:, 0]))
    gap = (logits.argmax(axis=1) != labels) - complement
    order = np.argsort(-complement, kind="stable")
    complement, gap = complement[order], gap[order]
    ends = np.append(np.flatnonzero(np.diff(complement)), len(complement) - 1)
    count, total = np.append(0, ends + 1), np.append(0, np.cumsum(gap)[ends])
    # Linear between the groups: an edge within one takes its share of it.
    edges = np.linspace(0, len(complement), NUM_BINS + 1)
    return np.abs(np.diff(np.interp(edges, count, total))).sum() / len(complement)


def streamed():
    """Return a function that gives AdaECE of labels and logits after updates in batches."""
    import tensorflow as tf

    from keras_focal import metrics

    metric = metrics.AdaptiveExpectedCalibrationError(NUM_BINS, from_logits=True)
    update = tf.function(metric.update_state, jit_compile=True)

    def call(labels, logits):
        metric.reset_state()
        for at in range(0, len(labels), BATCH):
            part = slice(at, at + BATCH)
            update(tf.constant(labels[part]), tf.constant(logits[part]))
        return float(metric.result())

    return call


def error_rows(sizes, num_draws):
    of_metric = streamed()
    unit = f"absolute, largest of {num_draws} draws"
    rows = []
    for name, draw in DISTRIBUTIONS.items():
        for size in sizes:
            errors, turned = [], []
            for seed in range(num_draws):
                labels, logits = sample(draw, seed, size)
                value = of_metric(labels, logits)
                errors.append(abs(value - exact(labels, logits)))
                turned.append(abs(of_metric(labels[::-1], logits[::-1]) - value))
            goal = 5e-5 if size >= 100_000 else 2e-4
            variant = f"error, batches of {BATCH}"
            rows.append(error_row(name, size, variant, unit, max(errors), goal))
        variant = "rows reversed, difference"
        rows.append(error_row(name, size, variant, unit, max(turned), 1e-6))
    return rows


def error_row(name, size, variant, unit, value, goal):
    case = f"{name}, N = {size}"
    note = "" if value <= goal else COARSE if name == ONE_CELL else FEW
    return Row(ERROR_TABLE, case, variant, unit, value, target=goal, note=note)


# Memory


def metric_of_memory():
    from keras_focal import metrics

    return metrics.CalibrationMetrics(from_logits=True)


def print_memory(size):
    """Print by how much the process grew in MiB while `size` predictions streamed through."""
    import tensorflow as tf

    metric = metric_of_memory()
    rng = np.random.default_rng(0)
    phases = tf.constant(rng.uniform(0, 6.28, (BATCH, CLASSES)).astype("float32"))
    labels = tf.constant(rng.integers(0, CLASSES, BATCH).astype("int32"))

    @tf.function(jit_compile=True)
    def update(step):
        """Add a batch of logits that no other step has."""
        metric.update_state(labels, 9 * tf.sin(phases + step))

    def stream(num_batches):
        for step in range(num_batches):
            update(tf.constant(step, tf.float32))
        return metric.result()

    stream(10)
    metric.reset_state()
    before = resident()
    peak = peak_of(lambda: stream(-(-size // BATCH)))
    print(json.dumps({"growth": (peak - before) / 2**20}))


def memory_rows(quick):
    sizes = [200_000, 2_000_000] + ([] if quick else [10_000_000])
    growth = [in_process(__file__, "--memory", str(size))["growth"] for size in sizes]
    state = sum(variable.numpy().nbytes for variable in metric_of_memory().variables)
    name = "CalibrationMetrics"
    stream = f"{CLASSES} classes, batches of {BATCH}"
    rows = [
        Row(MEMORY_TABLE, f"{size} predictions, {stream}", name, "MiB, growth", value)
        for size, value in zip(sizes, growth, strict=True)
    ]
    case = f"{sizes[-1]} predictions, growth from 2e5 predictions"
    rows.append(Row(MEMORY_TABLE, case, name, "MiB", growth[-1] - growth[0], target=8.0))
    rows.append(Row(MEMORY_TABLE, "size of the state", name, "KiB", state / 1024))
    return rows


def measure(quick):
    sizes = [10_000] if quick else [10_000, 100_000, 1_000_000]
    rows = error_rows(sizes, 1 if quick else DRAWS)
    return rows + memory_rows(quick), environment("tensorflow")


if __name__ == "__main__":
    if "--memory" in sys.argv:
        print_memory(int(sys.argv[2]))
    else:
        main("streaming", measure)
