"""Fitting a temperature on held-out logits: float64 on the host, the same on every backend."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
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

_BLOCK = 2**21
"""Numbers in one block of rows: what a pass holds in memory beside its inputs (16 MB)."""


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
    at_bound = False
    if criterion == "ece":
        temperature = float(GRID[np.argmin(data.ece(GRID, num_bins))])
    else:
        temperature, at_bound = _least_nll(data, low, high)
    if at_bound:
        warnings.warn(_bound_message(temperature, low), stacklevel=2)
    (nll_before, _, _), (nll_after, _, _) = data.nll(1.0), data.nll(1.0 / temperature)
    ece_before, ece_after = data.ece(np.array([1.0, temperature]), num_bins)
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

    def _blocks(self, width: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield (logits minus their maximum, labels, weights) in blocks of rows, float64."""
        rows = max(1, _BLOCK // (self.logits.shape[1] * width))
        for start in range(0, len(self.labels), rows):
            part = slice(start, start + rows)
            logits = self.logits[part].astype("float64")
            yield (
                logits - logits.max(axis=1, keepdims=True),
                self.labels[part],
                self.weights[part],
            )

    def nll(self, beta: float) -> tuple[float, float, float]:
        """Return the mean NLL at temperature 1 / beta and its two derivatives by beta."""
        value = slope = curvature = 0.0
        for below, labels, weights in self._blocks(1):
            e = np.exp(beta * below)
            total = e.sum(axis=1)
            mean = (below * e).sum(axis=1) / total
            square = (below * below * e).sum(axis=1) / total
            true = below[np.arange(len(labels)), labels]
            value += float(weights @ (np.log(total) - beta * true))
            slope += float(weights @ (mean - true))
            curvature += float(weights @ np.maximum(square - mean * mean, 0.0))
        return value, slope, curvature

    def ece(self, temperatures: np.ndarray, num_bins: int) -> np.ndarray:
        """Return the ECE at each temperature, from one pass over the logits."""
        gaps = np.zeros((len(temperatures), num_bins))
        offsets = np.arange(len(temperatures))[:, None] * num_bins
        for below, labels, weights in self._blocks(len(temperatures)):
            exponents = below[None] / temperatures[:, None, None]
            confidence = 1.0 / np.exp(exponents, out=exponents).sum(axis=2)
            correct = below.argmax(axis=1) == labels
            bins = np.clip(np.ceil(confidence * num_bins).astype("int64") - 1, 0, num_bins - 1)
            gaps += np.bincount(
                (bins + offsets).ravel(),
                (weights * (confidence - correct)).ravel(),
                minlength=gaps.size,
            ).reshape(gaps.shape)
        return np.abs(gaps).sum(axis=1)


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


def _least_nll(data: HeldOut, low: float, high: float) -> tuple[float, bool]:
    """Return the temperature in [low, high] of least NLL, and whether it is a bound.

    Newton's method on the slope in beta = 1 / T, which rises, kept inside a shrinking bracket.
    """
    bottom, top = 1.0 / high, 1.0 / low
    if data.nll(bottom)[1] >= 0:
        return high, True
    if data.nll(top)[1] <= 0:
        return low, True
    beta = float(np.clip(1.0, bottom, top))
    for _ in range(200):
        _, slope, curvature = data.nll(beta)
        bottom, top = (beta, top) if slope < 0 else (bottom, beta)
        step = beta - slope / curvature if curvature > 0 else bottom
        following = step if bottom < step < top else float(np.sqrt(bottom * top))
        if abs(following - beta) <= 1e-10 * beta:
            return 1.0 / following, False
        beta = following
    return 1.0 / beta, False


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
