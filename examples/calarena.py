"""The maps of this package for CalArena, the public benchmark of post-hoc calibration.

    python examples/calarena.py FILE.npz ...                 # a few maps on logits of your own
    python examples/calarena.py FILE.npz --method auto

A file has val_logits, val_labels, test_logits and test_labels: maps are fitted to the first two
and measured on the others. PHI is CalArena's figure, the post-hoc improvement: the share of the
log-loss, or of the Brier score, that a map takes away.

To be ranked, put the folder of this file on PYTHONPATH in a clone of github.com/probkit/CalArena
and write into its custom_calibrators.py

    from calarena import CALIBRATORS as CUSTOM_CALIBRATORS

Then `python run_benchmark.py --benchmark cv-multiclass --calibrator KF-auto` writes its results.
"""

import argparse
import os
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from keras_focal.calibration import Calibrator

MAPS = ("temperature", "structured_vector", "structured_matrix", "matrix", "auto")
PARTS = ("val_logits", "val_labels", "test_logits", "test_labels")


class PostHoc:
    """A map as CalArena takes it: probabilities in, probabilities out."""

    def __init__(self, method: str):
        self.method = method

    def fit(self, p_cal: np.ndarray, y_cal: np.ndarray) -> None:
        columns = self._columns(p_cal)
        classes = np.arange(max(2, columns.shape[1]))
        self.calibrator = Calibrator(self.method, from_logits=False, classes=classes)
        self.calibrator.fit(columns, np.ravel(y_cal))

    def predict_proba(self, p_test: np.ndarray) -> np.ndarray:
        return self.calibrator.predict_proba(self._columns(p_test))

    @staticmethod
    def _columns(p: np.ndarray) -> np.ndarray:
        """Two classes are one column, that of the positive class, however they are given."""
        p = np.reshape(p, (len(p), -1))
        return p[:, 1:] if p.shape[1] == 2 else p


CALIBRATORS = {f"KF-{method}": partial(PostHoc, method) for method in MAPS}
"""What custom_calibrators.py of CalArena registers: a name, and what makes a new one."""


def scores(p: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return log-loss, Brier score and error."""
    own = p[np.arange(len(p)), labels]
    brier = (p * p).sum(axis=1) - 2 * own + 1
    log_loss = -np.log(np.maximum(own, 2.0**-126))
    return np.array([log_loss.mean(), brier.mean(), (p.argmax(axis=1) != labels).mean()])


def softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(axis=1, keepdims=True), dtype="float64")
    return (e / e.sum(axis=1, keepdims=True)).astype("float32")


def compared(file: Path, methods: list[str]) -> Table:
    """Return a table of what maps make of the logits of a file."""
    with np.load(file, allow_pickle=False) as arrays:
        val, val_labels, test, test_labels = (arrays[part] for part in PARTS)
    before = scores(softmax(test), test_labels)
    headings = ("map", "log-loss", "Brier", "error %", "PHI log-loss %", "PHI Brier %", "seconds")
    table = Table(*headings, title=file.stem, box=box.SIMPLE_HEAD)
    table.add_row("none", f"{before[0]:.4f}", f"{before[1]:.4f}", f"{100 * before[2]:.2f}")
    for method in methods:
        begin = time.perf_counter()
        calibrator = PostHoc(method)
        calibrator.fit(softmax(val), val_labels)
        after = scores(calibrator.predict_proba(softmax(test)), test_labels)
        seconds = time.perf_counter() - begin
        gains = 100 * (1 - after[:2] / before[:2])
        table.add_row(
            method,
            *(f"{score:.4f}" for score in after[:2]),
            f"{100 * after[2]:.2f}",
            *(f"{gain:.2f}" for gain in gains),
            f"{seconds:.1f}",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.npz")
    parser.add_argument("--method", action="append", help=f"default: {', '.join(MAPS)}")
    arguments = parser.parse_args()
    absent = [str(file) for file in arguments.files if not file.is_file()]
    if absent:
        parser.error(f"FILE.npz must be a file. Received: {absent[0]}.")
    for file in arguments.files:
        Console(width=100).print(compared(file, arguments.method or list(MAPS)))


if __name__ == "__main__":
    main()
