"""Figures 4 and 6: what gamma does to gradients, and to the probability that is learnt."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from examples.paper.figures._epochs import at_epochs
from examples.paper.figures._looks import label, sheet
from examples.paper.runs import Run
from keras_focal import plotting

GAMMAS = {"CE": 0.0, "FL-1": 1.0, "FL-2": 2.0, "FL-3": 3.0}


def figure_4(runs: Mapping[str, Run] | None = None) -> Figure:
    """Draw g(p, gamma), and with runs the gradient norms of their last layer at three epochs.

    The epochs are those nearest to 10, 100 and 200 of 350.
    """
    if runs is None:
        figure, ((ax,),) = sheet(1, 1, (5.2, 4.0))
        _ratio(ax)
        return figure
    rows = zip(*(at_epochs(run, 10, 100, 200) for run in runs.values()), strict=True)
    epochs = [dict(zip(runs, row, strict=True)) for row in rows]
    figure, axes = sheet(2, 2, (5.2, 3.9))
    first, *others = axes.reshape(-1)
    _ratio(first)
    for ax in others[len(epochs) :]:
        figure.delaxes(ax)
    for ax, letter, snapshots in zip(others, "bcd", epochs, strict=False):
        # A norm is all that the gradient takes of the features.
        plotting.gradient_norm_histogram(
            {
                loss: (
                    snapshot.train_labels,
                    snapshot.train_logits,
                    GAMMAS[loss],
                    snapshot.train_feature_norms[:, None],
                )
                for loss, snapshot in snapshots.items()
            },
            ax=ax,
        )
        label(ax, letter, f"epoch {snapshots['CE'].epoch}")
    return figure


def figure_6() -> Figure:
    """Draw the probability of least expected loss for each frequency q of the positive class."""
    figure, ((ax,),) = sheet(1, 1, (4.6, 4.4))
    plotting.optimal_probability_plot([*GAMMAS.values()], ax=ax)
    return figure


def _ratio(ax: Axes) -> None:
    plotting.gradient_ratio_plot([*GAMMAS.values(), 5.0, 7.0], ax=ax)
    label(ax, "a", "gradient of focal loss over that of cross-entropy")
