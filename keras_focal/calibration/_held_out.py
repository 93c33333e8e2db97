"""Held-out predictions as sums over samples: of arrays, or of batches that can be read again.

In NumPy, on the host, the same on every backend.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_focal._validation.choices import check_choice
from keras_focal._validation.classes import check_class_id
from keras_focal.calibration._arrays import Rows, flattened, to_numpy
from keras_focal.calibration._batches import is_iterable_of_batches, length, read
from keras_focal.calibration._predictions import (
    check_predictions,
    logits_of,
    look_like_probabilities,
    refuse_as_logits,
    warn_of_rounded,
)

GRID = np.arange(1, 101) / 10
"""The paper's temperatures: 0.1, 0.2, ... 10."""

_BLOCK = 2**18
"""Numbers in one block of rows: 2 MB, which stays near the processor from step to step."""

LOWEST = -1e30
"""A logit of -inf counts as this: its exponential is 0, and times 0 it is not NaN."""

NOTHING_COUNTS = (
    "`sample_weight` must be finite, >= 0, and not all 0. Received: no prediction that counts, by "
    "its weight, mask or `ignore_class`. Calibration needs held-out data."
)

_WORTH_THREADS = 2**22
"""Exponentials in a pass below which handing blocks to threads costs more than it saves."""


@dataclass(frozen=True)
class Reading:
    """What the data say at one temperature.

    Attributes:
        beta: 1 / temperature.
        num_samples: Number of predictions.
        nll: Mean negative log-likelihood.
        slope: Its derivative by beta.
        curvature: Its second derivative, >= 0.
        is_separable: Whether every label has the largest logit of its row, so that NLL falls to 0.
        ece: Expected calibration error; NaN where it was not read.
    """

    beta: float
    num_samples: int
    nll: float
    slope: float
    curvature: float
    is_separable: bool
    ece: float


@dataclass(frozen=True)
class Data:
    """Batches of held-out predictions, which can be read again, and the number of bins.

    All that a fit needs is sums over samples, so nothing of a batch is kept.
    """

    batches: Iterable["HeldOut"]
    num_bins: int

    def summed(self, work: Callable[["HeldOut"], np.ndarray]) -> np.ndarray:
        """Return the sum of work(batch): weight and number of samples first, then means."""
        sums: Any = 0.0
        for batch in self.batches:
            sums = sums + np.append([batch.weights.sum(), len(batch.labels)], work(batch))
        if np.ndim(sums) == 0:
            raise ValueError(
                "`logits` must hold at least one prediction. Received: no batches. Calibration "
                "needs held-out data."
            )
        if sums[0] == 0:
            raise ValueError(NOTHING_COUNTS)
        return np.concatenate([sums[1:2], sums[2:] / sums[0]])

    def at(self, beta: float, *, rough: bool = False) -> Reading:
        """Return what the data say at temperature 1 / beta: one pass over them.

        Args:
            beta: 1 / temperature.
            rough: Whether float32 logits may have the roundings of float32 sums.
        """
        sums = self.summed(lambda batch: batch.sums(beta, self.num_bins, rough=rough))
        size, nll, slope, curvature, not_largest, *gaps = sums.tolist()
        # Where logits say nothing, every label has the largest: then the slope is 0, NLL is not.
        is_separable = not_largest == 0 and (slope < 0 or nll == 0)
        ece = float(np.abs(gaps).sum())
        return Reading(beta, int(size), nll, slope, curvature, is_separable, ece)

    def says_nothing(self) -> bool:
        """Tell whether NLL is least where all probabilities are equal: no step from there helps."""
        at = self.at(0.0)
        return at.slope >= -1e-9 * np.sqrt(at.curvature)

    def grid_errors(self) -> np.ndarray:
        """Return the ECE at every temperature of `GRID`, from one pass."""
        _, *gaps = self.summed(lambda batch: batch.grid_gaps(self.num_bins))
        return np.abs(gaps).reshape(len(GRID), self.num_bins).sum(axis=1)


@dataclass(frozen=True)
class Declared:
    """What a user says of predictions and labels.

    Attributes:
        from_logits: Whether predictions are logits or probabilities.
        ignore_class: None, or the id of labels to leave out.
        multi_label: Whether every column is a label of its own.
    """

    from_logits: bool = True
    ignore_class: int | None = None
    multi_label: bool = False

    @classmethod
    def of(cls, from_logits: Any, ignore_class: Any, multi_label: Any) -> "Declared":
        """Check the arguments."""
        check_choice("from_logits", from_logits, (True, False))
        check_choice("multi_label", multi_label, (True, False))
        ignored = check_class_id("ignore_class", ignore_class)
        return cls(bool(from_logits), ignored, bool(multi_label))

    def rows(self, predictions: Any, labels: Any, sample_weight: Any) -> Rows:
        """Return the predictions that count, as they are, or raise."""
        predictions = to_numpy(predictions)
        if predictions.size == 0:
            raise ValueError(
                f"`logits` must hold at least one prediction. Received: shape {predictions.shape}. "
                "Calibration needs held-out data."
            )
        if predictions.ndim < 2:
            raise ValueError(
                f"`logits` must have shape (..., K). Received: shape {predictions.shape}. For one "
                "logit per sample add an axis: logits[:, None]."
            )
        return flattened(
            predictions,
            labels,
            sample_weight,
            ignore_class=self.ignore_class,
            multi_label=self.multi_label,
        )


def data_of(
    logits: Any,
    labels: Any,
    sample_weight: Any,
    declared: Declared,
    num_bins: int,
    verbose: int,
    stacklevel: int,
) -> "Data":
    """Return the data that a user gave to a fit, as arrays or, without labels, as batches.

    Args:
        logits: Predictions, or batches.
        labels: Labels, or None.
        sample_weight: Weights, or None.
        declared: What they are.
        num_bins: Bins of the calibration error.
        verbose: 1 shows the progress over batches.
        stacklevel: Of warnings: 1 is the caller of this function.
    """
    stacklevel += 1
    if labels is None:
        return Data(GivenBatches(logits, sample_weight, declared, verbose, stacklevel), num_bins)
    rows = declared.rows(logits, labels, sample_weight)
    check_predictions(rows.predictions, declared.from_logits, stacklevel)
    return Data([HeldOut.of_rows(rows, declared, stacklevel)], num_bins)


class GivenBatches:
    """Batches that a user gave, checked as they are read."""

    def __init__(
        self, batches: Any, sample_weight: Any, declared: Declared, verbose: int, stacklevel: int
    ):
        if not is_iterable_of_batches(batches):
            raise ValueError(
                "`labels` must be given with arrays of logits. Received: labels=None. Pass labels, "
                "or a tf.data.Dataset of (logits, labels) as `logits`."
            )
        if isinstance(batches, Iterator):
            raise ValueError(
                "`logits` must be batches that can be read again: a fit passes over them several "
                f"times. Received: {type(batches).__name__}, which can be read once. Pass a "
                "tf.data.Dataset or an object whose __iter__ begins anew."
            )
        if sample_weight is not None:
            raise ValueError(
                "`sample_weight` must be None where `logits` are batches, which carry it. "
                "Received: both. Yield (logits, labels, sample_weight)."
            )
        self.batches, self.declared, self.verbose = batches, declared, verbose
        self.stacklevel, self.is_checked = stacklevel, False

    def __iter__(self) -> Iterator["HeldOut"]:
        progress = keras.utils.Progbar(
            length(self.batches), verbose=self.verbose, unit_name="batch"
        )
        num_classes, count, doubtful = 0, 0, set()
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
            progress.update(count)
            yield HeldOut.of_rows(rows, self.declared)
        # Logits of one batch may look like probabilities, those of all will not.
        if doubtful == {True} and not self.is_checked:
            refuse_as_logits(is_binary=num_classes == 1, stacklevel=self.stacklevel)
        self.is_checked = True
        progress.update(count, finalize=True)


@dataclass
class HeldOut:
    """Held-out logits, shape (N, K >= 2), with labels and weights, shape (N,)."""

    logits: np.ndarray
    labels: np.ndarray
    weights: np.ndarray

    @classmethod
    def from_arrays(cls, logits: Any, labels: Any, sample_weight: Any) -> "HeldOut":
        """Return logits, shape (..., K), with labels and weights, checked."""
        declared = Declared()
        return cls.of_rows(declared.rows(logits, labels, sample_weight), declared)

    @classmethod
    def of_rows(cls, rows: Rows, declared: Declared, stacklevel: int = 0) -> "HeldOut":
        """Return the logits of predictions that count; warns of rounded ones with a stacklevel."""
        given, labels, weights = rows
        is_lowest = np.isneginf(given) if declared.from_logits else np.zeros((), bool)
        fits = (np.isfinite(given) | is_lowest).all(axis=1)
        if is_lowest.any():
            # Probability 0: no temperature gives such a label any.
            index = np.minimum(labels, given.shape[1] - 1)
            fits &= np.isfinite(given[np.arange(len(labels)), index])
            given = np.where(is_lowest, LOWEST, given)
        if not fits.all():
            raise ValueError(
                f"`logits` must be finite. Received: {int((~fits).sum())} of {len(given)} rows "
                "with NaN or infinity; only -inf of a class that is not the label is probability "
                "0. Look at the model or its inputs before calibrating."
            )
        if not declared.from_logits:
            if stacklevel:
                warn_of_rounded(given, labels, stacklevel + 1)
            given = logits_of(given)
        if given.shape[1] == 1:
            given = np.concatenate([np.zeros_like(given), given], axis=-1)
        return cls(given, labels, weights)

    def __post_init__(self) -> None:
        self._largest = self.logits.max(axis=1, keepdims=True).astype("float64")
        true = self.logits[np.arange(len(self.labels)), self.labels]
        # Logit of the label minus the largest.
        self._true = true - self._largest[:, 0]
        self._is_right = self.logits.argmax(axis=1) == self.labels

    @property
    def has_largest(self) -> np.ndarray:
        """Whether the label of each row has its largest logit, maybe with others."""
        return self._true >= 0

    def by_blocks(
        self,
        work: Callable[[np.ndarray, slice], np.ndarray],
        dtype: str = "float64",
        exponentials: int = 1,
    ) -> np.ndarray:
        """Return the sum of work(block, rows) over blocks.

        Args:
            work: Function of a block (rows, K) of logits minus the largest of their row, which it
                may not keep, and of the slice of its rows.
            dtype: Dtype of the block.
            exponentials: How many it takes of each number.
        """
        size = max(1, _BLOCK // self.logits.shape[1])

        def on_block(start: int) -> np.ndarray:
            rows = slice(start, start + size)
            # What is too far below the largest for its dtype is infinitely far below.
            with np.errstate(over="ignore"):
                below = np.subtract(self.logits[rows], self._largest[rows], dtype=dtype)
                return work(below, rows)

        starts = range(0, max(1, len(self.labels)), size)
        if self.logits.size * exponentials < _WORTH_THREADS:
            return np.sum([*map(on_block, starts)], axis=0)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return np.sum([*pool.map(on_block, starts)], axis=0)

    def sums(self, beta: float, num_bins: int, *, rough: bool) -> np.ndarray:
        """Return what `Data.at` adds up: NLL, slope, curvature, weight of labels below the largest,
        and the gap of each bin."""
        dtype = "float32" if rough and self.logits.dtype == "float32" else "float64"
        ones = np.ones(self.logits.shape[1], dtype)

        def work(below: np.ndarray, rows: slice) -> np.ndarray:
            true, weights = self._true[rows], self.weights[rows]
            e = below * beta
            np.exp(e, out=e)
            total, *columns = _likelihood(e, below, ones, beta, true, out=e)
            # An error on the way is nobody's concern.
            gaps = np.nan if rough else self.gaps(total[None], rows, num_bins)
            return np.append(
                [weights @ column for column in (*columns, ~self.has_largest[rows])], gaps
            )

        return self.by_blocks(work, dtype)

    def likelihood_sums(self, betas: np.ndarray, octave: int) -> np.ndarray:
        """Return NLL, slope and curvature at each of `betas`, flat.

        Args:
            betas: 1 / temperatures, each twice the one `octave` places before it.
            octave: How many of them need exponentials: the others are squares.
        """
        ones = np.ones(self.logits.shape[1])

        def work(below: np.ndarray, rows: slice) -> np.ndarray:
            true, weights = self._true[rows], self.weights[rows]
            sums = np.empty((3, len(betas)))
            e, scratch = np.empty_like(below), np.empty_like(below)
            for first in range(octave):
                np.multiply(below, betas[first], out=e)
                np.exp(e, out=e)
                for index in range(first, len(betas), octave):
                    if index > first:
                        np.multiply(e, e, out=e)
                    _, *columns = _likelihood(e, below, ones, betas[index], true, out=scratch)
                    sums[:, index] = [weights @ column for column in columns]
            return sums.reshape(-1)

        return self.by_blocks(work, exponentials=octave)

    def grid_gaps(self, num_bins: int) -> np.ndarray:
        """Return the gap of each bin at each temperature of `GRID`, flat."""
        ones, size = np.ones(self.logits.shape[1]), len(GRID)

        def work(below: np.ndarray, rows: slice) -> np.ndarray:
            totals = np.empty((size, len(below)))
            e = np.empty_like(below)
            for largest in range(size // 2, size):
                index = largest
                np.divide(below, GRID[index], out=e)
                np.exp(e, out=e)
                totals[index] = e @ ones
                # GRID[i] is i + 1 tenths: half that temperature is the square of exp.
                while index % 2:
                    index //= 2
                    np.multiply(e, e, out=e)
                    totals[index] = e @ ones
            return self.gaps(totals, rows, num_bins)

        return self.by_blocks(work, exponentials=size // 2)

    def gaps(self, totals: np.ndarray, rows: slice, num_bins: int) -> np.ndarray:
        """Return the gap of each bin for each row of totals, 1 / confidence, flat."""
        weights, is_right = self.weights[rows], self._is_right[rows]
        gaps = []
        for total in totals:
            confidence = 1.0 / total
            bins = np.clip(np.ceil(confidence * num_bins).astype("int64") - 1, 0, num_bins - 1)
            gaps.append(np.bincount(bins, weights * (confidence - is_right), num_bins))
        return np.concatenate(gaps)


def _likelihood(
    e: np.ndarray,
    below: np.ndarray,
    ones: np.ndarray,
    beta: float,
    true: np.ndarray,
    *,
    out: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return sum of e, NLL, and its first and second derivative by beta, of each row.

    Args:
        e: exp(beta * below), shape (rows, K).
        below: Logits minus the largest of their row.
        ones: K ones. As a product with them, a sum over the classes is several times as fast.
        beta: 1 / temperature.
        true: Logit of the label minus the largest.
        out: Array of the shape of `e` to write to; may be `e`.
    """
    total = e @ ones
    np.multiply(e, below, out=out)
    mean = out @ ones / total
    np.multiply(out, below, out=out)
    variance = np.maximum(out @ ones / total - mean * mean, 0.0)
    return total, np.log(total) - beta * true, mean - true, variance
