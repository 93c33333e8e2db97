"""Rules for gamma: one number, one for each bin, and the bounds between which it may move."""

from typing import Any

import numpy as np

from keras_focal._validation.numbers import (
    as_floats,
    check_at_least,
    check_bounds,
    check_pair,
    check_real,
    check_that,
)

_USUAL = "0 gives cross-entropy, 1 to 5 are usual."


def check_gamma(name: str, value: Any, *, signed: bool = False) -> float:
    """Return the exponent of a loss as a finite float, >= 0 unless `signed`."""
    if signed:
        return check_real(name, value, "a finite number", lambda _: True, _USUAL)
    return check_at_least(name, value, 0, _USUAL)


def check_posterior_gamma(name: str, value: Any) -> float:
    """Return the gamma of the map to the class posterior as a finite float > -1."""
    fix = "Give the gamma of the loss, such as 2."
    return check_real(name, value, "a finite number > -1", lambda x: x > -1, fix)


def check_gamma_bounds(bounds: Any) -> tuple[float, float]:
    """Return (low, high) as floats, -1 < low <= 0 < high."""
    return check_pair(
        "gamma_bounds",
        bounds,
        "-1 < low <= 0 < high",
        lambda low, high: -1 < low <= 0 < high,
        "Leave it out for (-0.9, 10).",
    )


def check_switch_bounds(low: Any, high: Any, switch: float) -> tuple[float, float]:
    """Return bounds of gamma as floats: low < high, neither within `switch` of 0."""
    ends = check_bounds(low, high)
    if min(map(abs, ends)) < switch:
        raise ValueError(
            f"`low` and `high` must not be within `switch` of 0. Received: low={low!r}, "
            f"high={high!r}, switch={switch:g}. Use low={-switch:g} or less to allow the inverse "
            f"focal loss, or low={switch:g} or more to rule it out."
        )
    return ends


def check_bin_gammas(value: Any, num_bins: int) -> list[float]:
    """Return a finite gamma for each bin, from one number or a list of them."""
    array = as_floats(value)
    fits = array.shape in ((), (num_bins,)) and bool(np.all(np.isfinite(array)))
    check_that(
        "gamma",
        value,
        f"a finite number or a list of {num_bins}, one for each bin",
        fits,
        "Start with 1; a negative gamma selects the inverse focal loss.",
    )
    return [float(gamma) for gamma in np.broadcast_to(array, (num_bins,))]


def check_edges(value: Any, num_bins: int) -> list[float]:
    """Return the edges between `num_bins` bins of [0, 1] as floats."""
    array = as_floats(value)
    fits = array.shape == (num_bins - 1,)
    fits = fits and bool(np.all((array >= 0) & (array <= 1)) and np.all(np.diff(array) >= 0))
    check_that(
        "edges",
        value,
        f"{num_bins - 1} non-decreasing numbers in [0, 1] for {num_bins} bins",
        fits,
        "Leave it out for bins of equal width.",
    )
    return [float(edge) for edge in array]
