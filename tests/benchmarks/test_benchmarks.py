"""Every benchmark runs, and the page of benchmarks is made from the results."""

import subprocess
import sys
from pathlib import Path

import pytest
import report
from backends import BACKEND

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.mark.parametrize("name", ["losses", "linear_head", "losses_jax", "import_time"])
def test_benchmark_runs(name):
    if ("jax" if name == "losses_jax" else "tensorflow") != BACKEND:
        pytest.skip("runs with another backend")
    arguments = ["2"] if name == "import_time" else ["--quick"]
    answer = subprocess.run(
        [sys.executable, HERE / f"{name}.py", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    assert answer.stdout.strip()


def test_page_is_made_from_the_results():
    assert report.PAGE.read_text() == report.page()
