"""How often the compiled value and gradient of a loss read and write arrays as large as the logits.

python tests/benchmarks/passes.py [--quick] [--publish]

The program that XLA makes on JAX is read, not run, so the figures do not depend on the load of the
machine. On memory-bound devices they tell the time: value and gradient of a loss of class ids need
three passes, two that read the logits and one that writes the gradient.
"""

import math
import os
import re
from typing import NamedTuple

os.environ["KERAS_BACKEND"] = "jax"

import jax
import jax.numpy as jnp
import keras
from harness import Row, environment, main

from keras_focal import functional
from keras_focal.gammas import SampleDependentGamma

SHAPE = (512, 1000)
LEAST = {"class ids": 3, "rows of targets": 5}
"""Passes that are needed at least: the logits and the targets are read twice, as the sum over the
classes comes before the gradient, which is written."""

FREE = ("parameter", "tuple", "get-tuple-element", "bitcast", "constant")
"""Operations that move nothing."""

PICKS = ("gather", "dynamic-slice")
"""Operations that read a few entries of their first operand."""

COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$")
INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*?) ([\w\-]+)\((.*)$")
ARRAY = re.compile(r"\b\w+\[([\d,]*)\]")
CALLED = re.compile(r"(?:calls|to_apply|body|condition)=%?([\w.\-]+)")


class Instruction(NamedTuple):
    """A line of a program in HLO."""

    result: str
    shapes: str
    operation: str
    operands: list[str]
    called: list[str]

    def is_large(self, size: int) -> bool:
        """Return whether the result has an array of `size` entries or more."""
        lengths = ([int(n) for n in one.split(",") if n] for one in ARRAY.findall(self.shapes))
        return any(math.prod(of_one) >= size for of_one in lengths)


def passes(text: str, size: int) -> int:
    """Return how often a compiled program reads or writes arrays of `size` entries or more.

    A fusion reads each of its operands once and writes its result, unless it only picks entries.
    A loop or a call counts as what it does once.

    Args:
        text: The optimised program in HLO, as `compiled.as_text()` gives it.
        size: Number of entries.
    """
    program, entry = parsed(text)

    def passes_of(name: str) -> int:
        total, large = 0, set()
        for line in program[name]:
            if line.is_large(size):
                large.add(line.result)
            if line.operation in ("call", "while"):
                total += sum(map(passes_of, line.called))
            elif line.operation not in FREE:
                read = (n for n, operand in enumerate(line.operands) if operand in large)
                total += line.is_large(size) + sum(not only_picks(program, line, n) for n in read)
        return total

    return passes_of(entry)


def parsed(text: str) -> tuple[dict[str, list[Instruction]], str]:
    """Return the computations of a program in HLO, and the name of the one that it starts with."""
    program: dict[str, list[Instruction]] = {}
    name = entry = ""
    for line in text.splitlines():
        if found := COMPUTATION.match(line):
            name = found[2]
            program[name] = []
            entry = name if found[1] else entry
        elif found := INSTRUCTION.match(line):
            given, _, rest = found[4].partition(")")
            operands = re.findall(r"%([\w.\-]+)", given)
            # The number of a parameter takes the place of its operands.
            operands = [given] if found[3] == "parameter" else operands
            program[name].append(Instruction(*found.groups()[:3], operands, CALLED.findall(rest)))
    if not entry:
        raise ValueError(f"`text` must be a program in HLO. Received: {text[:80]!r}.")
    return program, entry


def only_picks(program: dict[str, list[Instruction]], fusion: Instruction, number: int) -> bool:
    """Return whether an instruction reads only a few entries of an operand."""
    if fusion.operation in PICKS:
        return number == 0
    if fusion.operation != "fusion":
        return False
    names = set()
    for line in program[fusion.called[0]]:
        if line.operation == "parameter":
            if line.operands == [str(number)]:
                names.add(line.result)
        elif names.intersection(line.operands):
            if line.operation == "bitcast":
                names.add(line.result)
            elif line.operation not in PICKS or line.operands[0] not in names:
                return False
    return True


def losses():
    """Return {what the labels are: {name: loss of labels and logits}}."""
    rule = SampleDependentGamma([0.2], [5.0, 3.0])

    def ids_cross_entropy(y, z):
        true = jnp.take_along_axis(z, y[:, None], axis=-1)[:, 0]
        return jax.nn.logsumexp(z, axis=-1) - true

    def rows_cross_entropy(y, z):
        return -jnp.sum(y * jax.nn.log_softmax(z), axis=-1)

    def focal(function, gamma):
        return lambda y, z: function(y, z, gamma=gamma)

    def of_keras(y, z):
        return keras.losses.categorical_focal_crossentropy(y, z, gamma=3.0, from_logits=True)

    of_ids = functional.sparse_categorical_focal_crossentropy
    of_rows = functional.categorical_focal_crossentropy
    return {
        "class ids": {
            "cross-entropy": ids_cross_entropy,
            "keras_focal": focal(of_ids, 3.0),
            "keras_focal, FLSD-53": focal(of_ids, rule),
        },
        "rows of targets": {
            "cross-entropy": rows_cross_entropy,
            "keras_focal": focal(of_rows, 3.0),
            "keras_focal, FLSD-53": focal(of_rows, rule),
            "keras.losses.CategoricalFocalCrossentropy": of_keras,
        },
    }


def program(loss, labels: str, shape=SHAPE) -> str:
    """Return the compiled program of the value and the gradient of the mean loss."""
    y = ((shape[0],), "int32") if labels == "class ids" else (shape, "float32")
    step = jax.jit(jax.value_and_grad(lambda z, y: jnp.mean(loss(y, z))))
    given = jax.ShapeDtypeStruct(shape, "float32"), jax.ShapeDtypeStruct(*y)
    return step.lower(*given).compile().as_text()


def measure(quick):
    rows = [
        Row(
            "Passes over arrays as large as the logits, value and gradient on JAX",
            f"{list(SHAPE)} float32, {labels}",
            name,
            f"passes; {LEAST[labels]} is the least",
            passes(program(loss, labels), SHAPE[0] * SHAPE[1]),
            target=LEAST[labels] if name.startswith("keras_focal") else None,
        )
        for labels, of_labels in losses().items()
        for name, loss in of_labels.items()
    ]
    return rows, {**environment("jax"), "device": jax.devices()[0].device_kind}


if __name__ == "__main__":
    main("passes", measure)
