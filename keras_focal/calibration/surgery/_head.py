"""What stands in front of the last activation of a model, and a temperature inside the last layer.

A layer that is linear in its weights gives scaled logits from scaled weights, so a calibrated model
needs not one operation more than the model itself: softmax((W / T) x + b / T).

Nothing here calls a layer of the model: the graph of the user is read, and not added to.
"""

from typing import Any, NamedTuple, NoReturn

import keras
import numpy as np
from keras import layers

from keras_focal.calibration.surgery._graph import Graph

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


class Head(NamedTuple):
    """What makes an output.

    Attributes:
        tensor: What the last layers take: a tensor of the graph, or a structure of them.
        bodies: Models that take it, one after the other.
        layer: The linear layer that follows them, whose copy without activation gives logits; None
            if what comes is the output, or the logits of it.
        is_logits: Whether logits come, or the output as it is.
    """

    tensor: Any
    bodies: tuple[keras.Model, ...]
    layer: Any
    is_logits: bool


def logits_head(graph: Graph, name: str) -> Head:
    """Return what gives the logits of an output of probabilities, else the output as it is."""
    tensor = graph.outputs[name]
    activation = _activation(tensor)
    try:
        found = _Search(graph.outputs).head(tensor, activation, is_shared=True)
    except ValueError:
        return Head(tensor, (), None, False)
    return Head(found.argument, found.bodies, found.layer, True)


def linear_head(graph: Graph, name: str, is_logits: bool) -> Head:
    """Return the last layer of an output.

    Raises:
        ValueError: If it is not linear, is used twice, or holds other weights than a kernel and a
            bias.
    """
    tensor = graph.outputs[name]
    activation = None if is_logits else _activation(tensor)
    found = _Search(graph.outputs).head(tensor, activation, is_shared=False)
    return Head(found.argument, found.bodies, found.layer, True)


def without_activation(layer: Any, name: str) -> Any:
    """Return a copy of a linear layer, not built yet, that gives logits."""
    return type(layer).from_config({**layer.get_config(), "activation": None, "name": name})


def scale(layer: Any, like: Any, temperature: float | list[float]) -> None:
    """Set the weights of a layer to those of another, divided by a temperature, or each label's."""
    weights = [np.asarray(weight, "float64") for weight in like.get_weights()]
    scales = [np.asarray(temperature, "float64")] * 2
    if scales[0].ndim:
        shape = [1] * weights[0].ndim
        shape[label_axis(like)] = -1
        scales[0] = scales[0].reshape(shape)
    layer.set_weights([weight / of for weight, of in zip(weights, scales, strict=False)])


def label_axis(layer: Any) -> int:
    """Return the axis of the kernel that the last axis of the output comes from, or raise."""
    if not isinstance(layer, layers.EinsumDense):
        is_transposed = isinstance(
            layer, layers.Conv1DTranspose | layers.Conv2DTranspose | layers.Conv3DTranspose
        )
        return -2 if is_transposed else -1
    _, kernel, output = layer.equation.replace("->", ",").split(",")
    label = output[-1]
    if label not in kernel or (layer.bias_axes is not None and label not in layer.bias_axes):
        _refuse(layer, "has no weights of its own for each label")
    return kernel.index(label)


def ends_in(tensor: Any, activation: str) -> bool:
    """Tell whether a tensor comes right out of an activation, of a layer of it or of a model."""
    made = _producer(tensor)
    if made is None:
        return False
    layer = made.operation
    if isinstance(layer, keras.Function) and len(made.output_tensors) == 1:
        return ends_in(keras.tree.flatten(layer.output)[0], activation)
    if type(layer) is keras.Sequential and layer.layers:
        return ends_in(layer.outputs[0], activation)
    if _is_activation(layer, activation):
        return True
    return type(layer) in LINEAR and layer.activation is keras.activations.get(activation)


def _activation(tensor: Any) -> str:
    is_sigmoid = tensor.shape[-1] == 1 or ends_in(tensor, "sigmoid")
    return "sigmoid" if is_sigmoid else "softmax"


class _Found(NamedTuple):
    argument: Any
    bodies: tuple[keras.Model, ...]
    layer: Any


class _Search:
    """A search of the graph that ends in some outputs."""

    def __init__(self, outputs: Any):
        self.outputs = keras.tree.flatten(outputs)
        self.nodes: list[Any] = []
        waiting = [_producer(tensor) for tensor in self.outputs]
        while waiting:
            node = waiting.pop()
            if node is not None and not _holds(self.nodes, node):
                self.nodes.append(node)
                waiting += [_producer(tensor) for tensor in node.input_tensors]

    def head(self, output: Any, activation: str | None, *, is_shared: bool) -> _Found:
        """Return the linear layer that gives an output.

        Args:
            output: A tensor of the graph, or the one argument of an activation.
            activation: "softmax" or "sigmoid" that the output has been through, None for logits.
            is_shared: Whether others may use the layer, and the last may be any that gives logits.
        """
        node = self._one_producer(output, is_shared)
        layer = node.operation
        arguments = node.input_tensors
        if activation is not None and _is_activation(layer, activation):
            if is_shared:
                return _Found(arguments[0], (), None)
            return self.head(arguments[0], None, is_shared=False)
        if isinstance(layer, keras.Model):
            return self._head_of_model(node, activation, is_shared)
        if type(layer) not in LINEAR:
            listed = "Dense, EinsumDense or a convolution"
            _refuse(layer, f"is of type {type(layer).__name__}, not {listed}")
        if layer.activation is not keras.activations.get(activation):
            found_name = getattr(layer.activation, "__name__", layer.activation)
            _refuse(layer, f"has the activation {found_name}, not {activation or 'linear'}")
        names = {weight.name for weight in layer.weights}
        if names - {"bias"} != {"kernel"} or "float" not in str(layer.kernel.dtype):
            _refuse(layer, "is quantized or has LoRA weights, which do not scale as a kernel does")
        return _Found(arguments[0], (), layer)

    def _head_of_model(self, node: Any, activation: str | None, is_shared: bool) -> _Found:
        """Return the last layer of a model inside the model."""
        inner = node.operation
        if len(node.output_tensors) != 1:
            _refuse(inner, "is a model of several outputs")
        if isinstance(inner, keras.Function):
            inputs, outputs = inner.input, inner.output
        elif type(inner) is keras.Sequential:
            inputs, outputs = inner.inputs[0], inner.outputs[0]
        else:
            _refuse(inner, "is a subclassed model, whose layers are not in a graph")
        output = keras.tree.flatten(outputs)[0]
        found = _Search(outputs).head(output, activation, is_shared=is_shared)
        body = keras.Model(inputs, found.argument, name=inner.name)
        return _Found(node.arguments.args[0], (body, *found.bodies), found.layer)

    def _one_producer(self, tensor: Any, is_shared: bool) -> Any:
        """Return the call that gave a tensor; unless shared, all that it gave went one way."""
        made = _producer(tensor)
        if made is None:
            raise ValueError(
                "`fold` must be False for an output that is an input of the model. Received: "
                f"fold=True for {tensor.name!r}. Pass fold=False."
            )
        calls = sum(node.operation is made.operation for node in self.nodes)
        uses = sum(_holds(node.input_tensors, tensor) for node in self.nodes)
        uses += sum(output is tensor for output in self.outputs)
        if not is_shared and (calls > 1 or uses > 1):
            _refuse(made.operation, "is used more than once")
        return made


def _producer(tensor: Any) -> Any:
    """Return the node of the graph that gave a tensor; None of an input."""
    operation, index, _ = tensor._keras_history
    node = None if operation is None else operation._inbound_nodes[index]
    return None if node is None or node.is_input else node


def _holds(things: list, thing: Any) -> bool:
    return any(other is thing for other in things)


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
