"""What a saved model and a user's call rely on: registered names, and defaults.

KERAS_BACKEND=torch python tests/test_registry.py writes `defaults.txt` again.
"""

import importlib
import inspect
from pathlib import Path
from typing import Any

import keras
import pytest

import keras_focal

FILE = Path(__file__).with_name("defaults.txt")
# Those that need an extra have no class with a config.
MODULES = {
    name: importlib.import_module(f"keras_focal.{name}")
    for name in sorted({*keras_focal.__all__} - {"__version__", "beam", "plotting"})
}
PUBLIC = [(module, name) for module, found in MODULES.items() for name in found.__all__]
CODE = {
    f"{module}.{name}": value
    for module, name in PUBLIC
    if inspect.isclass(value := getattr(MODULES[module], name)) or inspect.isfunction(value)
}
# They are never built, so never saved.
BASES = {
    "BinnedMetric",
    "CellMetric",
    "ClassificationLoss",
    "FocalLoss",
    "GammaRule",
    "OutputLoss",
    "Penalty",
    "PredictionMetric",
    "TotalsMetric",
}


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, value in CODE.items()
        if hasattr(value, "get_config") and value.__name__ not in BASES
    ],
)
def test_class_with_a_config_is_registered_in_the_package(name):
    registered = f"keras_focal>{CODE[name].__name__}"
    assert keras.saving.get_registered_name(CODE[name]) == registered
    assert keras.saving.get_registered_object(registered) is CODE[name]


def is_for_compile(function):
    """Return whether a function takes labels and predictions alone, and returns a tensor."""
    signature = inspect.signature(function)
    needed = [p.name for p in signature.parameters.values() if p.default is p.empty]
    first = needed[:1] in (["labels"], ["targets"])
    pair = first and needed[1:] in (["logits"], ["predictions"])
    return pair and signature.return_annotation is Any


@pytest.mark.parametrize(
    "name",
    [
        name
        for module, name in PUBLIC
        if module == "functional"
        and inspect.isfunction(CODE.get(f"functional.{name}"))
        and is_for_compile(CODE[f"functional.{name}"])
    ],
)
def test_function_that_a_model_may_be_compiled_with_is_registered(name):
    registered = keras.saving.get_registered_object(f"keras_focal>{name}")
    assert registered is CODE[f"functional.{name}"]


def defaults() -> list[str]:
    """Return a line for each public function and class that has defaults."""
    lines = []
    for name, value in CODE.items():
        parameters = inspect.signature(value).parameters.values()
        given = [p for p in parameters if p.default is not p.empty]
        texts = (f"{p.name}={getattr(p.default, '__qualname__', repr(p.default))}" for p in given)
        lines += [f"{name}: {', '.join(texts)}"] if given else []
    return lines


def test_no_default_changes_unnoticed():
    assert defaults() == FILE.read_text().splitlines()


if __name__ == "__main__":
    FILE.write_text("\n".join(defaults()) + "\n")
