"""Build the tables of the paper from run folders, its own figures beside ours.

python -m examples.paper.tables --runs runs                    every table
python -m examples.paper.tables --runs runs --table 1 4        ECE and error
python -m examples.paper.tables --logits DIR                   the authors' own models
"""

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from rich.console import Console
from rich.progress import track

from examples.paper import runs
from examples.paper.tables import check
from examples.paper.tables.build import build, measured
from examples.paper.tables.layout import CRITERIA, TABLES
from examples.paper.tables.write import ENDINGS, WRITERS, drawn


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    commands = parser()
    options = commands.parse_args(arguments)
    try:
        from_logits(options) if options.logits else from_runs(options)
    except (FileNotFoundError, ValueError) as error:
        commands.error(str(error))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.paper.tables",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--runs", type=Path, help="directory of run folders")
    source.add_argument("--logits", type=Path, help="directory of logits of the authors' models")
    add = parser.add_argument
    add("--table", nargs="+", choices=TABLES, help="tables to build (default: all with runs)")
    add(
        "--criterion",
        choices=(*CRITERIA, "both"),
        default="both",
        help="temperatures of least ECE on the validation set, the paper's, or of least NLL",
    )
    add("--format", choices=WRITERS, default="terminal")
    add("--out", type=Path, help="folder for a file of each table (default: print)")
    add("--publish", action="store_true", help="with --logits: write docs/results")
    return parser


def from_runs(options: argparse.Namespace) -> None:
    """Build tables from runs, and print or write them.

    Raises:
        FileNotFoundError: If there are no finished runs for them.
        ValueError: If runs are not to be averaged.
    """
    criteria = CRITERIA if options.criterion == "both" else (options.criterion,)
    numbers = list(options.table or TABLES)
    needed = list(criteria)
    if "beyond" in numbers:
        needed += [name for name in ("nll", "focal") if name not in needed]
    layouts = [TABLES[number] for number in numbers]
    losses = {loss for layout in layouts for loss in layout.losses}
    wanted = [
        run
        for run in runs.read(options.runs)
        if run.loss in losses or not all(layout.losses for layout in layouts)
    ]
    found = measured(wanted, needed, _progress)
    tables = [build(number, found, criteria) for number in numbers]
    missing = [table.number for table in tables if not table.rows]
    tables = [table for table in tables if table.rows]
    if not tables:
        raise FileNotFoundError(
            f"`--runs` must hold finished runs of losses of table {', '.join(missing)}. "
            f"Received: {options.runs}"
        )
    if len(found) < len(wanted):
        print(f"{len(wanted) - len(found)} unfinished runs are left out.", file=sys.stderr)
    if missing:
        print(f"No finished runs for table {', '.join(missing)}.", file=sys.stderr)
    write = WRITERS[options.format]
    if options.out is None:
        print(write(tables), end="")
        return
    options.out.mkdir(parents=True, exist_ok=True)
    for table in tables:
        file = options.out / f"table_{table.number}.{ENDINGS[options.format]}"
        file.write_text(write([table]), encoding="utf-8")
        print(file)


def _progress(items: list[runs.Run]) -> Iterable[runs.Run]:
    """Show progress on the terminal, apart from what is printed."""
    return track(items, "measuring", console=Console(stderr=True), transient=True)


def from_logits(options: argparse.Namespace) -> None:
    """Compare the logits of the authors' models with the paper, print, and publish if asked to."""
    found = [
        line
        for (model, loss), logits in check.read(options.logits).items()
        for line in check.checks(model, loss, logits)
    ]
    headings = ("table", "model", "loss", "figure", "met", "paper", "ours")
    rows = [
        (
            *(c.table, c.model, c.loss, c.figure, "yes" if c.is_met else "no"),
            *(f"{c.paper:.2f}", f"{c.ours:.4f}"),
        )
        for c in found
    ]
    print(drawn(headings, rows, "Logits of the authors' models", words=5))
    print(f"\n{sum(c.is_met for c in found)} of {len(found)} figures met to the last digit")
    for c in found:
        if c.note:
            print(f"Table {c.table}, {c.loss}, {c.figure}: {c.note}")
    if options.publish:
        check.publish(found)
        print(f"written: {check.RESULTS}")


if __name__ == "__main__":
    main()
