"""What a model makes of held-out data: one output at a time, from arrays or batches."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_focal.calibration.given import Declared, to_numpy
from keras_focal.calibration.surgery._graph import Graph
from keras_focal.calibration.surgery._source import Source, check_given, of_output
from keras_focal.calibration.temperature import Gathered

MOST = 2**24
"""Numbers that a model predicts at once of arrays: 64 MB in float32."""


def predict(
    probe: keras.Model,
    graph: Graph,
    source: Source,
    declared: dict[str, Declared],
    gathered: dict[str, list[Gathered]],
    batch_size: int,
    verbose: str | int,
) -> None:
    """Gather the predictions that count of each output that has labels; batches are read once.

    Args:
        probe: The model that gives values and the counts of a mask.
        graph: Of the model of the user.
        source: Held-out data.
        declared: By output, what its predictions are.
        gathered: By output, where they go: all to one, or each column to one of its own.
        batch_size: Of arrays.
        verbose: As in `Model.predict`.
    """
    parts = _of_arrays if source.batches is None else _of_batches
    for found, given, weighed in parts(probe, graph, source, batch_size, verbose):
        for name, targets in gathered.items():
            if name not in given:
                continue
            with of_output(name, len(graph.outputs) > 1):
                values = np.asarray(found["values"][name])
                weights = _weights(weighed.get(name), np.asarray(found["counts"][name]))
                rows = declared[name].parts(values, given[name], weights)
                for target, of_target in zip(targets, rows, strict=True):
                    target.add(of_target)


Part = tuple[Any, dict[str, Any], dict[str, Any]]
"""What the probe gives, and labels and weights by output."""


def _of_batches(
    probe: keras.Model, graph: Graph, source: Source, batch_size: int, verbose: str | int
) -> Iterator[Part]:
    assert source.batches is not None
    progress = keras.utils.Progbar(source.size, verbose=1 if verbose in ("auto", 1) else 0)
    count = 0
    for count, (inputs, labels, *weights) in enumerate(source.batches, 1):
        found = probe.predict_on_batch(keras.tree.map_structure(np.asarray, inputs))
        yield found, *check_given(graph, labels, weights[0] if weights else None)
        progress.update(count)
    if verbose:
        progress.update(count, finalize=True)


def _of_arrays(
    probe: keras.Model, graph: Graph, source: Source, batch_size: int, verbose: str | int
) -> Iterator[Part]:
    given, weighed = check_given(graph, source.labels, source.weights)
    size = len(keras.tree.flatten(source.x)[0])
    most = batch_size * max(1, MOST // (batch_size * _numbers_of_sample(probe, source.example)))
    if size <= most:
        yield probe.predict(source.x, batch_size=batch_size, verbose=verbose), given, weighed
        return
    given, weighed = (
        {name: to_numpy(part) for name, part in parts.items()} for parts in (given, weighed)
    )
    progress = keras.utils.Progbar(size, verbose=1 if verbose in ("auto", 1) else 0)
    for start in range(0, size, most):
        rows = slice(start, start + most)
        x = keras.tree.map_structure(lambda part, rows=rows: part[rows], source.x)
        found = probe.predict(x, batch_size=batch_size, verbose=0)
        yield (
            found,
            {name: part[rows] for name, part in given.items()},
            {name: part[rows] for name, part in weighed.items()},
        )
        progress.update(min(start + most, size))


def _numbers_of_sample(probe: keras.Model, example: Any) -> int:
    """Return how many numbers the probe gives for a sample."""
    tensors = keras.tree.flatten(probe.outputs)
    if any(None in tensor.shape[1:] for tensor in tensors):
        tensors = keras.tree.flatten(probe.predict_on_batch(example))
    return sum(int(np.prod(tensor.shape[1:])) for tensor in tensors)


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
