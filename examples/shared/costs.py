"""What the published runs of the examples cost, for the README of this folder.

python -m examples.shared.costs     writes the table, made of docs/results, into examples/README.md
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from examples.paper.files import read_json

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "examples/README.md"
RESULTS = ROOT / "docs/results"
BEGIN, END = "<!-- costs -->\n", "<!-- end of costs -->"
HEADINGS = ("what", "made by", "runs", "seconds of a run", "hours of all", "backend")


def table() -> str:
    """Return the table: a row for each example, and for each network of the reproduction."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *_of_examples(), *_of_the_paper()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _of_examples() -> Iterator[tuple[str, ...]]:
    """Yield a row for each results file of an example whose runs say their seconds."""
    for file in sorted(RESULTS.glob("*.json")):
        found = read_json(file)
        if f"examples/{file.stem}.py" not in found.get("made_by", ""):
            continue
        runs = found["runs"]
        seconds = [run["seconds"] for run in runs if "seconds" in run]
        if seconds:
            (backend,) = {"tensorflow", "jax", "torch"} & found["versions"].keys()
            yield _row(f"`{file.stem}.py`", found["made_by"], seconds, backend)


def _of_the_paper() -> Iterator[tuple[str, ...]]:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in read_json(RESULTS / "reproduction.json")["rows"]:
        settings = row["settings"]
        groups.setdefault((settings["dataset"], settings["network"]), []).append(settings)
    for (dataset, network), runs in groups.items():
        command = f"python -m examples.paper.reproduce run --dataset {dataset}"
        backends = {run["backend"].split()[0] for run in runs}
        seconds = [run["seconds"] for run in runs]
        yield _row(f"`paper/`: {dataset}, {network}", command, seconds, ", ".join(sorted(backends)))


def _row(what: str, command: str, seconds: Sequence[float], backend: str) -> tuple[str, ...]:
    """Return the cells of a row: of the seconds the median, least and most."""
    median, least, most = (f"{f(seconds):.0f}" for f in (np.median, np.min, np.max))
    of_one = f"{median} ({least} to {most})"
    command = command.removesuffix(" --publish")
    return what, f"`{command}`", f"{len(seconds)}", of_one, f"{sum(seconds) / 3600:.1f}", backend


def write() -> None:
    """Write the table between its two comments."""
    head, rest = README.read_text(encoding="utf-8").split(BEGIN)
    text = f"{head}{BEGIN}{table()}{END}{rest.split(END)[1]}"
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
    print(README)
