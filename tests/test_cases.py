"""Which cases of a test run by day: every value of every parameter is among them."""

from argparse import ArgumentTypeError
from itertools import product

import cases
import pytest


class Case:
    """What is read of a case that pytest has collected."""

    def __init__(self, marks, values):
        self.marks = [pytest.mark.parametrize(names, []).mark for names in marks]
        self.params = dict(values)
        self.callspec = self
        self.nodeid = f"test_it[{'-'.join(map(str, self.params.values()))}]"

    def iter_markers(self, name):
        return self.marks


def cases_of(**axes):
    return [Case([*axes], zip(axes, values, strict=True)) for values in product(*axes.values())]


def values_of(found):
    return {pair for case in found for pair in case.params.items()}


def test_every_value_is_among_a_few_cases():
    every = cases_of(loss="abcde", gamma=(0.0, 0.5, 2.0), compiled=(False, True))
    found = cases.chosen(every, cases.VALUES)
    assert len(found) == 5
    assert values_of(found) == values_of(every)


def test_two_parameters_do_not_always_go_together():
    found = cases.chosen(cases_of(kind="ab", compiled=(False, True), gamma=range(6)), cases.VALUES)
    assert {(case.params["kind"], case.params["compiled"]) for case in found} == {
        *product("ab", (False, True))
    }


def test_values_that_one_mark_gives_are_taken_together():
    pairs = [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    every = [
        Case([names, "jit"], {"x": x, "y": y, "jit": jit})
        for names in (("x", "y"), "x, y")
        for (x, y), jit in product(pairs, (False, True))
    ]
    for some in (every[:8], every[8:]):
        found = cases.chosen(some, cases.VALUES)
        assert sorted((case.params["x"], case.params["y"]) for case in found) == pairs


def test_cases_of_one_parameter_are_all_taken():
    every = [Case(["x"], {"x": x}) for x in range(9)] + [Case([], {})]
    assert cases.chosen(every, cases.VALUES) == {*every}


@pytest.mark.parametrize("most", [1, 4])
def test_a_number_of_cases_is_kept(most):
    assert len(cases.chosen(cases_of(kind="abc", jit=(False, True)), most)) == most


def test_all_cases_are_kept_if_asked_for():
    every = cases_of(kind="abc", jit=(False, True))
    assert cases.chosen(every, cases.number("all")) == {*every}


@pytest.mark.parametrize("text", ["0", "-1", "some", "2.5"])
def test_wrong_number_of_cases_is_named(text):
    with pytest.raises(ArgumentTypeError, match=f"Received: '{text}'"):
        cases.number(text)
