"""Which cases of a test are run: those that hold every value of every parameter, or a few."""

import argparse
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from itertools import combinations

import pytest

VALUES, ALL = "values", "all"


def number(text: str) -> str | int:
    """Return which cases are asked for: `VALUES`, `ALL`, or how many at most."""
    if text in (VALUES, ALL):
        return text
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"must be 'values', 'all' or a number > 0. Received: {text!r}")


def chosen(items: list[pytest.Item], number: str | int) -> set[pytest.Item]:
    """Return the cases to run: all, those that hold every value, or so many of each check."""
    kept: set[pytest.Item] = set()
    if number == ALL:
        kept.update(items)
    elif number == VALUES:
        for found in _by_name(items, lambda item: item.nodeid.partition("[")[0]).values():
            kept.update(covering(found))
    else:
        for name, found in _by_name(items, _test_and_check).items():
            kept.update(spread(found, name, number))
    return kept


def covering(cases: list[pytest.Item]) -> list[pytest.Item]:
    """Return few cases of one test that have every value of every parameter among them.

    Of several that add as many values it is the one whose values, and pairs of them, were seldom
    taken: two parameters of two values each do not always go together.
    """
    values = {case: _values(case) for case in cases}
    if max(map(len, values.values())) < 2:
        return cases
    parts = {case: [*found, *combinations(sorted(found), 2)] for case, found in values.items()}
    missing, kept, times = set().union(*values.values()), [], Counter()
    while missing:
        new = {case: len(values[case] & missing) for case in cases}
        best = max(cases, key=lambda case: (new[case], -sum(times[x] for x in parts[case])))
        missing -= values[best]
        times.update(parts[best])
        kept.append(best)
    return kept


def spread(cases: list[pytest.Item], name: str, most: int) -> list[pytest.Item]:
    """Return some cases, as far apart as they can be; of two tests with the same cases others."""
    number = min(most, len(cases))
    first = zlib.crc32(name.encode()) % len(cases)
    return [cases[(first + i * len(cases) // number) % len(cases)] for i in range(number)]


def _values(case: pytest.Item) -> set[tuple[tuple[str, int], ...]]:
    """Return the values of a case, each with its name; those that one mark gives are one."""
    given = {name: id(value) for name, value in _parameters(case).items()}
    marks = [mark.args[0] for mark in case.iter_markers("parametrize")]
    together = [[x.strip() for x in m.split(",")] if isinstance(m, str) else m for m in marks]
    together += [[name] for name in given.keys() - set().union(*together)]
    return {tuple((name, given[name]) for name in names) for names in together}


def _parameters(case: pytest.Item) -> dict[str, object]:
    return case.callspec.params if hasattr(case, "callspec") else {}


def _test_and_check(case: pytest.Item) -> str:
    check = _parameters(case).get("check")
    # A name is the same in every worker; the text of an object may hold its address.
    return case.nodeid.partition("[")[0] + (f" {check}" if isinstance(check, str) else "")


def _by_name(
    cases: Iterable[pytest.Item], name: Callable[[pytest.Item], str]
) -> dict[str, list[pytest.Item]]:
    found = defaultdict(list)
    for case in cases:
        found[name(case)].append(case)
    return found
