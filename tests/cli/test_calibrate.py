"""keras-focal calibrate: a model in, a calibrated model out, or a line that says why not."""

import json
import resource

import json_schema
import keras
import numpy as np
import pytest

import keras_focal
from keras_focal.cli import main

RNG = np.random.default_rng(0)
X = RNG.normal(0, 1, (300, 4)).astype("float32")
KERNEL = RNG.normal(0, 2, (4, 3)).astype("float32")
Y = (X @ KERNEL + RNG.gumbel(0, 1, (300, 3))).argmax(1)
COMMAND = ["calibrate", "m.keras", "--data", "v.npz", "--out", "c.keras"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with an over-confident model and held-out data."""
    monkeypatch.chdir(tmp_path)
    model_of().save("m.keras")
    np.savez("v.npz", x=X, y=Y)
    return tmp_path


def model_of(activation=None):
    head = keras.layers.Dense(3, activation)
    model = keras.Sequential([keras.Input((4,)), head])
    head.set_weights([3 * KERNEL, np.zeros(3)])
    return model


def refused(capsys, *changes, code=1):
    assert main([*COMMAND, *changes]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1, printed.err
    return printed.err


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_saved_model_is_the_one_of_calibrate(capsys, activation):
    model = model_of(activation)
    model.save("m.keras")
    assert main([*COMMAND, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    json_schema.check("calibrate", found)
    assert found["outputs"] == ("probabilities" if activation else "logits")
    expected, fit = keras_focal.calibration.calibrate(
        model, X, Y, from_logits=not activation, return_fit=True, verbose=0
    )
    loaded = keras.saving.load_model("c.keras")
    given, wanted = (each.predict(X, verbose=0) for each in (loaded, expected))
    np.testing.assert_allclose(given, wanted, atol=1e-6)
    assert found["temperature"] == pytest.approx(fit.temperature, rel=1e-6)
    assert found["before"]["nll"] == pytest.approx(fit.nll_before, rel=1e-5)
    assert found["after"]["nll"] == pytest.approx(fit.nll_after, rel=1e-5)
    assert found["after"]["error"] == found["before"]["error"]
    assert found["folds"] == 0
    change = found["intervals"]["change"]
    assert change["nll"]["estimate"] == pytest.approx(fit.nll_after - fit.nll_before, rel=1e-4)
    assert change["nll"]["high"] < 0
    assert change["error"] == {"estimate": 0, "low": 0, "high": 0}


def test_table_is_printed_and_the_model_exported(capsys, folder):
    is_torch = keras.backend.backend() == "torch"
    assert main([*COMMAND, *([] if is_torch else ["--export", "served"])]) == 0
    printed = capsys.readouterr()
    assert "before" in printed.out
    assert "Written: c.keras" in printed.out
    assert "Traceback" not in printed.err
    names = {"m.keras", "v.npz", "c.keras"}
    if not is_torch:
        names.add("served")
        assert (folder / "served/saved_model.pb").is_file()
    assert {path.name for path in folder.iterdir()} == names


def test_method_is_passed_on(capsys):
    pytest.importorskip("sklearn", reason="needs the extra `maps`")
    assert main([*COMMAND, "--method", "vector", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["method"], found["temperature"]) == ("vector", None)
    assert found["after"]["nll"] < found["before"]["nll"]
    json_schema.check("calibrate", found)
    assert "`method`" in refused(capsys, "--method", "no-such", "--force")


@pytest.mark.nightly
def test_intervals_of_a_map_are_of_held_out_predictions(capsys):
    assert main([*COMMAND, "--method", "venn_abers", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    fit = keras_focal.calibration.fit_map(3 * X @ KERNEL, Y, "venn_abers")
    change = found["intervals"]["change"]
    for name in ("nll", "brier", "ece", "error"):
        expected = getattr(fit, f"{name}_after") - getattr(fit, f"{name}_before")
        assert change[name]["estimate"] == pytest.approx(expected, abs=1e-3)
    assert found["folds"] == 5
    assert found["after"]["nll"] < found["before"]["nll"] + change["nll"]["estimate"]
    assert main([*COMMAND, "--method", "venn_abers", "--force"]) == 0
    printed = capsys.readouterr().out
    assert "held out, 5 folds" in printed
    assert "maps fitted without a fold" in printed


def test_independent_outputs_have_one_temperature(capsys):
    model_of("sigmoid").save("m.keras")
    y = (RNG.random((300, 3)) < 1 / (1 + np.exp(-X @ KERNEL))).astype(int)
    y[::9, 1] = -1
    np.savez("v.npz", x=X, y=y)
    options = ["--multi-label", "--ignore-class", "-1"]
    assert main([*COMMAND, *options, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    known = y.reshape(-1) >= 0
    logits = 3 * (X @ KERNEL).reshape(-1, 1)[known]
    fit = keras_focal.calibration.fit_temperature(logits, y.reshape(-1)[known])
    assert found["count"] == known.sum()
    assert found["temperature"] == pytest.approx(fit.temperature, rel=1e-4)
    assert found["after"]["nll"] == pytest.approx(fit.nll_after, rel=1e-4)
    assert "Pass" not in refused(capsys, "--multi-label", "--force")  # -1 is no label
    np.savez("v.npz", x=X, y=Y)
    assert "a label for each output" in refused(capsys, *options, "--force")


def test_auto_says_which_map_it_took(capsys):
    pytest.importorskip("sklearn", reason="needs the extra `maps`")
    assert main([*COMMAND, "--method", "auto", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    _, fit = keras_focal.calibration.calibrate(
        model_of(), X, Y, from_logits=True, method="auto", return_fit=True, verbose=0
    )
    assert found["method"] == fit.method != "auto"
    assert main([*COMMAND, "--method", "auto", "--force"]) == 0
    assert f"method {fit.method}" in capsys.readouterr().out


@pytest.mark.nightly
@pytest.mark.parametrize("limit", [("--max-seconds", "0"), ("--keep-top-class",)])
def test_limits_of_auto_are_passed_on(capsys, limit):
    pytest.importorskip("sklearn", reason="needs the extra `maps`")
    assert "`max_seconds` and `keep_top_class`" in refused(capsys, *limit)
    assert main([*COMMAND, "--method", "auto", *limit, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["method"] == "temperature" or "--max-seconds" not in limit
    assert found["after"]["error"] == found["before"]["error"]


def test_model_that_exists_is_replaced_only_if_told(capsys, folder):
    (folder / "c.keras").write_text("old")
    assert "c.keras exists. Pass --force to replace it" in refused(capsys)
    assert (folder / "c.keras").read_text() == "old"
    assert main([*COMMAND, "--force"]) == 0
    assert keras.saving.load_model("c.keras").get_layer("temperature")


def test_logits_and_probabilities_that_were_mistaken_are_named(capsys):
    assert "Pass --from-logits" in refused(capsys, "--probabilities")
    model_of("softmax").save("m.keras")
    assert "Pass --probabilities" in refused(capsys, "--from-logits")


DATA = {
    "lengths": ({"x": X, "y": Y[:9]}, r"one label for each input"),
    "no rows": ({"x": X[:0], "y": Y[:0]}, "one label for each input"),
    "label": ({"x": X, "y": Y + 1}, r"class ids in \[0, 3\)"),
    "NaN": ({"x": np.where(np.arange(4) == 2, np.nan, X), "y": Y}, "row 0 of the inputs holds NaN"),
    "width": ({"x": X[:, :3], "y": Y}, "does not take the inputs"),
    "objects": ({"x": X.astype(object), "y": Y}, "never unpickled"),
    "names": ({"a": X, "b": Y}, "--inputs-key"),
}


@pytest.mark.parametrize("case", DATA)
def test_bad_data_are_refused_and_nothing_is_written(capsys, folder, case):
    arrays, words = DATA[case]
    np.savez("v.npz", **arrays)
    line = refused(capsys)
    assert words.replace("\\", "") in line
    assert {path.name for path in folder.iterdir()} == {"m.keras", "v.npz"}


def test_truncated_files_are_named(capsys, folder):
    for name, words in (("v.npz", "truncated"), ("m.keras", "cannot be loaded")):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])
        assert words in refused(capsys)
        (folder / name).write_bytes(whole)


@pytest.mark.parametrize("outputs", ["two", "flat"])
def test_model_of_other_outputs_is_refused(capsys, outputs):
    inputs = keras.Input((4,))
    first = keras.layers.Dense(3)(inputs)
    given = [first, keras.layers.Dense(2)(inputs)] if outputs == "two" else first[:, 0]
    keras.Model(inputs, given).save("m.keras")
    assert ("has 2 outputs" if outputs == "two" else "shape (rows, classes)") in refused(capsys)


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        (["--out", "c.h5"], 2, "--out must end in .keras"),
        (["--out", "m.keras"], 2, "must not be the file that is read"),
        (["--out", "absent/c.keras"], 1, "does not exist. Make it"),
        (["--export", "v.npz"], 1, "v.npz exists"),
        (["--data", "v.pkl"], 2, "expected a file ending in .npz"),
        (["--data", "absent.npz"], 1, "does not exist"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(capsys, changes, code, words):
    assert words in refused(capsys, *changes, code=code)


def test_export_that_fails_leaves_nothing(capsys, folder, monkeypatch):
    def broken(model, path, **_):
        path.mkdir()
        raise OSError(28, "No space left on device", "served")

    monkeypatch.setattr(keras.Model, "export", broken)
    assert "no space left" in refused(capsys, "--export", "served")
    assert {path.name for path in folder.iterdir()} == {"m.keras", "v.npz"}


@pytest.mark.parametrize(("method", "limit"), [("save", 100), ("export", 4_000)])
def test_full_disk_leaves_the_old_model_and_no_export(capsys, folder, monkeypatch, method, limit):
    if method == "export" and keras.backend.backend() == "torch":
        pytest.skip("Keras needs torch_xla to export from torch")
    (folder / "c.keras").write_text("old")
    before, write = resource.getrlimit(resource.RLIMIT_FSIZE), getattr(keras.Model, method)

    def on_full_disk(*args, **kwargs):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            write(*args, **kwargs)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    monkeypatch.setattr(keras.Model, method, on_full_disk)
    assert "too large" in refused(capsys, "--force", "--export", "served").lower()
    assert (folder / "c.keras").read_text() == "old"
    assert {path.name for path in folder.iterdir()} == {"c.keras", "m.keras", "v.npz"}
