"""Print the largest error of the focal losses against the 50-digit oracle, in float32.

    KERAS_BACKEND=jax python tests/benchmarks/accuracy.py

Value: relative. Gradient: relative to the largest entry of the row. Only numbers that float32 can
hold as normal count. `compiled` is XLA on TensorFlow and jit on JAX.
"""

import os
import sys
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import keras
import numpy as np
import reference
from backends import value_and_gradient

from keras_focal import functional

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


def worst(found: np.ndarray, true: np.ndarray, scale: np.ndarray) -> float:
    """Return the largest error relative to `scale` where that is a normal number."""
    normal = scale > SMALLEST * (1 if found.ndim == 1 else 2**24)
    error = np.abs(found - true)
    error = error if error.ndim == 1 else error.max(axis=1)
    return float((error[normal] / scale[normal]).max()) if normal.any() else 0.0


def main() -> None:
    labels = np.random.default_rng(1).integers(0, CLASSES, ROWS)
    targets = np.eye(CLASSES, dtype="float32")[labels]
    losses = {
        "sparse": lambda z, gamma: functional.sparse_categorical_focal_crossentropy(
            labels, z, gamma=gamma
        ),
        "categorical": lambda z, gamma: functional.categorical_focal_crossentropy(
            targets, z, gamma=gamma
        ),
    }
    print(f"{keras.backend.backend()}, keras {keras.__version__}, float32, {ROWS} rows each")
    print(
        f"{'set':22}{'gamma':>6}  largest error of value / gradient: sparse, categorical; compiled"
    )
    for name, logits in logit_sets(labels).items():
        for gamma in GAMMAS:
            rows = [
                reference.sparse_focal(label, row, gamma)
                for label, row in zip(labels, logits, strict=True)
            ]
            values, gradients = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
            cells = []
            for compiled in (False, True):
                for loss in losses.values():
                    value, gradient = value_and_gradient(
                        partial(loss, gamma=gamma), logits, compiled=compiled
                    )
                    by_value = worst(value, values, values)
                    by_gradient = worst(gradient, gradients, np.abs(gradients).max(axis=1))
                    cells.append(f"{by_value:.1e}/{by_gradient:.1e}")
            print(f"{name:22}{gamma:6g}  {'  '.join(cells)}")


if __name__ == "__main__":
    main()
