"""What the snapshots of a run say, epoch after epoch: one is in memory at a time."""

from collections.abc import Callable, Sequence

import numpy as np
from keras import ops

from examples.paper.figures._select import MissingRunsError
from examples.paper.recipes import RECIPES
from examples.paper.runs import Run, Snapshot
from keras_focal import functional

_OF_THE_PAPER = 350
"""Epochs that the paper trains for."""


def epochs_near(runs: Sequence[Run], *of_the_paper: int) -> list[int]:
    """Return the epochs nearest to some of the paper's 350 of which all runs have a snapshot.

    Raises:
        MissingRunsError: If there is no such epoch.
    """
    common = sorted(set.intersection(*(set(run.snapshot_files()) for run in runs)))
    if not common:
        raise MissingRunsError(
            "snapshots of the same epochs of its runs: train with --snapshots all"
        )
    scale = runs[0].settings["epochs"] / _OF_THE_PAPER
    return sorted({min(common, key=lambda e: abs(e - scale * mark)) for mark in of_the_paper})


def snapshot(run: Run, epoch: int) -> Snapshot:
    """Return the snapshot of an epoch."""
    return Snapshot.load(run.snapshot_files()[epoch])


def by_epoch(
    run: Run, measure: Callable[[Snapshot], dict[str, float]]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the epochs of the snapshots, shape (E,), and each measure at them, shape (E,)."""
    files = run.snapshot_files()
    rows = [measure(Snapshot.load(file)) for file in files.values()]
    return np.array([*files]), {name: np.array([row[name] for row in rows]) for name in rows[0]}


def drops(run: Run) -> tuple[int, ...]:
    """Return the epochs after which the learning rate of a run falls."""
    recipe = RECIPES.get(run.dataset)
    return recipe.scaled(run.settings["epochs"]).drops if recipe else ()


def scores(labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """Return the means that Figures 2 and 3 draw; NaN of wrong samples where there are none.

    NLL and entropy are in nats, `error` and `ece` in per cent.
    """
    parts = functional.prediction_scores(labels, logits, from_logits=True)
    wrong, nll, entropy = (ops.convert_to_numpy(part) for part in parts)
    ece = functional.expected_calibration_error(labels, logits, from_logits=True)
    return {
        "nll": float(nll.mean()),
        "nll_right": _mean(nll[wrong == 0]),
        "nll_wrong": _mean(nll[wrong == 1]),
        "entropy_right": _mean(entropy[wrong == 0]),
        "entropy_wrong": _mean(entropy[wrong == 1]),
        "error": 100 * float(wrong.mean()),
        "ece": 100 * float(ece),
    }


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
