"""Values with a gradient of their own."""

from collections.abc import Callable

from keras import ops

from keras_focal.functional._backend.precision import Tensor


def with_gradient(forward: Callable, differentiate: Callable) -> Callable[[Tensor], Tensor]:
    """Return z -> forward(z)[0] with the gradient `differentiate(z, forward(z), upstream)`."""

    @ops.custom_gradient
    def value_of(z: Tensor) -> tuple[Tensor, Callable]:
        terms = forward(z)

        def gradient(*args: Tensor, upstream: Tensor | None = None) -> Tensor:
            if upstream is None:
                return differentiate(z, terms, args[0])
            # torch hands the inputs back; only what is recomputed from them can be
            # differentiated a second time.
            return differentiate(args[0], forward(args[0]), upstream)

        return terms[0], gradient

    return value_of
