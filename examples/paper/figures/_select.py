"""Which runs a figure is drawn of."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from examples.paper.files import read_json
from examples.paper.recipes import IMAGES
from examples.paper.runs import ALIKE, EVALUATED, SETTINGS, Run


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
        default: Those settings where there is no run yet.
        datasets: The data sets that will do, () for all.
    """

    losses: tuple[str, ...]
    files: str
    words: str
    command: str
    default: Mapping[str, Any]
    datasets: tuple[str, ...] = ()

    def pick(self, runs: Sequence[Run]) -> dict[str, Run]:
        """Return the run of each loss: of the first settings that have all.

        Raises:
            MissingRunsError: If no settings have all.
        """
        groups: dict[str, dict[str, Run]] = {}
        for run in filter(self._takes, runs):
            groups.setdefault(_alike(run), {})[run.loss] = run
        group = max(groups.values(), key=len, default={})
        missing = [loss for loss in self.losses if loss not in group]
        if missing:
            some = next((run for run in group.values()), None)
            settings = {**some.settings, **some.trained_with} if some else self.default
            options = " ".join(_words({**settings, "loss": missing[0]}))
            diverged = [f"{run.folder}" for run in runs if run.loss in missing and run.diverged]
            raise MissingRunsError(
                f"finished runs of {', '.join(missing)} {self.words}: "
                f"{self.command.format(options=options)}"
                + (f" (diverged: {', '.join(diverged)})" if diverged else "")
            )
        return {loss: group[loss] for loss in self.losses}

    def _takes(self, run: Run) -> bool:
        return (
            run.finished
            and run.loss in self.losses
            and (not self.datasets or run.dataset in self.datasets)
            and any(run.folder.glob(self.files))
            and not run.diverged
        )


def _alike(run: Run) -> str:
    """Return what runs that are drawn together share."""
    shared: list[Any] = [run.dataset, run.network, run.seed]
    shared += [run.trained_with.get(name) for name in ALIKE]
    if run.is_translation:
        measured = read_json(run.folder / "translation.json")["ece"]
        shared += [measured.get(name) for name in EVALUATED]
    return json.dumps(shared)


def _words(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield the options of training that give a run these settings."""
    for name in ("dataset", "network", "seed", *SETTINGS, "loss"):
        value = settings.get(name)
        unchanged = name == "crop" and value is None and settings["dataset"] in IMAGES
        if unchanged and name in settings:
            yield "--no-augmentation"
        elif value is True:
            yield f"--{name.replace('_', '-')}"
        elif value is not None and value is not False:
            yield f"--{name.replace('_', '-')} {value}"


_TRAIN = "python -m examples.paper.train {options}"
_DEFAULT = {"dataset": "cifar10", "network": "resnet50"}


def with_snapshots(*losses: str) -> Need:
    """Return the need of runs that kept snapshots."""
    command = f"{_TRAIN} --snapshots all"
    return Need(losses, "snapshots/epoch_*.npz", "with snapshots", command, _DEFAULT)


def of_images(*losses: str) -> Need:
    """Return the need of runs on images."""
    return Need(losses, "logits.npz", "on images", _TRAIN, _DEFAULT, IMAGES)


def of_translation(*losses: str) -> Need:
    """Return the need of evaluated translation runs."""
    command = f"{_TRAIN}, then python -m examples.paper.translation"
    default = {"dataset": "multi30k", "network": "transformer"}
    return Need(losses, "translation.json", "of translation, evaluated", command, default)
