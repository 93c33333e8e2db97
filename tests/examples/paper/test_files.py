"""Files of a run: whole or not at all, and named, in one line, when they are damaged."""

from pathlib import Path

import numpy as np
import pytest

from examples.paper.figures import __main__ as figures
from examples.paper.files import DamagedFileError, read_json, write_json
from examples.paper.reproduce import __main__ as reproduce
from examples.paper.runs import Logits, Snapshot, read
from examples.paper.tables import __main__ as tables

COMMANDS = {
    "tables": lambda out: tables.main(["--runs", f"{out}", "--table", "1"]),
    "publish": lambda out: reproduce.main(["publish", "--runs", f"{out}"]),
    "figures": lambda out: figures.main(
        ["--runs", f"{out}", "--out", f"{out / 'drawn'}", "--figure", "2"]
    ),
}


@pytest.fixture
def folder(tmp_path):
    """A finished run with logits and a snapshot."""
    folder = tmp_path / "cifar10_resnet8_CE_seed1"
    folder.mkdir()
    settings = {"dataset": "cifar10", "network": "resnet8", "loss": "CE", "seed": 1, "epochs": 1}
    write_json(folder / "run.json", {**settings, "finished": True})
    z = np.random.default_rng(0).normal(size=(20, 3)).astype("float32")
    y = np.arange(20, dtype="int32") % 3
    Logits(z, y, z, y).save(folder / "logits.npz")
    Snapshot(1, z, y, z, y, z[:, 0], 1.0).save(folder / "snapshots")
    return folder


def cut(file):
    file.write_bytes(file.read_bytes()[:40])


def drop_labels(file):
    np.savez(file, val_logits=np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("command", "name", "damage"),
    [
        ("tables", "run.json", cut),
        ("tables", "run.json", lambda file: file.write_text("")),
        ("tables", "run.json", lambda file: file.write_text("[]")),
        ("tables", "run.json", lambda file: file.write_text('{"seed": 1}')),
        ("tables", "logits.npz", cut),
        ("tables", "logits.npz", drop_labels),
        ("tables", "logits.npz", lambda file: file.unlink()),
        ("publish", "run.json", cut),
        ("publish", "logits.npz", cut),
        ("figures", "run.json", cut),
        ("figures", "snapshots/epoch_0001.npz", cut),
    ],
)
def test_a_damaged_file_is_named_in_one_line(folder, capsys, command, name, damage):
    damage(folder / name)
    with pytest.raises(SystemExit) as stopped:
        COMMANDS[command](folder.parent)
    said = f"{capsys.readouterr().err}\n{stopped.value}"
    (line,) = (line for line in said.splitlines() if "damaged" in line)
    assert f"{folder / name}" in line
    assert stopped.value.code not in (0, None)


def test_a_kill_while_json_is_written_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    file = tmp_path / "run.json"
    write_json(file, {"a": 1})

    def killed(self, text, **_):
        self.write_bytes(text.encode()[:3])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        write_json(file, {"a": 2})
    assert read_json(file) == {"a": 1}


@pytest.mark.parametrize("damage", ["epoch,loss\n0\n", "epoch,loss\n0,1.\n1,2.5x", "loss\n1\n"])
def test_a_damaged_log_is_named(folder, damage):
    (folder / "log.csv").write_text(damage)
    (run,) = read(folder)
    with pytest.raises(DamagedFileError, match=r"log\.csv"):
        run.log()


def test_what_is_no_object_is_damaged(tmp_path):
    (tmp_path / "run.json").write_text('"a')
    with pytest.raises(DamagedFileError, match=r"run\.json"):
        read_json(tmp_path / "run.json")
