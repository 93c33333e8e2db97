"""From a trained model and held-out data to a model that gives calibrated probabilities."""

from typing import Any

import keras
import numpy as np

from keras_focal._validation import check_choice
from keras_focal.calibration._fit import TemperatureFit, fit_temperature
from keras_focal.calibration._fold import fold as folded
from keras_focal.calibration._fold import linear_heads
from keras_focal.calibration._maps import fit_map
from keras_focal.calibration._methods import METHODS
from keras_focal.calibration._outputs import Graph, free_name
from keras_focal.calibration._predict import Predictions, predict
from keras_focal.calibration._predictions import check_predictions, logits_of
from keras_focal.layers import TemperatureScaling


def calibrate(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    from_logits: bool | dict[str, bool] = False,
    method: str = "temperature",
    criterion: str = "nll",
    outputs: str = "probabilities",
    fold: bool = False,
    return_fit: bool = False,
    sample_weight: Any = None,
    batch_size: int = 32,
    verbose: str | int = "auto",
) -> Any:
    """Return a model that gives calibrated probabilities.

    Predicts held-out data, fits a calibration map to the predictions of each output, one
    temperature unless `method` says otherwise, and puts its layer behind the output, or the
    temperature into the last layer. `model` keeps its weights, which are shared, and is not
    changed. A temperature keeps the accuracy of `model`.

    Args:
        model: A built model. Each output to calibrate is logits or probabilities, shape (..., K),
            or (..., 1) for two classes.
        x: Held-out inputs as `model.predict` takes them, or an iterable of batches (x, y) or (x,
            y, sample_weight) such as a `tf.data.Dataset` or a `keras.utils.PyDataset`. Use data
            that the model was not trained on.
        y: Labels of array inputs: class ids or one-hot rows. None where `x` is an iterable. For
            several outputs a dict by name, or a list in their order; an output that is left out of
            the dict, or None, is passed on as it is.
        from_logits: Whether the model gives logits or probabilities. For several outputs also a
            dict by name.
        method: "temperature", or another method of `fit_map`, such as "vector" or "auto".
        criterion: "nll" or "ece", as in `fit_temperature`; "nll" for other methods.
        outputs: "probabilities", in the structure of the outputs of `model`; or "all" for a
            dictionary {"logits", "probabilities"}, both calibrated, which become the named outputs
            of an exported model. Of several outputs they are "NAME_logits", "NAME_probabilities".
        fold: With method "temperature", whether to divide the weights of the last layer by T,
            instead of its output: the model then has not one operation more than `model` with its
            softmax or sigmoid. That layer gets weights of its own.
        return_fit: Whether to return the fit as well.
        sample_weight: None, or weights of array inputs; for several outputs also a dict or list.
        batch_size: Batch size of array inputs.
        verbose: "auto" or 1 shows progress, 0 nothing.

    Returns:
        A new `keras.Model` of the same inputs. The fitted temperature is
        `model.get_layer("temperature").temperature`, of several outputs "NAME_temperature"; a
        folded model has no such layer, that of another method is called "calibration". `.save` and
        `.export` work as for any model. With `return_fit`, (model, fit): a `TemperatureFit`, a
        `MapFit` of other methods, of several outputs a dict of them by name.

    Raises:
        ValueError: If the data are empty or not finite, labels do not fit, an output is not what
            `from_logits` says, `method` or `criterion` is unknown, or `fold` is asked of another
            method, or of a last layer other than a Dense, EinsumDense or convolution, of one that
            is used twice, quantized, or has LoRA weights.
        ImportError: If `method` is another than "temperature" and "focal_temperature", and SciPy
            or scikit-learn is missing.

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
    is_temperature = method == "temperature"
    check_choice("method", method, (*METHODS, "auto"))
    check_choice("criterion", criterion, ("nll", "ece") if is_temperature else ("nll",))
    check_choice("fold", fold, (False, True) if is_temperature else (False,))
    graph, held_out = predict(model, x, y, sample_weight, batch_size, verbose)
    declared = _declared(graph, from_logits, [*held_out])
    for name, predictions in held_out.items():
        check_predictions(predictions.predictions, declared[name])
    if fold:
        graph, heads = linear_heads(graph, declared)
    fits = {
        name: _fit(
            predictions,
            declared[name],
            method,
            criterion,
            name if len(graph.outputs) > 1 else "",
        )
        for name, predictions in held_out.items()
    }
    if fold:
        logits = folded(graph, heads, {name: fit.temperature for name, fit in fits.items()})
    else:
        logits = _mapped(graph, fits, declared)
    calibrated = _calibrated(graph, logits, outputs, f"calibrated_{model.name}")
    calibrated(graph.inputs)  # some exporters refuse a model that was never called
    if return_fit:
        return calibrated, fits if len(graph.outputs) > 1 else next(iter(fits.values()))
    return calibrated


def _declared(graph: Graph, from_logits: Any, names: list[str]) -> dict[str, bool]:
    """Return whether each output is logits."""
    declared = graph.given("from_logits", from_logits, shared=True)
    for name in names:
        if not isinstance(declared.get(name), bool | np.bool_):
            raise ValueError(
                "`from_logits` must be True or False, or a dict of them with each output that has "
                f"labels. Received: {from_logits!r}, which says nothing of {name!r}."
            )
    return {name: bool(declared[name]) for name in names}


def _fit(
    predictions: Predictions, from_logits: bool, method: str, criterion: str, name: str
) -> Any:
    values, labels, weights = predictions
    try:
        if method != "temperature":
            return fit_map(values, labels, method, from_logits=from_logits, sample_weight=weights)
        logits = values if from_logits else logits_of(values)
        return fit_temperature(logits, labels, criterion, sample_weight=weights)
    except ValueError as error:
        if name:
            error.add_note(f"This is of the output {name!r}.")
        raise


def _mapped(
    graph: Graph, fits: dict[str, Any], from_logits: dict[str, bool]
) -> dict[str, keras.KerasTensor]:
    """Return the logits that a layer behind each output that has a fit gives."""
    taken = {layer.name for layer in graph.layers()}
    logits = {}
    for name, fit in fits.items():
        if isinstance(fit, TemperatureFit):
            kind = "temperature"
            inputs = "logits" if from_logits[name] else "probabilities"
            layer: keras.Layer = TemperatureScaling(fit.temperature, inputs=inputs)
        else:
            kind, layer = "calibration", fit.layer
        own = {"name": free_name(_of(graph, name, kind), taken), "dtype": "float32"}
        layer = type(layer).from_config({**layer.get_config(), **own})
        logits[name] = layer(graph.outputs[name])
    return logits


def _calibrated(
    graph: Graph, logits: dict[str, keras.KerasTensor], outputs: str, name: str
) -> keras.Model:
    """Return the model that gives probabilities of logits, and other outputs as they are."""
    taken = {layer.name for layer in graph.layers(logits)}
    probabilities = {
        output: keras.layers.Activation(
            "sigmoid" if z.shape[-1] == 1 else "softmax",
            dtype="float32",
            name=free_name(_of(graph, output, "probabilities"), taken),
        )(z)
        for output, z in logits.items()
    }
    if outputs == "probabilities":
        return keras.Model(
            graph.inputs, graph.packed({**graph.outputs, **probabilities}), name=name
        )
    chosen = {key: tensor for key, tensor in graph.outputs.items() if key not in logits}
    for kind, tensors in (("logits", logits), ("probabilities", probabilities)):
        for output, tensor in tensors.items():
            chosen[free_name(_of(graph, output, kind), chosen)] = tensor
    return keras.Model(graph.inputs, chosen, name=name)


def _of(graph: Graph, output: str, name: str) -> str:
    """Return the name of a thing of an output: of one output alone, the thing's own."""
    return f"{output}_{name}" if len(graph.outputs) > 1 else name
