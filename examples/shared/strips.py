"""The picture of segmentation.py: test images and what is made of them, and Dice against ECE."""

from pathlib import Path

import keras
import matplotlib
import numpy as np
from shared.scenes import VOID
from shared.study import Run, Study

COLORS = {"cmap": "tab20", "vmin": 0, "vmax": 19, "interpolation": "nearest"}


def save(folder: Path, name: str, x: np.ndarray, y: np.ndarray, logits: np.ndarray) -> None:
    """Keep test images with their labels and the logits of a setting, for `draw`."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / f"{name}.npz", x=x, y=y, logits=logits)


def draw(
    study: Study, runs: list[Run], file: Path, *, folder: Path, names: tuple[str, ...]
) -> None:
    """Draw images, labels, predictions and confidence of settings, and Dice and ECE of all."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure = plt.figure(figsize=(11, 7.5), layout="constrained")
    strips, dots = figure.subfigures(2, 1, height_ratios=[4, 3.5])
    parts = [np.load(folder / f"{name}.npz") for name in names]
    axes = strips.subplots(len(parts[0]["x"]), 2 + 2 * len(names), squeeze=False)
    for number, row in enumerate(axes):
        row[0].imshow(parts[0]["x"][number], cmap="gray")
        row[1].imshow(np.ma.masked_equal(parts[0]["y"][number], VOID), **COLORS)
        for place, part in enumerate(parts):
            p = keras.ops.convert_to_numpy(keras.ops.softmax(part["logits"][number]))
            row[2 + 2 * place].imshow(p.argmax(axis=-1), **COLORS)
            shown = row[3 + 2 * place].imshow(p.max(axis=-1), vmin=0, vmax=1)
    titles = ["image", "labels, void white"]
    titles += [f"{name}:\n{what}" for name in names for what in ("classes", "confidence")]
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize=9)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
    strips.colorbar(shown, ax=axes, shrink=0.8)
    ax = dots.subplots()
    settings = dict.fromkeys(run["setting"] for run in runs)
    for marker, name in zip("osD^v<>P*", settings, strict=False):
        dice, ece = (100 * study.values(runs, name, key) for key in ("dice", "ece"))
        bars = [values.std(ddof=1) if len(values) > 1 else 0.0 for values in (dice, ece)]
        style = {"fmt": marker, "capsize": 2, "elinewidth": 0.8}
        ax.errorbar(dice.mean(), ece.mean(), bars[1], bars[0], label=name, **style)
    ax.set(xlabel="Dice %", ylabel="ECE %", ylim=(0, None))
    ax.grid(alpha=0.3)
    dots.legend(loc="outside right center", frameon=False)
    figure.savefig(file, dpi=100)
    plt.close(figure)
