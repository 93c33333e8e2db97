"""Which runs a figure is drawn of."""

from collections.abc import Sequence
from dataclasses import dataclass

from examples.paper.runs import Run


class MissingRuns(Exception):
    """There are no runs to draw a figure of; the message says which, and how to get them."""


@dataclass(frozen=True)
class Need:
    """What a figure reads: one finished run for each of some losses, alike in all else.

    Attributes:
        losses: Names of the losses.
        files: Pattern of the files that each run must hold.
        words: What those files are.
        command: The command that makes them, with places for dataset, network, seed and loss.
        dataset: Of the command, where there is no run yet; `network` likewise.
        datasets: The data sets that will do, () for all.
    """

    losses: tuple[str, ...]
    files: str
    words: str
    command: str
    dataset: str = "cifar10"
    network: str = "resnet50"
    datasets: tuple[str, ...] = ()

    def pick(self, runs: Sequence[Run]) -> dict[str, Run]:
        """Return the run of each loss: of the first data set, network and seed that have all.

        Raises:
            MissingRuns: If no data set, network and seed has all.
        """
        groups: dict[tuple, dict[str, Run]] = {}
        for run in runs:
            if self._takes(run):
                key = (run.dataset, run.network, run.seed, run.settings.get("epochs"))
                groups.setdefault(key, {})[run.loss] = run
        key = max(groups, key=lambda key: len(groups[key]), default=None)
        dataset, network, seed, _ = key or (self.dataset, self.network, 1, None)
        group = groups.get(key, {})
        missing = [loss for loss in self.losses if loss not in group]
        if missing:
            command = self.command.format(
                dataset=dataset, network=network, seed=seed, loss=missing[0]
            )
            raise MissingRuns(f"finished runs of {', '.join(missing)} {self.words}: {command}")
        return {loss: group[loss] for loss in self.losses}

    def _takes(self, run: Run) -> bool:
        return (
            run.finished
            and run.loss in self.losses
            and (not self.datasets or run.dataset in self.datasets)
            and any(run.folder.glob(self.files))
        )


_TRAIN = (
    "python -m examples.paper.train --dataset {dataset} --network {network} --loss {loss} "
    "--seed {seed}"
)


def with_snapshots(*losses: str) -> Need:
    """Return the need of runs that kept snapshots."""
    files = "snapshots/epoch_*.npz"
    return Need(losses, files, "with snapshots", f"{_TRAIN} --snapshots all")


def of_images(*losses: str) -> Need:
    """Return the need of runs on images."""
    datasets = ("cifar10", "cifar100", "tiny_imagenet")
    return Need(losses, "logits.npz", "on images", _TRAIN, datasets=datasets)


def of_translation(*losses: str) -> Need:
    """Return the need of evaluated translation runs."""
    command = "python -m examples.paper.translation train --loss {loss}, then evaluate"
    return Need(losses, "translation.json", "of translation, evaluated", command)
