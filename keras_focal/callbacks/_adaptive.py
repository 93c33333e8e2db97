"""AdaFocal: gammas updated from the calibration of the model on the validation data."""

import json
import os
from pathlib import Path
from typing import Any

import keras

from keras_focal._validation.gamma import check_bin_gammas, check_edges, check_switch_bounds
from keras_focal._validation.numbers import check_at_least, check_positive
from keras_focal.callbacks._attach import attach
from keras_focal.callbacks._logs import add_to_logs
from keras_focal.callbacks._losses import losses_of
from keras_focal.callbacks._metrics import metrics_of
from keras_focal.callbacks._record import Recorder, Row
from keras_focal.functional import adapted_gammas
from keras_focal.functional.gammas._adaptive import bin_gaps
from keras_focal.gammas import AdaptiveBins
from keras_focal.metrics import BinnedMetric


class AdaptiveGamma(Recorder):
    """Update the gamma of each bin of p_t from the calibration of that bin on the validation data.

    After the validation of each epoch, bins of equal mass are computed from the state of a compiled
    `AdaECE`, or of a `CalibrationMetrics` that reports "ada_ece", without another pass over the
    data. There are as many bins as in the loss. With C_b and A_b the mean confidence and the
    accuracy of bin b,

        gamma_b <- gamma_b exp(rate (C_b - A_b))     where gamma_b > 0,
        gamma_b <- gamma_b exp(-rate (C_b - A_b))    where gamma_b < 0 (the inverse focal loss).

    A gamma closer to 0 than `switch` becomes `switch` with the opposite sign, and all gammas are
    clipped to [low, high]. In the next epoch, each training sample has the gamma of the bin that
    contains its p_t. Compiled steps are reused.

    The gammas are part of the loss, so they are restored with a model saved by `.save`. For
    `BackupAndRestore`, which only saves weights, pass a `directory`: every epoch is recorded in
    `adaptive_gamma.json` there, and a run that resumes at a later epoch reads it. The epoch logs
    contain the smallest and the largest gamma as "gamma_min" and "gamma_max". The attribute `rows`
    has a row for each epoch: its number, and the edges, gaps and gammas at its end.

    Args:
        rate: The step size, lambda in the paper, >= 0.
        low: Smallest gamma, < `high`.
        high: Largest gamma.
        switch: Size of gamma below which the loss switches between focal and inverse focal, > 0.
            `low` >= `switch` rules out the inverse focal loss.
        rule: The `AdaptiveBins` to update, or None for that of the loss. If the losses of several
            outputs have one each, use a callback for each of them.
        metric: Name of the metric to read, or None if the model has only one.
        directory: None, or the folder for the record of all epochs; created if missing.

    Raises:
        ValueError: If `rate` is negative, `switch` is not positive, or the bounds are out of order
            or within `switch` of 0; at the start of training, unless exactly one loss has an
            `AdaptiveBins`; after the first validation, unless the model has exactly one metric to
            read. After an epoch without validation the gammas do not change.

    Example:
        >>> import keras, keras_focal, numpy as np
        >>> loss = keras_focal.losses.SparseCategoricalFocalCrossentropy(
        ...     gamma=keras_focal.gammas.AdaptiveBins(), from_logits=True)
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> model.compile("sgd", loss, metrics=[keras_focal.metrics.AdaECE(from_logits=True)])
        >>> x, y = np.zeros((8, 2)), np.zeros(8)
        >>> _ = model.fit(x, y, validation_data=(x, y), verbose=0,
        ...     callbacks=[keras_focal.callbacks.AdaptiveGamma()])
        >>> len(set(loss.gamma.gammas)) > 0
        True

    Source:
        Ghosh et al., 2022, "AdaFocal: Calibration-aware Adaptive Focal Loss", section 5.
    """

    def __init__(
        self,
        rate: float = 1.0,
        low: float = -2.0,
        high: float = 20.0,
        *,
        switch: float = 0.2,
        rule: AdaptiveBins | None = None,
        metric: str | None = None,
        directory: str | os.PathLike | None = None,
    ):
        super().__init__(None if directory is None else Path(directory) / "adaptive_gamma.json")
        self.rate = check_at_least("rate", rate, 0, "0 keeps gamma constant, the paper uses 1.")
        self.switch = check_positive("switch", switch)
        self.low, self.high = check_switch_bounds(low, high, self.switch)
        self.metric = metric
        self._given = rule
        self._rule: AdaptiveBins

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self._rule = self._given or _only_rule(model)
        attach(model, self._rule.state)

    def _parsed(self, text: str) -> list[Row]:
        rows = json.loads(text)
        if not isinstance(rows, list):
            raise TypeError(f"expected a list of epochs, got {type(rows).__name__}")
        for row in rows:
            check_bin_gammas(row["gammas"], self._rule.num_bins)
            check_edges(row["edges"], self._rule.num_bins)
        return rows

    def _formatted(self) -> str:
        return json.dumps(self.rows)

    def _resume(self, epoch: int) -> None:
        self._warn_without_earlier_rows(epoch, "training continues with the gammas of the loss")
        if self._file is not None and self.rows:
            self._rule.assign(self.rows[-1]["gammas"], self.rows[-1]["edges"])

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        if self._epoch is None:
            # A separate call of `evaluate`.
            return
        cells = _only_metric(self.model, self.metric).equal_mass_cells()
        rule = self._rule
        found = None if cells is None else bin_gaps(cells, rule.num_bins)
        if found is None:
            return
        gammas = adapted_gammas(
            rule.gammas,
            found.gaps,
            rate=self.rate,
            low=self.low,
            high=self.high,
            switch=self.switch,
        )
        rule.assign(gammas, found.edges[1:])
        self.rows.append(
            {
                "epoch": self._epoch,
                "edges": rule.edges,
                "gaps": found.gaps.tolist(),
                "gammas": rule.gammas,
            }
        )
        self._write()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        self._warn_without_rows("gammas do not change")
        gammas = self._rule.gammas
        add_to_logs(logs, gamma_min=min(gammas), gamma_max=max(gammas))


def _only_rule(model: keras.Model) -> AdaptiveBins:
    """Return the only `AdaptiveBins` of the losses of a model, or raise."""
    gammas = [getattr(loss, "gamma", None) for loss in losses_of(model)]
    rules = {id(gamma): gamma for gamma in gammas if isinstance(gamma, AdaptiveBins)}
    if len(rules) != 1:
        raise ValueError(
            "AdaptiveGamma needs one loss whose gamma is an AdaptiveBins. Received: "
            f"{len(rules)} of them in loss={model.loss!r}. "
            + (
                "Use one callback for each output: AdaptiveGamma(rule=..., metric=...)."
                if rules
                else "Compile with a focal loss such as SparseCategoricalFocalCrossentropy("
                "gamma=keras_focal.gammas.AdaptiveBins(), from_logits=True)."
            )
        )
    return next(iter(rules.values()))


def _only_metric(model: keras.Model, name: str | None) -> BinnedMetric:
    """Return the only metric of a model with bins of equal mass, or that of the name, or raise."""
    found = {
        key: metric
        for key, metric in metrics_of(model).items()
        if isinstance(metric, BinnedMetric) and metric.equal_mass_cells() is not None
    }
    named = [metric for key, metric in found.items() if name in (None, key, metric.name)]
    if len(named) != 1:
        names = ", ".join(map(repr, found)) or "none"
        raise ValueError(
            "AdaptiveGamma needs one metric with bins of equal mass"
            + ("" if name is None else f" named {name!r}")
            + f". Received: {names}. "
            + (
                "Choose one with AdaptiveGamma(metric=...)."
                if found
                else "Add metrics=[keras_focal.metrics.AdaECE(from_logits=True)] to compile()."
            )
        )
    return named[0]
