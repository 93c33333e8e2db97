"""The page of promises is that of its table, whose tests exist."""

import ast

import pytest
from promises import FILE, PROMISES, ROOT, page

TESTS = [test for rows in PROMISES.values() for _, tests in rows for test in tests]


@pytest.mark.parametrize("test", TESTS)
def test_named_test_exists(test):
    file, _, name = test.partition("::")
    tree = ast.parse((ROOT / "tests" / file).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_page_is_that_of_the_table():
    assert FILE.read_text() == page()
