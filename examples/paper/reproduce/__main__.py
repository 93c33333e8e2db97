"""Run the experiments of docs/reproduction.md, at a scale that fits a CPU, and write them down.

python -m examples.paper.reproduce run --data-dir DATA     train what is not trained yet
python -m examples.paper.reproduce publish                 write docs/results/reproduction.json
python -m examples.paper.reproduce page                    write docs/reproduction.md
"""

import argparse
from pathlib import Path

from examples.paper.arguments import positive


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    commands = parser()
    options = commands.parse_args(arguments)
    try:
        options.do(options)
    except (FileNotFoundError, ValueError) as error:
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
    run.add_argument("--data-dir", type=Path, help="folder of local copies (default: download)")
    run.add_argument("--jobs", type=positive, default=1, help="runs at a time")
    run.add_argument("--dataset", nargs="+", help="data sets (default: all)")
    run.set_defaults(do=_run)
    publish = commands.add_parser("publish", help="write docs/results/reproduction.json")
    publish.set_defaults(do=_publish)
    for command in (run, publish):
        command.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs")
    commands.add_parser("page", help="write docs/reproduction.md").set_defaults(do=_page)
    return parser


def _run(options: argparse.Namespace) -> None:
    from examples.paper.reproduce.plan import run

    run(options.data_dir, options.runs, options.dataset, options.jobs)


def _publish(options: argparse.Namespace) -> None:
    from examples.paper.reproduce.results import FILE, publish

    print(f"{publish(options.runs)} runs written to {FILE}")


def _page(options: argparse.Namespace) -> None:
    from examples.paper.reproduce.page import FILE, write

    write()
    print(FILE)


if __name__ == "__main__":
    main()
