"""Refinement error: the NLL that is left at the best temperature."""

from collections.abc import Callable
from functools import cache
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_focal._temperature import LikelihoodSums, grid_betas, least_nll
from keras_focal._typing import DType, Tensor
from keras_focal._validation.maps import check_temperature_bounds
from keras_focal.functional._backend.compilation import jitted, without_autograph
from keras_focal.functional._inputs.entries import Entries
from keras_focal.functional._inputs.weights import align_weights, effective_weights
from keras_focal.functional.calibration._tempered import (
    Standing,
    least_tempered,
    standing_of,
    tempered_sums,
)
from keras_focal.metrics._totals import Totalled


@keras.saving.register_keras_serializable(package="keras_focal")
class RefinementError(Totalled):
    """Refinement error: the negative log-likelihood (NLL) after temperature scaling, in nats.

    NLL is the sum of a calibration error, which a temperature fitted after training removes, and
    of this rest, which it cannot. The metric sums NLL, its slope and its curvature at temperatures
    four an octave apart, from which the best temperature and its NLL follow without another pass
    over the data. `callbacks.RefinementStopping` stops training on it.

    Args:
        from_logits: Whether predictions are logits (True) or probabilities. A probability of 0
            counts as 2**-126; prefer logits.
        ignore_class: None, or the class id of predictions to leave out.
        multi_label: Whether the last axis of the predictions holds independent labels, each with a
            sigmoid. `y_true` then has the shape of `y_pred`, with entries 0 and 1, and all labels
            share one temperature.
        bounds: Smallest and largest temperature. If the best one lies beyond, the NLL is that at
            the bound.
        name: Name in the logs.
        dtype: Dtype of the result, float32 by default.
        axis: The class axis of the predictions.
        skip_invalid: Whether to leave out invalid entries and count them in `invalid_count`. By
            default an invalid entry makes the result NaN, and eager calls raise an error.

    Raises:
        ValueError: If `bounds` are not two temperatures in order, or `axis` is given with
            `multi_label`.

    Example:
        >>> import keras_focal
        >>> metric = keras_focal.metrics.RefinementError(from_logits=True)
        >>> metric.update_state([0, 0, 1, 1], [[4.0, 0.0]] * 3 + [[0.0, 4.0]])
        >>> round(float(metric.result()), 4), round(metric.temperature, 4)
        (0.5623, 3.641)

    Source:
        Berta et al., 2025, "Rethinking Early Stopping: Refine, Then Calibrate", section 4.
    """

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        multi_label: bool = False,
        bounds: tuple[float, float] = (0.05, 20.0),
        name: str = "refinement",
        dtype: DType | None = None,
        *,
        axis: int = -1,
        skip_invalid: bool = False,
    ):
        if multi_label and axis != -1:
            raise ValueError(
                f"`axis` must be -1 with multi_label=True. Received: axis={axis}. Labels that are "
                "independent have no class axis: leave it out."
            )
        self.multi_label = bool(multi_label)
        self.bounds = check_temperature_bounds(bounds)
        self._betas = grid_betas(*self.bounds)
        num_totals = 2 + 3 * len(self._betas)
        super().__init__(num_totals, from_logits, ignore_class, name, dtype, axis, skip_invalid)

    @without_autograph
    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        """Accumulate predictions, as the other metrics do; with `multi_label`, of single labels."""
        # A single column is one label in any case.
        if self.multi_label and len(y_pred.shape) > 1 and y_pred.shape[-1] != 1:
            y_pred, sample_weight = _by_label(y_pred, sample_weight)
        super().update_state(y_true, y_pred, sample_weight)

    def _batch(self, entries: Entries) -> Tensor:
        standing = standing_of(entries, self._betas[0], from_logits=self.from_logits)
        weights = ops.reshape(entries.weights, (-1,))
        is_kept = self._counted(ops.isfinite(standing.cost), weights)
        behind, *costs = standing
        kept = Standing(
            ops.where(ops.expand_dims(is_kept, -1), behind, 0.0),
            *(ops.where(is_kept, part, 0.0) for part in costs),
        )
        return _kernels(self.bounds)[0](kept, ops.where(is_kept, weights, 0.0))

    def _numbers(self) -> tuple[Any, Tensor]:
        totals = self._totals().value
        return _kernels(self.bounds)[1](totals), totals[0]

    @property
    def temperature(self) -> float:
        """The temperature with the smallest NLL; 1 before any prediction, NaN if one is invalid."""
        return self.best[1]

    @property
    def best(self) -> tuple[float, float]:
        """The smallest NLL and its temperature, read on the host and computed in float64."""
        high, low = (ops.convert_to_numpy(part).astype("float64") for part in self._totals())
        sums = LikelihoodSums(self._betas, high + low)
        if self.invalid_count and not (self.skip_invalid and sums.weight):
            return np.nan, np.nan
        if not sums.weight:
            return 0.0, 1.0
        smallest, largest = self.bounds
        at, is_bound = least_nll(sums, sums.at(1.0), 1.0 / largest, 1.0 / smallest)
        found = 1.0 / at.beta
        if is_bound:
            found = min(self.bounds, key=lambda bound: abs(bound - found))
        return at.nll, found

    @property
    def _layout(self) -> Any:
        return {"bounds": self.bounds, "multi_label": self.multi_label}

    def get_config(self) -> dict[str, Any]:
        config = {"multi_label": self.multi_label, "bounds": list(self.bounds)}
        return {**super().get_config(), **config}


@cache
def _kernels(bounds: tuple[float, float]) -> tuple[Callable, Callable]:
    """Return the functions from predictions to sums, and from sums to the least NLL."""
    betas = grid_betas(*bounds)

    def sums(standing: Standing, weights: Tensor) -> Tensor:
        return tempered_sums(standing, weights, betas)

    def least(totals: Tensor) -> Tensor:
        return least_tempered(totals, betas, bounds)

    return jitted(sums), jitted(least)


def _by_label(y_pred: Tensor, sample_weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return predictions (..., K, 1) of single labels, and weights (..., K) with the mask."""
    predictions = ops.convert_to_tensor(y_pred)
    weights = ops.ones_like(predictions, dtype="float32")
    if sample_weight is not None:
        sample_weight = ops.convert_to_tensor(sample_weight, dtype="float32")
        weights = weights * align_weights(sample_weight, weights)
    # A masked label has weight 0 even if the given weight is NaN.
    is_masked = ops.equal(ops.expand_dims(effective_weights(y_pred, None), -1), 0.0)
    return ops.expand_dims(predictions, -1), ops.where(is_masked, 0.0, weights)
