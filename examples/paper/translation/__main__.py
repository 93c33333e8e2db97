"""python -m examples.paper.translation train | evaluate"""

import argparse
from pathlib import Path

from examples.paper.translation import train as training


def main(arguments: list[str] | None = None) -> None:
    """Run a command."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.paper.translation", description=__doc__
    )
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train a Transformer, or go on where it was stopped")
    train.add_argument("--dataset", default="multi30k", help="multi30k or wmt14")
    train.add_argument("--size", default="small", help="base, small or tiny")
    train.add_argument("--loss", default="CE", help="CE, LS-0.1, FL-1, FLSD-53, ...")
    train.add_argument("--seed", type=int, default=1)
    train.add_argument("--epochs", type=int, default=10)
    train.add_argument("--data-dir", type=Path, help="folder of data sets")
    train.add_argument("--out", type=Path, default=Path("runs"), help="folder of run folders")
    train.add_argument("--vocabulary-size", type=int, help="4,000 for multi30k, 37,000 for wmt14")
    train.add_argument("--batch-tokens", type=int, default=1536, help="positions of a batch")
    train.add_argument("--max-length", type=int, default=32, help="tokens of a training sentence")
    train.add_argument("--warm-up", type=int, default=1000, help="steps of a rising learning rate")
    train.add_argument("--dtype-policy", default="float32", help="or mixed_bfloat16")
    train.add_argument("--verbose", type=int, default=1, help="1: progress bar, 2: lines, 0")
    options = vars(parser.parse_args(arguments))
    command = {"train": training.train}[options.pop("command")]
    print(command(**options))


if __name__ == "__main__":
    main()
