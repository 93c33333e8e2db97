"""Values with a gradient of their own, on every backend and under every transformation of it.

All that may be traced is an argument: what a custom derivative closes over belongs to the
transformation that was innermost when it was built, and leaks from it under an outer one.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_focal.functional._backend.precision import Tensor

Backward = Callable[[tuple[Tensor, ...], tuple[Tensor, ...], Tensor], Sequence[Tensor | None]]


def with_gradient(
    forward: Callable[..., tuple[Tensor, ...]], backward: Backward
) -> Callable[..., Tensor]:
    """Return the function arguments -> forward(*arguments)[0], with a gradient of its own.

    Args:
        forward: Function of tensors that returns the value and whatever else `backward` needs.
        backward: Function (arguments, what `forward` returned, gradient of the value) -> one
            gradient for each argument, None where there is none. Differentiated again, it gives
            second derivatives; forward-mode derivatives do not exist.

    Returns:
        Function of as many tensors.
    """
    if keras.backend.backend() == "jax":
        return _on_jax(forward, backward)
    if keras.backend.backend() == "torch":
        return _on_torch(forward, backward)
    return _on_tensorflow(forward, backward)


def _on_jax(forward: Callable, backward: Backward) -> Callable[..., Tensor]:
    import jax

    @jax.custom_vjp
    def value_of(*arguments: Tensor) -> Tensor:
        return forward(*arguments)[0]

    def save(*arguments: Tensor) -> tuple[Tensor, Any]:
        terms = forward(*arguments)
        return terms[0], (arguments, terms)

    def differentiate(saved: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        arguments, terms = saved
        return tuple(backward(arguments, terms, upstream))

    value_of.defvjp(save, differentiate)
    return value_of


def _on_tensorflow(forward: Callable, backward: Backward) -> Callable[..., Tensor]:
    import tensorflow as tf

    @tf.custom_gradient
    def value_of(*arguments: Tensor) -> tuple[Tensor, Callable]:
        terms = forward(*arguments)

        def differentiate(upstream: Tensor) -> list[Tensor | None]:
            return list(backward(arguments, terms, upstream))

        return terms[0], differentiate

    # A variable must not be read inside.
    return lambda *arguments: value_of(*map(tf.convert_to_tensor, arguments))


def _on_torch(forward: Callable, backward: Backward) -> Callable[..., Tensor]:
    import torch

    class Value(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(*arguments: Tensor) -> tuple[Tensor, ...]:
            return tuple(forward(*arguments))

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
            ctx.set_materialize_grads(False)
            ctx.mark_non_differentiable(*output[1:])
            ctx.save_for_backward(*inputs, *output[1:])
            ctx.number = len(inputs)

        @staticmethod
        def backward(ctx: Any, upstream: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
            saved = ctx.saved_tensors
            arguments, terms = saved[: ctx.number], saved[ctx.number :]
            # What is differentiated again has to be computed from the arguments here.
            terms = forward(*arguments) if torch.is_grad_enabled() else (None, *terms)
            gradients = backward(arguments, terms, upstream)
            return tuple(
                gradient if needed else None
                for gradient, needed in zip(gradients, ctx.needs_input_grad, strict=True)
            )

    return lambda *arguments: Value.apply(*arguments)[0]


def once(x: Tensor, name: str) -> Tensor:
    """Return x, of which no derivative can be taken: it would be wrong in silence.

    Args:
        x: Float tensor, part of a gradient.
        name: Name of the function that the gradient belongs to.
    """

    def refuse(*_: Any) -> Any:
        raise ValueError(
            f"`{name}` must be differentiated once. Received: a second derivative. Take it of the "
            "linear layer and the loss one after the other."
        )

    return with_gradient(lambda x: (ops.multiply(x, 1.0),), refuse)(x)
