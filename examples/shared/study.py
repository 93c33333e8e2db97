"""What the comparisons of this folder share: options, runs that resume, tables, pages, pictures.

An example states what it compares and what it measures, and trains one setting with one seed:

    STUDY = Study("imbalance", __doc__, baseline="cross-entropy", figures=[Figure("nll", "NLL")])

    def main():
        arguments = STUDY.parse(STUDY.parser(epochs=20, seeds=5))
        results = STUDY.run(arguments, {name: partial(train, ...) for name in SETTINGS})
        STUDY.report(arguments, results, draw)
"""

import argparse
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from examples.paper.files import DamagedFileError, read_json, write_json

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs/examples"
RESULTS = ROOT / "docs/results"
IMAGES = ROOT / "docs/images/examples"

SEPARATOR = ": "
"""Between the data set and the rest of the name of a setting, where there are several."""

Run = dict[str, Any]
"""A setting, a seed, the seconds that they took, and figures by name."""


@dataclass(frozen=True)
class Figure:
    """A figure that every run measures.

    Attributes:
        name: Its key in the runs.
        heading: Its column in tables.
        better: Which is better, if one of them is.
        factor: What it is multiplied by where it is shown, such as 100 for percent.
        digits: Digits after the point where it is shown.
    """

    name: str
    heading: str
    better: Literal["less", "more", "neither"] = "less"
    factor: float = 1.0
    digits: int = 4

    def mean(self, values: np.ndarray) -> str:
        """Return mean ± standard deviation of finite values, or a dash."""
        values = self.factor * values[np.isfinite(values)]
        if not len(values):
            return "-"
        spread = f" ± {values.std(ddof=1):.{self.digits}f}" if len(values) > 1 else ""
        return f"{values.mean():.{self.digits}f}{spread}"


@dataclass(frozen=True)
class Study:
    """A comparison of settings over seeds.

    Attributes:
        name: The file of the example without `.py`; pages and results take it.
        text: What it does, in Markdown: the docstring of the example. Its first line is the title.
        baseline: The setting that the others are compared with, seed by seed. Of settings named
            "SET: NAME", each data set has its own baseline, and its own tables.
        figures: What every run measures.
        command: The arguments by which the published figures are made again.
    """

    name: str
    text: str
    baseline: str
    figures: Sequence[Figure]
    command: str = ""

    def parser(
        self, *, epochs: int, seeds: int, data: str | None = None
    ) -> argparse.ArgumentParser:
        """Return the options that all examples have.

        Args:
            epochs: Default of `--epochs`.
            seeds: Default of `--seeds`.
            data: What `--data-dir` must hold and where to get it; None if nothing is read.
        """
        parser = argparse.ArgumentParser(description=self.text.split("\n", maxsplit=1)[0])
        if data is not None:
            parser.add_argument("--data-dir", type=Path, required=True, help=data)
        parser.add_argument("--epochs", type=int, default=epochs, help="default: %(default)s")
        parser.add_argument("--seeds", type=int, default=seeds, help="default: %(default)s")
        parser.add_argument("--seed", type=int, default=0, help="the first; default: %(default)s")
        parser.add_argument("--out", type=Path, default=Path("runs") / self.name, metavar="DIR")
        parser.add_argument("--quick", action="store_true", help="little data, to see it run")
        parser.add_argument("--publish", action="store_true", help="write the page in docs")
        return parser

    def parse(self, parser: argparse.ArgumentParser) -> argparse.Namespace:
        """Return checked arguments. Nothing has been read or written when they are refused."""
        arguments = parser.parse_args()
        if arguments.epochs < 1 or arguments.seeds < 1 or arguments.seed < 0:
            parser.error("--epochs and --seeds must be at least 1, --seed at least 0.")
        if arguments.quick and arguments.publish:
            parser.error("--publish needs the whole data: leave --quick out.")
        if arguments.publish and arguments.seeds < 2:
            parser.error(f"--publish needs --seeds of 2 or more. Received: {arguments.seeds}.")
        folder = getattr(arguments, "data_dir", None)
        if folder is not None and not folder.is_dir():
            wanted = next(a.help for a in parser._actions if a.dest == "data_dir")
            parser.error(f"--data-dir must be a folder with {wanted}. Received: {folder}.")
        if arguments.quick:
            arguments.epochs, arguments.seeds = min(arguments.epochs, 2), 1
        return arguments

    def run(
        self, arguments: argparse.Namespace, settings: Mapping[str, Callable[[int], Run]]
    ) -> list[Run]:
        """Train what `--out` does not hold yet, and return the figures of all runs in order.

        Every run is written as soon as it is done, so that a kill costs one run.

        Args:
            arguments: Of `parse`.
            settings: What trains and measures each setting, called with the seed.
        """
        file = arguments.out / "runs.json"
        made_with = {
            "backend": keras.backend.backend(),
            **{
                key: str(value)
                for key, value in vars(arguments).items()
                if key not in ("out", "publish", "seed", "seeds")
            },
        }
        runs = _read(file, made_with)
        done = {(run["setting"], run["seed"]) for run in runs}
        seeds = range(arguments.seed, arguments.seed + arguments.seeds)
        todo = [(name, s) for s in seeds for name in settings if (name, s) not in done]
        for number, (name, seed) in enumerate(todo, 1):
            print(f"[{number}/{len(todo)}] {name}, seed {seed}", flush=True)
            keras.utils.clear_session()
            keras.utils.set_random_seed(seed)
            begin = time.perf_counter()
            figures = settings[name](seed)
            seconds = time.perf_counter() - begin
            runs.append({"setting": name, "seed": seed, "seconds": seconds, **figures})
            arguments.out.mkdir(parents=True, exist_ok=True)
            write_json(file, {"made_with": made_with, "runs": runs})
            print(f"  {self._line(runs[-1])} ({seconds:.0f} s)", flush=True)
        order = {(name, s): number for number, (s, name) in enumerate(product(seeds, settings))}
        of_these = [run for run in runs if (run["setting"], run["seed"]) in order]
        return sorted(of_these, key=lambda run: order[run["setting"], run["seed"]])

    def report(
        self,
        arguments: argparse.Namespace,
        runs: list[Run],
        draw: Callable[[list[Run], Path], None],
        text: str = "",
    ) -> None:
        """Print the table, draw the picture, and with `--publish` write the page.

        Args:
            arguments: Of `parse`.
            runs: Of `run`.
            draw: Draws runs into a .png file.
            text: What else the page says, in Markdown, of figures of these runs.
        """
        table = Table(self.name, *(f.heading for f in self.figures), box=box.SIMPLE_HEAD)
        for cells in self._rows(runs):
            table.add_row(*cells)
        Console(width=120).print(table)
        picture = arguments.out / f"{self.name}.png"
        draw(runs, picture)
        print(f"Runs and picture: {arguments.out}")
        if arguments.publish:
            IMAGES.mkdir(parents=True, exist_ok=True)
            draw(runs, IMAGES / f"{self.name}.png")
            results = {"made_by": self._command(), "versions": versions(), "runs": runs}
            write_json(RESULTS / f"{self.name}.json", results)
            (PAGES / f"{self.name}.md").write_text(self.page(results, text), encoding="utf-8")

    def page(self, results: Mapping[str, Any], text: str = "") -> str:
        """Return the page of published results."""
        runs = results["runs"]
        title, _, rest = self.text.partition("\n")
        seeds = len({run["seed"] for run in runs})
        lines = [
            f"# {title.rstrip('.')}\n",
            rest.strip() + "\n",
            f"```bash\n{results['made_by'].removesuffix(' --publish')}\n```\n",
            f"## What came of it\n\nMean ± standard deviation over {seeds} seeds. "
            f"{sum(run['seconds'] for run in runs) / 60:.0f} minutes for all runs. "
            + ", ".join(f"{key} {value}" for key, value in results["versions"].items())
            + ".\n",
            self._tables(runs, self._rows),
            f"![{title.rstrip('.')}](../images/examples/{self.name}.png)\n",
            f"## Against {self.baseline}\n\nThe mean difference on the same seeds ± its standard "
            "error. **Bold** is better, *italic* worse, by more than two standard errors.\n",
            self._tables(runs, self._differences),
            text.strip() + "\n" if text else "",
            ":::{dropdown} The program\n"
            f"```{{literalinclude}} ../../examples/{self.name}.py\n:language: python\n```\n:::\n",
        ]
        return "\n".join(line for line in lines if line)

    def values(self, runs: list[Run], setting: str, figure: str) -> np.ndarray:
        """Return a figure of the runs of a setting, in order of the seeds."""
        own = sorted((r for r in runs if r["setting"] == setting), key=lambda run: run["seed"])
        found = [run.get(figure) for run in own]
        return np.array([np.nan if value is None else value for value in found], dtype=float)

    def difference(self, runs: list[Run], setting: str, figure: Figure) -> tuple[float, float]:
        """Return the mean difference from the baseline on the same seeds, and its standard error.

        NaN and NaN where a run has no such figure.
        """
        change = self.values(runs, setting, figure.name)
        change = change - self.values(runs, self._baseline_of(setting), figure.name)
        return float(change.mean()), float(change.std(ddof=1) / np.sqrt(len(change)))

    def gain(self, runs: list[Run], setting: str, figure: Figure) -> int:
        """Return 1 where a setting is better than the baseline, -1 where it is worse, or 0.

        A difference counts from two standard errors on.
        """
        mean, error = self.difference(runs, setting, figure)
        if figure.better == "neither" or not abs(mean) > 2 * error:
            return 0
        return 1 if (mean < 0) == (figure.better == "less") else -1

    def _baseline_of(self, setting: str) -> str:
        data, colon, _ = setting.rpartition(SEPARATOR)
        return data + colon + self.baseline

    def _tables(self, runs: list[Run], rows: Callable[[list[Run]], list[tuple[str, ...]]]) -> str:
        lines = []
        for data in data_sets(runs):
            own = [run for run in runs if run["setting"].rpartition(SEPARATOR)[0] == data]
            named = [(name.rpartition(SEPARATOR)[2], *cells) for name, *cells in rows(own)]
            lines += [f"### {data}\n"] if data else []
            lines.append(_markdown([("", *(f.heading for f in self.figures)), *named]))
        return "\n".join(lines)

    def _differences(self, runs: list[Run]) -> list[tuple[str, ...]]:
        return [
            (name, *(self._difference(runs, name, f) for f in self.figures))
            for name in _settings(runs)
            if name != self._baseline_of(name)
        ]

    def _line(self, run: Run) -> str:
        values = {f: self.values([run], run["setting"], f.name) for f in self.figures}
        return ", ".join(f"{f.heading} {f.mean(value)}" for f, value in values.items())

    def _rows(self, runs: list[Run]) -> list[tuple[str, ...]]:
        return [
            (name, *(f.mean(self.values(runs, name, f.name)) for f in self.figures))
            for name in _settings(runs)
        ]

    def _difference(self, runs: list[Run], setting: str, figure: Figure) -> str:
        mean, error = self.difference(runs, setting, figure)
        if not np.isfinite(mean):
            return "-"
        cell = " ± ".join(
            f"{figure.factor * value:{form}.{figure.digits}f}"
            for value, form in ((mean, "+"), (error, ""))
        )
        return {1: f"**{cell}**", 0: cell, -1: f"*{cell}*"}[self.gain(runs, setting, figure)]

    def _command(self) -> str:
        words = ("python", f"examples/{self.name}.py", self.command, "--publish")
        return " ".join(word for word in words if word)


def data_sets(runs: list[Run]) -> list[str]:
    """Return the data sets of runs by the names of their settings, [""] if they name none."""
    return list(dict.fromkeys(name.rpartition(SEPARATOR)[0] for name in _settings(runs)))


def versions() -> dict[str, str]:
    """Return what the figures were made with."""
    backend = keras.backend.backend()
    names = ("keras", backend, "keras-focal")
    return {"Python": platform.python_version(), **{name: version(name) for name in names}}


def _read(file: Path, made_with: Mapping[str, str]) -> list[Run]:
    """Return the runs of a file that were made with the same options, [] if there is none."""
    if not file.exists():
        return []
    try:
        found = read_json(file)
        runs, before = found["runs"], found["made_with"]
    except (DamagedFileError, KeyError) as error:
        raise SystemExit(f"{file} is damaged: move it away, or give another --out.") from error
    unlike = [key for key in made_with if before.get(key) != made_with[key]]
    if unlike:
        was = ", ".join(f"{key} {before.get(key)}" for key in unlike)
        raise SystemExit(f"{file} holds runs with {was}: give another --out.")
    return runs


def _settings(runs: list[Run]) -> list[str]:
    return list(dict.fromkeys(run["setting"] for run in runs))


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *body]) + "\n"
