"""From a trained model and held-out data to a model that gives calibrated probabilities."""

import warnings
from typing import Any

import keras
import numpy as np

from keras_focal._validation.choices import check_choice
from keras_focal.calibration.given import Declared
from keras_focal.calibration.maps import METHODS, Limits, Options, map_fitted, sample_of
from keras_focal.calibration.surgery._check import check_graph
from keras_focal.calibration.surgery._graph import Graph, free_name
from keras_focal.calibration.surgery._head import (
    Head,
    ends_in,
    label_axis,
    linear_head,
    logits_head,
)
from keras_focal.calibration.surgery._parts import Parts
from keras_focal.calibration.surgery._predict import predict
from keras_focal.calibration.surgery._source import Source, check_given, of_output
from keras_focal.calibration.temperature import (
    BOUNDS,
    Gathered,
    TemperatureFit,
    fitted,
    reasons,
    settle,
)
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
    ignore_class: int | dict[str, int] | None = None,
    multi_label: bool | str | dict[str, bool | str] = False,
    max_seconds: float | None = None,
    keep_top_class: bool = False,
    batch_size: int = 32,
    verbose: str | int = "auto",
) -> Any:
    """Return a model that gives calibrated probabilities.

    Predicts held-out data, fits a calibration map to the logits of each output, and inserts the map
    before the last softmax or sigmoid. `model` is not changed. The new model shares its layers,
    except for a last layer with an activation of its own, which is copied without it. A
    temperature, the default, does not change the accuracy. If a model of probabilities shows no
    logits, such as a subclassed one, the map is applied to the logarithms of the probabilities.

    Args:
        model: A built model. Each output to calibrate has logits or probabilities, shape (..., K),
            or (..., 1) for two classes.
        x: Held-out inputs as for `model.predict`, or an iterable of batches (x, y) or (x, y,
            sample_weight), such as a `tf.data.Dataset` or a `keras.utils.PyDataset`. Use data that
            the model was not trained on.
        y: Labels of array inputs: class ids or one-hot rows. None if `x` is an iterable. For
            several outputs a dict by name, or a list in their order. Outputs that are missing from
            the dict, or None, are passed on unchanged.
        from_logits: Whether the model gives logits or probabilities. For several outputs, one value
            or a dict by name.
        method: "temperature", or another method of `fit_map`, such as "vector" or "auto".
        criterion: "nll" or "ece", as in `fit_temperature`. Only "nll" for other methods.
        outputs: "probabilities", in the structure of the outputs of `model`, or "all" for a dict of
            "logits" and "probabilities", both calibrated, which become the named outputs of an
            exported model. For several outputs they are "NAME_logits" and "NAME_probabilities".
        fold: Whether to divide the weights of the last layer by T, instead of its output, so that
            the model has no additional operation. The layer gets weights of its own. Method
            "temperature" only.
        return_fit: Whether to return the fit as well.
        sample_weight: None, or weights of array inputs. For several outputs also a dict or list.
        ignore_class: None, or a class id whose predictions are dropped, such as 255. For several
            outputs also a dict by name. Predictions under a Keras mask, such as padding, are
            dropped too.
        multi_label: Whether an output has K independent labels, each with a sigmoid, and labels of
            the same shape. True fits one temperature for all labels, "per_label" one for each.
            Method "temperature" only. For several outputs also a dict by name.
        max_seconds: Of method "auto": None, or the number of seconds after which it starts no
            further map. Of several outputs, for each.
        keep_top_class: Of method "auto": whether it is restricted to maps that never change the top
            class, so that the accuracy stays.
        batch_size: Batch size of array inputs.
        verbose: "auto" or 1 shows a progress bar, 0 nothing.

    Returns:
        A new `keras.Model` with the inputs of `model`. Its layer "temperature", of several outputs
        "NAME_temperature", has the fitted temperature as its attribute `temperature`, a list for
        "per_label". The layer of another method is called "calibration", and a folded model has
        none. The layers of `model` are in an inner model of the same name. `.save` and `.export`
        work as for any model. Compile the model with a loss of probabilities to evaluate it.

        With `return_fit`, (model, fit): a `TemperatureFit`, a `MapFit` for other methods, or a
        tuple for "per_label". For several outputs a dict of them by name.

        For a temperature, up to 2**26 predicted numbers are kept. Beyond that, as for large
        segmentation maps, they are summed, and memory does not grow. T is then accurate to 2e-8,
        and `ece_after` of a fit by "nll" is NaN. Other methods keep all predictions.

    Raises:
        ValueError: If the data are empty or not finite, labels do not fit, `from_logits` does not
            describe an output, an output has independent labels without `multi_label`, `predict`
            of `model` does more than its layers (a preprocessor, for example), or `method` or
            `criterion` is unknown. With `fold`, if the method is another one, or the last layer is
            not a Dense, EinsumDense or convolution, is used twice, is quantized, or has LoRA
            weights.
        ImportError: If the method needs SciPy and scikit-learn and one is missing.

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
    limits = Limits.of(method, max_seconds, keep_top_class)
    check_choice("criterion", criterion, ("nll", "ece") if is_temperature else ("nll",))
    check_choice("fold", fold, (False, True) if is_temperature else (False,))
    source = Source.of(x, y, sample_weight, batch_size)
    graph = Graph.of(model, source.example)
    names = [name for name in graph.outputs if name in check_given(graph, source.labels, None)[0]]
    kinds = graph.given("multi_label", multi_label, shared=True)
    declared = _declared(graph, from_logits, ignore_class, kinds, names)
    _check_kinds(graph, declared, is_temperature)
    check_graph(model, graph, source.example)
    heads = {name: _head(graph, name, declared[name], fold) for name in names}
    several = len(graph.outputs) > 1
    parts = Parts(
        graph,
        heads,
        model.name,
        {_of(name, kind, several) for name in names for kind in (*KINDS, "probabilities")},
    )
    gathered = {
        name: _gatherers(graph.outputs[name], heads[name], declared[name], method) for name in names
    }
    predict(parts.probe(), graph, source, declared, gathered, batch_size, verbose)
    fits: dict[str, Any] = {}
    for name, targets in gathered.items():
        if declared[name].by_label:
            settle(targets)
        found = []
        for target in targets:  # no comprehension, which may be a frame between the user and us
            with of_output(name, several):
                found.append(_fit(target, heads[name], method, criterion, limits))
        fits[name] = tuple(found) if declared[name].by_label else found[0]
        for reason in reasons(found):
            of = f" This is of the output {name!r}." if several else ""
            warnings.warn(reason + of, stacklevel=2)
    if fold:
        parts.fold({name: _temperature(fit) for name, fit in fits.items()})
        logits = parts.tensors
    else:
        logits = {
            name: _layer(_of(name, "{}", several), fit, heads[name].is_logits)(parts.tensors[name])
            for name, fit in fits.items()
        }
    calibrated = _calibrated(parts, logits, declared, outputs, several)
    calibrated(parts.inputs)  # some exporters refuse a model that was never called
    if return_fit:
        return calibrated, fits if several else next(iter(fits.values()))
    return calibrated


KINDS = ("temperature", "calibration")
"""Names of the layers of a map."""


def _declared(
    graph: Graph, from_logits: Any, ignore_class: Any, kinds: dict[str, Any], names: list[str]
) -> dict[str, Declared]:
    """Return what each output and its labels are."""
    declared = graph.given("from_logits", from_logits, shared=True)
    ignored = graph.given("ignore_class", ignore_class, shared=True)
    for name in names:
        if not isinstance(declared.get(name), bool | np.bool_):
            raise ValueError(
                "`from_logits` must be True or False, or a dict of them with each output that has "
                f"labels. Received: {from_logits!r}, which says nothing of {name!r}."
            )
    return {
        name: Declared.of(bool(declared[name]), ignored.get(name), kinds.get(name, False))
        for name in names
    }


def _check_kinds(graph: Graph, declared: dict[str, Declared], is_temperature: bool) -> None:
    """Raise where independent labels are taken for classes, or asked for what they do not have."""
    for name, said in declared.items():
        tensor = graph.outputs[name]
        if said.multi_label:
            if not is_temperature:
                raise ValueError(
                    "`method` must be 'temperature' for labels that are independent of each "
                    f"other. Received: multi_label of the output {name!r} with another method. "
                    "Fit the columns of the logits one by one."
                )
            if not said.from_logits and not ends_in(tensor, "sigmoid"):
                raise ValueError(
                    "`from_logits` must be True for independent labels whose sigmoid is not the "
                    f"last layer of the model. Received: from_logits=False for the output {name!r}."
                )
        elif not said.from_logits and tensor.shape[-1] != 1 and ends_in(tensor, "sigmoid"):
            raise ValueError(
                f"`multi_label` must be True for the {tensor.shape[-1]} sigmoids of the output "
                f"{name!r}, which are independent of each other. Received: multi_label=False. Pass "
                "multi_label=True for one temperature, or multi_label='per_label' for one of each."
            )


def _head(graph: Graph, name: str, declared: Declared, fold: bool) -> Head:
    if fold:
        head = linear_head(graph, name, declared.from_logits)
        if declared.by_label:
            label_axis(head.layer)
        return head
    if declared.from_logits:
        return Head(graph.outputs[name], (), None, True)
    return logits_head(graph, name)


def _gatherers(
    tensor: keras.KerasTensor, head: Head, declared: Declared, method: str
) -> list[Gathered]:
    """Return what gathers the predictions of an output: of each label, or of all."""
    # Logits in front of a softmax are logits, whatever they look like.
    is_checked = declared.from_logits or not head.is_logits
    is_summed = method == "temperature"
    return [
        Gathered(head.is_logits, is_checked=is_checked, is_summed=is_summed)
        for _ in range(tensor.shape[-1] if declared.by_label else 1)
    ]


def _fit(gathered: Gathered, head: Head, method: str, criterion: str, limits: Limits) -> Any:
    if method == "temperature":
        return fitted(gathered.data(stacklevel=3), criterion, BOUNDS)
    data, is_binary = gathered.held_out(stacklevel=3), gathered.is_binary
    inputs = "logits" if head.is_logits else "probabilities"
    return map_fitted(sample_of(data, is_binary), method, Options(), 5, 15, inputs, limits)


def _temperature(fit: Any) -> float | list[float]:
    """Return the temperature of a fit, or those of the fits of each label."""
    return [one.temperature for one in fit] if isinstance(fit, tuple) else fit.temperature


def _layer(name: str, fit: Any, is_logits: bool) -> keras.Layer:
    """Return the layer of a fit; `name` has a place for its kind."""
    kind, inputs = "temperature", "logits" if is_logits else "probabilities"
    if isinstance(fit, TemperatureFit | tuple):
        layer: keras.Layer = TemperatureScaling(_temperature(fit), inputs=inputs)
    else:
        kind, layer = "calibration", fit.layer
    own = {"name": name.format(kind), "dtype": "float32"}
    return type(layer).from_config({**layer.get_config(), **own})


def _calibrated(
    parts: Parts,
    logits: dict[str, keras.KerasTensor],
    declared: dict[str, Declared],
    outputs: str,
    several: bool,
) -> keras.Model:
    """Return the model that gives probabilities of logits, and other outputs as they are."""
    graph, name = parts.graph, f"calibrated_{parts.name}"
    probabilities = {
        output: keras.layers.Activation(
            "sigmoid" if z.shape[-1] == 1 or declared[output].multi_label else "softmax",
            dtype="float32",
            name=_of(output, "probabilities", several),
        )(z)
        for output, z in logits.items()
    }
    if outputs == "probabilities":
        return keras.Model(parts.inputs, graph.packed({**parts.others, **probabilities}), name=name)
    chosen = dict(parts.others)
    for kind, tensors in (("logits", logits), ("probabilities", probabilities)):
        for output, tensor in tensors.items():
            chosen[free_name(_of(output, kind, several), chosen)] = tensor
    return keras.Model(parts.inputs, chosen, name=name)


def _of(output: str, name: str, several: bool) -> str:
    """Return the name of a thing of an output: of one output alone, the thing's own."""
    return f"{output}_{name}" if several else name
