"""The sections on what is beside the paper: maps on top of the losses, images of another kind."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from examples.paper.report.compare import grid
from examples.paper.report.remarks import REMARKS
from examples.paper.reproduce.beyond import COMMAND, Rows
from examples.paper.reproduce.maps import MAPS, NO_MAP
from examples.paper.reproduce.shift import DAMAGES, OTHER

PAIR = ("CE", "FLSD-53")


def sections(rows: Rows) -> Iterator[str]:
    """Yield the parts of the page about these rows."""
    yield "## The best map on top of the loss\n"
    yield f"`{COMMAND}`\n"
    yield (
        "Each map is fitted to the validation data and measured on the test data; `auto` is the "
        "one with the least held-out NLL of the validation data. Mean ± standard deviation over "
        "the seeds, and the difference of FLSD-53 from cross-entropy on the same seeds.\n"
    )
    yield _maps_table(rows)
    yield REMARKS["maps"]
    yield "## Images of another kind\n"
    yield f"`{COMMAND}`\n"
    yield (
        "Networks trained on CIFAR-10, given its test images with damage (the strengths of "
        "CIFAR-10-C) and the test images of Tiny-ImageNet, which are of other classes. AUROC: how "
        "surely low confidence, or high entropy, tells such images from the test images of "
        "CIFAR-10; 50 is chance. The temperature is fitted to undamaged validation images.\n"
    )
    yield _shift_table(rows)
    yield REMARKS["shift"]


def by_network(rows: Rows, part: str) -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
    """Return what rows hold under `part` by data and network, then by loss, then by seed."""
    found: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for key, row in rows.items():
        dataset, network, loss, seed = key.split("/")
        if part in row:
            of_network = found.setdefault((dataset, network), {})
            of_network.setdefault(loss, {})[seed] = row[part]
    return found


def _maps_table(rows: Rows) -> str:
    lines = []
    for (dataset, network), of_loss in by_network(rows, "maps").items():
        for method in (NO_MAP, *MAPS):
            picked = {
                loss: {seed: found[method] for seed, found in of_seed.items()}
                for loss, of_seed in of_loss.items()
            }
            for figure in ("ece", "nll"):
                cells = _pair(picked, figure)
                if cells is not None:
                    lines.append((dataset, network, method, _NAMES[figure], *cells))
    return grid(("data", "network", "map", "figure", *PAIR, "difference", "seeds"), lines)


_NAMES = {"ece": "ECE, %", "nll": "NLL x 100"}


def _shift_table(rows: Rows) -> str:
    lines = []
    for (_, network), of_loss in by_network(rows, "shift").items():
        for kind in (*DAMAGES, OTHER):
            for when, name in (("pre", "before T"), ("post", "after T")):
                for loss in PAIR:
                    figures = [found[kind][when] for found in of_loss.get(loss, {}).values()]
                    if figures:
                        cells = (_mean([f.get(name) for f in figures]) for name in _SHIFT)
                        lines.append((network, kind, name, loss, *cells))
    return grid(("network", "images", "", "loss", *_SHIFT.values()), lines)


_SHIFT = {
    "error": "error, %",
    "ece": "ECE, %",
    "confidence": "confidence, %",
    "auroc_confidence": "AUROC of confidence, %",
    "auroc_entropy": "AUROC of entropy, %",
}


def _pair(of_loss: dict[str, dict[str, Any]], figure: str) -> tuple[str, ...] | None:
    """Return a figure of both losses, their difference on the same seeds, and the seeds.

    None where no seed has both.
    """
    if not all(loss in of_loss for loss in PAIR):
        return None
    first, second = (of_loss[loss] for loss in PAIR)
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return None
    a, b = ([of_seed[seed][figure] for seed in seeds] for of_seed in (first, second))
    difference = _mean([y - x for x, y in zip(a, b, strict=True)], sign="+")
    return _mean(a), _mean(b), difference, f"{len(seeds)}"


def _mean(values: list[float | None], sign: str = "") -> str:
    """Return mean and standard deviation of values, "" where there is none."""
    if any(value is None for value in values):
        return ""
    spread = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):{sign}.2f}{spread}"
