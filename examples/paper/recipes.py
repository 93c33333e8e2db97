"""How each data set is trained: Appendix D, and what the authors' code adds to it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import keras
from keras import ops

import keras_focal
from keras_focal import callbacks, gammas, losses

OBJECTIVES = {"mean": "sum_over_batch_size", "sum": "sum"}
"""Keras's `reduction` by the name of the objective: the mean of the losses of a batch, or their
sum, as in the authors' code (whose Brier loss alone is a mean). Both meet the same bound on the
norm of the gradient, 2: a sum of 128 losses exceeds it at nearly every step, which makes all steps
of one length."""


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters of a data set. Epochs are those of a run of `epochs` epochs.

    Attributes:
        optimizer: Called with a learning rate, gives an optimiser.
        learning_rate: The first learning rate.
        drops: Epochs after which the learning rate is divided by 10.
        gamma_switches: Epochs after which FLSc-531 and FLSc-532 take their next gamma; None for
            2/7 and 5/7 of the run.
        mmce_weight: lambda of MMCE.
        keep: Whose weights are tested: those of the "last" epoch, or of the "best" accuracy on the
            validation data.
        crop: Pixels of zeros around an image that is cropped at random, None for no augmentation.
        objective: A name in `OBJECTIVES`: what is differentiated, of the losses of a batch.
    """

    epochs: int
    batch_size: int
    optimizer: Callable[[float], keras.optimizers.Optimizer]
    learning_rate: float
    drops: tuple[int, ...] = ()
    gamma_switches: tuple[int, ...] | None = None
    mmce_weight: float = 2.0
    keep: str = "last"
    crop: int | None = None
    objective: str = "mean"

    def scaled(self, epochs: int | None = None, batch_size: int | None = None) -> "Recipe":
        """Return the recipe for other numbers, if any: schedules keep their proportions."""
        epochs = epochs or self.epochs
        switches = self.gamma_switches
        return replace(
            self,
            epochs=epochs,
            batch_size=batch_size or self.batch_size,
            drops=self._marks(self.drops, epochs),
            gamma_switches=None if switches is None else self._marks(switches, epochs),
        )

    def fewest_epochs(self, loss: str) -> int:
        """Return the epochs that a loss needs for each of its gammas to have one."""
        if not loss.startswith("FLSc") or self.gamma_switches is None:
            return 1
        counts = range(1, self.epochs + 1)
        marks = ((count, self._marks(self.gamma_switches, count)) for count in counts)
        return next(count for count, (first, last) in marks if 0 < first < last < count)

    def _marks(self, of_the_paper: tuple[int, ...], epochs: int) -> tuple[int, ...]:
        return tuple(round(mark * epochs / self.epochs) for mark in of_the_paper)

    def learning_rate_at(self, epoch: int) -> float:
        """Return the learning rate of an epoch, 0 being the first."""
        return self.learning_rate * 0.1 ** sum(epoch >= drop for drop in self.drops)


@keras.saving.register_keras_serializable("examples.paper")
class SGD(keras.optimizers.SGD):
    """SGD that adds l2 * weight to the gradient: weight decay as PyTorch means it.

    Keras's `weight_decay` shrinks the weights beside the step, so momentum does not gather it.
    """

    def __init__(self, *args: Any, l2: float = 0.0, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.l2 = l2

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Take a step."""
        gradient = ops.cast(gradient, variable.dtype) + self.l2 * ops.convert_to_tensor(variable)
        super().update_step(gradient, variable, learning_rate)

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` takes."""
        return {**super().get_config(), "l2": self.l2}


def _sgd(learning_rate: float) -> keras.optimizers.Optimizer:
    return SGD(learning_rate, momentum=0.9, l2=5e-4, global_clipnorm=2.0)


def _adam(learning_rate: float) -> keras.optimizers.Optimizer:
    return keras.optimizers.Adam(learning_rate, beta_1=0.9, beta_2=0.999)


def _adagrad(learning_rate: float) -> keras.optimizers.Optimizer:
    """Return AdaGrad; the Tree-LSTM has its weight decay in its own penalties."""
    return keras.optimizers.Adagrad(learning_rate, initial_accumulator_value=0.0)


_CIFAR = Recipe(350, 128, _sgd, 0.1, (150, 250), crop=4, objective="sum")

RECIPES = {
    "cifar10": _CIFAR,
    "cifar100": _CIFAR,
    "tiny_imagenet": Recipe(100, 64, _sgd, 0.1, (40, 60), (30, 70), crop=4, objective="sum"),
    "newsgroups20": Recipe(50, 128, _adam, 0.001, mmce_weight=8.0, keep="best"),
    "sst": Recipe(25, 25, _adagrad, 0.05, mmce_weight=8.0, keep="best"),
}
"""By data set. Batch sizes of the text data and the norm that gradients are clipped to are not in
the paper: the latter is that of the authors' code."""

IMAGES = tuple(name for name, recipe in RECIPES.items() if recipe.crop is not None)
BESIDE_THE_PAPER = ("AdaFocal", "DualFocal")
LOSSES = (*(row.name for row in losses.list()), *BESIDE_THE_PAPER)


def make_loss(name: str, recipe: Recipe) -> keras.losses.Loss:
    """Return a loss for logits and class ids by its name in `LOSSES`."""
    given = {
        "from_logits": True,
        "reduction": OBJECTIVES["mean" if name == "Brier" else recipe.objective],
    }
    if name == "AdaFocal":
        return losses.SparseCategoricalFocalCrossentropy(gammas.AdaptiveBins(), **given)
    if name == "DualFocal":
        return losses.DualFocalCrossentropy(gamma=2.0, **given)
    extra = {"weight": recipe.mmce_weight} if name == "MMCE" else {}
    return keras_focal.losses.get(name, **given, **extra)


def gamma_callbacks(name: str, recipe: Recipe, directory: str) -> list[keras.callbacks.Callback]:
    """Return what moves the gamma of a loss while it trains; `directory` keeps what resumes it."""
    if name == "AdaFocal":
        return [callbacks.AdaptiveGamma(directory=directory)]
    if name.startswith("FLSc"):
        return [callbacks.GammaScheduler(name, boundaries=recipe.gamma_switches)]
    return []
