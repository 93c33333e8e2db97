"""Measure translation: ECE of the next token and BLEU, before and after temperature scaling.

python -m examples.paper.translation runs/multi30k_* --data-dir DATA

Writes translation.json into folders of runs that `python -m examples.paper.train` finished.
"""

import argparse
from pathlib import Path
from typing import Any

from examples.paper.arguments import positive
from examples.paper.translation import evaluate as evaluation


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    commands = parser()
    try:
        _measure(**vars(commands.parse_args(arguments)))
    except (ImportError, OSError, ValueError) as error:
        commands.error(str(error))


def _measure(folders: list[Path], missing: bool, **options: Any) -> None:
    evaluation.check(**options)
    for folder in folders:
        if missing and (folder / "translation.json").exists():
            continue
        found = evaluation.evaluate(folder, **options)["ece"]
        print(
            f"{folder.name}: ECE {found['pre']['ece']:.2f} %, {found['post']['ece']:.2f} % at "
            f"T = {found['T']:g}; BLEU {found['pre']['bleu']:.2f}, {found['post']['bleu']:.2f}",
            flush=True,
        )


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.paper.translation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("folders", type=Path, nargs="+", metavar="RUN", help="folders of runs")
    add("--data-dir", type=Path, help="folder of local copies (default: download)")
    add("--missing", action="store_true", help="leave measured folders alone")
    add(
        "--temperatures",
        type=float,
        nargs="+",
        help="of the ECE (default: 0.1, 0.2, ... 10 for WMT14, ... 3 for Multi30k)",
    )
    add(
        "--bleu-temperatures",
        type=float,
        nargs="*",
        default=evaluation.BLEU_TEMPERATURES,
        help="of BLEU, beside 1 and the best (default: %(default)s)",
    )
    add("--beams", type=positive, default=4, help="width of the beam (default: %(default)s)")
    add("--alpha", type=float, default=0.6, help="length penalty (default: %(default)s)")
    add("--sentences", type=positive, help="how many test sentences to translate (default: all)")
    return parser


if __name__ == "__main__":
    main()
