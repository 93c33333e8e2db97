"""The outputs of a model by name, and what a user gave for each."""

import itertools
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import keras


@dataclass(frozen=True)
class Graph:
    """The symbolic inputs of a model and its outputs by name.

    Attributes:
        inputs: Structure of inputs, as the model has it.
        outputs: Output tensors by name, in the order of the model.
        kind: dict, list or tuple; None for one bare output.
    """

    inputs: Any
    outputs: dict[str, keras.KerasTensor]
    kind: type | None

    @classmethod
    def of(cls, model: keras.Model, example: Any) -> "Graph":
        """Return the graph of a model, calling it once on inputs like `example` if it has none."""
        if isinstance(model, keras.Function):
            inputs, outputs = model.input, model.output
        elif _is_plain_sequence(model):
            inputs, outputs = model.inputs[0], model.outputs[0]
            # Whether the last layer gives a dict of one tensor, as that of a SavedModel does.
            structure = model.compute_output_spec(inputs)
            if isinstance(structure, dict):
                outputs = dict.fromkeys(structure, outputs)
        else:  # `output` of a model that is called as a layer has lost the structure
            inputs = _inputs_of(model, example)
            outputs = model(inputs)
        kind = next((kind for kind in (dict, list, tuple) if isinstance(outputs, kind)), None)
        tensors = [*outputs.values()] if kind is dict else outputs if kind else [outputs]
        if any(isinstance(tensor, dict | list | tuple) for tensor in tensors):
            raise ValueError(
                "`model` must have one output, or a dict or list of outputs. Received: outputs "
                "inside outputs. Name them in one dict."
            )
        if kind is dict:
            return cls(inputs, dict(outputs), dict)
        names: list[str] = []
        for name in keras.Model(inputs, outputs).output_names:
            names.append(free_name(name, names))
        return cls(inputs, dict(zip(names, tensors, strict=True)), kind if names[1:] else None)

    def by_name(self, values: Any) -> dict[str, Any]:
        """Return values in the structure of the outputs by name."""
        if self.kind is dict:
            return dict(values)
        return dict(zip(self.outputs, values if self.kind else [values], strict=True))

    def packed(self, values: dict[str, Any]) -> Any:
        """Return values by name in the structure of the outputs."""
        if self.kind is dict:
            return {name: values[name] for name in self.outputs}
        ordered = [values[name] for name in self.outputs]
        return self.kind(ordered) if self.kind else ordered[0]

    def given(self, argument: str, value: Any, *, shared: bool = False) -> dict[str, Any]:
        """Return what a user gave for each output, by name, without what is None.

        Args:
            argument: What errors call it.
            value: For one output the thing itself; or a dict by name; or for several outputs a list
                in their order.
            shared: Whether one thing may stand for all of several outputs.
        """
        listed = ", ".join(repr(name) for name in self.outputs)
        if isinstance(value, dict):
            unknown = [name for name in value if name not in self.outputs]
            if unknown:
                raise ValueError(
                    f"`{argument}` must be keyed by the outputs of the model: {listed}. Received: "
                    f"{unknown[0]!r}."
                )
            found = value
        elif len(self.outputs) == 1 or (shared and not isinstance(value, list | tuple)):
            found = dict.fromkeys(self.outputs, value)
        elif isinstance(value, list | tuple) and len(value) == len(self.outputs):
            found = dict(zip(self.outputs, value, strict=True))
        else:
            size = f" of {len(value)}" if isinstance(value, list | tuple) else ""
            raise ValueError(
                f"`{argument}` must be a dict or list with one entry for each output: {listed}. "
                f"Received: {type(value).__name__}{size}. Leave an output out of the dict to pass "
                "it on as it is."
            )
        return {name: part for name, part in found.items() if part is not None}


def free_name(name: str, taken: Collection[str]) -> str:
    """Return `name`, or `name` with the first number that is not taken."""
    numbered = (f"{name}_{number}" for number in itertools.count(1))
    return next(free for free in itertools.chain([name], numbered) if free not in taken)


def _is_plain_sequence(model: keras.Model) -> bool:
    """Tell whether a model is a built `Sequential` of one tensor, whose graph needs no call."""
    if not isinstance(model, keras.Sequential) or not model.layers or not model.inputs:
        return False
    return isinstance(getattr(model.layers[-1], "output", None), keras.KerasTensor)


def anew(inputs: Any) -> Any:
    """Return new inputs like those of a graph, in their structure."""

    def like(tensor: Any) -> keras.KerasTensor:
        layer = tensor._keras_history.operation
        return keras.layers.InputLayer.from_config(layer.get_config()).output

    return keras.tree.map_structure(like, inputs)


def _inputs_of(model: keras.Model, example: Any) -> Any:
    """Return symbolic inputs of a model without a graph: those of `Sequential`, or new ones."""
    own = getattr(model, "inputs", None) if isinstance(model, keras.Sequential) else None
    if own:
        return own[0]
    if isinstance(example, dict):
        return {name: _input_like(part, name) for name, part in example.items()}
    return keras.tree.map_structure(_input_like, example)


def _input_like(part: Any, name: str | None = None) -> keras.KerasTensor:
    dtype = keras.backend.standardize_dtype(part.dtype)
    return keras.Input(tuple(part.shape[1:]), dtype=dtype, name=name)
