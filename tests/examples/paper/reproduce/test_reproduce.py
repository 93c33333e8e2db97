"""The experiments: their commands, their results, and the page that is made of them."""

import copy
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from examples.paper import train as training
from examples.paper.data import Data, Split
from examples.paper.reproduce import __main__ as reproduce
from examples.paper.reproduce import beyond, page, plan, results
from examples.paper.reproduce.claims import CLAIMS, TRANSLATION_CLAIMS
from examples.paper.reproduce.results import by_experiment
from examples.paper.runs import Logits
from examples.paper.translation.__main__ import parser as translation_parser

CLASSES = 4
PARSERS = {
    "examples.paper.train": training.parser(),
    "examples.paper.translation": translation_parser(),
}
COLUMNS = {"epochs": 2, "batch_size": 8, "backend": "numpy 1", "commit": "abc", "seconds": 3.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder of runs of three losses and two seeds, and of what was published of them."""
    root = tmp_path_factory.mktemp("published")
    sharpness = {"CE": 6.0, "FLSD-53": 1.5, "FLSc-531": 2.5}
    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        labels = rng.integers(CLASSES, size=400).astype("int32")
        z = rng.normal(size=(400, CLASSES)) + 1.5 * np.eye(CLASSES)[labels]
        for loss, scale in sharpness.items():
            folder = root / "runs" / f"cifar10_resnet8_{loss}_seed{seed}"
            folder.mkdir(parents=True)
            logits = (scale * z).astype("float32")
            Logits(logits[:200], labels[:200], logits[200:], labels[200:]).save(
                folder / "logits.npz"
            )
            settings = {"dataset": "cifar10", "network": "resnet8", "loss": loss, "seed": seed}
            (folder / "run.json").write_text(json.dumps({**settings, **COLUMNS, "finished": True}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "FILE", root / "reproduction.json")
        assert results.publish(root / "runs") == 6
    return root


@pytest.fixture
def runs(folder, tmp_path):
    """Return a directory of the runs."""
    return shutil.copytree(folder / "runs", tmp_path / "runs")


@pytest.fixture
def published(folder, tmp_path, monkeypatch):
    """Return what was published of the runs."""
    file = tmp_path / "reproduction.json"
    shutil.copy(folder / file.name, file)
    monkeypatch.setattr(results, "FILE", file)
    return results.load()


def asked_for():
    """Return what each training command of the plan asks for, and its job."""
    for experiment in plan.PLAN:
        for job in experiment.jobs(Path("runs")):
            module, *words = job.commands[0]
            yield PARSERS[module].parse_args(words), job


def test_every_command_of_the_plan_is_one_that_training_takes():
    for options, job in asked_for():
        assert options.out == job.folder.parent
        assert options.seed == job.seed


def test_the_plan_has_every_loss_and_two_seeds_of_each_data_set():
    asked = {(options.dataset, options.loss, options.seed) for options, _ in asked_for()}
    for dataset in ("cifar10", "newsgroups20", "sst"):
        for loss in ("CE", "Brier", "MMCE", "LS-0.05", "FL-3", "FLSc-531", "FLSD-53"):
            assert {(dataset, loss, 1), (dataset, loss, 2)} <= asked
    for loss in ("CE", "LS-0.1", "FL-1"):
        assert {("multi30k", loss, 1), ("multi30k", loss, 2)} <= asked


def test_the_plan_says_in_which_folder_a_run_is(monkeypatch, tmp_path):
    made = []

    def train(run, *_):
        made.append(run.folder)

    empty = Split(np.zeros((0, 1)), np.zeros(0))
    toy = Data("newsgroups20", empty, empty, empty, class_names=())
    monkeypatch.setattr(training, "load", lambda options: toy)
    monkeypatch.setattr(training, "task_of", lambda *_: None)
    monkeypatch.setattr(training, "fit_run", train)
    job = next(plan.PLAN[0].jobs(tmp_path))
    training.main(job.commands[0][1:])
    assert made == [job.folder]


def test_translations_are_trained_and_then_measured_once():
    (experiment,) = (entry for entry in plan.PLAN if entry.dataset == "multi30k")
    for job in experiment.jobs(Path("runs")):
        _, (module, *words) = job.commands
        options = PARSERS[module].parse_args(words)
        assert options.folders == [job.folder]
        assert options.missing


def test_a_run_that_fails_is_said_and_the_others_go_on(monkeypatch, tmp_path, capsys):
    experiment = plan.Experiment("sst", "tree-lstm", 1, losses=("CE", "FL-1"), seeds=(1,))
    monkeypatch.setattr(plan, "PLAN", (experiment,))
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(SystemExit, match="2 of 2 runs failed"):
        plan.run(None, tmp_path, None, jobs=2)
    told = capsys.readouterr().out
    assert told.count("FAILED with exit status 1") == 2


def test_a_data_set_that_the_plan_lacks_is_refused_before_any_run(monkeypatch, tmp_path):
    monkeypatch.setattr(plan, "_made", None)
    with pytest.raises(
        SystemExit, match=r"`--dataset` must be of cifar10, .*Received: \['mnist'\]"
    ):
        plan.run(None, tmp_path, ["mnist"], jobs=1)


def test_data_that_cannot_be_downloaded_is_one_line(monkeypatch, capsys):
    def fail(*_):
        raise OSError("cifar10 could not be downloaded; `--data-dir` may name a local copy.")

    monkeypatch.setattr(beyond, "publish", fail)
    with pytest.raises(SystemExit):
        reproduce.main(["beyond"])
    assert "error: cifar10 could not be downloaded" in capsys.readouterr().err


def test_no_jobs_at_a_time_are_refused(capsys):
    with pytest.raises(SystemExit):
        reproduce.main(["run", "--jobs", "0"])
    assert "--jobs: must be a whole number >= 1" in capsys.readouterr().err


def test_what_failed_to_train_is_not_measured(monkeypatch, tmp_path, capsys):
    experiment = plan.Experiment("multi30k", "transformer", 1, losses=("CE",), seeds=(1,))
    monkeypatch.setattr(plan, "PLAN", (experiment,))
    called = []

    def fail(words, **_):
        called.append(words[2])
        return subprocess.CompletedProcess(words, 3)

    monkeypatch.setattr(plan.subprocess, "run", fail)
    with pytest.raises(SystemExit, match="1 of 1 runs failed"):
        plan.run(None, tmp_path, None, jobs=1)
    assert called == ["examples.paper.train"]
    assert "FAILED with exit status 3" in capsys.readouterr().out


def test_what_is_published_is_what_the_tables_measure(published):
    (items,) = by_experiment(published).values()
    of_loss = page.means(items)
    assert of_loss["CE"]["pre"] > of_loss["FLSD-53"]["pre"]
    assert of_loss["CE"]["error"] == pytest.approx(of_loss["FLSD-53"]["error"])
    assert of_loss["CE"]["T"] > of_loss["FLSD-53"]["T"]


def test_what_was_published_before_stays_and_the_same_runs_are_written_anew(
    runs, published, tmp_path
):
    before = {(item.run.loss, item.run.seed) for item in published}
    for folder in runs.iterdir():
        if folder.name.endswith("CE_seed1"):
            settings = json.loads((folder / "run.json").read_text())
            (folder / "run.json").write_text(json.dumps({**settings, "seconds": 9.0}))
        else:
            (folder / "run.json").unlink()
    assert results.publish(runs) == 1
    after = {(item.run.loss, item.run.seed): item.run.settings for item in results.load()}
    assert after.keys() == before
    assert [key for key, settings in after.items() if settings["seconds"] == 9.0] == [("CE", 1)]


def test_runs_unlike_those_published_are_not_mixed_with_them(runs, published):
    for file in runs.glob("*CE_seed1/run.json"):
        file.write_text(json.dumps({**json.loads(file.read_text()), "seed": 3, "epochs": 5}))
    with pytest.raises(ValueError, match="differ in epochs"):
        results.publish(runs)


def test_a_loss_of_which_a_seed_diverged_is_in_no_claim(published):
    (items,) = by_experiment(published).values()
    one = next(item for item in items if item.run.loss == "CE")
    lost = dict.fromkeys(("ece", "ada_ece", "confident"), float("nan"))
    lost = {"T": float("nan"), "pre": lost, "post": lost}
    found = page.means([*items, replace(one, figures={"ece": lost})])
    assert found.keys() == {"FLSD-53", "FLSc-531"}


def test_the_two_objectives_stand_side_by_side_where_both_were_run(published):
    (items,) = by_experiment(published).values()
    summed = [
        replace(item, run=replace(item.run, settings={**item.run.settings, "objective": "sum"}))
        for item in items
        if item.run.loss == "CE"
    ]
    rows = [line.split(" | ") for line in page.objectives([*items, *summed]).splitlines()[2:]]
    assert [row[2:4] for row in rows] == [["CE", "mean"], ["CE", "sum"]]
    assert rows[0][4:] == rows[1][4:]
    assert page.objectives(items) == ""


def test_the_summary_has_a_row_for_each_experiment_by_the_temperature_of_cross_entropy(published):
    other = copy.deepcopy(published)
    for item in other:
        item.run.settings["dataset"] = "sst"
        item.figures["ece"]["T"] *= 2
    rows = [line.split(" | ") for line in page.summary([*other, *published]).splitlines()[2:]]
    assert [row[0].strip("| ") for row in rows] == ["cifar10", "sst"]
    ours = page.means(published)
    gain = ours["CE"]["pre"] - ours["FLSD-53"]["pre"]
    assert rows[0][-1].strip(" |") == f"{gain:+.2f}"


def test_how_runs_were_trained_is_said_with_their_cost():
    image = {"dataset": "cifar10", "epochs": 21, "crop": 0, "mixed_precision": True}
    words = page.trained({**image, "objective": "sum", "limit": None})
    assert words == "epochs 21, flips alone, sum of the losses, bfloat16"
    assert page.trained({"dataset": "cifar10", "crop": None}) == "no augmentation"
    assert page.trained({"dataset": "newsgroups20", "crop": None, "length": 500}) == "length 500"


def test_a_claim_is_answered_by_the_figures_and_not_by_hope(published):
    (items,) = by_experiment(published).values()
    ours = page.means(items)
    turned = {"CE": ours["FLSD-53"], "FLSD-53": ours["CE"], "FLSc-531": ours["FLSc-531"]}
    below = CLAIMS[0]
    assert below.holds(ours)
    assert not below.holds(turned)
    assert f"{ours['CE']['pre']:.2f}" in below.figures(ours)


@pytest.mark.parametrize("claim", [*CLAIMS, *TRANSLATION_CLAIMS], ids=lambda claim: claim.text)
def test_every_claim_can_be_asked_of_the_papers_own_figures(claim):
    figures = page.paper("wmt14/transformer" if "FL-1" in claim.losses else "cifar10/resnet50")
    assert claim.figures(figures)
    assert claim.holds(figures) in (True, False)


def test_the_papers_figures_are_those_of_its_tables():
    assert page.paper("cifar10/resnet50")["FLSD-53"] == {
        "pre": 1.55, "post": 0.95, "T": 1.1, "error": 4.98, "nll": 17.55,
        "ada_pre": 1.56, "sure_post": 14.27,
    }  # fmt: skip


def test_no_finished_run_is_a_clear_error(tmp_path, runs):
    for file in runs.glob("*/run.json"):
        file.write_text(file.read_text().replace("true", "false"))
    with pytest.raises(FileNotFoundError, match="finished runs"):
        results.publish(runs)


def test_what_the_page_concludes_of_the_objectives_is_in_its_figures():
    of = {key: page.means(items) for key, items in by_experiment(results.load()).items()}
    mean, summed = of["cifar10", "resnet8"], of["cifar10", "resnet8, sum"]
    for loss in ("CE", "FL-3", "FLSD-53"):
        assert summed[loss]["pre"] > mean[loss]["pre"]
        assert summed[loss]["T"] > mean[loss]["T"]
    assert summed["LS-0.05"]["pre"] < mean["LS-0.05"]["pre"]
    for figures in (mean, summed):
        assert figures["FLSD-53"]["pre"] < figures["CE"]["pre"]
    for loss, figures in summed.items():
        assert abs(figures["error"] - mean[loss]["error"]) < 1.5
        assert abs(figures["post"] - mean[loss]["post"]) < 0.5


def test_what_the_page_concludes_of_when_focal_loss_helps_is_in_its_figures():
    of = {key: page.means(items) for key, items in by_experiment(results.load()).items()}
    of = {key: figures for key, figures in of.items() if {"CE", "FLSD-53"} <= figures.keys()}
    assert len(of) == 5
    gains = {key: m["CE"]["pre"] - m["FLSD-53"]["pre"] for key, m in of.items()}
    assert [key[0] for key, gain in gains.items() if gain < 0] == ["sst"]
    temperatures = sorted(of, key=lambda key: of[key]["CE"]["T"])
    assert set(temperatures[-2:]) == set(sorted(gains, key=gains.get)[-2:])
    for key, m in of.items():
        assert (m["CE"]["pre"] - m["CE"]["post"] > gains[key]) == (key[0] != "newsgroups20")
        assert (m["FLSD-53"]["post"] < m["CE"]["post"] - 0.5) == (key[0] == "newsgroups20")
    for key in (("cifar10", "resnet6-wide, sum"), ("sst", "tree-lstm")):
        ce, flsd = of[key]["CE"], of[key]["FLSD-53"]
        assert flsd["T"] < 1 < ce["T"]
        assert flsd["post"] > ce["post"]
        assert flsd["error"] > ce["error"]
    whole = of["cifar10", "resnet6-wide, sum"]
    assert whole["FLSD-53"]["pre"] < 0.5 * whole["CE"]["pre"]


def test_the_page_is_what_the_results_give():
    """The committed page, made anew from the committed results."""
    assert page.FILE.read_text() == "\n".join(page.sections())
