"""Held-out predictions from what a user gave: arrays, or batches that can be read again."""

from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np

from keras_focal.calibration.given._arrays import Rows
from keras_focal.calibration.given._batches import is_iterable_of_batches, length, read
from keras_focal.calibration.given._declared import Declared
from keras_focal.calibration.given._held_out import HeldOut
from keras_focal.calibration.given._predictions import (
    check_predictions,
    count_rounded,
    look_like_probabilities,
    refuse_as_logits,
    warn_of_rounded,
)


def held_out_of(
    logits: Any,
    labels: Any,
    sample_weight: Any,
    declared: Declared,
    verbose: int,
    stacklevel: int,
) -> Iterable[HeldOut]:
    """Return what a user gave to a fit, as arrays or, without labels, as batches.

    Args:
        logits: Predictions, or batches.
        labels: Labels, or None.
        sample_weight: Weights, or None.
        declared: What they are.
        verbose: 1 shows the progress over batches.
        stacklevel: Of warnings: 1 is the caller of this function.
    """
    stacklevel += 1
    if labels is None:
        _check_batches(logits, sample_weight)
        if isinstance(logits, Iterator):
            raise ValueError(
                "`logits` must be batches that can be read again: a fit passes over them several "
                f"times. Received: {type(logits).__name__}, which can be read once. Pass a "
                "tf.data.Dataset or an object whose __iter__ begins anew."
            )
        return _GivenBatches(logits, declared, verbose, stacklevel)
    rows = declared.rows(logits, labels, sample_weight)
    check_predictions(rows.predictions, declared.from_logits, stacklevel)
    return [HeldOut.of_rows(rows, declared, stacklevel)]


def rows_by_label(
    logits: Any, labels: Any, sample_weight: Any, declared: Declared, verbose: int
) -> Iterator[list[Rows]]:
    """Yield the rows of each label, from arrays or, without labels, from each batch."""
    if labels is None:
        _check_batches(logits, sample_weight)
    given = [(logits, labels, sample_weight)] if labels is not None else logits
    batches = read(given, "logits", "labels")
    progress = keras.utils.Progbar(length(given), verbose=verbose, unit_name="batch")
    count = 0
    for count, (predictions, of_batch, *weights) in enumerate(batches, 1):
        weight = weights[0] if weights else None
        yield declared.parts(predictions, of_batch, weight)
        progress.update(count)
    progress.update(count, finalize=True)


def _check_batches(batches: Any, sample_weight: Any) -> None:
    if not is_iterable_of_batches(batches):
        raise ValueError(
            "`labels` must be given with arrays of logits. Received: labels=None. Pass labels, "
            "or a tf.data.Dataset of (logits, labels) as `logits`."
        )
    if sample_weight is not None:
        raise ValueError(
            "`sample_weight` must be None where `logits` are batches, which carry it. "
            "Received: both. Yield (logits, labels, sample_weight)."
        )


class _GivenBatches:
    """Batches that a user gave, checked as they are read."""

    def __init__(self, batches: Any, declared: Declared, verbose: int, stacklevel: int):
        self.batches, self.declared, self.verbose = batches, declared, verbose
        self.stacklevel, self.is_checked = stacklevel, False

    def __iter__(self) -> Iterator[HeldOut]:
        progress = keras.utils.Progbar(
            length(self.batches), verbose=self.verbose, unit_name="batch"
        )
        num_classes, count, doubtful, rounded, total = 0, 0, set(), 0, 0
        dtype = np.dtype("float32")
        for count, batch in enumerate(read(self.batches, "logits", "labels"), 1):
            logits, labels, *weights = batch
            rows = self.declared.rows(logits, labels, weights[0] if weights else None)
            width = rows.predictions.shape[1]
            if width != (num_classes or width):
                raise ValueError(
                    f"`logits` must have the same classes in every batch. Received: {width} after "
                    f"{num_classes}. Fit each output alone."
                )
            num_classes = width
            if not self.is_checked and len(rows.labels):
                if self.declared.from_logits:
                    doubtful.add(look_like_probabilities(rows.predictions))
                else:
                    check_predictions(rows.predictions, False)
                    dtype = rows.predictions.dtype
                    rounded += count_rounded(rows.predictions, rows.labels)
                    total += len(rows.labels)
            progress.update(count)
            yield HeldOut.of_rows(rows, self.declared)
        # Logits of one batch may look like probabilities, those of all will not.
        if doubtful == {True} and not self.is_checked:
            refuse_as_logits(is_binary=num_classes == 1, stacklevel=self.stacklevel)
        if not self.is_checked:
            is_binary = num_classes == 1
            warn_of_rounded(
                rounded, total, is_binary=is_binary, dtype=dtype, stacklevel=self.stacklevel
            )
        self.is_checked = True
        progress.update(count, finalize=True)
