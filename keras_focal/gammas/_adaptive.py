"""Gammas by bin of p_t that a callback may change while a compiled step is running."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_focal._validation import check_bin_gammas, check_count, check_edges
from keras_focal.functional import BinnedGamma
from keras_focal.gammas._rules import GammaRule

Tensor = Any


class BinState(keras.metrics.Metric):
    """Edges and gammas of bins. A metric that reports nothing and is never reset: of all state but
    weights, Keras hands metric variables alone to a compiled step on every backend."""

    def __init__(self, edges: Sequence[float], gammas: Sequence[float]):
        super().__init__(name="bins", dtype="float32")
        self.edges, self.gammas = (
            self.add_variable(
                shape=(len(values),),
                initializer=keras.initializers.Constant(np.asarray(values, "float32")),
                dtype="float32",
                aggregation="only_first_replica",
                name=name,
            )
            for name, values in (("edges", edges), ("gammas", gammas))
        )

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: only `AdaptiveBins.assign` changes the state."""

    def reset_state(self) -> None:
        """Do nothing: gammas outlive the epoch."""

    def result(self) -> dict[str, Tensor]:
        """Return no entry, so that neither logs nor `evaluate` change."""
        return {}


@keras.saving.register_keras_serializable(package="keras_focal")
class AdaptiveBins(GammaRule):
    """A gamma for each bin of p_t, which `callbacks.AdaptiveGamma` moves after every epoch.

    gamma = gammas[b] where p_t falls in bin b, edges[b - 1] <= p_t < edges[b]. A gamma < 0 means
    the inverse focal loss -(1 + p_t)^|gamma| log p_t. It begins with `gamma` in bins of equal
    width; the callback sets the edges to those of bins of equal mass in the validation data. The
    config of a loss, and so a saved model, holds what the rule is at that time. The loss treats
    gamma as a constant in the derivative.

    Args:
        num_bins: Number of bins, >= 1.
        gamma: Number, or a list of one number for each bin, finite.
        edges: None, or the `num_bins` - 1 edges between the bins, in [0, 1], never falling.

    Raises:
        ValueError: If `num_bins` is not a whole number >= 1, a gamma is not finite, or the
            lengths do not match.

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
        self.state = BinState([0.0, *check_edges(edges, self.num_bins)], gammas)

    @property
    def gammas(self) -> list[float]:
        """The gamma of each bin now."""
        return ops.convert_to_numpy(self.state.gammas).tolist()

    @property
    def edges(self) -> list[float]:
        """The edges between the bins now."""
        return ops.convert_to_numpy(self.state.edges).tolist()[1:]

    def assign(self, gammas: Any, edges: Any) -> None:
        """Set the gamma of each bin and the edges between them, as `__init__` takes them."""
        self.state.gammas.assign(check_bin_gammas(gammas, self.num_bins))
        self.state.edges.assign([0.0, *check_edges(edges, self.num_bins)])

    def now(self) -> Callable[[Any], Any]:
        edges, gammas = (
            ops.stop_gradient(ops.convert_to_tensor(variable))
            for variable in (self.state.edges, self.state.gammas)
        )
        return BinnedGamma(edges, gammas)

    def __call__(self, p: Any) -> Any:
        return self.now()(p)

    def get_config(self) -> dict[str, Any]:
        return {"num_bins": self.num_bins, "gamma": self.gammas, "edges": self.edges}

    def __reduce__(self) -> tuple:
        return _rebuilt, (self.get_config(),)

    # Two rules that are equal now need not stay so.
    __eq__ = object.__eq__
    __hash__ = object.__hash__


def _rebuilt(config: dict[str, Any]) -> AdaptiveBins:
    return AdaptiveBins(**config)
