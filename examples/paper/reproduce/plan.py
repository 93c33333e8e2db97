"""The experiments of docs/reproduction.md: the paper's losses at a scale that fits a CPU.

Every run is a `python -m examples.paper.train` of its own, so a kill loses at most an epoch.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

LOSSES = ("CE", "Brier", "MMCE", "LS-0.05", "FL-3", "FLSc-531", "FLSD-53")


@dataclass(frozen=True)
class Experiment:
    """Runs of one network on one data set: one for each loss and seed."""

    dataset: str
    network: str
    epochs: int
    batch_size: int | None = None
    limit: int | None = None
    length: int | None = None
    losses: tuple[str, ...] = LOSSES
    seeds: tuple[int, ...] = (1, 2)
    validate_every: int | None = None
    snapshots: str = ""
    no_augmentation: bool = False
    xla: bool = False

    def commands(self) -> list[list[str]]:
        """Return the arguments of `examples.paper.train` for each run."""
        shared = [
            "--dataset",
            self.dataset,
            "--network",
            self.network,
            "--epochs",
            f"{self.epochs}",
        ]
        for name in ("batch_size", "limit", "length", "validate_every", "snapshots"):
            if getattr(self, name):
                shared += [f"--{name.replace('_', '-')}", f"{getattr(self, name)}"]
        for name in ("no_augmentation", "xla"):
            if getattr(self, name):
                shared.append(f"--{name.replace('_', '-')}")
        return [
            [*shared, "--loss", loss, "--seed", f"{seed}"]
            for seed in self.seeds
            for loss in self.losses
        ]


_SMALL_CIFAR = Experiment(
    "cifar10",
    "resnet8",
    epochs=80,
    batch_size=64,
    limit=1000,
    no_augmentation=True,
    validate_every=10,
    snapshots="1,20,40,60,80",
)

_TREES = Experiment("sst", "tree-lstm", epochs=25)

PLAN = (
    Experiment("newsgroups20", "global-pooling-cnn-small", epochs=50, length=500),
    replace(_TREES, losses=tuple(loss for loss in LOSSES if loss != "MMCE"), xla=True),
    replace(_TREES, losses=("MMCE",)),
    _SMALL_CIFAR,
    replace(_SMALL_CIFAR, losses=("FL-1", "FL-2"), seeds=(1,)),
)
"""1,000 images without augmentation are few enough for the small network to overfit. The running
sums of MMCE take XLA on TensorFlow a time that is quadratic in the nodes of a batch."""


def run(data_dir: Path | None, out: Path, datasets: list[str] | None, jobs: int) -> None:
    """Train every run of the plan that is not finished, `jobs` at a time, and say how it goes.

    Raises:
        SystemExit: At the end, if a run failed; the others are trained then.
    """
    commands = [
        [*arguments, "--out", str(out), *(["--data-dir", str(data_dir)] if data_dir else [])]
        for experiment in PLAN
        if datasets is None or experiment.dataset in datasets
        for arguments in experiment.commands()
    ]
    commands.sort(key=lambda command: command[command.index("--seed") + 1])
    threads = max(1, (os.cpu_count() or 1) // jobs)
    failed = 0
    with ThreadPoolExecutor(jobs) as pool:
        codes = pool.map(lambda command: _trained(command, threads), commands)
        for number, (command, code) in enumerate(zip(commands, codes, strict=True), start=1):
            failed += code != 0
            state = "done" if code == 0 else f"FAILED with exit status {code}"
            print(f"{number}/{len(commands)} {state}: {' '.join(command)}", flush=True)
    if failed:
        raise SystemExit(f"{failed} of {len(commands)} runs failed; the same command tries again.")


def _trained(arguments: list[str], threads: int) -> int:
    limits = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), f"{threads}")
    command = [sys.executable, "-m", "examples.paper.train", *arguments, "--verbose", "0"]
    return subprocess.run(command, env={**os.environ, **limits}, check=False).returncode
