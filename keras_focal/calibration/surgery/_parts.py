"""A model taken apart in front of its last activation, and put together with a calibration map.

The layers of the user are inside a model of their own, on new inputs: their graph gets no node.
"""

from typing import Any

import keras

from keras_focal.calibration.surgery._graph import Graph, anew, free_name
from keras_focal.calibration.surgery._head import Head, scale, without_activation
from keras_focal.functional._inputs.weights import effective_weights


class Parts:
    """A model up to what is to be calibrated.

    Attributes:
        inputs: New inputs in the structure of the model.
        tensors: By output, what comes from its head: logits, or the output itself.
        others: Outputs that are passed on.
    """

    def __init__(self, graph: Graph, heads: dict[str, Head], name: str, reserved: set[str]):
        self.graph, self.heads, self.name = graph, heads, name
        self._taken = set(reserved)
        self.inputs = anew(graph.inputs)
        fed = [*zip(*map(keras.tree.flatten, (graph.inputs, self.inputs)), strict=True)]
        self._taken |= {new.name for _, new in fed}
        wanted = {
            output: heads[output].tensor if output in heads else tensor
            for output, tensor in graph.outputs.items()
        }
        passed = {
            output: new for output, tensor in wanted.items() for old, new in fed if old is tensor
        }
        inside = {output: tensor for output, tensor in wanted.items() if output not in passed}
        if inside:
            body = keras.Model(graph.inputs, inside, name=self._free(name))
            passed |= body(self.inputs)
        self._copies: dict[str, Any] = {}
        self.tensors = {output: self._through(output, passed[output]) for output in heads}
        self.others = {output: passed[output] for output in graph.outputs if output not in heads}

    def _free(self, name: str) -> str:
        name = free_name(name, self._taken)
        self._taken.add(name)
        return name

    def _through(self, output: str, tensor: Any) -> keras.KerasTensor:
        """Return what the head of an output makes of a tensor."""
        head = self.heads[output]
        for body in head.bodies:
            body.name = self._free(body.name)
            tensor = body(tensor)
        if head.layer is None:
            return tensor
        copy = self._copies[output] = without_activation(head.layer, self._free(head.layer.name))
        tensor = copy(tensor)
        scale(copy, head.layer, 1.0)
        return tensor

    def fold(self, temperatures: dict[str, Any]) -> None:
        """Divide the weights of the last layers by temperatures, or by those of each label."""
        for output, temperature in temperatures.items():
            scale(self._copies[output], self.heads[output].layer, temperature)

    def probe(self) -> keras.Model:
        """Return the model that gives, by output, what is to be calibrated and its mask."""
        counts = {output: _Counts()(tensor) for output, tensor in self.tensors.items()}
        return keras.Model(self.inputs, {"values": self.tensors, "counts": counts})


class _Counts(keras.layers.Layer):
    """Give 1 for each prediction, and 0 where the mask of Keras leaves it out."""

    supports_masking = True

    def call(self, inputs: Any) -> Any:
        return effective_weights(inputs, None)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape[:-1]
