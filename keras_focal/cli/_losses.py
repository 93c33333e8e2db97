"""The losses by the names of the paper, and the other losses of the package."""

import argparse
import ast
from pathlib import Path

from keras_focal._presets import LOSSES
from keras_focal.cli._tables import print_json, print_table

HELP = "the table of losses"
EXAMPLE = "  keras-focal losses"

_SOURCE = Path(__file__).parents[1] / "losses"
_BASES = {"ClassificationLoss", "FocalLoss", "OutputLoss"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command: none of its own."""


def run(arguments: argparse.Namespace) -> None:
    """Print the losses that `losses.get` knows, then every other class of loss."""
    named = {row.loss for row in LOSSES}
    others = {name: what for name, what in _classes().items() if name not in named | _BASES}
    if arguments.json:
        print_json(
            {
                "named": [row._asdict() for row in LOSSES],
                "classes": others,
            }
        )
        return
    print_table(
        ("name", "callback of fit", "in the paper", "what it is"),
        [(row.name, row.callback, row.source, row.what) for row in LOSSES],
        words=4,
    )
    print("Get one by its name: keras_focal.losses.get(NAME, from_logits=True).\n")
    print_table(("class in losses", "what it is"), sorted(others.items()), words=2)


def _classes() -> dict[str, str]:
    """Return the public losses and what they are, from the source: without importing Keras."""
    nodes = [node for path in _SOURCE.glob("*.py") for node in ast.parse(path.read_text()).body]
    public = next(
        ast.literal_eval(node.value)
        for node in nodes
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    classes = {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}

    def is_loss(name: str) -> bool:
        bases = [ast.unparse(base) for base in classes[name].bases]
        return any(
            base == "keras.losses.Loss" or (base in classes and is_loss(base)) for base in bases
        )

    return {
        name: (ast.get_docstring(classes[name]) or "").partition("\n")[0]
        for name in public
        if name in classes and is_loss(name)
    }
