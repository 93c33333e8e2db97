"""How well predictions are calibrated, before and after the best temperature."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from keras_focal.cli._errors import CommandError, UsageError, extra
from keras_focal.cli._figures import interval_texts, interval_values, texts, values
from keras_focal.cli._files import check_input, check_target, whole
from keras_focal.cli._result import Options, Result, result_of
from keras_focal.cli._tables import (
    console,
    figure,
    percent,
    print_json,
    print_table,
    share,
    shown,
)
from keras_focal.cli.readers import SUFFIXES, Ask, Rows, Source, source_of

HELP = "the calibration of predictions in a file"
EXAMPLE = """\
  keras-focal report predictions.npz --out report.html
  keras-focal report predictions.csv --columns p_cat,p_dog --labels-key animal --json"""

_MOST_BINS = 10_000
_SHOWN = 5
"""Classes and mistakes on the terminal."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("file", type=Path, help=f"predictions and labels: {', '.join(SUFFIXES)}")
    add_kind(parser, "the predictions")
    parser.add_argument(
        "--columns",
        metavar="NAME,NAME,...",
        help="columns of predictions, in the order of the classes",
    )
    parser.add_argument(
        "--predictions-key",
        metavar="NAME",
        help="array or list column of predictions, or the prefix of their columns' names",
    )
    parser.add_argument("--labels-key", metavar="NAME", help="array or column of labels")
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="FILE.npy",
        help="the labels, if the predictions are a .npy file",
    )
    parser.add_argument("--out", type=Path, metavar="FILE.html", help="write a page with pictures")
    add_force(parser)
    parser.add_argument("--bins", type=int, default=15, help="number of bins (default: 15)")
    parser.add_argument(
        "--temperature",
        type=float,
        metavar="T",
        help="a temperature that was fitted to other data (default: fit one)",
    )
    parser.add_argument(
        "--skip-invalid",
        action="store_true",
        help="leave out rows with NaN, infinity or empty cells, or without a label",
    )
    add_labels(parser)


def add_kind(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the options that say what predictions are."""
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--from-logits",
        action="store_true",
        default=None,
        help=f"{what} are logits (default: unless all lie in [0, 1])",
    )
    kind.add_argument(
        "--probabilities",
        action="store_false",
        dest="from_logits",
        default=None,
        help=f"{what} are probabilities",
    )


def add_labels(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what labels are."""
    parser.add_argument(
        "--ignore-class", type=int, metavar="ID", help="leave out predictions with this label"
    )
    parser.add_argument(
        "--multi-label",
        action="store_true",
        help="outputs are independent, with a label of 0 or 1 for each",
    )


def add_force(parser: argparse.ArgumentParser) -> None:
    """Add the option to replace files."""
    parser.add_argument(
        "--force", action="store_true", help="replace existing files, also through a link"
    )


def run(arguments: argparse.Namespace) -> None:
    """Print the report, and write the page."""
    _check(arguments)
    check_input(arguments.file, SUFFIXES)
    ask = Ask(arguments.predictions_key, arguments.labels_key, arguments.columns, arguments.labels)
    options = Options(
        arguments.from_logits,
        arguments.bins,
        arguments.temperature,
        arguments.skip_invalid,
        arguments.ignore_class,
        arguments.multi_label,
    )
    progress = _silent if arguments.json else _progress
    try:
        result = result_of(source_of(arguments.file, ask), options, progress)
    except UsageError:
        raise
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
            print(f"Written: {shown(str(arguments.out))}")


def _check(arguments: argparse.Namespace) -> None:
    if not 1 <= arguments.bins <= _MOST_BINS:
        raise UsageError(
            f"--bins must be a whole number from 1 to {_MOST_BINS}. Received: {arguments.bins}."
        )
    temperature = arguments.temperature
    if temperature is not None and not 0 < temperature < np.inf:
        raise UsageError(f"--temperature must be a number > 0. Received: {temperature}.")
    if arguments.columns is not None and arguments.predictions_key is not None:
        raise UsageError("Pass either --columns or --predictions-key, not both.")
    if arguments.labels is not None:
        if arguments.file.suffix.lower() != ".npy":
            raise UsageError(
                f"--labels is for predictions in a .npy file. Received: {arguments.file}. Name the "
                "labels in it with --labels-key."
            )
        check_input(arguments.labels, (".npy",))
    if arguments.out:
        check_target("--out", arguments.out, ".html", arguments.file, force=arguments.force)


@contextmanager
def _silent(what: str, source: Source) -> Iterator[Iterator[Rows]]:
    """Give the rows of a file."""
    yield source.read()


@contextmanager
def _progress(what: str, source: Source) -> Iterator[Iterator[Rows]]:
    """Give the rows of a file; on a terminal, a bar shows the progress."""
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
    print(f"{shown(result.source.path.name)}: {result.what()}")
    print(f"Read: {shown(result.read_as())}")
    after = ""
    if result.temperature is not None:
        after = f"T = {figure(result.temperature)}"
        print(
            f"Best T: {figure(report.nll_fit.temperature)} by NLL, "
            f"{figure(report.ece_fit.temperature)} by ECE"
        )
    print()
    headings = ("", "before", after) if after else ("", "")
    print_table(headings, texts(*(each.report for each in result.measured)))
    columns = ("95 % interval", *headings[1:], *(["change"] if after else []))
    print_table(columns, interval_texts(*result.intervals))
    if result.after:
        print_table(
            ("worst classes", "rows", "classwise ECE", after),
            [
                (shown(result.class_name(k)), str(size), share(before), share(scaled))
                for k, size, before, scaled in result.worst_classes()[:_SHOWN]
            ],
        )
    if result.before.mistakes:
        print_table(
            ("most confident mistakes", "label", "prediction", "confidence"),
            [
                (
                    f"row {mistake.row}",
                    *(shown(result.class_name(each)) for each in mistake[1:3]),
                    percent(mistake.confidence, 2),
                )
                for mistake in result.before.mistakes[:_SHOWN]
            ],
        )
    for note in result.notes:
        console().print(f"Note: {shown(note)}", markup=False)


def _values(result: Result) -> dict[str, Any]:
    report, source = result.before.report, result.source
    return {
        "file": source.path.name,
        "predictions": result.kind,
        "columns": source.columns,
        "labels": source.label,
        "predicted": source.predicted,
        "ignored_columns": source.ignored,
        "count": report.count,
        "invalid_count": result.num_invalid,
        "ignored_count": result.num_ignored,
        "zero_probability_count": result.num_zero,
        "zero_probability_as": result.zero,
        "num_classes": result.num_classes,
        "num_outputs": result.num_outputs,
        "class_names": source.classes.names,
        "num_bins": result.num_bins,
        "temperature": result.temperature,
        "temperature_origin": result.origin,
        "temperature_nll": report.nll_fit.temperature,
        "temperature_ece": report.ece_fit.temperature,
        "at_bound": report.nll_fit.at_bound,
        "before": values(report),
        "after": values(result.after.report) if result.after else None,
        "intervals": interval_values(*result.intervals),
        "worst_classes": [
            dict(zip(("class", "count", "ece_before", "ece_after"), row, strict=True))
            for row in result.worst_classes()
        ],
        "mistakes": [mistake._asdict() for mistake in result.before.mistakes],
        "grid_ece": report.grid_ece,
        "notes": result.notes,
    }
