"""Archives of NumPy arrays, .npz: rows are read when needed, and headers are not trusted."""

import math
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_focal.cli._errors import CommandError
from keras_focal.cli.readers import _rows
from keras_focal.cli.readers._columns import LABELS, PREDICTIONS, array_name
from keras_focal.cli.readers._families import CONFIDENCE, PREDICTED
from keras_focal.cli.readers._rows import MOST_CLASSES, MOST_IN_ROW, Ask, Classes, Rows, Source

_CLASSES = ("classes", "class_names", "label_names")
_MOST_WHOLE = 2**31
"""Most bytes of an array that has to be read whole, which is one in Fortran order."""


class Member(NamedTuple):
    """An array of an archive, as its header describes it."""

    name: str
    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype


def source(path: Path, ask: Ask) -> Source:
    """Return the reader of a file."""
    members = members_of(path)
    y = members[array_name("--labels-key", ask.labels, members, LABELS)]
    top = None if ask.predictions else _top_label(members)
    name = top[0] if top else array_name("--predictions-key", ask.predictions, members, PREDICTIONS)
    x = members[name]
    check_array(x.name, x.shape, x.dtype, is_confidence=top is not None)
    check_labels(y.name, y.shape, y.dtype, x.name, x.shape)
    read_arrays = [x, y, *([members[top[1]]] if top else [])]
    size = max(1, _rows.BLOCK // max(1, math.prod(x.shape[1:])))

    def read() -> Iterator[Rows]:
        blocks = zip(*(_blocks(path, each, size) for each in read_arrays), strict=True)
        for index, (of_x, of_y, *predicted) in enumerate(blocks):
            start = index * size
            done = (start + len(of_x)) / x.shape[0]
            values = of_x[:, None] if top else of_x
            yield Rows(start, values, of_y, done, predicted=predicted[0] if top else None)

    classes = _classes(path, members, 0 if top else x.shape[-1])
    known = {each.name for each in read_arrays} | (set(_CLASSES) if classes.names else set())
    ignored = tuple(name for name in members if name not in known)
    return Source(path, [x.name], y.name, classes, read, top[1] if top else None, ignored)


def members_of(path: Path) -> dict[str, Member]:
    """Return the arrays of an archive by their names."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {
                name.removesuffix(".npy"): _member(archive, name)
                for name in archive.namelist()
                if name.endswith(".npy")
            }
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise CommandError("the file is truncated or no .npz file. Write it again.") from error


def array_of(path: Path, member: Member) -> np.ndarray:
    """Return an array of an archive, whole."""
    size = max(1, _rows.BLOCK // max(1, math.prod(member.shape[1:])))
    parts = [np.zeros((0, *member.shape[1:]), member.dtype), *_blocks(path, member, size)]
    return np.concatenate(parts)


def check_array(
    name: str, shape: tuple[int, ...], dtype: np.dtype, *, is_confidence: bool = False
) -> None:
    """Raise unless an array of predictions can be read."""
    check_numbers(name, dtype)
    if len(shape) < 2 and not is_confidence:
        raise CommandError(
            f"{name} must have shape (rows, classes). Received: {shape}. Of two classes the "
            "probability of the second makes one column, shape (rows, 1)."
        )
    if math.prod(shape[1:]) > MOST_IN_ROW or (shape[-1] > MOST_CLASSES and len(shape) > 1):
        raise CommandError(
            f"{name} must have at most {MOST_CLASSES} classes and {MOST_IN_ROW} numbers in a row. "
            f"Received: shape {shape}. Check that the last axis holds the classes."
        )


def check_labels(
    name: str, shape: tuple[int, ...], dtype: np.dtype, of: str, predictions: tuple[int, ...]
) -> None:
    """Raise unless an array of labels fits one of predictions."""
    if dtype.kind not in "US":
        check_numbers(name, dtype)
    if shape[:1] != predictions[:1]:
        raise CommandError(
            f"{name} must have a label for each row of {of}. Received: shape {shape} for "
            f"predictions of shape {predictions}."
        )
    entries = predictions[:-1] if len(predictions) > 1 else predictions
    if shape not in (entries, (*entries, 1), predictions):
        raise CommandError(
            f"`labels` must have shape {entries}, one class id for each prediction, or "
            f"{predictions}, one-hot rows. Received: {name} of shape {shape}."
        )


def check_numbers(name: str, dtype: np.dtype) -> None:
    """Raise unless a dtype is of numbers."""
    if dtype.kind not in "fiub":
        raise CommandError(
            f"{name} must hold numbers. Received: dtype {dtype}. Objects are never unpickled: "
            "write a float or integer array."
        )


def _top_label(members: dict[str, Member]) -> tuple[str, str] | None:
    """Return the arrays of confidences and of predicted classes, if the file has these."""
    flat = {name for name, member in members.items() if len(member.shape) == 1}
    confidence = [name for name in flat if name.lower() in CONFIDENCE]
    predicted = [name for name in flat if name.lower() in PREDICTED]
    usual = [name for name in members if name.lower() in PREDICTIONS and name not in flat]
    if len(confidence) == len(predicted) == 1 and not usual:
        return confidence[0], predicted[0]
    return None


def _classes(path: Path, members: dict[str, Member], num_classes: int) -> Classes:
    """Return the names of the classes, if an array holds as many."""
    for name in _CLASSES:
        member = members.get(name)
        if member and member.dtype.kind in "US" and member.shape == (num_classes,):
            (names,) = _blocks(path, member, max(1, num_classes))
            return Classes([str(each) for each in names.astype(str)])
    return Classes()


def _member(archive: zipfile.ZipFile, name: str) -> Member:
    with archive.open(name) as stream:
        try:
            member = Member(name.removesuffix(".npy"), *_header(stream))
        except ValueError as error:
            raise CommandError(
                f"{name} is no array: {error}. Write it with numpy.savez."
            ) from error
    size = math.prod(member.shape) * member.dtype.itemsize
    if not member.dtype.hasobject and archive.getinfo(name).file_size < size:
        raise CommandError(f"{name} is truncated or damaged: its header names {size} bytes.")
    return member


def _header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Return shape, whether the order is Fortran's, and dtype; leave the stream at the data."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    return np.lib.format.read_array_header_2_0(stream)


def _blocks(path: Path, member: Member, size: int) -> Iterator[np.ndarray]:
    """Yield rows of an array of an archive."""
    row_bytes = math.prod(member.shape[1:]) * member.dtype.itemsize
    is_whole = member.is_fortran and len(member.shape) > 1
    if is_whole and row_bytes * member.shape[0] > _MOST_WHOLE:
        raise CommandError(
            f"{member.name} is stored by columns and too large to be read whole. Write "
            "numpy.ascontiguousarray of it."
        )
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{member.name}.npy") as stream:
            _header(stream)
            if is_whole:
                data = _read(stream, member.shape[0] * row_bytes)
                whole = np.frombuffer(data, member.dtype).reshape(member.shape, order="F")
                yield from (whole[at : at + size] for at in range(0, len(whole), size))
            else:
                for start in range(0, member.shape[0], size):
                    count = min(size, member.shape[0] - start)
                    data = _read(stream, count * row_bytes)
                    yield np.frombuffer(data, member.dtype).reshape(count, *member.shape[1:])
            stream.read(1)  # the end, where the checksum is compared
    except (zipfile.BadZipFile, EOFError, OSError, zlib.error) as error:
        raise CommandError(f"{member.name} is truncated or damaged.") from error


def _read(stream: Any, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data
