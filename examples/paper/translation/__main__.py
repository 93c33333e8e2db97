"""python -m examples.paper.translation train | evaluate"""

import argparse
from pathlib import Path
from typing import Any

from examples.paper.arguments import positive
from examples.paper.translation import evaluate as evaluation
from examples.paper.translation import train as training


def main(arguments: list[str] | None = None) -> None:
    """Run a command."""
    commands = parser()
    try:
        _run(vars(commands.parse_args(arguments)))
    except (OSError, ValueError) as error:
        commands.error(str(error))


def _run(options: dict[str, Any]) -> None:
    if options.pop("command") == "train":
        print(training.train(**options))
        return
    folders, missing = options.pop("folders"), options.pop("missing")
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
    top = argparse.ArgumentParser(prog="python -m examples.paper.translation", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train a Transformer, or go on where it was stopped")
    train.add_argument("--dataset", default="multi30k", help="multi30k or wmt14")
    train.add_argument("--size", default="small", help="base, small or tiny")
    train.add_argument("--loss", default="CE", help="CE, LS-0.1, FL-1, FLSD-53, ...")
    train.add_argument("--seed", type=int, default=1)
    train.add_argument("--epochs", type=positive, default=10)
    train.add_argument("--data-dir", type=Path, help="folder of data sets")
    train.add_argument("--out", type=Path, default=Path("runs"), help="folder of run folders")
    train.add_argument(
        "--vocabulary-size", type=positive, help="4,000 for multi30k, 37,000 for wmt14"
    )
    train.add_argument("--batch-tokens", type=positive, default=1536, help="positions of a batch")
    train.add_argument(
        "--max-length", type=positive, default=32, help="tokens of a training sentence"
    )
    train.add_argument(
        "--warm-up", type=positive, default=1000, help="steps of a rising learning rate"
    )
    train.add_argument("--dtype-policy", default="float32", help="or mixed_bfloat16")
    train.add_argument(
        "--verbose", type=int, default=1, choices=(0, 1, 2), help="1: progress bar, 2: lines, 0"
    )
    evaluate = commands.add_parser("evaluate", help="write translation.json into run folders")
    evaluate.add_argument("folders", type=Path, nargs="+", help="run folders")
    evaluate.add_argument("--data-dir", type=Path, help="folder of data sets")
    evaluate.add_argument("--missing", action="store_true", help="leave measured folders alone")
    evaluate.add_argument(
        "--temperatures", type=float, nargs="+", default=evaluation.TEMPERATURES, help="of ECE"
    )
    evaluate.add_argument(
        "--bleu-temperatures", type=float, nargs="*", default=evaluation.BLEU_TEMPERATURES
    )
    evaluate.add_argument("--beams", type=positive, default=4)
    evaluate.add_argument("--alpha", type=float, default=0.6, help="length penalty")
    evaluate.add_argument("--sentences", type=positive, help="how many test sentences to translate")
    return top


if __name__ == "__main__":
    main()
