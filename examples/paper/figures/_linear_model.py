"""Figures 7 and 8, Appendix B: cross-entropy and focal loss train a model of two weights."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import sklearn
from keras import ops
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from sklearn.datasets import make_classification

from examples.paper.figures._looks import BLUE, RED, label, legend, look, sheet
from examples.paper.files import write_json
from examples.paper.runs import environment
from keras_focal import losses

SEEDS = (0, 1, 2, 3, 4)
LOSSES = ("CE", "FL-1")
TRAIN, TEST = 4000, 1000
FLIPPED = 0.1
LEARNING_RATE, ITERATIONS = 0.5, 60

Points = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Trained:
    """Data of a seed, and the weights after each iteration by the name of the loss.

    Attributes:
        train: float32, shape (4000, 2), and 0 or 1, shape (4000,); `test` likewise, of 1,000.
        weights: float32, shape (iterations + 1, 2), the first being 0.
    """

    train: Points
    test: Points
    weights: dict[str, np.ndarray]

    def weight_norms(self, loss: str) -> np.ndarray:
        """Return the norm of the weights after each iteration."""
        return np.linalg.norm(self.weights[loss], axis=-1)

    def logit_norms(self, loss: str) -> np.ndarray:
        """Return the mean norm of the logits of the training points after each iteration."""
        return np.abs(self.train[0] @ self.weights[loss].T).mean(0)

    def test_logits(self, loss: str) -> np.ndarray:
        """Return the logits of the test points at the end."""
        return self.test[0] @ self.weights[loss][-1]

    def wrong_confidences(self, loss: str) -> np.ndarray:
        """Return the confidence of the test points that are misclassified at the end."""
        logits = self.test_logits(loss)
        return _sigmoid(np.abs(logits[(logits > 0) != self.test[1]]))


def points(seed: int) -> tuple[Points, Points]:
    """Return training and test data: two clusters a class at the corners of a square of side 4.

    A flipped label is drawn anew from two classes, so half of them stay as they were.
    """
    x, y = make_classification(
        TRAIN + TEST,
        n_features=2,
        n_informative=2,
        n_redundant=0,
        n_clusters_per_class=2,
        class_sep=2.0,
        flip_y=2 * FLIPPED,
        random_state=seed,
    )
    x = x.astype("float32")
    return (x[:TRAIN], y[:TRAIN]), (x[TRAIN:], y[TRAIN:])


@cache
def trained(seed: int) -> Trained:
    """Train with each loss by gradient descent on all training data, from weights of 0."""
    train, test = points(seed)
    return Trained(train, test, {loss: _descend(*train, loss) for loss in LOSSES})


def _descend(x: np.ndarray, y: np.ndarray, loss: str) -> np.ndarray:
    last = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((2,)), last])
    model.compile(
        keras.optimizers.SGD(LEARNING_RATE), losses.get(loss, labels="binary", from_logits=True)
    )
    weights = [np.zeros(2, "float32")]
    for _ in range(ITERATIONS):
        model.train_on_batch(x, y[:, None])
        weights.append(ops.convert_to_numpy(last.kernel)[:, 0].copy())
    return np.array(weights)


def figure_7(seeds: tuple[int, ...] = SEEDS) -> Figure:
    """Draw the norms of logits and weights by iteration: mean and range over seeds."""
    models = [trained(seed) for seed in seeds]
    figure, ((of_logits, of_weights),) = sheet(1, 2, (4.4, 3.4))
    for ax, letter, title, norms in (
        (of_logits, "a", "mean norm of the logits", Trained.logit_norms),
        (of_weights, "b", "norm of the weights", Trained.weight_norms),
    ):
        for loss in LOSSES:
            lines = np.array([norms(model, loss) for model in models])
            iterations = np.arange(lines.shape[1])
            ax.plot(iterations, lines.mean(0), label=loss, **look(loss))
            color = look(loss)["color"]
            ax.fill_between(iterations, lines.min(0), lines.max(0), color=color, alpha=0.15)
        label(ax, letter, title)
        ax.set(xlabel="iteration", ylabel="norm", xlim=(0, ITERATIONS))
        ax.set_ylim(bottom=0.0, auto=True)
        legend(ax, title=f"mean and range of {len(seeds)} seeds")
    return figure


def figure_8(seed: int = SEEDS[0]) -> Figure:
    """Draw the confidence of misclassified test points and the decision regions of a seed."""
    model = trained(seed)
    figure, ((histogram, *regions),) = sheet(1, 3, (3.9, 3.5))
    edges = np.linspace(0.5, 1.0, 21)
    for loss in LOSSES:
        confidences = model.wrong_confidences(loss)
        counts, _ = np.histogram(confidences, edges)
        text = f"{loss}: mean {confidences.mean():.2f}"
        histogram.stairs(100 * counts / len(confidences), edges, label=text, **look(loss))
    label(histogram, "a", "misclassified test points")
    histogram.set(xlabel="confidence", ylabel="share, %", xlim=(0.5, 1.0))
    histogram.set_ylim(0.0, 1.2 * histogram.get_ylim()[1])
    legend(histogram, loc="upper left")
    for ax, letter, loss in zip(regions, "bc", LOSSES, strict=True):
        mesh = _regions(ax, model, loss)
        label(ax, letter, f"decision regions, {loss}")
    figure.colorbar(mesh, ax=regions, label="probability of class 1")
    return figure


def _regions(ax: Axes, model: Trained, loss: str) -> Any:
    """Draw the probability of class 1 over the plane, the boundary, and the test points."""
    x, y = model.test
    side = np.linspace(-1.05, 1.05, 201) * np.abs(x).max()
    across, up = np.meshgrid(side, side)
    weights = model.weights[loss][-1]
    p = _sigmoid(across * weights[0] + up * weights[1])
    colors = LinearSegmentedColormap.from_list("classes", (BLUE, "white", RED))
    mesh = ax.pcolormesh(
        across, up, p, cmap=colors, vmin=0, vmax=1, alpha=0.6, shading="auto", rasterized=True
    )
    ax.contour(across, up, p, levels=[0.5], colors="black", linewidths=1.2)
    for group, color, marker in ((0, BLUE, "o"), (1, RED, "^")):
        ax.scatter(*x[y == group].T, s=6, color=color, marker=marker, label=f"class {group}")
    ax.set(xlabel="x1", ylabel="x2", aspect="equal")
    ax.legend(loc="lower left", fontsize="small", framealpha=0.9, markerscale=2)
    return mesh


def figures_of(seed: int) -> dict[str, Any]:
    """Return what the models of a seed come to at the end, and whether they decide alike."""
    model = trained(seed)
    by_loss = {
        loss: {
            "weights": model.weights[loss][-1].tolist(),
            "weight_norm": float(model.weight_norms(loss)[-1]),
            "logit_norm": float(model.logit_norms(loss)[-1]),
            "test_error": float(np.mean((model.test_logits(loss) > 0) != model.test[1])),
            "wrong_confidence": float(model.wrong_confidences(loss).mean()),
            "wrong_above_90_percent": float((model.wrong_confidences(loss) > 0.9).mean()),
        }
        for loss in LOSSES
    }
    first, second = (model.test_logits(loss) > 0 for loss in LOSSES)
    return {**by_loss, "decided_alike": float(np.mean(first == second))}


def publish(file: Path, seeds: tuple[int, ...] = SEEDS) -> None:
    """Write what the models of some seeds come to as JSON."""
    result = {
        "command": "python -m examples.paper.figures --figure 7 8 --publish",
        "environment": {**environment(), "scikit-learn": sklearn.__version__},
        "settings": {
            "train": TRAIN,
            "test": TEST,
            "flipped": FLIPPED,
            "learning_rate": LEARNING_RATE,
            "iterations": ITERATIONS,
        },
        "seeds": {f"{seed}": figures_of(seed) for seed in seeds},
    }
    write_json(file, result)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))
