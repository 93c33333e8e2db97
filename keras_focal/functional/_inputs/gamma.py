"""gamma and alpha: split into tensors, passed to a kernel, and rebuilt inside it.

A number stays a Python number, so that powers with a whole exponent become products. Whatever may
be traced, a tensor or the tensors of a rule, is an argument of the kernel
(`_backend/derivative.py`).
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_focal._typing import Tensor
from keras_focal._validation.classes import check_alpha, check_alpha_length
from keras_focal._validation.gamma import check_gamma
from keras_focal._validation.numbers import is_number
from keras_focal.functional._backend.precision import floating, to_float

LARGEST_PRODUCT = 8
"""Powers with a whole exponent up to this are computed as products."""

Gamma = float | Tensor | Callable[[Tensor], Tensor]


class Parameter(NamedTuple):
    """A gamma or an alpha, split into tensors.

    Attributes:
        build: Function that rebuilds it from its tensors.
        rows: Tensors with an entry for each row or each output.
        shared: Tensors that all rows have in common.
        is_learned: Whether it has a gradient: true if it was given as a tensor.
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
    """Return a scalar tensor that callbacks may change, as a parameter without a gradient."""
    return Parameter(lambda x: x, shared=(tensor,))


def read_gamma(gamma: Any, like: Tensor, *, signed: bool = True) -> Parameter:
    """Return a gamma as a parameter.

    Args:
        gamma: Number, tensor that broadcasts to `like`, function from p to gamma, or a parameter.
        like: Tensor with one entry for each gamma.
        signed: Whether the loss is defined for negative gammas.

    Raises:
        ValueError: If gamma is none of these, not finite, or negative where it must not be.
    """
    if isinstance(gamma, Parameter):
        read = gamma
    elif dataclasses.is_dataclass(gamma) and not isinstance(gamma, type):
        # A rule with state: its tensors become arguments of the kernel.
        fields = dataclasses.fields(gamma)
        tensors = tuple(ops.convert_to_tensor(getattr(gamma, field.name)) for field in fields)
        sign = bool(getattr(gamma, "is_signed", False))
        read = Parameter(type(gamma), shared=tensors, is_signed=sign)
    elif callable(gamma):
        read = Parameter(lambda: gamma, is_signed=getattr(gamma, "is_signed", False) is True)
    elif is_number(gamma):
        read = constant(check_gamma("gamma", gamma, signed=signed))
    else:
        read = _of_tensor("gamma", gamma, like)
    if read.is_signed and not signed:
        raise ValueError(
            "`gamma` must be >= 0: this loss is not defined for negative exponents. Received: "
            f"gamma={gamma!r}, which may be negative. Use a focal loss, or a rule with gammas >= 0."
        )
    return read


def read_alpha(
    alpha: Any, *, num_classes: int | None = None, like: Tensor | None = None
) -> Parameter:
    """Return an alpha as a parameter.

    Args:
        alpha: None, number, or tensor.
        num_classes: K, if alpha weights classes; it then has shape () or (K,).
        like: Tensor of independent outputs to whose shape alpha broadcasts.

    Raises:
        ValueError: If alpha is none of these or has another shape.
    """
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
            'Names such as "FLSD-53" are for `keras_focal.losses`; here pass '
            "`keras_focal.gammas.SampleDependentGamma([0.2], [5.0, 3.0])`."
        )
    return _broadcast(floating(value), like, True)


def _broadcast(value: Tensor, like: Tensor | None, learned: bool) -> Parameter:
    if len(value.shape) == 0 or like is None:
        return Parameter(lambda x: x, shared=(value,), is_learned=learned)
    rows = (ops.broadcast_to(value, ops.shape(like)),)
    return Parameter(lambda x: x, rows=rows, is_learned=learned)


class Parameters:
    """The parameters of a loss: flattened to tensors, and rebuilt from them."""

    def __init__(self, *parameters: Parameter):
        self._parameters = parameters
        self.rows = tuple(tensor for each in parameters for tensor in each.rows)
        self.shared = tuple(tensor for each in parameters for tensor in each.shared)

    def values(self, *tensors: Tensor) -> list[Any]:
        """Return the parameters, rebuilt from the tensors of `rows`, then of `shared`."""
        rows: Iterator = iter(tensors[: len(self.rows)])
        shared: Iterator = iter(tensors[len(self.rows) :])
        return [
            each.build(*(next(rows) for _ in each.rows), *(next(shared) for _ in each.shared))
            for each in self._parameters
        ]

    def gradients(self, upstream: Tensor, slopes: Sequence[Tensor]) -> list[Tensor | None]:
        """Return the gradients with respect to `rows`, then `shared`; None where there is none.

        Args:
            upstream: Gradient of each value.
            slopes: Derivative of the values with respect to each learned parameter, of the shape
                of the values or with one axis more.
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
    """Return the gamma of each p. A function of p counts as a constant in the derivative."""
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
