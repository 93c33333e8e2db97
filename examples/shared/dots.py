"""The picture of a comparison: two figures of every setting, each with its spread over seeds."""

from pathlib import Path

import matplotlib
import numpy as np
from shared.study import SEPARATOR, Figure, Run, Study, data_sets


def draw_dots(study: Study, runs: list[Run], file: Path, x: Figure, y: Figure) -> None:
    """Draw the means of two figures, with bars of one standard deviation, for each data set.

    `y` has a logarithmic scale.
    """
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    sets = data_sets(runs)
    figure, rows = plt.subplots(
        1, len(sets), figsize=(4.2 * len(sets) + 1.6, 4.2), layout="constrained", squeeze=False
    )
    markers = "osD^v<>PX*"
    for ax, data in zip(rows[0], sets, strict=True):
        prefix = data + SEPARATOR if data else ""
        names = dict.fromkeys(run["setting"] for run in runs if run["setting"].startswith(prefix))
        for number, name in enumerate(names):
            values = [f.factor * study.values(runs, name, f.name) for f in (x, y)]
            means, spreads = np.mean(values, axis=1), np.std(values, axis=1)
            ax.errorbar(
                *means,
                *spreads[::-1],
                fmt=markers[number % len(markers)],
                label=name.removeprefix(prefix),
                capsize=2,
                elinewidth=0.8,
            )
        ax.set(xlabel=x.heading, ylabel=y.heading, title=data or None, yscale="log")
        ax.yaxis.set_major_formatter("{x:.3g}")
        ax.yaxis.set_minor_formatter("{x:.3g}")
        ax.tick_params(axis="y", which="minor", labelsize=7)
        ax.grid(alpha=0.3)
    figure.legend(
        *rows[0, 0].get_legend_handles_labels(), loc="outside right center", frameon=False
    )
    figure.savefig(file, dpi=110)
    plt.close(figure)
