"""What is read never runs code, and nothing reaches for the network: SECURITY.md."""

import os
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_focal.cli import main

LOGITS = np.eye(3, dtype="float32").repeat(4, axis=0)
LABELS = np.arange(3).repeat(4)


class Trap:
    """An object whose pickle makes a folder when it is read."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def refused(capsys, *arguments):
    assert main([str(each) for each in arguments]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_objects_in_a_file_of_predictions_are_never_unpickled(suffix, tmp_path, capsys):
    trapped, made = np.array([Trap(tmp_path / "made")] * 3), tmp_path / "made"
    path = tmp_path / f"p{suffix}"
    if suffix == ".npz":
        np.savez(path, logits=trapped, labels=LABELS[:3])
        more = []
    else:
        np.save(path, trapped)
        np.save(tmp_path / "y.npy", LABELS[:3])
        more = ["--labels", tmp_path / "y.npy"]
    refused(capsys, "report", path, *more)
    assert not made.exists()


def test_model_that_holds_code_is_refused(tmp_path, capsys):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: x + 0.0)(inputs))
    model.save(tmp_path / "m.keras")
    np.savez(tmp_path / "d.npz", x=LOGITS, y=LABELS)
    out = tmp_path / "calibrated.keras"
    file, data = tmp_path / "m.keras", tmp_path / "d.npz"
    said = refused(capsys, "calibrate", file, "--data", data, "--out", out)
    assert "Lambda" in said
    assert not out.exists()


def test_report_and_calibrate_work_without_a_network(tmp_path, monkeypatch, capsys):
    def refuse(*_, **__):
        raise AssertionError("something reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    np.savez(tmp_path / "p.npz", logits=LOGITS, labels=LABELS)
    assert main(["report", str(tmp_path / "p.npz"), "--out", str(tmp_path / "p.html")]) == 0
    page = (tmp_path / "p.html").read_text()
    assert "http://" not in page
    assert "<script" not in page
    assert "src=" not in page.replace('src="data:', "")


@pytest.mark.nightly
def test_import_needs_no_network():
    code = "\n".join(
        [
            "import socket",
            "def refuse(*_, **__): raise SystemExit('reached for the network')",
            "socket.socket.connect = socket.getaddrinfo = refuse",
            "import keras_focal",
            "[getattr(keras_focal, name) for name in keras_focal.__all__ if name != 'beam']",
        ]
    )
    subprocess.run([sys.executable, "-c", code], check=True)
