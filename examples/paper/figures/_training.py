"""Figures 1, 2, 3 and 10: how calibration, and what goes with it, changes in training."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from examples.paper.figures._epochs import at_epochs, by_epoch, drops, scores
from examples.paper.figures._looks import label, legend, look, sheet
from examples.paper.runs import Run, Snapshot
from keras_focal import functional, plotting

_SCORES = {
    "nll": "NLL",
    "nll_right": "NLL, right",
    "nll_wrong": "NLL, wrong",
    "entropy_right": "entropy, right",
    "entropy_wrong": "entropy, wrong",
}


def figure_1(run: Run) -> Figure:
    """Draw reliability and confidences of the training samples at four epochs, in 25 bins.

    The epochs are those nearest to 10, 100, 200 and 300 of 350.
    """
    snapshots = at_epochs(run, 10, 100, 200, 300)
    figure, axes = sheet(2, len(snapshots), (3.1, 3.6), height_ratios=(1.35, 1.0))
    for (above, below), snapshot in zip(axes.T, snapshots, strict=True):
        bins = functional.bin_statistics(
            snapshot.train_labels, snapshot.train_logits, num_bins=25, from_logits=True
        )
        plotting.reliability_diagram(bins=bins, ax=above, title=f"epoch {snapshot.epoch}")
        plotting.confidence_histogram(bins=bins, ax=below)
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
    figure, ((of_train, of_test, errors),) = sheet(1, 3, (3.8, 3.5))
    for ax, letter, part in ((of_train, "a", "train"), (of_test, "b", "test")):
        for index, (name, words) in enumerate(_SCORES.items()):
            ax.plot(epochs, found[f"{part}_{name}"], label=words, **look(index))
        label(ax, letter, f"{part} samples")
        ax.set_ylabel("nats")
    for index, (name, words) in enumerate(
        {"train_error": "train error", "test_error": "test error", "test_ece": "test ECE"}.items()
    ):
        errors.plot(epochs, found[name], label=words, **look(index))
    label(errors, "c", "errors and calibration")
    errors.set_ylabel("%")
    for ax in (of_train, of_test, errors):
        _over_epochs(ax, run)
    return figure


def figure_3(runs: Mapping[str, Run]) -> Figure:
    """Draw NLL, entropy of wrong samples and norm of the last kernel of several runs by epoch."""

    def measure(snapshot: Snapshot) -> dict[str, float]:
        test = scores(snapshot.test_labels, snapshot.test_logits)
        return {**test, "kernel_norm": snapshot.kernel_norm}

    panels = (
        ("nll", "NLL of test samples", "nats"),
        ("nll_right", "NLL of right ones", "nats"),
        ("nll_wrong", "NLL of wrong ones", "nats"),
        ("entropy_wrong", "entropy of wrong ones", "nats"),
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
        ax.get_legend().remove()
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
    return figure


def _over_epochs(ax: Axes, run: Run) -> None:
    """Name the axis of epochs, mark where the learning rate falls, and draw the legend."""
    for epoch in drops(run):
        ax.axvline(epoch, color="0.85", linewidth=1.0, zorder=0)
    ax.set_xlabel("epoch")
    ax.set_ylim(bottom=0.0, auto=True)
    legend(ax)
