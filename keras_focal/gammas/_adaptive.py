"""A gamma for each bin of p_t, which a callback can change during training."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from numpy.typing import ArrayLike

from keras_focal._typing import Tensor
from keras_focal._validation.gamma import check_bin_gammas, check_edges
from keras_focal._validation.numbers import check_count
from keras_focal.functional.gammas._adaptive import BinnedGamma
from keras_focal.gammas._rules import GammaRule
from keras_focal.gammas._state import HeldState


@keras.saving.register_keras_serializable(package="keras_focal")
class AdaptiveBins(GammaRule):
    """A gamma for each bin of p_t, which `callbacks.AdaptiveGamma` updates after every epoch.

    gamma = gammas[b] where p_t lies in bin b, edges[b - 1] <= p_t < edges[b]. A gamma < 0 selects
    the inverse focal loss -(1 + p_t)^|gamma| log p_t. Initially, all bins have equal width and the
    given `gamma`; the callback sets the edges to those of bins of equal mass in the validation
    data. The config of a loss, and therefore a saved model, contains the current gammas and edges.
    Gamma counts as a constant in the derivative of the loss.

    Args:
        num_bins: Number of bins, >= 1.
        gamma: Finite number, or a list with one for each bin.
        edges: None, or the `num_bins` - 1 non-decreasing edges between the bins, in [0, 1].

    Raises:
        ValueError: If `num_bins` is not a whole number >= 1, a gamma is not finite, the edges
            decrease, or the lengths do not match.

    Example:
        >>> import keras_focal
        >>> rule = keras_focal.gammas.AdaptiveBins(num_bins=3, gamma=[1.0, -0.5, 2.0])
        >>> [float(gamma) for gamma in rule([0.1, 0.5, 0.9])]
        [1.0, -0.5, 2.0]
        >>> loss = keras_focal.losses.SparseCategoricalFocalCrossentropy(rule, from_logits=True)

    Source:
        Ghosh et al., 2022, section 5.
    """

    def __init__(
        self,
        num_bins: int = 15,
        gamma: float | Sequence[float] = 1.0,
        edges: Sequence[float] | None = None,
    ):
        self.num_bins = check_count("num_bins", num_bins)
        gammas = check_bin_gammas(gamma, self.num_bins)
        if edges is None:
            edges = [b / self.num_bins for b in range(1, self.num_bins)]
        edges = [0.0, *check_edges(edges, self.num_bins)]
        self.state = HeldState({"edges": edges, "gammas": gammas}, name="bins")

    @property
    def gammas(self) -> list[float]:
        """The current gamma of each bin."""
        return self.state["gammas"]

    @property
    def edges(self) -> list[float]:
        """The current edges between the bins."""
        return self.state["edges"][1:]

    def assign(self, gammas: ArrayLike, edges: ArrayLike) -> None:
        """Set the gamma of each bin and the edges between them, in the form `__init__` takes."""
        gammas, edges = check_bin_gammas(gammas, self.num_bins), check_edges(edges, self.num_bins)
        self.state.assign(gammas=gammas, edges=[0.0, *edges])

    def now(self) -> Callable[[Tensor], Tensor]:
        return BinnedGamma(self.state.read("edges"), self.state.read("gammas"))

    def __call__(self, p: Tensor) -> Tensor:
        return self.now()(p)

    def get_config(self) -> dict[str, Any]:
        return {"num_bins": self.num_bins, "gamma": self.gammas, "edges": self.edges}

    def __reduce__(self) -> tuple:
        return _rebuilt, (self.get_config(),)

    # Two rules that are equal now may differ later.
    __eq__ = object.__eq__
    __hash__ = object.__hash__


def _rebuilt(config: dict[str, Any]) -> AdaptiveBins:
    return AdaptiveBins(**config)
