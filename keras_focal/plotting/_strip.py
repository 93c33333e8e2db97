"""A strip of axes in the lower part of others, which are made lower by as much."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

_STRIP, _GAP = 0.19, 0.05
"""Height of the strip and of the gap above it, over the height of the place of the axes."""


def strip_below(ax: "Axes") -> "Axes":
    """Make axes lower and return a strip below them, with the same horizontal axis.

    Both together take the place that the axes had, so that nothing is cut off that was not before,
    with any layout engine and with none.
    """
    ax.set_axes_locator(_UpperPart(ax))
    height = 1.0 - _STRIP - _GAP
    place = (0.0, -(_STRIP + _GAP) / height, 1.0, _STRIP / height)
    strip = ax.inset_axes(place, sharex=ax)
    strip.locator_params(axis="y", nbins=3)
    ax.tick_params(labelbottom=False)
    strip.tick_params(labelbottom=True)
    return strip


class _UpperPart:
    """Places axes in the upper part of where they would be, as matplotlib's axes locators do."""

    def __init__(self, ax: "Axes"):
        self._locate = ax.get_axes_locator()
        self.get_subplotspec = ax.get_subplotspec  # which tight_layout asks for

    def __call__(self, ax: Any, renderer: Any) -> "Bbox":
        from matplotlib.transforms import Bbox

        whole = ax.get_position(original=True)
        if self._locate is not None:
            whole = self._locate(ax, renderer)
        low = whole.y0 + (_STRIP + _GAP) * whole.height
        return Bbox.from_extents(whole.x0, low, whole.x1, whole.y1)
