"""What the figures share: the colours and dashes of `keras_focal.plotting`, letters, margins."""

from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

DARK, RED, BLUE, ORANGE = COLORS = ("#14213d", "#b3361b", "#2f7fc1", "#e8973a")
DASHES = ("-", (0, (5, 2)), (0, (1, 1.4)), (0, (6, 1.6, 1.2, 1.6)))

_ORDER = ("CE", "FL-1", "FL-2", "FL-3")


def look(index: int | str) -> dict[str, Any]:
    """Return the arguments of `plot` for a line: the index-th, or that of a loss."""
    if isinstance(index, str):
        index = _ORDER.index(index)
    return {"color": COLORS[index % 4], "linestyle": DASHES[index % 4], "linewidth": 1.8}


def sheet(rows: int, columns: int, size: tuple[float, float], **options: Any) -> tuple[Figure, Any]:
    """Return a figure of panels and their axes, shape (rows, columns); `size` in inches of one."""
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(size[0] * columns, size[1] * rows),
        layout="constrained",
        squeeze=False,
        **options,
    )
    return figure, axes


def label(ax: Axes, letter: str, title: str) -> None:
    """Give a panel its letter and its title."""
    ax.set_title(f"({letter}) {title}", fontsize="medium")


def legend(ax: Axes) -> None:
    """Draw the legend of a panel."""
    ax.legend(loc="best", fontsize="small", framealpha=0.9, handlelength=3.2)
