"""Files with a row for each epoch, which a resumed run continues."""

import warnings
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

Row = dict[str, Any]


class Recorder(keras.callbacks.Callback):
    """Base class of callbacks that keep a row for each epoch, and a file that `fit` resumes from.

    A subclass adds to `rows` after a validation, when `_epoch` is not None, and calls `_write` at
    once: other callbacks may end the epoch before this one, and a run that is killed between a
    backup and the end of the epoch here would resume without the row.
    """

    def __init__(self, file: Path | None):
        super().__init__()
        self.rows: list[Row] = []
        self._file = file
        self._epoch: int | None = None
        self._is_first = self._has_warned = False

    @abstractmethod
    def _parsed(self, text: str) -> list[Row]:
        """Return the rows in a file."""

    @abstractmethod
    def _formatted(self) -> str:
        """Return what a file holds."""

    @abstractmethod
    def _resume(self, epoch: int) -> None:
        """Continue from the rows before the first epoch of a call of `fit`."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._is_first = True
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self.rows = read_rows(self._file, self._parsed)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.rows = rows_before(self.rows, epoch)
        if self._is_first:
            self._resume(epoch)
        self._is_first, self._epoch = False, epoch

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = None

    def _write(self) -> None:
        if self._file is not None and self._epoch is not None:
            text = self._formatted()
            write(self._file, lambda path: path.write_text(text))

    def _warn_without_rows(self, consequence: str) -> None:
        """Warn once, at the end of an epoch, if there was no validation so far."""
        if not self.rows and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"{type(self).__name__} found no validation predictions after the first epoch, so "
                f"{consequence}. Pass validation_data to fit().",
                stacklevel=2,
            )

    def _warn_without_earlier_rows(self, epoch: int, consequence: str) -> None:
        """Warn if a run resumes at a later epoch with an empty record."""
        if self._file is not None and not self.rows and epoch > 0:
            warnings.warn(
                f"{type(self).__name__} resumes at epoch {epoch}, but {self._file} has no earlier "
                f"epoch: {consequence}.",
                stacklevel=2,
            )


def read_rows(path: Path, parse: Callable[[str], list[Row]]) -> list[Row]:
    """Return the rows written by an earlier run; none if there is no file.

    Raises:
        ValueError: If the file cannot be read as rows, each with an epoch.
    """
    if not path.exists():
        return []
    try:
        rows = parse(path.read_text())
        return sorted(rows, key=lambda row: int(row["epoch"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"`directory` must hold a record written by this callback, or none. Received: {path}, "
            f"which cannot be read ({type(error).__name__}: {error}). Restore the file, or delete "
            "it to start a new record."
        ) from error


def write(path: Path, write_to: Callable[[Path], Any]) -> None:
    """Write a file atomically: a run that is interrupted or fails leaves the old file unchanged.

    Raises:
        OSError: If the file cannot be written; it is named, and nothing of it is left.
    """
    part = path.with_suffix(".part")
    try:
        write_to(part)
        part.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        part.unlink(missing_ok=True)


def rows_before(rows: list[Row], epoch: int) -> list[Row]:
    """Return the rows of earlier epochs. A run that resumes at `epoch` writes the others again."""
    return [row for row in rows if row["epoch"] < epoch]
