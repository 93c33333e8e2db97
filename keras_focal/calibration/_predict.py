"""What a model makes of held-out data: one output at a time, from arrays or batches."""

import itertools
from collections.abc import Iterable
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_focal.calibration._arrays import Rows, to_numpy
from keras_focal.calibration._batches import check_batched, is_iterable_of_batches, length, read
from keras_focal.calibration._held_out import Declared
from keras_focal.calibration._outputs import Graph


class Source(NamedTuple):
    """Held-out data: arrays, or batches of which the first has been looked at.

    Attributes:
        example: Inputs of the first batch.
        labels: Labels of it, or of all for arrays.
        weights: The same of weights.
        x: All inputs of arrays; None for batches.
        batches: Batches; None for arrays.
        size: Number of batches where it is known.
    """

    example: Any
    labels: Any
    weights: Any
    x: Any
    batches: Iterable[tuple[Any, ...]] | None
    size: int | None

    @classmethod
    def of(cls, x: Any, y: Any, sample_weight: Any, batch_size: int) -> "Source":
        """Check what was given, and read the first batch."""
        if not (is_iterable_of_batches(x) and (y is None or not isinstance(x, list))):
            if y is None:
                raise ValueError(
                    "`y` must be given with array inputs. Received: y=None. Pass labels, or an "
                    "iterable of (x, y) batches as `x`."
                )
            if isinstance(x, list) and x and isinstance(x[0], str | bytes):
                x = np.asarray(x)
            if len(keras.tree.flatten(x)[0]) == 0:
                raise ValueError("`x` must hold at least one sample. Received: an empty array.")
            example = keras.tree.map_structure(lambda part: part[:batch_size], x)
            return cls(example, y, sample_weight, x, None, None)
        if y is not None or sample_weight is not None:
            raise ValueError(
                "`y` and `sample_weight` must be None where `x` is an iterable of batches, which "
                "carries them. Received both."
            )
        size, batches = length(x), read(x, "x", "y")
        first = next(batches, None)
        if first is None:
            raise ValueError("`x` must yield at least one batch. Received: an empty iterable.")
        inputs, labels, *weights = first
        check_batched("x", "y", labels)
        weight = weights[0] if weights else None
        # Not a tensor of the framework that made the batches.
        example = keras.tree.map_structure(np.asarray, inputs)
        return cls(example, labels, weight, None, itertools.chain([first], batches), size)


def check_graph(model: keras.Model, graph: Graph, example: Any) -> None:
    """Raise unless the layers of a model give what its `predict` gives.

    The calibrated model is made of the layers.
    """
    answer = model.predict_on_batch(example)
    try:
        expected = {name: np.asarray(_sole(part)) for name, part in graph.by_name(answer).items()}
        inside = keras.Model(graph.inputs, graph.outputs)
        tensors = keras.tree.map_structure(ops.convert_to_tensor, example)
        found = {name: _sole(part) for name, part in inside(tensors, training=False).items()}
        gaps = [
            float(np.max(np.abs(to_numpy(found[name]) - part) / max(1.0, np.abs(part).max())))
            for name, part in expected.items()
            if np.isfinite(part).all()
        ]
    except (TypeError, ValueError) as error:
        _refuse(model, "takes what its layers do not take", error)
    if max(gaps, default=0.0) > TOLERANCE:
        again = graph.by_name(model.predict_on_batch(example))
        if all(
            np.allclose(_sole(again[name]), expected[name], atol=TOLERANCE) for name in expected
        ):
            _refuse(model, f"differs from its layers by up to {max(gaps):.2g}", None)


def _sole(part: Any) -> Any:
    """Return an array; of a dict of one, as an exported model gives it, that one."""
    return next(iter(part.values())) if isinstance(part, dict) and len(part) == 1 else part


TOLERANCE = 0.01
"""How far, in shares of the largest output, a model in half precision may be off its layers."""


def _refuse(model: keras.Model, what: str, error: Exception | None) -> Any:
    raise ValueError(
        "`model` must give in `predict` what its layers give, since the calibrated model is made "
        f"of them. Received: a {type(model).__name__} whose `predict` {what} on the first batch. "
        "It does more, such as a preprocessor or a predict_step of its own. Prepare the inputs "
        "first (KerasHub: x = model.preprocessor(x), then model.preprocessor = None), or make it "
        "a layer of the model."
    ) from error


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


def check_given(graph: Graph, y: Any, sample_weight: Any) -> tuple[dict, dict]:
    """Return labels and weights by the names of the outputs, or raise."""
    labels = graph.given("y", y)
    if not labels:
        raise ValueError(
            f"`y` must hold labels for at least one output. Received: {y!r}. Give class ids or "
            "one-hot rows."
        )
    return labels, graph.given("sample_weight", sample_weight, shared=True)
