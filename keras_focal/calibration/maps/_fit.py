"""Fitting any calibration map, measured on data that the fit has not seen."""

import warnings
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_focal._validation.choices import check_choice
from keras_focal._validation.numbers import check_count
from keras_focal.calibration.given import (
    LOWEST,
    NOTHING_COUNTS,
    Declared,
    HeldOut,
    check_predictions,
)
from keras_focal.calibration.maps._choose import Limits, MapScores, SkippedMap, chosen_map
from keras_focal.calibration.maps._figures import Scored, figures
from keras_focal.calibration.maps._registry import METHODS
from keras_focal.calibration.maps._sample import Options, Sample
from keras_focal.functional import Interval
from keras_focal.functional.calibration._bootstrap import check_draws


class MapIntervals(NamedTuple):
    """Bootstrap intervals of a map's figures: dicts of "ece", "nll", "brier" and "error".

    Attributes:
        before: `functional.Interval` of each figure without the map.
        after: The same with it.
        change: The same of after - before, from the same draws. Below 0, the map improves it.
    """

    before: dict[str, Interval]
    after: dict[str, Interval]
    change: dict[str, Interval]


class _Sampled(NamedTuple):
    """What intervals are drawn from."""

    weights: np.ndarray
    num_bins: int
    before: Scored
    after: Scored


@dataclass(frozen=True)
class MapFit:
    """A fitted calibration map and its scores on data that it was not fitted to.

    `fit.intervals().change["nll"]` says by how much the map changes the NLL, and how surely.

    Attributes:
        layer: The map as a Keras layer, which gives logits.
        method: Name of the method. For "auto", of the one that was chosen.
        num_parameters: Number of parameters of the map.
        iterations: Iterations of the solver. 0 for temperatures and tables.
        converged: Whether the solver reached the optimum: a gradient of norm 1e-8.
        at_bound: Whether a parameter is at a bound of its search (that of the temperature, 0 of a
            parameter of beta calibration or of a weight of the mixture), or the likelihood has no
            maximum: a class has no label, or a vector map makes every prediction right.
        diagonal: Strength of that regularisation. None for other maps.
        off_diagonal: Likewise.
        bias: Likewise.
        num_samples: Number of predictions.
        folds: Number of folds behind the scores. 0 if they are of the data of the fit, on which a
            map looks better than it is.
        nll_before: Mean negative log-likelihood in nats without the map.
        nll_after: The same of held-out predictions of the map.
        ece_before: Expected calibration error, a fraction, without the map.
        ece_after: The same of held-out predictions of the map.
        ada_ece_before: Adaptive expected calibration error without the map.
        ada_ece_after: The same of held-out predictions of the map.
        brier_before: Brier score, 0 to 2, without the map.
        brier_after: The same of held-out predictions of the map.
        error_before: Share of the predictions whose top class is not the label, without the map.
        error_after: The same of held-out predictions of the map.
        comparison: `MapScores` of each method that was tried, lowest NLL first.
        skipped: `SkippedMap`, a name and a reason, of each method that "auto" did not try.
        reason: Why the map has no best parameters, in words. Empty otherwise.
    """

    layer: keras.layers.Layer
    method: str
    num_parameters: int
    iterations: int
    converged: bool
    at_bound: bool
    diagonal: float | None
    off_diagonal: float | None
    bias: float | None
    num_samples: int
    folds: int
    nll_before: float
    nll_after: float
    ece_before: float
    ece_after: float
    ada_ece_before: float
    ada_ece_after: float
    brier_before: float
    brier_after: float
    error_before: float
    error_after: float
    comparison: tuple[MapScores, ...]
    skipped: tuple[SkippedMap, ...]
    reason: str = ""
    _sampled: _Sampled | None = field(default=None, repr=False, compare=False)

    def intervals(
        self, *, level: float = 0.95, num_draws: int = 1000, seed: int = 0
    ) -> MapIntervals:
        """Return bootstrap intervals of the figures before and after, and of their change.

        Predictions are drawn again with replacement, the same ones before and after
        (`functional.bootstrap_intervals`). The map stays as it was fitted: figures "after" are of
        held-out predictions, or with `folds=0` of the data of the fit.

        Args:
            level: Share of samples whose interval holds the true value, in (0, 1).
            num_draws: Number of draws, >= 1.
            seed: Seed of the draws.

        Returns:
            MapIntervals.

        Raises:
            ValueError: If `level` is not in (0, 1), or `num_draws` is not a whole number >= 1.
        """
        num_draws = check_draws(level, num_draws)
        assert self._sampled is not None
        before, after = (
            scored.resampled(self._sampled.weights, self._sampled.num_bins, num_draws, seed)
            for scored in (self._sampled.before, self._sampled.after)
        )
        return MapIntervals(
            before.intervals(level=level),
            after.intervals(level=level),
            after.intervals(before, level=level),
        )


def fit_map(
    logits: Any,
    labels: Any,
    method: str = "vector",
    *,
    from_logits: bool = True,
    sample_weight: Any = None,
    ignore_class: int | None = None,
    folds: int = 5,
    seed: int = 0,
    num_bins: int = 15,
    diagonal: float | None = None,
    off_diagonal: float | None = None,
    bias: float | None = None,
    smoothing: bool = True,
    map_bins: int = 30,
    binning: str = "balanced",
    max_seconds: float | None = None,
    keep_top_class: bool = False,
    verbose: int = 0,
) -> MapFit:
    """Fit a calibration map to held-out logits, and measure it by cross-validation.

    The map is fitted to all the data. The scores "after" are of predictions for each fold by a map
    that was fitted to the other folds. Every class is spread evenly over the folds.
    All methods but "temperature", "focal_temperature", "venn_abers" and "cross_venn_abers" need
    SciPy and scikit-learn: `pip install "keras-focal[maps]"`.

    Args:
        logits: Array or tensor, shape (..., K), K >= 2, or (..., 1) for the logit of the positive
            class. All must be finite. With `from_logits=False`, probabilities.
        labels: Class ids, shape (...) or (..., 1), or one-hot rows, shape (..., K). For independent
            labels see `multi_label` of `fit_temperature`, or fit the columns one by one.
        method: "temperature", "focal_temperature", "structured_vector", "structured_matrix",
            "vector", "matrix", "dirichlet", "platt", "quadratic", "beta", "ensemble_temperature",
            "histogram", "isotonic", "venn_abers" or "cross_venn_abers". "auto" tries them, the
            cheapest first, and takes the one whose gain in held-out NLL over the temperature, less
            two standard errors of the gain, is the largest, or else the temperature. It tries
            "quadratic" for two classes only, "venn_abers" from 100 labels for each class on, and
            "cross_venn_abers" never.
        from_logits: Whether `logits` are logits or probabilities. The layer takes the same. A
            warning gives the number of probabilities that were rounded to 0 or 1.
        sample_weight: None, or weights >= 0 of the shape of the class ids. A whole number counts as
            repetition (but for "cross_venn_abers", whose folds hold rows). Predictions of weight 0
            are dropped before any check. The prediction that Venn-Abers adds has the weight 1.
        ignore_class: None, or a class id whose predictions are dropped, such as 255.
        folds: Number of folds, >= 2, also of "cross_venn_abers". 0 measures the map on the data of
            the fit, and "cross_venn_abers" then has 5.
        seed: Seed of the random assignment to folds.
        num_bins: Number of bins of the calibration errors.
        diagonal: Linear maps: strength, >= 0, of the penalty on the mean square of the distance
            between the diagonal entries of W and those of the temperature. None is K^2 / n for n
            samples, which is K / n for each square.
        off_diagonal: Matrix, Dirichlet and structured matrix: strength, >= 0, of the penalty on the
            mean square of the off-diagonal entries, in units of 1 / T. None is (K (K - 1))^2 / n
            for "structured_matrix"; the others choose it from 10,000, 1000, ... 0.01 by held-out
            NLL.
        bias: Linear maps: strength, >= 0, of the penalty on the mean square of b. None is K^2 / n;
            "matrix" and "dirichlet" choose it before `off_diagonal`, from the same strengths.
        smoothing: Platt, quadratic, beta, histogram and isotonic: whether to fit to Platt's
            targets, (n+ + 1) / (n+ + 2) and 1 / (n- + 2), instead of 1 and 0. They keep
            probabilities away from 0 and 1.
        map_bins: Number of bins of histogram binning.
        binning: Bins of histogram binning: "equal_width", that is [0, 1 / M], (1 / M, 2 / M], ...,
            or "balanced", with equal shares of a total in which a class weighs as much as all
            other classes together.
        max_seconds: None, or the number of seconds after which "auto" starts no further method. The
            temperature is always fitted.
        keep_top_class: Whether "auto" is restricted to maps that never change the top class.
        verbose: 1 shows a progress bar over methods.

    Returns:
        MapFit. `keras.Sequential([model, fit.layer, keras.layers.Softmax()])` is the calibrated
        model. Scores by which a strength or a method was chosen are slightly optimistic. The layer
        of Venn-Abers also gives the multi-probability [p0, p1], with `fit.layer.interval(logits)`.

    Raises:
        ValueError: If the data are empty, not finite or of one class only, shapes do not match, a
            label is not a class id in [0, K), `from_logits` does not describe the data, an argument
            is unknown, or the table of a Venn-Abers map would have more than 2**22 steps.
        ImportError: If the method needs SciPy and scikit-learn and one is missing.

    Example:
        >>> import numpy as np
        >>> from keras_focal.calibration import fit_map
        >>> rng = np.random.default_rng(0)
        >>> logits = rng.normal(0, 1, (500, 3))
        >>> labels = (logits + rng.gumbel(0, 1, logits.shape)).argmax(axis=1)
        >>> fit = fit_map(3 * logits + [1.0, 0.0, 0.0], labels, "vector")
        >>> fit.num_parameters, fit.nll_after < fit.nll_before
        (6, True)

    Source:
        Guo et al., 2017; Kull et al., 2017 and 2019; Platt, 1999; Zadrozny and Elkan, 2001 and
        2002; Vovk, Petej and Fedorova, 2015; Zhang et al., 2020; Berta, Holzmüller, Jordan and
        Bach, 2026.
    """
    check_choice("method", method, (*METHODS, "auto"))
    limits = Limits.of(method, max_seconds, keep_top_class)
    options = Options.of(diagonal, off_diagonal, bias, smoothing, map_bins, binning)
    num_bins = check_count("num_bins", num_bins)
    declared = Declared.of(from_logits, ignore_class, False)
    rows = declared.rows(logits, labels, sample_weight)
    check_predictions(rows.predictions, declared.from_logits)
    data = HeldOut.of_rows(rows, declared, stacklevel=2)
    sample = sample_of(data, rows.predictions.shape[1] == 1, folds, seed)
    inputs = "logits" if declared.from_logits else "probabilities"
    fit = map_fitted(sample, method, options, folds, num_bins, inputs, limits, verbose)
    if fit.reason:
        warnings.warn(fit.reason, stacklevel=2)
    return fit


def sample_of(data: HeldOut, is_binary: bool, folds: int = 5, seed: int = 0) -> Sample:
    """Return held-out data with folds drawn, or raise."""
    if not len(data.labels):
        raise ValueError(NOTHING_COUNTS)
    present = np.unique(data.labels)
    if len(present) < 2:
        raise ValueError(
            f"`labels` must hold two classes or more. Received: {present.tolist()} alone. A map "
            "that always says this class would look perfect: use held-out data of every class."
        )
    if np.any(data.logits <= LOWEST):
        raise ValueError(
            "`logits` must be finite for a map. Received: -inf, a class of probability 0. "
            "fit_temperature takes it."
        )
    if folds != 0 and not (isinstance(folds, int) and 2 <= folds <= len(data.labels)):
        raise ValueError(
            f"`folds` must be 0 or from 2 to the number of predictions, {len(data.labels)}. "
            f"Received: folds={folds!r}. 5 is usual; 0 measures on the data of the fit."
        )
    return Sample(
        data.logits if data.logits.dtype == "float32" else data.logits.astype("float64"),
        data.labels,
        data.weights,
        _folds(data.labels, folds or min(5, len(data.labels)), seed),
        is_binary,
    )


def _folds(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Return the fold of each row: rows in random order, dealt out class by class."""
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    assigned = np.empty(len(labels), "int64")
    assigned[order] = np.arange(len(labels)) % folds
    return assigned


def map_fitted(
    sample: Sample,
    method: str,
    options: Options,
    folds: int,
    num_bins: int,
    inputs: str,
    limits: Limits | None = None,
    verbose: int = 0,
) -> MapFit:
    """Return the map of a method, or of "auto" the best, whose layer takes `inputs`."""
    best, comparison, skipped = chosen_map(
        sample, method, options, folds, num_bins, limits, verbose
    )
    found, fitted, after = best.method, best.fitted, best.figures
    scored = Scored.of(sample.given, sample.labels)
    before = figures(scored, sample.weights, num_bins)
    return MapFit(
        layer=found.layer(*fitted.arguments, inputs=inputs, name="calibration"),
        method=found.name,
        num_parameters=fitted.num_parameters,
        iterations=fitted.iterations,
        converged=fitted.converged,
        at_bound=fitted.at_bound,
        diagonal=fitted.options.diagonal if found.has_strengths else None,
        off_diagonal=fitted.options.off_diagonal if found.has_strengths else None,
        bias=fitted.options.bias if found.has_strengths else None,
        num_samples=len(sample.labels),
        folds=folds,
        **{f"{figure}_before": value for figure, value in before._asdict().items()},
        **{f"{figure}_after": value for figure, value in after._asdict().items()},
        comparison=comparison,
        skipped=skipped,
        reason=fitted.reason and f"The {found.name} map has no best parameters: {fitted.reason}",
        _sampled=_Sampled(sample.weights, num_bins, scored, best.scored),
    )
