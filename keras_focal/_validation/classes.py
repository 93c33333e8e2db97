"""Rules for classes: their ids, their weights and how many samples they have."""

from typing import Any

import numpy as np

from keras_focal._validation.numbers import as_floats, check_that, check_whole


def check_class_id(name: str, value: Any) -> int | None:
    """Return a class id as an int, or None."""
    if value is None:
        return None
    fix = "Give the id that marks entries to leave out, such as 255."
    return check_whole(name, value, "a whole number or None", lambda _: True, fix)


def check_one_class(name: str, value: Any, num_classes: int | None = None) -> int:
    """Return the id of a class as an int, in [0, `num_classes`) where their number is known."""
    bound = "" if num_classes is None else f" and < {num_classes}, the number of classes"
    return check_whole(
        name,
        value,
        f"a whole number >= 0{bound}",
        lambda x: x >= 0 and (num_classes is None or x < num_classes),
        "1 is the positive class of two.",
    )


def check_alpha(value: Any, largest: float | None = None) -> float | list[float] | None:
    """Return class weights as None, a float or a list of floats, each in [0, `largest`]."""
    if value is None:
        return None
    array = as_floats(value)
    fits = array.ndim <= 1 and array.size > 0 and bool(np.all(np.isfinite(array) & (array >= 0)))
    bound = ""
    if largest is not None:
        fits = fits and bool(np.all(array <= largest))
        bound = f" and <= {largest:g}"
    check_that(
        "alpha",
        value,
        f"None, a number >= 0{bound}, or a list of K such numbers",
        fits,
        "It weights the classes; leave it out to weight them equally.",
    )
    return float(array) if array.ndim == 0 else [float(weight) for weight in array]


def check_alpha_length(alpha: Any, num_classes: int) -> None:
    """Raise unless a list of class weights has one entry per class."""
    if isinstance(alpha, list) and len(alpha) != num_classes:
        raise ValueError(
            f"`alpha` must have one weight per class. Received: {len(alpha)} weights for "
            f"{num_classes} classes. Give a list of {num_classes} numbers, or one number."
        )


def check_class_counts(name: str, value: Any) -> list[float]:
    """Return numbers of samples per class as a list of floats, each finite and > 0."""
    array = as_floats(value)
    fits = array.ndim == 1 and array.size > 0 and bool(np.all(np.isfinite(array) & (array > 0)))
    fix = "Leave out a class without samples, or give it the count 1."
    check_that(name, value, "a list of one number > 0 for each class", fits, fix)
    return [float(count) for count in array]
