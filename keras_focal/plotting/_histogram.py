"""The confidence histogram: where predictions lie, and whether their mean meets the accuracy."""

from typing import TYPE_CHECKING, Any

import numpy as np

from keras_focal.functional import BinStatistics
from keras_focal.plotting._bins import Words, filled_bins, given_bins
from keras_focal.plotting._titles import set_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BARS = "#9fb8d4"


def confidence_histogram(
    y_true: Any = None,
    y_pred: Any = None,
    *,
    bins: BinStatistics | None = None,
    num_bins: int = 15,
    from_logits: bool = False,
    sample_weight: Any = None,
    ax: "Axes | None" = None,
    title: str | None = None,
) -> "Axes":
    """Draw the share of predictions in each bin of confidence, their mean and the accuracy.

    Vertical lines mark the mean confidence (dashed) and the accuracy (thick) of all predictions;
    the legend gives their values. A model whose mean confidence is larger than its accuracy is
    over-confident. Without predictions there are no lines.

    Args:
        y_true: Class ids or rows, as the metrics take them.
        y_pred: Probabilities or logits, shape (..., K).
        bins: What the bins hold, instead of `y_true` and `y_pred`: the `bins()` of a metric, or the
            result of `functional.bin_statistics`.
        num_bins: Number of bins of equal width, where `bins` is None.
        from_logits: Whether `y_pred` are logits.
        sample_weight: None, or weights of the predictions.
        ax: Axes to draw into; by default new ones.
        title: Title, such as the name of the model.

    Returns:
        The axes of the histogram.

    Raises:
        ValueError: If not exactly one of `bins` and the pair `y_true`, `y_pred` is given, `bins`
            is no BinStatistics, or the shapes of labels and predictions do not match.

    Example:
        >>> import matplotlib
        >>> matplotlib.use("Agg")
        >>> from keras_focal.plotting import confidence_histogram
        >>> ax = confidence_histogram([0, 1], [[0.9, 0.1], [0.9, 0.1]])
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['accuracy 50.0 %', 'mean confidence 90.0 %']

    Source:
        Guo et al., 2017, Figure 1; Mukhoti et al., 2020, Figure 1, bottom row.
    """
    from matplotlib import pyplot as plt

    bins = given_bins(
        y_true,
        y_pred,
        bins,
        num_bins=num_bins,
        from_logits=from_logits,
        sample_weight=sample_weight,
    )
    filled, words = filled_bins(bins), Words.of(bins)
    if ax is None:
        _, ax = plt.subplots(figsize=(4.4, 3.2), layout="constrained")
    ax.bar(filled.centers, filled.share, filled.width, color=_BARS, edgecolor="white")
    # Thick and grey below, thin and black above: both are visible where they coincide.
    dashed = {"color": "black", "linestyle": (0, (4, 2))}
    for name, value, look in (
        (words.observed, filled.mean_accuracy, {"color": "0.5", "linewidth": 4.0}),
        (f"mean {words.predicted}", filled.mean_confidence, dashed),
    ):
        if np.isfinite(value):
            ax.axvline(value, label=f"{name} {100 * value:.1f} %", **look)
    ax.set(xlim=(0, 1), xlabel=words.predicted, ylabel="samples, %")
    if title:
        set_title(ax, title)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="best", fontsize="small", framealpha=0.9)
    return ax
