"""Tables and JSON on the terminal."""

import json
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from keras_focal.cli._errors import extra

if TYPE_CHECKING:
    from rich.console import Console


SCHEMA_VERSION = 2
"""Of what is printed as JSON: that of schema.json."""

NOTHING = "–"
"""What stands for a figure that there is none of."""


def console(*, stderr: bool = False) -> "Console":
    """Return what prints to the terminal."""
    with extra():
        from rich.console import Console
    return Console(file=sys.stderr if stderr else sys.stdout, highlight=False)


def print_table(headings: Sequence[str], rows: Sequence[Sequence[Any]], *, words: int = 1) -> None:
    """Print rows of cells, text or what rich draws.

    The first `words` columns stand left, figures right. On a narrow terminal the last column of
    words is broken into lines.
    """
    out = console()
    with extra():
        from rich import box
        from rich.table import Table
        from rich.text import Text
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for index, heading in enumerate(headings):
        justify: Literal["left", "right"] = "left" if index < words else "right"
        table.add_column(Text(heading), justify=justify, no_wrap=index != words - 1)
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    out.print(table)
    out.print()


def print_json(values: dict[str, Any]) -> None:
    """Print values as JSON: arrays as lists, floats to 8 digits, null for what is not finite."""
    print(json.dumps(_plain({"schema_version": SCHEMA_VERSION, **values}), allow_nan=False))


def shown(text: str) -> str:
    """Return text with what a terminal would obey, such as escape codes, written out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def counted(number: int, thing: str) -> str:
    """Return a number of things, such as "1 row" or "2,000 rows"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def figure(value: float, digits: int = 6) -> str:
    """Return a number of so many significant digits."""
    return f"{value:.{digits}g}"


def share(value: float) -> str:
    """Return a fraction in per cent, or a dash for NaN: there is none."""
    return NOTHING if math.isnan(value) else f"{100 * value:.2f} %"


def percent(confidence: float, digits: int) -> str:
    """Return a confidence in per cent, rounded down: one below 1 is not shown as 100 %."""
    return f"{math.floor(confidence * 100 * 10**digits) / 10**digits:.{digits}f} %"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.8g}") if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
