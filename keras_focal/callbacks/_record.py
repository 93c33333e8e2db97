"""Files with a row for each epoch, which a resumed run continues."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def read_rows(path: Path, parse: Callable[[str], list[Row]]) -> list[Row]:
    """Return the rows written by an earlier run; none if there is no file.

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
            f"`directory` must hold a record written by this callback, or none. Received: {path}, "
            f"which cannot be read ({type(error).__name__}: {error}). Restore the file, or delete "
            "it to start a new record."
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a file atomically: an interrupted run leaves the old file unchanged."""
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)


def rows_before(rows: list[Row], epoch: int) -> list[Row]:
    """Return the rows of earlier epochs. A run that resumes at `epoch` writes the others again."""
    return [row for row in rows if row["epoch"] < epoch]
