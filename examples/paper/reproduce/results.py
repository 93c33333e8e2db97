"""docs/results/reproduction.json: every run of the plan with its figures."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from examples.paper.files import read_json, write_json
from examples.paper.runs import Run, read
from examples.paper.tables.build import Measured, check_alike, measured

RESULTS = Path(__file__).resolve().parents[3] / "docs" / "results"
FILE = RESULTS / "reproduction.json"
COMMAND = "python -m examples.paper.reproduce publish"
CRITERIA = ("ece", "nll", "focal")


def publish(directory: Path, *, replace: bool = False) -> int:
    """Measure the finished runs of a directory, write them down and return how many there are.

    What was published of other runs stays; a run that was published before is written anew.

    Args:
        directory: The folder of the runs.
        replace: Whether other seeds of the same data set, network and loss go, such as those of an
            earlier recipe.

    Raises:
        FileNotFoundError: If the directory holds no finished run.
        ValueError: If runs of one experiment, those published included, are not alike.
    """
    found = measured(read(directory), CRITERIA)
    if not found:
        raise FileNotFoundError(f"`--runs` must hold finished runs. Received: {directory}")
    ours = [Measured(item.run, rounded(item.figures)) for item in found]
    known = load() if FILE.is_file() else []
    if replace:
        anew = {_key(item)[:-1] for item in ours}
        known = [item for item in known if _key(item)[:-1] not in anew]
    rows = {_key(item): item for item in (*known, *ours)}
    check_alike([*rows.values()])
    items = (rows[key] for key in sorted(rows))
    published = [{"settings": item.run.settings, "figures": item.figures} for item in items]
    write_json(FILE, {"command": COMMAND, "rows": published})
    return len(found)


def _key(item: Measured) -> tuple[str, str, str, int]:
    """Return what tells a run from others, in the order in which they are written."""
    return item.run.dataset, item.run.label, item.run.loss, item.run.seed


def load() -> list[Measured]:
    """Return the runs as they were published."""
    rows = read_json(FILE)["rows"]
    return [Measured(Run(Path(), row["settings"]), row["figures"]) for row in rows]


def by_experiment(found: Iterable[Measured]) -> dict[tuple[str, str], list[Measured]]:
    """Return runs by data set and network, in the order in which they come."""
    groups: dict[tuple[str, str], list[Measured]] = {}
    for item in found:
        groups.setdefault((item.run.dataset, item.run.label), []).append(item)
    return groups


def rounded(figures: Any) -> Any:
    """Return figures to 4 decimals, without translated sentences, which are others' data."""
    if isinstance(figures, dict):
        return {name: rounded(value) for name, value in figures.items() if name != "examples"}
    if isinstance(figures, list):
        return [rounded(value) for value in figures]
    return round(figures, 4) if isinstance(figures, float) else figures
