"""Figure 9: test images that four networks get right, and wrong, with their confidences."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from keras import ops
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from examples.paper.data import Data
from examples.paper.figures._looks import sheet
from examples.paper.runs import Run
from keras_focal import calibration

_IN_A_ROW = 4
_LETTERS = 10
"""Of the name of a class, at most."""


class Answers(NamedTuple):
    """What a network says of the test samples, arrays of shape (N,).

    Attributes:
        predicted: Class ids.
        before: Confidence.
        after: Confidence at the temperature of least ECE on the validation data.
    """

    predicted: np.ndarray
    before: np.ndarray
    after: np.ndarray


def answers(run: Run) -> Answers:
    """Return what the network of a run says of the test samples."""
    logits = run.logits()
    fit = calibration.fit_temperature(logits.val_logits, logits.val_labels, "ece")

    def confidence(temperature: float) -> np.ndarray:
        scaled = logits.test_logits / np.float32(temperature)
        p = ops.softmax(ops.convert_to_tensor(scaled), axis=-1)
        return ops.convert_to_numpy(p).max(-1)

    return Answers(logits.test_logits.argmax(-1), confidence(1.0), confidence(fit.temperature))


def figure_9(runs: Mapping[str, Run], data: Data) -> Figure:
    """Draw the first four test images that all networks get right, and that all get wrong.

    Raises:
        ValueError: If the labels of the runs are not those of the data.
    """
    labels = data.test.y
    if not all(np.array_equal(run.logits().test_labels, labels) for run in runs.values()):
        raise ValueError(
            f"`data` must be the test set of the runs. Received: other labels of {data.name}. Give "
            "the --data-dir that they were trained with."
        )
    said = {loss: answers(run) for loss, run in runs.items()}
    is_right = np.array([given.predicted == labels for given in said.values()])
    rows = (is_right.all(0), (~is_right).all(0))
    figure, axes = sheet(2, _IN_A_ROW, (2.9, 3.3))
    for line, chosen in zip(axes, rows, strict=True):
        samples = np.flatnonzero(chosen)[:_IN_A_ROW]
        for ax, sample in zip(line, samples, strict=False):
            _draw(ax, sample, said, data)
        for ax in line[len(samples) :]:
            figure.delaxes(ax)
    figure.suptitle(
        "Above: all right. Below: all wrong. Loss, prediction, confidence before → after scaling",
        fontsize="medium",
    )
    return figure


def _draw(ax: Axes, sample: int, said: Mapping[str, Answers], data: Data) -> None:
    ax.imshow(data.test.x[sample])
    ax.set(xticks=[], yticks=[])
    ax.set_title(data.class_names[data.test.y[sample]], fontsize="medium")
    lines = []
    for loss, given in said.items():
        name = data.class_names[given.predicted[sample]][:_LETTERS]
        before, after = given.before[sample], given.after[sample]
        lines.append(f"{loss:<7} {name:<{_LETTERS}} {before:.2f} → {after:.2f}")
    ax.set_xlabel("\n".join(lines), family="monospace", fontsize=8)
