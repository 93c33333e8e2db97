"""A saved model: loaded, calibrated, measured and written."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

# Loading finds the layers, losses and metrics of a model in the registry of Keras.
from keras_focal import callbacks, layers, losses, metrics  # noqa: F401
from keras_focal.calibration import CalibrationReport, MapFit, calibrate
from keras_focal.cli._entries import Reading, half_step, is_logits
from keras_focal.cli._errors import CommandError
from keras_focal.cli._files import whole
from keras_focal.cli._measure import Measured, measure
from keras_focal.cli.readers import Rows
from keras_focal.cli.readers._rows import Classes
from keras_focal.functional import Interval


class Calibrated(NamedTuple):
    """A calibrated model.

    Attributes:
        model: The model.
        kind: What the outputs were before, "logits" or "probabilities".
        method: The map that was taken.
        temperature: T, if the map is one.
        before: Figures of the outputs before.
        after: Figures of the outputs after.
        folds: Folds behind the intervals, whose predictions are by a map fitted to the others; 0 if
            they are of the rows of the fit.
        intervals: The 95 % intervals of some figures before, after, and of the change.
    """

    model: keras.Model
    kind: str
    method: str
    temperature: float | None
    before: CalibrationReport
    after: CalibrationReport
    folds: int
    intervals: Sequence[dict[str, Interval]]


def calibrated_model(arguments: argparse.Namespace, x: np.ndarray, y: np.ndarray) -> Calibrated:
    """Load a model and calibrate it on held-out data."""
    model = _model(arguments.model)
    outputs = _predicted(model, x, arguments)
    from_logits = is_logits(_rows(outputs, y, arguments), arguments.from_logits)
    before = _measured(outputs, y, arguments, from_logits)
    method = {} if arguments.method == "temperature" else {"method": arguments.method}
    calibrated, fit = calibrate(
        model,
        x,
        y,
        from_logits=from_logits,
        return_fit=True,
        ignore_class=arguments.ignore_class,
        multi_label=arguments.multi_label,
        max_seconds=arguments.max_seconds,
        keep_top_class=arguments.keep_top_class,
        batch_size=arguments.batch_size,
        verbose=0,
        **method,
    )
    after = _measured(_predicted(calibrated, x, arguments), y, arguments, False)
    return Calibrated(
        model=calibrated,
        kind="logits" if from_logits else "probabilities",
        method=getattr(fit, "method", arguments.method),
        temperature=getattr(fit, "temperature", None),
        before=before.report,
        after=after.report,
        folds=getattr(fit, "folds", 0),
        intervals=fit.intervals()
        if isinstance(fit, MapFit)
        else (
            before.resampled.intervals(),
            after.resampled.intervals(),
            after.resampled.intervals(before.resampled),
        ),
    )


def write(calibrated: keras.Model, arguments: argparse.Namespace) -> None:
    """Write model and export, or neither."""
    with whole(arguments.out) as path:
        calibrated.save(path)
        if arguments.export:
            with whole(arguments.export) as folder:
                calibrated.export(folder, verbose=False)


def _rows(outputs: np.ndarray, labels: np.ndarray, arguments: argparse.Namespace) -> Rows:
    """Return the outputs of a model as rows; independent ones as a prediction each."""
    if arguments.multi_label:
        if labels.shape != outputs.shape:
            raise CommandError(
                "--multi-label needs a label for each output: labels of the shape of the outputs. "
                f"Received: labels of shape {labels.shape} for outputs of shape {outputs.shape}."
            )
        outputs = outputs[..., None]
    return Rows(0, outputs, labels, 1.0)


def _measured(
    outputs: np.ndarray, labels: np.ndarray, arguments: argparse.Namespace, from_logits: bool
) -> Measured:
    """Return the figures of the outputs of a model."""
    rows = _rows(outputs, labels, arguments)
    num_classes = max(2, rows.predictions.shape[-1])
    zero = None if from_logits else half_step(outputs)
    reading = Reading(
        from_logits, num_classes, Classes(), zero, ignore_class=arguments.ignore_class
    )
    return measure(reading.entries([rows]), num_classes, from_logits)


def _model(path: Path) -> keras.Model:
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise CommandError(
            f"{path} cannot be loaded: {reason} ... It must be an intact file of model.save, with "
            "layers of Keras and of this package only."
        ) from error


def _predicted(model: keras.Model, x: np.ndarray, arguments: argparse.Namespace) -> np.ndarray:
    """Return the one output of a model."""
    try:
        outputs = model.predict(x, batch_size=arguments.batch_size, verbose=0)
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise CommandError(
            f"{arguments.model} does not take the inputs of {arguments.data}, of shape {x.shape}: "
            f"{reason}"
        ) from error
    if isinstance(outputs, dict | list | tuple):
        raise CommandError(
            f"{arguments.model} has {len(outputs)} outputs, and the command takes one. Call "
            "calibration.calibrate from Python, with labels for each."
        )
    if outputs.ndim < 2:
        raise CommandError(
            f"{arguments.model} must give a score for each class, shape (rows, classes). Received: "
            f"shape {outputs.shape}."
        )
    return outputs
