"""Run the experiments of docs/reproduction.md, at a scale that fits a CPU, and write them down.

    python -m examples.paper.reproduce run --data-dir DATA     train what is not trained yet
    python -m examples.paper.reproduce publish                 docs/results/reproduction.json
    python -m examples.paper.reproduce page                    docs/reproduction.md

Every run is a `python -m examples.paper.train` of its own, so a kill loses at most an epoch.
"""

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
    losses: tuple[str, ...] = LOSSES
    seeds: tuple[int, ...] = (1, 2)
    snapshots: str = ""

    def commands(self) -> list[list[str]]:
        """Return the arguments of `examples.paper.train` for each run, seed after seed."""
        shared = [
            "--dataset",
            self.dataset,
            "--network",
            self.network,
            "--epochs",
            f"{self.epochs}",
        ]
        for name in ("batch_size", "limit", "snapshots"):
            if getattr(self, name):
                shared += [f"--{name.replace('_', '-')}", f"{getattr(self, name)}"]
        return [
            [*shared, "--loss", loss, "--seed", f"{seed}"]
            for seed in self.seeds
            for loss in self.losses
        ]


PLAN = (
    Experiment("newsgroups20", "global-pooling-cnn-small", epochs=20),
    Experiment("sst", "tree-lstm", epochs=10),
    Experiment("cifar10", "resnet8", epochs=30, limit=10_000),
)
