"""Calibration in one pass of a pipeline: how exact its temperature is, its time and its size.

python tests/benchmarks/combine.py [--quick] [--publish]

Needs Apache Beam. No runner is measured: records go to the accumulator one after the other.
"""

import os
import pickle

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from harness import Row, environment, interleaved, main, ratio_rows

BOUNDS = (0.05, 20.0)
TEMPERATURES = np.geomspace(0.051, 19.6, 41)
FLOOR = "CalibrationMetrics.update_state, eager"


# Distributions: from a generator, logits and labels whose best temperature is about 1


def drawn(size, classes, scale):
    def draw(rng):
        logits = rng.normal(0, scale, (size, classes))
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        labels = (p.cumsum(axis=1) < rng.random((size, 1))).sum(axis=1)
        return logits, labels.clip(0, classes - 1)

    return draw


def one_against_equals(size, classes, accuracy):
    """One logit above equal others: as a function of log T their NLL is the least smooth."""

    def draw(rng):
        logits = np.zeros((size, classes))
        logits[:, 0] = np.log((classes - 1) * accuracy / (1 - accuracy))
        return logits, (np.arange(size) >= round(size * accuracy)).astype(int)

    return draw


DISTRIBUTIONS = {
    "normal logits, 10 classes": drawn(1000, 10, 1.5),
    "normal logits, 1000 classes": drawn(100, 1000, 1.5),
    "normal logits of deviation 6, 10 classes": drawn(1000, 10, 6.0),
    "one against equals, 2 classes, 99 % right": one_against_equals(1000, 2, 0.99),
    "one against equals, 1000 classes, 50 % right": one_against_equals(100, 1000, 0.5),
    "one against equals, 1000 classes, 99 % right": one_against_equals(100, 1000, 0.99),
}


def error_rows(temperatures):
    from keras_focal import calibration
    from keras_focal.beam import CombineCalibration

    # Beyond the range, where the best temperature of a few samples may lie.
    bounds = (BOUNDS[0] / 2, 2 * BOUNDS[1])
    combine = CombineCalibration(from_logits=True, bounds=bounds)
    rows = []
    for name, draw in DISTRIBUTIONS.items():
        logits, labels = draw(np.random.default_rng(0))
        errors = []
        for temperature in temperatures:
            record = temperature * logits, labels
            found = combine.apply([record]).nll_fit.temperature
            best = calibration.fit_temperature(*record, bounds=bounds).temperature
            errors.append(abs(found / best - 1))
        rows.append(
            Row(
                f"T of one pass, |T / T* - 1|, for T* from {BOUNDS[0]:g} to {BOUNDS[1]:g}",
                f"{name}, {len(temperatures)} temperatures",
                "CombineCalibration",
                "T* by fit_temperature, largest",
                max(errors),
                target=1e-6,
            )
        )
    return rows


def time_rows(size, classes, num_batches, rounds):
    from keras_focal import metrics
    from keras_focal.beam import CombineCalibration

    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (num_batches, size, classes)).astype("float32")
    labels = rng.integers(0, classes, (num_batches, size))
    combine = CombineCalibration(from_logits=True)
    metric = metrics.CalibrationMetrics(from_logits=True)

    def update():
        metric.reset_state()
        for batch in zip(labels, logits, strict=True):
            metric.update_state(*batch)

    def add(records):
        accumulator = combine.create_accumulator()
        for record in records:
            combine.add_input(accumulator, record)
        combine.compact(accumulator)

    batches = list(zip(logits, labels, strict=True))
    rows = list(zip(logits.reshape(-1, classes), labels.reshape(-1), strict=True))
    variants = {
        FLOOR: update,
        "CombineCalibration, batches": lambda: add(batches),
        "CombineCalibration, single rows": lambda: add(rows),
    }
    case = f"{num_batches} batches of {size} x {classes} float32"
    times = interleaved(variants, rounds)
    found = ratio_rows("Time to add records", case, times, FLOOR)
    found += [
        Row("Records added", case, name, "records a second", len(rows) / float(np.median(seconds)))
        for name, seconds in times.items()
    ]
    return found


def size_rows():
    from keras_focal.beam import CombineCalibration

    combine = CombineCalibration(from_logits=True)
    rows = []
    for classes in (2, 10, 100, 1000):
        accumulator = combine.create_accumulator()
        combine.add_input(accumulator, (np.zeros((5, classes)), np.zeros(5)))
        size = len(pickle.dumps(combine.compact(accumulator)))
        case = f"{classes} classes"
        rows.append(Row("Pickled state", case, "CombineCalibration", "KiB", size / 1024))
    return rows


def measure(quick):
    rows = error_rows(TEMPERATURES[::20] if quick else TEMPERATURES)
    shapes = [(64, 10, 2)] if quick else [(1024, 10, 32), (128, 1000, 16)]
    timed = [row for shape in shapes for row in time_rows(*shape, rounds=1 if quick else 9)]
    timed.sort(key=lambda row: row.table, reverse=True)
    return rows + timed + size_rows(), environment("tensorflow", "apache-beam")


if __name__ == "__main__":
    main("combine", measure)
