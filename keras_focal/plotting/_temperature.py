"""The error of a model against the temperature that its logits are divided by."""

from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops

from keras_focal._validation.numbers import check_that, is_number
from keras_focal.plotting._lines import line_look

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def temperature_plot(
    temperatures: Any,
    errors: Any,
    *,
    best: float | None = None,
    label: str | None = None,
    ax: "Axes | None" = None,
    ylabel: str = "ECE, %",
) -> "Axes":
    """Draw a calibration error against the temperature and mark its minimum.

    A dot marks the smallest error, the first of equal ones; the legend gives it with its
    temperature. A cross marks `best`, a temperature chosen in another way, such as by likelihood.
    Calls with the same `ax` add lines, each with its own dashes.

    Args:
        temperatures: Temperatures > 0, shape (T,), in any order.
        errors: Error at each of them, shape (T,): fractions in [0, 1], drawn in per cent.
        best: None, or a temperature between the smallest and the largest of `temperatures`. The
            cross lies on the line that joins the errors.
        label: Name of the line in the legend.
        ax: Axes to draw into; by default new ones.
        ylabel: Name of the error, in per cent.

    Returns:
        The axes.

    Raises:
        ValueError: If the arrays are empty, are not lists or differ in shape, a temperature is not
            > 0, an error is not a fraction, or `best` lies outside the temperatures.

    Example:
        >>> import matplotlib
        >>> matplotlib.use("Agg")
        >>> from keras_focal.plotting import temperature_plot
        >>> ax = temperature_plot([0.5, 1.0, 2.0], [0.09, 0.04, 0.02], best=1.5, label="CE")
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['CE: least 2.00 % at T = 2', 'CE: 3.00 % at T = 1.5']

    Source:
        Mukhoti et al., 2020, section 5.1 and Figure 5, the lines of ECE.
    """
    from matplotlib import pyplot as plt

    temperatures, errors = _to_line(temperatures, errors)
    if best is not None:
        low, high = temperatures[0], temperatures[-1]
        check_that(
            "best",
            best,
            f"a temperature in [{low:g}, {high:g}], the range of `temperatures`",
            is_number(best) and bool(low <= best <= high),
            "Take errors over a wider range, or leave it out.",
        )
    if ax is None:
        _, ax = plt.subplots(figsize=(5.2, 3.8), layout="constrained")
    percent = 100.0 * errors
    least = int(np.argmin(percent))
    name = f"{label}: " if label else ""
    text = f"{name}least {percent[least]:.2f} % at T = {temperatures[least]:.4g}"
    look = {**line_look(len(ax.lines)), "markeredgecolor": "white", "markersize": 7.0}
    ax.plot(temperatures, percent, marker="o", markevery=[least], label=text, **look)
    if best is not None:
        at_best = float(np.interp(best, temperatures, percent))
        text = f"{name}{at_best:.2f} % at T = {best:.4g}"
        ax.scatter([best], [at_best], marker="x", s=45, color=look["color"], zorder=3, label=text)
    ax.set(xlabel="temperature, T", ylabel=ylabel)
    ax.set_ylim(bottom=0.0, auto=True)
    ax.legend(loc="best", fontsize="small", framealpha=0.9, handlelength=3.2)
    return ax


def _to_line(temperatures: Any, errors: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return both as float64 arrays, sorted by temperature, or raise."""
    x, y = _to_floats("temperatures", temperatures), _to_floats("errors", errors)
    if y.shape != x.shape:
        raise ValueError(
            f"`errors` must have shape {x.shape}, one for each temperature. Received: shape "
            f"{y.shape}. For several models call once for each, with the same `ax`."
        )
    is_right = np.isfinite(x) & (x > 0)
    if not is_right.all():
        raise ValueError(
            f"`temperatures` must be finite and > 0. Received: {x[~is_right][0]:g}. Logits are "
            "divided by them."
        )
    is_right = (y >= 0) & (y <= 1)
    if not is_right.all():
        raise ValueError(
            f"`errors` must be fractions in [0, 1]. Received: {y[~is_right][0]:g}. Divide per cent "
            "by 100."
        )
    order = np.argsort(x, kind="stable")
    return x[order], y[order]


def _to_floats(name: str, values: Any) -> np.ndarray:
    """Return a float64 array, shape (T,), of a list of numbers or of any framework's tensor."""
    try:
        # A list may hold tensors, such as the results of metrics.
        is_list = isinstance(values, list | tuple)
        items = values if is_list else ops.convert_to_numpy(values).tolist()
        array = np.array([float(item) for item in items])
    except (TypeError, ValueError):
        array = np.array([])
    if array.size == 0:
        raise ValueError(
            f"`{name}` must be a list of one or more numbers. Received: {name}={values!r}. Give "
            "the temperatures of one model and an error for each."
        )
    return array
