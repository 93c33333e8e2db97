"""The paper's own models: their published logits against every figure of the paper on them."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache, reduce
from pathlib import Path

import numpy as np
from keras import ops

from examples.paper.files import write_json
from examples.paper.runs import Logits, environment
from examples.paper.tables.layout import PRINTED_LOSS, TABLES, Column
from examples.paper.tables.measure import measure, scores
from examples.paper.tables.published import published
from keras_focal import functional

LOSSES = {"cross_entropy": "CE", "flsd53": "FLSD-53"}
"""Losses by the names in the files `<dataset>_<network>_<loss>.npz`."""

RESULTS = Path(__file__).resolve().parents[3] / "docs/results/published_logits.json"
COMMAND = "python -m examples.paper.tables --logits DIR --publish"

NOISE, DRAWS = 0.003, 20
"""Standard deviation of the noise that stands for logits computed anew on another device."""


@dataclass(frozen=True)
class Check:
    """A figure of the paper and what the logits of its own model give.

    Attributes:
        table: Number of the table.
        model: "dataset/network".
        loss: The loss.
        figure: The figure, by its name in published.json.
        paper: The paper's figure.
        ours: Ours, not rounded.
        is_met: Whether ours, rounded to the digits that the paper gives, is the paper's.
        note: Of a figure that is not met: what it hangs on.
    """

    table: str
    model: str
    loss: str
    figure: str
    paper: float
    ours: float
    is_met: bool
    note: str = ""


def read(directory: Path) -> dict[tuple[str, str], Logits]:
    """Return the published logits of a directory by model and loss.

    Raises:
        FileNotFoundError: If it holds none.
    """
    found = {}
    for file in sorted(directory.glob("*.npz")):
        dataset, network, name = file.stem.split("_", 2)
        found[f"{dataset}/{network}", LOSSES.get(name, name)] = Logits.load(file)
    if not found:
        raise FileNotFoundError(
            "`--logits` must be a directory of files <dataset>_<network>_<loss>.npz. "
            f"Received: {directory}"
        )
    return found


def checks(model: str, loss: str, logits: Logits) -> list[Check]:
    """Return every figure that the paper has of a model, with ours."""
    figures = measure(logits, "ece")
    notes = cache(lambda when: _Notes(logits, 1.0 if when == "pre" else figures["T"]))
    found = []
    for number, column, printed in _figures_of(model, loss):
        ours, paper = float(reduce(dict.__getitem__, column.path, figures)), printed[column.printed]
        is_met = round(ours, 2) == paper
        note = "" if is_met else notes(column.path[0]).on(column, printed)
        found.append(Check(number, model, loss, column.printed, paper, ours, is_met, note))
    return found


def _figures_of(model: str, loss: str) -> Iterator[tuple[str, Column, dict[str, float]]]:
    """Yield table and column of all figures that the paper has of a model, with those beside it."""
    for number, table in published().items():
        printed = table["rows"].get(model, {}).get(PRINTED_LOSS.get((number, loss), loss), {})
        for column in TABLES[number].columns:
            if column.printed in printed:
                yield number, column, printed


class _Notes:
    """What figures hang on that are not met, of logits at one temperature."""

    def __init__(self, logits: Logits, temperature: float):
        self.labels, self.temperature = logits.test_labels, temperature
        self.z = logits.test_logits.astype("float64") / temperature
        rng = np.random.default_rng(0)
        noise = (rng.normal(0.0, NOISE / temperature, self.z.shape) for _ in range(DRAWS))
        self.drawn = [scores(self.labels, self.z + each) for each in noise]

    def on(self, column: Column, printed: dict[str, float]) -> str:
        """Return the note on a figure; `printed` are the paper's figures of the same row."""
        when, name = column.path
        low, high = (extreme(figures[name] for figures in self.drawn) for extreme in (min, max))
        holds = "holds" if low <= printed[column.printed] <= high else "does not hold"
        note = (
            f"Noise of {NOISE} on the logits gives {low:.2f} to {high:.2f}, which {holds} the "
            "paper's figure."
        )
        if name == "mce":
            return f"{note} {self._largest_bin()}"
        share, accuracy = printed[f"confident_{when}"], printed[f"confident_accuracy_{when}"]
        count = round(share / 100 * len(self.z))
        return (
            f"{note} Of the {count} surest predictions {self._wrong_among(count)} are wrong; the "
            f"paper's figures say {count * (1 - accuracy / 100):.0f}."
        )

    def _largest_bin(self) -> str:
        bins = functional.bin_statistics(self.labels, self.z, from_logits=True)
        count, gap = (ops.convert_to_numpy(part) for part in (bins.count, bins.gap))
        largest = np.argmax(np.abs(gap) / np.maximum(count, 1.0))
        of_ten = functional.maximum_calibration_error(
            self.labels, self.z, num_bins=10, from_logits=True
        )
        return (
            f"It is the error of a bin of {count[largest]:.0f} predictions; 10 bins give "
            f"{100 * float(of_ten):.2f}."
        )

    def _wrong_among(self, count: int) -> int:
        """Return how many of the predictions of highest confidence are wrong."""
        total = np.exp(self.z - self.z.max(axis=1, keepdims=True)).sum(axis=1)
        surest = np.argsort(total, kind="stable")[:count]
        return int((self.z.argmax(axis=1) != self.labels)[surest].sum())


def publish(found: list[Check]) -> None:
    """Write checks as JSON, with the command and what it ran on."""
    rows = [asdict(replace(check, ours=round(check.ours, 4))) for check in found]
    result = {"command": COMMAND, "environment": environment(), "rows": rows}
    write_json(RESULTS, result)
