"""The report as one HTML page that needs nothing else: pictures are in it."""

import base64
import io
from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from string import Template
from typing import TYPE_CHECKING

import numpy as np

from keras_focal import plotting
from keras_focal._version import __version__
from keras_focal.calibration._held_out import GRID
from keras_focal.cli._figures import texts
from keras_focal.cli._tables import figure, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from keras_focal.cli._report import Result

_PAGE = Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Calibration of $name</title>
<style>
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: #14213d;
  background: #fff; max-width: 62rem; margin: 0 auto; padding: 1.5rem 1rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; break-after: avoid; }
p { margin: .4rem 0; max-width: 46rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem 0 .25rem 1.4rem; text-align: right; border-bottom: 1px solid #dde3ea;
  white-space: nowrap; }
th { border-bottom: 2px solid #14213d; vertical-align: bottom; white-space: normal; }
th:first-child, td:first-child { text-align: left; padding-left: 0;
  white-space: pre-wrap; min-width: 6rem; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr));
  gap: 1rem 1.5rem; align-items: start; }
figure { margin: 0; break-inside: avoid; }
figure img { width: 100%; max-width: 34rem; height: auto; display: block; }
.notes { border-left: 4px solid #e8973a; padding: .1rem 0 .1rem 1rem; margin: 1rem 0; }
footer { margin-top: 2.5rem; color: #5a6577; font-size: .85rem; }
@media print {
  body { max-width: none; padding: 0; font-size: 11pt; }
  .pair { grid-template-columns: 1fr 1fr; }
  section { break-inside: avoid; }
  figure img { max-width: 26rem; }
}
</style>
</head>
<body>
<h1>Calibration of $name</h1>
<p>$what</p>
$notes
<section>
<h2>Before and after</h2>
<p>$temperature</p>
$figures
</section>
<section>
<h2>Reliability</h2>
<p>A bar is the accuracy of the predictions in a bin of confidence; the hatched part reaches to
their mean confidence. Black whiskers hold 95&nbsp;% of perfectly calibrated models.</p>
<div class="pair">
$reliability
</div>
</section>
<section>
<h2>Confidence</h2>
<div class="pair">
$confidence
</div>
</section>
<section>
<h2>ECE against temperature</h2>
$curve
</section>
<section>
<h2>Worst classes</h2>
<p>By the calibration error of the class's own probability.</p>
$classes
</section>
<section>
<h2>Most confident mistakes</h2>
$mistakes
</section>
<footer>keras-focal $version. Bins are (a, b], of equal width but in AdaECE; ECE, AdaECE and MCE are
of the top label. "ECE by chance alone" is that of perfectly calibrated models with the same counts
and mean confidences in the bins: an ECE that 95 % of them stay below too is no evidence against
this one.</footer>
</body>
</html>
""")


def page(result: "Result") -> str:
    """Return the page."""
    before, after = result.before.report, result.after.report
    scaled = f"T = {figure(result.temperature, 4)}"
    pairs = (("before", before), (scaled, after))
    ece_fit = before.ece_fit
    return _PAGE.substitute(
        name=escape(result.path.name),
        version=__version__,
        what=(
            f"{before.count:,.0f} rows of {result.kind}, {len(before.class_ece):,} classes, "
            f"{result.num_bins} bins."
        ),
        notes=_notes(result.notes),
        temperature=escape(
            f"After: logits divided by {scaled} ({result.origin}). Of least ECE among 0.1, 0.2, "
            f"... 10 is T = {figure(ece_fit.temperature, 3)}, with {100 * ece_fit.ece_after:.2f} %."
        ),
        figures=_table(("", "before", scaled), texts(before, after)),
        reliability="\n".join(
            _picture(
                f"Reliability diagram, {name}",
                (4.4, 5.0),
                partial(plotting.reliability_diagram, bins=report.bins, interval=0.95, title=name),
            )
            for name, report in pairs
        ),
        confidence="\n".join(
            _picture(
                f"Histogram of confidence, {name}",
                (4.4, 3.2),
                partial(plotting.confidence_histogram, bins=report.bins, title=name),
            )
            for name, report in pairs
        ),
        curve=_picture("ECE against temperature", (5.2, 3.6), partial(_curve, result=result)),
        classes=_table(
            ("class", "rows of it", "error before", f"error, {scaled}"),
            [
                (str(k), f"{size:,}", f"{100 * low:.2f} %", f"{100 * high:.2f} %")
                for k, size, low, high in result.worst_classes()
            ],
        ),
        mistakes=_mistakes(result),
    )


def _curve(ax: "Axes", result: "Result") -> None:
    report, chosen = result.before.report, result.temperature
    # As far as is of interest: towards 10 most models are flat.
    high = max(2.0, 1.5 * chosen, 1.5 * report.ece_fit.temperature)
    grid = GRID[high >= GRID]
    temperatures = np.append(grid, chosen)
    errors = np.append(report.grid_ece[: len(grid)], result.after.report.ece)
    plotting.temperature_plot(temperatures, np.clip(errors, 0.0, 1.0), best=chosen, ax=ax)


def _mistakes(result: "Result") -> str:
    if not result.before.mistakes:
        return "<p>There are none.</p>"
    rows = [
        (f"{row:,}", str(label), str(prediction), percent(confidence, 4))
        for row, label, prediction, confidence in result.before.mistakes
    ]
    return _table(("row, from 0", "label", "prediction", "confidence before"), rows)


def _notes(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    return f'<div class="notes">{"".join(f"<p>{escape(note)}</p>" for note in notes)}</div>'


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    body = "\n".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
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
