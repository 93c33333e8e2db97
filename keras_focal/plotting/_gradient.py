"""The norm of the gradient of each example, as histograms of several losses."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops

from keras_focal import functional
from keras_focal._validation.choices import check_choice
from keras_focal._validation.numbers import check_count
from keras_focal._validation.shapes import check_labels_fit
from keras_focal.functional._inputs.class_labels import class_of_each
from keras_focal.plotting._lines import line_look
from keras_focal.plotting._titles import set_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SMALLEST = 1e-12
"""Norm over the largest one below which all go into the first bin of a logarithmic axis."""


def gradient_norm_histogram(
    models: Mapping[str, Any],
    *,
    num_bins: int = 30,
    scale: str = "log",
    ax: "Axes | None" = None,
    title: str | None = None,
) -> "Axes":
    """Draw the distribution of the norm of the loss gradient over examples, a line for each model.

    Drawn is `functional.focal_gradient_norm` of each example: the L2 norm of the gradient of its
    own focal loss, not divided by a batch size. Without `features` that is the gradient at the
    logits, ||dL/dz|| = g(p_t, gamma) ||p - e_t||, at most sqrt(2) for gamma = 0; with the features
    h that go into the last linear layer, that of its kernel and bias together,
    ||dL/dz|| sqrt(||h||^2 + 1). The legend gives the mean norm. Bins are the same for all lines.

    Args:
        models: Name of each line to (y_true, logits, gamma) or (y_true, logits, gamma, features):
            class ids or one-hot rows as the metrics take them, logits of shape (..., K), the gamma
            of the loss, a number or a function of p_t such as a `SampleDependentGamma`, and
            features of shape (..., D).
        num_bins: Number of bins.
        scale: "log" for bins of equal width in the logarithm of the norm; the first also holds the
            smallest hundredth and norms below 1e-12 of the largest. "linear" for bins from 0.
        ax: Axes to draw into; by default new ones.
        title: Title, such as the epoch.

    Returns:
        The axes.

    Raises:
        ValueError: If `models` is not a dict, is empty, holds anything else, or features for some
            models only, `num_bins` is not a whole number >= 1, or `scale` is neither.

    Example:
        >>> import matplotlib
        >>> matplotlib.use("Agg")
        >>> from keras_focal.plotting import gradient_norm_histogram
        >>> labels, logits = [0, 1], [[2.0, 0.0], [1.0, 0.0]]
        >>> ax = gradient_norm_histogram({f"γ = {g}": (labels, logits, g) for g in (0.0, 3.0)})
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['γ = 0.0: mean 0.601', 'γ = 3.0: mean 0.495']

    Source:
        Mukhoti et al., 2020, Proposition 1 and Figure 4(b-d).
    """
    from matplotlib import pyplot as plt

    num_bins = check_count("num_bins", num_bins)
    check_choice("scale", scale, ("log", "linear"))
    norms, of_layer = _norms_of_each(models)
    edges = _edges(np.concatenate([*norms.values()]), num_bins, scale)
    if ax is None:
        _, ax = plt.subplots(figsize=(5.2, 3.8), layout="constrained")
    ax.set(xscale=scale, ylabel="samples, %")
    ax.set_xlabel(f"norm of the gradient {'of the last layer' if of_layer else 'at the logits'}")
    for index, (name, values) in enumerate(norms.items()):
        if values.size:
            counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
            label = f"{name}: mean {values.mean():.3g}"
            ax.stairs(100.0 * counts / values.size, edges, label=label, **line_look(index))
    ax.set_xlim(edges[0], edges[-1])
    ax.set_ylim(bottom=0.0, auto=True)
    if title:
        set_title(ax, title)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="best", fontsize="small", framealpha=0.9, handlelength=3.2)
    return ax


def _norms_of_each(models: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], bool]:
    """Return the finite norms of each model, shape (n,), and whether they are of a layer's."""
    if not isinstance(models, Mapping) or not models:
        raise ValueError(
            "`models` must be a dict of one or more models. Received: "
            f"{'no model' if isinstance(models, Mapping) else type(models).__name__}. Give each a "
            'name: {"FL-3": (y_true, logits, 3.0)}.'
        )
    norms, lengths = {}, set()
    for name, value in models.items():
        if not isinstance(value, tuple | list) or len(value) not in (3, 4):
            raise ValueError(
                "`models` must hold (y_true, logits, gamma) or (y_true, logits, gamma, features) "
                f"for each name. Received: {type(value).__name__} for {name!r}. Give the gamma of "
                "the loss, 0 for cross-entropy."
            )
        y_true, logits, gamma, *features = value
        labels, logits = ops.convert_to_tensor(y_true), ops.convert_to_tensor(logits)
        check_labels_fit("y_true", labels.shape, logits.shape)
        norm = functional.focal_gradient_norm(
            class_of_each(labels, logits.shape),
            logits,
            gamma=gamma,
            features=features[0] if features else None,
        )
        found = ops.convert_to_numpy(norm).astype("float64").reshape(-1)
        norms[str(name)] = found[np.isfinite(found)]
        lengths.add(len(value))
    if len(lengths) > 1:
        raise ValueError(
            "`models` must hold features for all names or for none. Received: both. Norms at the "
            "logits and of the last layer have no common axis."
        )
    return norms, lengths == {4}


def _edges(norms: np.ndarray, num_bins: int, scale: str) -> np.ndarray:
    """Return the edges of the bins of all models, rising."""
    high = norms.max(initial=0.0) or 1.0
    if scale == "linear":
        return np.linspace(0.0, high, num_bins + 1)
    low = max(np.quantile(norms, 0.01) if norms.size else 0.0, _SMALLEST * high)
    return np.geomspace(min(low, high / 10.0), high, num_bins + 1)
