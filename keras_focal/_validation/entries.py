"""Rules for the entries of predictions and sample weights."""

from typing import Any

import numpy as np


def check_probabilities(
    name: str,
    low: np.ndarray,
    high: np.ndarray,
    total: np.ndarray,
    weight: np.ndarray,
    *,
    is_binary: bool,
    tolerance: float,
) -> None:
    """Raise unless rows are probabilities. Rows that are not finite or have weight 0 pass.

    Args:
        name: Name of the argument.
        low: Smallest entry of each row, of any shape.
        high: Largest entry of each row.
        total: Sum of each row.
        weight: Weight of each row.
        is_binary: Whether a row is one probability, of the positive class.
        tolerance: How far an entry may lie outside [0, 1], and a sum from 1.
    """
    is_inside = (low >= -tolerance) & (high <= 1.0 + tolerance)
    is_sum = (np.abs(total - 1.0) <= tolerance) | is_binary
    # On torch, Keras infers shapes with ones in place of predictions.
    if np.all(is_inside & is_sum) or np.all((low == 1.0) & (high == 1.0)):
        return
    # A NaN shows in the sum, an infinity in the extremes.
    counts = np.isfinite(low) & np.isfinite(high) & ~np.isnan(total) & (weight != 0)
    for is_right, rule in ((is_inside, "in [0, 1]"), (is_sum, "rows that sum to 1")):
        is_bad = counts & ~is_right
        if not is_bad.any():
            continue
        index = np.unravel_index(is_bad.argmax(), is_bad.shape)
        row = f"{low[index]:g}"
        if not is_binary:
            row = f"entries from {low[index]:g} to {high[index]:g} with sum {total[index]:g}"
        place = ", ".join(map(str, index))
        raise probability_error(
            name, rule, f"{row} in row [{place}]", "sigmoid" if is_binary else "softmax"
        )


def probability_error(name: str, rule: str, received: str, last: str) -> ValueError:
    """Return the error for predictions that are not probabilities."""
    return ValueError(
        f"`{name}` must hold probabilities, {rule}. Received: {received}. For logits pass "
        f"from_logits=True, or end the model in a {last} layer."
    )


def check_weights(name: str, weights: Any) -> None:
    """Raise unless weights are finite and >= 0."""
    is_bad = ~((weights >= 0) & (weights < np.inf))
    if is_bad.any():
        raise ValueError(
            f"`{name}` must hold finite numbers >= 0. Received: {weights[is_bad].flat[0]:g}"
            f"{place_of(is_bad)}. Weight 0 leaves an entry out."
        )


def place_of(is_bad: np.ndarray) -> str:
    """Return " at [i, j]", the place of the first true entry."""
    if not is_bad.ndim:
        return ""
    index = np.unravel_index(is_bad.argmax(), is_bad.shape)
    return f" at [{', '.join(map(str, index))}]"
