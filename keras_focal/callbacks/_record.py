"""Files that hold a row of every epoch, so that a run which resumes goes on where it stood."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def read_rows(path: Path, parse: Callable[[str], list[Row]]) -> list[Row]:
    """Return the rows that an earlier run wrote, none if there is no file.

    Raises:
        ValueError: If the file cannot be read as rows, each with an epoch.
    """
    if not path.exists():
        return []
    try:
        rows = parse(path.read_text())
        return sorted(rows, key=lambda row: int(row["epoch"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"`directory` must hold a record that this callback wrote, or none. Received: {path}, "
            f"which cannot be read ({type(error).__name__}: {error}). Restore the file, or delete "
            "it to begin a new record."
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all: an interrupted run leaves it as it was."""
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)


def rows_before(rows: list[Row], epoch: int) -> list[Row]:
    """Return the rows of the epochs before one: a run that resumes there writes the others anew."""
    return [row for row in rows if row["epoch"] < epoch]
