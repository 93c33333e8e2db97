"""How well predictions are calibrated, before and after the best temperature."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_focal.calibration._fit import bound_message
from keras_focal.cli._errors import CommandError, UsageError, extra
from keras_focal.cli._figures import texts, values
from keras_focal.cli._files import check_input, check_target, whole
from keras_focal.cli._measure import Measured, is_logits, measure
from keras_focal.cli._predictions import SUFFIXES, Rows, Source, source_of
from keras_focal.cli._tables import console, figure, percent, print_json, print_table

HELP = "the calibration of predictions in a file"
EXAMPLE = """\
  keras-focal report predictions.npz --out report.html
  keras-focal report predictions.csv --labels-key target --json"""

_WORST = 10
"""Classes and mistakes that are shown."""


class Result(NamedTuple):
    """What the command found.

    Attributes:
        path: The file.
        from_logits: Whether it holds logits.
        num_bins: Bins of the errors.
        temperature: T.
        origin: Where T is from.
        before: Predictions as they are.
        after: With logits / T.
        notes: What a reader must know.
    """

    path: Path
    from_logits: bool
    num_bins: int
    temperature: float
    origin: str
    before: Measured
    after: Measured
    notes: list[str]

    @property
    def kind(self) -> str:
        """What the predictions are."""
        return "logits" if self.from_logits else "probabilities"

    def worst_classes(self) -> list[tuple[int, int, float, float]]:
        """Return class, rows of it, and its classwise ECE before and after, the worst first."""
        before, after = self.before.report.class_ece, self.after.report.class_ece
        order = np.argsort(-before, kind="stable")[:_WORST]
        return [
            (int(k), self.before.labels[int(k)], float(before[k]), float(after[k])) for k in order
        ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("file", type=Path, help=".npz, .csv or .parquet of predictions and labels")
    add_kind(parser, "the predictions")
    parser.add_argument(
        "--predictions-key",
        metavar="NAME",
        help="array or list column of predictions; or what the names of their columns begin with",
    )
    parser.add_argument("--labels-key", metavar="NAME", help="array or column of labels")
    parser.add_argument("--out", type=Path, metavar="FILE.html", help="write a page with pictures")
    parser.add_argument("--bins", type=int, default=15, help="number of bins (default: 15)")
    parser.add_argument(
        "--temperature", type=float, metavar="T", help="a T fitted on other data; default: fit it"
    )
    parser.add_argument(
        "--skip-invalid", action="store_true", help="leave out rows with NaN or infinity"
    )


def add_kind(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the pair of options that says what predictions are."""
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--from-logits",
        action="store_true",
        default=None,
        help=f"{what} are logits (default: see by their values)",
    )
    kind.add_argument(
        "--probabilities",
        action="store_false",
        dest="from_logits",
        default=None,
        help=f"{what} are probabilities",
    )


def run(arguments: argparse.Namespace) -> None:
    """Print the report, and write the page."""
    _check(arguments)
    check_input(arguments.file, SUFFIXES)
    try:
        source = source_of(arguments.file, arguments.predictions_key, arguments.labels_key)
        result = _result(source, arguments)
    except (ValueError, CommandError) as error:
        raise CommandError(f"{arguments.file.name}: {error}") from error
    if arguments.out:
        from keras_focal.cli._page import page

        with extra():
            text = page(result)
        with whole(arguments.out) as path:
            path.write_text(text, encoding="utf-8")
    if arguments.json:
        print_json(_values(result))
    else:
        _print(result)
        if arguments.out:
            print(f"Written: {arguments.out}")


def _check(arguments: argparse.Namespace) -> None:
    if arguments.bins < 1:
        raise UsageError(f"--bins must be a whole number >= 1. Received: {arguments.bins}.")
    temperature = arguments.temperature
    if temperature is not None and not 0 < temperature < np.inf:
        raise UsageError(f"--temperature must be a number > 0. Received: {temperature}.")
    if arguments.out:
        check_target("--out", arguments.out, ".html", arguments.file)


def _result(source: Source, arguments: argparse.Namespace) -> Result:
    first = next(source.read(), None)
    if first is None or first.predictions.size == 0:
        raise CommandError("there are no rows. Write predictions and labels.")
    from_logits = is_logits(first.predictions, arguments.from_logits)
    rules = {"num_bins": arguments.bins, "skip_invalid": arguments.skip_invalid}
    with _progress("reading", source, arguments.json) as rows:
        before = measure(rows, from_logits, num_mistakes=_WORST, **rules)
    if before.report.count == 0:
        raise CommandError("no row is finite. Write predictions and labels again.")
    fit = before.report.nll_fit
    temperature = arguments.temperature or fit.temperature
    with _progress("after T", source, arguments.json) as rows:
        after = measure(rows, from_logits, temperature=temperature, **rules)
    return Result(
        path=source.path,
        from_logits=from_logits,
        num_bins=arguments.bins,
        temperature=temperature,
        origin="given" if arguments.temperature else "of least NLL",
        before=before,
        after=after,
        notes=_notes(before, arguments),
    )


def _notes(before: Measured, arguments: argparse.Namespace) -> list[str]:
    notes, fit = [], before.report.nll_fit
    if len(before.labels) == 1:
        (label,) = before.labels
        notes.append(
            f"Every label is {label}: figures of one class say little. Check the labels, or take "
            "rows of all classes."
        )
    if arguments.temperature is None:
        if fit.at_bound:
            notes.append(bound_message(fit.temperature, 0.05))
        notes.append(
            "T is fitted on the rows that it is measured on, which flatters it a little: fit on "
            "validation data, and pass --temperature here."
        )
    if before.report.invalid_count:
        notes.append(f"{before.report.invalid_count:.0f} rows with NaN or infinity are left out.")
    return notes


@contextmanager
def _progress(what: str, source: Source, is_silent: bool) -> Iterator[Iterator[Rows]]:
    """Give the rows of a file; on a terminal, a bar shows how many are read."""
    if is_silent:
        yield source.read()
        return
    out = console(stderr=True)
    from rich.progress import Progress

    with Progress(console=out, transient=True, disable=not out.is_terminal) as progress:
        task = progress.add_task(what, total=1.0)

        def rows() -> Iterator[Rows]:
            for part in source.read():
                yield part
                progress.update(task, completed=part.done)

        yield rows()


def _print(result: Result) -> None:
    report = result.before.report
    print(
        f"{result.path.name}: {report.count:.0f} rows of {result.kind}, "
        f"{len(report.class_ece)} classes, {result.num_bins} bins"
    )
    print(
        f"Best T: {figure(report.nll_fit.temperature)} by NLL, "
        f"{figure(report.ece_fit.temperature)} by ECE"
    )
    after = f"T = {figure(result.temperature)}"
    print_table(("", "before", after), texts(report, result.after.report))
    print_table(
        ("worst classes", "rows", "classwise ECE", after),
        [
            (str(k), str(size), f"{100 * before:.2f} %", f"{100 * after:.2f} %")
            for k, size, before, after in result.worst_classes()[:5]
        ],
    )
    if result.before.mistakes:
        print_table(
            ("most confident mistakes", "label", "prediction", "confidence"),
            [
                (f"row {row}", str(label), str(prediction), percent(confidence, 2))
                for row, label, prediction, confidence in result.before.mistakes[:5]
            ],
        )
    for note in result.notes:
        console().print(f"Note: {note}", markup=False)


def _values(result: Result) -> dict[str, Any]:
    report = result.before.report
    return {
        "file": result.path.name,
        "predictions": result.kind,
        "count": report.count,
        "invalid_count": report.invalid_count,
        "num_classes": len(report.class_ece),
        "num_bins": result.num_bins,
        "temperature": result.temperature,
        "temperature_origin": result.origin,
        "temperature_nll": report.nll_fit.temperature,
        "temperature_ece": report.ece_fit.temperature,
        "at_bound": report.nll_fit.at_bound,
        "before": values(report),
        "after": values(result.after.report),
        "worst_classes": [
            dict(zip(("class", "count", "ece_before", "ece_after"), row, strict=True))
            for row in result.worst_classes()
        ],
        "mistakes": [mistake._asdict() for mistake in result.before.mistakes],
        "grid_ece": report.grid_ece,
        "notes": result.notes,
    }
