"""gamma and alpha: read once, handed to a kernel as tensors, put together again inside it.

A number stays a number, so that a whole exponent becomes products. Whatever may be traced, a
tensor or the tensors of a rule, goes into the kernel as an argument (`_backend/derivative.py`).
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_focal._validation import check_alpha, check_alpha_length, check_exponent, is_number
from keras_focal.functional._backend.precision import Tensor, floating, to_float

LARGEST_PRODUCT = 8
"""A power with a whole exponent up to this is a product."""

Gamma = float | Tensor | Callable[[Tensor], Tensor]


class Parameter(NamedTuple):
    """A gamma or an alpha, taken apart.

    Attributes:
        build: Gives it back from its tensors.
        rows: Tensors with an entry for each row, or each output.
        shared: Tensors that all rows have in common.
        is_learned: Whether a gradient may be asked for: it is a tensor of the caller's.
        is_signed: Whether it may be negative.
    """

    build: Callable[..., Any]
    rows: tuple[Tensor, ...] = ()
    shared: tuple[Tensor, ...] = ()
    is_learned: bool = False
    is_signed: bool = False


def constant(value: Any) -> Parameter:
    """Return a number, a vector of numbers, or None as a parameter without tensors."""
    return Parameter(lambda: value, is_signed=isinstance(value, float) and value < 0)


def held(tensor: Tensor) -> Parameter:
    """Return a scalar that a callback may change and nobody differentiates by."""
    return Parameter(lambda x: x, shared=(tensor,))


def read_gamma(gamma: Any, like: Tensor, *, signed: bool = True) -> Parameter:
    """Return a gamma as a parameter.

    Args:
        gamma: Number, tensor that broadcasts to `like`, function from p to gamma, or a parameter.
        like: Tensor with one entry for each gamma.
        signed: Whether the loss has a form for negative gammas.

    Raises:
        ValueError: If gamma is none of these, not finite, or negative where it must not be.
    """
    if isinstance(gamma, Parameter):
        read = gamma
    elif dataclasses.is_dataclass(gamma) and not isinstance(gamma, type):
        # A rule with state: its tensors are arguments.
        fields = dataclasses.fields(gamma)
        tensors = tuple(ops.convert_to_tensor(getattr(gamma, field.name)) for field in fields)
        sign = bool(getattr(gamma, "is_signed", False))
        read = Parameter(type(gamma), shared=tensors, is_signed=sign)
    elif callable(gamma):
        read = Parameter(lambda: gamma, is_signed=getattr(gamma, "is_signed", False) is True)
    elif is_number(gamma):
        read = constant(check_exponent("gamma", gamma, signed=signed))
    else:
        read = _of_tensor("gamma", gamma, like)
    if read.is_signed and not signed:
        raise ValueError(
            "`gamma` must be >= 0: this loss has no form for a negative exponent. Received: "
            f"gamma={gamma!r}, which may be negative. Use a focal loss, or a rule with gammas >= 0."
        )
    return read


def read_alpha(
    alpha: Any, *, num_classes: int | None = None, like: Tensor | None = None
) -> Parameter:
    """Return an alpha as a parameter.

    Args:
        alpha: None, number, or tensor.
        num_classes: K, where alpha weighs classes: it has shape () or (K,).
        like: Tensor of independent outputs to whose shape it broadcasts.

    Raises:
        ValueError: If alpha is none of these or has another shape.
    """
    if isinstance(alpha, Parameter):
        return alpha
    if alpha is None or is_number(alpha):
        return constant(None if alpha is None else float(alpha))
    is_array = isinstance(alpha, list | tuple | np.ndarray)
    if is_array:
        alpha = check_alpha(alpha)
    if num_classes is not None:
        check_alpha_length(alpha, num_classes)
        return constant(np.asarray(alpha)) if is_array else _of_tensor("alpha", alpha, None)
    if is_array:
        return _broadcast(ops.convert_to_tensor(alpha, dtype=to_float(like).dtype), like, False)
    return _of_tensor("alpha", alpha, like)


def _of_tensor(name: str, value: Any, like: Tensor | None) -> Parameter:
    if value is None or isinstance(value, str | dict | bool):
        raise ValueError(
            f"`{name}` must be a number, a tensor or a function of p. Received: {name}={value!r}. "
            'Names such as "FLSD-53" are read by `keras_focal.losses`; here give '
            "`keras_focal.gammas.SampleDependentGamma([0.2], [5.0, 3.0])`."
        )
    return _broadcast(floating(value), like, True)


def _broadcast(value: Tensor, like: Tensor | None, learned: bool) -> Parameter:
    if len(value.shape) == 0 or like is None:
        return Parameter(lambda x: x, shared=(value,), is_learned=learned)
    rows = (ops.broadcast_to(value, ops.shape(like)),)
    return Parameter(lambda x: x, rows=rows, is_learned=learned)


class Parameters:
    """The parameters of a loss: their tensors in one line, and back."""

    def __init__(self, *parameters: Parameter):
        self._parameters = parameters
        self.rows = tuple(tensor for each in parameters for tensor in each.rows)
        self.shared = tuple(tensor for each in parameters for tensor in each.shared)

    def values(self, *tensors: Tensor) -> list[Any]:
        """Return the parameters that the tensors of `rows`, then of `shared`, make."""
        rows: Iterator = iter(tensors[: len(self.rows)])
        shared: Iterator = iter(tensors[len(self.rows) :])
        return [
            each.build(*(next(rows) for _ in each.rows), *(next(shared) for _ in each.shared))
            for each in self._parameters
        ]

    def gradients(self, upstream: Tensor, slopes: Sequence[Tensor]) -> list[Tensor | None]:
        """Return gradients by `rows`, then by `shared`; None where none may be asked for.

        Args:
            upstream: Gradient of each value.
            slopes: Derivative of the values by each learned parameter, of the shape of the values
                or with one axis more.
        """
        rows: list[Tensor | None] = []
        shared: list[Tensor | None] = []
        left = iter(slopes)
        for each in self._parameters:
            if not each.is_learned:
                rows += [None] * len(each.rows)
                shared += [None] * len(each.shared)
                continue
            slope = next(left)
            factor = upstream if len(slope.shape) == len(upstream.shape) else upstream[..., None]
            gradient = slope * factor
            if each.rows:
                rows.append(ops.cast(gradient, each.rows[0].dtype))
            else:
                (parameter,) = each.shared
                leading = tuple(range(len(gradient.shape) - len(parameter.shape)))
                shared.append(ops.cast(ops.sum(gradient, axis=leading), parameter.dtype))
        return rows + shared


def resolve(gamma: Gamma, p: Tensor) -> Any:
    """Return the gamma of each p; a number stays one, a function is constant in the derivative."""
    if isinstance(gamma, int | float):
        return float(gamma)
    if callable(gamma):
        return ops.stop_gradient(ops.cast(gamma(p), p.dtype))
    return ops.cast(gamma, p.dtype)


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
