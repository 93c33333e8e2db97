"""Reliability diagrams of several models side by side."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_focal._validation.numbers import check_count
from keras_focal.functional import BinStatistics
from keras_focal.plotting._bins import Words, given_bins
from keras_focal.plotting._reliability import reliability_diagram
from keras_focal.plotting._titles import wrapped

_LETTERS_PER_INCH = 9
"""Letters per inch of a diagram at which a name is broken into lines."""


def compare_reliability(
    models: Mapping[str, Any],
    *,
    num_bins: int = 15,
    from_logits: bool = False,
    ncols: int | None = None,
    figsize: tuple[float, float] | None = None,
) -> np.ndarray:
    """Draw the reliability diagrams of several models in one new figure, with the same scales.

    Each title gives the name of the model and its ECE.

    Args:
        models: Name of each model to (y_true, y_pred), of the shapes that `reliability_diagram`
            takes, or to a BinStatistics such as the `bins()` of an `ExpectedCalibrationError`.
        num_bins: Number of bins of equal width, where a model is given as arrays.
        from_logits: Whether the `y_pred` are logits.
        ncols: Diagrams in a row; by default all, up to 4.
        figsize: Width and height of the figure in inches; by default 3.6 by 4.4 a diagram.

    Returns:
        The axes in the order of `models`, NumPy array of shape (models,).

    Raises:
        ValueError: If `models` is no dict, is empty, holds anything else, or holds bins of the top
            label and bins of one class, or if `ncols` or `figsize` is not positive.

    Example:
        >>> import matplotlib
        >>> matplotlib.use("Agg")
        >>> from keras_focal.plotting import compare_reliability
        >>> labels, sure, unsure = [0, 1], [[0.9, 0.1]] * 2, [[0.6, 0.4]] * 2
        >>> axes = compare_reliability({"CE": (labels, sure), "FL-3": (labels, unsure)})
        >>> [ax.get_title().splitlines() for ax in axes]
        [['CE', 'ECE 40.00 %'], ['FL-3', 'ECE 10.00 %']]

    Source:
        Guo et al., 2017, Figure 4; Mukhoti et al., 2020, section 2.
    """
    from matplotlib import pyplot as plt

    bins = _bins_of_each(models, num_bins=num_bins, from_logits=from_logits)
    ncols = min(len(bins), 4 if ncols is None else check_count("ncols", ncols))
    nrows = -(-len(bins) // ncols)
    if figsize is None:
        figsize = (3.6 * ncols, 4.4 * nrows)
    elif np.shape(figsize) != (2,) or not all(side > 0 for side in figsize):
        raise ValueError(
            f"`figsize` must be (width, height), both > 0. Received: figsize={figsize!r}. Give "
            "inches, or leave it out."
        )
    figure, grid = plt.subplots(nrows, ncols, figsize=figsize, squeeze=False, layout="constrained")
    axes = grid.reshape(-1)
    for unused in axes[len(bins) :]:
        figure.delaxes(unused)
    axes = axes[: len(bins)]
    for ax, (name, held) in zip(axes, bins.items(), strict=True):
        reliability_diagram(bins=held, ax=ax)
        letters = max(8, int(_LETTERS_PER_INCH * figsize[0] / ncols))
        ax.set_title("\n".join([*wrapped(name, letters), ax.get_title()]), fontsize="medium")
    # One legend serves all, and one scale makes the shares comparable.
    with_key = [ax for ax in axes if ax.get_legend()]
    for ax in with_key:
        ax.get_legend().remove()
    if with_key:
        key = with_key[0].get_legend_handles_labels()
        key_columns = 3 if figsize[0] >= 5 else 1
        figure.legend(*key, loc="outside lower center", ncols=key_columns, fontsize="small")
    strips = [ax.child_axes[0] for ax in axes]
    top = max(strip.get_ylim()[1] for strip in strips)
    for index, (ax, strip) in enumerate(zip(axes, strips, strict=True)):
        strip.set_ylim(0.0, top)
        if index % ncols:
            ax.set_ylabel("")
            strip.set_ylabel("")
    return axes


def _bins_of_each(
    models: Mapping[str, Any], *, num_bins: int, from_logits: bool
) -> dict[str, BinStatistics]:
    """Return the bins of each model by its name as text, or raise."""
    if not isinstance(models, Mapping) or not models:
        raise ValueError(
            "`models` must be a dict of one or more models. Received: "
            f"{'no model' if isinstance(models, Mapping) else type(models).__name__}. Give each a "
            'name: {"CE": (y_true, y_pred)}.'
        )
    found = {}
    for name, value in models.items():
        is_bins = isinstance(value, BinStatistics)
        if not is_bins and not (isinstance(value, tuple | list) and len(value) == 2):
            raise ValueError(
                "`models` must hold (y_true, y_pred) or a BinStatistics for each name. Received: "
                f"{type(value).__name__} for {name!r}. Give labels and predictions as a pair."
            )
        y_true, y_pred = (None, None) if is_bins else value
        found[str(name)] = given_bins(
            y_true,
            y_pred,
            value if is_bins else None,
            num_bins=num_bins,
            from_logits=from_logits,
            sample_weight=None,
        )
    kinds = {Words.of(bins).predicted for bins in found.values()}
    if len(kinds) > 1:
        raise ValueError(
            f"`models` must all have one horizontal axis. Received: {' and '.join(sorted(kinds))}. "
            "Draw bins of the top label and bins of `BinaryECE` in figures of their own."
        )
    return found
