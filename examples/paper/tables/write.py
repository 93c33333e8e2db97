"""Tables for the terminal, as Markdown and as JSON."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from io import StringIO

from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from examples.paper.tables.build import Cell, Table

WORDS = ("data set", "network", "loss", "figures of")
NOTE = (
    "Figures of the test set: mean ± standard deviation over seeds. Rows of the paper are its own "
    "figures, for its own network, with temperatures by ECE on the validation set."
)


def text(cell: Cell | None) -> str:
    """Return a cell as it is shown; nothing where there is no figure."""
    if cell is None:
        return ""
    spread = "" if cell.deviation is None else f" ± {cell.deviation:.2f}"
    return f"{cell.mean:.2f}{spread}"


def caption(table: Table) -> str:
    """Return number and title."""
    return f"Table {table.number}: {table.title}" if table.number.isdigit() else table.title


def lines(table: Table) -> list[list[str]]:
    """Return the cells of each row as text."""
    return [
        [row.dataset, row.network, row.loss, row.source, *map(text, row.cells)]
        for row in table.rows
    ]


def terminal(tables: Sequence[Table]) -> str:
    """Return tables drawn in lines."""
    parts = []
    for table in tables:
        grid = drawn((*WORDS, *table.headings), lines(table), caption(table), words=len(WORDS))
        parts.append("\n".join([grid, *(f"Of the paper: {remark}" for remark in table.remarks)]))
    return "\n\n".join([*parts, NOTE]) + "\n"


def drawn(headings: Sequence[str], rows: Sequence[Sequence[str]], title: str, *, words: int) -> str:
    """Return rows drawn in lines; the first `words` columns stand left, figures right."""
    out = Console(file=StringIO(), width=shutil.get_terminal_size((180, 50)).columns)
    grid = RichTable(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False)
    for index, heading in enumerate(headings):
        is_word = index < words
        grid.add_column(heading, justify="left" if is_word else "right", no_wrap=is_word)
    for row in rows:
        grid.add_row(*row)
    out.print(grid)
    return out.file.getvalue().rstrip()


def markdown(tables: Sequence[Table]) -> str:
    """Return tables as Markdown, each under a heading."""
    parts = [
        f"## {caption(table)}\n\n{grid_of(table)}"
        + "".join(f"\nOf the paper: {remark}\n" for remark in table.remarks)
        for table in tables
    ]
    return "\n".join([*parts, f"{NOTE}\n"])


def grid_of(table: Table) -> str:
    """Return the rows of a table as a grid of Markdown."""
    headings = [*WORDS, *table.headings]
    rule = ["---"] * len(WORDS) + ["---:"] * len(table.headings)
    escaped = (
        [cell.replace("|", "\\|") for cell in row] for row in (headings, rule, *lines(table))
    )
    return "".join("| " + " | ".join(row) + " |\n" for row in escaped)


def as_json(tables: Sequence[Table]) -> str:
    """Return tables as JSON by number: title, headings, rows with their cells, remarks."""
    plain = {
        table.number: {**asdict(table), "rows": _rows(table), "remarks": table.remarks}
        for table in tables
    }
    return json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _rows(table: Table) -> list[dict]:
    return [
        {**asdict(row), "cells": [None if cell is None else cell._asdict() for cell in row.cells]}
        for row in table.rows
    ]


WRITERS = {"terminal": terminal, "markdown": markdown, "json": as_json}
ENDINGS = {"terminal": "txt", "markdown": "md", "json": "json"}
