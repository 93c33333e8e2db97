"""The reliability diagram: accuracy against confidence, from the metric's own bins."""

from typing import TYPE_CHECKING, Any

from keras import ops

from keras_focal import functional
from keras_focal.functional import BinStatistics
from keras_focal.plotting._bins import Words, filled_bins, given_bins
from keras_focal.plotting._strip import strip_below
from keras_focal.plotting._titles import set_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# A light bar and a dark gap: the hatches are seen in front of the bar too, also in greyscale.
_ACCURACY = "#8db8e2"
_GAP = "#b3361b"


def reliability_diagram(
    y_true: Any = None,
    y_pred: Any = None,
    *,
    bins: BinStatistics | None = None,
    num_bins: int = 15,
    from_logits: bool = False,
    sample_weight: Any = None,
    interval: float | None = None,
    ax: "Axes | None" = None,
    title: str | None = None,
) -> "Axes":
    """Draw accuracy against confidence, the gap between them, and the count of each bin.

    A bar shows the accuracy of the predictions in a bin; the hatched part reaches to their mean
    confidence. Where it stands on top of the bar the model is over-confident, where it lies inside
    the bar under-confident. The strip below shows the share of the predictions in each bin. The
    title gives the ECE of these bins. Bins of the probability of one class, such as those of
    `BinaryECE`, are labelled "predicted probability" and "fraction of positives".

    Args:
        y_true: Class ids or rows, as the metrics take them.
        y_pred: Probabilities or logits, shape (..., K).
        bins: What the bins hold, instead of `y_true` and `y_pred`: the `bins()` of a metric, or the
            result of `functional.bin_statistics`.
        num_bins: Number of bins of equal width, where `bins` is None.
        from_logits: Whether `y_pred` are logits.
        sample_weight: None, or weights of the predictions.
        interval: None, or a share such as 0.95. A whisker then shows the range in which that share
            of perfectly calibrated models would have the accuracy of each bin, and the title gives
            the error that they stay below (`functional.noise_floor`).
        ax: Axes to draw into; by default new ones. The diagram and its strip share their place.
        title: Text before the ECE, such as the name of the model.

    Returns:
        The axes of the diagram.

    Raises:
        ValueError: If not exactly one of `bins` and the pair `y_true`, `y_pred` is given, `bins`
            is no BinStatistics, the shapes of labels and predictions do not match, or `interval` is
            not in (0, 1).

    Example:
        >>> import matplotlib
        >>> matplotlib.use("Agg")
        >>> from keras_focal.plotting import reliability_diagram
        >>> ax = reliability_diagram([0, 1], [[0.9, 0.1], [0.9, 0.1]])
        >>> ax.get_title()
        'ECE 40.00 %'

    Source:
        Niculescu-Mizil and Caruana, 2005; Mukhoti et al., 2020, section 2 and Figure 1.
    """
    from matplotlib import pyplot as plt
    from matplotlib.colors import to_rgba

    bins = given_bins(
        y_true,
        y_pred,
        bins,
        num_bins=num_bins,
        from_logits=from_logits,
        sample_weight=sample_weight,
    )
    ece = float(functional.ece_from_bins(bins))
    filled, words = filled_bins(bins), Words.of(bins)

    if ax is None:
        _, ax = plt.subplots(figsize=(4.4, 5.0), layout="constrained")
    strip = strip_below(ax)
    ax.bar(
        filled.centers,
        filled.accuracy,
        filled.width,
        color=_ACCURACY,
        edgecolor="white",
        label=words.observed,
    )
    ax.bar(
        filled.centers,
        filled.confidence - filled.accuracy,
        filled.width,
        bottom=filled.accuracy,
        facecolor=to_rgba(_GAP, 0.25),
        edgecolor=_GAP,
        hatch="///",
        linewidth=0.8,
        label=f"gap to {words.predicted}",
    )
    ax.plot([0, 1], [0, 1], "--", color="black", linewidth=1, label="perfect calibration")
    ax.set(xlim=(0, 1), ylim=(0, 1), ylabel=words.observed)
    values = [f"ECE {100 * ece:.2f} %"]
    if interval is not None:
        floor = functional.noise_floor(bins, level=interval)
        low, high = (ends[ops.convert_to_numpy(bins.count) > 0] for ends in (floor.low, floor.high))
        ax.errorbar(
            filled.centers,
            (low + high) / 2,
            (high - low) / 2,
            fmt="none",
            ecolor="black",
            capsize=3,
            label=f"{100 * interval:g} % of perfect models",
        )
        values.append(f"by chance up to {100 * floor.upper:.2f} %")
    set_title(ax, title, *values)
    strip.bar(filled.centers, filled.share, filled.width, color="0.55")
    strip.set_xlabel(words.predicted)
    strip.set_ylabel("share, %", fontsize="small")
    if filled.share.size:
        ax.legend(loc="best", fontsize="small", framealpha=0.9)
    else:
        strip.set_ylim(0.0, 100.0)
    return ax
