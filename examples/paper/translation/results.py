"""What Table 3 and Figure 5 are made of, read from the run folders."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from examples.paper.runs import Run


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


def curves(run: Run) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return temperatures, the validation ECE there in per cent, and the test BLEU there."""
    found = _read(run)
    ece = dict(zip(found["temperatures"], found["ece_validation"], strict=True))
    temperatures = found["bleu_temperatures"]
    return (
        np.array(temperatures),
        np.array([ece[t] for t in temperatures]),
        np.array(found["bleu_test"]),
    )


def _read(run: Run) -> dict[str, Any]:
    return json.loads((run.folder / "translation.json").read_text())["ece"]
