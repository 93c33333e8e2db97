"""docs/losses.md holds every loss, with its own defaults, and every name of the paper."""

import inspect
import re
from pathlib import Path

import keras
import pytest

from keras_focal import losses

PAGE = Path(__file__).resolve().parents[2] / "docs" / "losses.md"
BASES = {"ClassificationLoss", "FocalLoss", "OutputLoss"}
LOSSES = [
    name
    for name in losses.__all__
    if inspect.isclass(getattr(losses, name))
    and issubclass(getattr(losses, name), keras.losses.Loss)
    and name not in BASES
]


def rows():
    """Return the cells of each row of the table, by the class that it names."""
    table = PAGE.read_text().split("## Every loss")[1].split("\n\n")[2]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()[2:]]
    return {row[1].strip(" `"): [cell.strip() for cell in row] for row in cells}


def test_the_table_holds_every_public_loss_once():
    assert sorted(rows()) == sorted(LOSSES)


@pytest.mark.parametrize("name", LOSSES)
def test_a_row_has_formula_source_and_use(name):
    cells = rows()[name]
    assert len(cells) == 6
    assert all(cells[i] for i in (0, 2, 3, 5))
    assert re.search(r"\b(19|20)\d\d\b", cells[3])


@pytest.mark.parametrize("name", LOSSES)
def test_the_defaults_of_a_row_are_those_of_the_class(name):
    parameters = inspect.signature(getattr(losses, name)).parameters
    aliases = {"s": "label_smoothing"}
    for argument, value in re.findall(r"(\w+) (-?[\d.]+\d|\d)(?![\w(])", rows()[name][4]):
        default = parameters[aliases.get(argument, argument)].default
        assert default == float(value), argument


@pytest.mark.parametrize("name", LOSSES)
def test_the_equation_of_a_row_stands_in_the_maths(name):
    maths = (PAGE.parent / "maths.md").read_text()
    assert f"| {rows()[name][0]} |" in maths


def test_every_name_of_the_paper_is_on_the_page():
    section = PAGE.read_text().split("## By the paper's names")[1].split("## ")[0]
    words = set(re.findall(r"[\w.-]+", section))
    assert {row.name for row in losses.list()} <= words
