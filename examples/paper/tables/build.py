"""Tables from the figures of runs: mean and spread over seeds, the paper's own figures below."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from examples.paper.recipes import BESIDE_THE_PAPER
from examples.paper.runs import ALIKE, EVALUATED, Run
from examples.paper.tables.layout import BASELINES, FOCAL, PRINTED_LOSS, TABLES, Column
from examples.paper.tables.measure import Figures, figures_of, has_figures
from examples.paper.tables.published import nearest_row, published

_RESNET110 = (
    "its ResNet-110 has 45.9 M parameters, as `resnet110-bottleneck` here; `resnet110` is the "
    "network of He et al., of 1.7 M parameters."
)


class Cell(NamedTuple):
    """A mean and, over two seeds or more, the standard deviation."""

    mean: float
    deviation: float | None = None


@dataclass(frozen=True)
class Row:
    """A row of figures: ours, of `seeds` seeds, or the paper's own, where `seeds` is None.

    Attributes:
        cells: One for each column, None where there is no figure.
        diverged: How many of the seeds ended with logits that are not finite.
    """

    dataset: str
    network: str
    loss: str
    seeds: int | None
    cells: tuple[Cell | None, ...]
    diverged: int = 0

    @property
    def source(self) -> str:
        """Return whose row it is."""
        if self.seeds is None:
            return "paper"
        seeds = {0: "no run", 1: "1 seed"}.get(self.seeds, f"{self.seeds} seeds")
        return f"{seeds}, {self.diverged} diverged" if self.diverged else seeds


@dataclass(frozen=True)
class Table:
    """A table by its number, "1" to "13" or "beyond"."""

    number: str
    title: str
    headings: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def remarks(self) -> list[str]:
        """Return what is wrong with the paper's own figures, or with setting ours beside them."""
        others = any(row.network.split(",")[0] == "resnet110" and row.seeds for row in self.rows)
        return [
            *published().get(self.number, {}).get("remarks", []),
            *([_RESNET110] if others else []),
        ]


@dataclass(frozen=True)
class Measured:
    """A run and its figures by criterion."""

    run: Run
    figures: dict[str, Figures]


def measured(
    runs: Iterable[Run],
    criteria: Sequence[str],
    track: Callable[[list[Run]], Iterable[Run]] = iter,
) -> list[Measured]:
    """Return the runs that are finished with their figures; `track` may show progress.

    Raises:
        ValueError: If two runs of a loss differ in more than their seed, or in nothing.
    """
    runs = [run for run in runs if has_figures(run)]
    _check_alike([(run, run.trained_with) for run in runs], ALIKE)
    found = [Measured(run, figures_of(run, criteria)) for run in track(runs)]
    check_alike(found)
    return found


def check_alike(found: list[Measured]) -> None:
    """Raise an error if runs of one loss were trained or measured otherwise than by their seed.

    Raises:
        ValueError: Which two runs, and in what they differ.
    """
    _check_alike([(item.run, item.run.trained_with) for item in found], ALIKE)
    _check_alike([(item.run, item.figures.get("ece", {})) for item in found], EVALUATED)


def _check_alike(described: list[tuple[Run, dict[str, Any]]], names: Sequence[str]) -> None:
    seen: dict[tuple[str, ...], list[tuple[Run, dict[str, Any]]]] = {}
    for run, settings in described:
        others = seen.setdefault((run.dataset, run.label, run.loss), [])
        for other, known in others:
            same_seed = run.seed == other.seed
            unlike = [name for name in names if settings.get(name) != known.get(name)]
            if same_seed or unlike:
                raise ValueError(
                    f"Runs of one loss must differ in the seed alone. {other.folder} and "
                    f"{run.folder} {'share it' if same_seed else 'differ in ' + ', '.join(unlike)}."
                    " Give a directory that holds one of them."
                )
        others.append((run, settings))


def build(number: str, found: list[Measured], criteria: tuple[str, ...] = ("ece",)) -> Table:
    """Return a table of measured runs; without rows where it has no runs.

    Args:
        number: "1" to "13" or "beyond".
        found: Runs measured by `criteria`, and for "beyond" by "nll" and "focal".
        criteria: "ece", "nll" or both: how temperatures are found.
    """
    layout = TABLES[number].for_criteria(criteria)
    losses = layout.losses or (*BASELINES, *FOCAL, *BESIDE_THE_PAPER)
    is_translation = number == "3"
    groups: dict[tuple[str, str], dict[str, list[Figures]]] = {}
    for run, figures in ((item.run, item.figures) for item in found):
        if run.loss in losses and _is_translation(figures) == is_translation:
            group = groups.setdefault((run.dataset, run.label), {})
            group.setdefault(run.loss, []).append(figures)
    rows = []
    for (dataset, network), group in groups.items():
        for loss in losses:
            if loss not in group and not layout.losses:
                continue
            of_seeds = group.get(loss, [])
            cells = tuple(_cell(of_seeds, column) for column in layout.columns)
            diverged = sum(any(np.isnan(of["T"]) for of in each.values()) for each in of_seeds)
            rows.append(Row(dataset, network, loss, len(of_seeds), cells, diverged))
            rows += _paper_row(number, rows[-1], layout.columns)
    headings = tuple(column.heading for column in layout.columns)
    return Table(number, layout.title, headings, tuple(rows))


def _is_translation(figures: dict[str, Figures]) -> bool:
    return any("bleu" in of_criterion["pre"] for of_criterion in figures.values())


def _cell(of_seeds: list[dict[str, Figures]], column: Column) -> Cell | None:
    """Return mean and standard deviation of a figure, None where a run lacks it."""
    values = [reduce(dict.__getitem__, column.path, of[column.criterion]) for of in of_seeds]
    if not values or np.isnan(values).any():
        return None
    return Cell(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None)


def _paper_row(number: str, row: Row, columns: tuple[Column, ...]) -> list[Row]:
    """Return the paper's row for the same loss and the likest network, if there is one."""
    place = nearest_row(number, row.dataset, row.network) if number in published() else None
    loss = PRINTED_LOSS.get((number, row.loss), row.loss)
    if place is None or loss not in published()[number]["rows"][place]:
        return []
    printed = published()[number]["rows"][place][loss]
    cells = tuple(Cell(printed[c.printed]) if c.printed else None for c in columns)
    return [Row(*place.split("/"), loss, None, cells)]
