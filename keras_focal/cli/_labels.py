"""Class ids of labels as files have them: numbers, numbers as text, words, one-hot rows."""

import numpy as np

from keras_focal.cli._errors import CommandError, near
from keras_focal.cli.readers._rows import MISSING, Classes, Rows

NONE = -1
"""The id of a label that is missing or ignored."""

_BOOLS = {"true": "1", "false": "0"}


def class_ids(
    rows: Rows, classes: Classes, num_classes: int, ignore_class: int | None = None
) -> np.ndarray:
    """Return the class id of each prediction, int64, shape (n * ...,); `NONE` where it has none.

    Args:
        rows: Labels of shape (n, ...), (n, ..., 1), or one-hot rows (n, ..., K).
        classes: The classes of the columns.
        num_classes: Their number, 2 or more.
        ignore_class: A label that counts as missing.
    """
    labels, shape = rows.labels, rows.predictions.shape
    per_row = int(np.prod(shape[1:-1]))
    if labels.shape == shape and shape[-1] > 1:
        return _of_one_hot(rows, per_row)
    values, at, inverse = np.unique(labels.reshape(-1), return_index=True, return_inverse=True)
    ids = np.empty(len(values), "int64")
    for index, value in enumerate(values):
        text = text_of(value)
        if text.lower() in MISSING or text == str(ignore_class):
            ids[index] = NONE
            continue
        found = _id(text, classes, num_classes)
        if found is None:
            where = rows.name(int(at[index]) // per_row)
            raise CommandError(f"{where}: {_why(text, classes, num_classes)}")
        ids[index] = found
    return ids[inverse.reshape(-1)]


def same(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Tell whether each label equals its predicted class: 1, 0, or `NONE` if one is missing."""
    (a, at), (b, bt) = (np.unique(x.reshape(-1), return_inverse=True) for x in (labels, predicted))
    known: dict[str, int] = {}
    ids = [
        np.array([known.setdefault(text_of(value), len(known)) for value in values], "int64")[
            inverse
        ]
        for values, inverse in ((a, at), (b, bt))
    ]
    missing = [code for text, code in known.items() if text.lower() in MISSING]
    is_missing = np.isin(ids[0], missing) | np.isin(ids[1], missing)
    return np.where(is_missing, NONE, ids[0] == ids[1]).astype("int64")


def text_of(value: object) -> str:
    """Return a label as text: whole numbers without a point, booleans as 1 or 0."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    text = _BOOLS.get(text.strip().lower(), text.strip())
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() else text


def _id(text: str, classes: Classes, num_classes: int) -> int | None:
    names = classes.names
    if names and text in names:
        return names.index(text)
    if names and not classes.is_ordered:
        return None
    is_id = text.isdecimal() and int(text) < num_classes
    return int(text) if is_id else None


def _why(text: str, classes: Classes, num_classes: int) -> str:
    names = classes.names
    if names and not classes.is_ordered:
        shown = ", ".join(names if len(names) < 9 else [*names[:3], "...", names[-1]])
        return (
            f"`labels` must name the classes of the columns: {shown}. Received: {text!r}."
            f"{near(text, names)} Give the columns in the order of the class ids with --columns, "
            "or write the names as labels."
        )
    hint = (
        ""
        if _is_number(text)
        else (
            f"{near(text, names or [])} Words are matched with the names of columns, such as "
            f"prob_{text}; or write ids."
        )
    )
    return f"`labels` must be class ids in [0, {num_classes}). Received: {text}.{hint}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _of_one_hot(rows: Rows, per_row: int) -> np.ndarray:
    labels = rows.labels.reshape(-1, rows.labels.shape[-1])
    if labels.dtype.kind not in "fiub":
        raise CommandError("`labels` must be class ids or one-hot rows of numbers.")
    is_missing = np.isnan(labels.astype("float64")).any(axis=1)
    is_one = (labels == 1).sum(axis=1) == 1
    fits = is_missing | (is_one & ((labels == 0) | (labels == 1)).all(axis=1))
    if not fits.all():
        at = int(fits.argmin())
        raise CommandError(
            f"{rows.name(at // per_row)}: `labels` must be one-hot rows, one 1 and zeros. "
            f"Received: {np.array2string(labels[at], threshold=8)}. Several labels or soft labels "
            "in a row are read with --multi-label, if the outputs are independent."
        )
    return np.where(is_missing, NONE, labels.argmax(axis=1)).astype("int64")
