"""docs/results/beyond_the_paper.json: maps on top of the losses, and images of another kind."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from examples.paper.files import read_json, write_json
from examples.paper.reproduce.maps import under_maps
from examples.paper.reproduce.results import RESULTS, rounded
from examples.paper.reproduce.shift import images_of, under_shift
from examples.paper.runs import Run, read

FILE = RESULTS / "beyond_the_paper.json"
COMMAND = "python -m examples.paper.reproduce beyond --data-dir DATA"

Rows = dict[str, dict[str, Any]]
"""By "dataset/network/loss/seed": `maps`, and of CIFAR-10 `shift`."""


def publish(
    directory: Path,
    data_dir: Path | None,
    track: Callable[[list[Run]], Iterable[Run]] = iter,
) -> int:
    """Measure the finished runs of a directory, write them down and return how many there are.

    What was published of other runs stays. A run is written down as soon as it is measured.

    Raises:
        FileNotFoundError: If the directory holds no finished run of images or texts, or the data
            is absent.
    """
    runs = [run for run in read(directory) if run.finished and not run.is_translation]
    if not runs:
        raise FileNotFoundError(
            f"`--runs` must hold finished runs of images or texts. Received: {directory}"
        )
    rows = load()
    images = images_of(data_dir) if any(run.dataset == "cifar10" for run in runs) else None
    for run in track(runs):
        row = {"maps": under_maps(run.logits())}
        if run.dataset == "cifar10" and not run.diverged:
            row["shift"] = under_shift(run, *images)
        rows["/".join((run.dataset, run.label, run.loss, f"{run.seed}"))] = rounded(row)
        write_json(FILE, {"command": COMMAND, "rows": dict(sorted(rows.items()))})
    return len(runs)


def load() -> Rows:
    """Return what was published, {} before the first time."""
    return read_json(FILE)["rows"] if FILE.is_file() else {}
