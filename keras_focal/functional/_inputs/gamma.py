"""What the focal losses take: logits of any precision, and a gamma in three forms."""

from collections.abc import Callable
from typing import Any

from keras import ops

from keras_focal.functional._backend.precision import Tensor

LARGEST_PRODUCT = 8
"""A power with a whole exponent up to this is a product."""

Gamma = float | Tensor | Callable[[Tensor], Tensor]


def split_rows(value: Any, like: Tensor) -> tuple[Any, tuple[Tensor, ...]]:
    """Return a gamma or an alpha, and its entries for `like` where it is a tensor of rank > 0."""
    if value is None or callable(value) or isinstance(value, int | float):
        return value, ()
    # Also reads a variable, which must not be read inside a custom gradient.
    value = ops.stop_gradient(ops.convert_to_tensor(value))
    if len(value.shape) == 0:
        return value, ()
    return value, (ops.broadcast_to(value, ops.shape(like)),)


def resolve(gamma: Gamma, p: Tensor) -> Any:
    """Return the gamma of each p, a constant in the derivative; a number stays one."""
    if isinstance(gamma, int | float):
        return float(gamma)
    value = gamma(p) if callable(gamma) else gamma
    return ops.stop_gradient(ops.cast(value, p.dtype))


def is_signed(gamma: Any) -> bool:
    """Return whether a gamma may be negative: a number that is, or a function that says so."""
    if isinstance(gamma, int | float):
        return gamma < 0
    return getattr(gamma, "is_signed", False)


def is_product(gamma: Any) -> bool:
    """Return whether x to the power `gamma` is a product of a few factors."""
    return isinstance(gamma, float) and gamma in range(LARGEST_PRODUCT + 1)


def power(x: Tensor, gamma: Any) -> Tensor:
    """Return x to the power `gamma`, a number or a tensor; 0 to the power 0 is 1."""
    if not is_product(gamma):
        return ops.power(x, gamma)
    if gamma == 0:
        return ops.ones_like(x)
    root = power(x, float(gamma // 2)) if gamma > 1 else x
    return root if gamma == 1 else root * root * x if gamma % 2 else root * root
