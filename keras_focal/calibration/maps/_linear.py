"""Vector, matrix and Dirichlet maps: W f + b of logits or of log-probabilities."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from keras_focal._host import log_softmax
from keras_focal.calibration.maps._reasons import RIGHT, absent_classes
from keras_focal.calibration.maps._sample import Fitted, Options, Sample
from keras_focal.calibration.maps._solvers import Softmax, logistic
from keras_focal.calibration.maps._temperatures import temperature_of

STRENGTHS = (1e4, 1e3, 1e2, 10.0, 1.0, 0.1, 0.01)
"""Strengths of regularisation that are tried, from one that leaves the temperature alone."""

_ROUGH = 1e-4
"""Tolerance of the fits of folds: their NLL is then right to 1e-8."""


def fit_vector(sample: Sample, options: Options, guess: Any = None) -> Fitted:
    if sample.is_binary:
        return _fit_binary_linear(sample, options, rank=1)
    return _fit_linear(sample, options, guess, is_diagonal=True)


def fit_matrix(sample: Sample, options: Options, guess: Any = None) -> Fitted:
    if sample.is_binary:
        return _fit_binary_linear(sample, options, rank=2)
    return _with_strengths(partial(_fit_linear, is_diagonal=False), sample, options, guess)


def fit_dirichlet(sample: Sample, options: Options, guess: Any = None) -> Fitted:
    if sample.is_binary:
        raise ValueError(
            "`method` must be another one for one logit of two classes. Received: "
            "method='dirichlet'. Use 'beta', the same map."
        )
    fit = partial(_fit_linear, is_diagonal=False, features=log_softmax)
    return _with_strengths(fit, sample, options, guess)


def _fit_linear(
    sample: Sample,
    options: Options,
    guess: Any,
    is_diagonal: bool,
    features: Callable[[np.ndarray], np.ndarray] = np.asarray,
    tolerance: float | None = None,
) -> Fitted:
    """Fit W in units of 1 / T: the start is the temperature, and strengths fit any logits."""
    plain = temperature_of(sample)
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
    apply = partial(_linear, matrix=matrix, bias=bias, features=features)
    is_right = apply(sample.logits).argmax(axis=1) == sample.labels
    reason = "" if options.bias and not is_diagonal else absent_classes(sample)
    if is_diagonal and is_right.all():
        reason = RIGHT
    return Fitted(
        apply=apply,
        arguments=(matrix.tolist(), bias.tolist()),
        num_parameters=len(found.parameters),
        iterations=found.iterations,
        converged=found.converged,
        at_bound=bool(reason),
        reason=reason,
        options=options,
        guess=found.parameters,
    )


def _linear(
    logits: np.ndarray,
    matrix: np.ndarray,
    bias: np.ndarray,
    features: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> np.ndarray:
    """Return W f + b; W is a matrix, or the diagonal of one."""
    inputs = features(logits)
    return (inputs * matrix if matrix.ndim == 1 else inputs @ matrix.T) + bias


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
        nll = -float(sample.weights @ log_softmax(logits)[rows, sample.labels])
        if nll >= best[0]:
            break
        best = (nll, tried, logits)
        whole = guesses[0]
    _, chosen, logits = best
    return replace(fit(sample, chosen, whole, tolerance=1e-8), held_out=logits)


def _fit_binary_linear(sample: Sample, options: Options, rank: int) -> Fitted:
    logits = sample.logits[:, 1:]
    features = np.append(logits, np.ones_like(logits), axis=1)
    start = np.array([1.0 / temperature_of(sample).temperature, 0.0])
    found = logistic(features, sample.labels.astype("float64"), sample.weights, start)
    slope, bias = found.parameters
    is_right = (logits[:, 0] * slope + bias > 0) == sample.labels
    return Fitted(
        apply=partial(
            _linear,
            matrix=np.array([slope, slope]),
            bias=np.array([0.0, bias]),
        ),
        arguments=(np.full((1,) * rank, slope).tolist(), [float(bias)]),
        num_parameters=2,
        iterations=found.iterations,
        converged=found.converged,
        at_bound=bool(is_right.all()),
        reason=RIGHT if is_right.all() else "",
        options=options,
    )
