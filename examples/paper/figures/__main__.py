"""Draw Figures 1 to 10 of the paper from run folders: those without runs need none.

Figures 4(a), 6, 7 and 8 are theory and a linear model. What a figure lacks is said.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from examples.paper import data
from examples.paper.figures import _linear_model, _samples, _theory, _training, _translation
from examples.paper.figures._select import MissingRuns, of_images, of_translation, with_snapshots
from examples.paper.runs import Run, read

RESULTS = Path(__file__).resolve().parents[3] / "docs/results"

_ALONE = with_snapshots("CE")
_FOUR = with_snapshots("CE", "FL-1", "FL-2", "FL-3")
_IMAGES = of_images("CE", "MMCE", "Brier", "FLSD-53")
_TRANSLATION = of_translation("CE", "LS-0.1", "FL-1")


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    matplotlib.use("Agg")
    options = parser().parse_args(arguments)
    try:
        runs = read(options.runs)
    except FileNotFoundError:
        runs = []
    options.out.mkdir(parents=True, exist_ok=True)
    for number in sorted(set(options.figure)):
        file = options.out / f"figure_{number:02d}.png"
        try:
            figure = draw(number, runs, options.data_dir)
        except MissingRuns as missing:
            print(f"figure {number} needs {missing}")
            if number != 4:
                continue
            figure = _theory.figure_4()
        figure.savefig(file, dpi=150)
        plt.close(figure)
        print(f"figure {number}: {file}")
    if options.publish:
        file = RESULTS / "linear_model.json"
        _linear_model.publish(file)
        print(f"norms of the linear model: {file}")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.paper.figures", description=__doc__.splitlines()[0]
    )
    add = parser.add_argument
    add("--runs", type=Path, default=Path("runs"), help="folder of the runs (default: runs)")
    numbers = range(1, 11)
    add("--figure", type=int, nargs="+", choices=numbers, default=numbers, metavar="N", help="1-10")
    add("--out", type=Path, default=Path("figures"), help="folder to write into")
    add("--data-dir", type=Path, help="folder of local copies, for figure 9 (default: download)")
    add("--publish", action="store_true", help="write docs/results/linear_model.json")
    return parser


def draw(number: int, runs: Sequence[Run], data_dir: Path | None) -> Figure:
    """Return a figure.

    Raises:
        MissingRuns: If there are no runs to draw it of.
    """
    match number:
        case 1:
            return _training.figure_1(_ALONE.pick(runs)["CE"])
        case 2:
            return _training.figure_2(_ALONE.pick(runs)["CE"])
        case 3:
            return _training.figure_3(_FOUR.pick(runs))
        case 4:
            return _theory.figure_4(_FOUR.pick(runs))
        case 5:
            return _translation.figure_5(_TRANSLATION.pick(runs))
        case 6:
            return _theory.figure_6()
        case 7:
            return _linear_model.figure_7()
        case 8:
            return _linear_model.figure_8()
        case 9:
            picked = _IMAGES.pick(runs)
            return _samples.figure_9(picked, data.load(picked["CE"].dataset, data_dir))
        case _:
            return _training.figure_10(_FOUR.pick(runs))


if __name__ == "__main__":
    main()
