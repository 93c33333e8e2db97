"""Held-out predictions as they come: kept while they are few, summed once they are many."""

from typing import Any

import numpy as np

from keras_focal._temperature import grid_betas
from keras_focal.calibration.given import (
    Declared,
    HeldOut,
    Rows,
    check_predictions,
    count_rounded,
    look_like_probabilities,
    refuse_as_logits,
    rows_by_label,
    warn_of_rounded,
)
from keras_focal.calibration.temperature._bounds import BOUNDS
from keras_focal.calibration.temperature._grid_sums import GridSums
from keras_focal.calibration.temperature._sums import Data

MOST = 2**26
"""Numbers in predictions that are kept: 256 MB in float32. Beyond, their sums are."""


class Gathered:
    """Predictions of one output, gathered part by part."""

    def __init__(
        self,
        from_logits: bool,
        *,
        is_checked: bool = True,
        is_summed: bool = True,
        num_bins: int = 15,
        bounds: tuple[float, float] = BOUNDS,
    ):
        """Begin without any.

        Args:
            from_logits: Whether predictions are logits or probabilities.
            is_checked: Whether to check that they look so.
            is_summed: Whether sums may stand for them: enough for a temperature.
            num_bins: Bins of the calibration error.
            bounds: Least and greatest temperature that is sought.
        """
        self.declared, self.num_bins = Declared(from_logits), num_bins
        self._betas = grid_betas(*bounds)
        self._is_checked, self._is_summed = is_checked, is_summed
        self._kept: list[Rows] = []
        self._num_kept = 0
        self._sums: GridSums | None = None
        self._is_doubtful, self._num_rounded = True, 0
        self.is_binary, self._dtype = False, np.dtype("float32")

    def add(self, rows: Rows) -> None:
        """Add the predictions that count of a part."""
        self._dtype = rows.predictions.dtype
        self.is_binary = rows.predictions.shape[1] == 1
        self._kept.append(rows)
        self._num_kept += rows.predictions.size
        if self._is_summed and self._num_kept > MOST:
            self._sum_up()

    @property
    def is_doubtful(self) -> bool:
        """Whether everything so far looks like probabilities."""
        return self._is_doubtful and all(
            look_like_probabilities(rows.predictions) for rows in self._kept if len(rows.labels)
        )

    def trust(self) -> None:
        """Take what is declared to be logits as such, whatever it looks like."""
        self._is_checked &= not self.declared.from_logits

    def held_out(self, stacklevel: int) -> HeldOut:
        """Return all predictions, which were kept; warnings have a stacklevel."""
        rows = self._taken()
        if self._is_checked:
            check_predictions(rows.predictions, self.declared.from_logits, stacklevel + 1)
        return HeldOut.of_rows(rows, self.declared, stacklevel + 1)

    def data(self, stacklevel: int) -> Data | GridSums:
        """Return what a temperature is fitted to: all predictions, or their sums."""
        if self._sums is None:
            return Data([self.held_out(stacklevel + 1)], self.num_bins)
        self._sum_up()
        if self._is_checked and self._is_doubtful and self.declared.from_logits:
            refuse_as_logits(is_binary=self.is_binary, stacklevel=stacklevel + 1)
        warn_of_rounded(
            self._num_rounded,
            self._sums.num_samples,
            is_binary=self.is_binary,
            dtype=self._dtype,
            stacklevel=stacklevel + 1,
        )
        return self._sums

    def _taken(self) -> Rows:
        rows = Rows(*map(np.concatenate, zip(*self._kept, strict=True)))
        self._kept, self._num_kept = [], 0
        return rows

    def _sum_up(self) -> None:
        """Add what is kept to the sums."""
        if not self._kept:
            return
        rows = self._taken()
        if self.declared.from_logits:
            self._is_doubtful &= look_like_probabilities(rows.predictions)
        else:
            check_predictions(rows.predictions, False)
            self._num_rounded += count_rounded(rows.predictions, rows.labels)
        data = HeldOut.of_rows(rows, self.declared)
        found = GridSums.of(data, self._betas, self.num_bins)
        self._sums = found if self._sums is None else self._sums.plus(found)


def gathered_by_label(
    logits: Any,
    labels: Any,
    sample_weight: Any,
    declared: Declared,
    verbose: int,
    **settings: Any,
) -> list[Gathered]:
    """Return what is gathered of each label, of arrays or batches, which are read once."""
    found: list[Gathered] = []
    for rows in rows_by_label(logits, labels, sample_weight, declared, verbose):
        found = found or [Gathered(declared.from_logits, **settings) for _ in rows]
        for of_label, part in zip(found, rows, strict=True):
            of_label.add(part)
    settle(found)
    return found


def settle(labels: list[Gathered]) -> None:
    """Doubt no label of a model if one is surely logits: its column may well lie in [0, 1]."""
    if not all(of_label.is_doubtful for of_label in labels):
        for of_label in labels:
            of_label.trust()
