"""Prediction sets of split conformal prediction, as a layer behind the probabilities."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_focal import functional
from keras_focal._typing import Tensor
from keras_focal._validation.choices import check_choice
from keras_focal._validation.numbers import check_at_least
from keras_focal.functional._backend.precision import to_float
from keras_focal.functional._inputs.probabilities import first_largest, two_classes
from keras_focal.functional._stable.margin import chosen_class
from keras_focal.functional.maps._conformal import METHODS, conformal_sets
from keras_focal.layers._base import FrozenLayer, listed


@keras.saving.register_keras_serializable(package="keras_focal")
class ConformalSets(FrozenLayer):
    """The set of classes that holds the true one with a chosen probability.

    A class is in the set if its score, `functional.conformal_scores`, is at most the threshold.
    `keras_focal.calibration.fit_conformal` finds the threshold on held-out data. A row that is no
    distribution, such as NaN, has every class in its set.

    Sets are deterministic unless `randomized`. Deterministic sets of "aps" and "raps" cover more
    than they must and are larger; the layer draws nothing itself.

    Args:
        threshold: Finite number >= 0, a frozen weight. A score up to 4e-6 above it counts as equal.
        method: "lac", "aps" or "raps".
        penalty: Number >= 0: the regularisation of "raps".
        rank: Number >= 0 of classes that "raps" does not penalise.
        randomized: Whether the layer is called with random numbers, `layer(inputs, u)`. Not for
            "lac", which has none.
        allow_empty: Whether a set may be empty. If not, it holds at least the top class, which can
            only raise the coverage.
        inputs: "probabilities" of a softmax (K >= 2) or a sigmoid (K = 1), or "logits".
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Float tensor, shape (..., K).
        u: If `randomized`, uniform random numbers in [0, 1], shape (..., 1).

    Input and output shape:
        (..., K); the same for the output, which is bool, True for the classes in the set. K = 1 is
        the positive class of two: the output is then of shape (..., 2), negative class first.

    Raises:
        ValueError: If the threshold, penalty or rank is negative or not finite; the method or
            `inputs` is unknown; "lac" is to be randomized; or u is missing or not expected.

    Example:
        >>> import keras_focal, numpy as np
        >>> layer = keras_focal.layers.ConformalSets(threshold=0.75)
        >>> sets = layer(np.array([[0.9, 0.06, 0.04], [0.4, 0.35, 0.25]], "float32"))
        >>> [[bool(member) for member in row] for row in sets]
        [[True, False, False], [True, True, True]]

    Source:
        Sadinle, Lei and Wasserman, 2019 ("lac"); Romano, Sesia and Candes, 2020 ("aps");
        Angelopoulos, Bates, Malik and Jordan, 2021 ("raps").
    """

    def __init__(
        self,
        threshold: float,
        method: str = "lac",
        penalty: float = 0.01,
        rank: float = 5,
        randomized: bool = False,
        allow_empty: bool = False,
        inputs: str = "probabilities",
        **kwargs: Any,
    ):
        super().__init__(inputs, **kwargs)
        check_choice("method", method, METHODS)
        check_choice("randomized", randomized, (False,) if method == "lac" else (False, True))
        fix = "Give what a fit returned."
        self._threshold = self.freeze(
            "threshold", np.asarray(check_at_least("threshold", threshold, 0, fix))
        )
        self.method, self.randomized, self.allow_empty = method, randomized, bool(allow_empty)
        self.penalty = check_at_least("penalty", penalty, 0)
        self.rank = check_at_least("rank", rank, 0)
        self.finish(None)

    @property
    def threshold(self) -> float:
        """The current threshold."""
        return float(listed(self._threshold))

    def scores(self, inputs: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return probabilities of two classes or more, and the score of each class."""
        if (u is not None) != self.randomized:
            raise ValueError(
                f"`u` must be {'given' if self.randomized else 'None'} with randomized="
                f"{self.randomized}. Received: u={u!r}. Call layer(inputs, u) of a randomized "
                "layer, and layer(inputs) of another."
            )
        is_logits = self.inputs == "logits"
        p = two_classes(to_float(inputs), is_logits)
        p = ops.softmax(p, axis=-1) if is_logits else p
        return p, functional.conformal_scores(
            p, self.method, penalty=self.penalty, rank=self.rank, u=u
        )

    def call(self, inputs: Tensor, u: Tensor | None = None) -> Tensor:
        p, scores = self.scores(inputs, u)
        sets = conformal_sets(scores, p, ops.cast(self._threshold, scores.dtype))
        if self.allow_empty:
            return sets
        return ops.logical_or(sets, chosen_class(first_largest(p)[0], p.shape[-1]))

    def compute_output_spec(self, inputs: Any, u: Any = None) -> keras.KerasTensor:
        shape = (*inputs.shape[:-1], max(inputs.shape[-1], 2))
        return keras.KerasTensor(shape, dtype="bool")

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "threshold": self.threshold,
            "method": self.method,
            "penalty": self.penalty,
            "rank": self.rank,
            "randomized": self.randomized,
            "allow_empty": self.allow_empty,
        }
