"""Calibrate a saved model on held-out data, and save or export it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_focal._quiet import import_keras
from keras_focal.cli._errors import CommandError
from keras_focal.cli._figures import change_texts, interval_values, texts, values
from keras_focal.cli._files import check_input, check_target
from keras_focal.cli._report import add_force, add_kind, add_labels
from keras_focal.cli._tables import figure, print_json, print_table, shown
from keras_focal.cli.readers._columns import array_name
from keras_focal.cli.readers._npz import array_of, check_numbers, members_of

if TYPE_CHECKING:
    from keras_focal.cli._model import Calibrated

HELP = "a calibrated model from a saved one and held-out data"
EXAMPLE = "  keras-focal calibrate model.keras --data val.npz --out calibrated.keras"

_NOTES = {
    False: "these are the rows of the fit",
    True: "the first table is of the rows of the fit, the second of maps fitted without a fold",
}

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
    add_force(parser)
    parser.add_argument(
        "--export", type=Path, metavar="DIR", help="also export a SavedModel to a new folder"
    )
    parser.add_argument(
        "--method",
        default="temperature",
        metavar="NAME",
        help="map to fit, as in calibration.calibrate (default: temperature)",
    )
    parser.add_argument(
        "--max-seconds",
        type=float,
        metavar="S",
        help="of --method auto: start no further map after S seconds",
    )
    parser.add_argument(
        "--keep-top-class",
        action="store_true",
        help="of --method auto: only maps that never change the predicted class",
    )
    add_kind(parser, "outputs of the model")
    add_labels(parser)
    parser.add_argument("--inputs-key", metavar="NAME", help="array of inputs in the data")
    parser.add_argument("--labels-key", metavar="NAME", help="array of labels in the data")
    parser.add_argument("--batch-size", type=int, default=32, help="default: 32")


def run(arguments: argparse.Namespace) -> None:
    """Save the calibrated model, and print its figures on the data."""
    check_input(arguments.model, (".keras",))
    check_input(arguments.data, (".npz",))
    force = arguments.force
    check_target("--out", arguments.out, ".keras", arguments.model, force=force)
    if arguments.export:
        check_target("--export", arguments.export, "", arguments.model)
    x, y = _data(arguments)
    import_keras()
    from keras_focal.cli._model import calibrated_model, write

    found = calibrated_model(arguments, x, y)
    write(found.model, arguments)
    if arguments.json:
        print_json(_values(arguments, found))
        return
    fitted = "" if found.temperature is None else f", T = {figure(found.temperature)}"
    before, after = found.before, found.after
    print(
        f"{shown(arguments.model.name)}: {found.kind} of {len(before.class_ece)} classes, method "
        f"{found.method}{fitted}\n"
    )
    print_table((f"{before.count:.0f} rows", "before", "after"), texts(before, after))
    whose = f"held out, {found.folds} folds" if found.folds else "rows of the fit"
    print_table(
        (whose, "before", "after", "change", "95 % interval of it"), change_texts(*found.intervals)
    )
    print(f"Note: {_NOTES[bool(found.folds)]}; measure the model on other data.")
    print(f"Written: {shown(str(arguments.out))}")
    if arguments.export:
        print(f"Exported: {shown(str(arguments.export))}")


def _data(arguments: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    path = arguments.data
    try:
        members = members_of(path)
        x, y = (
            members[array_name(option, given, members, usual)]
            for option, given, usual in (
                ("--inputs-key", arguments.inputs_key, _INPUTS),
                ("--labels-key", arguments.labels_key, _LABELS),
            )
        )
        if not x.shape[0] or x.shape[:1] != y.shape[:1]:
            raise CommandError(
                f"{x.name} and {y.name} must hold one label for each input. Received: labels of "
                f"shape {y.shape} for inputs of shape {x.shape}."
            )
        check_numbers(x.name, x.dtype)
        check_numbers(y.name, y.dtype)
        inputs, labels = array_of(path, x), array_of(path, y)
    except CommandError as error:
        raise CommandError(f"{path}: {error}") from error
    if inputs.dtype.kind == "f" and not np.all(np.isfinite(inputs)):
        rows = np.isfinite(inputs).reshape(len(inputs), -1).all(axis=1)
        raise CommandError(
            f"{path}: row {int(rows.argmin())} of the inputs holds NaN or infinity. Correct it, or "
            "leave the row out."
        )
    return inputs, labels


def _values(arguments: argparse.Namespace, found: "Calibrated") -> dict[str, Any]:
    return {
        "model": str(arguments.model),
        "outputs": found.kind,
        "method": found.method,
        "temperature": found.temperature,
        "count": found.before.count,
        "before": values(found.before),
        "after": values(found.after),
        "folds": found.folds,
        "intervals": interval_values(*found.intervals),
        "out": str(arguments.out),
        "export": str(arguments.export) if arguments.export else None,
    }
