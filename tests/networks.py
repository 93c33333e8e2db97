"""What tests of calibrated models share: predictions, and labels that models are too sure of."""

import keras
import numpy as np
from keras import ops


def predict(model, x):
    """Return what a model gives as arrays, in the structure of its outputs."""
    return keras.tree.map_structure(ops.convert_to_numpy, model(x))


def noisy_labels(logits, rng, temperature=3.0):
    """Return class ids drawn from softmax(logits / temperature); of one column, 0 or 1."""
    scaled = np.asarray(logits, "float64") / temperature
    if scaled.shape[-1] == 1:
        scaled = np.concatenate([np.zeros_like(scaled), scaled], axis=-1)
    return (scaled + rng.gumbel(size=scaled.shape)).argmax(axis=-1)
