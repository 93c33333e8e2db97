"""How far ECE, NLL, Brier score and error would move with another sample (docs/maths.md, C16).

Computed on the host: figures for reports, not for a train step.
"""

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_focal._validation.numbers import check_count, check_open_interval
from keras_focal._validation.shapes import check_same_shape
from keras_focal.functional._backend.precision import Tensor
from keras_focal.functional._inputs.entries import Entries, read_entries
from keras_focal.functional.calibration._bins import equal_width_bins
from keras_focal.functional.calibration._errors import counted_top
from keras_focal.functional.calibration._scores import brier_score, negative_log_likelihood

MEASURES = ("ece", "nll", "brier", "error")

_SCORES = 4
"""Columns of sums in front of those of the bins."""

_ROWS = 2048
"""Samples that are drawn at once: with 1000 draws these are 8 MB."""

_POISSON = np.searchsorted(
    np.cumsum(np.exp(-1.0) / np.cumprod([1.0, *range(1, 12)])),
    (np.arange(2**16) + 0.5) / 2**16,
    side="right",
).astype("float32")
"""Quantiles of the Poisson distribution of mean 1: how often a draw takes a sample."""


class Interval(NamedTuple):
    """An estimate with the interval that its sampling error leaves.

    Attributes:
        estimate: The value for the sample at hand.
        low: Lower end of the interval.
        high: Upper end.

    Example:
        >>> from keras_focal import functional
        >>> found = functional.bootstrap_intervals([0, 1, 1], [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
        >>> found["ece"].low <= found["ece"].estimate <= found["ece"].high
        True
    """

    estimate: float
    low: float
    high: float


class Resampled(NamedTuple):
    """Sums over a sample and over draws from it; those of two samples add up.

    Attributes:
        sums: Weight, NLL, Brier score, error, and weight (confidence - correctness) in each bin of
            equal width; float64, shape (1 + draws, 4 + bins). The first row is the sample itself.
    """

    sums: np.ndarray

    @classmethod
    def nothing(cls, num_bins: int, num_draws: int) -> "Resampled":
        """Return the sums over no samples."""
        return cls(np.zeros((1 + num_draws, _SCORES + num_bins)))

    def plus(self, other: "Resampled") -> "Resampled":
        """Return the sums of both."""
        return Resampled(self.sums + other.sums)

    def measures(self) -> np.ndarray:
        """Return each of `MEASURES`, shape (4, 1 + draws); NaN without any weight."""
        weight, *scores = self.sums[:, :_SCORES].T
        weight = np.where(weight > 0, weight, np.nan)
        return np.stack([np.abs(self.sums[:, _SCORES:]).sum(axis=1), *scores]) / weight

    def intervals(
        self, baseline: "Resampled | None" = None, *, level: float = 0.95
    ) -> dict[str, Interval]:
        """Return the interval of each of `MEASURES`, or of its difference from a baseline.

        The baseline must be drawn with a generator of the same seed from the same samples.
        """
        found = self.measures() if baseline is None else self.measures() - baseline.measures()
        tails = np.array([(1.0 + level) / 2.0, (1.0 - level) / 2.0])
        result = {}
        for name, (estimate, *draws) in zip(MEASURES, found, strict=True):
            known = np.array(draws)[~np.isnan(draws)]
            ends = 2.0 * estimate - np.quantile(known, tails) if known.size else [np.nan] * 2
            if baseline is None:
                ends = np.maximum(ends, 0.0)
            result[name] = Interval(*map(float, (estimate, *ends)))
        return result


def resample(
    values: np.ndarray, units: np.ndarray, generator: np.random.Generator, num_draws: int
) -> Resampled:
    """Return sums over samples and over draws from them.

    Args:
        values: What each entry adds to `Resampled.sums`, as `summands` gives it.
        units: The sample of each entry, shape (n,), in order: its entries are drawn together.
        generator: Source of the draws. Samples may come in parts, in the same order.
        num_draws: Number of draws.
    """
    starts = np.flatnonzero(np.diff(units, prepend=-1))
    samples = np.add.reduceat(values, starts, axis=0) if len(starts) else values
    sums = np.zeros((num_draws, values.shape[1]))
    for start in range(0, len(samples), _ROWS):
        part = samples[start : start + _ROWS]
        # Of an even width, for a generator keeps half of an odd number's last 32 bits.
        shape = (len(part), num_draws + num_draws % 2)
        times = _POISSON[generator.integers(0, 2**16, shape, dtype="uint16")]
        sums += times[:, :num_draws].T @ part.astype("float32")
    return Resampled(np.concatenate([samples.sum(axis=0)[None], sums]))


def summands(
    weights: np.ndarray | float,
    nll: np.ndarray | float,
    brier: np.ndarray | float,
    wrong: np.ndarray,
    gap: np.ndarray,
    index: np.ndarray,
    num_bins: int,
) -> np.ndarray:
    """Return what each entry adds to `Resampled.sums`, float64, shape (n, 4 + num_bins).

    Args:
        weights: Weight of each entry; one of weight 0 may hold anything.
        nll: Its NLL.
        brier: Its Brier score.
        wrong: 1 where its top class is not the label, else 0.
        gap: Its confidence - correctness.
        index: Bin of its confidence.
        num_bins: Number of bins.
    """
    values = np.zeros((len(wrong), _SCORES + num_bins))
    values[:, 0], values[:, 1], values[:, 2], values[:, 3] = 1.0, nll, brier, wrong
    values[np.arange(len(wrong)), _SCORES + index] = gap
    weights = np.broadcast_to(weights, len(wrong))[:, None]
    return np.where(weights == 0, 0.0, values * weights)


def measured_values(
    labels: Tensor,
    predictions: Tensor,
    *,
    num_bins: int,
    from_logits: bool,
    sample_weight: Any = None,
) -> np.ndarray:
    """Return what each prediction adds to `Resampled.sums`."""
    entries = read_entries(labels, predictions, sample_weight, from_logits=from_logits)
    if 0 in entries.predictions.shape:
        return np.zeros((0, _SCORES + num_bins))
    top, weights, invalid = counted_top(entries, from_logits)
    bins = equal_width_bins(top.confidence, num_bins)
    scores = _scores(entries, from_logits)
    parts = (weights + invalid, *scores, top.wrong, top.wrong - top.complement, bins)
    weights, nll, brier, wrong, gap, index = (
        ops.convert_to_numpy(part).reshape(-1) for part in parts
    )
    return summands(weights, nll, brier, wrong, gap, index, num_bins)


def _scores(entries: Entries, from_logits: bool) -> tuple[Tensor, Tensor]:
    return tuple(
        score(entries.labels, entries.predictions, from_logits=from_logits)
        for score in (negative_log_likelihood, brier_score)
    )


def check_draws(level: Any, num_draws: Any) -> int:
    """Check what intervals are of, and return the number of draws."""
    check_open_interval("level", level, 0.0, 1.0, "it is a share of samples")
    return check_count("num_draws", num_draws)


def bootstrap_intervals(
    labels: Tensor,
    predictions: Tensor,
    baseline: Tensor | None = None,
    *,
    num_bins: int = 15,
    from_logits: bool = False,
    sample_weight: Tensor | None = None,
    level: float = 0.95,
    num_draws: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return bootstrap intervals of ECE, NLL, Brier score and error, or of their change.

    Samples are drawn again with replacement, and an interval reaches from 2 t - q_high to
    2 t - q_low: t is the estimate, q are quantiles of the draws (the basic bootstrap). Reflected
    like this, the interval also allows for what chance adds to an ECE, which it adds to the ECE of
    a draw once more. A difference of two models is drawn from the same samples for both, so that
    what is hard for both cancels. It runs on the host, in parts of fixed memory.

    Args:
        labels: Class ids, shape (N, ...) or (N, ..., 1), or rows, shape (N, ..., K).
        predictions: Probabilities or logits, shape (N, ..., K). The predictions of a sample, such
            as the pixels of an image, are drawn together.
        baseline: None, or the predictions of another model for the same labels. The result is then
            that of `predictions` minus that of `baseline`.
        num_bins: Number of bins of equal width of the ECE, >= 1.
        from_logits: Whether predictions are logits.
        sample_weight: None, or weights of the predictions or of whole samples.
        level: Share of samples whose interval holds the true value, in (0, 1).
        num_draws: Number of draws, >= 1.
        seed: Seed of the draws.

    Returns:
        Dict of "ece", "nll", "brier" and "error" (the share of wrong top classes) to `Interval`s;
        NaN without predictions. The ends of a figure, not of a difference, are >= 0.

    Raises:
        ValueError: As `bin_statistics`; also if `level` is not in (0, 1), `num_draws` is not a
            whole number >= 1, or the shapes of `predictions` and `baseline` differ.

    Example:
        >>> import numpy as np
        >>> from keras_focal import functional
        >>> labels = np.arange(200) % 5 == 0
        >>> p = np.full((200, 1), 0.3, "float32")
        >>> ece = functional.bootstrap_intervals(labels, p)["ece"]
        >>> round(ece.estimate, 3), ece.low < 0.1 < ece.high
        (0.1, True)
        >>> change = functional.bootstrap_intervals(labels, p, baseline=p)["ece"]
        >>> change.estimate, change.low, change.high
        (0.0, 0.0, 0.0)

    Source:
        Efron and Tibshirani, 1993, An Introduction to the Bootstrap, chapters 8 and 13. Each sample
        is taken as often as a Poisson variable of mean 1 says, which needs no second pass:
        Chamandy et al., 2012, Estimating Uncertainty for Massive Data Streams.
    """
    num_bins, num_draws = check_count("num_bins", num_bins), check_draws(level, num_draws)
    given = [predictions] if baseline is None else [predictions, baseline]
    shapes = [tuple(np.shape(each)) for each in given]
    check_same_shape("baseline", shapes[-1], shapes[0], "Give predictions for the same labels.")
    how: dict[str, Any] = {"from_logits": from_logits, "sample_weight": sample_weight}
    drawn = []
    for each in given:
        values = measured_values(labels, each, num_bins=num_bins, **how)
        per_sample = max(1, len(values) // max(1, shapes[0][0]))
        units = np.arange(len(values)) // per_sample
        drawn.append(resample(values, units, np.random.default_rng(seed), num_draws))
    return drawn[0].intervals(*drawn[1:], level=level)
