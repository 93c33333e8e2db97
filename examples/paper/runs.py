"""Folders of runs: what training writes, and tables and figures read.

A folder holds

- `run.json`: the settings, the seed, sizes and checksum of the data, versions, device, commit,
  seconds, and whether it is finished;
- `log.csv`: a row for each epoch;
- of images, texts and trees, `model.keras` and `logits.npz`: `val_logits`, `val_labels`,
  `test_logits`, `test_labels`, as the logits that the authors' models are published with;
- of translation, `tokens.model`, `model.weights.h5` and, once it is measured, `translation.json`;
- `snapshots/epoch_0010.npz`, for chosen epochs (1 is the first): see `Snapshot`.
"""

import csv
import glob
import importlib
import platform
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_focal
from examples.paper.files import DamagedFileError, read_arrays, read_json, write_json
from examples.paper.recipes import RECIPES

IDENTITY = ("dataset", "network", "loss", "seed")
"""What tells a run from others of a directory."""
SETTINGS = (
    "epochs",
    "batch_size",
    "objective",
    "crop",
    "limit",
    "length",
    "mixed_precision",
    "glove",
    "size",
    "vocabulary_size",
    "warm_up",
)
"""How a run is trained, beside its data set, network, loss and seed: options of the command."""
ALIKE = (*SETTINGS, "data")
"""What runs which are averaged, or drawn together, must share."""
_EARLIER_NAMES = {"batch_tokens": "batch_size", "max_length": "length"}
"""What older folders of translation call settings."""
EVALUATED = ("temperatures", "bleu_temperatures", "search")
"""How translations were measured, which must be shared too: in translation.json, by criterion."""


@dataclass(frozen=True)
class Logits:
    """Logits, float32, shape (N, K), and class ids, int32, shape (N,), of the held-out data."""

    val_logits: np.ndarray
    val_labels: np.ndarray
    test_logits: np.ndarray
    test_labels: np.ndarray

    @classmethod
    def load(cls, file: Path) -> "Logits":
        """Return the logits that an .npz file holds under the names above."""
        return cls(**read_arrays(file, cls.__dataclass_fields__))

    @property
    def finite(self) -> bool:
        """Return whether all logits are finite: training did not diverge."""
        return bool(np.isfinite(self.val_logits).all() and np.isfinite(self.test_logits).all())

    def save(self, file: Path) -> None:
        """Write an .npz file that `load` reads."""
        np.savez_compressed(file, **vars(self))


@dataclass(frozen=True)
class Snapshot:
    """The state of a run after an epoch.

    Attributes:
        epoch: How many epochs were trained.
        test_logits: float32, shape (N, K); `test_labels` int32, shape (N,).
        train_logits: Of the first training samples, not augmented; `train_labels` likewise.
        train_feature_norms: L2 norm of what the last layer takes, for the same samples.
        kernel_norm: L2 norm of the kernel of the last layer.
    """

    epoch: int
    test_logits: np.ndarray
    test_labels: np.ndarray
    train_logits: np.ndarray
    train_labels: np.ndarray
    train_feature_norms: np.ndarray
    kernel_norm: float

    @classmethod
    def load(cls, file: Path) -> "Snapshot":
        """Return the snapshot of an .npz file."""
        values: dict[str, Any] = read_arrays(file, cls.__dataclass_fields__)
        values["epoch"], values["kernel_norm"] = int(values["epoch"]), float(values["kernel_norm"])
        return cls(**values)

    def save(self, folder: Path) -> None:
        """Write `epoch_NNNN.npz` into a folder, which is made if need be."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(folder / f"epoch_{self.epoch:04d}.npz", **vars(self))


@dataclass(frozen=True)
class Run:
    """A finished or unfinished run and its folder."""

    folder: Path
    settings: dict[str, Any]

    @property
    def dataset(self) -> str:
        """Return the name of the data set."""
        return self.settings["dataset"]

    @property
    def network(self) -> str:
        """Return the name of the network."""
        return self.settings["network"]

    @property
    def loss(self) -> str:
        """Return the name of the loss, as `keras_focal.losses.get` takes it, or an extra one."""
        return self.settings["loss"]

    @property
    def seed(self) -> int:
        """Return the seed."""
        return self.settings["seed"]

    @property
    def objective(self) -> str:
        """Return what was differentiated, of the losses of a batch: a name in `OBJECTIVES`."""
        of_older_runs = "weighted-mean" if self.is_translation else "mean"
        return self.settings.get("objective") or of_older_runs

    @property
    def trained_with(self) -> dict[str, Any]:
        """Return what run.json has of `ALIKE`, by the same names in older run folders."""
        found = {_EARLIER_NAMES.get(name, name): value for name, value in self.settings.items()}
        found.setdefault("mixed_precision", found.get("dtype_policy") == "mixed_bfloat16")
        found["objective"] = self.objective
        return {name: found[name] for name in ALIKE if name in found}

    @property
    def label(self) -> str:
        """Return the network, the objective if a sum, and the epochs if not those of the recipe."""
        epochs, words = self.settings.get("epochs"), [self.network]
        if self.objective == "sum":
            words.append("sum")
        if epochs not in (None, RECIPES[self.dataset].epochs):
            words.append(f"{epochs} epochs")
        return ", ".join(words)

    @property
    def is_translation(self) -> bool:
        """Return whether it is a Transformer, which `examples.paper.translation` measures."""
        return self.network == "transformer"

    @property
    def backup(self) -> Path:
        """Return the folder from which training goes on after a kill."""
        return self.folder / "backup"

    @property
    def finished(self) -> bool:
        """Return whether training ended and the logits were written."""
        return bool(self.settings.get("finished"))

    @property
    def diverged(self) -> bool:
        """Return whether training ended with logits that are not finite."""
        return (self.folder / "logits.npz").is_file() and not self.logits().finite

    def logits(self) -> Logits:
        """Return the held-out logits."""
        return Logits.load(self.folder / "logits.npz")

    def log(self) -> dict[str, np.ndarray]:
        """Return the columns of log.csv, float64, one value an epoch, {} before the first.

        It is NaN where there was no value, as in an epoch without validation.
        An epoch that a kill made run twice counts once, as it was the second time.
        """
        if not (self.folder / "log.csv").exists():
            return {}
        try:
            with open(self.folder / "log.csv", newline="") as file:
                rows = {row["epoch"]: row for row in csv.DictReader(file)}.values()
            return {
                name: np.array([float(row[name].replace("NA", "nan")) for row in rows])
                for name in next(iter(rows), {})
            }
        except (AttributeError, KeyError, OSError, ValueError) as error:
            raise DamagedFileError(
                self.folder / "log.csv", "numbers under names, a row for each epoch", error
            ) from error

    def snapshots(self) -> list[Snapshot]:
        """Return the snapshots in the order of their epochs."""
        return [Snapshot.load(file) for file in self.snapshot_files().values()]

    def snapshot_files(self) -> dict[int, Path]:
        """Return the file of each snapshot by its epoch, in their order."""
        files = sorted(self.folder.glob("snapshots/epoch_*.npz"))
        return {int(file.stem.removeprefix("epoch_")): file for file in files}


def folder_of(out: Path, settings: dict[str, Any]) -> Path:
    """Return the folder of a run below `out`."""
    size = f"-{settings['size']}" if settings.get("size") else ""
    return out / "{dataset}_{network}{}_{loss}_seed{seed}".format(size, **settings)


def read(directory: Path) -> list[Run]:
    """Return the runs below a directory and what it links to, in the order of their names.

    Raises:
        FileNotFoundError: If the directory holds no run.
    """
    below = Path(glob.escape(f"{directory}"))
    found = glob.iglob(f"{below / '**' / 'run.json'}", recursive=True, include_hidden=True)
    files = sorted(map(Path, found))
    if not files:
        raise FileNotFoundError(
            f"`--runs` must hold folders with a run.json, as `python -m examples.paper.train` "
            f"writes them. Received: {directory}"
        )
    return [_read(file) for file in files]


def _read(file: Path) -> Run:
    """Return the run of a run.json.

    Raises:
        DamagedFileError: If it does not say of what data, network, loss and seed the run is.
    """
    settings = read_json(file)
    missing = [name for name in IDENTITY if name not in settings]
    if missing:
        raise DamagedFileError(file, "the settings of a run", KeyError(*missing))
    return Run(file.parent, settings)


def start(folder: Path, settings: dict[str, Any]) -> Run:
    """Return the run of a folder, or a new one, of which nothing is written yet: see `save`.

    Raises:
        ValueError: If the folder holds a run with other settings.
    """
    file = folder / "run.json"
    if not file.exists():
        return Run(folder, {**settings, "seconds": 0.0, "finished": False, **environment()})
    run = _read(file)
    known = {**run.settings, **run.trained_with}
    other = {name for name, value in settings.items() if known.get(name) != value}
    if other:
        raise ValueError(
            f"`--out` holds a run with other settings ({', '.join(sorted(other))}). Give the same "
            f"settings to go on with it, or another folder. Received: {folder}"
        )
    return run


def of_data(run: Run, fingerprint: dict[str, Any]) -> Run:
    """Return the run with what `Data.fingerprint` says of its data, not yet written.

    Raises:
        ValueError: If the run began with other data.
    """
    known = run.settings.get("data", fingerprint)
    if known != fingerprint:
        raise ValueError(
            f"`--out` holds a run that began with other data: {known}. Go on with the same data, "
            f"or give another folder. Received: {fingerprint}"
        )
    return replace(run, settings={**run.settings, "data": fingerprint})


def save(run: Run) -> None:
    """Write run.json into the folder, which is made if need be."""
    run.folder.mkdir(parents=True, exist_ok=True)
    write_json(run.folder / "run.json", run.settings)


def restart(run: Run) -> Run:
    """Return a finished run as one that begins anew, and write it so."""
    run = replace(run, settings={**run.settings, "seconds": 0.0, "finished": False})
    save(run)
    (run.folder / "log.csv").unlink(missing_ok=True)
    return run


def finish(run: Run) -> None:
    """Write down that a run is finished and what it took; its backup has done its work."""
    seconds = round(float(run.log()["seconds"].sum()), 1)
    save(Run(run.folder, {**run.settings, "seconds": seconds, "finished": True}))
    shutil.rmtree(run.backup)


def environment() -> dict[str, str]:
    """Return what a run ran on: versions, backend, device, commit."""
    backend = keras.backend.backend()
    # Keras does not list the devices of torch.
    devices = [] if backend == "torch" else keras.distribution.list_devices()
    git = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=Path(__file__).parent,
        check=False,
        capture_output=True,
        text=True,
    )
    return {
        "python": platform.python_version(),
        "keras": keras.version(),
        "keras_focal": keras_focal.__version__,
        "backend": f"{backend} {importlib.import_module(backend).__version__}",
        "device": ", ".join(devices) or platform.machine(),
        "commit": git.stdout.strip(),
    }
