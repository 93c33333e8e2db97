"""Functions with a custom gradient, on every backend and under all of its transformations.

Everything that may be traced is passed as an argument. A value that a custom derivative closes over
belongs to the innermost transformation at the time, and would leak from it under an outer one.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_focal._typing import Tensor
from keras_focal.functional._backend.compilation import without_autograph

Backward = Callable[[tuple[Tensor, ...], tuple[Tensor, ...], Tensor], Sequence[Tensor | None]]


def with_gradient(
    forward: Callable[..., tuple[Tensor, ...]], backward: Backward, num_constants: int = 0
) -> Callable[..., Any]:
    """Return the function arguments -> forward(*arguments)[0] with a custom gradient.

    Args:
        forward: Function of tensors that returns the value, followed by what `backward` needs.
        backward: Function (arguments, results of `forward`, gradient of the value) -> one gradient
            for each argument, or None. It can be differentiated for second derivatives. There are
            no forward-mode derivatives.
        num_constants: How many results of `forward` after the first are returned with the value.
            They have no gradient.

    Returns:
        Function of the same arguments as `forward`, to the value; or to a tuple of the value and
        the constants if there are any.
    """
    on_backend = {"jax": _on_jax, "torch": _on_torch}.get(keras.backend.backend(), _on_tensorflow)
    results_of = on_backend(forward, backward, num_constants + 1)
    if num_constants:
        return results_of
    return lambda *arguments: results_of(*arguments)[0]


def _on_jax(forward: Callable, backward: Backward, number: int) -> Callable[..., tuple]:
    import jax

    @jax.custom_vjp
    def results_of(*arguments: Tensor) -> tuple[Tensor, ...]:
        return tuple(forward(*arguments)[:number])

    def save(*arguments: Tensor) -> tuple[tuple[Tensor, ...], Any]:
        terms = forward(*arguments)
        return tuple(terms[:number]), (arguments, terms)

    def differentiate(saved: Any, upstream: tuple[Tensor, ...]) -> tuple[Tensor | None, ...]:
        arguments, terms = saved
        return tuple(backward(arguments, terms, upstream[0]))

    results_of.defvjp(save, differentiate)
    return results_of


def _on_tensorflow(forward: Callable, backward: Backward, number: int) -> Callable[..., tuple]:
    import tensorflow as tf

    @tf.custom_gradient
    @without_autograph
    def results_of(*arguments: Tensor) -> tuple[tuple[Tensor, ...], Callable]:
        terms = forward(*arguments)

        @without_autograph
        def differentiate(upstream: Tensor, *_: Tensor) -> list[Tensor | None]:
            return list(backward(arguments, terms, upstream))

        return tuple(terms[:number]), differentiate

    # A variable must not be read inside the function.
    return lambda *arguments: results_of(*map(tf.convert_to_tensor, arguments))


def _on_torch(forward: Callable, backward: Backward, number: int) -> Callable[..., tuple]:
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

    return lambda *arguments: Value.apply(*arguments)[:number]


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
