"""Platt scaling, quadratic scaling and beta calibration: a logistic map of each class by itself."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from keras_focal._host import log_probabilities
from keras_focal.calibration.maps._reasons import absent_classes, separated_classes
from keras_focal.calibration.maps._sample import Fitted, Options, Sample
from keras_focal.calibration.maps._solvers import logistic

Features = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Gives what is combined linearly, shape (N, F), of log p and log(1 - p) of a class."""


def targets_of(sample: Sample, smoothing: bool) -> tuple[range, np.ndarray]:
    """Return the classes that have a map of their own, and the targets of each, shape (N, K)."""
    classes = range(1, 2) if sample.is_binary else range(sample.given.shape[1])
    hits = sample.labels[:, None] == np.arange(sample.given.shape[1])
    if not smoothing:
        return classes, hits.astype("float64")
    positives = sample.weights @ hits
    negatives = sample.weights.sum() - positives
    # Platt's targets: what Laplace's rule gives to the positives and to the negatives.
    return classes, np.where(hits, (positives + 1) / (positives + 2), 1 / (negatives + 2))


def joined(columns: list[np.ndarray]) -> np.ndarray:
    """Return logits of the log-odds of each class; of one column, of the positive class."""
    if len(columns) == 1:
        return np.stack([np.zeros_like(columns[0]), columns[0]], axis=1)
    return -np.logaddexp(0.0, -np.stack(columns, axis=1))


def padded(rows: tuple[np.ndarray, ...]) -> np.ndarray:
    """Return rows of one length: the last number of a short one is repeated."""
    longest = max(len(row) for row in rows)
    return np.stack([np.pad(row, (0, longest - len(row)), "edge") for row in rows])


def _one_vs_rest(
    sample: Sample,
    options: Options,
    features: Features,
    start: list[float],
    bounded: int,
    thresholds: int = 1,
) -> Fitted:
    classes, targets = targets_of(sample, options.smoothing)
    log_p, log_q = sample.log_probabilities
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
        reason = absent_classes(sample)
        reason = reason or separated_classes(sample, log_p - log_q, classes, thresholds)
    return Fitted(
        apply=partial(_logistic, parameters=parameters, classes=classes, features=features),
        arguments=tuple(parameters.T.tolist()),
        num_parameters=parameters.size,
        iterations=max(one.iterations for one in found),
        converged=all(one.converged for one in found),
        at_bound=bool(reason) or bool((parameters[:, :bounded] == 0).any()),
        reason=reason,
        options=options,
    )


def _logistic(
    logits: np.ndarray, parameters: np.ndarray, classes: range, features: Features
) -> np.ndarray:
    log_p, log_q = log_probabilities(logits)
    columns = [features(log_p[:, k], log_q[:, k]) @ parameters[i] for i, k in enumerate(classes)]
    return joined(columns)


def fit_platt(sample: Sample, options: Options, guess: Any = None) -> Fitted:
    return _one_vs_rest(sample, options, _platt_features, [1.0, 0.0], 0)


def _platt_features(log_p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    return np.stack([log_p - log_q, np.ones_like(log_p)], axis=1)


def fit_quadratic(sample: Sample, options: Options, guess: Any = None) -> Fitted:
    return _one_vs_rest(sample, options, _quadratic_features, [0.0, 1.0, 0.0], 0, thresholds=2)


def _quadratic_features(log_p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    log_odds = log_p - log_q
    return np.stack([log_odds**2, log_odds, np.ones_like(log_p)], axis=1)


def fit_beta(sample: Sample, options: Options, guess: Any = None) -> Fitted:
    return _one_vs_rest(sample, options, _beta_features, [1.0, 1.0, 0.0], 2)


def _beta_features(log_p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    return np.stack([log_p, -log_q, np.ones_like(log_p)], axis=1)
