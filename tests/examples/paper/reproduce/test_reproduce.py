"""The experiments: their commands and their results."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from examples.paper import train as training
from examples.paper.data import Data, Split
from examples.paper.reproduce import __main__ as reproduce
from examples.paper.reproduce import beyond, plan, results
from examples.paper.translation.__main__ import parser as translation_parser

PARSERS = {
    "examples.paper.train": training.parser(),
    "examples.paper.translation": translation_parser(),
}


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


def test_runs_unlike_those_published_replace_them_or_are_refused(runs, published):
    for file in runs.glob("*/run.json"):
        if file.parent.name.endswith("CE_seed1"):
            file.write_text(json.dumps({**json.loads(file.read_text()), "seed": 3, "limit": 5}))
        else:
            file.unlink()
    with pytest.raises(ValueError, match="differ in limit"):
        results.publish(runs)
    assert results.publish(runs, replace=True) == 1
    others = {(item.run.loss, item.run.seed) for item in published if item.run.loss != "CE"}
    assert {(item.run.loss, item.run.seed) for item in results.load()} == {*others, ("CE", 3)}


def test_no_finished_run_is_a_clear_error(tmp_path, runs):
    for file in runs.glob("*/run.json"):
        file.write_text(file.read_text().replace("true", "false"))
    with pytest.raises(FileNotFoundError, match="finished runs"):
        results.publish(runs)
