"""The losses of a model, and their states that callbacks change."""

import inspect
from collections.abc import Iterable
from typing import Any

import keras

from keras_focal.gammas import AdaptiveBins, HeldState
from keras_focal.losses import CALS, Calibrated, FocalLoss
from keras_focal.losses._base import within


def losses_of(model: keras.Model) -> list[keras.losses.Loss]:
    """Return the losses that a model is compiled with, and those in their attributes."""
    compiled = model._compile_loss
    if compiled is not None and not compiled.built:
        # Keras instantiates a loss class at the first batch, which would be too late.
        compiled._user_loss = model.loss = keras.tree.map_structure(_as_object, model.loss)
    built = [entry.loss for entry in getattr(compiled, "_flat_losses", None) or []]
    return within([model.loss, built])


def _as_object(loss: Any) -> Any:
    is_class = inspect.isclass(loss) and issubclass(loss, keras.losses.Loss)
    return loss() if is_class else loss


def held_states(losses: Iterable[keras.losses.Loss]) -> list[HeldState]:
    """Return the states of losses whose gamma is a number or an `AdaptiveBins`, and of CALS."""
    gammas = [loss.gamma for loss in losses if isinstance(loss, FocalLoss)]
    bins = [gamma.state for gamma in gammas if isinstance(gamma, AdaptiveBins)]
    penalties = [loss.penalty for loss in losses if isinstance(loss, Calibrated)]
    multipliers = [penalty.state for penalty in penalties if isinstance(penalty, CALS)]
    return [*gamma_states(losses), *_once(bins), *_once(multipliers)]


def gamma_states(losses: Iterable[keras.losses.Loss]) -> list[HeldState]:
    """Return the states of losses whose gamma is a number, each once."""
    states = (loss.gamma_state for loss in losses if isinstance(loss, FocalLoss))
    return _once(state for state in states if state is not None)


def _once(states: Iterable[HeldState]) -> list[HeldState]:
    return list({id(state): state for state in states}.values())
