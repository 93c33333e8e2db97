"""Histogram binning and isotonic regression: a table of each class over its log-odds."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from keras_focal._host import TINY, log_odds, log_probabilities
from keras_focal.calibration.maps._one_vs_rest import joined, padded, targets_of
from keras_focal.calibration.maps._sample import Fitted, Options, Sample
from keras_focal.calibration.maps._solvers import libraries

Table = tuple[np.ndarray, np.ndarray]
LookUp = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def _fit_tables(
    sample: Sample,
    options: Options,
    table: Callable[[np.ndarray, np.ndarray, np.ndarray], Table],
    look_up: LookUp,
) -> Fitted:
    classes, targets = targets_of(sample, options.smoothing)
    log_p, log_q = sample.log_probabilities
    log_odds, weighed = log_p - log_q, sample.weights > 0
    tables = [
        table(log_odds[weighed, k], targets[weighed, k], sample.weights[weighed]) for k in classes
    ]
    return Fitted(
        apply=partial(_tabulated, tables=tables, classes=classes, look_up=look_up),
        arguments=tuple(padded(part).tolist() for part in zip(*tables, strict=True)),
        num_parameters=sum(len(values) for _, values in tables),
        options=options,
    )


def _tabulated(
    logits: np.ndarray, tables: list[Table], classes: range, look_up: LookUp
) -> np.ndarray:
    log_p, log_q = log_probabilities(logits)
    columns = [
        np.clip(look_up(log_p[:, k] - log_q[:, k], *tables[i]), TINY, 1 - 2.0**-24)
        for i, k in enumerate(classes)
    ]
    if len(columns) == 1:
        return joined([log_odds(columns[0])])
    return np.log(np.stack(columns, axis=1))


def fit_isotonic(sample: Sample, options: Options, guess: Any = None) -> Fitted:
    regression = libraries().isotonic.IsotonicRegression

    def table(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = regression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(x, y, w)
        return found.X_thresholds_, found.y_thresholds_

    return _fit_tables(sample, options, table, np.interp)


def fit_histogram(sample: Sample, options: Options, guess: Any = None) -> Fitted:
    bins = options.map_bins

    def table(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        cuts = np.arange(1, bins) / bins
        if options.binning == "equal_width":
            edges = log_odds(cuts)
        else:
            values, inverse = np.unique(x, return_inverse=True)
            # Half the mass to the class, half to the rest: else the few of the class share a bin.
            share = w * (y / max(w @ y, TINY) + (1 - y) / max(w @ (1 - y), TINY))
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

    return _fit_tables(sample, options, table, _bin_value)


def _bin_value(x: np.ndarray, edges: np.ndarray, values: np.ndarray) -> np.ndarray:
    return values[np.searchsorted(edges, x)]
