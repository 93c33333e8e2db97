"""Functions with a custom gradient, on every backend and under all of its transformations.

Everything that may be traced is passed as an argument. A value that a custom derivative closes over
belongs to the innermost transformation at the time, and would leak from it under an outer one.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_focal._typing import Tensor

Backward = Callable[[tuple[Tensor, ...], tuple[Tensor, ...], Tensor], Sequence[Tensor | None]]


def with_gradient(
    forward: Callable[..., tuple[Tensor, ...]], backward: Backward
) -> Callable[..., Tensor]:
    """Return the function arguments -> forward(*arguments)[0] with a custom gradient.

    Args:
        forward: Function of tensors that returns the value, followed by what `backward` needs.
        backward: Function (arguments, results of `forward`, gradient of the value) -> one gradient
            for each argument, or None. It can be differentiated for second derivatives. There are
            no forward-mode derivatives.

    Returns:
        Function of the same arguments as `forward`.
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

    # A variable must not be read inside the function.
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
            # For second derivatives the terms must be recomputed from the arguments.
            terms = forward(*arguments) if torch.is_grad_enabled() else (None, *terms)
            gradients = backward(arguments, terms, upstream)
            return tuple(
                gradient if needed else None
                for gradient, needed in zip(gradients, ctx.needs_input_grad, strict=True)
            )

    return lambda *arguments: Value.apply(*arguments)[0]


def differentiated_once(x: Tensor, name: str) -> Tensor:
    """Return x with an error in place of its derivative, which would be wrong.

    Args:
        x: Float tensor, part of a gradient.
        name: Name of the function that the gradient belongs to.
    """

    def refuse(*_: Any) -> Any:
        raise ValueError(
            f"`{name}` must be differentiated once. Received: a second derivative. Use a linear "
            "layer followed by `sparse_categorical_focal_crossentropy` instead."
        )

    return with_gradient(lambda x: (ops.multiply(x, 1.0),), refuse)(x)
