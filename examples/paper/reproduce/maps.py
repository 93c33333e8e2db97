"""Maps fitted on top of a training loss: does the loss still matter under the best of them?"""

import keras
import numpy as np
from keras import ops

from examples.paper.runs import Logits
from examples.paper.tables.measure import Figures, scores
from keras_focal.calibration import fit_map

MAPS = ("temperature", "vector", "structured_matrix", "isotonic", "auto")
"""Methods of `fit_map`. "auto" is the one with the least held-out NLL of the validation data."""

NO_MAP = "no map"


def under_maps(logits: Logits) -> dict[str, Figures]:
    """Return the figures of the test logits by map, "no map" first.

    Every map is fitted to the validation logits. All figures are NaN if training diverged.
    """
    labels, raw = logits.test_labels, logits.test_logits
    if not logits.finite:
        return dict.fromkeys((NO_MAP, *MAPS), scores(labels, np.full_like(raw, np.nan)))
    found = {NO_MAP: scores(labels, raw)}
    for method in MAPS:
        fit = fit_map(logits.val_logits, logits.val_labels, method, folds=5 * (method == "auto"))
        layer: keras.layers.Layer = fit.layer
        found[method] = scores(labels, ops.convert_to_numpy(layer(raw)).astype("float64"))
    return found
