"""Predictions to measure: four hard shapes of random ones, and the published test sets."""

from functools import cache

import numpy as np
import reference

CASES = ["random", "saturated", "ties", "flat"]
SIZE = 512


@cache
def example(case):
    """Labels, logits and float32 probabilities; no confidence is near an edge of 15 bins, where
    float32 and the float64 of the oracle may part."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, SIZE)  # the last class never occurs
    scale = {"random": 2.0, "saturated": 8.0, "ties": 2.0, "flat": 0.05}[case]
    logits = rng.normal(0, scale, (SIZE, 4))
    logits[np.arange(SIZE), labels] += scale / 2
    if case == "ties":
        pool = np.array([*logits[:6], [1, 1, 0, -2], [3, 0, 3, 3], [0, 0, 0, 0], [0, 0, 9, 9]])
        logits = pool[rng.integers(0, len(pool), SIZE)]
    logits = logits.astype("float32")
    probabilities = reference.softmax64(logits).astype("float32")
    position = probabilities.max(-1) * 15.0
    assert np.all((np.abs(position - np.round(position)) > 1e-5) | (position > 14.5))
    return labels, logits, probabilities


# Loss, ECE as the paper prints it, AdaECE as a float64 run of the paper's code gives it; in %.
PUBLISHED = [("cross_entropy", 4.35, 4.3338), ("flsd53", 1.55, 1.5595)]


def published_test_set(real_data, name):
    """Labels and logits of the 10,000 test samples."""
    with np.load(real_data / "logits" / f"cifar10_resnet50_{name}.npz") as data:
        return data["test_labels"], data["test_logits"]
