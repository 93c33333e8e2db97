"""Predictions one by one: what they are, which of them are left out, and zeros that were rounded.

An entry is a row of K scores with a class id. A file has one in each row, or several, as pixels.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from keras_focal.cli._errors import CommandError
from keras_focal.cli._labels import NONE, class_ids
from keras_focal.cli.readers import Rows
from keras_focal.cli.readers._rows import Classes

_TOLERANCE, _MOST_TOLERANCE = 0.01, 0.05
"""How far from 1 the probabilities of an entry may sum, and how far if they are rounded."""

_ABOVE = 1e-3
"""How far above 1 a probability may be."""

_LARGEST = 1e30
"""Differences of logits beyond which a probability is 0 at every temperature that is tried."""

_EVIDENT = -30.0
"""Logarithm of the chance that numbers which are not rounded look as if they were."""


class Entries(NamedTuple):
    """Some entries that are read.

    Attributes:
        rows: Index of the row of each, from 0 on, shape (n,).
        values: Logits or probabilities, float, shape (n, K), K >= 2.
        labels: Class ids, int64, shape (n,).
    """

    rows: np.ndarray
    values: np.ndarray
    labels: np.ndarray


@dataclass
class Reading:
    """How a file is read, and what of it was left out.

    Attributes:
        from_logits: Whether the predictions are logits.
        num_classes: K, 2 or more.
        classes: The names of the classes.
        zero: What a probability of 0 counts as; None for the smallest normal float32.
        skip_invalid: Whether entries with NaN or infinity, or without a label, are left out.
        ignore_class: A label whose entries are left out.
        num_invalid: Entries left out as invalid.
        num_ignored: Entries left out by their label.
        num_zero: Entries whose label had the probability 0.
    """

    from_logits: bool
    num_classes: int
    classes: Classes
    zero: float | None
    skip_invalid: bool = False
    ignore_class: int | None = None
    num_invalid: int = field(default=0, init=False)
    num_ignored: int = field(default=0, init=False)
    num_zero: int = field(default=0, init=False)

    def entries(self, source: Iterable[Rows]) -> Iterator[Entries]:
        """Yield the entries of a file, or raise at the first row that cannot be right."""
        self.num_invalid = self.num_ignored = self.num_zero = 0
        for rows in source:
            yield self._entries(rows)

    def _entries(self, rows: Rows) -> Entries:
        values = as_entries(rows.predictions)
        per_row = max(1, len(values) // max(1, len(rows.predictions)))
        labels = class_ids(rows, self.classes, self.num_classes, self.ignore_class)
        is_kept = np.ones(len(labels), bool)
        if self.ignore_class is not None:
            is_kept = ~_is_ignored(rows.labels, labels, self.ignore_class)
            self.num_ignored += int((~is_kept).sum())
        is_finite = np.isfinite(values)
        if self.from_logits:
            is_finite |= np.isneginf(values)
        is_valid = is_finite.all(axis=1) & (labels != NONE) & ~np.isneginf(values).all(axis=1)
        if not (is_valid | ~is_kept).all():
            if not self.skip_invalid:
                at = int((is_valid | ~is_kept).argmin())
                raise CommandError(f"{rows.name(at // per_row)} {_invalid(values[at])}")
            self.num_invalid += int((~is_valid & is_kept).sum())
            is_kept &= is_valid
        kept = np.flatnonzero(is_kept)
        values, labels, index = values[kept], labels[kept], kept // per_row
        if self.from_logits:
            return Entries(rows.start + index, self._logits(values, labels), labels)
        self._check_probabilities(rows, values, index)
        return Entries(rows.start + index, self._probabilities(values, labels), labels)

    def _check_probabilities(self, rows: Rows, values: np.ndarray, index: np.ndarray) -> None:
        is_within = ((values >= 0) & (values <= 1 + _ABOVE)).all(axis=1)
        if not is_within.all():
            at = int(is_within.argmin())
            raise CommandError(
                f"{rows.name(int(index[at]))} holds {_outside(values[at]):.4g}, which is not "
                "a probability. Correct the row; if the file holds logits, pass --from-logits."
            )
        if values.shape[1] == 1:
            return
        sums = values.sum(axis=1)
        rounding = values.shape[1] * (self.zero or 0.0)
        tolerance = min(max(_TOLERANCE, rounding + 1e-6), _MOST_TOLERANCE)
        fits = np.abs(sums - 1) <= tolerance
        if not fits.all():
            at = int(fits.argmin())
            raise CommandError(
                f"{rows.name(int(index[at]))} sums to {sums[at]:.4g}, and probabilities must sum "
                "to 1. Correct the row, or write more decimals; if the outputs are independent "
                "(sigmoids), pass --multi-label; if they are logits, pass --from-logits."
            )

    def _logits(self, values: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return logits, shape (n, K), of which no difference overflows."""
        if values.shape[1] == 1:
            values = np.concatenate([np.zeros_like(values), values], axis=1)
        if not len(values) or np.abs(values).max() < _LARGEST:
            return values
        half = values.astype("float64") / 2
        below = np.maximum(half - half.max(axis=1, keepdims=True), -_LARGEST / 2) * 2
        is_zero = np.isneginf(values[np.arange(len(labels)), labels])
        self.num_zero += int(is_zero.sum())
        return below

    def _probabilities(self, values: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return probabilities, shape (n, K), with zeros replaced by what they count as."""
        if values.shape[1] == 1:
            values = np.concatenate([1.0 - values.astype("float64"), values], axis=1)
            values = np.maximum(values, 0.0)
        is_zero = values == 0
        self.num_zero += int(is_zero[np.arange(len(labels)), labels].sum())
        if self.zero is not None and is_zero.any():
            values = np.where(is_zero, values.dtype.type(self.zero), values)
        # Rounded rows may sum to more or less than a distribution does.
        sums = values.sum(axis=1, keepdims=True)
        return np.where(np.abs(sums - 1) > _TOLERANCE, values / sums, values)


def as_entries(predictions: np.ndarray) -> np.ndarray:
    """Return predictions, shape (n, ..., K), as floats, shape (n * ..., K)."""
    values = predictions.reshape(-1, predictions.shape[-1])
    if values.dtype.kind != "f" or values.dtype.itemsize not in (4, 8):
        return values.astype("float32" if values.dtype.itemsize <= 4 else "float64")
    return values


def is_logits(rows: Rows, declared: bool | None) -> bool:
    """Tell whether predictions are logits, as declared or as their values show, or raise.

    Numbers that all lie in [0, 1] are never taken for logits unless declared to be.

    Args:
        rows: The first rows.
        declared: What the user said; None if nothing.
    """
    values = as_entries(rows.predictions).astype("float64")
    at = np.flatnonzero((np.isfinite(values) | np.isneginf(values)).all(axis=1))
    values = values[at]
    if len(values) == 0:
        return bool(declared)
    is_within = ((values >= 0) & (values <= 1 + _ABOVE)).all(axis=1)
    sums = values.sum(axis=1)
    is_binary = values.shape[1] == 1
    looks = is_within & (is_binary | (np.abs(sums - 1) < _MOST_TOLERANCE))
    if not is_binary and values.min() >= 0 and (np.abs(sums - 100) < 5).all():
        raise CommandError("the predictions look like per cent. Divide them by 100.")
    found = f"from {values.min():.4g} to {values.max():.4g}"
    if declared:
        if looks.all() and not is_binary:
            raise CommandError(
                f"--from-logits was given, but every row, {found}, looks like probabilities. "
                "Pass --probabilities."
            )
        return True
    if declared is None and not is_binary and looks.mean() > 0.5 and not is_within.all():
        first = int(is_within.argmin())
        per_row = max(1, len(as_entries(rows.predictions)) // len(rows.predictions))
        raise CommandError(
            f"{rows.name(int(at[first]) // per_row)} holds {_outside(values[first]):.4g}, and most "
            "rows look like probabilities. Correct the row, or pass --from-logits."
        )
    if declared is False and is_within.mean() < 0.5:
        raise CommandError(
            f"--probabilities was given, but the values range {found}. Pass --from-logits."
        )
    return declared is None and not is_within.all()


def _is_ignored(labels: np.ndarray, ids: np.ndarray, ignore_class: int) -> np.ndarray:
    flat = labels.reshape(-1)
    if len(flat) != len(ids):  # one-hot rows
        return ids == ignore_class
    if flat.dtype.kind in "US":
        return np.char.strip(flat) == str(ignore_class)
    return flat == ignore_class


def _invalid(values: np.ndarray) -> str:
    fix = "Correct it, or leave such rows out with --skip-invalid."
    if np.isfinite(values).all():
        return f"has no label. {fix}"
    if np.isnan(values).any():
        return f"holds NaN or infinity, or an empty cell, among the predictions. {fix}"
    return f"holds NaN or infinity among the predictions. {fix}"


def _outside(values: np.ndarray) -> float:
    return float(values[(values < 0) | (values > 1 + _ABOVE)][0])


def half_step(predictions: np.ndarray) -> float | None:
    """Return what a probability of 0 counts as: half the step that probabilities are rounded to.

    In half precision that is half the smallest number; for decimals, half a unit of the last place.
    None if no rounding can be seen, as in floats that are written in full.
    """
    if predictions.dtype.kind == "f" and predictions.dtype.itemsize == 2:
        return float(np.finfo(predictions.dtype).smallest_subnormal) / 2
    values = predictions.reshape(-1).astype("float64")
    values = np.unique(values[(values > 0) & (values < 1)][: 2**16])
    if len(values) < 2:
        return None
    ulp = np.finfo("float32" if predictions.dtype == np.float32 else "float64").eps / 2
    for digits in range(1, 10):
        scaled = values * 10.0**digits
        allowed = np.minimum(1.01 * ulp * scaled + 1e-9, 0.5)
        # Numbers that are not rounded fit by chance, with a probability of 2 * allowed each.
        is_evident = np.log(2 * allowed).sum() < _EVIDENT
        if is_evident and np.all(np.abs(scaled - np.round(scaled)) <= allowed):
            return 0.5 * 10.0**-digits
    return None
