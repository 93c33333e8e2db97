"""Attaching a state to a model, so that its compiled steps see the state change.

On TensorFlow and torch, a step reads the variables of a loss directly. On JAX it reads what Keras
passes to it, which includes the variables of all metrics of the model and of the metrics nested in
those. A built model accepts no new state, but a metric does, so the state is nested in a metric of
the model.
"""

from collections.abc import Iterator
from typing import Any

import keras

from keras_focal.callbacks._losses import held_states, losses_of
from keras_focal.gammas import HeldState


class Carrier(keras.metrics.Metric):
    """States nested in a metric of a model, until the model is compiled again."""

    def __init__(self) -> None:
        super().__init__(name="held_states")
        self.states: list[HeldState] = []
        self._compiled: tuple[Any, Any] = (None, None)

    def take(self, model: keras.Model, state: HeldState) -> None:
        """Add a state, and drop those of losses from before the last `compile`."""
        is_same = all(a is b for a, b in zip(self._compiled, _compiled(model), strict=True))
        self._compiled = _compiled(model)
        self.states = [*(self.states if is_same else []), state]

    def drop(self, state: HeldState) -> None:
        """Remove a state."""
        self.states = [one for one in self.states if one is not state]

    @property
    def variables(self) -> list[Any]:
        return [variable for state in self.states for variable in state.variables]

    def reset_state(self) -> None:
        """Do nothing: states outlive the epoch."""


def attach(model: keras.Model, state: HeldState | None = None) -> None:
    """Attach the state of the losses to a model, so that compiled steps see it change.

    `GammaScheduler`, `AdaptiveGamma` and `ClassMultipliers` call this function. Call it before you
    assign `loss.gamma` yourself, between calls of `fit` or in your own callback, and again after
    each `compile`. On JAX, some models cannot carry the state: those that hide their metrics, or
    whose `train_step` computes the loss outside a scope that maps the variables of metrics. Their
    steps are compiled again whenever the state changes.

    Args:
        model: A compiled model.
        state: The `gamma_state` of a focal loss whose gamma is a number, or the `state` of an
            `AdaptiveBins` or of `losses.CALS`. None for those of all losses of the model.

    Raises:
        ValueError: If `state` is None and no loss of the model has one.

    Example:
        >>> import keras, keras_focal
        >>> loss = keras_focal.losses.get("FL-3", from_logits=True)
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        >>> model.compile("sgd", loss)
        >>> keras_focal.callbacks.attach(model)
        >>> loss.gamma = 1.0
    """
    states = held_states(losses_of(model)) if state is None else [state]
    if not states:
        raise ValueError(
            "`model` must be compiled with a focal loss whose gamma can change. Received: "
            f"loss={model.loss!r}. If the model calls its loss elsewhere, pass the state: "
            "attach(model, loss.gamma_state)."
        )
    if keras.backend.backend() != "jax":
        return
    for one in states:
        one.listen(model, before=_synchronize, after=_rebuild_steps)
        if not _is_carried(model, one) and _nest(model, one):
            _rebuild_steps(model)
            one.handed_over()


def _nest(model: keras.Model, state: HeldState) -> bool:
    """Nest a state in a metric of a model; return whether a suitable metric was found."""
    _synchronize(model)
    for host in _metrics(model):
        if not hasattr(host, "held_states"):
            host.held_states = Carrier()
        host.held_states.take(model, state)
        if _is_carried(model, state) and _outlives_reset(host, state):
            return True
        host.held_states.drop(state)
    return False


def _metrics(model: keras.Model) -> Iterator[keras.metrics.Metric]:
    """Yield the metrics of a model, and those in the container of its compiled metrics."""
    for metric in model.metrics:
        yield metric
        yield from getattr(metric, "metrics", [])


def _is_carried(model: keras.Model, state: HeldState) -> bool:
    tracked = {id(variable) for variable in model.metrics_variables}
    return all(id(variable) in tracked for variable in state.variables)


def _outlives_reset(host: keras.metrics.Metric, state: HeldState) -> bool:
    """Return whether a reset of a metric leaves a state nested in it unchanged.

    By default Keras sets all variables to 0, including nested ones.
    """
    ours = {id(variable) for variable in state.variables}
    # A variable that the reset does not change is returned as the same object.
    kept = {id(value) for value in host.stateless_reset_state()}
    return ours <= kept


def _compiled(model: keras.Model) -> tuple[Any, Any]:
    """Return objects that are replaced when a model is compiled again."""
    return model.optimizer, model.loss


def _synchronize(model: keras.Model) -> None:
    """Restore the values of variables, which the trainer holds while it runs steps.

    An assignment before that would be lost.
    """
    model.jax_state_sync()


def _rebuild_steps(model: keras.Model) -> bool:
    """Have existing steps compiled again; return whether there are any."""
    steps = (
        (model.train_function, model.make_train_function),
        (
            model.test_function,
            model.make_test_function,
        ),
    )
    for step, make in steps:
        if step is not None:
            make(force=True)
    return any(step is not None for step, _ in steps)
