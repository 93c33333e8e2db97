"""Fitting a temperature on held-out logits: float64 on the host, the same on every backend."""

import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from keras import ops

from keras_focal._validation import (
    check_choice,
    check_count,
    check_labels_fit,
    check_temperature_bounds,
)

GRID = np.arange(1, 101) / 10
"""The paper's temperatures: 0.1, 0.2, ... 10."""

_BLOCK = 2**18
"""Numbers in one block of rows: 2 MB, which stays near the processor from step to step."""

_WORTH_THREADS = 2**22
"""Exponentials in a pass below which handing blocks to threads costs more than it saves."""


@dataclass(frozen=True)
class TemperatureFit:
    """A fitted temperature and what it did on the data that it was fitted on.

    Attributes:
        temperature: T, to divide logits by.
        criterion: "nll" or "ece".
        at_bound: Whether T is a bound of the search and the optimum lies beyond it.
        num_samples: Number of predictions.
        nll_before: Mean negative log-likelihood in nats at T = 1.
        nll_after: The same at T.
        ece_before: Expected calibration error, a fraction, at T = 1.
        ece_after: The same at T.
    """

    temperature: float
    criterion: str
    at_bound: bool
    num_samples: int
    nll_before: float
    nll_after: float
    ece_before: float
    ece_after: float


def fit_temperature(
    logits: Any,
    labels: Any,
    criterion: str = "nll",
    *,
    sample_weight: Any = None,
    num_bins: int = 15,
    bounds: tuple[float, float] = (1e-3, 1e3),
) -> TemperatureFit:
    """Return the temperature that calibrates held-out logits best.

    "nll" finds the one temperature of least negative log-likelihood, which is convex in 1 / T, to
    a relative error of 1e-9. "ece" takes the temperature of least expected calibration error from
    the paper's grid 0.1, 0.2, ... 10; the first of equal minima wins.

    Args:
        logits: Array or tensor, shape (..., K), K >= 2, or (..., 1) for the logit of the positive
            class of two. Finite.
        labels: Class ids, shape (...) or (..., 1), or one-hot rows, shape (..., K).
        criterion: "nll" or "ece".
        sample_weight: None, or weights >= 0 of the shape of `labels` as ids.
        num_bins: Bins of the calibration error.
        bounds: Least and greatest temperature of the "nll" search.

    Returns:
        TemperatureFit. Where every prediction is right, NLL falls all the way to T = 0: the
        lower bound is returned with `at_bound=True` and a warning. Where the logits say nothing
        of the labels it falls to T = infinity: the upper bound.

    Raises:
        ValueError: If the data are empty, not finite, or of shapes that do not match, a label is
            not an id in [0, K), or an argument is unknown.

    Example:
        >>> from keras_focal.calibration import fit_temperature
        >>> logits = [[4.0, 0.0]] * 3 + [[0.0, 4.0]]
        >>> fit = fit_temperature(logits, [0, 0, 1, 1])
        >>> round(fit.temperature, 4)
        3.641

    Source:
        Guo et al., 2017, section 4.2; Mukhoti et al., 2020, section 5.1.
    """
    check_choice("criterion", criterion, ("nll", "ece"))
    num_bins = check_count("num_bins", num_bins)
    low, high = check_temperature_bounds(bounds)
    data = HeldOut.from_arrays(logits, labels, sample_weight)
    if criterion == "ece":
        errors = data.ece(data.grid_totals(), num_bins)
        best = int(np.argmin(errors))
        temperature, at_bound = float(GRID[best]), False
        nll_before, nll_after = (data.nll(data.moments(1.0 / t)) for t in (1.0, temperature))
        ece_before, ece_after = errors[np.flatnonzero(GRID == 1.0)[0]], errors[best]
    else:
        before = data.moments(1.0)
        after, at_bound = _least_nll(data, before, 1.0 / high, 1.0 / low)
        temperature = 1.0 / after.beta
        if at_bound:
            temperature = min((low, high), key=lambda bound: abs(bound - temperature))
        nll_before, nll_after = data.nll(before), data.nll(after)
        ece_before, ece_after = data.ece(np.stack([before.total, after.total]), num_bins)
    if at_bound:
        warnings.warn(_bound_message(temperature, low), stacklevel=2)
    return TemperatureFit(
        temperature=temperature,
        criterion=criterion,
        at_bound=at_bound,
        num_samples=len(data.labels),
        nll_before=nll_before,
        nll_after=nll_after,
        ece_before=float(ece_before),
        ece_after=float(ece_after),
    )


@dataclass(frozen=True)
class Moments:
    """What softmax(beta d) says of d, the logits minus the largest of their row; shape (N,).

    Attributes:
        beta: 1 / temperature.
        total: Sum of exp(beta d): 1 / confidence.
        mean: Mean of d, <= 0.
        variance: Variance of d.
    """

    beta: float
    total: np.ndarray
    mean: np.ndarray
    variance: np.ndarray

    def moved(self, step: float) -> "Moments":
        """Return these moments at beta + step: total to step**3, the others as they are."""
        square = self.variance + self.mean**2
        growth = step * self.mean + step**2 / 2 * square
        return Moments(self.beta + step, self.total * (1 + growth), self.mean, self.variance)


@dataclass
class HeldOut:
    """Held-out logits, shape (N, K >= 2), with labels and weights, shape (N,)."""

    logits: np.ndarray
    labels: np.ndarray
    weights: np.ndarray

    @classmethod
    def from_arrays(cls, logits: Any, labels: Any, sample_weight: Any) -> "HeldOut":
        """Check and flatten the arguments of `fit_temperature`."""
        logits, labels = _to_numpy(logits), _to_numpy(labels)
        if logits.size == 0:
            raise ValueError(
                f"`logits` must hold at least one prediction. Received: shape {logits.shape}. "
                "Calibration needs held-out data."
            )
        if logits.ndim < 2:
            raise ValueError(
                f"`logits` must have shape (..., K). Received: shape {logits.shape}. For one logit "
                "per sample add an axis: logits[:, None]."
            )
        check_labels_fit("labels", labels.shape, logits.shape)
        if not np.all(np.isfinite(logits)):
            bad = int(np.sum(~np.isfinite(logits).all(axis=-1)))
            raise ValueError(
                f"`logits` must be finite. Received: {bad} of {logits[..., 0].size} rows with NaN "
                "or infinity. Look at the model or its inputs before calibrating."
            )
        leading_shape, num_classes = logits.shape[:-1], logits.shape[-1]
        is_rows = labels.ndim == logits.ndim and labels.shape[-1] == num_classes > 1
        labels = labels.argmax(-1).reshape(-1) if is_rows else labels.reshape(-1)
        logits = logits.reshape(-1, num_classes)
        if num_classes == 1:
            logits = np.concatenate([np.zeros_like(logits), logits], axis=-1)
        fits = (labels >= 0) & (labels < logits.shape[-1]) & (labels == np.floor(labels))
        if not np.all(fits):
            raise ValueError(
                f"`labels` must be class ids in [0, {logits.shape[-1]}). Received: "
                f"{labels[~fits][0]!s}."
            )
        ids = labels.astype("int64")
        weights = _spread(sample_weight, leading_shape)
        if not (np.all(np.isfinite(weights) & (weights >= 0)) and weights.sum() > 0):
            raise ValueError(
                "`sample_weight` must be finite, >= 0, and not all 0. Received: sum "
                f"{weights.sum()!s}."
            )
        return cls(logits, ids, weights / weights.sum())

    @cached_property
    def _largest(self) -> np.ndarray:
        return self.logits.max(axis=1, keepdims=True).astype("float64")

    @cached_property
    def _true(self) -> np.ndarray:
        """Logit of the label minus the largest."""
        return self.logits[np.arange(len(self.labels)), self.labels] - self._largest[:, 0]

    def _by_blocks(
        self,
        work: Callable[[np.ndarray], np.ndarray],
        dtype: str = "float64",
        exponentials: int = 1,
    ) -> np.ndarray:
        """Return work(logits minus the largest of their row) of all rows, side by side.

        Args:
            work: Function of a block (rows, K), which it may not keep, that returns an array
                (..., rows).
            dtype: Dtype of the block.
            exponentials: How many it takes of each number.
        """
        size = max(1, _BLOCK // self.logits.shape[1])

        def on_block(start: int) -> np.ndarray:
            part = slice(start, start + size)
            # What is too far below the largest for its dtype is infinitely far below.
            with np.errstate(over="ignore"):
                return work(np.subtract(self.logits[part], self._largest[part], dtype=dtype))

        starts = range(0, len(self.labels), size)
        if self.logits.size * exponentials < _WORTH_THREADS:
            return np.concatenate([*map(on_block, starts)], axis=-1)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return np.concatenate([*pool.map(on_block, starts)], axis=-1)

    def moments(self, beta: float, *, rough: bool = False) -> Moments:
        """Return the moments of every row at temperature 1 / beta: one pass over the logits.

        Args:
            beta: 1 / temperature.
            rough: Whether the roundings of float32 logits may be those of float32 sums.
        """
        dtype = "float32" if rough and self.logits.dtype == "float32" else "float64"
        # As a product with ones, a sum over the classes is several times as fast.
        ones = np.ones(self.logits.shape[1], dtype)

        def work(below: np.ndarray) -> np.ndarray:
            e = below * beta
            np.exp(e, out=e)
            total = e @ ones
            np.multiply(e, below, out=e)
            mean = e @ ones / total
            np.multiply(e, below, out=e)
            return np.stack([total, mean, np.maximum(e @ ones / total - mean * mean, 0.0)])

        return Moments(beta, *self._by_blocks(work, dtype))

    def grid_totals(self) -> np.ndarray:
        """Return the sum of exp(d / T) of every row at every T of `GRID`: shape (GRID, N)."""
        ones, size = np.ones(self.logits.shape[1]), len(GRID)

        def work(below: np.ndarray) -> np.ndarray:
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
            return totals

        return self._by_blocks(work, exponentials=size // 2)

    def nll(self, moments: Moments) -> float:
        """Return the mean negative log-likelihood."""
        return float(self.weights @ (np.log(moments.total) - moments.beta * self._true))

    def slope(self, moments: Moments) -> float:
        """Return the derivative of the mean negative log-likelihood by beta."""
        return float(self.weights @ (moments.mean - self._true))

    def is_separable(self, moments: Moments) -> bool:
        """Return whether every label has the largest logit of its row, so that NLL falls to 0."""
        is_right = np.all(self._true[self.weights > 0] == 0)
        return bool(is_right and (self.slope(moments) < 0 or self.nll(moments) == 0))

    def curvature(self, moments: Moments) -> float:
        """Return its second derivative, >= 0."""
        return float(self.weights @ moments.variance)

    def ece(self, totals: np.ndarray, num_bins: int) -> np.ndarray:
        """Return the ECE of each row of `totals`, shape (temperatures, N)."""
        is_right = self.logits.argmax(axis=1) == self.labels
        errors = []
        for total in totals:
            confidence = 1.0 / total
            bins = np.clip(np.ceil(confidence * num_bins).astype("int64") - 1, 0, num_bins - 1)
            gaps = np.bincount(bins, self.weights * (confidence - is_right), num_bins)
            errors.append(np.abs(gaps).sum())
        return np.array(errors)


def _spread(sample_weight: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return weights for predictions of a shape, flat: ones, or given ones of (B,) or all axes."""
    if sample_weight is None:
        return np.ones(int(np.prod(shape)))
    weights = _to_numpy(sample_weight).astype("float64")
    if weights.shape == (*shape, 1):
        weights = weights[..., 0]
    if weights.shape != shape[: weights.ndim] or weights.ndim == 0:
        raise ValueError(
            f"`sample_weight` must have shape {shape} or {shape[:1]}. Received: shape "
            f"{weights.shape}. Give one weight for each prediction or each sample."
        )
    weights = weights.reshape(weights.shape + (1,) * (len(shape) - weights.ndim))
    return np.broadcast_to(weights, shape).reshape(-1)


def _least_nll(data: HeldOut, start: Moments, bottom: float, top: float) -> tuple[Moments, bool]:
    """Return the moments at the beta in [bottom, top] of least NLL, and whether it is a bound.

    Newton's method on log beta, held to a factor of 10 a step and to a bracket that shrinks. NLL
    is convex in beta.
    """
    if data.is_separable(start):
        return data.moments(top), True
    at, bounds = start, (bottom, top)
    for _ in range(200):
        slope, curvature = data.slope(at), data.curvature(at)
        is_beyond = slope > 0 or (slope == 0 and curvature == 0)
        if at.beta == bounds[not is_beyond]:
            return at, True
        bottom, top = (bottom, at.beta) if is_beyond else (at.beta, top)
        limit = -np.log(10.0) if is_beyond else np.log(10.0)
        is_flat = abs(slope) >= abs(limit) * at.beta * curvature
        step = limit if is_flat else -slope / (at.beta * curvature)
        if abs(step) <= 2e-5:
            # The error of a step is about its square: no pass is needed to see it.
            return at.moved(float(at.beta * np.expm1(step))), False
        beta = at.beta * np.exp(step)
        if not bottom < beta < top:
            is_bound = (bottom if is_beyond else top) in bounds
            beta = (bottom if is_beyond else top) if is_bound else np.sqrt(bottom * top)
        # After a small step comes the last one, about its square.
        at = data.moments(float(beta), rough=abs(step) > 0.01)
    return at, False


def _bound_message(temperature: float, low: float) -> str:
    if temperature == low:
        return (
            f"The temperature lies at its lower bound {temperature:g}: every held-out prediction "
            "is right (the data are separable), so no temperature above 0 is best. Use more "
            'held-out data, or criterion="ece".'
        )
    return (
        f"The temperature lies at its upper bound {temperature:g}: the logits say nothing of the "
        "labels. Check that labels and logits are in the same order."
    )


def _to_numpy(x: Any) -> np.ndarray:
    """Return a NumPy array of a list or of any framework's tensor; half precision as float32."""
    array = np.asarray(x if isinstance(x, list | tuple | np.ndarray) else ops.convert_to_numpy(x))
    is_half = array.dtype.itemsize == 2 and array.dtype.kind not in "iu"
    return array.astype("float32") if is_half else array
