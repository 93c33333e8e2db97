"""What a kernel reads of its predictions: logits, or probabilities as they were given.

Both offer p, 1 - p and -log p of a class, and turn a derivative by log-odds or by p into one by
what was given. A logarithm of a probability would be rounded by up to 4e-6, which is the relative
error of the probability that it stands for; so kernels are written for either.
"""

from abc import ABC, abstractmethod
from functools import cached_property
from typing import ClassVar, NamedTuple

import keras
from keras import ops

from keras_focal._typing import Tensor
from keras_focal.functional._backend.operations import log_of_one_plus
from keras_focal.functional._backend.precision import floating, to_float
from keras_focal.functional._stable.exact import Sum, exact_sum
from keras_focal.functional._stable.margin import (
    LARGEST_GAP,
    StableProbability,
    chosen_class,
    class_margin,
    stable_probabilities,
    stable_probability,
)

SMALL = 2.0**-64
"""A smaller share is scaled before it is formed, since it may be below the smallest normal number.
"""

LOG_SMALL = 44.3614195558365
"""-log SMALL."""


class ClassTerms(NamedTuple):
    """One class of each row, and what derivatives by the others are computed from.

    Attributes:
        of_class: p, 1 - p and -log p of the class.
        reference: What `shares` needs of the row.
        of_others: The derivative of -log p by another prediction, divided by its share.
    """

    of_class: StableProbability
    reference: Tensor
    of_others: Tensor


class Predicted(ABC):
    """Rows of predictions of classes, shape (..., K), or independent outputs of any shape.

    Attributes:
        values: Float tensor.
    """

    neutral: ClassVar[float]
    """A valid prediction, to replace those that do not count."""

    def __init__(self, values: Tensor):
        self.values = values

    @property
    def shape(self) -> tuple:
        return self.values.shape

    @property
    def dtype(self) -> str:
        return keras.backend.standardize_dtype(self.values.dtype)

    def to_float(self) -> "Predicted":
        """Return the predictions in float32 or better."""
        return type(self)(to_float(self.values))

    def where(self, counts: Tensor) -> "Predicted":
        """Return the predictions, valid ones in rows that do not count."""
        neutral = ops.full((), self.neutral, dtype=self.dtype)
        return type(self)(ops.where(ops.expand_dims(counts, -1), self.values, neutral))

    @abstractmethod
    def of_class(self, ids: Tensor) -> ClassTerms:
        """Return the terms of the class `ids`, shape (...), of each row."""

    @abstractmethod
    def of_each(self) -> StableProbability:
        """Return p, 1 - p and -log p of every class, each of shape (..., K)."""

    @abstractmethod
    def outcomes(self) -> tuple[StableProbability, StableProbability]:
        """Return p, 1 - p and -log p of the positive outcome of each output, and the negative."""

    @abstractmethod
    def shares(self, is_class: Tensor, reference: Tensor) -> Tensor | float:
        """Return the shares of the other classes, by which `of_others` is multiplied."""

    @abstractmethod
    def p_of_others(self, is_class: Tensor, reference: Tensor, of_others: Tensor) -> Tensor:
        """Return p of the other classes, shape (..., K), from the terms of a class."""

    @abstractmethod
    def by_log(self, slope: Tensor) -> Tensor:
        """Return the derivative by a prediction from the one by log p of its class.

        The p are those of a row before they are divided by their sum.
        """

    @abstractmethod
    def by_share(self, p: Tensor, slope: Tensor) -> Tensor:
        """Return the derivative by a prediction from the one by log p of its class, over p."""

    @abstractmethod
    def by_logit(self, slope: Tensor) -> Tensor:
        """Return the derivative by the prediction of an output from the one by its logit."""

    @abstractmethod
    def logits(self) -> Tensor:
        """Return the logits of rows, to the precision of their dtype."""

    @abstractmethod
    def probabilities(self) -> Tensor:
        """Return p of rows, differentiated automatically, as all of `relative`."""

    @abstractmethod
    def relative(self, largest: Tensor) -> Tensor:
        """Return p of rows times a number of the row, from the largest prediction of each."""

    @abstractmethod
    def behind(self) -> Tensor:
        """Return the logarithm of how many times as likely the top class is, shape (..., K)."""


class Logits(Predicted):
    """Logits z: p = softmax(z) of rows, sigmoid(z) of outputs."""

    neutral = 0.0

    def of_class(self, ids: Tensor) -> ClassTerms:
        margin, others = class_margin(ids, self.values)
        of_class = stable_probability(margin)
        return ClassTerms(of_class, others.reference, of_class.complement * others.factor)

    def of_each(self) -> StableProbability:
        return stable_probabilities(self.values)

    @cached_property
    def size(self) -> Tensor:
        """The log-odds of the likelier outcome."""
        z = self.values
        # Not the absolute value: its derivative at 0 would be 0.
        return ops.clip(ops.where(z >= 0, z, -z), -1.0, LARGEST_GAP)

    @cached_property
    def odds(self) -> Tensor:
        """exp(-size)."""
        return ops.exp(-self.size)

    @cached_property
    def neg_log_likely(self) -> Tensor:
        """-log p of the likelier outcome."""
        return log_of_one_plus(self.odds)

    def outcomes(self) -> tuple[StableProbability, StableProbability]:
        # Not a quotient of the odds: XLA would keep them in memory, and both outcomes.
        unlikely = self.odds * (1.0 / (1.0 + self.odds))
        likely = 1.0 - unlikely
        is_yes_likely = self.values >= 0
        p = ops.where(is_yes_likely, likely, unlikely)
        complement = ops.where(is_yes_likely, unlikely, likely)
        of_yes, of_no = (
            self.neg_log_likely + ops.where(is_likely, 0.0, self.size)
            for is_likely in (is_yes_likely, ops.logical_not(is_yes_likely))
        )
        return StableProbability(p, complement, of_yes), StableProbability(complement, p, of_no)

    def shares(self, is_class: Tensor, reference: Tensor) -> Tensor:
        below = self.values - ops.expand_dims(reference, -1)
        return ops.exp(ops.where(is_class, 0.0, below))

    def p_of_others(self, is_class: Tensor, reference: Tensor, of_others: Tensor) -> Tensor:
        return self.shares(is_class, reference) * ops.expand_dims(of_others, -1)

    def by_log(self, slope: Tensor) -> Tensor:
        return slope

    def by_share(self, p: Tensor, slope: Tensor) -> Tensor:
        return p * slope

    def by_logit(self, slope: Tensor) -> Tensor:
        return slope

    def logits(self) -> Tensor:
        return self.values

    def probabilities(self) -> Tensor:
        return ops.softmax(self.values, axis=-1)

    def relative(self, largest: Tensor) -> Tensor:
        return ops.exp(self.values - largest)

    def behind(self) -> Tensor:
        largest = ops.max(self.values, axis=-1, keepdims=True)
        return ops.clip(largest - self.values, 0.0, LARGEST_GAP)


class Probabilities(Predicted):
    """Probabilities > 0: of rows, which are divided by their sum, or of outputs, < 1."""

    neutral = 1.0

    @cached_property
    def scaled(self) -> Tensor:
        """The probabilities times 2**64: rounding errors of the smallest are normal numbers too."""
        return self.values / SMALL

    @cached_property
    def total(self) -> Tensor:
        """The sum of each row, shape (..., 1)."""
        return ops.sum(self.values, axis=-1, keepdims=True)

    def of_class(self, ids: Tensor) -> ClassTerms:
        is_class = chosen_class(ids, self.shape[-1])
        own = ops.sum(ops.where(is_class, self.scaled, 0.0), axis=-1)
        rest = exact_sum(ops.where(is_class, 0.0, self.scaled))
        total = rest.plus(own)
        of_others = 1.0 / (SMALL * total.high)
        return ClassTerms(_part(own, rest, total), total.high, of_others)

    def of_each(self) -> StableProbability:
        top = ops.cast(ops.argmax(self.values, axis=-1), "int32")
        is_top = chosen_class(top, self.shape[-1])
        # Only the largest can be close to 1, so only for it the others are summed.
        below = exact_sum(ops.where(is_top, 0.0, self.scaled)).of_rows()
        total = below.plus(ops.max(self.scaled, axis=-1, keepdims=True))
        rest = total.plus(-self.scaled)
        rest = Sum(*(ops.where(is_top, a, b) for a, b in zip(below, rest, strict=True)))
        return _part(self.scaled, rest, total)

    def outcomes(self) -> tuple[StableProbability, StableProbability]:
        p, other = self.values, 1.0 - self.values
        likely, unlikely = ops.maximum(p, other), ops.minimum(p, other)
        of_likely, of_unlikely = log_of_one_plus(unlikely / likely), -ops.log(unlikely)
        is_yes_likely = p > other
        of_yes = ops.where(is_yes_likely, of_likely, of_unlikely)
        of_no = ops.where(is_yes_likely, of_unlikely, of_likely)
        return StableProbability(p, other, of_yes), StableProbability(other, p, of_no)

    def shares(self, is_class: Tensor, reference: Tensor) -> float:
        return 1.0

    def p_of_others(self, is_class: Tensor, reference: Tensor, of_others: Tensor) -> Tensor:
        return self.values * ops.expand_dims(of_others, -1)

    def by_log(self, slope: Tensor) -> Tensor:
        return slope / self.values

    def by_share(self, p: Tensor, slope: Tensor) -> Tensor:
        return slope / self.total

    @cached_property
    def logit_slope(self) -> Tensor:
        """The derivative of the logit of an output by its probability."""
        return 1.0 / (self.values * (1.0 - self.values))

    def by_logit(self, slope: Tensor) -> Tensor:
        return slope * self.logit_slope

    def logits(self) -> Tensor:
        return ops.log(self.values)

    def probabilities(self) -> Tensor:
        return self.values / self.total

    def relative(self, largest: Tensor) -> Tensor:
        return self.values

    def behind(self) -> Tensor:
        largest = ops.max(self.values, axis=-1, keepdims=True)
        return ops.relu(-_log_share(self.values, largest))


def read_predicted(predictions: Tensor | Predicted) -> Predicted:
    """Return predictions as they are, or a tensor as logits of its own precision."""
    return predictions if isinstance(predictions, Predicted) else Logits(floating(predictions))


def _part(own: Tensor, rest: Sum, total: Sum) -> StableProbability:
    """Return p, 1 - p and -log p of a class from what it has, the others have, and all have."""
    correction = rest.low - rest.high * (total.low / total.high)
    is_likely = own > rest.high
    odds = ops.where(is_likely, rest.high / ops.where(is_likely, own, 1.0), 0.0)
    return StableProbability(
        p=own / total.high,
        complement=(rest.high + correction) / total.high,
        neg_log_p=ops.where(is_likely, log_of_one_plus(odds), -_log_share(own, total.high)),
    )


def _log_share(own: Tensor, total: Tensor) -> Tensor:
    """Return log(own / total), rounded once."""
    is_small = own < SMALL * total
    # The total is scaled: a compiler would merge two factors of `own` to one that overflows.
    share = own / ops.where(is_small, SMALL * total, total)
    return ops.log(share) - ops.where(is_small, LOG_SMALL, 0.0)
