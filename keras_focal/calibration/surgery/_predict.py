"""What a model makes of held-out data: one output at a time, from arrays or batches."""

from typing import Any

import keras
import numpy as np

from keras_focal.calibration.given import Declared, Rows, to_numpy
from keras_focal.calibration.surgery._graph import Graph
from keras_focal.calibration.surgery._source import Source, check_given


def predict(
    probe: keras.Model,
    graph: Graph,
    source: Source,
    declared: dict[str, Declared],
    columns: set[str],
    batch_size: int,
    verbose: str | int,
) -> dict[str, list[Rows]]:
    """Return the predictions that count of each output that has labels; batches are read once.

    Args:
        probe: The model that gives values and the counts of a mask.
        graph: Of the model of the user.
        source: Held-out data.
        declared: By output, what its predictions are.
        columns: Outputs whose columns are read one by one.
        batch_size: Of arrays.
        verbose: As in `Model.predict`.
    """

    def of(found: Any, labels: Any, weights: Any) -> dict[str, list[Rows]]:
        given, weighed = check_given(graph, labels, weights)
        return {
            name: _rows(
                name,
                np.asarray(found["values"][name]),
                given[name],
                _weights(weighed.get(name), np.asarray(found["counts"][name])),
                declared[name],
                name in columns,
                len(graph.outputs) > 1,
            )
            for name in declared
            if name in given
        }

    if source.batches is None:
        found = probe.predict(source.x, batch_size=batch_size, verbose=verbose)
        return of(found, source.labels, source.weights)
    parts = []
    progress = keras.utils.Progbar(source.size, verbose=1 if verbose in ("auto", 1) else 0)
    for inputs, labels, *weights in source.batches:
        found = probe.predict_on_batch(keras.tree.map_structure(np.asarray, inputs))
        parts.append(of(found, labels, weights[0] if weights else None))
        progress.add(1)
    if verbose:
        progress.update(len(parts), finalize=True)
    return {
        name: [
            Rows(*map(np.concatenate, zip(*pieces, strict=True)))
            for pieces in zip(*(part[name] for part in parts if name in part), strict=True)
        ]
        for name in declared
    }


def _rows(
    name: str,
    values: np.ndarray,
    labels: Any,
    weights: Any,
    declared: Declared,
    by_column: bool,
    is_named: bool,
) -> list[Rows]:
    """Return rows of an output, or of each of its columns."""
    try:
        if not by_column:
            return [declared.rows(values, labels, weights)]
        labels = to_numpy(labels)
        plain = Declared(declared.from_logits, declared.ignore_class)
        declared.rows(values, labels, weights)
        return [
            plain.rows(values[..., k : k + 1], labels[..., k], weights)
            for k in range(values.shape[-1])
        ]
    except ValueError as error:
        if is_named:
            error.add_note(f"This is of the output {name!r}.")
        raise


def _weights(given: Any, counts: np.ndarray) -> np.ndarray | None:
    """Return weights of the user times the mask; a weight of whole samples is spread."""
    if counts.all():
        return None if given is None else to_numpy(given)
    if given is None:
        return counts
    weights = to_numpy(given).astype("float64")
    if weights.shape == (*counts.shape, 1):
        weights = weights[..., 0]
    for _ in range(counts.ndim - weights.ndim):
        weights = weights[..., None]
    for _ in range(weights.ndim - counts.ndim):
        counts = counts[..., None]
    # NaN is exempt where the mask is 0.
    return np.where(counts == 0, 0.0, weights)
