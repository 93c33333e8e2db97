"""The command `keras-focal` against itself as it was before its readers had a file each.

python tests/benchmarks/command_line.py [--quick] [--publish]
"""

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
from harness import ROOT, Row, checked_out, environment, main, ratio_rows

BEFORE = "09056c6"
_LIGHT = ("--help", "gamma")


def write_files(rows, columns):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, columns, rows)
    logits = rng.normal(0, 3, (rows, columns)).astype("float32")
    logits[np.arange(rows), labels] += 8
    np.savez("p.npz", logits=logits, labels=labels)
    head = ",".join([*(f"logit_{k}" for k in range(columns)), "label"])
    few = max(100, rows // 10)
    table = np.column_stack([logits[:few], labels[:few]])
    np.savetxt("p.csv", table, delimiter=",", header=head, comments="", fmt="%.6g")
    x = logits[:few]
    np.savez("v.npz", x=x, y=labels[:few])
    head = keras.layers.Dense(columns)
    keras.Sequential([keras.Input((columns,)), head]).save("m.keras")
    return few


def seconds(command, package):
    """Return the processor time of a command: on a shared machine it says more than the clock."""
    start = _spent()
    subprocess.run(
        [sys.executable, "-m", "keras_focal", *command.split()],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(package), "KERAS_BACKEND": "tensorflow"},
    )
    return _spent() - start


def _spent():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(quick):
    rows, columns, rounds = (500, 5, 1) if quick else (200_000, 100, 5)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        packages = {"now": ROOT, f"at {BEFORE}": checked_out(Path(folder, "before"), BEFORE)}
        few = write_files(rows, columns)
        cases = {
            "--help": "--help",
            "gamma": "gamma --p0 0.25",
            f"report, .npz of {rows:,} x {columns}": "report p.npz --json",
            f"report, .csv of {few:,} x {columns}": "report p.csv --json",
            f"calibrate, {few:,} rows": "calibrate m.keras --data v.npz --out c.keras --json",
        }
        for case, command in cases.items():
            times = {name: [] for name in packages}
            for _ in range(rounds if case in _LIGHT else min(rounds, 2)):
                for name, package in packages.items():
                    Path("c.keras").unlink(missing_ok=True)
                    times[name].append(seconds(command, package))
            target = 0.5 if case in _LIGHT else None
            best = min(times["now"])
            found.append(Row("Processor seconds", case, "now, best", "s", best, target=target))
            ratio = ratio_rows("Ratio", case, times, f"at {BEFORE}", {"now": 1.1})
            found.append(next(row for row in ratio if row.variant == "now"))
        os.chdir(ROOT)
    found.sort(key=lambda row: row.table)
    return found, environment("tensorflow", "numpy")


if __name__ == "__main__":
    main("command_line", measure)
