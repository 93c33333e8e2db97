"""Files cut short or hit by a flipped bit: one line that says so, or the right figures."""

import gzip
import io
import json
import warnings

import keras
import numpy as np
import pytest

from keras_focal.cli import main
from keras_focal.cli._errors import CommandError
from keras_focal.cli._model import _model as read_model

FEW, MANY = 12, 1000
CHECKED = (".npz", ".csv.gz", ".parquet")
"""Formats with a checksum, Parquet on request: what is read from them is what was written."""

RNG = np.random.default_rng(1)
SIZE, K = 60, 3
LABELS = RNG.integers(0, K, SIZE)
LOGITS = np.round(RNG.normal(0, 2, (SIZE, K)) + 3 * np.eye(K)[LABELS], 3)


def written(folder, suffix):
    """Return a file of the predictions, and what else the command needs to read it."""
    path = folder / f"whole{suffix}"
    if suffix == ".npz":
        np.savez_compressed(path, logits=LOGITS, labels=LABELS)
    elif suffix == ".npy":
        np.save(path, LOGITS)
        labels = folder / "labels.npy"
        np.save(labels, LABELS)
        return path, ["--labels", str(labels)]
    elif suffix == ".parquet":
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        columns = {f"logit_{k}": LOGITS[:, k] for k in range(K)}
        parquet.write_table(
            arrow.table({**columns, "label": LABELS}), path, write_page_checksum=True
        )
    else:
        rows = [",".join(map(str, [*z, y])) for z, y in zip(LOGITS, LABELS, strict=True)]
        text = "\n".join(["logit_0,logit_1,logit_2,label", *rows]) + "\n"
        data = text.encode()
        path.write_bytes(gzip.compress(data, mtime=0) if suffix.endswith(".gz") else data)
    return path, []


def damaged(data, rng):
    """Return data cut short, or with a few bits flipped."""
    if rng.random() < 0.3:
        return data[: rng.integers(1, len(data))]
    changed = np.frombuffer(data, "uint8").copy()
    places = rng.integers(0, len(data), rng.integers(1, 4))
    changed[places] ^= (1 << rng.integers(0, 8, len(places))).astype("uint8")
    return changed.tobytes()


def said(arguments):
    """Return the exit status of the command, and what it printed to both streams."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("error")
        patch.setattr("sys.stdout", out)
        patch.setattr("sys.stderr", err)
        return main(arguments), out.getvalue(), err.getvalue()


def check(tmp_path, suffix, number):
    path, more = written(tmp_path, suffix)
    data = path.read_bytes()
    code, out, _ = said(["report", str(path), *more, "--json"])
    assert code == 0
    figures = json.loads(out)["before"]
    rng = np.random.default_rng(0)
    refused = 0
    for count in range(number):
        broken = tmp_path / f"broken{suffix}"
        broken.write_bytes(damaged(data, rng))
        code, out, err = said(["report", str(broken), *more, "--json"])
        if code == 0 and suffix in CHECKED:
            assert json.loads(out)["before"] == figures, count
        elif code == 0:
            values = (v for v in json.loads(out)["before"].values() if isinstance(v, float))
            assert np.isfinite(list(values)).all(), count
        else:
            refused += 1
            assert code == 1, (count, err)
            assert out == ""
            assert err.count("\n") == 1, (count, err)
    assert refused


SUFFIXES = [".npz", ".npy", ".csv", ".csv.gz", ".parquet"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_file_is_refused_in_one_line_or_read_rightly(tmp_path, suffix):
    check(tmp_path, suffix, FEW)


@pytest.mark.nightly
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_thousand_damaged_files_are_refused_or_read_rightly(tmp_path, suffix):
    check(tmp_path, suffix, MANY)


def check_model(tmp_path, number):
    whole, broken = tmp_path / "whole.keras", tmp_path / "broken.keras"
    head = keras.layers.Dense(K, "softmax", name="head")
    keras.Sequential([keras.Input((4,)), head]).save(whole)
    saved = read_model(whole)
    data, rng = whole.read_bytes(), np.random.default_rng(0)
    refused = 0
    for count in range(number):
        broken.write_bytes(damaged(data, rng))
        try:
            model = read_model(broken)
        except CommandError:
            refused += 1
            continue
        assert model.get_config()["layers"] == saved.get_config()["layers"], count
        for found, expected in zip(model.get_weights(), saved.get_weights(), strict=True):
            np.testing.assert_array_equal(found, expected, err_msg=str(count))
    assert refused


def test_damaged_model_is_refused_or_read_rightly(tmp_path):
    check_model(tmp_path, FEW)


@pytest.mark.nightly
def test_a_thousand_damaged_models_are_refused_or_read_rightly(tmp_path):
    check_model(tmp_path, MANY)
