"""Bounds of a temperature, and what it means that one was met."""

from collections.abc import Iterable
from typing import Any

BOUNDS = (1e-3, 1e3)
"""Temperatures within which the best is sought."""


def bound_message(temperature: float, low: float, found: str = "") -> str:
    """Return why a temperature is a bound, in words, of what was looked at."""
    is_low = temperature == low
    place = f"The temperature lies at its {'lower' if is_low else 'upper'} bound {temperature:g}: "
    if is_low and found == "separable":
        return place + (
            "every held-out prediction is right (the data are separable), so no temperature above "
            '0 is best. Use more held-out data, or criterion="ece".'
        )
    if is_low:
        return place + (
            "the likelihood still increases there. The logits are very small, or nearly every "
            "prediction is right: check their scale, lower the bound, or use more held-out data."
        )
    if found == "nothing":
        return place + (
            "the logits carry no information about the labels: on average the logit of the label "
            "is no larger than those of the other classes. Check that labels and logits are in the "
            "same order."
        )
    return place + (
        "the likelihood still increases there. The logits are very large, or they carry hardly any "
        "information about the labels: check their scale and order, or raise the bound."
    )


def reasons(fits: Iterable[Any]) -> list[str]:
    """Return why fits have no best parameters, each reason once."""
    return [*dict.fromkeys(fit.reason for fit in fits if fit.reason)]
