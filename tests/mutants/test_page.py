"""The page of mutants is what its command makes of the results; the settings name what exists."""

import json
import tomllib

import pytest
from mutants.page import FILE, KINDS, RESULTS, ROOT, page
from mutants.run import key_of

CONFIG = tomllib.loads((ROOT / "tests/mutants/cosmic-ray.toml").read_text())
TABLE = json.loads(RESULTS.read_text())


def test_page_is_made_from_the_results():
    assert FILE.read_text() == page(TABLE)


def test_every_survivor_has_a_kind_and_a_reason():
    assert all(row["kind"] in KINDS and row["reason"] for row in TABLE["survivors"])


def test_every_reason_is_that_of_a_survivor():
    rows = tomllib.loads((ROOT / "tests/mutants/survivors.toml").read_text())["survivor"]
    assert sorted(map(key_of, rows)) == sorted(map(key_of, TABLE["survivors"]))


@pytest.mark.parametrize("name", CONFIG["tests"])
def test_named_module_and_its_tests_exist(name):
    assert (ROOT / "keras_focal" / name).exists()
    files = [test.partition("::")[0] for test in CONFIG["tests"][name]]
    assert all((ROOT / "tests" / file).is_file() for file in files)
