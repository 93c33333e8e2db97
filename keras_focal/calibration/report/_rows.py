"""What single predictions come to, computed by the functions of the metrics."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_focal import functional
from keras_focal._temperature import grid_betas
from keras_focal.functional._backend.compilation import jitted
from keras_focal.functional.calibration._bins import (
    contributions,
    equal_width_bins,
    logit_cells,
    top_label,
)
from keras_focal.functional.calibration._scores import class_probabilities, class_targets


@dataclass(frozen=True)
class Settings:
    """What predictions are and how they are read.

    Attributes:
        num_bins: Number of bins of the errors.
        from_logits: Whether predictions are logits or probabilities.
        bounds: Least and greatest temperature.
        ignore_class: None, or the id of labels to leave out.
        multi_label: Whether every column is a prediction of its own, of two classes.
    """

    num_bins: int
    from_logits: bool
    bounds: tuple[float, float]
    ignore_class: int | None = None
    multi_label: bool = False

    @property
    def betas(self) -> np.ndarray:
        """1 / temperatures at which NLL is summed."""
        return grid_betas(*self.bounds)


class Amounts(NamedTuple):
    """What single predictions come to.

    Attributes:
        amounts: Weight, wrong weight and complement weight of the top label, shape (n, 3).
        bins: Bin of equal width, shape (n,).
        cells: Cell that bins of equal mass are cut from, shape (n,).
        brier: Brier score, shape (n,).
        targets: One-hot labels, shape (n, K).
        p: Probability of each class, shape (n, K).
        class_bins: Bin of each of them, shape (n, K).
    """

    amounts: Any
    bins: Any
    cells: Any
    brier: Any
    targets: Any
    p: Any
    class_bins: Any


def amounts_of(
    predictions: np.ndarray, labels: np.ndarray, settings: Settings, num_rows: int
) -> Amounts:
    """Return what predictions come to, as arrays; `num_rows` are computed."""
    count = len(labels)
    kernel = _kernel(settings.num_bins, settings.from_logits)
    more = (0, num_rows - count)
    found = kernel(np.pad(predictions, (more, (0, 0))), np.pad(labels, more))
    return Amounts(*(ops.convert_to_numpy(part)[:count] for part in found))


@cache
def _kernel(num_bins: int, from_logits: bool) -> Callable[..., Amounts]:
    def kernel(predictions: Any, labels: Any) -> Amounts:
        top = top_label(labels, predictions, from_logits=from_logits)
        p = class_probabilities(predictions, from_logits=from_logits)
        return Amounts(
            amounts=contributions(top, ops.ones_like(top.complement)),
            bins=equal_width_bins(top.confidence, num_bins),
            cells=logit_cells(top),
            brier=functional.brier_score(labels, predictions, from_logits=from_logits),
            targets=class_targets(labels, predictions.shape),
            p=p,
            class_bins=equal_width_bins(p, num_bins),
        )

    return jitted(kernel)
