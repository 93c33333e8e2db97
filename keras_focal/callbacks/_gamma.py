"""Changing gamma by epoch, visible to compiled steps on every backend."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from keras_focal._presets import known_name
from keras_focal._validation.gamma import check_gamma
from keras_focal._validation.numbers import check_count
from keras_focal.callbacks._attach import attach
from keras_focal.callbacks._logs import add_to_logs
from keras_focal.callbacks._losses import gamma_states, losses_of
from keras_focal.gammas import SCHEDULED, GammaSteps, HeldState
from keras_focal.losses import FocalLoss
from keras_focal.losses._base import within

Scheduled = keras.losses.Loss | HeldState
"""A focal loss, or its state."""


class GammaScheduler(keras.callbacks.Callback):
    """Set the gamma of every focal loss of the model at the start of each epoch.

    Gamma is a function of the epoch alone, so `initial_epoch`, `BackupAndRestore` and a reloaded
    model resume with the right gamma. Compiled steps are reused when gamma changes, except on JAX
    for a model that hides its metrics or computes the loss in its own `train_step` (see `attach`).
    The epoch logs contain gamma as "gamma", or "gamma_1" for a second scheduler. List callbacks
    that read it, such as `CSVLogger`, after this one. A change of gamma changes the scale of the
    loss, so early stopping should monitor the NLL (`metrics.NegativeLogLikelihood`) rather than
    "val_loss".

    Args:
        schedule: One of
            - "FLSc-531" or "FLSc-532": gamma 5, 3, then 1 or 2, switching at 2/7 and 5/7 of the
              epochs of the run, as at epochs 100 and 250 of 350 in the paper;
            - a dict {first epoch: gamma} with an entry for epoch 0;
            - a `keras.optimizers.schedules.LearningRateSchedule`, called with the epoch;
            - any function from the epoch, an int counted from 0, to gamma.
        boundaries: The two epochs at which gamma changes, for "FLSc-531" and "FLSc-532" only.
        losses: The focal losses to schedule: a loss, its `gamma_state`, or a list of these. None
            for all focal losses that the model is compiled with, including parts of other losses.
            Needed if a function or the model itself calls the loss, or if the losses of several
            outputs have different schedules.
        verbose: 1 prints each change of gamma.

    Raises:
        ValueError: If the schedule is unknown or returns a gamma that is negative or not finite, or
            an entry of `losses` has no gamma to schedule; at the start of training, if no loss of
            the model has one.

    Example:
        >>> import keras_focal
        >>> callback = keras_focal.callbacks.GammaScheduler({0: 5.0, 10: 3.0, 25: 1.0})
        >>> [callback.gamma_at(epoch) for epoch in (0, 9, 10, 25)]
        [5.0, 5.0, 3.0, 1.0]

    Source:
        Mukhoti et al., 2020, Appendix E, "Focal Loss (Scheduled)".
    """

    def __init__(
        self,
        schedule: str
        | Mapping[int, float]
        | keras.optimizers.schedules.LearningRateSchedule
        | Callable[[int], float],
        *,
        boundaries: Sequence[int] | None = None,
        losses: keras.losses.Loss
        | HeldState
        | Sequence[keras.losses.Loss | HeldState]
        | None = None,
        verbose: int = 0,
    ):
        super().__init__()
        self.verbose = verbose
        self._chosen = None if losses is None else _states_in(losses)
        self._states: list[HeldState] = []
        self._steps: GammaSteps | None = None
        self._boundaries: tuple[int, ...] | None = None
        if isinstance(schedule, str):
            self._steps = SCHEDULED[known_name("schedule", schedule, SCHEDULED)]
            if boundaries is not None:
                self._boundaries = _check_boundaries(boundaries, len(self._steps.switches))
            self._schedule: Callable[[int], Any] = self._preset
        elif boundaries is not None:
            raise ValueError(
                "`boundaries` must be None unless `schedule` is a preset. Received: "
                f"boundaries={boundaries!r}. Include the epochs in the schedule."
            )
        elif isinstance(schedule, Mapping):
            self._schedule = _stepwise(schedule)
        elif callable(schedule):
            self._schedule = schedule
        else:
            raise ValueError(
                "`schedule` must be a preset, a dict {first epoch: gamma}, a "
                "LearningRateSchedule or a function of the epoch. Received: "
                f"schedule={schedule!r}."
            )

    def gamma_at(self, epoch: int) -> float:
        """Return gamma in an epoch, counted from 0. A preset without boundaries needs a run."""
        return check_gamma("schedule(epoch)", _as_number(self._schedule(epoch)))

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self._states = _states_of(model) if self._chosen is None else self._chosen
        for state in self._states:
            attach(model, state)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        gamma = self.gamma_at(epoch)
        has_changed = [state.assign(gamma=gamma) for state in self._states]
        if self.verbose and any(has_changed):
            print(f"\nEpoch {epoch + 1}: gamma is now {gamma:g}.")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        add_to_logs(logs, gamma=self._states[0]["gamma"])

    def _preset(self, epoch: int) -> float:
        assert self._steps is not None
        boundaries = self._boundaries
        if boundaries is None:
            epochs = (self.params or {}).get("epochs")
            if not epochs:
                raise ValueError(
                    "`boundaries` must be given outside `fit`, where the number of epochs is "
                    "unknown. Received: boundaries=None."
                )
            # Even a run of one epoch starts with the first gamma.
            boundaries = tuple(max(1, round(switch * epochs)) for switch in self._steps.switches)
        return self._steps.gammas[sum(epoch >= boundary for boundary in boundaries)]


def _states_of(model: keras.Model) -> list[HeldState]:
    """Return the states of the focal losses of a model, or raise."""
    losses = losses_of(model)
    states = gamma_states(losses)
    rules = [loss.gamma for loss in losses if isinstance(loss, FocalLoss)]
    if not states and rules:
        raise ValueError(
            "GammaScheduler needs a focal loss whose gamma is a number. Received: "
            f"gamma={rules[0]!r}, a rule that gives each sample its own. Remove the "
            "callback, or compile with a loss such as "
            'keras_focal.losses.get("FLSc-531", from_logits=True).'
        )
    if not states:
        raise ValueError(
            f"GammaScheduler needs a focal loss in the model. Received: loss={model.loss!r}. "
            "Compile with a loss object such as "
            'keras_focal.losses.get("FLSc-531", from_logits=True). If a function or the model '
            "itself calls the focal loss, pass it: GammaScheduler(..., losses=[focal])."
        )
    return states


def _states_in(losses: Any) -> list[HeldState]:
    """Return the states in the argument `losses`."""
    found = [
        [one] if isinstance(one, HeldState) else gamma_states(within(one))
        for one in keras.tree.flatten(losses)
    ]
    if not found or not all(found):
        raise ValueError(
            "`losses` must be focal losses whose gamma is a number, losses that contain one, or "
            f"their `gamma_state`. Received: losses={losses!r}. Leave it out to schedule all focal "
            "losses of the model."
        )
    return [state for states in found for state in states]


def _stepwise(schedule: Mapping[int, float]) -> Callable[[int], float]:
    """Return the function epoch -> gamma of a dict {first epoch: gamma}."""
    if 0 not in schedule:
        raise ValueError(
            f"`schedule` must have an entry for epoch 0. Received: epochs {list(schedule)}. Epochs "
            "count from 0."
        )
    for first in schedule:
        if first != 0:
            check_count("schedule", first)
    gammas = {first: check_gamma("schedule", gamma) for first, gamma in schedule.items()}
    return lambda epoch: gammas[max(first for first in gammas if first <= epoch)]


def _check_boundaries(boundaries: Sequence[int], length: int) -> tuple[int, ...]:
    epochs = tuple(check_count("boundaries", epoch) for epoch in boundaries)
    if len(epochs) != length or list(epochs) != sorted(set(epochs)):
        raise ValueError(
            f"`boundaries` must be {length} increasing epochs. Received: boundaries={boundaries!r}."
        )
    return epochs


def _as_number(value: Any) -> Any:
    """Return a scalar tensor as a Python number; other values are unchanged."""
    return float(keras.ops.convert_to_numpy(value)) if hasattr(value, "shape") else value
