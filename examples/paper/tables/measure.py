"""What a run's logits come to: every figure of the paper's tables, before and after scaling."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from examples.paper.files import read_json
from examples.paper.runs import Logits, Run
from keras_focal import functional, metrics
from keras_focal.calibration import fit_focal_temperature, fit_temperature

Figures = dict[str, Any]


def measure(logits: Logits, criterion: str) -> Figures:
    """Return the figures of the test logits before and after a map fitted on the validation logits.

    Args:
        logits: The held-out logits of a run.
        criterion: What the temperature is chosen by: "ece", on the paper's grid 0.1, 0.2, ... 10,
            or "nll"; or "focal": focal temperature scaling, a temperature and a gamma by "nll".

    Returns:
        `T`, with "focal" also `gamma`; `pre` and `post`, as `scores` gives them. All are NaN if
        training diverged.
    """
    if not logits.finite:
        names = ("T", "gamma") if criterion == "focal" else ("T",)
        lost = scores(logits.test_labels, np.full_like(logits.test_logits, np.nan))
        return {**dict.fromkeys(names, float("nan")), "pre": lost, "post": lost}
    fitted, scale = _fit(logits, criterion)
    return {
        **fitted,
        "pre": scores(logits.test_labels, logits.test_logits),
        "post": scores(logits.test_labels, scale(logits.test_logits.astype("float64"))),
    }


def _fit(logits: Logits, criterion: str) -> tuple[dict[str, float], Callable]:
    """Return what was fitted, and the map of logits that it makes."""
    if criterion == "focal":
        fit = fit_focal_temperature(logits.val_logits, logits.val_labels)
        fitted = {"T": fit.temperature, "gamma": fit.gamma}
        return fitted, lambda z: functional.focal_posterior(z / fit.temperature, fit.gamma)
    fit = fit_temperature(logits.val_logits, logits.val_labels, criterion)
    return {"T": fit.temperature}, lambda z: z / fit.temperature


def scores(labels: np.ndarray, logits: Any) -> dict[str, float]:
    """Return figures in per cent, of 15 bins; NaN where there is none, as of logits that are NaN.

    `error`, `ece`, `ada_ece` (of the paper's bins), `mce`, `nll`, `top1`, `top5` (with more than 5
    classes), `confident` (|S99|: the share with a confidence above 0.99) and `confident_accuracy`.
    """
    bins = functional.bin_statistics(labels, logits, from_logits=True)
    nll = functional.negative_log_likelihood(labels, logits, from_logits=True)
    coverage = metrics.ConfidentCoverage(from_logits=True)
    coverage.update_state(labels, logits)
    found = {
        "error": functional.error_from_bins(bins),
        "ece": functional.ece_from_bins(bins),
        "ada_ece": functional.adaptive_expected_calibration_error(
            labels, logits, from_logits=True, binning="paper"
        ),
        "mce": functional.mce_from_bins(bins),
        "nll": ops.convert_to_numpy(nll).mean(dtype="float64"),
        "top1": functional.accuracy_from_bins(bins),
        "top5": _top5(labels, logits),
        **coverage.result(),
    }
    found = {name: 100.0 * float(value) for name, value in found.items()}
    if np.isnan(ops.convert_to_numpy(logits)).any():
        return dict.fromkeys(found, float("nan"))
    if found["confident"] == 0.0:
        found["confident_accuracy"] = float("nan")
    return found


def _top5(labels: np.ndarray, logits: Any) -> float:
    if logits.shape[-1] <= 5:
        return float("nan")
    hits = keras.metrics.sparse_top_k_categorical_accuracy(labels, ops.cast(logits, "float32"), k=5)
    return float(ops.convert_to_numpy(hits).mean())


def figures_of(run: Run, criteria: Sequence[str]) -> dict[str, Figures]:
    """Return the figures of a finished run by criterion.

    A run of translation has measured itself: its translation.json holds, by criterion, `T`, `pre`
    and `post` with `ece` and `bleu`.
    """
    if run.is_translation:
        return read_json(run.folder / "translation.json")
    logits = run.logits()
    return {criterion: measure(logits, criterion) for criterion in criteria}


def has_figures(run: Run) -> bool:
    """Return whether a run is finished, and evaluated if it is one of translation."""
    return run.finished and (not run.is_translation or (run.folder / "translation.json").is_file())
