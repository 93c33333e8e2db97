"""Multinomial logistic regression with a quadratic penalty: a truncated Newton method in NumPy.

Value and gradient are float64, so the optimum is. The Hessian only bends the steps towards it: its
products are float32, at a third of the time, until they no longer help.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from keras_focal._host import weighted_sum
from keras_focal.calibration.maps._solvers import RIDGE, TOLERANCE, Solution

_MOST_BLOCKS = 2**25
"""Numbers that the blocks of a matrix may hold: those of 320 classes."""

_BLOCK = 2**17
"""Numbers in a block of rows of a diagonal map: what is made of it stays near the processor."""

_MANY_PRODUCTS = 60
"""Products in a step after which the blocks of a matrix are computed anew."""


class Curvature(ABC):
    """The Hessian of a penalised likelihood at some probabilities.

    Attributes:
        diagonal: Second derivative by each parameter.
        products: How many were asked for.
    """

    diagonal: np.ndarray
    products = 0

    @abstractmethod
    def product(self, direction: np.ndarray) -> np.ndarray:
        """Return the Hessian times a direction."""

    @abstractmethod
    def solve_roughly(self, gradient: np.ndarray) -> np.ndarray:
        """Return the inverse of a matrix near the Hessian, times a gradient."""


class Softmax(ABC):
    """Mean of -log softmax(predictors) of the label, plus penalty (parameters - start)^2 / 2.

    Args:
        features: Array, shape (N, K).
        labels: Class ids, shape (N,).
        weights: Weights >= 0, shape (N,).
        penalty: Curvature of the penalty by each parameter.
    """

    start: np.ndarray

    def __init__(
        self, features: np.ndarray, labels: np.ndarray, weights: np.ndarray, penalty: np.ndarray
    ):
        self.features, self.labels = features, labels
        self.weights = weights / weights.sum()
        self.penalise(penalty)

    def penalise(self, penalty: np.ndarray) -> None:
        """Take another penalty."""
        self.penalty = penalty + RIDGE

    @abstractmethod
    def value(self, parameters: np.ndarray) -> tuple[float, Any]:
        """Return what is minimised, and what `gradient` and `curvature` need of that place."""

    @abstractmethod
    def gradient(self, parameters: np.ndarray, place: Any) -> np.ndarray:
        """Return the derivative of `value`."""

    @abstractmethod
    def curvature(self, place: Any, dtype: str) -> Curvature:
        """Return the Hessian, whose products have a dtype."""

    def _penalty(self, parameters: np.ndarray) -> float:
        shift = parameters - self.start
        return 0.5 * float(np.sum(self.penalty * shift * shift))

    def solve(self, guess: np.ndarray | None = None, tolerance: float = TOLERANCE) -> Solution:
        """Return the minimum.

        Args:
            guess: None, or parameters to begin at; the minimum is the same.
            tolerance: Of the norm of the gradient, in units in which each parameter has the
                curvature 1.
        """
        at = self.start if guess is None else guess
        place: Any
        value, place = self.value(at)
        dtype, last = "float32", np.inf
        for iterations in range(200):
            gradient, curvature = self.gradient(at, place), self.curvature(place, dtype)
            norm = float(np.sqrt(np.sum(gradient * gradient / curvature.diagonal)))
            if norm <= tolerance:
                return Solution(at, value, iterations, True)
            if norm > 0.1 * last and norm < 1e-3:
                curvature = self.curvature(place, dtype := "float64")
            last = norm
            step = conjugate_gradients(curvature, -gradient, min(0.1, norm**0.5), tolerance)
            # Probabilities of one place at a time are in memory.
            place = None
            del curvature
            found = self._downhill(at, value, step, float(np.vdot(gradient, step)))
            if found is None:
                break
            at, value, place = found
        return Solution(at, value, iterations, False)

    def _downhill(
        self, at: np.ndarray, value: float, step: np.ndarray, slope: float
    ) -> tuple[np.ndarray, float, Any] | None:
        """Return where a step, or a part of it, leads; None where none leads down."""
        for size in 0.25 ** np.arange(20):
            following, place = self.value(at + size * step)
            # At the minimum the value is flat to its last digit.
            if following <= value + 1e-4 * size * slope + 1e-15 * abs(value):
                return at + size * step, following, place
        return None


def conjugate_gradients(
    curvature: Curvature, descent: np.ndarray, reduction: float, tolerance: float
) -> np.ndarray:
    """Return the step to where the gradient is `reduction` of its size, or below a tolerance."""
    residual, step = descent.copy(), np.zeros_like(descent)
    towards = curvature.solve_roughly(residual)
    direction, square = towards, float(np.vdot(residual, towards))
    enough = max(square * reduction**2, (0.1 * tolerance) ** 2)
    while curvature.products < 300:
        curvature.products += 1
        product = curvature.product(direction)
        bend = float(np.vdot(direction, product))
        if bend <= 0:
            break
        step += (square / bend) * direction
        residual -= (square / bend) * product
        towards = curvature.solve_roughly(residual)
        following = float(np.vdot(residual, towards))
        if following <= enough:
            break
        direction = towards + (following / square) * direction
        square = following
    return step


class _Place(NamedTuple):
    """Sums at some v and b, and probabilities.

    Attributes:
        slope: Derivative of the mean of -log p by v and b, shape (2, K).
        own: Sums of w p f^2, w p f and w p, shape (3, K).
        bent: The same with p (1 - p).
        p: Probabilities in float32, shape (N, K).
    """

    slope: np.ndarray
    own: np.ndarray
    bent: np.ndarray
    p: np.ndarray


class Diagonal(Softmax):
    """Predictors v f + b; the parameters are v and b, shape (2, K).

    All is summed over blocks of rows: beside features, only probabilities in float32 are kept.

    Args:
        features: Array z, shape (N, K).
        labels: As in `Softmax`.
        weights: As in `Softmax`.
        penalty: As in `Softmax`.
        unit: f is unit z - shift.
        shift: None for 0, or of each row, shape (N,).
    """

    def __init__(
        self,
        features: np.ndarray,
        labels: np.ndarray,
        weights: np.ndarray,
        penalty: np.ndarray,
        unit: float = 1.0,
        shift: np.ndarray | None = None,
    ):
        super().__init__(features, labels, weights, penalty)
        self.start = np.stack([np.ones(features.shape[1]), np.zeros(features.shape[1])])
        self.rough = features.astype("float32", copy=False)
        self.unit, self.shift = unit, shift

    @property
    def slices(self) -> Iterator[slice]:
        """The rows of each block."""
        size = max(1, _BLOCK // self.features.shape[1])
        return (slice(start, start + size) for start in range(0, len(self.labels), size))

    def value(self, parameters: np.ndarray) -> tuple[float, _Place]:
        (v, b), classes = parameters, self.features.shape[1]
        total, of_labels = 0.0, np.zeros((2, classes))
        own, bent = np.zeros((3, classes)), np.zeros((3, classes))
        probabilities = np.empty(self.features.shape, "float32")
        for rows in self.slices:
            labels, weights = self.labels[rows], self.weights[rows]
            every = np.arange(len(labels))
            f = np.multiply(self.features[rows], self.unit, dtype="float64")
            if self.shift is not None:
                f -= self.shift[rows, None]
            z = f * v
            z += b
            z -= z.max(axis=1, keepdims=True)
            true = z[every, labels]
            p = np.exp(z, out=z)
            sums = p.sum(axis=1)
            p /= sums[:, None]
            probabilities[rows] = p
            total += weighted_sum(weights, np.log(sums) - true)
            of_labels[0] += np.bincount(labels, weights * f[every, labels], classes)
            of_labels[1] += np.bincount(labels, weights, classes)
            own += _moments(weights, p, f)
            p -= p * p
            bent += _moments(weights, p, f)
        place = _Place(own[1:] - of_labels, own, bent, probabilities)
        return total + self._penalty(parameters), place

    def gradient(self, parameters: np.ndarray, place: _Place) -> np.ndarray:
        return place.slope + self.penalty * (parameters - self.start)

    def curvature(self, place: _Place, dtype: str) -> Curvature:
        return _DiagonalCurvature(self, place, dtype)


class _DiagonalCurvature(Curvature):
    """The sum of w (diag(p) - p p^T) by v and b: 2 x 2 for each class, less J^T w J, J = (p f, p).

    The inverse near its own leaves out what classes share.
    """

    def __init__(self, problem: Diagonal, place: _Place, dtype: str):
        self.problem, self.dtype = problem, dtype
        self.own, self.p = place.own, place.p
        vv, vb, bb = place.bent
        self.diagonal = np.stack([vv, bb]) + problem.penalty
        # With 1e-6 more the determinant is above its rounding.
        vv, bb = self.diagonal * (1 + 1e-6)
        self.inverse = np.stack([bb, -vb, vv]) / (vv * bb - vb * vb)

    def product(self, direction: np.ndarray) -> np.ndarray:
        problem, dtype, away = self.problem, self.dtype, np.zeros_like(direction)
        features = problem.rough if dtype == "float32" else problem.features
        v, b = direction.astype(dtype)
        for rows in problem.slices:
            p, weights = self.p[rows].astype(dtype, copy=False), problem.weights[rows]
            pz = p * features[rows]
            along = problem.unit * (pz @ v) + p @ b
            if problem.shift is not None:
                along -= problem.shift[rows] * (p @ v)
            along *= weights
            of_rows = along.astype(dtype, copy=False)
            away[0] += problem.unit * (of_rows @ pz)
            away[1] += of_rows @ p
            if problem.shift is not None:
                away[0] -= (along * problem.shift[rows]).astype(dtype, copy=False) @ p
        return _by_class(self.own, direction) - away + problem.penalty * direction

    def solve_roughly(self, gradient: np.ndarray) -> np.ndarray:
        return _by_class(self.inverse, gradient)


def _moments(weights: np.ndarray, p: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Return the sums of weights p f^2, weights p f and weights p, shape (3, K)."""
    first = p * f
    sums = [weights @ p, weights @ first]
    first *= f
    return np.stack([weights @ first, sums[1], sums[0]])


def _by_class(blocks: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Return [[vv, vb], [vb, bb]] (v, b) of each class."""
    (vv, vb, bb), (v, b) = blocks, vector
    return np.stack([vv * v + vb * b, vb * v + bb * b])


class Full(Softmax):
    """Predictors W f + b; the parameters are W with b as its last column, shape (K, K + 1)."""

    def __init__(
        self, features: np.ndarray, labels: np.ndarray, weights: np.ndarray, penalty: np.ndarray
    ):
        ones = np.ones((len(features), 1))
        super().__init__(np.concatenate([features, ones], axis=1), labels, weights, penalty)
        self.start = np.eye(features.shape[1], features.shape[1] + 1)
        self._rows = np.arange(len(labels))
        self.rough = self.features.astype("float32")
        self._squares = self.rough**2
        self._blocks: np.ndarray | None = None
        self._inverse: np.ndarray | None = None
        self._latest: _FullCurvature | None = None

    def penalise(self, penalty: np.ndarray) -> None:
        super().penalise(penalty)
        self._inverse = None

    def value(self, parameters: np.ndarray) -> tuple[float, np.ndarray]:
        z = self.features @ parameters.T
        z -= z.max(axis=1, keepdims=True)
        true = z[self._rows, self.labels]
        p = np.exp(z, out=z)
        total = p.sum(axis=1)
        p /= total[:, None]
        return weighted_sum(self.weights, np.log(total) - true) + self._penalty(parameters), p

    def gradient(self, parameters: np.ndarray, place: np.ndarray) -> np.ndarray:
        residuals = place * self.weights[:, None]
        residuals[self._rows, self.labels] -= self.weights
        return residuals.T @ self.features + self.penalty * (parameters - self.start)

    def curvature(self, place: np.ndarray, dtype: str) -> Curvature:
        found = _FullCurvature(self, place, dtype)
        is_old = self._blocks is None or (self._latest and self._latest.products > _MANY_PRODUCTS)
        # Where the penalty is more than the data say, a matrix of blocks is nearly diagonal.
        is_coupled = self.penalty[0, 1] < np.median(found.diagonal - self.penalty)
        if is_old and is_coupled and self.start.size * len(self.start) <= _MOST_BLOCKS:
            self._blocks, self._inverse = _blocks(found.bends, self.rough), None
        if self._inverse is None and self._blocks is not None:
            # With 1e-6 more the smallest eigenvalue is above its rounding.
            blocks = self._blocks.copy()
            on = np.arange(blocks.shape[1])
            blocks[:, on, on] = (1 + 1e-6) * blocks[:, on, on] + self.penalty
            self._inverse = np.linalg.inv(blocks).astype("float32")
        found.inverse, self._latest = self._inverse, found
        return found


class _FullCurvature(Curvature):
    """The sum of w (diag(p) - p p^T) x f f^T.

    The inverse near its own leaves out what classes share, and is of probabilities at an earlier
    place; of very many classes, or with a strong penalty, it is that of the diagonal.
    """

    inverse: np.ndarray | None = None

    def __init__(self, problem: Full, p: np.ndarray, dtype: str):
        self.features = problem.rough if dtype == "float32" else problem.features
        self.p = p.astype(dtype)
        self.weighted = self.p * problem.weights[:, None].astype(dtype)
        self.bends = (self.weighted * (1 - self.p)).astype("float32")
        self.penalty = problem.penalty
        self.diagonal = self.bends.T @ problem._squares + self.penalty

    def product(self, direction: np.ndarray) -> np.ndarray:
        along = self.features @ direction.T.astype(self.p.dtype)
        along *= self.weighted
        along -= self.p * along.sum(axis=1, keepdims=True)
        return (along.T @ self.features).astype("float64") + self.penalty * direction

    def solve_roughly(self, gradient: np.ndarray) -> np.ndarray:
        if self.inverse is None:
            return gradient / self.diagonal
        found = np.matmul(self.inverse, gradient.astype("float32")[..., None])
        return found[..., 0].astype("float64")


def _blocks(bends: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Return the sum of bends f f^T for each class, of the rows where it bends."""
    blocks = np.empty((bends.shape[1], features.shape[1], features.shape[1]))
    least = 1e-4 * bends.max(axis=0)
    for k, block in enumerate(blocks):
        rows = bends[:, k] > least[k]
        # BLAS takes half the time for a product with its own transpose.
        own = features[rows] * np.sqrt(bends[rows, k, None])
        block[:] = own.T @ own
    return blocks
