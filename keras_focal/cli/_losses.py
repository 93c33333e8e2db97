"""The losses by the names of the paper, and the other losses of the package."""

import argparse
import inspect

import keras

from keras_focal import losses
from keras_focal.cli._tables import print_json, print_table

HELP = "the table of losses"
EXAMPLE = "  keras-focal losses"

_BASES = {"ClassificationLoss", "FocalLoss"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command: none of its own."""


def run(arguments: argparse.Namespace) -> None:
    """Print the losses that `losses.get` knows, then every other class of loss."""
    rows = losses.list()
    named = {row.loss for row in rows}
    others = {
        name: (inspect.getdoc(value) or "").partition("\n")[0]
        for name, value in vars(losses).items()
        if inspect.isclass(value) and issubclass(value, keras.losses.Loss)
        if name not in named | _BASES
    }
    if arguments.json:
        print_json({"named": [row._asdict() for row in rows], "classes": others})
        return
    print_table(
        ("name", "callback of fit", "in the paper", "what it is"),
        [(row.name, row.callback, row.source, row.what) for row in rows],
        words=4,
    )
    print("Get one by its name: keras_focal.losses.get(NAME, from_logits=True).")
    print_table(("class in losses", "what it is"), sorted(others.items()), words=2)
