"""AdaFocal: gammas that follow the calibration of the model on the validation data."""

import json
import os
import warnings
from pathlib import Path
from typing import Any

import keras

from keras_focal._validation.gamma import check_bin_gammas, check_edges, check_switch_bounds
from keras_focal._validation.numbers import check_at_least, check_positive
from keras_focal.callbacks._attach import attach
from keras_focal.callbacks._logs import add_to_logs
from keras_focal.callbacks._losses import losses_of
from keras_focal.callbacks._metrics import metrics_of
from keras_focal.callbacks._record import Row, read_rows, rows_before, write_text
from keras_focal.functional import adapted_gammas
from keras_focal.functional.gammas._adaptive import bin_gaps
from keras_focal.gammas import AdaptiveBins
from keras_focal.metrics import BinnedMetric


class AdaptiveGamma(keras.callbacks.Callback):
    """Move the gamma of each bin of p_t by the validation calibration of that bin.

    After each epoch that ends with validation, the state of a compiled `AdaECE`, or of a
    `CalibrationMetrics` that reports "ada_ece", is cut into bins of equal mass, as many as the
    loss has: no second pass over the data is made. With C_b and A_b the mean confidence and the
    accuracy of bin b,

        gamma_b <- gamma_b exp(rate (C_b - A_b))     where gamma_b > 0,
        gamma_b <- gamma_b exp(-rate (C_b - A_b))    where gamma_b < 0: the inverse focal loss,

    a gamma that comes closer to 0 than `switch` becomes `switch` with the other sign, and all are
    held to [low, high]. In the next epoch a training sample has the gamma of the bin whose range
    of confidence its p_t falls in. No step is compiled again.

    The gammas are part of the loss, so a model saved with `.save` resumes where it stood. For
    `BackupAndRestore`, which saves weights alone, give a `directory`: every epoch is written to
    `adaptive_gamma.json` there, and a run that resumes at a later epoch reads it. The least and
    the largest gamma are in the epoch logs as "gamma_min" and "gamma_max".

    Args:
        rate: lambda of the paper, >= 0: how fast gammas move.
        low: Least gamma, < `high`.
        high: Greatest gamma.
        switch: Size of gamma below which focal and inverse focal loss change places, > 0. `low`
            >= `switch` keeps the inverse focal loss out.
        rule: The `AdaptiveBins` to move; None for that of the loss. Needed where losses of several
            outputs have one each: give each its own callback.
        metric: Name of the metric to read; None for the one that the model has.
        directory: None, or a folder for the record of every epoch; made if need be.

    Raises:
        ValueError: If `rate` is negative, `switch` not positive, or the bounds are out of order or
            within `switch` of 0; when training starts, if no loss, or more than one, has an
            `AdaptiveBins`; when the first validation ends, if the model has no metric to read, or
            more than one. An epoch without validation leaves the gammas as they are.

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
        super().__init__()
        self.rate = check_at_least("rate", rate, 0, "0 leaves gamma as it is, 1 is the paper's.")
        self.switch = check_positive("switch", switch)
        self.low, self.high = check_switch_bounds(low, high, self.switch)
        self.metric = metric
        self.rows: list[Row] = []
        """Of each epoch: its number, and the edges, gaps and gammas that it ended with."""
        self._given = rule
        self._rule: AdaptiveBins
        self._file = None if directory is None else Path(directory) / "adaptive_gamma.json"
        self._is_first = self._has_warned = False
        self._epoch: int | None = None

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self._rule = self._given or _only_rule(model)
        attach(model, self._rule.state)

    def on_train_begin(self, logs: Any = None) -> None:
        self._is_first = True
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self.rows = read_rows(self._file, self._parsed)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.rows = rows_before(self.rows, epoch)
        if self._is_first and self._file is not None:
            self._resume(epoch)
        self._is_first, self._epoch = False, epoch

    def _parsed(self, text: str) -> list[Row]:
        rows = json.loads(text)
        if not isinstance(rows, list):
            raise TypeError(f"a list of epochs is expected, not {type(rows).__name__}")
        for row in rows:
            check_bin_gammas(row["gammas"], self._rule.num_bins)
            check_edges(row["edges"], self._rule.num_bins)
        return rows

    def _resume(self, epoch: int) -> None:
        if self.rows:
            self._rule.assign(self.rows[-1]["gammas"], self.rows[-1]["edges"])
        elif epoch > 0:
            warnings.warn(
                f"AdaptiveGamma resumes at epoch {epoch}, and {self._file} has no epoch before it: "
                "gammas begin as the loss holds them.",
                stacklevel=2,
            )

    def on_test_end(self, logs: Any = None) -> None:
        if self._epoch is None:
            # A call of `evaluate` of its own.
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
        if self._file is not None:
            # Now, before any callback says that the epoch is done: a run that was killed after a
            # backup, but before the end of the epoch here, would resume without its gammas.
            write_text(self._file, json.dumps(self.rows))

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._epoch = None
        if not self.rows and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                "AdaptiveGamma has no validation predictions to read after the first epoch: gammas "
                "stay as they are. Pass validation_data to fit().",
                stacklevel=2,
            )
        gammas = self._rule.gammas
        add_to_logs(logs, gamma_min=min(gammas), gamma_max=max(gammas))


def _only_rule(model: keras.Model) -> AdaptiveBins:
    """Return the one rule of the losses of a model that can be moved, or raise."""
    gammas = [getattr(loss, "gamma", None) for loss in losses_of(model)]
    rules = {id(gamma): gamma for gamma in gammas if isinstance(gamma, AdaptiveBins)}
    if len(rules) != 1:
        raise ValueError(
            "AdaptiveGamma needs one loss whose gamma is an AdaptiveBins. Received: "
            f"{len(rules)} of them in loss={model.loss!r}. "
            + (
                "Give each output a callback of its own: AdaptiveGamma(rule=..., metric=...)."
                if rules
                else "Compile with a focal loss such as SparseCategoricalFocalCrossentropy("
                "gamma=keras_focal.gammas.AdaptiveBins(), from_logits=True)."
            )
        )
    return next(iter(rules.values()))


def _only_metric(model: keras.Model, name: str | None) -> BinnedMetric:
    """Return the one metric of a model with cells of equal mass, and that name if any, or raise."""
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
            + ("" if name is None else f" of the name {name!r}")
            + f". Received: {names}. "
            + (
                "Say which: AdaptiveGamma(metric=...)."
                if found
                else "Add metrics=[keras_focal.metrics.AdaECE(from_logits=True)] to compile()."
            )
        )
    return named[0]
