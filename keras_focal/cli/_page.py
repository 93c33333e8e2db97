"""The report as one HTML page with its pictures inside."""

import base64
import io
from collections.abc import Callable, Collection, Sequence
from functools import partial
from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING

import numpy as np

from keras_focal import plotting
from keras_focal._version import __version__
from keras_focal.calibration.report import GRID
from keras_focal.cli._figures import interval_texts, texts
from keras_focal.cli._result import Result
from keras_focal.cli._tables import figure, percent, share, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PAGE = Template(files("keras_focal.cli").joinpath("page.html").read_text("utf-8"))


def page(result: Result) -> str:
    """Return the page."""
    titles = ["before"]
    if result.temperature is not None:
        titles.append(f"T = {figure(result.temperature, 4)}")
    headings = ("", *titles) if result.after else ("", "value")
    return _PAGE.substitute(
        name=_text(result.source.path.name),
        version=__version__,
        what=f"{result.what()}.",
        read=_text(result.read_as()),
        notes=_notes(result.notes),
        heading="Before and after" if result.after else "Figures",
        temperature=_temperature(result, titles[-1]) if result.after else "",
        figures=_table(headings, texts(*(each.report for each in result.measured))),
        intervals=_table(
            ("95 % interval", *headings[1:], *(["change"] if result.after else [])),
            interval_texts(*result.intervals),
        ),
        reliability=_pictures(
            "Reliability diagram", (4.4, 5.0), plotting.reliability_diagram, result, titles, 0.95
        ),
        confidence=_pictures(
            "Histogram of confidence", (4.4, 3.2), plotting.confidence_histogram, result, titles
        ),
        of_temperature=_of_temperature(result, titles[-1]) if result.after else "",
        mistakes=_mistakes(result),
    )


def _temperature(result: Result, scaled: str) -> str:
    ece_fit = result.before.report.ece_fit
    text = (
        f"After: logits divided by {scaled} ({result.origin}). Of T = 0.1, 0.2, ..., 10 the one "
        f"with the lowest ECE is {figure(ece_fit.temperature, 3)}: {share(ece_fit.ece_after)}."
    )
    return f"<p>{escape(text)}</p>"


def _pictures(
    what: str,
    inches: tuple[float, float],
    draw: Callable[..., object],
    result: Result,
    titles: Sequence[str],
    interval: float | None = None,
) -> str:
    """Return a picture of the bins before T, and one after if there is a T."""
    more = {} if interval is None else {"interval": interval}
    return "\n".join(
        _picture(
            f"{what}, {title}",
            inches,
            partial(draw, bins=each.report.bins, title=title, **more),
        )
        for title, each in zip(titles, result.measured, strict=True)
    )


def _of_temperature(result: Result, scaled: str) -> str:
    """Return the sections that compare with the predictions after T."""
    curve = _picture("ECE against temperature", (5.2, 3.6), partial(_curve, result=result))
    classes = _table(
        ("class", "labels", "error before", f"error, {scaled}"),
        [
            (result.class_name(k), f"{size:,}", share(low), share(high))
            for k, size, low, high in result.worst_classes()
        ],
    )
    return (
        f"<section>\n<h2>ECE against temperature</h2>\n{curve}\n</section>\n"
        "<section>\n<h2>Worst classes</h2>\n<p>By the calibration error of the class's own "
        f"probability.</p>\n{classes}\n</section>"
    )


def _curve(ax: "Axes", result: Result) -> None:
    assert result.after is not None
    assert result.temperature is not None
    report, chosen = result.before.report, result.temperature
    # Only the part of interest: towards T = 10 most models are flat.
    high = max(2.0, 1.5 * chosen, 1.5 * report.ece_fit.temperature)
    grid = GRID[high >= GRID]
    temperatures = np.append(grid, chosen)
    errors = np.append(report.grid_ece[: len(grid)], result.after.report.ece)
    plotting.temperature_plot(temperatures, np.clip(errors, 0.0, 1.0), best=chosen, ax=ax)


def _mistakes(result: Result) -> str:
    if not result.before.mistakes:
        return "<p>There are none.</p>"
    rows = [
        (
            f"{row:,}",
            result.class_name(label),
            result.class_name(prediction),
            percent(confidence, 4),
        )
        for row, label, prediction, confidence in result.before.mistakes
    ]
    return _table(("row, from 0", "label", "prediction", "confidence before"), rows, names=(1, 2))


def _text(text: str) -> str:
    """Return text as HTML; a number and its % sign stay on one line."""
    return escape(shown(text)).replace(" %", "&nbsp;%")


def _notes(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    return f'<div class="notes">{"".join(f"<p>{_text(note)}</p>" for note in notes)}</div>'


def _table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], names: Collection[int] = (0,)
) -> str:
    """Return a table. Columns of names are left-aligned and may be broken into lines."""
    kinds = [' class="name"' if index in names else "" for index in range(len(headings))]
    cells = [
        "".join(f"<td{kind}>{_text(cell)}</td>" for kind, cell in zip(kinds, row, strict=True))
        for row in rows
    ]
    head = "".join(
        f'<th scope="col"{kind}>{_text(heading)}</th>'
        for kind, heading in zip(kinds, headings, strict=True)
    )
    body = "\n".join(f"<tr>{row}</tr>" for row in cells)
    return f'<div class="scroll"><table>\n<tr>{head}</tr>\n{body}\n</table></div>'


def _picture(name: str, inches: tuple[float, float], draw: Callable[..., object]) -> str:
    """Return a figure as an image in the page; no window is opened.

    PNG: matplotlib's SVG loses the hatches of what is half transparent.
    """
    from matplotlib.figure import Figure

    data = io.BytesIO()
    drawn = Figure(figsize=inches, layout="constrained")
    draw(ax=drawn.subplots())
    drawn.savefig(data, format="png", dpi=160, metadata={"Software": None})
    text = base64.b64encode(data.getvalue()).decode("ascii")
    return f'<figure><img alt="{escape(name)}" src="data:image/png;base64,{text}"></figure>'
