"""The picture of segmentation.py: an image of each data set, and calibration against overlap."""

from pathlib import Path

import keras
import matplotlib
import numpy as np
from scenes import VOID
from study import Run, Study

TITLES = {"": "digits", "cells_": "blood cells"}
COLORS = {"cmap": "tab20", "vmin": 0, "vmax": 19, "interpolation": "nearest"}


def save(
    folder: Path, prefix: str, name: str, x: np.ndarray, y: np.ndarray, logits: np.ndarray
) -> None:
    """Keep one test image with its labels and the logits of a setting, for `draw`."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / f"{prefix}{name}.npz", x=x, y=y, logits=logits)


def draw(
    study: Study, runs: list[Run], file: Path, *, folder: Path, names: tuple[str, ...]
) -> None:
    """Draw image, truth, predictions and confidence of settings, and the Dice and ECE of all."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    prefixes = [prefix for prefix in TITLES if f"{prefix}dice" in runs[0]]
    figure = plt.figure(figsize=(12, 2.2 * len(prefixes) + 3.8), layout="constrained")
    strips, dots = figure.subfigures(2, 1, height_ratios=[2.2 * len(prefixes), 3.8])
    axes = strips.subplots(len(prefixes), 2 + 2 * len(names), squeeze=False)
    for row, prefix in zip(axes, prefixes, strict=True):
        parts = [np.load(folder / f"{prefix}{name}.npz") for name in names]
        row[0].imshow(parts[0]["x"][0], cmap="gray")
        row[1].imshow(np.ma.masked_equal(parts[0]["y"][0], VOID), **COLORS)
        for place, part in enumerate(parts):
            p = np.asarray(keras.ops.softmax(part["logits"][0]))
            row[2 + 2 * place].imshow(p.argmax(axis=-1), **COLORS)
            shown = row[3 + 2 * place].imshow(p.max(axis=-1), vmin=0, vmax=1)
    titles = ["image", "truth, void white"]
    titles += [f"{name}: {what}" for name in names for what in ("class", "confidence")]
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize=8)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
    strips.colorbar(shown, ax=axes, shrink=0.7)
    for ax, prefix in zip(dots.subplots(1, len(prefixes), squeeze=False)[0], prefixes, strict=True):
        for marker, name in zip(
            "osD^v<>P*", dict.fromkeys(run["setting"] for run in runs), strict=True
        ):
            dice, ece = (
                100 * study.values(runs, name, prefix + key).mean() for key in ("dice", "ece")
            )
            ax.plot(dice, ece, marker, label=name)
        ax.set(title=TITLES[prefix], xlabel="Dice %", ylabel="ECE %", ylim=(0, None))
        ax.grid(alpha=0.3)
    dots.legend(*ax.get_legend_handles_labels(), loc="outside right center", frameon=False)
    figure.savefig(file, dpi=100)
    plt.close(figure)
