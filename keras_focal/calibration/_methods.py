"""How each calibration map is fitted: float64 on the host, the same on every backend."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from keras_focal import layers
from keras_focal.calibration._figures import probabilities
from keras_focal.calibration._fit import BOUNDS, TemperatureFit, fitted
from keras_focal.calibration._focal import GAMMA_BOUNDS, focal_fitted, focal_temperature_map
from keras_focal.calibration._held_out import Data, HeldOut
from keras_focal.calibration._solvers import Softmax, libraries, logistic, mixture

STRENGTHS = (1e4, 1e3, 1e2, 10.0, 1.0, 0.1, 0.01)
"""Strengths of regularisation that are tried, from one that leaves the temperature alone."""

_ROUGH = 1e-4
"""Tolerance of the fits of folds: their NLL is then right to 1e-8."""


_TINY = 2.0**-126
"""A probability of 0 counts as this, as in the layers."""


@dataclass(frozen=True)
class Options:
    """Arguments of `fit_map` that belong to single methods."""

    off_diagonal: float | None = None
    bias: float | None = None
    smoothing: bool = True
    map_bins: int = 30
    binning: str = "balanced"


@dataclass(frozen=True)
class Sample:
    """Held-out logits, shape (N, K >= 2), float64, labels, weights, and folds, shape (N,).

    Binary data have one logit: here the logits are 0 and that one.
    """

    logits: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    folds: np.ndarray
    is_binary: bool

    def part(self, rows: np.ndarray) -> "Sample":
        return Sample(
            self.logits[rows],
            self.labels[rows],
            self.weights[rows],
            self.folds[rows],
            self.is_binary,
        )

    def splits(self) -> list[np.ndarray]:
        """Return which rows each fold holds out."""
        return [self.folds == fold for fold in range(self.folds.max() + 1)]


@dataclass(frozen=True)
class Fitted:
    """A fitted map.

    Attributes:
        apply: The map on (N, K >= 2) logits in float64.
        layer: Makes the Keras layer, given `inputs`.
        num_parameters: Free numbers.
        iterations: Of the solver; 0 for what has a closed form.
        converged: Whether the optimum was reached.
        at_bound: Whether a parameter lies at a bound of its search or the optimum at infinity.
        reason: Why the map has no best parameters, in words; empty where it has.
        options: The options with what was chosen in place of None.
        guess: Where a fit of nearly the same data begins.
        held_out: Logits of each row by the fit without its fold, where choosing made them.
    """

    apply: Callable[[np.ndarray], np.ndarray]
    layer: Callable[..., Any]
    num_parameters: int
    iterations: int = 0
    converged: bool = True
    at_bound: bool = False
    reason: str = ""
    options: Options = field(default_factory=Options)
    guess: Any = None
    held_out: np.ndarray | None = None


Method = Callable[[Sample, Options, Any], Fitted]


def held_out(method: Method, sample: Sample, options: Options, guess: Any) -> np.ndarray:
    """Return the logits of each row by the map fitted without the fold that holds it."""
    logits = np.empty_like(sample.logits)
    for rows in sample.splits():
        logits[rows] = method(sample.part(~rows), options, guess).apply(sample.logits[rows])
    return logits


def _data(sample: Sample) -> Data:
    return Data([HeldOut(sample.logits, sample.labels, sample.weights)], 15)


def _temperature(sample: Sample) -> TemperatureFit:
    return fitted(_data(sample), "nll", BOUNDS)


def fit_by_temperature(sample: Sample, options: Options, guess: Any = None) -> Fitted:
    fit = _temperature(sample)
    return Fitted(
        apply=lambda logits: logits / fit.temperature,
        layer=partial(layers.TemperatureScaling, fit.temperature),
        num_parameters=1,
        at_bound=fit.at_bound,
        reason=fit.reason,
        options=options,
    )


def fit_by_focal_temperature(sample: Sample, options: Options, guess: Any = None) -> Fitted:
    fit = focal_fitted(_data(sample), BOUNDS, GAMMA_BOUNDS)
    temperature, gamma = fit.temperature, fit.gamma
    return Fitted(
        apply=lambda logits: focal_temperature_map(logits, temperature, gamma),
        layer=partial(layers.FocalPosterior, gamma, temperature),
        num_parameters=2,
        converged=fit.converged,
        at_bound=fit.at_bound,
        reason=fit.reason,
        options=options,
    )


def fit_ensemble(sample: Sample, options: Options, guess: Any = None) -> Fitted:
    plain = _temperature(sample)
    temperature = plain.temperature

    def parts(logits: np.ndarray) -> np.ndarray:
        hot, plain = probabilities(logits / temperature), probabilities(logits)
        return np.stack([hot, plain, np.full_like(plain, 1 / logits.shape[1])], axis=-1)

    rows = np.arange(len(sample.labels))
    likelihoods = np.maximum(parts(sample.logits)[rows, sample.labels], 1e-300)
    found = mixture(likelihoods, sample.weights)

    def apply(logits: np.ndarray) -> np.ndarray:
        return np.log(np.maximum(parts(logits) @ found.parameters, 1e-300))

    shares = found.parameters.tolist()
    return Fitted(
        apply=apply,
        layer=partial(layers.EnsembleTemperatureScaling, temperature, shares),
        num_parameters=3,
        iterations=found.iterations,
        converged=found.converged,
        at_bound=plain.at_bound or min(shares) == 0,
        options=options,
    )


WEAKLY_HELD = "They are held by a weak penalty: use more held-out data."

RIGHT = f"it makes every held-out prediction right (the data are separable). {WEAKLY_HELD}"


def _absent_classes(sample: Sample) -> str:
    """Return that classes have no label, or nothing."""
    absent = np.setdiff1d(np.arange(sample.logits.shape[1]), sample.labels).tolist()
    if not absent:
        return ""
    listed = ", ".join(map(str, absent[:5])) + (", ..." if absent[5:] else "")
    return f"no label is of class {listed}. {WEAKLY_HELD}"


def _separated_classes(sample: Sample, log_odds: np.ndarray, classes: range) -> str:
    """Return that a threshold on its log-odds separates a class from the rest, or nothing."""
    for k in classes:
        own, rest = log_odds[sample.labels == k, k], log_odds[sample.labels != k, k]
        if own.min() > rest.max() or own.max() < rest.min():
            return f"the log-odds of class {k} separate it from the others. {WEAKLY_HELD}"
    return ""


# --- linear maps


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    below = logits - logits.max(axis=1, keepdims=True)
    return below - np.log(np.exp(below).sum(axis=1, keepdims=True))


def fit_vector(sample: Sample, options: Options, guess: Any = None) -> Fitted:
    if sample.is_binary:
        return _fit_binary_linear(sample, options, layers.VectorScaling, rank=1)
    return _fit_linear(sample, options, guess, layers.VectorScaling, is_diagonal=True)


def fit_matrix(sample: Sample, options: Options, guess: Any = None) -> Fitted:
    if sample.is_binary:
        return _fit_binary_linear(sample, options, layers.MatrixScaling, rank=2)
    return _with_strengths(
        partial(_fit_linear, kind=layers.MatrixScaling, is_diagonal=False), sample, options, guess
    )


def fit_dirichlet(sample: Sample, options: Options, guess: Any = None) -> Fitted:
    if sample.is_binary:
        raise ValueError(
            "`method` must be another one for one logit of two classes. Received: "
            "method='dirichlet'. Use 'beta', the same map."
        )
    fit = partial(
        _fit_linear, kind=layers.DirichletCalibration, is_diagonal=False, features=_log_softmax
    )
    return _with_strengths(fit, sample, options, guess)


def _fit_linear(
    sample: Sample,
    options: Options,
    guess: Any,
    kind: Any,
    is_diagonal: bool,
    features: Callable[[np.ndarray], np.ndarray] = lambda logits: logits,
    tolerance: float | None = None,
) -> Fitted:
    """Fit W in units of 1 / T: the start is the temperature, and strengths fit any logits."""
    plain = _temperature(sample)
    temperature = plain.temperature
    if plain.at_bound:
        centred = sample.logits - sample.logits.mean(axis=1, keepdims=True)
        temperature = float(np.sqrt(np.mean(centred**2))) or 1.0
    problem = Softmax(
        features(sample.logits) / temperature,
        sample.labels,
        sample.weights,
        is_diagonal=is_diagonal,
        off_diagonal=0.0 if is_diagonal else options.off_diagonal or 0.0,
        bias=0.0 if is_diagonal else options.bias or 0.0,
    )
    rough = {"tolerance": tolerance or _ROUGH} if guess is not None else {}
    found = problem.solve(guess, **rough)
    matrix, bias = problem.split(found.parameters)
    matrix = matrix / temperature

    def apply(logits: np.ndarray) -> np.ndarray:
        inputs = features(logits)
        return (inputs * matrix if is_diagonal else inputs @ matrix.T) + bias

    is_right = apply(sample.logits).argmax(axis=1) == sample.labels
    reason = "" if options.bias and not is_diagonal else _absent_classes(sample)
    if is_diagonal and is_right.all():
        reason = RIGHT
    return Fitted(
        apply=apply,
        layer=partial(kind, matrix.tolist(), bias.tolist()),
        num_parameters=len(found.parameters),
        iterations=found.iterations,
        converged=found.converged,
        at_bound=bool(reason),
        reason=reason,
        options=options,
        guess=found.parameters,
    )


def _with_strengths(
    fit: Callable[..., Fitted], sample: Sample, options: Options, guess: Any
) -> Fitted:
    """Fit with the strengths of the options; those that are None are chosen by held-out NLL."""
    if options.off_diagonal is not None and options.bias is not None:
        return fit(sample, options, guess)
    rows = np.arange(len(sample.labels))
    best = (np.inf, options, sample.logits)
    guesses: list[Any] = [None for _ in sample.splits()]
    whole: Any = None
    for strength in STRENGTHS:
        tried = replace(
            options,
            off_diagonal=strength if options.off_diagonal is None else options.off_diagonal,
            bias=strength if options.bias is None else options.bias,
        )
        logits = np.empty_like(sample.logits)
        for fold, held in enumerate(sample.splits()):
            begin = np.append(np.eye(logits.shape[1]), np.zeros(logits.shape[1]))
            begin = begin if guesses[fold] is None else guesses[fold]
            fitted = fit(sample.part(~held), tried, begin)
            guesses[fold] = fitted.guess
            logits[held] = fitted.apply(sample.logits[held])
        nll = -float(sample.weights @ _log_softmax(logits)[rows, sample.labels])
        if nll >= best[0]:
            break
        best = (nll, tried, logits)
        whole = guesses[0]
    _, chosen, logits = best
    return replace(fit(sample, chosen, whole, tolerance=1e-8), held_out=logits)


def _fit_binary_linear(sample: Sample, options: Options, kind: Any, rank: int) -> Fitted:
    logits = sample.logits[:, 1:]
    features = np.append(logits, np.ones_like(logits), axis=1)
    start = np.array([1.0 / _temperature(sample).temperature, 0.0])
    found = logistic(features, sample.labels.astype("float64"), sample.weights, start)
    slope, bias = found.parameters
    is_right = (logits[:, 0] * slope + bias > 0) == sample.labels
    return Fitted(
        apply=lambda logits: logits * slope + [0.0, bias],
        layer=partial(kind, np.full((1,) * rank, slope).tolist(), [float(bias)]),
        num_parameters=2,
        iterations=found.iterations,
        converged=found.converged,
        at_bound=bool(is_right.all()),
        reason=RIGHT if is_right.all() else "",
        options=options,
    )


# --- one against the rest


def log_odds(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return log p and log(1 - p) of each class."""
    rows, top = np.arange(len(logits)), logits.argmax(axis=1)
    others = logits.copy()
    others[rows, top] = -np.inf
    second = others.max(axis=1)
    rest = second + np.log(np.exp(others - second[:, None]).sum(axis=1))
    log_p = logits - np.logaddexp(logits[rows, top], rest)[:, None]
    log_q = np.log1p(-np.minimum(np.exp(log_p), 0.5))
    log_q[rows, top] = rest - np.logaddexp(logits[rows, top], rest)
    return log_p, log_q


def _targets(sample: Sample, smoothing: bool) -> tuple[range, np.ndarray]:
    """Return the classes that have a map of their own, and the targets of each, shape (N, K)."""
    classes = range(1, 2) if sample.is_binary else range(sample.logits.shape[1])
    hits = sample.labels[:, None] == np.arange(sample.logits.shape[1])
    if not smoothing:
        return classes, hits.astype("float64")
    positives = sample.weights @ hits
    negatives = sample.weights.sum() - positives
    # Platt's targets: what Laplace's rule gives to the positives and to the negatives.
    return classes, np.where(hits, (positives + 1) / (positives + 2), 1 / (negatives + 2))


def _joined(columns: list[np.ndarray], is_binary: bool) -> np.ndarray:
    """Return logits of the log-odds of each class."""
    if is_binary:
        return np.stack([np.zeros_like(columns[0]), columns[0]], axis=1)
    return -np.logaddexp(0.0, -np.stack(columns, axis=1))


def _one_vs_rest(
    sample: Sample,
    options: Options,
    kind: Any,
    features: Callable[[np.ndarray, np.ndarray], np.ndarray],
    start: list[float],
    bounded: int,
) -> Fitted:
    classes, targets = _targets(sample, options.smoothing)
    log_p, log_q = log_odds(sample.logits)
    found = [
        logistic(
            features(log_p[:, k], log_q[:, k]),
            targets[:, k],
            sample.weights,
            np.array(start),
            bounded,
        )
        for k in classes
    ]
    parameters = np.array([one.parameters for one in found])
    reason = ""
    if not options.smoothing:
        reason = _absent_classes(sample) or _separated_classes(sample, log_p - log_q, classes)

    def apply(logits: np.ndarray) -> np.ndarray:
        log_p, log_q = log_odds(logits)
        columns = [
            features(log_p[:, k], log_q[:, k]) @ parameters[i] for i, k in enumerate(classes)
        ]
        return _joined(columns, sample.is_binary)

    return Fitted(
        apply=apply,
        layer=partial(kind, *parameters.T.tolist()),
        num_parameters=parameters.size,
        iterations=max(one.iterations for one in found),
        converged=all(one.converged for one in found),
        at_bound=bool(reason) or bool((parameters[:, :bounded] == 0).any()),
        reason=reason,
        options=options,
    )


def fit_platt(sample: Sample, options: Options, guess: Any = None) -> Fitted:
    def features(log_p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
        return np.stack([log_p - log_q, np.ones_like(log_p)], axis=1)

    return _one_vs_rest(sample, options, layers.PlattScaling, features, [1.0, 0.0], 0)


def fit_beta(sample: Sample, options: Options, guess: Any = None) -> Fitted:
    def features(log_p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
        return np.stack([log_p, -log_q, np.ones_like(log_p)], axis=1)

    return _one_vs_rest(sample, options, layers.BetaCalibration, features, [1.0, 1.0, 0.0], 2)


# --- tables


def _fit_tables(
    sample: Sample,
    options: Options,
    kind: Any,
    table: Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
    look_up: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
) -> Fitted:
    classes, targets = _targets(sample, options.smoothing)
    log_p, log_q = log_odds(sample.logits)
    odds, weighed = log_p - log_q, sample.weights > 0
    tables = [
        table(odds[weighed, k], targets[weighed, k], sample.weights[weighed]) for k in classes
    ]

    def apply(logits: np.ndarray) -> np.ndarray:
        log_p, log_q = log_odds(logits)
        columns = [
            np.clip(look_up(log_p[:, k] - log_q[:, k], *tables[i]), _TINY, 1 - 2.0**-24)
            for i, k in enumerate(classes)
        ]
        if sample.is_binary:
            return _joined([np.log(columns[0]) - np.log1p(-columns[0])], True)
        return np.log(np.stack(columns, axis=1))

    return Fitted(
        apply=apply,
        layer=partial(kind, *(_padded(part) for part in zip(*tables, strict=True))),
        num_parameters=sum(len(values) for _, values in tables),
        options=options,
    )


def _padded(rows: tuple[np.ndarray, ...]) -> list[list[float]]:
    """Return rows of one length: the last number of a short one is repeated."""
    longest = max(len(row) for row in rows)
    return [np.pad(row, (0, longest - len(row)), "edge").tolist() for row in rows]


def fit_isotonic(sample: Sample, options: Options, guess: Any = None) -> Fitted:
    regression = libraries().isotonic.IsotonicRegression

    def table(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = regression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(x, y, w)
        return found.X_thresholds_, found.y_thresholds_

    return _fit_tables(sample, options, layers.IsotonicRegression, table, np.interp)


def fit_histogram(sample: Sample, options: Options, guess: Any = None) -> Fitted:
    bins = options.map_bins

    def table(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        cuts = np.arange(1, bins) / bins
        if options.binning == "equal_width":
            edges = np.log(cuts) - np.log1p(-cuts)
        else:
            values, inverse = np.unique(x, return_inverse=True)
            # Half the mass to the class, half to the rest: else the few of the class share a bin.
            share = w * (y / max(w @ y, _TINY) + (1 - y) / max(w @ (1 - y), _TINY))
            mass = np.bincount(inverse, share).cumsum()
            below = np.searchsorted(mass, cuts * mass[-1] * (1 - 1e-12))
            below = np.unique(below[below < len(values) - 1])
            # Between two predictions, so that no rounding moves one across.
            edges = (values[below] + values[below + 1]) / 2
        edges = edges if len(edges) else np.zeros(1)
        index = np.searchsorted(edges, x)
        count, hits = (np.bincount(index, part, len(edges) + 1) for part in (w, w * y))
        # Only bins of equal width can be empty: they say what they were told.
        middle = np.resize((np.arange(bins) + 0.5) / bins, len(count))
        return edges, np.where(count > 0, hits / np.where(count > 0, count, 1.0), middle)

    def look_up(x: np.ndarray, edges: np.ndarray, values: np.ndarray) -> np.ndarray:
        return values[np.searchsorted(edges, x)]

    return _fit_tables(sample, options, layers.HistogramBinning, table, look_up)


METHODS: dict[str, Method] = {
    "temperature": fit_by_temperature,
    "focal_temperature": fit_by_focal_temperature,
    "vector": fit_vector,
    "matrix": fit_matrix,
    "dirichlet": fit_dirichlet,
    "platt": fit_platt,
    "beta": fit_beta,
    "ensemble_temperature": fit_ensemble,
    "histogram": fit_histogram,
    "isotonic": fit_isotonic,
}
"""How to fit each map, by name."""

SAME_IN_BINARY = ("vector", "matrix", "dirichlet")
"""Maps that for one logit are Platt scaling or beta calibration: "auto" leaves them out there."""
