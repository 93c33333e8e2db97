"""Lines that can be told apart without colour: each has its own dashes and its own grey."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from keras_focal._validation.gamma import check_gamma

# From dark to light, so that they differ in greyscale too. Their number and that of the dashes
# have no common factor: 20 lines before a pair comes again.
_COLORS = ("#14213d", "#b3361b", "#2f7fc1", "#e8973a")
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.4)), (0, (6, 1.6, 1.2, 1.6)), (0, (2.5, 1.2)))


def line_look(index: int) -> dict[str, Any]:
    """Return the arguments of `plot` for the index-th line of a picture."""
    return {
        "color": _COLORS[index % len(_COLORS)],
        "linestyle": _DASHES[index % len(_DASHES)],
        "linewidth": 1.8,
    }


def check_gammas(gammas: Any) -> list[float]:
    """Return one or more focusing exponents as floats."""
    is_list = isinstance(gammas, Iterable) and not isinstance(gammas, str | bytes | dict)
    values = list(gammas) if is_list and np.ndim(gammas) else []
    if not values:
        raise ValueError(
            f"`gammas` must be a list of one or more numbers >= 0. Received: gammas={gammas!r}. "
            "For one line give a list of one, such as [2.0]."
        )
    return [check_gamma("gammas", value) for value in values]
