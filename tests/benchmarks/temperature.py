"""Fits of a temperature: time and accuracy against peers, from warm processes.

python tests/benchmarks/temperature.py [--quick] [--publish]
"""

import json
import sys
import warnings

import numpy as np
from harness import (
    Row,
    environment,
    in_process,
    interleaved,
    main,
    peak_of,
    ratio_rows,
    resident,
)

from keras_focal.calibration import fit_temperature

SIZES = [(5000, 10), (10000, 100), (50000, 10), (50000, 100), (10000, 1000)]
GRID = np.arange(1, 101) / 10


def sample(size, classes):
    """Return logits 2.5 times too large, and labels drawn from the right ones."""
    rng = np.random.default_rng(0)
    z = rng.normal(0, 1.5, (size, classes))
    z[np.arange(size), rng.integers(0, classes, size)] += 3 + np.log(classes)
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    labels = (p.cumsum(axis=1) < rng.random((size, 1))).sum(axis=1).clip(0, classes - 1)
    return (2.5 * z).astype("float32"), labels


def likelihood_fits(logits, labels):
    fits = {"keras_focal": lambda: fit_temperature(logits, labels).temperature}
    for name, peer in {
        "probmetrics, bisection": of_probmetrics,
        "scikit-learn, temperature": of_scikit_learn,
    }.items():
        try:
            fits[name] = peer(logits, labels)
        except ImportError:
            fits[name] = None
    return fits


def of_probmetrics(logits, labels):
    import torch
    from probmetrics.calibrators.temperature_scaling import TemperatureScalingCalibrator
    from probmetrics.distributions import CategoricalLogits

    z, y = CategoricalLogits(torch.from_numpy(logits)), torch.from_numpy(labels)

    def call():
        calibrator = TemperatureScalingCalibrator()
        calibrator.fit_torch(z, y)
        return 1 / calibrator.invtemp_

    return call


def of_scikit_learn(logits, labels):
    from sklearn.calibration import _TemperatureScaling

    return lambda: 1 / _TemperatureScaling().fit(logits, labels).beta_


def best_temperature(logits, labels):
    """Return the root of the slope of the likelihood by bisection in float64."""
    z = logits.astype("float64")
    z -= z.max(axis=1, keepdims=True)
    true = z[np.arange(len(z)), labels]
    low, high = 1e-3, 1e3
    for _ in range(80):
        beta = np.sqrt(low * high)
        p = np.exp(beta * z)
        slope = np.mean((p * z).sum(axis=1) / p.sum(axis=1) - true)
        low, high = (beta, high) if slope < 0 else (low, beta)
    return 1 / np.sqrt(low * high)


def naive_grid(softmax, logits, labels):
    """Return the temperature of least ECE by a softmax and 15 masks for each of 100."""
    best = (np.inf, 0.0)
    for temperature in GRID:
        p = softmax(logits, temperature)
        confidence, is_right = p.max(axis=1), p.argmax(axis=1) == labels
        ece = 0.0
        for low in range(15):
            inside = (confidence > low / 15) & (confidence <= (low + 1) / 15)
            if inside.any():
                gap = confidence[inside].mean() - is_right[inside].mean()
                ece += abs(gap) * inside.mean()
        best = min(best, (ece, float(temperature)))
    return best[1]


def softmax_float64(logits, temperature):
    p = np.exp((logits - logits.max(axis=1, keepdims=True)) / temperature)
    return p / p.sum(axis=1, keepdims=True)


def naive_torch(logits, labels):
    """Return the loop as the paper's code runs it, in float32 on all cores."""
    import torch

    z, y = torch.from_numpy(logits), torch.from_numpy(labels)

    def call():
        best = (np.inf, 0.0)
        for temperature in GRID:
            confidence, top = torch.softmax(z / temperature, dim=1).max(dim=1)
            is_right, ece = top.eq(y), 0.0
            for low in range(15):
                inside = (confidence > low / 15) & (confidence <= (low + 1) / 15)
                if inside.any():
                    gap = confidence[inside].mean() - is_right[inside].float().mean()
                    ece += float(gap.abs() * inside.float().mean())
            best = min(best, (ece, float(temperature)))
        return best[1]

    return call


def grid_fits(logits, labels):
    double = logits.astype("float64")
    fits = {
        "keras_focal": lambda: fit_temperature(logits, labels, "ece").temperature,
        "loop of 100 softmaxes, NumPy float64": lambda: naive_grid(softmax_float64, double, labels),
    }
    try:
        fits["loop of 100 softmaxes, torch float32"] = naive_torch(logits, labels)
    except ImportError:
        fits["loop of 100 softmaxes, torch float32"] = None
    return fits


NOTE = (
    "NumPy, nothing to compile; the time includes NLL and ECE before and after, which the others "
    "do not give. A pass compiled by a backend is faster and takes longer to compile than the fit."
)


def rows_of(table, case, fits, targets, rounds):
    """Return our time over that of each peer."""
    times = interleaved({name: call for name, call in fits.items() if call}, rounds, 0.02)
    ours = times.pop("keras_focal")
    rows = []
    for name in list(fits)[1:]:
        if name not in times:
            absent = f"{name} is not installed"
            rows.append(Row(table, case, "keras_focal", name, None, note=absent))
            continue
        pair = {"keras_focal": ours, name: times[name]}
        goal, note = {"keras_focal": targets[name]}, {"keras_focal": NOTE}
        rows += ratio_rows(table, case, pair, name, goal, note)[:1]
    return rows


class Repeated:
    """One batch, read again and again until there are `size` rows."""

    def __init__(self, logits, labels, size):
        self.batch, self.count = (logits, labels), -(-size // len(labels))

    def __iter__(self):
        for _ in range(self.count):
            yield self.batch


def memory_rows(quick):
    return [
        Row(
            "Fit by likelihood from batches of 65536 x 10, peak memory above the batch",
            f"{size} rows",
            "keras_focal",
            "MiB",
            in_process(__file__, "--memory", str(size))["peak"],
        )
        for size in ((2**16, 2**18) if quick else (10**5, 10**7))
    ]


def print_memory(size):
    """Print by how much memory grows at most while a temperature is fitted."""
    logits, labels = sample(2**16, 10)
    fit_temperature(logits[:1000], labels[:1000])
    before = resident()
    high = peak_of(lambda: fit_temperature(Repeated(logits, labels, size)))
    print(json.dumps({"peak": (high - before) / 2**20}))


def measure(quick):
    warnings.simplefilter("ignore")
    rounds = 1 if quick else 9
    rows, errors, temperatures = [], [], []
    for size in [(500, 10)] if quick else SIZES:
        logits, labels = sample(*size)
        case = f"{list(size)} float32"
        fits = likelihood_fits(logits, labels)
        targets = {"probmetrics, bisection": 1 / 3, "scikit-learn, temperature": 0.15}
        rows += rows_of("Fit by likelihood, time", case, fits, targets, rounds)
        best = best_temperature(logits, labels)
        errors += [
            Row(
                "Fit by likelihood, |T / T* - 1|",
                case,
                name,
                "T* by bisection in float64",
                abs(float(call()) / best - 1),
                target=1e-6 if name == "keras_focal" else None,
            )
            for name, call in fits.items()
            if call
        ]
        grid = grid_fits(logits, labels)
        targets = dict.fromkeys(grid, 0.05)
        rows += rows_of("Fit by ECE on the grid, time", case, grid, targets, min(rounds, 3))
        temperatures += [
            Row("Fit by ECE on the grid, T", case, name, "T", call())
            for name, call in grid.items()
            if call
        ]
    rows.sort(key=lambda row: row.table)
    rows += errors + temperatures + memory_rows(quick)
    return rows, environment("probmetrics", "scikit-learn", "torch")


if __name__ == "__main__":
    if "--memory" in sys.argv:
        print_memory(int(sys.argv[2]))
    else:
        main("temperature", measure)
