"""Titles that fit their axes: long ones are broken into lines."""

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LETTERS_PER_INCH = 11
"""Letters per inch of axes at which a title is broken into lines."""


def set_title(ax: "Axes", name: str | None, *values: str) -> None:
    """Give the axes the title "name: value, value", or the part of it that is given.

    Where that is too long for one line, the values stand below the name.
    """
    text = ": ".join(part for part in (name, ", ".join(values)) if part)
    inches = ax.get_window_extent().width / ax.figure.dpi
    letters = max(8, int(_LETTERS_PER_INCH * inches))
    if len(text) > letters:
        together = len(", ".join(values)) <= letters
        below = [", ".join(values)] if together else values
        text = "\n".join(filter(None, [*wrapped(name or "", letters), *below]))
    ax.set_title(text)


def wrapped(text: str, letters: int) -> list[str]:
    """Return the lines of a text, broken between words."""
    return textwrap.wrap(text, letters, break_on_hyphens=False)
