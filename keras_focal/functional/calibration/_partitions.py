"""Two ways to bin predictions by confidence: bins of equal width and bins of equal mass.

A partition maps each prediction to cells of a table of sums, and reads its bins from that table.
Bins of equal mass depend on the data, so they are assembled from 8192 fine cells. The table also
stores the sums of 16 and of 256 neighbouring cells: an edge is located from coarse to fine, so that
neither an update nor a reading visits all cells.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from keras import ops

from keras_focal._typing import Tensor
from keras_focal.functional.calibration._bins import (
    LOGIT_CELLS,
    BinStatistics,
    Predictions,
    equal_width_bins,
    logit_cells,
)
from keras_focal.functional.calibration._sums import Sums

BRANCHES = 16
"""Number of cells of one level that make up a cell of the next."""

LARGEST_ROOT = 64
"""Largest number of cells of the top level."""

Level = Callable[[Tensor], BinStatistics]
"""Function from indices of cells of one level to their sums, of the shape of the indices."""


@dataclass(frozen=True)
class EqualWidth:
    """`num_bins` bins (a, b] of equal width in confidence; each is a cell."""

    num_bins: int

    @property
    def num_cells(self) -> int:
        return self.num_bins

    @property
    def num_finest(self) -> int:
        """Number of finest cells; the others hold sums of them."""
        return self.num_bins

    @property
    def cells_of_each(self) -> int:
        """Number of cells that a prediction adds to."""
        return 1

    def finest(self, predictions: Predictions) -> Tensor:
        """Return the finest cell of each prediction, int32, shape (...)."""
        return equal_width_bins(predictions.confidence, self.num_bins)

    def index(self, predictions: Predictions) -> Tensor:
        """Return the cells that each prediction adds to, int32, shape (..., cells_of_each)."""
        return ops.expand_dims(self.finest(predictions), -1)

    def completed(self, cells: Tensor) -> Tensor:
        """Return sums of all cells, shape (num_cells, ...), from those of the finest."""
        return cells

    def bins(self, sums: Sums, start: int = 0) -> BinStatistics:
        """Return the bins, parts of shape (num_bins,); cell 0 is row `start` of the sums."""
        return sums.part(start, self.num_bins).statistics()


@dataclass(frozen=True)
class EqualMass:
    """`num_bins` bins of equal weight, made of cells of equal width in the logit of confidence."""

    num_bins: int

    @property
    def level_sizes(self) -> list[int]:
        """Number of cells of each level, from the finest up, in the order of their rows."""
        return level_sizes(LOGIT_CELLS)

    @property
    def num_cells(self) -> int:
        return sum(self.level_sizes)

    @property
    def num_finest(self) -> int:
        return LOGIT_CELLS

    @property
    def cells_of_each(self) -> int:
        return len(self.level_sizes)

    def finest(self, predictions: Predictions) -> Tensor:
        return logit_cells(predictions)

    def index(self, predictions: Predictions) -> Tensor:
        cell, start, index = self.finest(predictions), 0, []
        for size in self.level_sizes:
            index.append(cell + start)
            cell, start = cell // BRANCHES, start + size
        return ops.stack(index, axis=-1)

    def completed(self, cells: Tensor) -> Tensor:
        levels = [cells[: self.num_finest]]
        for size in self.level_sizes[1:]:
            branches = ops.reshape(levels[-1], (size, BRANCHES, *cells.shape[1:]))
            levels.append(ops.sum(branches, axis=1))
        return ops.concatenate(levels, axis=0)

    def bins(self, sums: Sums, start: int = 0) -> BinStatistics:
        levels = []
        *sizes, root_size = self.level_sizes
        for size in sizes:
            levels.append(lambda index, start=start: sums.at(index + start).statistics())
            start += size
        return cut(levels, sums.part(start, root_size).statistics(), self.num_bins)


Partition = EqualWidth | EqualMass


def level_sizes(num_cells: int) -> list[int]:
    """Return the number of cells of each level, from the finest (at least `num_cells`) up."""
    depth = 0
    while num_cells > LARGEST_ROOT * BRANCHES**depth:
        depth += 1
    root = -(-num_cells // BRANCHES**depth)
    return [root * BRANCHES**power for power in range(depth, -1, -1)]


def cut(levels: Sequence[Level], root: BinStatistics, num_bins: int) -> BinStatistics:
    """Return bins of equal weight from a tree of cells in order of confidence.

    A cell that contains an edge is divided in proportion; each part keeps the mean gap of the cell.

    Args:
        levels: Levels from the finest up. Cell i of a level holds the sums of cells 16 i to
            16 i + 15 of the level below.
        root: The cells of the top level.
        num_bins: Number of bins, >= 1.
    """
    cells = ops.stack(root, axis=-1)
    edges = ops.sum(root.count) * ops.arange(num_bins, dtype=cells.dtype) / num_bins
    # The last bin takes everything that is left, whatever the rounding of the sum.
    edges = ops.concatenate([edges, ops.full((1,), float("inf"), dtype=cells.dtype)])
    before = ops.zeros((num_bins + 1, 3), dtype=cells.dtype)
    parent, before, cell = _reach(edges, before, ops.expand_dims(cells, 0))
    for level in reversed(levels):
        index = ops.expand_dims(parent, 1) * BRANCHES + ops.arange(BRANCHES, dtype="int32")
        child, before, cell = _reach(edges, before, ops.stack(level(index), axis=-1))
        parent = parent * BRANCHES + child
    share = ops.clip(ops.divide_no_nan(edges - before[:, 0], cell[:, 0]), 0.0, 1.0)
    cumulative = before + ops.expand_dims(share, 1) * cell
    bins = cumulative[1:] - cumulative[:-1]
    return BinStatistics(bins[:, 0], bins[:, 1], bins[:, 2])


def equal_mass_bins(cells: BinStatistics, num_bins: int) -> BinStatistics:
    """Return bins of equal weight from finer cells in order of confidence.

    A cell that contains an edge is divided in proportion; each part keeps the mean gap of the cell.
    Predictions of equal confidence share a cell, so their order does not matter.

    Args:
        cells: BinStatistics in order of increasing confidence.
        num_bins: Number of bins, >= 1.
    """
    finest, *sizes = level_sizes(cells.count.shape[0])
    padding = finest - cells.count.shape[0]
    cells = BinStatistics(*(ops.pad(part, (0, padding)) for part in cells))
    levels: list[Level] = []
    for size in sizes:
        levels.append(partial(_take, cells))
        cells = BinStatistics(
            *(ops.sum(ops.reshape(part, (size, BRANCHES)), axis=1) for part in cells)
        )
    return cut(levels, cells, num_bins)


def _take(cells: BinStatistics, index: Tensor) -> BinStatistics:
    return BinStatistics(*(ops.take(part, index) for part in cells))


def _reach(edges: Tensor, before: Tensor, cells: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return, for each edge, the first cell of a row where the cumulative weight reaches it.

    Args:
        edges: Cumulative weights, shape (edges,). The last cell reaches any edge beyond the total.
        before: Sums over all cells before the row, shape (edges, 3).
        cells: Sums of the cells, shape (edges, cells, 3), or (1, cells, 3) for one row for all.

    Returns:
        Index of the cell in its row, int32, shape (edges,); the sums before it; its own sums.
    """
    size = cells.shape[1]
    ends = before[:, :1] + ops.cumsum(cells[..., 0], axis=1)
    place = ops.sum(ops.cast(ends < ops.expand_dims(edges, 1), "int32"), axis=1)
    place = ops.expand_dims(ops.clip(place, 0, size - 1), 1)
    positions = ops.arange(size, dtype="int32")
    is_before, is_own = (ops.expand_dims(x, -1) for x in (positions < place, positions == place))
    before = before + ops.sum(ops.where(is_before, cells, 0.0), axis=1)
    return place[:, 0], before, ops.sum(ops.where(is_own, cells, 0.0), axis=1)
