"""Run the experiments of docs/reproduction.md, at a scale that fits a CPU, and write them down.

python -m examples.paper.reproduce run --data-dir DATA     train what is not trained yet
python -m examples.paper.reproduce publish                 write docs/results/reproduction.json
python -m examples.paper.reproduce beyond --data-dir DATA  write docs/results/beyond_the_paper.json

`python -m examples.paper.report` makes docs/reproduction.md of both.
"""

import argparse
from functools import partial
from pathlib import Path

from examples.paper.arguments import positive


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    commands = parser()
    options = commands.parse_args(arguments)
    try:
        options.do(options)
    except (ImportError, OSError, ValueError) as error:
        commands.error(str(error))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.paper.reproduce",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run", help="train what is not trained yet")
    run.add_argument("--jobs", type=positive, default=1, help="runs at a time")
    run.add_argument("--dataset", nargs="+", help="data sets (default: all)")
    run.set_defaults(do=_run)
    publish = commands.add_parser("publish", help="write docs/results/reproduction.json")
    publish.add_argument(
        "--replace",
        action="store_true",
        help="drop what was published of other seeds of the same data set, network and loss",
    )
    publish.set_defaults(do=_publish)
    beyond = commands.add_parser("beyond", help="write docs/results/beyond_the_paper.json")
    beyond.set_defaults(do=_beyond)
    for command in (run, beyond):
        help_ = "folder of local copies (default: download)"
        command.add_argument("--data-dir", type=Path, help=help_)
    for command in (run, publish, beyond):
        command.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs")
    return parser


def _run(options: argparse.Namespace) -> None:
    from examples.paper.reproduce.plan import run

    run(options.data_dir, options.runs, options.dataset, options.jobs)


def _publish(options: argparse.Namespace) -> None:
    from examples.paper.reproduce.results import FILE, publish

    print(f"{publish(options.runs, replace=options.replace)} runs written to {FILE}")


def _beyond(options: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.progress import track

    from examples.paper.reproduce.beyond import FILE, publish

    progress = partial(track, description="measuring", console=Console(stderr=True))
    print(f"{publish(options.runs, options.data_dir, progress)} runs written to {FILE}")


if __name__ == "__main__":
    main()
