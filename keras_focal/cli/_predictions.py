"""Predictions and labels from a file, some rows at a time: memory does not grow with the file."""

import csv
import itertools
import math
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_focal.cli._errors import CommandError, extra

BLOCK = 2**20
"""Numbers in predictions that are read at once."""

SUFFIXES = (".npz", ".csv", ".parquet")

_PREDICTIONS = ("logits", "probabilities", "probs", "predictions", "y_pred", "scores", "outputs")
_LABELS = ("labels", "label", "y_true", "y", "targets", "target")


class Rows(NamedTuple):
    """Some rows of a file.

    Attributes:
        start: Index of the first.
        predictions: Shape (n, ..., K).
        labels: Shape (n, ...).
        done: Share of the file that is read.
    """

    start: int
    predictions: np.ndarray
    labels: np.ndarray
    done: float


class Source(NamedTuple):
    """A file of predictions.

    Attributes:
        path: Where it is.
        read: Begins anew.
    """

    path: Path
    read: Callable[[], Iterator[Rows]]


def source_of(path: Path, predictions: str | None, labels: str | None) -> Source:
    """Return what reads a file, or raise.

    Args:
        path: .npz, .csv or .parquet.
        predictions: Name of the array or list column; of columns, what their names begin with. By
            default a usual name; of columns, all but the labels.
        labels: Name of the array or column of labels.
    """
    readers = dict(zip(SUFFIXES, (_npz, _csv, _parquet), strict=True))
    return Source(path, readers[path.suffix.lower()](path, predictions, labels))


def array_name(option: str, given: str | None, names: Iterable[str], usual: tuple[str, ...]) -> str:
    """Return the one of the names that was given, or that is a usual one."""
    names = list(names)
    found = [name for name in names if (name == given if given else name.lower() in usual)]
    if len(found) != 1:
        what = f"no {given!r}" if given else f"not one of {', '.join(usual)}"
        raise CommandError(
            f"the file has {what}, but: {', '.join(names) or 'nothing'}. Say which with {option}."
        )
    return found[0]


# --- npz


class _Member(NamedTuple):
    """An array of an archive, as its header tells."""

    name: str
    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype


def _npz(path: Path, predictions: str | None, labels: str | None) -> Callable[[], Iterator[Rows]]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {
                name.removesuffix(".npy"): _member(archive, name)
                for name in archive.namelist()
                if name.endswith(".npy")
            }
    except (zipfile.BadZipFile, EOFError) as error:
        raise CommandError("the file is truncated or no .npz file. Write it again.") from error
    x = members[array_name("--predictions-key", predictions, members, _PREDICTIONS)]
    y = members[array_name("--labels-key", labels, members, _LABELS)]
    _check_numbers(x.name, x.dtype)
    _check_numbers(y.name, y.dtype)
    if len(x.shape) < 2:
        raise CommandError(
            f"{x.name} must have shape (rows, classes). Received: {x.shape}. Of two classes the "
            "probability of the second makes one column, shape (rows, 1)."
        )
    if y.shape[:1] != x.shape[:1]:
        raise CommandError(
            f"{y.name} must have a label for each row of {x.name}. Received: shape {y.shape} for "
            f"predictions of shape {x.shape}."
        )
    size = max(1, BLOCK // max(1, math.prod(x.shape[1:])))

    def read() -> Iterator[Rows]:
        blocks = zip(_blocks(path, x, size), _blocks(path, y, size), strict=True)
        for index, (of_x, of_y) in enumerate(blocks):
            start = index * size
            yield Rows(start, of_x, of_y, (start + len(of_x)) / x.shape[0])

    return read


def _member(archive: zipfile.ZipFile, name: str) -> _Member:
    with archive.open(name) as stream:
        try:
            return _Member(name.removesuffix(".npy"), *_header(stream))
        except ValueError as error:
            raise CommandError(
                f"{name} is no array: {error}. Write it with numpy.savez."
            ) from error


def _header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Return shape, whether columns come first, and dtype; the stream stands at the data then."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    return np.lib.format.read_array_header_2_0(stream)


def _check_numbers(name: str, dtype: np.dtype) -> None:
    if dtype.kind not in "fiub":
        raise CommandError(
            f"{name} must hold numbers. Received: dtype {dtype}. Objects are never unpickled: "
            "write a float or integer array."
        )


def _blocks(path: Path, member: _Member, size: int) -> Iterator[np.ndarray]:
    """Yield rows of an array of an archive."""
    if member.is_fortran:
        with np.load(path, allow_pickle=False) as arrays:
            whole = arrays[member.name]
        yield from (whole[start : start + size] for start in range(0, len(whole), size))
        return
    row_bytes = math.prod(member.shape[1:]) * member.dtype.itemsize
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{member.name}.npy") as stream:
            _header(stream)
            for start in range(0, member.shape[0], size):
                count = min(size, member.shape[0] - start)
                data = stream.read(count * row_bytes)
                if len(data) < count * row_bytes:
                    raise EOFError
                yield np.frombuffer(data, member.dtype).reshape(count, *member.shape[1:])
            stream.read(1)  # the end, where the checksum is compared
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise CommandError(f"{member.name} is truncated or damaged.") from error


# --- csv


def _csv(path: Path, predictions: str | None, labels: str | None) -> Callable[[], Iterator[Rows]]:
    with path.open("rb") as stream:
        first = _text(path, stream.readline())
    delimiter = next((mark for mark in ("\t", ";") if mark in first), ",")
    names = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
    if not names or all(_is_number(name) for name in names):
        raise CommandError(
            f"the file must name its columns in the first line. Received: {first.strip()[:40]!r}."
        )
    label = array_name("--labels-key", labels, names, _LABELS)
    chosen = _columns(names, label, predictions)
    indices = [names.index(label), *(names.index(name) for name in chosen)]
    size = max(1, BLOCK // len(chosen))

    def read() -> Iterator[Rows]:
        total, done, start = path.stat().st_size, 0, 0
        with path.open("rb") as stream:
            done += len(stream.readline())
            while lines := list(itertools.islice(stream, size)):
                done += sum(map(len, lines))
                table = _table(path, start + 2, lines, delimiter, indices)
                yield Rows(start, table[:, 1:], table[:, 0], done / total)
                start += len(table)

    return read


def _columns(names: list[str], label: str, prefix: str | None) -> list[str]:
    """Return the columns of predictions, one for each class."""
    chosen = [name for name in names if name != label and name.startswith(prefix or "")]
    if not chosen:
        raise CommandError(
            f"the file has no columns of predictions that begin with {prefix!r}, but: "
            f"{', '.join(names)}. Say which with --predictions-key."
        )
    return chosen


def _table(
    path: Path, line: int, lines: list[bytes], delimiter: str, indices: list[int]
) -> np.ndarray:
    """Return numbers of lines, float64, shape (lines, columns)."""
    text = [_text(path, each) for each in lines if each.strip()]
    form: dict[str, Any] = {"delimiter": delimiter, "quotechar": '"', "comments": None}
    form |= {"usecols": indices, "ndmin": 2}
    if not text:
        return np.zeros((0, len(indices)))
    try:
        return np.loadtxt(text, **form)
    except ValueError as error:
        for offset, each in enumerate(text):
            try:
                np.loadtxt([each], **form)
            except ValueError:
                raise CommandError(
                    f"line {line + offset} must hold numbers in the columns that are "
                    f"read. Received: {each.strip()[:60]!r}. Choose columns of numbers with "
                    "--predictions-key and --labels-key."
                ) from error
        raise CommandError(f"the file cannot be read: {error}.") from error


def _text(path: Path, line: bytes) -> str:
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CommandError("the file is not text in UTF-8. Write it as .csv again.") from error


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# --- parquet


def _parquet(
    path: Path, predictions: str | None, labels: str | None
) -> Callable[[], Iterator[Rows]]:
    with extra("pyarrow"):
        from pyarrow import ArrowException, parquet, types
    try:
        with parquet.ParquetFile(path) as file:
            schema, num_rows = file.schema_arrow, file.metadata.num_rows
    except (ArrowException, OSError) as error:
        raise CommandError("the file is truncated or no .parquet file. Write it again.") from error
    label = array_name("--labels-key", labels, schema.names, _LABELS)
    lists = [
        field.name
        for field in schema
        if types.is_list(field.type) or types.is_fixed_size_list(field.type)
    ]
    is_list = bool(lists) and (predictions is None or predictions in lists)
    if is_list:
        chosen = [array_name("--predictions-key", predictions, lists, _PREDICTIONS)]
    else:
        chosen = _columns(schema.names, label, predictions)

    def read() -> Iterator[Rows]:
        start = 0
        try:
            with parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(2**14, columns=[*chosen, label]):
                    columns = {name: batch.column(name).to_pylist() for name in (*chosen, label)}
                    x = columns[chosen[0]] if is_list else _across(columns, chosen)
                    yield Rows(
                        start,
                        _numbers(", ".join(chosen[:3]), x),
                        _numbers(label, columns[label]),
                        (start + len(batch)) / max(num_rows, 1),
                    )
                    start += len(batch)
        except (ArrowException, OSError) as error:
            raise CommandError("the file is truncated or damaged. Write it again.") from error

    return read


def _across(columns: dict[str, list[Any]], names: list[str]) -> list[Any]:
    """Return rows of columns."""
    return list(zip(*(columns[name] for name in names), strict=True))


def _numbers(name: str, values: list[Any]) -> np.ndarray:
    try:
        return np.array(values, "float64")
    except (TypeError, ValueError) as error:
        raise CommandError(
            f"{name} must hold numbers, and every row as many. Received: such as "
            f"{str(values[0])[:40]}."
        ) from error
