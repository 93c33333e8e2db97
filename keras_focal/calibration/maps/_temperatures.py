"""Maps of one temperature: alone, before a focal posterior, and in a mixture."""

from functools import partial
from typing import Any

import numpy as np

from keras_focal._host import softmax
from keras_focal.calibration.given import HeldOut
from keras_focal.calibration.maps._figures import row_blocks
from keras_focal.calibration.maps._sample import Fitted, Options, Sample
from keras_focal.calibration.maps._solvers import mixture
from keras_focal.calibration.temperature import (
    BOUNDS,
    GAMMA_BOUNDS,
    Data,
    focal_least,
    focal_temperature_map,
)


def fit_by_temperature(sample: Sample, options: Options, guess: Any = None) -> Fitted:
    fit = sample.temperature
    return Fitted(
        apply=partial(divided, temperature=fit.temperature),
        arguments=(fit.temperature,),
        num_parameters=1,
        at_bound=fit.at_bound,
        reason=fit.reason,
        options=options,
    )


def divided(logits: np.ndarray, temperature: float) -> np.ndarray:
    return logits / temperature


def fit_by_focal_temperature(sample: Sample, options: Options, guess: Any = None) -> Fitted:
    data, plain = (
        Data([HeldOut(sample.given, sample.labels, sample.weights)], 15),
        sample.temperature,
    )
    fit = focal_least(data, plain, BOUNDS, GAMMA_BOUNDS, guess)
    temperature, gamma = fit.temperature, fit.gamma
    return Fitted(
        apply=partial(focal_temperature_map, temperature=temperature, gamma=gamma),
        arguments=(gamma, temperature),
        num_parameters=2,
        converged=fit.converged,
        at_bound=fit.at_bound,
        reason=plain.reason,
        options=options,
        guess=None if fit.at_bound else (temperature, gamma),
    )


def fit_ensemble(sample: Sample, options: Options, guess: Any = None) -> Fitted:
    plain = sample.temperature
    temperature = plain.temperature

    parts = np.concatenate(
        [
            _mixed_parts(z, temperature)[np.arange(len(z)), sample.labels[rows]]
            for rows, z in row_blocks(sample.given)
        ]
    )
    found = mixture(np.maximum(parts, 1e-300), sample.weights)
    shares = found.parameters.tolist()
    return Fitted(
        apply=partial(_mixed, temperature=temperature, shares=found.parameters),
        arguments=(temperature, shares),
        num_parameters=3,
        iterations=found.iterations,
        converged=found.converged,
        at_bound=plain.at_bound or min(shares) == 0,
        options=options,
    )


def _mixed_parts(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Return the three distributions that are mixed, shape (N, K, 3)."""
    hot, plain = softmax(logits / temperature), softmax(logits)
    return np.stack([hot, plain, np.full_like(plain, 1 / logits.shape[1])], axis=-1)


def _mixed(logits: np.ndarray, temperature: float, shares: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(_mixed_parts(logits, temperature) @ shares, 1e-300))
