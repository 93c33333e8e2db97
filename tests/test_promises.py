"""The page of promises is that of its table, whose tests exist and have passed."""

import ast
import json
from types import SimpleNamespace

import pytest
from promises import FILE, PROMISES, RECORD, ROOT, Passed, page

TESTS = [test for rows in PROMISES.values() for _, tests in rows for test in tests]


@pytest.mark.parametrize("test", TESTS)
def test_named_test_exists(test):
    file, _, name = test.partition("::")
    tree = ast.parse((ROOT / "tests" / file).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_page_is_that_of_the_table():
    assert FILE.read_text() == page()


@pytest.mark.parametrize("test", TESTS)
def test_named_test_has_passed_on_a_backend(test):
    record = json.loads(RECORD.read_text())
    assert any(found["tests"].get(test, {}).get("cases") for found in record.values())


def test_cases_and_examples_that_passed_are_counted():
    passed = Passed()
    for when, outcome, stats in (
        ("setup", "passed", ""),
        ("call", "passed", ""),
        ("teardown", "passed", "    - 12 passing, 0 failing, and 3 invalid test cases"),
        ("call", "failed", ""),
        ("setup", "skipped", ""),
    ):
        report = SimpleNamespace(
            nodeid="tests/a.py::test_it[0]", when=when, passed=outcome == "passed"
        )
        report._hypothesis_stats = stats
        passed.pytest_runtest_logreport(report)
    assert passed.counts == {"a.py::test_it": {"cases": 1, "examples": 12}}
