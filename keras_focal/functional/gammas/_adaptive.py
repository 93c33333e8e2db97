"""AdaFocal: gammas by bin of p_t, moved by what validation says of each bin.

Bins are of equal mass in the validation data. The gamma of a bin where the model is over-confident
grows, of one where it is under-confident falls, and below a threshold turns into the exponent of
the inverse focal loss -(1 + p)^|gamma| log p, written as a gamma < 0 (docs/maths.md, G5 to G7).
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from keras import ops

from keras_focal.functional._backend.precision import Tensor, to_float
from keras_focal.functional.calibration._bins import BinStatistics, confidence_at_cell
from keras_focal.functional.calibration._partitions import equal_mass_bins


@dataclass(frozen=True)
class BinnedGamma:
    """The gamma of the bin that a probability falls in, a function of the probability.

    Attributes:
        edges: Lower edge of each bin, rising, shape (bins,). What lies below the first is in the
            first bin.
        gammas: Gamma of each bin, of any sign, shape (bins,).
    """

    edges: Tensor
    gammas: Tensor

    is_signed: ClassVar[bool] = True

    def __call__(self, p: Tensor) -> Tensor:
        """Return the gamma of each p: that of bin b where edges[b] <= p < edges[b + 1]."""
        p = to_float(p)
        edges = ops.cast(self.edges, p.dtype)
        above = ops.searchsorted(edges, ops.reshape(p, (-1,)), side="right")
        bins = ops.clip(ops.cast(above, "int32") - 1, 0, edges.shape[0] - 1)
        return ops.reshape(ops.take(ops.cast(self.gammas, p.dtype), bins), ops.shape(p))


class BinGaps(NamedTuple):
    """What validation says of each bin of equal mass.

    Attributes:
        edges: Lower edge of each bin, the first 0, float64, shape (bins,).
        gaps: Mean confidence minus accuracy in each bin, float64, shape (bins,).
    """

    edges: np.ndarray
    gaps: np.ndarray


def bin_gaps(cells: BinStatistics, num_bins: int) -> BinGaps | None:
    """Return edges and gaps of bins of equal mass; None where the cells hold nothing.

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
    gammas: Any,
    gaps: Any,
    *,
    rate: float = 1.0,
    low: float = -2.0,
    high: float = 20.0,
    switch: float = 0.2,
) -> np.ndarray:
    """Return the gammas of the next epoch.

    gamma exp(rate gap) for gamma > 0 and gamma exp(-rate gap) for gamma < 0: over-confidence makes
    a focal gamma grow and an inverse one shrink. What comes closer to 0 than `switch` becomes
    `switch` with the other sign. Then all are held to [low, high].

    Args:
        gammas: Gamma of each bin, of any sign, shape (bins,).
        gaps: Mean confidence minus accuracy of each bin, shape (bins,).
        rate: lambda of the paper, >= 0: how fast gammas move.
        low: Least gamma.
        high: Greatest gamma.
        switch: Size of gamma below which focal and inverse focal loss change places, > 0.

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
