"""Compare the binary focal loss with its oracle at every margin that a float can hold.

    KERAS_BACKEND=jax python tests/benchmarks/exhaustive.py [--stride N] [--publish]

The loss of one margin is a scalar function: all finite float32, bfloat16 and float16 numbers can be
tried. `--stride N` tries every N-th float32 number; a run that is stopped goes on where it was.
`--publish` writes docs/results/exhaustive_BACKEND.json, from which accuracy_page.py makes
docs/accuracy.md.

The oracle is float64; tests/benchmarks/test_exhaustive.py compares it with 50 digits. An error is
given in units in the last place of a float32 (ULP) at the exact result. A result below 2**-126 is
no normal number: any found below it counts as right. A margin above 2**100 counts as 2**100.
"""

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import keras
import ml_dtypes
import numpy as np
from harness import RESULTS, environment
from keras import ops

from keras_focal import functional

BACKEND = keras.backend.backend()
GAMMAS = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0)
MODES = {"torch": ("eager",)}.get(BACKEND, ("eager", "compiled"))
HALVES = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
CHUNK = 2**20
FLOATS = 2**32
SMALLEST = 2.0**-126
LARGEST = 2.0**100
GOALS = {"value": 4.0, "gradient": 8.0}
EVERY = 30.0
"""Seconds between two notes of the progress."""

Run = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


# --- the oracle


def oracle(margins: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the loss of a positive output and its derivative by the margin, for each gamma.

    With e = exp(-|m|), the likelier outcome has probability 1 / (1 + e) and -log p = log(1 + e). A
    product of a float32 and a gamma is exact in float64, so that its exponential is accurate.
    """
    m = np.minimum(margins.astype("float64"), LARGEST)
    size, is_wrong = np.abs(m), m > 0
    e = np.exp(-size)
    log = np.log1p(e)
    unlikely = e / (1.0 + e)
    likely = 1.0 / (1.0 + e)
    p, complement = np.where(is_wrong, unlikely, likely), np.where(is_wrong, likely, unlikely)
    loss = np.where(is_wrong, size + log, log)
    for gamma in GAMMAS:
        power = np.exp(-gamma * np.where(is_wrong, 0.0, size)) * np.exp(-gamma * log)
        yield power * loss, power * (complement + gamma * p * loss)


def ulps(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return the error in units in the last place of a float32 at the exact result."""
    is_normal = np.abs(true) >= SMALLEST
    size = np.where(is_normal, np.abs(true), SMALLEST)
    binade = (size.view("uint64") & np.uint64(0x7FF0000000000000)).view("float64")
    error = np.abs(found - true) / (binade * 2.0**-23)
    return np.where(is_normal, error, np.where(np.abs(found) <= SMALLEST, 0.0, np.inf))


# --- the losses


def run_of(gamma: float, mode: str) -> Run:
    """Return a function from margins to the loss and its derivative by the margin, as float64."""

    def loss(z):
        return functional.binary_focal_crossentropy(ops.ones_like(z), z, gamma=gamma)

    both = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[BACKEND](loss, mode)

    def run(margins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, gradient = both(ops.convert_to_tensor(-margins))
        # In float32, which holds every half-precision number.
        value, gradient = (ops.cast(ops.stop_gradient(x), "float32") for x in (value, gradient))
        value, gradient = ops.convert_to_numpy(value), ops.convert_to_numpy(gradient)
        return value.astype("float64"), -gradient.astype("float64")

    return run


def _tensorflow(loss: Callable, mode: str) -> Callable:
    import tensorflow as tf

    def both(z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = loss(z)
        return value, tape.gradient(value, z)

    if mode == "eager":
        return both
    return tf.function(both, jit_compile=True, autograph=False)


def _jax(loss: Callable, mode: str) -> Callable:
    import jax

    def both(z):
        value, pull = jax.vjp(loss, z)
        return value, pull(ops.ones_like(value))[0]

    return both if mode == "eager" else jax.jit(both)


def _torch(loss: Callable, mode: str) -> Callable:
    def both(z):
        z = z.requires_grad_(True)
        value = loss(z)
        value.sum().backward()
        return value.detach(), z.grad

    return both


# --- all margins


class Worst:
    """The largest errors so far, of value and gradient, for each mode and gamma."""

    def __init__(self, table: dict | None = None, modes: tuple[str, ...] = MODES):
        self.table: dict[str, dict] = table or {}
        self.runs = {(mode, gamma): run_of(gamma, mode) for mode in modes for gamma in GAMMAS}

    def add(self, margins: np.ndarray) -> None:
        true_of = dict(zip(GAMMAS, oracle(margins), strict=True))
        for (mode, gamma), run in self.runs.items():
            found = run(margins)
            for what, a, b in zip(GOALS, found, true_of[gamma], strict=True):
                errors = ulps(a, b)
                i = int(errors.argmax())
                row = self.table.setdefault(f"{mode} {gamma:g} {what}", {"ulp": -1.0})
                if not errors[i] <= row["ulp"]:  # also for NaN
                    row.update(ulp=float(errors[i]), margin=float(margins[i]))

    def rows(self) -> list[dict]:
        rows = []
        for key, row in self.table.items():
            mode, gamma, what = key.split()
            goal = GOALS[what]
            rows.append({"mode": mode, "gamma": float(gamma), "what": what, "goal": goal, **row})
        return sorted(rows, key=lambda row: (row["mode"], row["gamma"], row["what"] != "value"))


def float32_margins(first: int, stride: int, number: int = CHUNK) -> np.ndarray:
    """Return some float32 numbers; 0 in place of those that are not finite or beyond all."""
    index = np.arange(first, first + number, dtype="uint64") * np.uint64(stride)
    bits = np.where(index < FLOATS, index, 0).astype("uint32")
    margins = bits.view("float32")
    return np.where(np.isfinite(margins), margins, np.float32(0.0))


def measure(stride: int, state: Path) -> dict:
    """Return the worst errors of every `stride`-th float32 margin; `state` holds the progress."""
    kept = json.loads(state.read_text()) if state.exists() else {"next": 0, "seconds": 0.0}
    worst = Worst(kept.get("table"))
    total, first = -(-FLOATS // stride), kept["next"]
    start = noted = time.process_time()
    while first < total:
        worst.add(float32_margins(first, stride))
        first += CHUNK
        if time.process_time() - noted > EVERY or first >= total:
            noted = time.process_time()
            seconds = kept["seconds"] + noted - start
            state.write_text(json.dumps({"next": first, "seconds": seconds, "table": worst.table}))
            print(f"{min(first / total, 1):.1%} after {seconds:.0f} processor seconds", flush=True)
    return {"margins": total, "rows": worst.rows(), **_seconds(state)}


def _seconds(state: Path) -> dict:
    return {"processor_seconds": round(json.loads(state.read_text())["seconds"])}


def half_precision(
    name: str, modes: tuple[str, ...] = MODES, gammas: tuple[float, ...] = GAMMAS
) -> list[dict]:
    """Return how many results of half-precision margins are not the rounded float32 ones.

    Values are float32 for half-precision logits too; gradients are rounded to their dtype.
    """
    dtype = HALVES[name]
    margins = np.arange(2**16, dtype="uint16").view(dtype)
    margins = margins[np.isfinite(margins.astype("float32"))]
    rows = []
    for mode in modes:
        for gamma in gammas:
            run = run_of(gamma, mode)
            value, gradient = run(margins)
            exact, slope = run(margins.astype("float32"))
            rounded = slope.astype("float32").astype(dtype).astype("float64")
            wrong = {"value": np.sum(value != exact), "gradient": np.sum(gradient != rounded)}
            rows.append(
                {"dtype": name, "mode": mode, "gamma": gamma, "margins": len(margins)}
                | {what: int(number) for what, number in wrong.items()}
            )
    return rows


def code() -> str:
    """Return a digest of the losses, whose run no other goes on with."""
    files = sorted(Path(functional.__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stride", type=int, default=1, help="every N-th float32 number")
    parser.add_argument("--publish", action="store_true", help="write docs/results")
    options = parser.parse_args()
    state = Path(tempfile.gettempdir(), f"margins_{BACKEND}_{options.stride}_{code()}.json")
    result = measure(options.stride, state)
    half = [row for name in HALVES for row in half_precision(name)]
    for row in result["rows"] + half:
        print(row)
    stride = "" if options.stride == 1 else f" --stride {options.stride}"
    if options.publish:
        result = {
            "made_by": f"python tests/benchmarks/exhaustive.py{stride} --publish",
            "environment": environment(BACKEND),
            "stride": options.stride,
            **result,
            "half": half,
        }
        path = RESULTS / f"exhaustive_{BACKEND}.json"
        path.write_text(json.dumps(result, indent=1) + "\n")
        print(f"written: {path}")
    state.unlink()


if __name__ == "__main__":
    main()
