"""Two ways to divide predictions by their confidence: bins of equal width and of equal mass.

A partition says to which cells of a table a prediction adds, and reads its bins from the table.
The bins of equal mass move with the data, so they are cut from 8192 fine cells. Sums of 16 such
cells, and of 256, stand in the table beside them: an edge is found from the coarse to the fine, and
neither an update nor a reading visits all the cells.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from keras import ops

from keras_focal.functional._backend.precision import Tensor
from keras_focal.functional.calibration._bins import (
    LOGIT_CELLS,
    BinStatistics,
    Predictions,
    equal_width_bins,
    logit_cells,
)
from keras_focal.functional.calibration._sums import Sums

BRANCHES = 16
"""Cells of one level whose sum is one cell of the next."""

LARGEST_ROOT = 64
"""Most cells of a level that has no further one above it."""

Level = Callable[[Tensor], BinStatistics]
"""Reads the cells of one level that an index names, parts of the shape of the index."""


@dataclass(frozen=True)
class EqualWidth:
    """`num_bins` bins (a, b] of equal width in confidence; each is a cell."""

    num_bins: int

    @property
    def num_cells(self) -> int:
        return self.num_bins

    @property
    def num_finest(self) -> int:
        """Number of cells that divide the predictions; the others are sums of them."""
        return self.num_bins

    @property
    def cells_of_each(self) -> int:
        """Number of cells that a prediction adds to."""
        return 1

    def index(self, predictions: Predictions) -> Tensor:
        """Return the cells that each prediction adds to, int32, shape (..., cells_of_each)."""
        return ops.expand_dims(equal_width_bins(predictions.confidence, self.num_bins), -1)

    def bins(self, sums: Sums, start: int = 0) -> BinStatistics:
        """Return what each bin holds, parts of shape (num_bins,); cell 0 is row `start` of sums."""
        return sums.part(start, self.num_bins).statistics()


@dataclass(frozen=True)
class EqualMass:
    """`num_bins` bins of equal weight, cut from cells of equal width in the logit of confidence."""

    num_bins: int

    @property
    def level_sizes(self) -> list[int]:
        """Number of cells of each level, from the finest up; they follow each other as rows."""
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

    def index(self, predictions: Predictions) -> Tensor:
        cell, start, index = logit_cells(predictions), 0, []
        for size in self.level_sizes:
            index.append(cell + start)
            cell, start = cell // BRANCHES, start + size
        return ops.stack(index, axis=-1)

    def bins(self, sums: Sums, start: int = 0) -> BinStatistics:
        levels = []
        *sizes, root_size = self.level_sizes
        for size in sizes:
            levels.append(lambda index, start=start: sums.at(index + start).statistics())
            start += size
        return cut(levels, sums.part(start, root_size).statistics(), self.num_bins)


Partition = EqualWidth | EqualMass


def level_sizes(num_cells: int) -> list[int]:
    """Return the number of cells of each level, from the finest, `num_cells` or more, up."""
    depth = 0
    while num_cells > LARGEST_ROOT * BRANCHES**depth:
        depth += 1
    root = -(-num_cells // BRANCHES**depth)
    return [root * BRANCHES**power for power in range(depth, -1, -1)]


def cut(levels: Sequence[Level], root: BinStatistics, num_bins: int) -> BinStatistics:
    """Return bins of equal weight, cut from a tree of cells in order of confidence.

    A cell across an edge is divided in proportion, each part with the cell's own mean gap.

    Args:
        levels: From the finest up. Cell i of one holds the sums of cells 16 i to 16 i + 15 of the
            one below.
        root: The cells of the level above them all.
        num_bins: Number of bins, >= 1.
    """
    cells = ops.stack(root, axis=-1)
    edges = ops.sum(root.count) * ops.arange(num_bins, dtype=cells.dtype) / num_bins
    # The last bin takes all that is left, whatever the sum was rounded to.
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
    """Return bins of equal weight, cut from finer cells in order of confidence.

    A cell across an edge is divided in proportion, each part with the cell's own mean gap.
    Predictions of equal confidence share a cell, so their order never matters.

    Args:
        cells: BinStatistics in order of rising confidence.
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
    """Return the first of a row of cells at whose end the running weight reaches each edge.

    Args:
        edges: Weights, shape (edges,); one beyond all is reached by the last cell.
        before: Sums over all that comes before the row, shape (edges, 3).
        cells: Sums of the cells, shape (edges, cells, 3), or (1, cells, 3) for the same to all.

    Returns:
        The place of the cell in its row, int32, shape (edges,); the sums before it; its own.
    """
    size = cells.shape[1]
    ends = before[:, :1] + ops.cumsum(cells[..., 0], axis=1)
    place = ops.sum(ops.cast(ends < ops.expand_dims(edges, 1), "int32"), axis=1)
    place = ops.expand_dims(ops.clip(place, 0, size - 1), 1)
    positions = ops.arange(size, dtype="int32")
    is_before, is_it = (ops.expand_dims(x, -1) for x in (positions < place, positions == place))
    before = before + ops.sum(ops.where(is_before, cells, 0.0), axis=1)
    return place[:, 0], before, ops.sum(ops.where(is_it, cells, 0.0), axis=1)
