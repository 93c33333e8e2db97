"""The effect of gamma on the gradient of an example and on the probability that is learned."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from keras import ops

from keras_focal import functional
from keras_focal.plotting._lines import check_gammas, line_look

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def gradient_ratio_plot(
    gammas: Sequence[float] = (1.0, 2.0, 3.0, 5.0), *, ax: "Axes | None" = None
) -> "Axes":
    """Draw g(p, gamma), the focal gradient over the cross-entropy gradient, against p.

    Where g is above 1 the focal gradient is larger than that of cross-entropy, where it is below 1
    smaller. A dot marks p0, where g(p0, gamma) = 1; the legend gives it. For gamma = 0, g is 1
    everywhere and there is no p0.

    Args:
        gammas: Focusing exponents >= 0, one line each.
        ax: Axes to draw into; by default new ones.

    Returns:
        The axes.

    Raises:
        ValueError: If `gammas` is empty or no list, or one of them is negative or not finite.

    Example:
        >>> import matplotlib
        >>> matplotlib.use("Agg")
        >>> from keras_focal.plotting import gradient_ratio_plot
        >>> ax = gradient_ratio_plot([1.0, 5.0])
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['γ = 1, p0 = 0.368', 'γ = 5, p0 = 0.197']

    Source:
        Mukhoti et al., 2020, Proposition 1 and Figure 4(a).
    """
    from matplotlib import pyplot as plt

    values = check_gammas(gammas)
    if ax is None:
        _, ax = plt.subplots(figsize=(5.2, 3.8), layout="constrained")
    p = np.linspace(0.0, 1.0, 501)[1:-1]
    ax.axhline(1.0, color="0.6", linewidth=1.0)
    for index, gamma in enumerate(values):
        ratio = ops.convert_to_numpy(functional.gradient_ratio(p, gamma))
        threshold = float(functional.threshold_probability(gamma)) if gamma else None
        label = f"γ = {gamma:g}"
        if threshold is not None:
            label += f", p0 = {threshold:.3f}"
            color = line_look(index)["color"]
            ax.scatter([threshold], [1.0], s=36, color=color, edgecolor="white", zorder=3)
        ax.plot(p, ratio, label=label, **line_look(index))
    ax.set(xlim=(0, 1), xlabel="probability of the true class, p", ylabel="g(p, γ)")
    is_long = len(values) > 4
    # A few names fit where there is no line; more of them need room above all lines.
    room = 0.065 * -(-len(values) // 2) if is_long else 0.0
    ax.set_ylim(0.0, ax.get_ylim()[1] / max(0.4, 1.0 - room))
    columns = 2 if is_long else 1
    ax.legend(loc="upper right", fontsize="small", framealpha=0.9, handlelength=3.2, ncols=columns)
    return ax


def optimal_probability_plot(
    gammas: Sequence[float] = (0.0, 1.0, 2.0, 3.0), *, ax: "Axes | None" = None
) -> "Axes":
    """Draw the p that the binary focal loss learns where the positive class has frequency q.

    It is `functional.optimal_probability`: q itself, the diagonal, for gamma = 0, and closer to 0.5
    for a larger gamma. A network that minimises the focal loss perfectly is under-confident.

    Args:
        gammas: Focusing exponents >= 0, one line each.
        ax: Axes to draw into; by default new ones.

    Returns:
        The axes.

    Raises:
        ValueError: If `gammas` is empty or no list, or one of them is negative or not finite.

    Example:
        >>> import matplotlib
        >>> matplotlib.use("Agg")
        >>> from keras_focal.plotting import optimal_probability_plot
        >>> ax = optimal_probability_plot([0.0, 3.0])
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['γ = 0: cross-entropy', 'γ = 3']

    Source:
        Mukhoti et al., 2020, Appendix A, equation 5 and Figure 6.
    """
    from matplotlib import pyplot as plt

    values = check_gammas(gammas)
    if ax is None:
        _, ax = plt.subplots(figsize=(4.4, 4.2), layout="constrained")
    # Dense at both ends, where the lines are steep.
    q = np.sin(np.linspace(0.0, np.pi / 2, 402)[1:-1]) ** 2
    for index, gamma in enumerate(values):
        label = f"γ = {gamma:g}{'' if gamma else ': cross-entropy'}"
        ax.plot(q, functional.optimal_probability(q, gamma), label=label, **line_look(index))
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="frequency of the positive class, q")
    ax.set_ylabel("optimal predicted probability, p")
    ax.legend(loc="upper left", fontsize="small", framealpha=0.9, handlelength=3.2)
    return ax
