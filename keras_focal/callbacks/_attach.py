"""A model carries a state, so that its compiled steps see the state change.

On TensorFlow and torch a step reads the variables of a loss as they are, and nothing need be done.
On JAX it reads what Keras hands over: among others the variables of all metrics of the model and
of the metrics below those. A model refuses new state once it is built; a metric never does. So the
state hangs below a metric that the model has.
"""

from collections.abc import Iterator
from typing import Any

import keras

from keras_focal.callbacks._losses import held_states, losses_of
from keras_focal.gammas import HeldState


class Carrier(keras.metrics.Metric):
    """States below one metric of a model, for as long as the model stays compiled as it is."""

    def __init__(self) -> None:
        super().__init__(name="held_states")
        self.states: list[HeldState] = []
        self._compiled: tuple[Any, Any] = (None, None)

    def take(self, model: keras.Model, state: HeldState) -> None:
        """Add a state, and drop those of the losses that the model had before `compile`."""
        is_same = all(a is b for a, b in zip(self._compiled, _compiled(model), strict=True))
        self._compiled = _compiled(model)
        self.states = [*(self.states if is_same else []), state]

    def drop(self, state: HeldState) -> None:
        """Let a state go."""
        self.states = [one for one in self.states if one is not state]

    @property
    def variables(self) -> list[Any]:
        return [variable for state in self.states for variable in state.variables]

    def reset_state(self) -> None:
        """Do nothing: states outlive the epoch."""

    def result(self) -> dict[str, Any]:
        return {}


def attach(model: keras.Model, state: HeldState | None = None) -> None:
    """Make a model carry the state of its losses, so that compiled steps see it change.

    `GammaScheduler` and `AdaptiveGamma` do this by themselves. Call it before you assign
    `loss.gamma` yourself, between calls of `fit` or in a callback of your own, and again after
    each `compile`. A model that cannot carry the state on JAX, since it hides its metrics or its
    `train_step` computes the loss outside a scope that maps them, compiles its steps anew whenever
    the state changes.

    Args:
        model: A compiled model.
        state: The `gamma_state` of a focal loss whose gamma is a number, or the `state` of an
            `AdaptiveBins`; None for those of all losses of the model.

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
            f"loss={model.loss!r}. Give the state of a loss that the model holds elsewhere: "
            "attach(model, loss.gamma_state)."
        )
    if keras.backend.backend() != "jax":
        return
    for one in states:
        one.listen(model, before=_synchronize, after=_rebuild_steps)
        if not _is_carried(model, one) and _hang(model, one):
            _rebuild_steps(model)
            one.handed_over()


def _hang(model: keras.Model, state: HeldState) -> bool:
    """Hang a state below a metric of a model; return whether one was found."""
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
    """Yield the metrics of a model, and those in the container that Keras keeps for `compile`."""
    for metric in model.metrics:
        yield metric
        yield from getattr(metric, "metrics", [])


def _is_carried(model: keras.Model, state: HeldState) -> bool:
    tracked = {id(variable) for variable in model.metrics_variables}
    return all(id(variable) in tracked for variable in state.variables)


def _outlives_reset(host: keras.metrics.Metric, state: HeldState) -> bool:
    """Return whether a metric leaves a state below it alone when it is reset.

    The default of Keras sets all variables to 0, those below the metric too.
    """
    ours = {id(variable) for variable in state.variables}
    # A variable that the reset does not touch comes back itself.
    kept = {id(value) for value in host.stateless_reset_state()}
    return ours <= kept


def _compiled(model: keras.Model) -> tuple[Any, Any]:
    """Return what changes when a model is compiled with another loss."""
    return model.optimizer, model.loss


def _synchronize(model: keras.Model) -> None:
    """Give variables their values back, which the trainer holds while a step runs.

    What is assigned to them before that is lost.
    """
    model.jax_state_sync()


def _rebuild_steps(model: keras.Model) -> bool:
    """Have the steps that exist compiled anew; return whether there are any."""
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
