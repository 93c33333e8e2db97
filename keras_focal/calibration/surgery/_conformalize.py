"""From a model and held-out data to a model that gives prediction sets as well."""

from typing import Any

import keras

from keras_focal.calibration.conformal import ConformalFit, check_alpha, conformal_fitted
from keras_focal.calibration.given import Declared
from keras_focal.calibration.surgery._check import check_graph
from keras_focal.calibration.surgery._graph import Graph
from keras_focal.calibration.surgery._head import Head, ends_in
from keras_focal.calibration.surgery._parts import Parts
from keras_focal.calibration.surgery._predict import predict
from keras_focal.calibration.surgery._source import Source
from keras_focal.calibration.temperature import Gathered
from keras_focal.layers import ConformalSets


def conformalize(
    model: keras.Model,
    x: Any,
    y: Any = None,
    alpha: float = 0.1,
    *,
    method: str = "lac",
    from_logits: bool = False,
    penalty: float = 0.01,
    rank: float = 5,
    allow_empty: bool = False,
    return_fit: bool = False,
    sample_weight: Any = None,
    ignore_class: int | None = None,
    batch_size: int = 32,
    verbose: str | int = "auto",
) -> Any:
    """Return a model that gives probabilities and, for each, a set that holds the true class.

    Predicts held-out data, fits `layers.ConformalSets` as `fit_conformal` does, and puts it behind
    the model. `model` is not changed, and the new model shares its layers. Sets are deterministic.

    Args:
        model: A built model with one output of logits or probabilities, shape (..., K), or (..., 1)
            for two classes. Give it calibrated, such as by `calibrate` on other data than these.
        x: Held-out inputs as for `model.predict`, or an iterable of batches (x, y) or (x, y,
            sample_weight), such as a `tf.data.Dataset` or a `keras.utils.PyDataset`. Use data that
            neither the model nor its calibration has seen.
        y: Labels of array inputs: class ids or one-hot rows. None if `x` is an iterable.
        alpha: Number in (0, 1): the share of sets that may miss the label.
        method: "lac", "aps" or "raps", as in `fit_conformal`.
        from_logits: Whether the model gives logits or probabilities.
        penalty: As in `fit_conformal`.
        rank: As in `fit_conformal`.
        allow_empty: As in `fit_conformal`.
        return_fit: Whether to return the fit as well.
        sample_weight: None, or 0 and 1 for array inputs, as in `fit_conformal`.
        ignore_class: None, or a class id whose predictions are dropped, such as 255. Predictions
            under a Keras mask, such as padding, are dropped too.
        batch_size: Batch size of array inputs.
        verbose: "auto" or 1 shows a progress bar, 0 nothing.

    Returns:
        A new `keras.Model` with the inputs of `model` that gives {"probabilities", "sets"}, which
        become the named outputs of an exported model. Sets are bool, shape (..., K), or (..., 2)
        for K = 1, negative class first. With `return_fit`, (model, `ConformalFit`).

    Raises:
        ValueError: If the model has several outputs or independent labels; as `fit_conformal`; or
            as `calibrate` for what a model cannot be taken apart by.

    Example:
        >>> import keras, numpy as np, keras_focal
        >>> logits = keras.layers.Dense(3, kernel_initializer="identity")
        >>> model = keras.Sequential([keras.Input((3,)), logits, keras.layers.Softmax()])
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(0, 2, (500, 3)).astype("float32")
        >>> y = (x + rng.gumbel(size=x.shape)).argmax(axis=1)
        >>> with_sets = keras_focal.calibration.conformalize(model, x, y, alpha=0.1, verbose=0)
        >>> with_sets.predict(x, verbose=0)["sets"].shape
        (500, 3)

    Source:
        Angelopoulos and Bates, 2021, section 1.
    """
    alpha = check_alpha(alpha)
    declared = Declared.of(from_logits, ignore_class, False)
    layer = ConformalSets(
        0.0,
        method=method,
        penalty=penalty,
        rank=rank,
        allow_empty=allow_empty,
        inputs="logits" if from_logits else "probabilities",
        name="sets",
        dtype="float32",
    )
    source = Source.of(x, y, sample_weight, batch_size)
    graph = Graph.of(model, source.example)
    name = _only_output(graph, from_logits)
    check_graph(model, graph, source.example)
    head = Head(graph.outputs[name], (), None, from_logits)
    parts = Parts(graph, {name: head}, model.name, {"probabilities", "sets"})
    gathered = Gathered(from_logits, is_summed=False)
    probe = parts.probe()
    predict(probe, graph, source, {name: declared}, {name: [gathered]}, batch_size, verbose)
    fit: ConformalFit = conformal_fitted([gathered.held_out(stacklevel=2)], layer, alpha)
    values = parts.tensors[name]
    last = "linear" if not from_logits else "sigmoid" if values.shape[-1] == 1 else "softmax"
    probabilities = keras.layers.Activation(last, dtype="float32", name="probabilities")(values)
    outputs = {"probabilities": probabilities, "sets": fit.layer(values)}
    with_sets = keras.Model(parts.inputs, outputs, name=f"conformal_{model.name}")
    with_sets(parts.inputs)  # some exporters refuse a model that was never called
    return (with_sets, fit) if return_fit else with_sets


def _only_output(graph: Graph, from_logits: bool) -> str:
    """Return the name of the only output, of one class per prediction, or raise."""
    if len(graph.outputs) > 1:
        raise ValueError(
            "`model` must have one output. Received: the outputs "
            f"{', '.join(map(repr, graph.outputs))}. Make a model of one of them: "
            "keras.Model(model.input, model.output[name])."
        )
    ((name, tensor),) = graph.outputs.items()
    if not from_logits and tensor.shape[-1] != 1 and ends_in(tensor, "sigmoid"):
        raise ValueError(
            f"`model` must give one class per prediction. Received: {tensor.shape[-1]} sigmoids, "
            "of labels that are independent of each other. Fit each column alone: "
            "fit_conformal(p[..., k:k + 1], y[..., k], from_logits=False)."
        )
    return name
