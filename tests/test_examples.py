"""The examples and the README run, and what the documents say is what the commands gave."""

import gzip
import importlib
import importlib.util
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import backends
import keras
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


@pytest.fixture
def refused(monkeypatch, tmp_path, capsys):
    def assert_refused(example, arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [example.__file__, *arguments])
        with pytest.raises(SystemExit) as stop:
            example.main()
        assert stop.value.code == 2
        assert arguments[0] in capsys.readouterr().err
        assert not list(tmp_path.iterdir())

    return assert_refused


@pytest.mark.nightly
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


@pytest.fixture
def cifar10(tmp_path):
    """A folder with CIFAR-10 in little, as Keras gives it."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 10
    images = rng.integers(0, 256, (60, 32, 32, 3), "uint8")
    parts = {"x_train": images, "y_train": labels, "x_test": images[:20], "y_test": labels[:20]}
    np.savez(tmp_path / "cifar10.npz", **parts)
    return tmp_path


def test_quickstart_trains_cifar10_as_the_paper_does_and_serves_no_augmentation(
    quickstart, cifar10, few_steps
):
    task = quickstart.cifar10_task(cifar10)
    data = task.load(0)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [54, 6, 20]
    assert task.recipe.make_optimizer().l2 == 5e-4
    batch, _ = quickstart.samples(task.recipe, data, 0)["x"][0]
    assert not any((image == one).all() for image, one in zip(batch, data.train.x, strict=False))
    model = task.network(data)
    assert not [layer.name for layer in model.layers if "random" in layer.name]


def test_quickstart_fails_where_what_is_served_differs(quickstart):
    quickstart.told("served", 1e-6)
    for difference in (1e-3, float("nan")):
        with pytest.raises(SystemExit, match="same probabilities"):
            quickstart.told("served", difference)


def test_an_example_runs_as_a_module_too(monkeypatch, capsys):
    """Without what running it as a file finds: the folder of the examples, and its modules."""
    folder = ROOT / "examples"
    monkeypatch.setattr(sys, "path", [path for path in sys.path if Path(path) != folder])
    for name in [name for name in sys.modules if re.match(r"examples$|shared\b", name)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "argv", ["quickstart", "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("examples.quickstart", run_name="__main__")
    assert stop.value.code == 0
    assert "--data-dir" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ("--data-dir", "absent"),
        ("--data-dir", "."),
        ("--epochs", "0"),
        ("--seeds", "0"),
        ("--dataset", "mnist"),
    ],
)
def test_quickstart_refuses_bad_arguments_before_any_work(arguments, quickstart, refused):
    refused(quickstart, arguments)


@pytest.fixture
def calarena(monkeypatch):
    pytest.importorskip("sklearn", reason="needs the extra `maps`")
    monkeypatch.syspath_prepend(ROOT / "examples")
    import calarena

    return calarena


@pytest.mark.parametrize("form", ["(n,)", "(n, 2)", "(n, 3)"])
def test_calarena_adapter_gives_probabilities_of_better_likelihood(calarena, rng, form):
    p = rng.dirichlet([1, 1] if "3" not in form else [1, 1, 1], 600)
    labels = (p.cumsum(axis=1) < rng.random((600, 1))).sum(axis=1)
    sharp = p**3 / (p**3).sum(axis=1, keepdims=True)
    given = sharp[:, 1] if form == "(n,)" else sharp
    calibrator = calarena.CALIBRATORS["KF-temperature"]()
    calibrator.fit(given[:400], labels[:400])
    found = calibrator.predict_proba(given[400:])
    assert found.shape == (200, p.shape[1])
    np.testing.assert_allclose(found.sum(axis=1), 1)
    after, before = (calarena.scores(q, labels[400:]) for q in (found, sharp[400:]))
    assert after[0] < before[0]
    assert after[2] == before[2]


def test_calarena_adapter_knows_classes_without_a_label(calarena, rng):
    p = rng.dirichlet(np.ones(4), 200)
    calibrator = calarena.CALIBRATORS["KF-structured_vector"]()
    calibrator.fit(p, p[:, :3].argmax(axis=1))
    assert calibrator.predict_proba(p).shape == (200, 4)


def test_calarena_example_compares_maps_on_published_logits(calarena, real_data, capsys):
    file = real_data / "logits/cifar10_resnet50_flsd53.npz"
    calarena.Console(width=100).print(calarena.compared(file, ["temperature", "structured_matrix"]))
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "0." in line]
    assert [row[0] for row in rows] == ["none", "temperature", "structured_matrix"]
    losses = [float(row[1]) for row in rows]
    assert losses == sorted(losses, reverse=True)


def test_calarena_example_refuses_a_file_that_is_not_there(calarena, refused):
    refused(calarena, ["absent.npz"])


@pytest.mark.nightly
@pytest.mark.skipif(backends.BACKEND == "torch", reason="Keras exports no SavedModel from torch")
def test_server_answers_rest_requests_with_what_the_model_gives(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / "examples")
    serve = importlib.import_module("serve")
    command = ("serve.py", "--epochs", 2, "--instances", 7, "--out", tmp_path)
    monkeypatch.setattr(sys, "argv", [*map(str, command)])
    serve.main()
    printed = " ".join(capsys.readouterr().out.split())
    assert ": 200, 7 predictions of ['logits', 'probabilities']" in printed
    assert "400, Serving signature name: 'other' not found" in printed
    differences = re.findall(r"largest difference (\S+)", printed)
    assert len(differences) == 2
    assert all(float(difference) < 1e-5 for difference in differences)
    assert (tmp_path / "digits/1/saved_model.pb").is_file()


@pytest.fixture
def signatures(monkeypatch, tmp_path):
    """The server's half of the example, with a model of two inputs and two outputs."""
    if backends.BACKEND == "torch":
        pytest.skip("Keras exports no SavedModel from torch")
    monkeypatch.syspath_prepend(ROOT / "examples")
    import serve

    a, b = keras.Input((2,), name="a"), keras.Input((1,), name="b")
    outputs = {"sum": a + b, "largest": keras.ops.max(a, axis=-1)}
    keras.Model({"a": a, "b": b}, outputs).export(tmp_path / "m", verbose=False)
    return serve.Signatures(tmp_path / "m")


def test_instances_and_predictions_are_named_where_there_are_several(signatures):
    instances = [{"a": [1.0, 2.0], "b": [10.0]}, {"a": [4.0, 3.0], "b": [0.0]}]
    assert signatures.predict({"instances": instances})["predictions"] == [
        {"largest": 2.0, "sum": [11.0, 12.0]},
        {"largest": 4.0, "sum": [4.0, 3.0]},
    ]


@pytest.mark.parametrize(
    ("request_body", "message"),
    [
        ([], "must be a JSON object"),
        ({}, "must have a list of instances"),
        ({"instances": []}, "must have a list of instances"),
        ({"instances": [{"a": [1.0, 2.0]}]}, "do not fit the inputs"),
        ({"instances": [{"a": [1.0], "b": [1.0]}]}, "do not fit the inputs"),
        ({"instances": [{"a": "x", "b": [1.0]}]}, "do not fit the inputs"),
        ({"instances": [[1.0, 2.0]]}, "do not fit the inputs"),
        ({"signature_name": "other", "instances": [1]}, "not found in signature def"),
    ],
)
def test_requests_that_do_not_fit_are_refused(signatures, request_body, message):
    with pytest.raises(ValueError, match=message):
        signatures.predict(request_body)


@pytest.mark.parametrize("arguments", [("--epochs", "0"), ("--instances", "0")])
def test_server_refuses_bad_arguments_before_any_work(arguments, refused, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    refused(importlib.import_module("serve"), arguments)


def test_readme_table_is_what_the_quickstart_wrote(quickstart):
    results = json.loads((ROOT / "docs/results/quickstart.json").read_text())
    table = README.split("<!-- quickstart table -->\n")[1].split("<!-- end")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]
    assert rows == quickstart.summary_rows(results["runs"], quickstart.LOSSES)


@pytest.fixture
def early_stopping(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    import early_stopping

    return early_stopping


def test_page_of_early_stopping_is_made_from_the_results(early_stopping):
    results = json.loads(early_stopping.RESULTS.read_text())
    assert early_stopping.PAGE.read_text() == early_stopping.page(results)
    assert results["seeds"] >= 10
    for runs in results["runs"].values():
        assert len(runs) == results["seeds"]


@pytest.mark.nightly
def test_early_stopping_reads_articles_and_compares_both_rules(
    early_stopping, few_steps, tmp_path, monkeypatch
):
    rng = np.random.default_rng(0)
    words = rng.permuted(np.tile(np.array([f"word{i}" for i in range(400)]), (300, 1)), axis=1)
    articles = [
        {"text": " ".join([*row[:30], f"topic{i % 20}"]), "label": i % 20}
        for i, row in enumerate(words)
    ]
    file = tmp_path / "articles.jsonl.gz"
    with gzip.open(file, "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(article) + "\n" for article in articles)
    data = early_stopping.load_newsgroups(file, 0, sizes=(100, 80, 120))
    assert [len(part.x) for part in (data.train, data.validation, data.test)] == [100, 80, 120]
    width = data.train.x.shape[1]
    task = early_stopping.Task(
        "words",
        lambda seed: data,
        lambda: keras.Sequential([keras.Input((width,)), keras.layers.Dense(20)]),
        0.1,
        50,
    )
    runs = []
    for seed in range(2):
        run = {}
        for rule in early_stopping.RULES:
            model, best, epochs = early_stopping.train(task, data, rule, seed, 1, 3)
            run[rule] = {"epoch": best, "epochs": epochs, **early_stopping.measure(model, data)}
            assert run[rule]["nll"] <= np.log(20) + 0.1
        runs.append(run)
    table = early_stopping.tables("words", runs)
    assert table.count("\n| `val_") == 2
    assert all(f"| {early_stopping.HEADINGS[name]} |" in table for name in early_stopping.COMPARED)


@pytest.mark.parametrize(
    "arguments", [("--newsgroups", "absent"), ("--seeds", "1"), ("--patience", "-1")]
)
def test_early_stopping_refuses_bad_arguments_before_any_work(arguments, early_stopping, refused):
    refused(early_stopping, arguments)
