"""Runs as training leaves them, and what was published of them."""

import json
import shutil

import numpy as np
import pytest

from examples.paper.reproduce import results
from examples.paper.runs import Logits

CLASSES = 4
COLUMNS = {"epochs": 2, "batch_size": 8, "backend": "numpy 1", "commit": "abc", "seconds": 3.0}


@pytest.fixture(scope="session")
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
