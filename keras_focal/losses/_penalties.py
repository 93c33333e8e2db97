"""Penalties of `Calibrated`: what is added to a loss so that training looks at calibration."""

from typing import Any, ClassVar

import keras

from keras_focal import functional
from keras_focal._typing import Tensor
from keras_focal._validation.choices import check_choice
from keras_focal._validation.numbers import (
    as_floats,
    check_at_least,
    check_positive,
    check_soft_bins,
    check_that,
    check_whole,
    check_window,
)
from keras_focal.functional._inputs.labels import Labels
from keras_focal.functional.losses._terms import masked
from keras_focal.gammas import HeldState


class Penalty:
    """Base class of the penalties of `Calibrated`.

    A subclass implements `values(labels, logits)` and lists its arguments in `own_arguments`.
    """

    own_arguments: ClassVar[tuple[str, ...]] = ()

    needs_logits: ClassVar[bool] = False
    """Whether the logarithms of probabilities will not do."""

    def values(self, labels: Labels, logits: Tensor) -> Tensor:
        """Return the penalty of each prediction, shape (...), or one number for all.

        Args:
            labels: Labels with the mask and the weights of the predictions.
            logits: Float tensor with the class axis at the end, >= float32.
        """
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.own_arguments}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Penalty":
        return cls(**config)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"

    def __reduce__(self) -> tuple:
        config = keras.saving.serialize_keras_object(self)
        return keras.saving.deserialize_keras_object, (config,)


@keras.saving.register_keras_serializable(package="keras_focal")
class MDCA(Penalty):
    """weight * 1/K sum_k |mean p_k - frequency of class k| of the batch.

    The multi-class difference in confidence and accuracy: each class is predicted as often as it
    occurs. It needs batches in which classes occur several times.

    Args:
        weight: Number >= 0. The source uses 1 to 25, with focal loss as the base.

    Raises:
        ValueError: If weight is negative or not finite.

    Example:
        >>> from keras_focal import losses
        >>> loss = losses.Calibrated(losses.get("FL-1", from_logits=True), losses.MDCA(weight=5.0))
        >>> round(float(loss([0, 1], [[0.0, 0.0], [0.0, 0.0]])), 4)
        0.3466

    Source:
        Hebbalaguppe et al., 2022, "A Stitch in Time Saves Nine: A Train-Time Regularizing Loss for
        Improved Neural Network Calibration", section 3.
    """

    own_arguments = ("weight",)

    def __init__(self, weight: float = 1.0):
        self.weight = check_at_least("weight", weight, 0)

    def values(self, labels: Labels, logits: Tensor) -> Tensor:
        found = functional.mdca_penalty(labels, logits, sample_weight=labels.weights)
        return self.weight * found


@keras.saving.register_keras_serializable(package="keras_focal")
class DCA(Penalty):
    """weight * |mean confidence - accuracy| of the batch.

    The difference between confidence and accuracy, which is the ECE with a single bin: over- and
    under-confident predictions cancel.

    Args:
        weight: Number >= 0. The source uses 1 to 25.

    Raises:
        ValueError: If weight is negative or not finite.

    Example:
        >>> from keras_focal import losses
        >>> loss = losses.Calibrated(losses.get("CE", from_logits=True), losses.DCA(weight=5.0))
        >>> round(float(loss([0, 0], [[0.0, 0.0], [0.0, 0.0]])), 4)
        3.1931

    Source:
        Liang et al., 2020, "Improved Trainable Calibration Method for Neural Networks on Medical
        Imaging Classification".
    """

    own_arguments = ("weight",)

    def __init__(self, weight: float = 5.0):
        self.weight = check_at_least("weight", weight, 0)

    def values(self, labels: Labels, logits: Tensor) -> Tensor:
        found = functional.dca_penalty(labels, logits, sample_weight=labels.weights)
        return self.weight * found


@keras.saving.register_keras_serializable(package="keras_focal")
class SoftBinnedECE(Penalty):
    """weight * the ECE of the batch with soft bins, through which gradients flow.

    Args:
        weight: Number >= 0.
        num_bins: Number of bins of equal width, >= 2.
        temperature: Number > 0: how soft the bins are, in squares of confidence.
        norm: 1, or 2 for the root of the mean square.

    Raises:
        ValueError: If weight is negative or not finite, num_bins is not a whole number >= 2,
            temperature is not > 0, or norm is neither 1 nor 2.

    Example:
        >>> from keras_focal import losses
        >>> penalty = losses.SoftBinnedECE(weight=2.0)
        >>> loss = losses.Calibrated(losses.get("CE", from_logits=True), penalty)
        >>> round(float(loss([0, 0], [[0.0, 0.0], [0.0, 0.0]])), 4)
        1.6931

    Source:
        Karandikar et al., 2021, "Soft Calibration Objectives for Neural Networks", section 4.1.
    """

    own_arguments = ("weight", "num_bins", "temperature", "norm")

    def __init__(
        self,
        weight: float = 1.0,
        num_bins: int = 15,
        temperature: float = 0.01,
        norm: int = 2,
    ):
        self.weight = check_at_least("weight", weight, 0)
        self.num_bins = check_soft_bins("num_bins", num_bins)
        self.temperature = check_positive("temperature", temperature)
        check_choice("norm", norm, (1, 2))
        self.norm = norm

    def values(self, labels: Labels, logits: Tensor) -> Tensor:
        return self.weight * functional.soft_binned_ece_penalty(
            labels,
            logits,
            sample_weight=labels.weights,
            num_bins=self.num_bins,
            temperature=self.temperature,
            norm=self.norm,
        )


@keras.saving.register_keras_serializable(package="keras_focal")
class SoftBinnedACE(Penalty):
    """weight * the average calibration error of all classes with soft bins, for pixels.

    Every bin of the probability of a class that is not empty counts alike, so that the few pixels
    of a rare class, or at its edge, count as much as the background. mL1-ACE in the source.

    Args:
        weight: Number >= 0.
        num_bins: Number of bins of equal width, >= 2.
        per_sample: Whether each image is measured alone, over all its pixels, as in the source.
            False measures the batch as a whole, which one prediction per sample needs.

    Raises:
        ValueError: If weight is negative or not finite, num_bins is not a whole number >= 2;
            when called, if per_sample is asked for one prediction per sample.

    Example:
        >>> from keras_focal import losses
        >>> penalty = losses.SoftBinnedACE(weight=2.0)
        >>> loss = losses.Calibrated(losses.get("CE", from_logits=True), penalty)
        >>> round(float(loss([0, 0], [[0.0, 0.0], [0.0, 0.0]])), 4)
        1.1931

    Source:
        Barfoot et al., 2025, "Average Calibration Losses for Reliable Uncertainty in Medical Image
        Segmentation".
    """

    own_arguments = ("weight", "num_bins", "per_sample")

    def __init__(self, weight: float = 1.0, num_bins: int = 20, per_sample: bool = False):
        self.weight = check_at_least("weight", weight, 0)
        self.num_bins = check_soft_bins("num_bins", num_bins)
        self.per_sample = bool(per_sample)

    def values(self, labels: Labels, logits: Tensor) -> Tensor:
        return self.weight * functional.soft_binned_ace_penalty(
            labels,
            logits,
            sample_weight=labels.weights,
            num_bins=self.num_bins,
            per_sample=self.per_sample,
        )


@keras.saving.register_keras_serializable(package="keras_focal")
class ACLS(Penalty):
    """Adaptive and conditional label smoothing, as a penalty on the logits of each prediction.

    weight * (positive max(0, z_t - margin)^2 + negative / (K - 1) sum_{j != t} max(0, z_t - z_j -
    margin)^2), with t the top class. The further beyond the margin, the stronger the pull.

    Args:
        weight: Number >= 0.
        margin: Number >= 0. Choose it by the size of the logits: a small network may never reach
            10, and then the penalty is 0.
        positive: Number >= 0, the strength on the top class.
        negative: Number >= 0, the strength on the other classes.

    Raises:
        ValueError: If an argument is negative or not finite; if the loss takes probabilities, whose
            logarithms never exceed a margin.

    Example:
        >>> from keras_focal import losses
        >>> penalty = losses.ACLS(margin=1.0)
        >>> loss = losses.Calibrated(losses.get("CE", from_logits=True), penalty)
        >>> round(float(loss([0], [[3.0, 0.0]])), 4)
        0.4886

    Source:
        Park et al., 2023, "ACLS: Adaptive and Conditional Label Smoothing for Network Calibration";
        the equation and the defaults are those of the authors' code.
    """

    own_arguments = ("weight", "margin", "positive", "negative")
    needs_logits = True

    def __init__(
        self,
        weight: float = 0.1,
        margin: float = 10.0,
        positive: float = 1.0,
        negative: float = 0.1,
    ):
        self.weight = check_at_least("weight", weight, 0)
        self.margin = check_at_least("margin", margin, 0)
        self.positive = check_at_least("positive", positive, 0)
        self.negative = check_at_least("negative", negative, 0)

    def values(self, labels: Labels, logits: Tensor) -> Tensor:
        return self.weight * functional.acls_penalty(
            masked(logits, labels.counts),
            margin=self.margin,
            positive=self.positive,
            negative=self.negative,
        )


@keras.saving.register_keras_serializable(package="keras_focal")
class CALS(Penalty):
    """Class-adaptive label smoothing: a margin for logits, with a multiplier for each class.

    The constraint that no logit is more than `margin` below the largest is enforced by an augmented
    Lagrangian, `functional.cals_penalty`. `callbacks.ClassMultipliers` learns the multipliers and
    rho on held-out data; without it they stay as they are, and the penalty is a fixed one.

    Args:
        num_classes: K, a whole number >= 2.
        margin: Number > 0. Choose it by the size of the logits, as for
            `MarginLabelSmoothingCrossentropy`.
        multipliers: A number > 0 or K of them, to begin with.
        rho: Number > 0, to begin with: the weight of the square.

    Raises:
        ValueError: If num_classes is not a whole number >= 2, or another argument is not > 0 or has
            not length K; when called, if the logits have not K classes.

    Example:
        >>> from keras_focal import losses
        >>> penalty = losses.CALS(2, margin=1.0)
        >>> loss = losses.Calibrated(losses.get("CE", from_logits=True), penalty)
        >>> round(float(loss([0], [[3.0, 0.0]])), 4)
        2.0486

    Source:
        Liu et al., 2023, "Class Adaptive Network Calibration", section 4; the equation is that of
        the authors' code.
    """

    own_arguments = ("num_classes", "margin", "multipliers", "rho")

    def __init__(
        self,
        num_classes: int,
        margin: float = 10.0,
        multipliers: float | list[float] = 1e-6,
        rho: float = 1.0,
    ):
        fix = "Give the number of classes of the model."
        self.num_classes = check_whole(
            "num_classes", num_classes, "a whole number >= 2", lambda x: x >= 2, fix
        )
        self.margin = check_positive("margin", margin)
        held: dict[str, Any] = {
            "multipliers": check_multipliers(multipliers, self.num_classes),
            "rho": check_positive("rho", rho),
        }
        self.state = HeldState(held, name="multipliers")
        """The state that `callbacks.ClassMultipliers` changes and compiled steps read."""

    @property
    def multipliers(self) -> list[float]:
        """The current multiplier of each class."""
        return self.state["multipliers"]

    @property
    def rho(self) -> float:
        """The current weight of the square."""
        return self.state["rho"]

    def assign(self, multipliers: float | list[float], rho: float) -> None:
        """Set the multipliers and rho."""
        self.state.assign(
            multipliers=check_multipliers(multipliers, self.num_classes),
            rho=check_positive("rho", rho),
        )

    def values(self, labels: Labels, logits: Tensor) -> Tensor:
        if logits.shape[-1] != self.num_classes:
            raise ValueError(
                f"`num_classes` must be that of the predictions. Received: num_classes="
                f"{self.num_classes} for logits of {logits.shape[-1]} classes. Create CALS("
                f"{logits.shape[-1]})."
            )
        return functional.cals_penalty(
            masked(logits, labels.counts),
            multipliers=self.state.read("multipliers"),
            rho=self.state.read("rho"),
            margin=self.margin,
        )


@keras.saving.register_keras_serializable(package="keras_focal")
class NACL(Penalty):
    """Neighbour-aware calibration of segmentation: logits are drawn to the labels around a pixel.

    weight / K sum_k |z_k - tau_k|^norm, with tau_k the share of class k in the window around the
    pixel. At an edge that is a soft label, as in spatially varying label smoothing, but the penalty
    has a weight of its own and holds the logits themselves small. A mask, `ignore_class` and
    weight 0 leave a pixel out: it has no penalty and is no neighbour of others.

    The more classes, the lower the confidence that the penalty allows: look at the temperature
    afterwards, and take less weight where it is well below 1.

    Args:
        weight: Number >= 0. The source uses 0.1.
        kernel_size: Side of the window in pixels, an odd whole number >= 3.
        norm: 1, or 2 for squares.

    Raises:
        ValueError: If weight is negative or not finite, kernel_size is not an odd whole number
            >= 3, norm is neither 1 nor 2, or the loss takes probabilities; when called, if
            predictions are not those of tokens, pixels or voxels.

    Example:
        >>> from keras_focal import losses
        >>> penalty = losses.NACL(weight=1.0)
        >>> loss = losses.Calibrated(losses.get("CE", from_logits=True), penalty)
        >>> round(float(loss([[0, 1]], [[[0.0, 0.0], [0.0, 0.0]]])), 4)
        1.1931

    Source:
        Murugesan et al., 2024, "Neighbor-Aware Calibration of Segmentation Networks with
        Penalty-Based Constraints"; see `functional.nacl_penalty`.
    """

    own_arguments = ("weight", "kernel_size", "norm")
    needs_logits = True

    def __init__(self, weight: float = 0.1, kernel_size: int = 3, norm: int = 1):
        self.weight = check_at_least("weight", weight, 0)
        self.kernel_size = check_window("kernel_size", kernel_size)
        check_choice("norm", norm, (1, 2))
        self.norm = norm

    def values(self, labels: Labels, logits: Tensor) -> Tensor:
        return self.weight * functional.nacl_penalty(
            labels,
            logits,
            sample_weight=labels.weights,
            kernel_size=self.kernel_size,
            norm=self.norm,
        )


def check_multipliers(value: Any, num_classes: int) -> list[float]:
    """Return a finite multiplier > 0 for each class, from one number or a list of them."""
    array = as_floats(value)
    fits = array.shape in ((), (num_classes,)) and bool(((array > 0) & (array < 1e30)).all())
    rule = f"a finite number > 0 or a list of {num_classes}, one for each class"
    check_that("multipliers", value, rule, fits, "Start with 1e-6.")
    return [float(each) for each in (array.tolist() if array.ndim else [array] * num_classes)]
