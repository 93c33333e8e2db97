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


def separated_classes(sample: Sample, log_odds: np.ndarray, classes: range) -> str:
    """Return that a threshold on its log-odds separates a class from the rest, or nothing."""
    for k in classes:
        own, rest = log_odds[sample.labels == k, k], log_odds[sample.labels != k, k]
        if own.min() > rest.max() or own.max() < rest.min():
            return f"the log-odds of class {k} separate it from the others. {WEAKLY_HELD}"
    return ""
