"""Every benchmark runs, and the page of benchmarks is made from the results."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import harness
import maps
import penalties
import pytest
import report
from backends import BACKEND

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


SCRIPTS = {
    "tensorflow": [
        "losses",
        "earlier",
        "linear_head",
        "metrics",
        "temperature",
        "maps",
        "map_speed",
        "penalties",
        "streaming",
        "combine",
        "first_fit",
        "import_time",
        "command_line",
    ],
    "jax": ["gpu", "passes"],
}


@pytest.mark.nightly
@pytest.mark.parametrize("name", SCRIPTS.get(BACKEND, []))
def test_benchmark_runs(name):
    if name == "combine" and not importlib.util.find_spec("apache_beam"):
        pytest.skip("needs the extra `beam`")
    answer = subprocess.run(
        [sys.executable, HERE / f"{name}.py", "--quick"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    assert answer.stdout.strip()


def test_page_is_made_from_the_results():
    assert report.PAGE.read_text() == report.page()


def test_page_of_maps_is_made_from_the_results():
    result = json.loads((report.RESULTS / "maps_compared.json").read_text())
    assert maps.PAGE.read_text() == maps.page(result)


def test_page_of_penalties_is_made_from_the_results():
    result = json.loads((report.RESULTS / "penalties.json").read_text())
    assert penalties.PAGE.read_text() == penalties.page(result)


def test_a_run_that_measured_nothing_replaces_no_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--publish"])

    def publish(median):
        row = harness.Row("a table", "a case", "ours", "theirs", median)
        harness.main("gpu", lambda quick: ([row], {"device": "a card"}))
        return json.loads((tmp_path / "gpu.json").read_text())

    assert publish(None)["rows"][0]["median"] is None
    assert publish(0.5)["rows"][0]["median"] == 0.5
    with pytest.raises(SystemExit, match=r"figures of another machine \(device a card\)"):
        publish(None)
