"""Smooth ECE: a calibration error without bins (docs/maths.md, C11).

Computed on the host in float64, for reports rather than for a training step.
"""

import numpy as np
from keras import ops

from keras_focal._typing import Tensor
from keras_focal.functional._inputs.entries import read_entries
from keras_focal.functional.calibration._errors import counted_top

_NUM_CELLS = 2**15
"""Cells of [0, 1]."""

_NUM_HALVINGS = 30
"""Bisection steps in the search for the width, which is found to 1e-9."""


def smooth_calibration_error(
    labels: Tensor,
    predictions: Tensor,
    *,
    from_logits: bool = False,
    sample_weight: Tensor | None = None,
    ignore_class: int | None = None,
) -> float:
    """Return the smooth ECE (smECE), the calibration error of the top label without bins.

    smECE_sigma is the integral over t in [0, 1] of |1/N sum_i K_sigma(t, c_i) (a_i - c_i)|, where
    c_i is the confidence, a_i the correctness, and K_sigma a Gaussian kernel of width sigma
    reflected at 0 and 1. It is non-increasing in sigma, and smECE is its value where it equals
    sigma, so the width follows from the predictions. It runs on the host: not inside a compiled
    step, and without a gradient.

    Args:
        labels: Class ids, shape (...) or (..., 1), or rows, shape (..., K).
        predictions: Probabilities or logits, shape (..., K); K = 1 for two classes.
        from_logits: Whether `predictions` are logits.
        sample_weight: None, or float tensor of the shape of `labels` as ids.
        ignore_class: None, or the id of labels to leave out, such as 255.

    Returns:
        Python float, a fraction in [0, 1]; 0.0 for no predictions. NaN if a prediction of nonzero
        weight is not finite.

    Raises:
        ValueError: As `bin_statistics`.

    Numerics:
        The sum over predictions is approximated by a histogram with cells of width h = 2**-15. This
        changes smECE_sigma by at most mean |a_i - c_i| (h / sigma)^2 / 8, and smECE by less than
        1e-4 where it is above 1e-3.

    Example:
        >>> from keras_focal import functional
        >>> error = functional.smooth_calibration_error([0, 1], [[0.9, 0.1], [0.9, 0.1]])
        >>> round(error, 4)
        0.4

    Source:
        Blasiok and Nakkiran, 2023, Smooth ECE: Principled Reliability Diagrams via Kernel
        Smoothing.
    """
    entries = read_entries(
        labels, predictions, sample_weight, from_logits=from_logits, ignore_class=ignore_class
    )
    top, weights, invalid = counted_top(entries, from_logits)
    complement, wrong, weights, invalid = (
        ops.convert_to_numpy(part).astype("float64").ravel()
        for part in (top.complement, top.wrong, weights, invalid)
    )
    if np.isnan(invalid[0]):
        return float("nan")
    total = weights.sum()
    if total == 0:
        return 0.0
    # Correctness - confidence is computed from the complement: confidence near 1 is rounded.
    spectrum = _spectrum(1.0 - complement, weights / total * (complement - wrong))
    low, high = 0.0, 1.0
    for _ in range(_NUM_HALVINGS):
        width = (low + high) / 2.0
        if _smoothed_error(spectrum, width) > width:
            low = width
        else:
            high = width
    # The lower end, so that a perfectly calibrated input gives exactly 0.
    return low


def _spectrum(position: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Return the Fourier coefficients of masses at positions in [0, 1], mirrored to period 2."""
    scaled = np.clip(position, 0.0, 1.0) * _NUM_CELLS
    below = np.minimum(scaled.astype("int64"), _NUM_CELLS - 1)
    # Dividing a mass between the two nearest nodes preserves its centre.
    share = scaled - below
    nodes: np.ndarray = np.bincount(below, mass * (1.0 - share), _NUM_CELLS + 1)
    nodes += np.bincount(below + 1, mass * share, _NUM_CELLS + 1)
    # 0 and 1 are their own mirror images.
    nodes[[0, -1]] *= 2.0
    return np.fft.rfft(np.concatenate([nodes, nodes[-2:0:-1]]))


def _smoothed_error(spectrum: np.ndarray, width: float) -> float:
    """Return smECE_sigma for one width.

    Convolution with a Gaussian reflected at 0 and 1 is periodic convolution of the mirrored masses
    with period 2: a product in Fourier space.
    """
    frequency = np.pi * np.arange(len(spectrum))
    smooth = np.fft.irfft(spectrum * np.exp(-0.5 * (frequency * width) ** 2))
    return 0.5 * float(np.abs(smooth).sum())
