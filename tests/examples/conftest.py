"""Examples are run as programs are, in the process of the test."""

import gzip
import importlib
import json
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def example(monkeypatch):
    """Import an example by its name, as it is when `python examples/NAME.py` runs it."""
    monkeypatch.syspath_prepend(EXAMPLES)

    def imported(name):
        return importlib.import_module(name)

    return imported


@pytest.fixture
def run_example(example, monkeypatch):
    """Run an example, by its name or as a module, with arguments, and return its module."""

    def run(name, *arguments):
        module = example(name) if isinstance(name, str) else name
        monkeypatch.setattr(sys, "argv", [module.__file__, *map(str, arguments)])
        module.main()
        return module

    return run


@pytest.fixture
def written():
    """Write articles as the file of 20 Newsgroups that the examples read."""

    def write(folder, articles):
        file = folder / "newsgroups20_original_19997.jsonl.gz"
        with gzip.open(file, "wt", encoding="utf-8") as lines:
            lines.writelines(json.dumps(article) + "\n" for article in articles)

    return write
