"""From a trained model and held-out data to a model that gives calibrated probabilities."""

import itertools
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_focal._validation import check_choice
from keras_focal.calibration._batches import is_iterable_of_batches, length, read
from keras_focal.calibration._fit import fit_temperature
from keras_focal.calibration._predictions import check_predictions, logits_of
from keras_focal.layers import TemperatureScaling


def calibrate(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    from_logits: bool = False,
    criterion: str = "nll",
    outputs: str = "probabilities",
    sample_weight: Any = None,
    batch_size: int = 32,
    verbose: str | int = "auto",
) -> keras.Model:
    """Return a model that gives calibrated probabilities, with the accuracy of `model`.

    Predicts held-out data, fits one temperature to the predictions, and puts a
    `TemperatureScaling` layer behind the model. `model` keeps its weights, which are shared, and
    is not changed.

    Args:
        model: A built model of one output: logits or probabilities, shape (..., K), or (..., 1)
            for two classes.
        x: Held-out inputs as `model.predict` takes them, or an iterable of batches (x, y) or (x,
            y, sample_weight) such as a `tf.data.Dataset` or a `keras.utils.PyDataset`. Use data
            that the model was not trained on.
        y: Labels of array inputs: class ids or one-hot rows. None where `x` is an iterable.
        from_logits: Whether the model gives logits or probabilities.
        criterion: "nll" or "ece", as in `fit_temperature`.
        outputs: "probabilities", or "all" for a dictionary {"logits", "probabilities"}, both
            calibrated, which become the named outputs of an exported model.
        sample_weight: None, or weights of array inputs.
        batch_size: Batch size of array inputs.
        verbose: "auto" or 1 shows progress, 0 nothing.

    Returns:
        A new `keras.Model` of the same inputs. The fitted temperature is
        `model.get_layer("temperature").temperature`. `.save` and `.export` work as for any model.

    Raises:
        ValueError: If the data are empty or not finite, labels do not fit, the model has several
            outputs, or its output is not what `from_logits` says.

    Example:
        >>> import keras, numpy as np, keras_focal
        >>> logits = keras.layers.Dense(2, kernel_initializer="identity")
        >>> model = keras.Sequential([keras.Input((2,)), logits])
        >>> x = np.random.default_rng(0).normal(size=(200, 2)).astype("float32")
        >>> y = (x + np.random.default_rng(1).normal(size=x.shape)).argmax(axis=1)
        >>> calibrated = keras_focal.calibration.calibrate(
        ...     model, x, y, from_logits=True, verbose=0)
        >>> calibrated.predict(x, verbose=0).shape
        (200, 2)

    Source:
        Guo et al., 2017, section 4.2; Mukhoti et al., 2020, section 5.1.
    """
    check_choice("outputs", outputs, ("probabilities", "all"))
    check_choice("criterion", criterion, ("nll", "ece"))
    held_out = _predict(model, x, y, sample_weight, batch_size, verbose)
    inputs, output = _graph(model, held_out.example)
    predictions = held_out.predictions
    check_predictions(predictions, from_logits)
    is_binary = predictions.shape[-1] == 1
    logits = predictions if from_logits else logits_of(predictions)
    fit = fit_temperature(logits, held_out.labels, criterion, sample_weight=held_out.weights)
    taken = {layer.name for layer in keras.Model(inputs, output).layers}
    scaled = TemperatureScaling(
        fit.temperature,
        inputs="logits" if from_logits else "probabilities",
        name=_free_name("temperature", taken),
        dtype="float32",
    )(output)
    activation = "sigmoid" if is_binary else "softmax"
    probabilities = keras.layers.Activation(
        activation, dtype="float32", name=_free_name("probabilities", taken)
    )(scaled)
    chosen = {"logits": scaled, "probabilities": probabilities}
    return keras.Model(
        inputs, chosen if outputs == "all" else probabilities, name=f"calibrated_{model.name}"
    )


class _HeldOut(NamedTuple):
    """What a model made of held-out data; `example` is one batch of its inputs."""

    example: Any
    predictions: np.ndarray
    labels: np.ndarray
    weights: np.ndarray | None


def _free_name(name: str, taken: set[str]) -> str:
    """Return `name`, or `name` with the first number that no layer has."""
    numbered = (f"{name}_{number}" for number in itertools.count(1))
    return next(free for free in itertools.chain([name], numbered) if free not in taken)


def _graph(model: keras.Model, example: Any) -> tuple[Any, Any]:
    """Return the symbolic input and the one output of a model, calling it once if it has none."""
    try:
        inputs, output = model.input, model.output
    except (AttributeError, ValueError):  # a subclassed model, which has no graph of its own
        if isinstance(example, dict):
            inputs = {name: _input_like(part, name) for name, part in example.items()}
        else:
            inputs = keras.tree.map_structure(_input_like, example)
        output = model(inputs)
    if len(keras.tree.flatten(output)) != 1:
        raise ValueError(
            "`model` must have one output. Received: "
            f"{len(keras.tree.flatten(output))} outputs. Calibrate each head as a model of its "
            "own: keras.Model(model.input, model.output[name])."
        )
    return inputs, keras.tree.flatten(output)[0]


def _input_like(part: Any, name: str | None = None) -> keras.KerasTensor:
    dtype = keras.backend.standardize_dtype(part.dtype)
    return keras.Input(tuple(part.shape[1:]), dtype=dtype, name=name)


def _predict(
    model: keras.Model, x: Any, y: Any, sample_weight: Any, batch_size: int, verbose: str | int
) -> _HeldOut:
    """Predict held-out data. Batches are read once, so they may be shuffled."""
    if not is_iterable_of_batches(x):
        if y is None:
            raise ValueError(
                "`y` must be given with array inputs. Received: y=None. Pass labels, or an "
                "iterable of (x, y) batches as `x`."
            )
        if len(keras.tree.flatten(x)[0]) == 0:
            raise ValueError("`x` must hold at least one sample. Received: an empty array.")
        predictions = model.predict(x, batch_size=batch_size, verbose=verbose)
        return _HeldOut(x, _only(predictions), np.asarray(y), sample_weight)
    if y is not None or sample_weight is not None:
        raise ValueError(
            "`y` and `sample_weight` must be None where `x` is an iterable of batches, which "
            "carries them. Received both."
        )
    parts: list[tuple[Any, ...]] = []
    example = None
    progress = keras.utils.Progbar(length(x), verbose=1 if verbose in ("auto", 1) else 0)
    for batch in read(x, "x", "y"):
        example = keras.tree.map_structure(np.asarray, batch[0])
        predictions = _only(model.predict_on_batch(example))
        parts.append((predictions, *(np.asarray(part) for part in batch[1:])))
        progress.add(1)
    if not parts:
        raise ValueError("`x` must yield at least one batch. Received: an empty iterable.")
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    if verbose:
        progress.update(len(parts), finalize=True)
    weights = columns[2] if len(columns) > 2 else None
    return _HeldOut(example, columns[0], columns[1], weights)


def _only(predictions: Any) -> np.ndarray:
    return np.asarray(keras.tree.flatten(predictions)[0])
