"""The figures of runs and of the paper beside each other."""

from collections.abc import Iterable
from itertools import cycle
from pathlib import Path

import numpy as np

from examples.paper.report.claims import Means
from examples.paper.reproduce.results import by_experiment
from examples.paper.tables.build import Measured
from examples.paper.tables.layout import PRINTED_LOSS
from examples.paper.tables.published import published


def means(items: Iterable[Measured]) -> Means:
    """Return what claims are about, the mean over the seeds of each loss.

    A loss of which a seed diverged has none.
    """
    by_loss: dict[str, list[dict[str, float]]] = {}
    for item in items:
        figures = item.figures["ece"]
        pre = figures["pre"]
        row = {"pre": pre["ece"], "post": figures["post"]["ece"], "T": figures["T"]}
        row |= {name: pre[name] for name in ("error", "nll") if name in pre}
        if "bleu" in pre:
            row["bleu_pre"] = pre["bleu"]
        else:
            row |= {"ada_pre": pre["ada_ece"], "sure_post": figures["post"]["confident"]}
        by_loss.setdefault(item.run.loss, []).append(row)
    return {
        loss: {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        for loss, rows in by_loss.items()
        if not any(np.isnan(row["T"]) for row in rows)
    }


def paper(place: str) -> Means:
    """Return the same figures of the paper for "dataset/network"."""
    rows = {number: table["rows"].get(place, {}) for number, table in published().items()}
    found: Means = {}
    for number in ("3", "5", "1", "7", "4", "9"):
        for loss, figures in rows[number].items():
            found.setdefault(loss, {}).update(figures)
    others = (("2", "ada_pre", "pre"), ("13", "sure_post", "confident_post"))
    for number, name, printed in others:
        for loss in found:
            figures = rows[number].get(PRINTED_LOSS.get((number, loss), loss), {})
            if printed in figures:
                found[loss][name] = figures[printed]
    return found


def summary_rows(found: list[Measured]) -> list[tuple]:
    """Return how much FLSD-53 lowers the ECE before T, by the temperature of cross-entropy.

    A row is data, network, T of CE, its error, that of FLSD-53, the ECE of CE, T of FLSD-53, its
    ECE, and the difference.
    """
    rows = []
    for (dataset, network), items in by_experiment(found).items():
        of_loss = means(items)
        if {"CE", "FLSD-53"} <= of_loss.keys():
            ce, flsd = of_loss["CE"], of_loss["FLSD-53"]
            cells = (ce["T"], ce["error"], flsd["error"], ce["pre"], flsd["T"], flsd["pre"])
            rows.append((dataset, network, *cells, ce["pre"] - flsd["pre"]))
    return sorted(rows, key=lambda row: row[2])


def summary(found: list[Measured]) -> str:
    """Return the same as a table."""
    headings = ("T of CE", "error, CE", "error, FLSD-53", "ECE, CE", "T of FLSD-53", "ECE, FLSD-53")
    return grid(
        ("data", "network", *headings, "gain"),
        (
            (dataset, network, *(f"{cell:.2f}" for cell in cells), f"{gain:+.2f}")
            for dataset, network, *cells, gain in summary_rows(found)
        ),
    )


def draw_summary(found: list[Measured], file: Path) -> None:
    """Draw by how much FLSD-53 lowers the ECE against the temperature of cross-entropy.

    A point is a seed, with its own temperature.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    ax = figure.subplots()
    for marker, ((dataset, network), items) in zip(
        cycle("osD^vPX"), by_experiment(found).items(), strict=False
    ):
        by_seed: dict[int, list[Measured]] = {}
        for item in items:
            by_seed.setdefault(item.run.seed, []).append(item)
        of_seeds = [means(of_seed) for of_seed in by_seed.values()]
        pairs = [of for of in of_seeds if {"CE", "FLSD-53"} <= of.keys()]
        if pairs:
            x = [of["CE"]["T"] for of in pairs]
            y = [of["CE"]["pre"] - of["FLSD-53"]["pre"] for of in pairs]
            ax.plot(x, y, marker, linestyle="none", label=f"{dataset}, {network}")
    ax.axhline(0.0, color="0.5", linewidth=0.8)
    ax.axvline(1.0, color="0.5", linewidth=0.8)
    ax.set_xlabel("temperature that cross-entropy takes")
    ax.set_ylabel("ECE of cross-entropy less that\nof FLSD-53, per cent points")
    ax.legend(fontsize="small")
    figure.savefig(file, dpi=110)


def objectives(found: list[Measured]) -> str:
    """Return the figures of losses that were trained with both objectives, "" if none was."""
    names = ("error", "pre", "post", "T", "nll")
    rows = []
    by_network: dict[tuple[str, str, int], dict[str, Means]] = {}
    for items in by_experiment(found).values():
        run = items[0].run
        of_network = by_network.setdefault((run.dataset, run.network, run.settings["epochs"]), {})
        of_network[run.objective] = means(items)
    for (dataset, network, _), forms in by_network.items():
        of_mean, of_sum = forms.get("mean", {}), forms.get("sum", {})
        for loss in (loss for loss in of_mean if loss in of_sum):
            for form in ("mean", "sum"):
                figures = forms[form][loss]
                cells = (f"{figures[name]:.2f}" for name in names)
                rows.append((dataset, network, loss, form, *cells))
    headings = ("data", "network", "loss", "objective", "error", "ECE before T", "ECE after T", "T")
    return grid((*headings, "NLL before T"), rows) if rows else ""


def grid(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table of Markdown."""
    lines = [tuple(headings), *map(tuple, rows)]
    lines.insert(1, ("---",) * len(lines[0]))
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
