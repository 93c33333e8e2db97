"""Which runs a figure is drawn of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from examples.paper.runs import Run

_IMAGES = ("cifar10", "cifar100", "tiny_imagenet")


class MissingRunsError(Exception):
    """There are no runs to draw a figure of; the message says which, and how to get them."""


@dataclass(frozen=True)
class Need:
    """What a figure reads: one finished run for each of some losses, alike in all else.

    Attributes:
        losses: Names of the losses.
        files: Pattern of the files that each run must hold.
        words: What those files are.
        command: What makes them, with a place for the options.
        options: Names of the settings that must be alike, which are options of the command.
        default: Those settings where there is no run yet.
        datasets: The data sets that will do, () for all.
    """

    losses: tuple[str, ...]
    files: str
    words: str
    command: str
    options: tuple[str, ...]
    default: Mapping[str, Any]
    datasets: tuple[str, ...] = ()

    def pick(self, runs: Sequence[Run]) -> dict[str, Run]:
        """Return the run of each loss: of the first settings that have all.

        Raises:
            MissingRunsError: If no settings have all.
        """
        groups: dict[tuple, dict[str, Run]] = {}
        for run in runs:
            if self._takes(run):
                key = tuple(run.settings.get(name) for name in self.options)
                groups.setdefault(key, {})[run.loss] = run
        default = tuple(self.default.get(name) for name in self.options)
        key = max(groups, key=lambda key: len(groups[key]), default=default)
        group = groups.get(key, {})
        missing = [loss for loss in self.losses if loss not in group]
        if missing:
            given = {**dict(zip(self.options, key, strict=True)), "loss": missing[0]}
            options = " ".join(
                f"--{name.replace('_', '-')} {value}"
                for name, value in given.items()
                if value is not None
            )
            raise MissingRunsError(
                f"finished runs of {', '.join(missing)} {self.words}: "
                f"{self.command.format(options=options)}"
            )
        return {loss: group[loss] for loss in self.losses}

    def _takes(self, run: Run) -> bool:
        return (
            run.finished
            and run.loss in self.losses
            and (not self.datasets or run.dataset in self.datasets)
            and any(run.folder.glob(self.files))
        )


_TRAIN = "python -m examples.paper.train {options}"
_OPTIONS = ("dataset", "network", "seed", "epochs", "batch_size", "limit", "length")
_DEFAULT = {"dataset": "cifar10", "network": "resnet50"}


def with_snapshots(*losses: str) -> Need:
    """Return the need of runs that kept snapshots."""
    command = f"{_TRAIN} --snapshots all"
    return Need(losses, "snapshots/epoch_*.npz", "with snapshots", command, _OPTIONS, _DEFAULT)


def of_images(*losses: str) -> Need:
    """Return the need of runs on images."""
    return Need(losses, "logits.npz", "on images", _TRAIN, _OPTIONS, _DEFAULT, _IMAGES)


def of_translation(*losses: str) -> Need:
    """Return the need of evaluated translation runs."""
    command = "python -m examples.paper.translation train {options}, then evaluate"
    options = ("dataset", "size", "seed", "epochs")
    default = {"dataset": "multi30k"}
    return Need(losses, "translation.json", "of translation, evaluated", command, options, default)
