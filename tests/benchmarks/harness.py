"""Measuring by ratios: variants in turn, round after round, and the results as JSON.

A lone time says little on a shared machine; the ratio of two variants timed one after the other
says something, and the median of such ratios over the rounds more. Every benchmark is a script:

    python tests/benchmarks/NAME.py [--quick] [--publish]

`--quick` runs small shapes once, to show that the script works. `--publish` writes the results to
docs/results/NAME.json, from which tests/benchmarks/report.py makes docs/benchmarks.md.
"""

import argparse
import contextlib
import importlib.metadata
import io
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results"


@dataclass(frozen=True)
class Row:
    """One figure: a variant in a case, as a ratio to another variant or as a plain quantity.

    Attributes:
        table: Title of the table that the row belongs to.
        case: What was run: shape, dtype.
        variant: What ran it.
        against: The variant or quantity that the figure is a ratio to, or its unit.
        median: The figure; with rounds, their median. None where it could not be measured.
        low: First quartile over the rounds, None without rounds.
        high: Third quartile.
        target: The most that the figure may be, None where there is no goal.
        note: Why a target was missed and what was tried, or why there is no figure.
    """

    table: str
    case: str
    variant: str
    against: str
    median: float | None
    low: float | None = None
    high: float | None = None
    target: float | None = None
    note: str = ""


def interleaved(
    variants: dict[str, Callable[[], object]], rounds: int = 9, seconds_each: float = 0.05
) -> dict[str, list[float]]:
    """Return the seconds per call of each variant in each round, the variants taking turns.

    Each is called twice first, to compile; then often enough per turn to fill `seconds_each`. A
    variant must wait for its own result.
    """
    progress(f"timing {', '.join(variants)}")
    repeats = {}
    for name, call in variants.items():
        call()
        start = time.perf_counter()
        call()
        repeats[name] = max(1, int(seconds_each / max(time.perf_counter() - start, 1e-6)))
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, call in variants.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            times[name].append((time.perf_counter() - start) / repeats[name])
    return times


def ratio_rows(
    table: str,
    case: str,
    times: dict[str, list[float]],
    floor: str,
    targets: dict[str, float] | None = None,
    notes: dict[str, str] | None = None,
) -> list[Row]:
    """Return a row for each variant: its time over that of `floor`, round by round."""
    rows = []
    for name, seconds in times.items():
        ratios = [a / b for a, b in zip(seconds, times[floor], strict=True)]
        low, middle, high = (
            statistics.quantiles(ratios, n=4) if len(ratios) > 1 else [ratios[0]] * 3
        )
        target = (targets or {}).get(name)
        note = (notes or {}).get(name, "")
        rows.append(Row(table, case, name, floor, middle, low, high, target, note))
    return rows


def in_process(script: str, *arguments: str, backend: str = "tensorflow") -> dict:
    """Return what `script arguments` prints last, as JSON, from a process of its own.

    Peak memory and Keras's backend are properties of a process.
    """
    progress(f"running {Path(script).name} {' '.join(arguments)}")
    answer = subprocess.run(
        [sys.executable, script, *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "KERAS_BACKEND": backend},
    )
    return json.loads(answer.stdout.strip().splitlines()[-1])


def checked_out(folder: Path, commit: str) -> Path:
    """Write the package of a commit to a folder, and return the folder."""
    command = ["git", "archive", commit, "keras_focal"]
    data = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def progress(words: str) -> None:
    """Say on the terminal what is measured next, apart from the rows."""
    print(f"... {words}", file=sys.stderr, flush=True)


def resident() -> int:
    """Return the resident size of this process in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def peak_of(call: Callable[[], object]) -> int:
    """Return the largest resident size in bytes while `call` runs, its result kept."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # start the peak anew
    kept = call()
    with open("/proc/self/status") as file:
        peak = next(line for line in file if line.startswith("VmHWM"))
    del kept
    return int(peak.split()[1]) * 1024


def environment(*packages: str) -> dict[str, str]:
    """Return the machine and the versions that a result depends on."""
    found = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
    }
    for package in ("keras", *packages):
        found[package] = "not installed"
        for name in (package, f"{package}-cpu"):
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                found[package] = importlib.metadata.version(name)
    return found


def main(name: str, measure: Callable[[bool], tuple[list[Row], dict[str, str]]]) -> None:
    """Run `measure(quick)`, print its rows, and with --publish write them as JSON."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--quick", action="store_true", help="small shapes, one round")
    parser.add_argument("--publish", action="store_true", help="write docs/results")
    options = parser.parse_args()
    rows, machine = measure(options.quick)
    for row in rows:
        print(line(row))
    if options.publish:
        path = RESULTS / f"{name}.json"
        _check_that_figures_stay(path, rows)
        result = {
            "command": f"python tests/benchmarks/{Path(sys.argv[0]).name} --publish",
            "environment": machine,
            "rows": [asdict(row) for row in rows],
        }
        path.write_text(json.dumps(result, indent=1) + "\n")
        print(f"written: {path}")


def _check_that_figures_stay(path: Path, rows: list[Row]) -> None:
    """Exit if a run that measured nothing, for want of a device, would replace one that did."""
    if path.exists() and all(row.median is None for row in rows):
        before = json.loads(path.read_text())
        if any(row["median"] is not None for row in before["rows"]):
            machine = ", ".join(f"{name} {value}" for name, value in before["environment"].items())
            raise SystemExit(f"{path} has figures of another machine ({machine}), and stays.")


def line(row: Row) -> str:
    """Return a row as a line of text."""
    spread = "" if row.low is None else f" ({row.low:.3g} to {row.high:.3g})"
    goal = ""
    if row.target is not None:
        is_missed = row.median is not None and row.median > row.target
        goal = f"  goal <= {row.target:g}{': MISSED' if is_missed else ''}"
    figure = "not measured" if row.median is None else f"{row.median:.3g}"
    return f"{row.table} | {row.case} | {row.variant}: {figure}{spread} {row.against}{goal}"
