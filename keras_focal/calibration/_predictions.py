"""Whether predictions are logits or probabilities, and from the one to the other."""

import warnings

import numpy as np
from keras import ops

from keras_focal import functional


def check_predictions(predictions: np.ndarray, from_logits: bool) -> None:
    """Raise unless predictions are what `from_logits` says they are."""
    if not np.all(np.isfinite(predictions)):
        return  # `fit_temperature` says where
    in_range = bool(np.all((predictions >= 0) & (predictions <= 1 + 1e-3)))
    is_binary = predictions.shape[-1] == 1
    sums_to_one = is_binary or bool(np.all(np.abs(predictions.sum(axis=-1) - 1) < 0.05))
    if not from_logits and not (in_range and sums_to_one):
        raise ValueError(
            "`from_logits` must say what the model gives. Received: from_logits=False for outputs "
            f"from {predictions.min():.4g} to {predictions.max():.4g} that are not probabilities. "
            "If the model gives logits, pass from_logits=True."
        )
    if from_logits and in_range and sums_to_one:
        message = (
            "`from_logits` must say what the model gives. Received: from_logits=True for outputs "
            "that all look like probabilities. If the model ends in softmax or sigmoid, pass "
            "from_logits=False."
        )
        if is_binary:
            warnings.warn(message, stacklevel=3)
        else:
            raise ValueError(message)


def logits_of(probabilities: np.ndarray) -> np.ndarray:
    """Return `functional.logits_of` probabilities, on the host."""
    return ops.convert_to_numpy(functional.logits_of(probabilities))
