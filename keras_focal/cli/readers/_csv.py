"""Text with a line of names: .csv and .tsv, plain or in gzip."""

import csv
import gzip
import io
import itertools
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from keras_focal.cli._errors import CommandError
from keras_focal.cli.readers import _rows
from keras_focal.cli.readers._columns import LABELS, choose
from keras_focal.cli.readers._rows import MISSING, Ask, Rows, Source

_MARKS = ("\t", ";", "|", ",")
_LONGEST = 2**24
"""Characters of a cell beyond which a file is refused, as where a quote is never closed."""

_PEEK = 2**14
"""Rows that are searched for labels that are words."""


def _mark(first: str, second: str, ask: Ask) -> str:
    """Return what parts the cells of the first two lines.

    A mark in the name of a class parts the second line into another number of cells, or leaves no
    name of labels.
    """

    def cells(line: str, mark: str) -> list[str]:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=mark), [])]

    def rank(mark: str) -> tuple[bool, bool, int]:
        names = cells(first, mark)
        has_labels = any(name == ask.labels or name.lower() in LABELS for name in names)
        return len(names) == len(cells(second, mark)), has_labels, len(names)

    return max([mark for mark in _MARKS if mark in first] or [","], key=rank)


def source(path: Path, ask: Ask) -> Source:
    """Return the reader of a file."""
    csv.field_size_limit(_LONGEST)
    with _opened(path) as (text, _):
        first = text.readline(_LONGEST + 1)
        if len(first) > _LONGEST:
            raise CommandError(f"the first line, of names, is longer than {_LONGEST} characters.")
        mark = _mark(first, text.readline(_LONGEST), ask)
        names = [name.strip() for name in next(csv.reader([first], delimiter=mark), [])]
    if all(_is_number(name) for name in names):
        raise CommandError(
            "the file must name its columns in the first line, such as prob_0,prob_1,label. "
            f"Received: {first.strip()[:40]!r}."
        )

    def words_of(label: str) -> set[str]:
        at = names.index(label)
        with _opened(path) as (text, _):
            head = itertools.islice(csv.reader(text, delimiter=mark), 1, _PEEK)
            cells = {row[at].strip() for row in head if len(row) > at}
        return {cell for cell in cells if not _is_number(cell) and not _is_missing(cell)} - _BOOLS

    choice = choose(names, ask, words_of)
    position = {name: at for at, name in enumerate(names)}
    columns = [position[name] for name in choice.columns]
    take = itemgetter(*columns, columns[0])  # one more, so that one column gives a tuple too
    label = position[choice.label]
    predicted = position[choice.predicted] if choice.predicted else None
    size = max(1, _rows.BLOCK // len(columns))

    def read() -> Iterator[Rows]:
        start = 0
        with _opened(path) as (text, share):
            rows = _numbered(csv.reader(text, delimiter=mark), len(names))
            next(rows, None)
            while block := list(itertools.islice(rows, size)):
                lines = np.array([line for line, _ in block])
                cells = [row for _, row in block]
                x = _floats([take(row) for row in cells], lines, choice.columns, mark)
                y = np.array([row[label].strip() for row in cells])
                top = None if predicted is None else np.array([row[predicted] for row in cells])
                yield Rows(start, x, y, share(), lines, top)
                start += len(block)

    return Source(
        path, choice.columns, choice.label, choice.classes, read, choice.predicted, choice.ignored
    )


_BOOLS = {"True", "False", "true", "false", "TRUE", "FALSE"}


@contextmanager
def _opened(path: Path) -> Iterator[tuple[io.TextIOWrapper, Any]]:
    """Give the text of a file, and a function that tells which share of it has been read."""
    total = path.stat().st_size
    with path.open("rb") as raw:
        binary = gzip.GzipFile(fileobj=raw) if path.suffix.lower() == ".gz" else raw
        try:
            yield (
                io.TextIOWrapper(binary, "utf-8-sig", newline=""),
                lambda: raw.tell() / total,
            )
        except UnicodeDecodeError as error:
            raise CommandError(
                "the file is not text in UTF-8. Save it as CSV in UTF-8 (Excel: 'CSV UTF-8')."
            ) from error
        except csv.Error as error:
            raise CommandError(
                f"a line cannot be read: {error}. Is a quote never closed?"
            ) from error
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise CommandError("the file is truncated or damaged. Write it again.") from error


def _numbered(reader: Any, width: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not empty, each with the number of its line in the file."""
    try:
        for row in reader:
            if len(row) == width:
                yield reader.line_num, row
            elif any(cell.strip() for cell in row):
                raise CommandError(
                    f"line {reader.line_num} has {len(row)} cells, and the first line {width} "
                    "names. Write the line again, or quote text that holds the separator."
                )
    except csv.Error as error:
        raise CommandError(f"line {reader.line_num} cannot be read: {error}.") from error


def _floats(
    rows: list[tuple[str, ...]], lines: np.ndarray, names: list[str], mark: str
) -> np.ndarray:
    """Return the numbers of cells, shape (rows, len(names)); NaN where a cell is empty or NA."""
    try:
        found = np.array([tuple(map(float, row)) for row in rows])
    except ValueError:
        pairs = zip(rows, lines, strict=True)
        found = np.array([_slowly(row, line, names, mark) for row, line in pairs])
    return found[:, :-1]


def _slowly(row: tuple[str, ...], line: int, names: list[str], mark: str) -> list[float]:
    """Return the numbers of one row, of which some are missing or have a decimal comma."""
    has_commas = mark != "," and not any("." in cell for cell in row)
    found = []
    for cell, name in zip(row, [*names, names[0]], strict=True):
        is_comma = has_commas and re.fullmatch(r"\s*[-+]?\d*,\d+(e[-+]?\d+)?\s*", cell, re.I)
        text = cell.replace(",", ".") if is_comma else cell
        if not (_is_number(text) or _is_missing(text)):
            raise CommandError(
                f"line {line} must hold numbers in the columns that are read. Received: "
                f"{cell.strip()[:40]!r} in {name}. Choose columns of numbers with --columns."
            )
        found.append(float("nan") if _is_missing(text) else float(text))
    return found


def _is_missing(text: str) -> bool:
    return text.strip().lower() in MISSING


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
