"""What a model makes of held-out data: one output at a time, from arrays or batches."""

from typing import Any, NamedTuple

import keras
import numpy as np

from keras_focal.calibration._batches import is_iterable_of_batches, length, read
from keras_focal.calibration._outputs import Graph


class Predictions(NamedTuple):
    """Predictions of one output, with labels and None or weights."""

    predictions: np.ndarray
    labels: np.ndarray
    weights: np.ndarray | None


def predict(
    model: keras.Model, x: Any, y: Any, sample_weight: Any, batch_size: int, verbose: str | int
) -> tuple[Graph, dict[str, Predictions]]:
    """Return the graph of a model and its predictions for each output that has labels.

    Batches are read once, so they may be shuffled.
    """
    if not is_iterable_of_batches(x):
        if y is None:
            raise ValueError(
                "`y` must be given with array inputs. Received: y=None. Pass labels, or an "
                "iterable of (x, y) batches as `x`."
            )
        if len(keras.tree.flatten(x)[0]) == 0:
            raise ValueError("`x` must hold at least one sample. Received: an empty array.")
        graph = Graph.of(model, x)
        _check_given(graph, y, sample_weight)
        predictions = model.predict(x, batch_size=batch_size, verbose=verbose)
        return graph, _by_output(graph, predictions, y, sample_weight)
    if y is not None or sample_weight is not None:
        raise ValueError(
            "`y` and `sample_weight` must be None where `x` is an iterable of batches, which "
            "carries them. Received both."
        )
    parts: list[dict[str, Predictions]] = []
    seen: Graph | None = None
    progress = keras.utils.Progbar(length(x), verbose=1 if verbose in ("auto", 1) else 0)
    for inputs, labels, *weights in read(x, "x", "y"):
        example = keras.tree.map_structure(np.asarray, inputs)
        seen = seen or Graph.of(model, example)
        weight = weights[0] if weights else None
        parts.append(_by_output(seen, model.predict_on_batch(example), labels, weight))
        progress.add(1)
    if seen is None:
        raise ValueError("`x` must yield at least one batch. Received: an empty iterable.")
    if verbose:
        progress.update(len(parts), finalize=True)
    return seen, {name: _joined([part[name] for part in parts]) for name in parts[0]}


def _by_output(
    graph: Graph, predictions: Any, y: Any, sample_weight: Any
) -> dict[str, Predictions]:
    """Return predictions, labels and weights of each output that has labels, by name."""
    found = graph.by_name(predictions)
    labels, weights = _check_given(graph, y, sample_weight)
    return {
        name: Predictions(np.asarray(found[name]), np.asarray(labels[name]), weights.get(name))
        for name in graph.outputs
        if name in labels
    }


def _check_given(graph: Graph, y: Any, sample_weight: Any) -> tuple[dict, dict]:
    """Return labels and weights by the names of the outputs, or raise."""
    labels = graph.given("y", y)
    if not labels:
        raise ValueError(
            f"`y` must hold labels for at least one output. Received: {y!r}. Give class ids or "
            "one-hot rows."
        )
    return labels, graph.given("sample_weight", sample_weight, shared=True)


def _joined(parts: list[Predictions]) -> Predictions:
    predictions, labels, weights = zip(*parts, strict=True)
    return Predictions(
        np.concatenate(predictions),
        np.concatenate(labels),
        None if weights[0] is None else np.concatenate([*map(np.asarray, weights)]),
    )
