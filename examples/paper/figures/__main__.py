"""Draw Figures 1 to 10 of the paper from run folders: those without runs need none.

Figures 4(a), 6, 7 and 8 are theory and a linear model. What a figure lacks is said.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from examples.paper import data
from examples.paper.figures import _linear_model, _samples, _theory, _training, _translation
from examples.paper.figures._select import (
    MissingRunsError,
    of_images,
    of_translation,
    with_snapshots,
)
from examples.paper.files import DamagedFileError
from examples.paper.runs import Run, read

RESULTS = Path(__file__).resolve().parents[3] / "docs/results"

_ALONE = with_snapshots("CE")
_FOUR = with_snapshots("CE", "FL-1", "FL-2", "FL-3")
_IMAGES = of_images("CE", "MMCE", "Brier", "FLSD-53")
_TRANSLATION = of_translation("CE", "LS-0.1", "FL-1")


def _figure_9(runs: Sequence[Run], data_dir: Path | None) -> Figure:
    picked = _IMAGES.pick(runs)
    try:
        return _samples.figure_9(picked, data.load(picked["CE"].dataset, data_dir))
    except DamagedFileError:
        raise
    except (FileNotFoundError, ValueError) as error:
        raise MissingRunsError(f"the images of its runs: {error}") from error


FIGURES: dict[int, Callable[[Sequence[Run], Path | None], Figure]] = {
    1: lambda runs, _: _training.figure_1(_ALONE.pick(runs)["CE"]),
    2: lambda runs, _: _training.figure_2(_ALONE.pick(runs)["CE"]),
    3: lambda runs, _: _training.figure_3(_FOUR.pick(runs)),
    4: lambda runs, _: _theory.figure_4(_FOUR.pick(runs)),
    5: lambda runs, _: _translation.figure_5(_TRANSLATION.pick(runs)),
    6: lambda *_: _theory.figure_6(),
    7: lambda *_: _linear_model.figure_7(),
    8: lambda *_: _linear_model.figure_8(),
    9: _figure_9,
    10: lambda runs, _: _training.figure_10(_FOUR.pick(runs)),
}
"""Each takes the runs and the folder of data sets, and raises MissingRunsError."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    matplotlib.use("Agg")
    options = parser().parse_args(arguments)
    try:
        drawn = _draw(options)
    except DamagedFileError as error:
        raise SystemExit(str(error)) from error
    if not drawn:
        raise SystemExit(1)
    if options.publish:
        file = RESULTS / "linear_model.json"
        _linear_model.publish(file)
        print(f"norms of the linear model: {file}")


def _draw(options: argparse.Namespace) -> int:
    """Draw what there are runs for, and return how many figures that is."""
    try:
        runs = read(options.runs)
    except FileNotFoundError:
        runs = []
    drawn = 0
    for number in sorted(set(options.figure)):
        file = options.out / f"figure_{number:02d}.png"
        try:
            figure = FIGURES[number](runs, options.data_dir)
        except MissingRunsError as missing:
            print(f"figure {number} needs {missing}")
            if number != 4:
                continue
            figure = _theory.figure_4()
        options.out.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=150)
        plt.close(figure)
        print(f"figure {number}: {file}")
        drawn += 1
    return drawn


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.paper.figures", description=__doc__.splitlines()[0]
    )
    add = parser.add_argument
    add("--runs", type=Path, default=Path("runs"), help="folder of the runs (default: runs)")
    add("--figure", type=int, nargs="+", choices=FIGURES, default=FIGURES, metavar="N", help="1-10")
    add("--out", type=Path, default=Path("figures"), help="folder to write into")
    add("--data-dir", type=Path, help="folder of local copies, for figure 9 (default: download)")
    add("--publish", action="store_true", help="write docs/results/linear_model.json")
    return parser


if __name__ == "__main__":
    main()
