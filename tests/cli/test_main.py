"""keras-focal: its commands, help and exit codes; gamma and losses."""

import configparser
import importlib
import inspect
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import json_schema
import keras
import numpy as np
import pytest
import reference

import keras_focal
from keras_focal import losses
from keras_focal.cli import _main, main

ROOT = Path(keras_focal.__file__).parents[1]
COMMANDS = ("explain", "gamma", "losses", "report", "calibrate")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(capsys, command):
    assert main([command, "--help"]) == 0
    printed = capsys.readouterr().out
    assert f"keras-focal {command}" in printed.split("example:")[1]


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(command in printed for command in COMMANDS)


def test_version_is_printed(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"keras-focal {keras_focal.__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["no-such"], ["losses", "--no-such"]])
def test_unknown_words_are_refused_in_one_line(capsys, arguments):
    assert main(arguments) == 2
    printed = capsys.readouterr().err
    assert "--help" in printed
    assert printed.count("\n") == 1


def test_gamma_of_p0_and_back(capsys):
    assert main(["gamma", "--p0", "0.25", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    json_schema.check("gamma", found)
    gamma = found["gamma"]
    assert gamma == pytest.approx(reference.gamma_star(0.25), rel=1e-7)
    assert main(["gamma", "--gamma", "3", "--json"]) == 0
    p0 = json.loads(capsys.readouterr().out)["p0"]
    assert p0 == pytest.approx(reference.threshold_probability(3.0), rel=1e-7)
    assert main(["gamma", "--gamma", "1"]) == 0
    assert "gamma 1, p0 0.367879" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--p0", "0.5"], "`p0` must be"),
        (["--p0", "nan"], "`p0` must be"),
        (["--p0", "a"], "--p0"),
        (["--gamma", "0"], "`gamma` must be"),
        (["--gamma", "1", "--p0", "0.2"], "not allowed"),
        ([], "--p0"),
    ],
)
def test_gamma_without_a_solution_is_refused(capsys, arguments, words):
    assert main(["gamma", *arguments]) == 2
    printed = capsys.readouterr().err
    assert words in printed
    assert printed.count("\n") == 1


def test_losses_are_those_of_the_package(capsys):
    assert main(["losses", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    json_schema.check("losses", found)
    assert [row["name"] for row in found["named"]] == [row.name for row in losses.list()]
    others = {
        name: inspect.getdoc(value).partition("\n")[0]
        for name, value in vars(losses).items()
        if inspect.isclass(value) and issubclass(value, keras.losses.Loss)
    }
    for name in {
        "ClassificationLoss",
        "FocalLoss",
        "OutputLoss",
        *(row.loss for row in losses.list()),
    }:
        del others[name]
    assert found["classes"] == others
    assert main(["losses"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("FLSD-53", "PolyLoss", 'GammaScheduler("FLSc-531")'))


def test_error_has_a_traceback_where_asked():
    with pytest.raises(Exception, match="does not exist"):
        main(["report", "absent.npz", "--debug"])


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "interrupted; no file was written."),
        (OSError(28, "No space left on device", "p.html"), 1, "no space left on device: p.html"),
        (OSError("a reason of its own"), 1, "OSError: a reason of its own (--debug shows where)"),
        (ZeroDivisionError("a fault"), 1, "ZeroDivisionError: a fault (--debug shows where)"),
    ],
)
def test_any_error_is_one_line(capsys, monkeypatch, error, code, words):
    def run(arguments):
        warnings.warn("not for users", DeprecationWarning, stacklevel=2)
        warnings.warn("for\nusers", UserWarning, stacklevel=2)
        raise error

    parser = SimpleNamespace(parse_args=lambda _: SimpleNamespace(run=run, debug=False))
    monkeypatch.setattr(_main, "_parser", lambda: parser)
    assert main(["report"]) == code
    printed = capsys.readouterr()
    assert printed.err == f"keras-focal: warning: for users\nkeras-focal: error: {words}\n"
    assert not printed.out


@pytest.mark.parametrize("package", ["rich", "matplotlib"])
def test_absent_package_is_named_with_its_extra(capsys, monkeypatch, tmp_path, package):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / "p.csv").write_text("p0,p1,label\n0.9,0.1,0\n0.2,0.8,1\n0.6,0.4,1\n")
    page = tmp_path / "p.html"
    options = ["--json", "--out", str(page)] if package == "matplotlib" else []
    assert main(["report", str(tmp_path / "p.csv"), *options]) == 1
    printed = capsys.readouterr()
    assert f"needs {package}" in printed.err
    assert 'pip install "keras-focal[cli]"' in printed.err
    assert printed.err.count("\n") == 1
    assert [*tmp_path.iterdir()] == [tmp_path / "p.csv"]


def test_entry_point_is_main():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    scripts = config["options.entry_points"]["console_scripts"].split("\n")
    assert "keras-focal = keras_focal.cli:main" in scripts
    assert importlib.import_module("keras_focal.__main__").main is main


def test_reader_that_stops_early_is_no_error(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr("sys.stdout", pipe)
        assert main(["losses", "--json"]) == 1


def test_process_prints_the_answer_and_nothing_else():
    done = subprocess.run(
        [sys.executable, "-m", "keras_focal", "gamma", "--p0", "0.25", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env=environment_without("TF_CPP_MIN_LOG_LEVEL", PYTHONPATH=str(ROOT)),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"schema_version": 2, "gamma": 3.0702271, "p0": 0.25}


def environment_without(*names, **others):
    kept = {key: value for key, value in os.environ.items() if key not in names}
    return {**kept, "KERAS_BACKEND": keras.backend.backend(), **others}


@pytest.mark.nightly
@pytest.mark.parametrize("level", [None, "3"])
def test_command_that_imports_keras_prints_nothing_of_tensorflow(tmp_path, level):
    np.savez(tmp_path / "p.npz", probabilities=[[0.9, 0.1], [0.2, 0.8]], labels=[0, 1])
    extra = {} if level is None else {"TF_CPP_MIN_LOG_LEVEL": level}
    done = subprocess.run(
        [sys.executable, "-m", "keras_focal", "report", str(tmp_path / "p.npz"), "--json"],
        capture_output=True,
        text=True,
        check=False,
        env=environment_without("TF_CPP_MIN_LOG_LEVEL", PYTHONPATH=str(ROOT), **extra),
    )
    assert (done.returncode, done.stderr) == (0, "")


POISON = "raise ImportError('a framework was imported')"
PROGRAM = """
import os
try:
    import keras_focal
except ImportError as error:
    assert "a framework was imported" in str(error)
else:
    raise AssertionError("its parts were left out, as they are for the command")
assert os.environ.get("TF_CPP_MIN_LOG_LEVEL") != "3"
"""


def test_program_of_ones_own_that_runs_as_a_module_is_left_alone(tmp_path):
    (tmp_path / "keras.py").write_text(POISON)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text(PROGRAM)
    (tmp_path / "mine" / "__main__.py").write_text("")
    done = subprocess.run(
        [sys.executable, "-m", "mine"],
        capture_output=True,
        text=True,
        check=False,
        env=environment_without("TF_CPP_MIN_LOG_LEVEL", PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}"),
    )
    assert done.returncode == 0, done.stderr


QUICK = {
    "--help": 0,
    "--version": 0,
    "gamma --p0 0.25": 0,
    "explain --logits 4,1 --label 0 --gamma FLSD-53": 0,
    "losses": 0,
    "calibrate --help": 0,
    "report bad.csv": 1,
    "calibrate absent.keras --data bad.csv --out c.keras": 1,
}


@pytest.mark.parametrize("command", QUICK)
def test_quick_answers_import_no_framework(tmp_path, command):
    for name in ("keras", "tensorflow", "jax", "torch", "matplotlib"):
        (tmp_path / f"{name}.py").write_text(POISON)
    (tmp_path / "bad.csv").write_text("a,b,label\n1,2,0\n")
    done = subprocess.run(
        [sys.executable, "-m", "keras_focal", *command.split()],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
    )
    assert done.returncode == QUICK[command], done.stderr
    assert "framework" not in done.stdout + done.stderr
    assert done.stderr.count("\n") == QUICK[command]


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (["reprot", "p.csv"], "report"),
        (["report", "p.csv", "--prediction-keys", "x"], "--predictions-key"),
        (["gamma", "--p_0=0.2", "--gamma", "3"], "--p0"),
        (["calibrate", "m.keras", "--data", "v.npz", "--out", "c.keras", "--expert"], "--export"),
    ],
)
def test_near_option_is_suggested(capsys, arguments, near):
    assert main(arguments) == 2
    printed = capsys.readouterr().err
    assert f"Did you mean {near}?" in printed
    assert printed.count("\n") == 1
