"""Why a map has no best parameters, in words."""

import numpy as np

from keras_focal.calibration.maps._sample import Sample

WEAKLY_HELD = "A weak penalty determines them: use more held-out data."

RIGHT = f"it makes every held-out prediction right (the data are separable). {WEAKLY_HELD}"


def absent_classes(sample: Sample) -> str:
    """Return that classes have no label, or nothing."""
    absent = np.setdiff1d(np.arange(sample.given.shape[1]), sample.labels).tolist()
    if not absent:
        return ""
    listed = ", ".join(map(str, absent[:5])) + (", ..." if absent[5:] else "")
    return f"there are no labels of class {listed}. {WEAKLY_HELD}"


def separated_classes(sample: Sample, log_odds: np.ndarray, classes: range, thresholds: int) -> str:
    """Return that thresholds on its log-odds separate a class from the rest, or nothing."""
    for k in classes:
        is_own = sample.labels == k
        order = np.lexsort((is_own, log_odds[:, k]))
        along, own = log_odds[order, k], is_own[order]
        turns = np.flatnonzero(own[1:] != own[:-1])
        if len(turns) <= thresholds and np.all(along[turns] < along[turns + 1]):
            return f"the log-odds of class {k} separate it from the others. {WEAKLY_HELD}"
    return ""
