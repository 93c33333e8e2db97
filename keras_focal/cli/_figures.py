"""The rows of the table before and after, the same on the terminal, the page and in JSON."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from keras_focal.cli._tables import NOTHING, share

if TYPE_CHECKING:
    from keras_focal.calibration import CalibrationReport
    from keras_focal.functional import Interval, NoiseFloor


class Figure(NamedTuple):
    """A figure of a report.

    Attributes:
        key: Its name in JSON.
        name: Its name in a table.
        read: Takes it from a report; NaN if there is none.
        is_share: Whether it is a fraction, shown in per cent.
    """

    key: str
    name: str
    read: Callable[["CalibrationReport"], float]
    is_share: bool = True

    def text(self, report: "CalibrationReport") -> str:
        """Return the figure as it is shown."""
        value = self.read(report)
        if self.is_share:
            return share(value)
        return NOTHING if math.isnan(value) else _plain(value)


FIGURES = (
    Figure("error", "error", lambda report: report.error),
    Figure("nll", "NLL, nats", lambda report: report.nll, False),
    Figure("brier", "Brier score", lambda report: report.brier, False),
    Figure("ece", "ECE", lambda report: report.ece),
    Figure("ece_of_chance", "ECE by chance alone", lambda report: _floor(report).expected),
    Figure("ece_of_chance_95", "  in 95 % of cases below", lambda report: _floor(report).upper),
    Figure("ada_ece", "AdaECE", lambda report: report.ada_ece),
    Figure("mce", "MCE", lambda report: report.mce),
    Figure("classwise_ece", "classwise ECE", lambda report: report.classwise_ece),
    Figure("s99", "confidence above 99 %, |S99|", lambda report: report.confident),
    Figure(
        "s99_accuracy",
        "  accuracy of those",
        lambda report: report.confident_accuracy if report.confident else math.nan,
    ),
)


_GREAT = 1e4
"""A figure from which on it is shown as a power of ten."""

INTERVALS = ("ece", "nll", "brier", "error")


def interval_texts(*columns: "dict[str, Interval]") -> list[tuple[str, ...]]:
    """Return a row for each figure that has intervals: its name, and an interval a column."""
    named = [figure for figure in FIGURES if figure.key in INTERVALS]
    return [
        (figure.name, *(_ends(column[figure.key], figure.is_share) for column in columns))
        for figure in named
    ]


def change_texts(
    before: "dict[str, Interval]", after: "dict[str, Interval]", change: "dict[str, Interval]"
) -> list[tuple[str, ...]]:
    """Return a row for each figure: its name, what it was and is, the change and its interval."""
    named = [figure for figure in FIGURES if figure.key in INTERVALS]
    return [
        (
            figure.name,
            *(
                share(each[figure.key].estimate)
                if figure.is_share
                else _plain(each[figure.key].estimate)
                for each in (before, after, change)
            ),
            _ends(change[figure.key], figure.is_share),
        )
        for figure in named
    ]


def interval_values(
    before: "dict[str, Interval]",
    after: "dict[str, Interval] | None" = None,
    change: "dict[str, Interval] | None" = None,
) -> dict[str, Any]:
    """Return intervals as they are printed as JSON."""
    return {
        "level": 0.95,
        "before": {name: before[name][1:] for name in INTERVALS},
        "after": after and {name: after[name][1:] for name in INTERVALS},
        "change": change and {name: change[name]._asdict() for name in INTERVALS},
    }


def _ends(interval: "Interval", is_share: bool) -> str:
    if math.isnan(interval.low):
        return NOTHING
    low, high = (100 * each if is_share else each for each in interval[1:])
    return f"{low:.2f} to {high:.2f} %" if is_share else f"{_plain(low)} to {_plain(high)}"


def _plain(value: float) -> str:
    return f"{value:.4f}" if abs(value) < _GREAT else f"{value:.3g}"


def values(report: "CalibrationReport") -> dict[str, float]:
    """Return the figures of a report by their keys."""
    return {figure.key: figure.read(report) for figure in FIGURES}


def texts(*reports: "CalibrationReport") -> list[tuple[str, ...]]:
    """Return a row for each figure: its name, and what it is in each report."""
    return [(figure.name, *map(figure.text, reports)) for figure in FIGURES]


def _floor(report: "CalibrationReport") -> "NoiseFloor":
    from keras_focal import functional

    return functional.noise_floor(report.bins)
