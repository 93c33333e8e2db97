"""AdaFocal: a gamma for each bin of p_t, updated from the calibration on the validation data.

Bins have equal mass in the validation data. Gamma increases in bins where the model is
over-confident and decreases where it is under-confident. Below a threshold it becomes the exponent
of the inverse focal loss -(1 + p)^|gamma| log p, written as a gamma < 0 (docs/maths.md, G7 and G8).
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_focal._typing import Tensor
from keras_focal.functional._backend.precision import to_float
from keras_focal.functional.calibration._bins import BinStatistics, confidence_at_cell
from keras_focal.functional.calibration._partitions import equal_mass_bins


@dataclass(frozen=True)
class BinnedGamma:
    """A piecewise constant function from a probability to the gamma of its bin.

    Attributes:
        edges: Lower edge of each bin, increasing, shape (bins,). Probabilities below the first edge
            belong to the first bin.
        gammas: Gamma of each bin, of any sign, shape (bins,).
    """

    edges: Tensor
    gammas: Tensor

    is_signed: ClassVar[bool] = True

    def __call__(self, p: Tensor) -> Tensor:
        """Return the gamma of each p: that of bin b where edges[b] <= p < edges[b + 1].

        NaN where p is NaN.
        """
        p = ops.stop_gradient(to_float(p))
        edges = ops.cast(self.edges, p.dtype)
        above = ops.searchsorted(edges, ops.reshape(p, (-1,)), side="right")
        bins = ops.clip(ops.cast(above, "int32") - 1, 0, edges.shape[0] - 1)
        gammas = ops.take(ops.cast(self.gammas, p.dtype), bins)
        return ops.reshape(gammas, ops.shape(p)) + 0.0 * p


class BinGaps(NamedTuple):
    """The calibration of each bin of equal mass on the validation data.

    Attributes:
        edges: Lower edge of each bin, the first 0, float64, shape (bins,).
        gaps: Mean confidence minus accuracy in each bin, float64, shape (bins,).
    """

    edges: np.ndarray
    gaps: np.ndarray


def bin_gaps(cells: BinStatistics, num_bins: int) -> BinGaps | None:
    """Return the edges and gaps of bins of equal mass; None if the cells are empty.

    Args:
        cells: BinStatistics of the cells of `logit_cells`, such as a metric's
            `equal_mass_cells()`.
        num_bins: Number of bins, >= 1.
    """
    counts = ops.convert_to_numpy(cells.count).astype("float64")
    ends = counts.cumsum()
    if ends[-1] == 0:
        return None
    targets = ends[-1] * np.arange(1, num_bins) / num_bins
    place = np.searchsorted(ends, targets)
    share = (targets - (ends[place] - counts[place])) / counts[place]
    edges = confidence_at_cell(place + share, len(counts))
    bins = equal_mass_bins(cells, num_bins)
    count, gap = (ops.convert_to_numpy(part).astype("float64") for part in (bins.count, bins.gap))
    return BinGaps(np.append(0.0, edges), gap / count)


def adapted_gammas(
    gammas: ArrayLike,
    gaps: ArrayLike,
    *,
    rate: float = 1.0,
    low: float = -2.0,
    high: float = 20.0,
    switch: float = 0.2,
) -> np.ndarray:
    """Return the gammas of the next epoch of AdaFocal.

    gamma exp(rate gap) for gamma > 0 and gamma exp(-rate gap) for gamma < 0: over-confidence
    increases a focal gamma and shrinks an inverse one. A gamma closer to 0 than `switch` becomes
    `switch` with the opposite sign. Finally, all are clipped to [low, high].

    Args:
        gammas: Gamma of each bin, of any sign, shape (bins,).
        gaps: Mean confidence minus accuracy of each bin, shape (bins,).
        rate: The step size, lambda in the paper, >= 0.
        low: Smallest gamma.
        high: Largest gamma.
        switch: Size of gamma below which the loss switches between focal and inverse focal, > 0.

    Returns:
        float64 NumPy array, shape (bins,).

    Example:
        >>> from keras_focal import functional
        >>> gammas = functional.adapted_gammas([1.0, 1.0, 0.21], [0.2, -0.2, -0.2])
        >>> [round(float(gamma), 4) for gamma in gammas]
        [1.2214, 0.8187, -0.2]

    Source:
        Ghosh et al., 2022, section 5, the gamma update of AdaFocal.
    """
    gammas, gaps = np.asarray(gammas, "float64"), np.asarray(gaps, "float64")
    is_focal = gammas > 0
    gammas = gammas * np.exp(np.where(is_focal, rate, -rate) * gaps)
    crosses = np.abs(gammas) < switch
    gammas = np.where(crosses, np.where(is_focal, -switch, switch), gammas)
    return np.clip(gammas, low, high)
