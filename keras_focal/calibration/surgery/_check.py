"""Whether the layers of a model give what its `predict` gives, and what it will serve."""

import inspect
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_focal.calibration.given import to_numpy
from keras_focal.calibration.surgery._graph import Graph

TOLERANCE = 0.01
"""How far, in shares of the largest output, a model in half precision may be off its layers."""


def check_graph(model: keras.Model, graph: Graph, example: Any) -> None:
    """Raise unless the layers of a model give what its `predict` gives.

    The calibrated model is made of the layers. Warns of those by which an exported model gives
    something else.
    """
    _warn_of_augmentation(model)
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


def _warn_of_augmentation(model: keras.Model) -> None:
    """Warn of layers that act as in training unless they are told not to, as augmentation does."""
    names = [layer.name for layer in _layers(model) if _trains_by_default(layer)]
    if names:
        warnings.warn(
            "`model` must not have layers that act as in training where `training` is not given, "
            "as in an exported model: it would serve other probabilities than `predict` gives. "
            "Leave augmentation out of the model, or calibrate the layers behind it. "
            f"Received: {', '.join(names)}",
            stacklevel=4,
        )


def _layers(layer: keras.Layer) -> Iterator[keras.Layer]:
    for inner in getattr(layer, "layers", ()):
        yield inner
        yield from _layers(inner)


def _trains_by_default(layer: keras.Layer) -> bool:
    training = inspect.signature(layer.call).parameters.get("training")
    return training is not None and training.default is True


def _sole(part: Any) -> Any:
    """Return an array; of a dict of one, as an exported model gives it, that one."""
    return next(iter(part.values())) if isinstance(part, dict) and len(part) == 1 else part


def _refuse(model: keras.Model, what: str, error: Exception | None) -> Any:
    raise ValueError(
        "`model` must give in `predict` what its layers give, since the calibrated model is made "
        f"of them. Received: a {type(model).__name__} whose `predict` {what} on the first batch. "
        "It does more, such as a preprocessor or a predict_step of its own. Prepare the inputs "
        "first (KerasHub: x = model.preprocessor(x), then model.preprocessor = None), or make it "
        "a layer of the model."
    ) from error
