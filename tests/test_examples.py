"""The examples and the README run, and what the documents say is what the commands gave."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import backends
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def run(*command, cwd):
    environment = {**os.environ, "KERAS_BACKEND": backends.BACKEND}
    return subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=environment,
    )


@pytest.fixture
def quickstart(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    spec = importlib.util.spec_from_file_location("quickstart", ROOT / "examples/quickstart.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "quickstart", module)
    spec.loader.exec_module(module)
    return module


def test_quickstart_trains_measures_calibrates_and_ships(tmp_path):
    answer = run(
        ROOT / "examples/quickstart.py", "--quick", "--epochs", 2, "--out", tmp_path, cwd=ROOT
    )
    assert answer.returncode == 0, answer.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert sorted(results["runs"]) == ["CE/0", "FLSD-53/0", "FLSc-531/0"]
    for figures in results["runs"].values():
        assert figures["before"]["error"] == pytest.approx(figures["after"]["error"])
        assert figures["after"]["nll"] <= figures["before"]["nll"]
    assert (tmp_path / "reliability.png").stat().st_size > 10_000
    assert (tmp_path / "flsd53.keras").is_file()
    differences = re.findall(r"largest difference\s+(\S+)", answer.stdout)
    assert len(differences) == (1 if backends.BACKEND == "torch" else 2)
    assert all(float(difference) < 1e-5 for difference in differences)


def test_quickstart_reads_a_local_cifar10_file(tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (60, 32, 32, 3), "uint8"), np.arange(60) % 10
    np.savez(
        tmp_path / "cifar.npz",
        x_train=images,
        y_train=labels,
        x_test=images[:20],
        y_test=labels[:20],
    )
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        from vision import load_cifar10
    finally:
        sys.path.pop(0)
    data = load_cifar10(0, tmp_path / "cifar.npz", validation_share=0.5)
    assert [len(part.x) for part in (data.train, data.validation, data.test)] == [30, 30, 20]
    assert data.train.x.dtype == np.float32
    assert 0.9 < data.train.x.max() <= 1.0


@pytest.mark.parametrize(
    "arguments",
    [("--data", "absent.npz"), ("--epochs", "0"), ("--seeds", "0"), ("--dataset", "mnist")],
)
def test_quickstart_refuses_bad_arguments_before_any_work(arguments, tmp_path):
    answer = run(ROOT / "examples/quickstart.py", *arguments, cwd=tmp_path)
    assert answer.returncode == 2
    assert arguments[0] in answer.stderr
    assert not list(tmp_path.iterdir())


def test_readme_table_is_what_the_quickstart_wrote(quickstart):
    results = json.loads((ROOT / "docs/results/quickstart.json").read_text())
    table = README.split("<!-- quickstart table -->\n")[1].split("<!-- end")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]
    assert rows == quickstart.summary_rows(results["runs"], quickstart.LOSSES)


# A document whose code needs an extra, and the module that it brings.
EXTRA = {"docs/guides/streaming.md": "apache_beam"}


@pytest.mark.parametrize(
    ("document", "printed"),
    [
        ("README.md", ""),
        ("docs/guides/linear_head.md", "(1, 16, 1000)"),
        ("docs/guides/measuring.md", "ECE 0."),
        ("docs/guides/streaming.md", "before: 8000 predictions"),
    ],
)
def test_code_of_documents_runs(document, printed, tmp_path):
    if document in EXTRA:
        pytest.importorskip(EXTRA[document], reason="needs an extra")
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), re.S)
    if backends.BACKEND == "torch":
        code = code.replace('calibrated.export("saved_model")', "")
    (tmp_path / "readme.py").write_text(code)
    answer = run("readme.py", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert printed in answer.stdout


def test_every_link_between_documents_leads_somewhere():
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if not link.startswith("http"):
                assert (document.parent / link).exists(), f"{document.name}: {link}"
