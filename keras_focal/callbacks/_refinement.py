"""Early stopping on the refinement error: the validation NLL after temperature scaling."""

import json
import os
import warnings
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_focal._validation.numbers import check_at_least, check_whole
from keras_focal.callbacks._metrics import metrics_of
from keras_focal.callbacks._record import Recorder, Row, write
from keras_focal.metrics import RefinementError


class _Progress(NamedTuple):
    """The best epoch or None, its refinement error, and the number of epochs since."""

    epoch: int | None
    best: float
    wait: int


class RefinementStopping(Recorder):
    """Stop training when the validation NLL after temperature scaling no longer improves.

    The validation loss is the sum of a calibration error, which a temperature fitted after training
    removes, and of the refinement error, which it cannot. A network that becomes over-confident
    while its predictions still get better has a validation loss that rises too early. This callback
    looks at the refinement error alone: after each validation it finds the temperature T with the
    smallest NLL from the state of a compiled `metrics.RefinementError`, without another pass over
    the data. Calibrate the model afterwards, for example with `calibration.calibrate`.

    The logs of an epoch contain the refinement error as "val_refinement", in nats, and T as
    "val_temperature". `ReduceLROnPlateau`, `ModelCheckpoint` and other callbacks can monitor the
    first wherever they are listed; list callbacks that read T after this one. With several outputs,
    the callback looks at the sum of their refinement errors, each at its own temperature, and the
    other names begin with that of the output.

    To resume with `BackupAndRestore`, pass a `directory`: `refinement_stopping.json` there has a
    row for each epoch, and `refinement_best_0007.npz` the weights of the best one, here the eighth.

    Args:
        patience: Number of epochs without improvement after which training stops.
        min_delta: Decrease of the refinement error, in nats, that counts as an improvement.
        metric: None for all `RefinementError` metrics of the model, or the name of one in the logs.
        restore_best_weights: Whether to end with the weights of the best epoch, or with the last.
        start_from_epoch: First epoch to consider, counted from 0.
        directory: None, or the folder for the record and the best weights; created if missing.
        verbose: 1 prints when training stops and which weights are restored.

    Attributes:
        rows: A row for each validated epoch: its number, the refinement error, and T by output.
        best: The smallest refinement error.
        best_epoch: Its epoch, counted from 0, or None.
        wait: Number of epochs since.
        stopped_epoch: The epoch after which training was stopped, or None.

    Raises:
        ValueError: If `patience` or `start_from_epoch` is not a whole number >= 0 or `min_delta` is
            negative; after the first validation, if the model has no such metric.

    Example:
        >>> import keras, keras_focal, numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> metric = keras_focal.metrics.RefinementError(from_logits=True)
        >>> model.compile("sgd", loss, metrics=[metric])
        >>> stop = keras_focal.callbacks.RefinementStopping(patience=2)
        >>> x, y = np.eye(2)[[0, 1] * 4], np.array([0, 1] * 4)
        >>> history = model.fit(x, y, validation_data=(x, y), verbose=0, callbacks=[stop])
        >>> sorted(name for name in history.history if name.startswith("val_"))
        ['val_loss', 'val_refinement', 'val_temperature']

    Source:
        Berta et al., 2025, "Rethinking Early Stopping: Refine, Then Calibrate", section 4.
    """

    def __init__(
        self,
        patience: int = 0,
        min_delta: float = 0.0,
        *,
        metric: str | None = None,
        restore_best_weights: bool = True,
        start_from_epoch: int = 0,
        directory: str | os.PathLike | None = None,
        verbose: int = 0,
    ):
        super().__init__(
            None if directory is None else Path(directory) / "refinement_stopping.json"
        )
        self.patience = _check_epochs("patience", patience)
        self.min_delta = check_at_least("min_delta", min_delta, 0, "0 counts every decrease.")
        self.metric = metric
        self.restore_best_weights = bool(restore_best_weights)
        self.start_from_epoch = _check_epochs("start_from_epoch", start_from_epoch)
        self.verbose = verbose
        self.stopped_epoch: int | None = None
        self._weights: list[np.ndarray] | None = None
        self._has_stopped = False

    @property
    def best(self) -> float:
        return self._progress().best

    @property
    def best_epoch(self) -> int | None:
        return self._progress().epoch

    @property
    def wait(self) -> int:
        return self._progress().wait

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.rows, self.stopped_epoch = [], None
        self._weights, self._has_stopped = None, False
        super().on_train_begin(logs)

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        if self._epoch is None or self._has_stopped:
            # A separate call of `evaluate`, or what `fit` does after it was told to stop.
            return
        found = {name: metric.best for name, metric in self._metrics().items()}
        before = self.best_epoch
        self.rows.append(
            {
                "epoch": self._epoch,
                "refinement": sum(nll for nll, _ in found.values()),
                "temperatures": {name: temperature for name, (_, temperature) in found.items()},
            }
        )
        if self.restore_best_weights and self.best_epoch == self._epoch:
            self._weights = self.model.get_weights()
            self._write_weights()
        self._write()
        self._drop_weights_except(before, self.best_epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        self._warn_without_rows("training does not stop early")
        if self._has_stopped or not self.rows or self.rows[-1]["epoch"] != epoch:
            return
        row = self.rows[-1]
        if logs is not None:
            logs.setdefault(f"val_{self.metric or 'refinement'}", row["refinement"])
            logs.update({f"val_{name}": t for name, t in row["temperatures"].items()})
        if self._is_over():
            self._stop(epoch)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self.stopped_epoch is not None and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self._weights is None:
            return
        if self.restore_best_weights and self.verbose:
            best = (self.best_epoch or 0) + 1
            print(f"Restoring model weights from the end of the best epoch: {best}.")
        self.model.set_weights(self._weights)

    def _progress(self) -> _Progress:
        epoch, best, wait = None, np.inf, 0
        for row in self.rows:
            if row["epoch"] < self.start_from_epoch:
                continue
            # NaN, of predictions that are invalid, is no improvement.
            if row["refinement"] + self.min_delta < best:
                epoch, best, wait = row["epoch"], row["refinement"], 0
            else:
                wait += 1
        return _Progress(epoch, best, wait)

    def _is_over(self) -> bool:
        return self.wait >= max(1, self.patience)

    def _stop(self, epoch: int) -> None:
        self.stopped_epoch = epoch
        self.model.stop_training = True

    def _metrics(self) -> dict[str, RefinementError]:
        """Return the metrics to read, by the names of their temperatures in the logs, or raise."""
        found = {
            name: metric
            for name, metric in metrics_of(self.model).items()
            if isinstance(metric, RefinementError)
        }
        chosen = {
            name.replace(str(metric.name), "temperature", 1): metric
            for name, metric in found.items()
            if self.metric in (None, name)
        }
        if not chosen:
            names = ", ".join(map(repr, found)) or "none"
            raise ValueError(
                "RefinementStopping needs a RefinementError among the metrics of the model"
                + ("" if self.metric is None else f" named {self.metric!r}")
                + f". Received: {names}. "
                + (
                    "Choose one with RefinementStopping(metric=...)."
                    if found
                    else "Add metrics=[keras_focal.metrics.RefinementError(from_logits=True)] to "
                    "compile()."
                )
            )
        return chosen

    # --- the record

    def _parsed(self, text: str) -> list[Row]:
        rows = json.loads(text)
        if not isinstance(rows, list):
            raise TypeError(f"expected a list of epochs, got {type(rows).__name__}")
        for row in rows:
            float(row["refinement"])
            [*row["temperatures"].values()]
        return rows

    def _formatted(self) -> str:
        return json.dumps(self.rows)

    def _resume(self, epoch: int) -> None:
        anew = "the search for the best epoch begins anew"
        self._warn_without_earlier_rows(epoch, anew)
        best = self.best_epoch
        if best is not None and self.restore_best_weights:
            path = self._weights_file(best)
            if not path.exists():
                warnings.warn(
                    f"RefinementStopping resumes at epoch {epoch}, but there is no {path} with the "
                    f"weights of the best epoch before: {anew}.",
                    stacklevel=2,
                )
                self.rows = []
                return
            self._weights = self._read_weights(path)
        if self._is_over():
            # The run was killed after its last epoch. Keras trains on one batch more, in vain.
            self._has_stopped = True
            self._weights = self._weights or self.model.get_weights()
            self._stop(self.rows[-1]["epoch"])

    def _weights_file(self, epoch: int) -> Path:
        assert self._file is not None
        return self._file.with_name(f"refinement_best_{epoch:04d}.npz")

    def _write_weights(self) -> None:
        if self._file is None or self._epoch is None or self._weights is None:
            return
        # NumPy has no file format for bfloat16 and the like.
        weights = [w if w.dtype.kind in "fiub" else w.astype("float32") for w in self._weights]

        def write_to(path: Path) -> None:
            with path.open("wb") as file:
                np.savez(file, *weights)

        write(self._weights_file(self._epoch), write_to)

    def _read_weights(self, path: Path) -> list[np.ndarray]:
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                weights = [arrays[f"arr_{i}"] for i in range(len(arrays.files))]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                "`directory` must hold weights written by this callback. Received: "
                f"{path}, which cannot be read ({type(error).__name__}: {error}). Restore the "
                "file, or delete it to begin the search for the best epoch anew."
            ) from error
        shapes = [tuple(weight.shape) for weight in self.model.weights]
        if [weight.shape for weight in weights] != shapes:
            raise ValueError(
                f"`directory` must hold weights of this model. Received: {path}, with weights of "
                f"other shapes than those of the model. Use a directory of its own for each model."
            )
        return weights

    def _drop_weights_except(self, *epochs: int | None) -> None:
        """Delete other files of weights.

        A run that is killed before the next backup resumes one epoch earlier, and needs the weights
        that were best then.
        """
        if self._file is None:
            return
        kept = {self._weights_file(epoch) for epoch in epochs if epoch is not None}
        for path in {*self._file.parent.glob("refinement_best_*")} - kept:
            path.unlink()


def _check_epochs(name: str, value: Any) -> int:
    fix = "It is a number of epochs."
    return check_whole(name, value, "a whole number >= 0", lambda x: x >= 0, fix)
