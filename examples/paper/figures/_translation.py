"""Figure 5: BLEU and calibration of translation against temperature."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from examples.paper.figures._looks import BLUE, RED, label, sheet
from examples.paper.files import read_json
from examples.paper.runs import Run


class Curves(NamedTuple):
    """Temperatures and what is found at them: ECE of the next token in per cent, BLEU."""

    temperatures: np.ndarray
    ece_validation: np.ndarray
    bleu_temperatures: np.ndarray
    bleu_test: np.ndarray


def curves(run: Run) -> Curves:
    """Return what was measured of a run of translation."""
    found = read_json(run.folder / "translation.json")["ece"]
    return Curves(*(np.array(found[name]) for name in Curves._fields))


def figure_5(runs: Mapping[str, Run]) -> Figure:
    """Draw ECE on validation and BLEU on test data against temperature; dots mark the best."""
    figure, axes = sheet(2, len(runs), (3.8, 2.7), sharex=True, sharey="row")
    for (above, below), letter, (loss, run) in zip(axes.T, "abc", runs.items(), strict=True):
        found = curves(run)
        least = int(np.argmin(found.ece_validation))
        most = int(np.argmax(found.bleu_test))
        for ax, x, y, best, color in (
            (above, found.temperatures, found.ece_validation, least, RED),
            (below, found.bleu_temperatures, found.bleu_test, most, BLUE),
        ):
            ax.plot(x, y, color=color, linewidth=1.8, marker="o", markevery=[best])
            # Opposite to the bend of the line.
            height, side = (0.95, "top") if ax is above else (0.05, "bottom")
            words = f"best: {y[best]:.2f} at T = {x[best]:.3g}"
            ax.text(0.5, height, words, transform=ax.transAxes, ha="center", va=side)
            ax.margins(y=0.2)
        label(above, letter, loss)
        below.set_xlabel("temperature, T")
    axes[0, 0].set_ylabel("ECE on validation data, %")
    axes[0, 0].set_ylim(bottom=0.0)
    axes[1, 0].set_ylabel("BLEU on test data")
    return figure
