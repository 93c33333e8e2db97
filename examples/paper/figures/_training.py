"""Figures 1, 2, 3 and 10: how calibration, and what goes with it, changes in training."""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from examples.paper.figures._epochs import by_epoch, drops, epochs_near, scores, snapshot
from examples.paper.figures._looks import BLUE, DARK, RED, label, legend, look, sheet
from examples.paper.runs import Run, Snapshot
from keras_focal import functional, plotting

_ENTROPY: dict[str, Any] = {"linestyle": (0, (1, 1.4))}
_SCORES: dict[str, dict[str, Any]] = {
    "nll": {"label": "NLL", "color": DARK},
    "nll_right": {"label": "NLL, right", "color": BLUE},
    "nll_wrong": {"label": "NLL, wrong", "color": RED},
    "entropy_right": {"label": "entropy, right", "color": BLUE, **_ENTROPY},
    "entropy_wrong": {"label": "entropy, wrong", "color": RED, **_ENTROPY},
}


def figure_1(run: Run) -> Figure:
    """Draw reliability and confidences of the training samples at four epochs, in 25 bins.

    The epochs are those nearest to 10, 100, 200 and 300 of 350.
    """
    epochs = epochs_near([run], 10, 100, 200, 300)
    figure, axes = sheet(2, len(epochs), (3.1, 3.1))
    for (above, below), epoch in zip(axes.T, epochs, strict=True):
        found = snapshot(run, epoch)
        bins = functional.bin_statistics(
            found.train_labels, found.train_logits, num_bins=25, from_logits=True
        )
        plotting.reliability_diagram(bins=bins, ax=above, title=f"epoch {epoch}")
        # The histogram below shows what the strip of the diagram does.
        (strip,) = above.child_axes
        strip.remove()
        above.tick_params(labelbottom=True)
        above.set_xlabel("confidence")
        above.get_legend().remove()
        plotting.confidence_histogram(bins=bins, ax=below)
        below.set_ylim(0.0, 1.3 * below.get_ylim()[1])
        below.set_yticks([share for share in below.get_yticks() if share <= 100])
        legend(below, loc="upper left", handlelength=2.0)
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=3)
    return figure


def figure_2(run: Run) -> Figure:
    """Draw NLL and entropy of right and wrong samples, errors and ECE of a run by epoch."""

    def measure(snapshot: Snapshot) -> dict[str, float]:
        train = scores(snapshot.train_labels, snapshot.train_logits)
        test = scores(snapshot.test_labels, snapshot.test_logits)
        return {
            **{f"train_{name}": value for name, value in train.items()},
            **{f"test_{name}": value for name, value in test.items()},
        }

    epochs, found = by_epoch(run, measure)
    figure, ((of_train, of_test, errors),) = sheet(1, 3, (3.8, 3.7))
    for ax, letter, part in ((of_train, "a", "train"), (of_test, "b", "test")):
        for name, line in _SCORES.items():
            ax.plot(epochs, found[f"{part}_{name}"], linewidth=1.8, **line)
        label(ax, letter, f"{part} samples")
        ax.set_ylabel("nats")
    for index, (name, words) in enumerate(
        {"train_error": "train error", "test_error": "test error", "test_ece": "test ECE"}.items()
    ):
        errors.plot(epochs, found[name], label=words, **look(index))
    label(errors, "c", "errors and calibration")
    errors.set_ylabel("%")
    legend(errors)
    for ax in (of_train, of_test, errors):
        _over_epochs(ax, run)
    handles = of_train.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=5, handlelength=3.2)
    return figure


def figure_3(runs: Mapping[str, Run]) -> Figure:
    """Draw NLL, entropy of wrong samples and norm of the last kernel of several runs by epoch."""

    def measure(snapshot: Snapshot) -> dict[str, float]:
        test = scores(snapshot.test_labels, snapshot.test_logits)
        return {**test, "kernel_norm": snapshot.kernel_norm}

    panels = (
        ("nll", "NLL of all test samples", "nats"),
        ("nll_right", "NLL of the right ones", "nats"),
        ("nll_wrong", "NLL of the wrong ones", "nats"),
        ("entropy_wrong", "entropy of the wrong ones", "nats"),
        ("kernel_norm", "last layer", "norm of the kernel"),
    )
    found = {loss: by_epoch(run, measure) for loss, run in runs.items()}
    figure, axes = sheet(2, 3, (3.8, 3.1))
    *used, spare = axes.reshape(-1)
    for ax, letter, (name, title, unit) in zip(used, "abcde", panels, strict=True):
        for loss, (epochs, values) in found.items():
            ax.plot(epochs, values[name], label=loss, **look(loss))
        label(ax, letter, title)
        ax.set_ylabel(unit)
        _over_epochs(ax, runs["CE"])
    spare.axis("off")
    spare.legend(*used[0].get_legend_handles_labels(), loc="center", handlelength=4.0)
    return figure


def figure_10(runs: Mapping[str, Run]) -> Figure:
    """Draw the mean norm of the features of training samples of several runs by epoch."""
    figure, ((ax,),) = sheet(1, 1, (5.2, 3.8))
    for loss, run in runs.items():
        epochs, found = by_epoch(
            run, lambda snapshot: {"norm": float(snapshot.train_feature_norms.mean())}
        )
        ax.plot(epochs, found["norm"], label=loss, **look(loss))
    ax.set(ylabel="mean norm of the features", title="Input of the last layer, training samples")
    _over_epochs(ax, runs["CE"])
    legend(ax)
    return figure


def _over_epochs(ax: Axes, run: Run) -> None:
    """Name the axis of epochs and mark where the learning rate falls."""
    for epoch in drops(run):
        ax.axvline(epoch, color="0.85", linewidth=1.0, zorder=0)
    ax.set_xlabel("epoch")
    ax.set_ylim(bottom=0.0, auto=True)
