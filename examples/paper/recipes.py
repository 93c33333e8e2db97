"""How each data set is trained: Appendix D, and what the authors' code adds to it.

Of translation the paper gives no more than the network; its recipe is that of

    Vaswani et al., 2017, "Attention Is All You Need", section 5 and Table 3.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import keras
from keras import ops

import keras_focal
from examples.paper.networks.transformer import SIZES
from keras_focal import callbacks, gammas, losses

OBJECTIVES = {
    "mean": "sum_over_batch_size",
    "sum": "sum",
    "weighted-mean": "mean_with_sample_weight",
}
"""Keras's `reduction` by the name of the objective: the mean of the losses of a batch, or their
sum, as in the authors' code (whose Brier loss alone is a mean). Both meet the same bound on the
norm of the gradient, 2: a sum of 128 losses exceeds it at nearly every step, which makes all steps
of one length. The weighted mean leaves out tokens of padding, whose weight is 0."""
LAST_EPOCHS = 5
"""How many epochs are averaged where a recipe keeps the average of the last ones."""


@dataclass(frozen=True)
class OfTranslation:
    """What a recipe of translation has beside the others.

    Attributes:
        size: Of the network, a name in `SIZES`.
        vocabulary_size: Byte pairs that source and target share.
        length: Tokens of a training sentence; the end of a longer one is cut off.
        warm_up: Steps in which the learning rate rises: see `WarmUp`.
        highest_temperature: Up to which the temperature is searched for, in steps of 0.1.
    """

    size: str
    vocabulary_size: int
    length: int
    warm_up: int
    highest_temperature: float

    @property
    def temperatures(self) -> tuple[float, ...]:
        """Return the temperatures that are tried: 0.1, 0.2 and so on."""
        steps = round(10 * self.highest_temperature)
        return tuple(round(0.1 * step, 1) for step in range(1, steps + 1))


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters of a data set. Epochs are those of a run of `epochs` epochs.

    Attributes:
        batch_size: Samples in a step; of translation positions, padding included.
        optimizer: Called with a learning rate, or a schedule of it, gives an optimiser.
        learning_rate: The first learning rate; None where steps warm up.
        drops: Epochs after which the learning rate is divided by 10.
        gamma_switches: Epochs after which FLSc-531 and FLSc-532 take their next gamma; None for
            2/7 and 5/7 of the run.
        mmce_weight: lambda of MMCE.
        keep: Whose weights are tested: those of the "last" epoch, of the "best" accuracy on the
            validation data, or the "average" of the last `LAST_EPOCHS`.
        crop: Pixels of zeros around an image that is cropped at random, None for no augmentation.
        objective: A name in `OBJECTIVES`: what is differentiated, of the losses of a batch.
        translation: What translation has beside the others, None for other data.
    """

    epochs: int
    batch_size: int
    optimizer: Callable[[Any], keras.optimizers.Optimizer]
    learning_rate: float | None
    drops: tuple[int, ...] = ()
    gamma_switches: tuple[int, ...] | None = None
    mmce_weight: float = 2.0
    keep: str = "last"
    crop: int | None = None
    objective: str = "mean"
    translation: OfTranslation | None = None

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
        if not loss.startswith("FLSc"):
            return 1
        shares = gammas.SCHEDULED[loss].switches
        switches = self.gamma_switches or tuple(float(share * self.epochs) for share in shares)
        counts = range(1, self.epochs + 1)
        marks = ((count, self._marks(switches, count)) for count in counts)
        return next(count for count, (first, last) in marks if 0 < first < last < count)

    def _marks(self, of_the_paper: tuple[float, ...], epochs: int) -> tuple[int, ...]:
        return tuple(round(mark * epochs / self.epochs) for mark in of_the_paper)

    def learning_rate_at(self, epoch: int) -> float:
        """Return the learning rate of an epoch, 0 being the first."""
        return self.learning_rate * 0.1 ** sum(epoch >= drop for drop in self.drops)

    def make_optimizer(self) -> keras.optimizers.Optimizer:
        """Return an optimiser with the first learning rate, or the one that warms up."""
        if self.translation is None:
            return self.optimizer(self.learning_rate)
        width = SIZES[self.translation.size].width
        return self.optimizer(WarmUp(width, self.translation.warm_up))


@keras.saving.register_keras_serializable("examples.paper")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate that rises for `warm_up` steps, then falls as 1 / sqrt(step).

    width^-1/2 min(step^-1/2, step warm_up^-3/2), with steps counted from 1.

    Source:
        Vaswani et al., 2017, eq. 3.
    """

    def __init__(self, width: int, warm_up: int = 4000):
        self.width = width
        self.warm_up = warm_up

    def __call__(self, step):
        step = ops.cast(step, "float32") + 1.0
        return self.width**-0.5 * ops.minimum(ops.rsqrt(step), step * self.warm_up**-1.5)

    def get_config(self):
        return {"width": self.width, "warm_up": self.warm_up}


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


def _adam_of_translation(schedule: WarmUp) -> keras.optimizers.Optimizer:
    return keras.optimizers.Adam(schedule, beta_1=0.9, beta_2=0.98, epsilon=1e-9)


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
    "wmt14": Recipe(
        20,
        25_000,
        _adam_of_translation,
        None,
        keep="average",
        objective="weighted-mean",
        translation=OfTranslation("base", 37_000, 256, 4000, highest_temperature=10.0),
    ),
    "multi30k": Recipe(
        10,
        1536,
        _adam_of_translation,
        None,
        objective="weighted-mean",
        translation=OfTranslation("small", 4000, 32, 1000, highest_temperature=3.0),
    ),
}
"""By data set. Batch sizes of the text data and the norm that gradients are clipped to are not in
the paper: the latter is that of the authors' code. Multi30k is not in the paper either: its
captions stand for WMT14 where a processor trains."""

IMAGES = tuple(name for name, recipe in RECIPES.items() if recipe.crop is not None)
BESIDE_THE_PAPER = ("AdaFocal", "DualFocal")
LOSSES = (*(row.name for row in losses.list()), "LS-0.1", *BESIDE_THE_PAPER)


def make_loss(name: str, recipe: Recipe) -> keras.losses.Loss:
    """Return a loss for logits and class ids by its name in `LOSSES`."""
    objective = "mean" if name == "Brier" and recipe.objective == "sum" else recipe.objective
    given = {"from_logits": True, "reduction": OBJECTIVES[objective]}
    if name == "LS-0.1":
        return losses.LabelSmoothingCrossentropy(0.1, **given)
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
