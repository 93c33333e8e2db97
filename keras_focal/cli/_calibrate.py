"""Calibrate a saved model on held-out data, and save or export it."""

import argparse
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_focal.calibration import CalibrationReport, calibrate
from keras_focal.cli._entries import Reading, half_step, is_logits
from keras_focal.cli._errors import CommandError
from keras_focal.cli._figures import texts, values
from keras_focal.cli._files import check_input, check_target, whole
from keras_focal.cli._measure import measure
from keras_focal.cli._report import add_kind
from keras_focal.cli._tables import figure, print_json, print_table
from keras_focal.cli.readers import Rows
from keras_focal.cli.readers._columns import array_name
from keras_focal.cli.readers._rows import Classes

HELP = "a calibrated model from a saved one and held-out data"
EXAMPLE = "  keras-focal calibrate model.keras --data val.npz --out calibrated.keras"

_INPUTS = ("x", "inputs", "features", "images", "x_val")
_LABELS = ("y", "labels", "label", "targets", "y_true", "y_val")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("model", type=Path, help="a saved model, .keras")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="FILE.npz", help="held-out inputs and labels"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE.keras", help="where to save the model"
    )
    parser.add_argument(
        "--export", type=Path, metavar="DIR", help="also export a SavedModel to a new folder"
    )
    parser.add_argument(
        "--method", default="temperature", metavar="NAME", help="as in calibration.calibrate"
    )
    add_kind(parser, "outputs of the model")
    parser.add_argument("--inputs-key", metavar="NAME", help="array of inputs in the data")
    parser.add_argument("--labels-key", metavar="NAME", help="array of labels in the data")
    parser.add_argument("--batch-size", type=int, default=32, help="default: 32")


def run(arguments: argparse.Namespace) -> None:
    """Save the calibrated model, and print what it does on the data."""
    check_input(arguments.model, (".keras",))
    check_input(arguments.data, (".npz",))
    check_target("--out", arguments.out, ".keras", arguments.model)
    if arguments.export:
        check_target("--export", arguments.export, "", arguments.model)
    x, y = _data(arguments)
    model = _model(arguments.model)
    outputs = _predicted(model, x, arguments)
    from_logits = is_logits(Rows(0, outputs, y, 1.0), arguments.from_logits)
    before = _measured(outputs, y, from_logits)
    method = {} if arguments.method == "temperature" else {"method": arguments.method}
    calibrated, fit = calibrate(
        model,
        x,
        y,
        from_logits=from_logits,
        return_fit=True,
        batch_size=arguments.batch_size,
        verbose=0,
        **method,
    )
    after = _measured(_predicted(calibrated, x, arguments), y, False)
    _write(calibrated, arguments)
    temperature = getattr(fit, "temperature", None)
    if arguments.json:
        print_json(_values(arguments, from_logits, temperature, before, after))
        return
    kind = "logits" if from_logits else "probabilities"
    fitted = "" if temperature is None else f", T = {figure(temperature)}"
    print(f"{arguments.model.name}: {kind} of {len(before.class_ece)} classes{fitted}\n")
    print_table((f"{before.count:.0f} rows", "before", "after"), texts(before, after))
    print("Note: these rows are those of the fit; measure on others what the model is worth.")
    print(f"Written: {arguments.out}")
    if arguments.export:
        print(f"Exported: {arguments.export}")


def _measured(outputs: np.ndarray, labels: np.ndarray, from_logits: bool) -> CalibrationReport:
    """Return the figures of the outputs of a model."""
    num_classes = max(2, outputs.shape[-1])
    zero = None if from_logits else half_step(outputs)
    reading = Reading(from_logits, num_classes, Classes(), zero)
    entries = reading.entries([Rows(0, outputs, labels, 1.0)])
    return measure(entries, num_classes, from_logits).report


def _write(calibrated: keras.Model, arguments: argparse.Namespace) -> None:
    """Write model and export, or neither."""
    with whole(arguments.out) as path:
        calibrated.save(path)
        if arguments.export:
            with whole(arguments.export) as folder:
                calibrated.export(folder, verbose=False)


def _data(arguments: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    path = arguments.data
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            names = arrays.files
            x = arrays[array_name("--inputs-key", arguments.inputs_key, names, _INPUTS)]
            y = arrays[array_name("--labels-key", arguments.labels_key, names, _LABELS)]
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise CommandError(f"{path} is truncated or no .npz file. Write it again.") from error
    except ValueError as error:
        raise CommandError(
            f"{path} cannot be read: {error} Objects are never unpickled: write arrays of numbers."
        ) from error
    if len(x) == 0 or x.shape[:1] != y.shape[:1]:
        raise CommandError(
            f"{path} must hold one label for each input. Received: labels of shape {y.shape} for "
            f"inputs of shape {x.shape}."
        )
    if x.dtype.kind == "f" and not np.all(np.isfinite(x)):
        rows = np.isfinite(x).reshape(len(x), -1).all(axis=1)
        raise CommandError(
            f"{path}: row {int(rows.argmin())} of the inputs holds NaN or infinity. Mend it."
        )
    return x, y


def _model(path: Path) -> keras.Model:
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise CommandError(
            f"{path} cannot be loaded: {reason} ... It must be a model that model.save wrote, of "
            "Keras's and this package's own layers, and unharmed."
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


def _values(
    arguments: argparse.Namespace,
    from_logits: bool,
    temperature: float | None,
    before: CalibrationReport,
    after: CalibrationReport,
) -> dict[str, Any]:
    return {
        "model": str(arguments.model),
        "outputs": "logits" if from_logits else "probabilities",
        "method": arguments.method,
        "temperature": temperature,
        "count": before.count,
        "before": values(before),
        "after": values(after),
        "out": str(arguments.out),
        "export": str(arguments.export) if arguments.export else None,
    }
