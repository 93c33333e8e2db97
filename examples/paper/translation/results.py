"""What Table 3 and Figure 5 are made of, read from the run folders."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from examples.paper.files import read_json
from examples.paper.runs import Run


class Curves(NamedTuple):
    """Temperatures and what is found at them: ECE of the next token in per cent, BLEU."""

    temperatures: np.ndarray
    ece_validation: np.ndarray
    bleu_temperatures: np.ndarray
    bleu_test: np.ndarray


def table3(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return a row for each run that was evaluated.

    Args:
        runs: From `examples.paper.runs.read`; those without a translation.json are left out.

    Returns:
        Rows of `loss`, `seed`, `ece_pre` and `ece_post` in per cent, `T` (of least validation ECE),
        `bleu_pre` and `bleu_post`.
    """
    rows = []
    for run in runs:
        if not (run.folder / "translation.json").is_file():
            continue
        found = _read(run)
        rows.append(
            {
                "loss": run.loss,
                "seed": run.seed,
                "ece_pre": found["pre"]["ece"],
                "ece_post": found["post"]["ece"],
                "T": found["T"],
                "bleu_pre": found["pre"]["bleu"],
                "bleu_post": found["post"]["bleu"],
            }
        )
    return rows


def curves(run: Run) -> Curves:
    """Return what Figure 5 draws of an evaluated run."""
    found = _read(run)
    return Curves(*(np.array(found[name]) for name in Curves._fields))


def _read(run: Run) -> dict[str, Any]:
    return read_json(run.folder / "translation.json")["ece"]
