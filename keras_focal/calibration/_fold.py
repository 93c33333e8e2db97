"""A temperature inside the last linear layer: softmax((W / T) x + b / T).

A layer that is linear in its weights gives scaled logits from scaled weights, so a calibrated model
needs not one operation more than the model itself.
"""

from typing import Any, NamedTuple, NoReturn

import keras
import numpy as np
from keras import layers

from keras_focal.calibration._outputs import Graph, free_name

LINEAR = (
    layers.Dense,
    layers.EinsumDense,
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
    layers.Conv3DTranspose,
)
"""Layers that give activation(kernel x + bias). A subclass may give something else."""


def linear_heads(graph: Graph, from_logits: dict[str, bool]) -> tuple[Graph, dict[str, "Call"]]:
    """Return a graph on new inputs, of the same layers, and the last layer of outputs of it.

    Args:
        graph: Of a model.
        from_logits: By output, whether it is logits; otherwise it ends in a softmax or sigmoid.

    Raises:
        ValueError: If a last layer is not linear, is used twice, or holds other weights than a
            kernel and a bias.
    """
    trace = _Trace.of(graph.inputs, graph.outputs)
    heads = {}
    for name, is_logits in from_logits.items():
        output = trace.outputs[name]
        activation = "sigmoid" if output.shape[-1] == 1 else "softmax"
        heads[name] = trace.head(output, None if is_logits else activation)
    return Graph(trace.inputs, trace.outputs, graph.kind), heads


def fold(
    graph: Graph, heads: dict[str, "Call"], temperatures: dict[str, float]
) -> dict[str, keras.KerasTensor]:
    """Return logits / temperature of each output, from a copy of its last layer."""
    replaced = [head.layer for head in heads.values()]
    kept = {layer.name for layer in graph.layers() if not _holds(replaced, layer)}
    logits = {}
    for output, (layer, argument, *_) in heads.items():
        name = free_name(layer.name, kept)
        copy = type(layer).from_config({**layer.get_config(), "activation": None, "name": name})
        kept.add(name)
        logits[output] = copy(argument)
        weights = [np.asarray(weight, "float64") for weight in layer.get_weights()]
        copy.set_weights([weight / temperatures[output] for weight in weights])
    return logits


class Call(NamedTuple):
    """A layer that was called, on what (its first argument and all), and what came out."""

    layer: Any
    argument: Any
    arguments: list
    results: list


class _Trace(NamedTuple):
    """A graph, called anew on new inputs with the same layers."""

    inputs: Any
    outputs: Any
    calls: list[Call]

    @classmethod
    def of(cls, inputs: Any, outputs: Any) -> "_Trace":
        calls = []

        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            result = layer(*args, **kwargs)
            flat = keras.tree.flatten((args, kwargs))
            calls.append(Call(layer, args[0] if args else None, flat, keras.tree.flatten(result)))
            return result

        copy = keras.models.clone_model(
            keras.Model(inputs, outputs), clone_function=lambda layer: layer, call_function=call
        )
        return cls(copy.input, copy.output, calls)

    def head(self, output: Any, activation: str | None) -> Call:
        """Return the call of the linear layer that gives an output.

        Args:
            output: A tensor of `outputs`, or the one argument of an activation.
            activation: "softmax" or "sigmoid" that the output has been through, None for logits.
        """
        found = self._producer(output)
        layer = found.layer
        if activation is not None and _is_activation(layer, activation):
            return self.head(found.argument, None)
        if isinstance(layer, keras.Model):
            return self._head_of_model(found, activation)
        if type(layer) not in LINEAR:
            listed = "Dense, EinsumDense or a convolution"
            _refuse(layer, f"is of type {type(layer).__name__}, not {listed}")
        if layer.activation is not keras.activations.get(activation):
            found_name = getattr(layer.activation, "__name__", layer.activation)
            _refuse(layer, f"has the activation {found_name}, not {activation or 'linear'}")
        names = {weight.name for weight in layer.weights}
        if names - {"bias"} != {"kernel"} or "float" not in str(layer.kernel.dtype):
            _refuse(layer, "is quantized or has LoRA weights, which do not scale as a kernel does")
        return found

    def _head_of_model(self, found: Call, activation: str | None) -> Call:
        """Return the call of the last layer of a model inside the model, outside of it."""
        inner = found.layer
        if len(found.results) != 1:
            _refuse(inner, "is a model of several outputs")
        if isinstance(inner, keras.Function):
            trace = _Trace.of(inner.input, inner.output)
        elif type(inner) is keras.Sequential:
            trace = _Trace.of(inner.inputs[0], inner.outputs[0])
        else:
            _refuse(inner, "is a subclassed model, whose layers are not in a graph")
        head = trace.head(keras.tree.flatten(trace.outputs)[0], activation)
        body = keras.Model(trace.inputs, head.argument, name=inner.name)
        return head._replace(argument=body(found.argument))

    def _producer(self, tensor: Any) -> Call:
        """Return the one call that gave a tensor, or raise unless all that it gave went one way."""
        made = [call for call in self.calls if _holds(call.results, tensor)]
        if not made:
            raise ValueError(
                "`fold` must be False for an output that is an input of the model. Received: "
                f"fold=True for {tensor.name!r}. Pass fold=False."
            )
        layer = made[0].layer
        calls = sum(call.layer is layer for call in self.calls)
        uses = sum(_holds(call.arguments, tensor) for call in self.calls)
        uses += sum(output is tensor for output in keras.tree.flatten(self.outputs))
        if calls > 1 or uses > 1:
            _refuse(layer, "is used more than once")
        return made[0]


def _holds(tensors: list, tensor: Any) -> bool:
    return any(other is tensor for other in tensors)


def _is_activation(layer: Any, activation: str) -> bool:
    if type(layer) is layers.Softmax:
        return activation == "softmax" and layer.axis == -1
    if type(layer) is layers.Activation:
        return layer.activation is keras.activations.get(activation)
    return False


def _refuse(layer: Any, reason: str) -> NoReturn:
    raise ValueError(
        "`fold` must be False for a model whose last layer is not a plain linear one. Received: "
        f"fold=True, and layer {layer.name!r} {reason}. Pass fold=False."
    )
