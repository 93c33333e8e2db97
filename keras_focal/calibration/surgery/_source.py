"""Held-out data for a model: arrays, or batches of which the first has been looked at."""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_focal.calibration.given import check_batched, is_iterable_of_batches, length, read
from keras_focal.calibration.surgery._graph import Graph


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
            x = keras.tree.map_structure(_with_texts_as_objects, x)
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


def _with_texts_as_objects(part: Any) -> Any:
    """Return an array of strings as one of objects, the form in which `predict` takes them."""
    kind = getattr(getattr(part, "dtype", None), "kind", "")
    if kind == "S":
        return np.char.decode(part, "utf-8").astype(object)
    return part.astype(object) if kind == "U" else part


def check_given(graph: Graph, y: Any, sample_weight: Any) -> tuple[dict, dict]:
    """Return labels and weights by the names of the outputs, or raise."""
    labels = graph.given("y", y)
    if not labels:
        raise ValueError(
            f"`y` must hold labels for at least one output. Received: {y!r}. Give class ids or "
            "one-hot rows."
        )
    return labels, graph.given("sample_weight", sample_weight, shared=True)


@contextmanager
def of_output(name: str, is_one_of_several: bool) -> Iterator[None]:
    """Let errors say which of several outputs they are about."""
    try:
        yield
    except ValueError as error:
        if is_one_of_several:
            error.add_note(f"This is of the output {name!r}.")
        raise
