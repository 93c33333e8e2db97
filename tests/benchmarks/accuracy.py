"""Measure the largest error of the focal losses against the 50-digit oracle, in float32.

    KERAS_BACKEND=jax python tests/benchmarks/accuracy.py [--publish]

Value: relative. Gradient: relative to the largest entry of the row. Only numbers that float32 can
hold as normal count. `compiled` is XLA on TensorFlow and jit on JAX. `--publish` writes
docs/results/accuracy_BACKEND.json, from which accuracy_page.py makes docs/accuracy.md.
"""

import argparse
import json
import os
import sys
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import keras
import mpmath
import numpy as np
import reference
from backends import value_and_gradient
from harness import RESULTS, environment

from keras_focal import losses

BACKEND = keras.backend.backend()
MODES = {"torch": ("eager",)}.get(BACKEND, ("eager", "compiled"))
GAMMAS = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5)
SMALLEST = 2.0**-126
ROWS, CLASSES = 64, 10


def logit_sets(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return float32 logits, shape (ROWS, CLASSES), by what they try."""
    rng = np.random.default_rng(0)
    usual = rng.normal(0, 3, (ROWS, CLASSES))
    true = np.eye(CLASSES)[labels]
    small = rng.normal(0, 1, (ROWS, CLASSES))
    sets = {
        "random": usual,
        "+-1e4": rng.uniform(0.5, 1, (ROWS, CLASSES)) * rng.choice([-1e4, 1e4], (ROWS, CLASSES)),
        "offset 1e4": usual + 1e4,
        "hard, 60 behind": usual - 60 * true,
        "easy, 0 to 20 ahead": small + true * rng.uniform(0, 20, (ROWS, 1)),
        "easy, 12 to 32 ahead": small + true * rng.uniform(12, 32, (ROWS, 1)),
    }
    return {name: logits.astype("float32") for name, logits in sets.items()}


def probability_sets(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return float32 probabilities that sum to 1 up to rounding, by what they try."""
    rng = np.random.default_rng(2)
    true = np.eye(CLASSES)[labels] == 1
    others = np.where(true, 0.0, rng.dirichlet(np.ones(CLASSES), ROWS))
    others /= others.sum(axis=1, keepdims=True)
    small = 10.0 ** rng.uniform(-37, -0.3, (ROWS, 1))
    sets = {
        "probabilities, random": rng.dirichlet(np.ones(CLASSES), ROWS),
        "probabilities, wrong": np.where(true, small, others * (1.0 - small)),
        "probabilities, right": np.where(true, 1.0 - np.maximum(small, 2.0**-24), others * small),
    }
    return {name: np.maximum(p, SMALLEST).astype("float32") for name, p in sets.items()}


def worst(found: np.ndarray, true: np.ndarray, scale: np.ndarray) -> float:
    """Return the largest error relative to `scale` where that is a normal number."""
    normal = scale > SMALLEST * (1 if found.ndim == 1 else 2**24)
    error = np.abs(found - true)
    error = error if error.ndim == 1 else error.max(axis=1)
    return float((error[normal] / scale[normal]).max()) if normal.any() else 0.0


def oracle(
    label: int, row: np.ndarray, gamma: float, *, from_logits: bool
) -> tuple[float, np.ndarray]:
    if from_logits:
        return reference.sparse_focal(label, row, gamma)
    value, slope = reference.sparse_focal(
        label, [mpmath.log(mpmath.mpf(float(p))) for p in row], gamma
    )
    return value, slope / row.astype("float64")


def measure() -> list[dict]:
    labels = np.random.default_rng(1).integers(0, CLASSES, ROWS)
    targets = np.eye(CLASSES, dtype="float32")[labels]
    classes = {
        "sparse": (losses.SparseCategoricalFocalCrossentropy, labels),
        "categorical": (losses.CategoricalFocalCrossentropy, targets),
    }
    found = []
    sets = [(True, logit_sets(labels)), (False, probability_sets(labels))]
    for from_logits, name, given in ((a, b, c) for a, named in sets for b, c in named.items()):
        for gamma in GAMMAS:
            rows = [
                oracle(label, row, gamma, from_logits=from_logits)
                for label, row in zip(labels, given, strict=True)
            ]
            values, gradients = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
            for mode in MODES:
                for kind, (cls, y) in classes.items():
                    loss = partial(cls(gamma=gamma, from_logits=from_logits, reduction=None), y)
                    value, gradient = value_and_gradient(loss, given, compiled=mode == "compiled")
                    errors = {
                        "value": worst(value, values, values),
                        "gradient": worst(gradient, gradients, np.abs(gradients).max(axis=1)),
                    }
                    found.append({"set": name, "gamma": gamma, "loss": kind, "mode": mode} | errors)
                    print(found[-1], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--publish", action="store_true", help="write docs/results")
    options = parser.parse_args()
    result = {
        "made_by": "python tests/benchmarks/accuracy.py --publish",
        "environment": environment(BACKEND),
        "rows": measure(),
    }
    if options.publish:
        path = RESULTS / f"accuracy_{BACKEND}.json"
        path.write_text(json.dumps(result, indent=1) + "\n")
        print(f"written: {path}")


if __name__ == "__main__":
    main()
