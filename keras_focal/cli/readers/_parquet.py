"""Parquet: a column of lists, or a column for each class."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from keras_focal.cli._errors import CommandError, extra
from keras_focal.cli.readers import _rows
from keras_focal.cli.readers._columns import LABELS, PREDICTIONS, Choice, array_name, choose
from keras_focal.cli.readers._families import CONFIDENCE
from keras_focal.cli.readers._rows import Ask, Classes, Rows, Source

_DAMAGED = "the file is truncated, damaged or no .parquet file. Write it again."


def source(path: Path, ask: Ask) -> Source:
    """Return the reader of a file."""
    with _opened(path) as file:
        schema, num_rows = file.schema_arrow, file.metadata.num_rows

    def words_of(label: str) -> set[str]:
        with _opened(path) as file:
            first = next(file.iter_batches(2**14, columns=[label]), None)
        values = _plain(first.column(label)) if first is not None else np.array([])
        return {str(each) for each in values} - {""} if values.dtype.kind == "U" else set()

    choice = _choice(schema, ask, words_of)
    size = max(1, min(2**16, _rows.BLOCK // len(choice.columns)))

    def read() -> Iterator[Rows]:
        start = 0
        with _opened(path) as file:
            for batch in file.iter_batches(size, columns=choice.read):
                done = (start + len(batch)) / max(num_rows, 1)
                top = None if choice.predicted is None else _plain(batch[choice.predicted])
                x = _predictions(batch, choice.columns)
                yield Rows(start, x, _plain(batch[choice.label]), done, predicted=top)
                start += len(batch)

    return Source(
        path, choice.columns, choice.label, choice.classes, read, choice.predicted, choice.ignored
    )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Give an open file. Whatever cannot be read of it is a CommandError.

    Checksums are compared where the file has them: those who write it decide.
    """
    with extra("keras-focal[parquet]"):
        from pyarrow import ArrowException, parquet
    try:
        with parquet.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except (ArrowException, OSError) as error:
        raise CommandError(_DAMAGED) from error


def _choice(schema: Any, ask: Ask, words_of: Any) -> Choice:
    """Return the columns to read: one of lists, or one for each class."""
    lists = [field.name for field in schema if _is_list(field.type)]
    index = [name for name in (schema.pandas_metadata or {}).get("index_columns", []) if name]
    index = [name for name in index if isinstance(name, str)]
    if lists and ask.columns is None and (ask.predictions is None or ask.predictions in lists):
        label = array_name("--labels-key", ask.labels, schema.names, LABELS)
        values = [name for name in lists if name != label]
        chosen = [array_name("--predictions-key", ask.predictions, values, PREDICTIONS)]
        others = tuple(name for name in schema.names if name not in {label, *chosen})
        if ask.predictions is None:
            _check_no_other(chosen[0], schema, ask, words_of, set(index) | set(lists))
        return Choice(label, chosen, Classes(), None, others)
    return choose(schema.names, ask, words_of, index)


def _check_no_other(chosen: str, schema: Any, ask: Ask, words_of: Any, known: set[str]) -> None:
    """Raise if other columns than the column of lists look like predictions too."""
    names = [name for name in schema.names if name not in known]
    try:
        other = choose(names, ask, words_of)
    except CommandError:
        return
    if len(other.columns) > 1 and not {name.lower() for name in other.columns} & CONFIDENCE:
        raise CommandError(
            f"the file has several predictions: {chosen}, and {other.columns[0]} ... "
            f"{other.columns[-1]}. Say which with --predictions-key or --columns."
        )


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _predictions(batch: Any, names: list[str]) -> np.ndarray:
    """Return floats, shape (rows, classes), or (rows, ..., classes) of lists in lists."""
    if len(names) == 1 and _is_list(batch[names[0]].type):
        return _dense(names[0], batch[names[0]])
    columns = [_plain(batch[name]) for name in names]
    wrong = next((n for n, c in zip(names, columns, strict=True) if c.dtype.kind not in "fiub"), "")
    if wrong:
        raise CommandError(f"column {wrong} must hold numbers. Choose others with --columns.")
    return np.stack(columns, axis=1) if columns else np.zeros((len(batch), 0))


def _dense(name: str, column: Any) -> np.ndarray:
    """Return the numbers of lists that are all of one length; a list that is absent is NaN."""
    from pyarrow import compute

    lengths = compute.unique(compute.list_value_length(column).drop_null()).to_pylist()
    if len(lengths) != 1:
        raise CommandError(
            f"{name} must hold lists of one length, one number for each class. Received: lengths "
            f"{', '.join(map(str, sorted(lengths)[:4])) or 'none'}."
        )
    inner = column.drop_null().flatten()
    flat = _dense(name, inner) if _is_list(inner.type) else _plain(inner)
    if flat.dtype.kind not in "fiub":
        raise CommandError(f"{name} must hold numbers. Choose other predictions.")
    found = flat.reshape(len(column) - column.null_count, lengths[0], *flat.shape[1:])
    if column.null_count == 0:
        return found
    whole = np.full((len(column), *found.shape[1:]), np.nan)
    whole[~column.is_null().to_numpy(zero_copy_only=False)] = found
    return whole


def _plain(column: Any) -> np.ndarray:
    """Return numbers, NaN where there is none, or text, "" where there is none."""
    from pyarrow import types

    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if _is_list(column.type):
        return _dense("the labels", column)
    if types.is_string(column.type) or types.is_large_string(column.type):
        return np.array([value or "" for value in column.to_pylist()], dtype=str)
    if types.is_boolean(column.type) or types.is_decimal(column.type):
        column = column.cast("float64")
    values = column.to_numpy(zero_copy_only=False)
    return values.astype("float64") if values.dtype == object else values
