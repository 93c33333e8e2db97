"""Linear maps: W f + b of logits, or of log-probabilities, with a W of several kinds."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from keras_focal._host import log_sum_exp
from keras_focal.calibration.maps._figures import Scored, row_blocks
from keras_focal.calibration.maps._reasons import RIGHT, absent_classes
from keras_focal.calibration.maps._sample import Fitted, Options, Sample
from keras_focal.calibration.maps._softmax import TOLERANCE, Diagonal, Full
from keras_focal.calibration.maps._solvers import logistic

STRENGTHS = (1e4, 1e3, 1e2, 10.0, 1.0, 0.1, 0.01)
"""Strengths of regularisation that are tried, from one that leaves the temperature alone."""

_ROUGH = 1e-4
"""Tolerance of the fits of folds: their NLL is then right to 1e-8."""

_SURE = 3.0
"""Standard errors by which NLL in some folds must exceed that of the best strength, to give up."""

_WORKERS = 2
"""Folds that are fitted at once, each by one thread."""


def _nothing(logits: np.ndarray, temperature: float) -> np.ndarray:
    return np.zeros(len(logits))


def _total(logits: np.ndarray, temperature: float) -> np.ndarray:
    return log_sum_exp(logits) / temperature


def _total_after(logits: np.ndarray, temperature: float) -> np.ndarray:
    return log_sum_exp(logits / temperature)


@dataclass(frozen=True)
class _Kind:
    """What differs between linear maps.

    Attributes:
        shift: What f is below logits / temperature, of each row: W = 1 is that temperature.
        is_diagonal: Whether W is.
        is_structured: Whether strengths follow from the number of classes and of samples, and the
            layer takes the temperature; else strengths are chosen.
    """

    shift: Callable[[np.ndarray, float], np.ndarray]
    is_diagonal: bool = False
    is_structured: bool = False

    def features(self, logits: np.ndarray, temperature: float) -> np.ndarray:
        """Return f of logits in float64."""
        return logits / temperature - self.shift(logits, temperature)[:, None]

    def problem(self, sample: Sample, temperature: float, options: Options) -> Diagonal | Full:
        given, labels, weights = sample.given, sample.labels, sample.weights
        penalty = self.penalty(options, given.shape[1])
        if not self.is_diagonal:
            features = self.features(sample.logits, temperature)
            return Full(features, labels, weights, penalty)
        shift = None
        if self.shift is not _nothing:
            shift = np.concatenate([self.shift(z, temperature) for _, z in row_blocks(given)])
        return Diagonal(given, labels, weights, penalty, 1 / temperature, shift)

    def penalty(self, options: Options, classes: int) -> np.ndarray:
        """Return the curvature by each parameter: a strength is one of a mean square."""
        diagonal = 2 * (options.diagonal or 0.0) / classes
        bias = 2 * (options.bias or 0.0) / classes
        if self.is_diagonal:
            return np.repeat([[diagonal], [bias]], classes, axis=1)
        off_diagonal = 2 * (options.off_diagonal or 0.0) / (classes * (classes - 1))
        penalty = np.full((classes, classes + 1), off_diagonal)
        np.fill_diagonal(penalty, diagonal)
        penalty[:, -1] = bias
        return penalty


_VECTOR = _Kind(_nothing, is_diagonal=True)
_MATRIX = _Kind(_nothing)
_DIRICHLET = _Kind(_total)
_STRUCTURED_VECTOR = _Kind(_total_after, is_diagonal=True, is_structured=True)
_STRUCTURED_MATRIX = _Kind(_total_after, is_structured=True)


def fit_vector(sample: Sample, options: Options, guess: Any = None) -> Fitted:
    if sample.is_binary:
        return _fit_binary_linear(sample, options, rank=1)
    return _fit(_VECTOR, sample, _shrinking(_VECTOR, sample, options), guess)


def fit_matrix(sample: Sample, options: Options, guess: Any = None) -> Fitted:
    if sample.is_binary:
        return _fit_binary_linear(sample, options, rank=2)
    return _with_strengths(_MATRIX, sample, options, guess)


def fit_dirichlet(sample: Sample, options: Options, guess: Any = None) -> Fitted:
    _refuse_binary(sample, "dirichlet", "beta")
    return _with_strengths(_DIRICHLET, sample, options, guess)


def fit_structured_vector(sample: Sample, options: Options, guess: Any = None) -> Fitted:
    _refuse_binary(sample, "structured_vector", "platt")
    return _fit(_STRUCTURED_VECTOR, sample, _shrinking(_STRUCTURED_VECTOR, sample, options), guess)


def fit_structured_matrix(sample: Sample, options: Options, guess: Any = None) -> Fitted:
    _refuse_binary(sample, "structured_matrix", "platt")
    return _fit(_STRUCTURED_MATRIX, sample, _shrinking(_STRUCTURED_MATRIX, sample, options), guess)


def _refuse_binary(sample: Sample, method: str, instead: str) -> None:
    if sample.is_binary:
        raise ValueError(
            "`method` must be another one for one logit of two classes. Received: "
            f"method={method!r}. Use {instead!r}, the same map."
        )


def _shrinking(kind: _Kind, sample: Sample, options: Options) -> Options:
    """Return options with strengths that shrink with the number of samples in place of None.

    K / n for the square of each b and each 1 - w, K (K - 1) / n for that of each other entry.
    """
    classes, size = sample.given.shape[1], float(sample.weights.sum())
    own, others = classes**2 / size, (classes * (classes - 1)) ** 2 / size
    return replace(
        options,
        diagonal=_given(options.diagonal, own),
        bias=_given(options.bias, own),
        off_diagonal=None if kind.is_diagonal else _given(options.off_diagonal, others),
    )


def _given(strength: float | None, otherwise: float) -> float:
    return otherwise if strength is None else strength


def _temperature(kind: _Kind, sample: Sample) -> float:
    """Return the temperature that features are of, also where there is no best one."""
    plain = sample.temperature
    if plain.at_bound and not kind.is_structured:
        squares = sum(
            float(sample.weights[rows] @ np.mean((z - z.mean(axis=1, keepdims=True)) ** 2, axis=1))
            for rows, z in row_blocks(sample.given)
        )
        return float(np.sqrt(squares / sample.weights.sum())) or 1.0
    return plain.temperature


def _fit(
    kind: _Kind, sample: Sample, options: Options, guess: Any, tolerance: float | None = None
) -> Fitted:
    """Fit W in units of 1 / T: the start is the temperature, and strengths fit any logits.

    From a guess, as folds have it, the fit is rough unless a tolerance is given.
    """
    temperature = _temperature(kind, sample)
    tolerance = tolerance or (TOLERANCE if guess is None else _ROUGH)
    found = kind.problem(sample, temperature, options).solve(guess, tolerance)
    matrix, bias = _split(kind, found.parameters)
    if not kind.is_structured:
        matrix = matrix / temperature
    apply = partial(
        _linear,
        matrix=matrix,
        bias=bias,
        features=kind.features,
        temperature=temperature if kind.is_structured else 1.0,
    )
    reason = "" if options.bias else absent_classes(sample)
    if kind.is_diagonal or kind.is_structured:
        reason = RIGHT if _is_right(apply, sample) else sample.temperature.reason or reason
    arguments = (matrix.tolist(), bias.tolist())
    return Fitted(
        apply=apply,
        arguments=(temperature, *arguments) if kind.is_structured else arguments,
        num_parameters=found.parameters.size + kind.is_structured,
        iterations=found.iterations,
        converged=found.converged,
        at_bound=bool(reason),
        reason=reason,
        options=options,
        guess=found.parameters,
    )


def _is_right(apply: Callable[[np.ndarray], np.ndarray], sample: Sample) -> bool:
    """Tell whether every label has the largest logit after a map."""
    return all(
        np.array_equal(apply(z).argmax(axis=1), sample.labels[rows])
        for rows, z in row_blocks(sample.given)
    )


def _split(kind: _Kind, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return W, or its diagonal, and b."""
    if kind.is_diagonal:
        return parameters[0], parameters[1]
    return parameters[:, :-1], parameters[:, -1]


def _linear(
    logits: np.ndarray,
    matrix: np.ndarray,
    bias: np.ndarray,
    features: Callable[[np.ndarray, float], np.ndarray] | None = None,
    temperature: float = 1.0,
) -> np.ndarray:
    """Return W f + b; W is a matrix, or the diagonal of one; f is logits where it is not given."""
    inputs = features(logits, temperature) if features else logits
    return (inputs * matrix if matrix.ndim == 1 else inputs @ matrix.T) + bias


# --- strengths that the data choose


class _Fold:
    """A fold that is held out, and the fits without it, each begun where the last one ended."""

    def __init__(self, kind: _Kind, sample: Sample, part: Sample, held: np.ndarray):
        temperature = _temperature(kind, part)
        self.problem = kind.problem(part, temperature, Options())
        self.given, self.labels = sample.given[held], sample.labels[held]
        self.weights, self.temperature = sample.weights[held], temperature
        self.kind, self.held = kind, held
        self.guess: np.ndarray | None = None

    def fit(self, options: Options) -> Scored:
        """Return what the map comes to on the rows held out."""
        self.problem.penalise(self.kind.penalty(options, self.given.shape[1]))
        self.guess = self.problem.solve(self.guess, _ROUGH).parameters
        matrix, bias = _split(self.kind, self.guess)
        apply = partial(
            _linear,
            matrix=matrix,
            bias=bias,
            features=self.kind.features,
            temperature=self.temperature,
        )
        return Scored.of(self.given, self.labels, apply)


def _with_strengths(kind: _Kind, sample: Sample, options: Options, guess: Any) -> Fitted:
    """Fit with the strengths of the options; those that are None are chosen by held-out NLL.

    That of b is chosen first, where W is diagonal: no entry off it can then stand in for b.
    """
    own = _shrinking(kind, sample, options).diagonal
    options, guesses = replace(options, diagonal=own), None
    if options.bias is None:
        best = _chosen(replace(kind, is_diagonal=True), sample, options, _with_bias)
        options, guesses = best.options, [_widened(*found) for found in best.guesses]
    if options.off_diagonal is not None:
        return _fit(kind, sample, options, guess)
    best = _chosen(kind, sample, options, _with_off_diagonal, guesses)
    found = _fit(kind, sample, best.options, best.guesses[0], TOLERANCE)
    return replace(found, held_out=best.scored)


def _widened(diagonal: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Return W and b of a map with a diagonal W."""
    return np.concatenate([np.diag(diagonal), bias[:, None]], axis=1)


class _Tried(NamedTuple):
    """What options come to: folds with their parameters, their scores, and weighted -log p."""

    options: Options
    folds: list[_Fold]
    guesses: list[Any]
    found: list[Scored]
    losses: list[np.ndarray]

    @property
    def nll(self) -> float:
        return float(sum(map(np.sum, self.losses)))

    @property
    def scored(self) -> Scored:
        held = (fold.held for fold in self.folds)
        return Scored.joined([*zip(held, self.found, strict=True)])

    def is_surely_above(self, best: "_Tried") -> bool:
        """Tell whether NLL is above the best in these folds, by more than chance explains."""
        if not best.losses:
            return False
        pairs = zip(self.losses, best.losses, strict=False)
        excess = np.concatenate([own - other for own, other in pairs])
        return bool(excess.sum() > _SURE * np.sqrt(excess @ excess))


def _with_bias(options: Options, strength: float) -> Options:
    return replace(options, bias=strength)


def _with_off_diagonal(options: Options, strength: float) -> Options:
    return replace(options, off_diagonal=strength)


def _chosen(
    kind: _Kind,
    sample: Sample,
    options: Options,
    with_strength: Callable[[Options, float], Options],
    guesses: list[np.ndarray] | None = None,
) -> _Tried:
    """Return options with the strength of least held-out NLL.

    Strengths are tried from strong to weak, until NLL has risen twice, or surely in some folds.
    """
    folds = [_Fold(kind, sample, part, held) for part, held in sample.parts()]
    for fold, guess in zip(folds, guesses or [], strict=False):
        fold.guess = guess
    best, rises = _Tried(options, folds, [], [], []), 0
    for strength in STRENGTHS:
        tried = _tried(folds, with_strength(options, strength), best)
        is_whole = len(tried.losses) == len(folds)
        is_better = is_whole and not (best.losses and tried.nll >= best.nll)
        best, rises = (tried, 0) if is_better else (best, rises + 1)
        if rises == 2 or not is_whole:
            break
    return best


def _tried(folds: list[_Fold], options: Options, best: _Tried) -> _Tried:
    """Return what options come to, in the folds up to where they are surely not the best."""
    tried = _Tried(options, folds, [], [], [])
    workers = min(_WORKERS, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(folds), workers):
            together = folds[start : start + workers]
            fits = pool.map(_Fold.fit, together, [options] * workers)
            for fold, found in zip(together, fits, strict=True):
                tried.found.append(found)
                tried.losses.append(fold.weights * found.nll)
                tried.guesses.append(fold.guess)
                if len(tried.losses) < len(folds) and tried.is_surely_above(best):
                    return tried
    return tried


def _fit_binary_linear(sample: Sample, options: Options, rank: int) -> Fitted:
    logits = sample.logits[:, 1:]
    features = np.append(logits, np.ones_like(logits), axis=1)
    start = np.array([1.0 / sample.temperature.temperature, 0.0])
    found = logistic(features, sample.labels.astype("float64"), sample.weights, start)
    slope, bias = found.parameters
    is_right = (logits[:, 0] * slope + bias > 0) == sample.labels
    return Fitted(
        apply=partial(_linear, matrix=np.array([slope, slope]), bias=np.array([0.0, bias])),
        arguments=(np.full((1,) * rank, slope).tolist(), [float(bias)]),
        num_parameters=2,
        iterations=found.iterations,
        converged=found.converged,
        at_bound=bool(is_right.all()),
        reason=RIGHT if is_right.all() else "",
        options=options,
    )
