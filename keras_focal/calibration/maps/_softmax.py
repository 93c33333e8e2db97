"""Multinomial logistic regression with a quadratic penalty: a truncated Newton method in NumPy.

Value and gradient are float64, so the optimum is. The Hessian only bends the steps towards it: its
products are float32, at a third of the time, until they no longer help.
"""

from abc import ABC, abstractmethod

import numpy as np

from keras_focal.calibration.maps._solvers import RIDGE, TOLERANCE, Solution

_MOST_BLOCKS = 2**25
"""Numbers that the blocks of a matrix may hold: those of 320 classes."""

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
        features: Float64 array, shape (N, K).
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
        self._rows = np.arange(len(labels))

    def penalise(self, penalty: np.ndarray) -> None:
        """Take another penalty."""
        self.penalty = penalty + RIDGE

    @abstractmethod
    def predictors(self, parameters: np.ndarray) -> np.ndarray:
        """Return a new array, shape (N, K)."""

    @abstractmethod
    def adjoint(self, residuals: np.ndarray) -> np.ndarray:
        """Return the derivative by the parameters from that by the predictors."""

    @abstractmethod
    def curvature(self, probabilities: np.ndarray, dtype: str) -> Curvature:
        """Return the Hessian, whose products have a dtype."""

    def value(self, parameters: np.ndarray) -> tuple[float, np.ndarray]:
        """Return what is minimised, and the probabilities."""
        z = self.predictors(parameters)
        z -= z.max(axis=1, keepdims=True)
        true = z[self._rows, self.labels]
        p = np.exp(z, out=z)
        total = p.sum(axis=1)
        p /= total[:, None]
        shift = parameters - self.start
        penalty = 0.5 * float(np.sum(self.penalty * shift * shift))
        return float(self.weights @ (np.log(total) - true)) + penalty, p

    def gradient(self, parameters: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """Return the derivative of `value`."""
        residuals = probabilities * self.weights[:, None]
        residuals[self._rows, self.labels] -= self.weights
        return self.adjoint(residuals) + self.penalty * (parameters - self.start)

    def solve(self, guess: np.ndarray | None = None, tolerance: float = TOLERANCE) -> Solution:
        """Return the minimum.

        Args:
            guess: None, or parameters to begin at; the minimum is the same.
            tolerance: Of the norm of the gradient, in units in which each parameter has the
                curvature 1.
        """
        at = self.start if guess is None else guess
        value, p = self.value(at)
        dtype, last = "float32", np.inf
        for iterations in range(200):
            gradient, curvature = self.gradient(at, p), self.curvature(p, dtype)
            norm = float(np.sqrt(np.sum(gradient * gradient / curvature.diagonal)))
            if norm <= tolerance:
                return Solution(at, value, iterations, True)
            if norm > 0.1 * last and norm < 1e-3:
                curvature = self.curvature(p, dtype := "float64")
            last = norm
            step = conjugate_gradients(curvature, -gradient, min(0.1, norm**0.5), tolerance)
            found = self._downhill(at, value, step, float(np.vdot(gradient, step)))
            if found is None:
                break
            at, value, p = found
        return Solution(at, value, iterations, False)

    def _downhill(
        self, at: np.ndarray, value: float, step: np.ndarray, slope: float
    ) -> tuple[np.ndarray, float, np.ndarray] | None:
        """Return where a step, or a part of it, leads; None where none leads down."""
        for size in 0.25 ** np.arange(20):
            following, p = self.value(at + size * step)
            # At the minimum the value is flat to its last digit.
            if following <= value + 1e-4 * size * slope + 1e-15 * abs(value):
                return at + size * step, following, p
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


class Diagonal(Softmax):
    """Predictors v f + b; the parameters are v and b, shape (2, K)."""

    def __init__(
        self, features: np.ndarray, labels: np.ndarray, weights: np.ndarray, penalty: np.ndarray
    ):
        super().__init__(features, labels, weights, penalty)
        self.start = np.stack([np.ones(features.shape[1]), np.zeros(features.shape[1])])

    def predictors(self, parameters: np.ndarray) -> np.ndarray:
        z = self.features * parameters[0]
        z += parameters[1]
        return z

    def adjoint(self, residuals: np.ndarray) -> np.ndarray:
        sums = np.einsum("nk,nk->k", residuals, self.features)
        return np.stack([sums, residuals.sum(axis=0)])

    def curvature(self, probabilities: np.ndarray, dtype: str) -> Curvature:
        return _DiagonalCurvature(self, probabilities, dtype)


class _DiagonalCurvature(Curvature):
    """The sum of w (diag(p) - p p^T) by v and b: 2 x 2 for each class, less J^T w J, J = (p f, p).

    The inverse near its own leaves out what classes share.
    """

    def __init__(self, problem: Diagonal, p: np.ndarray, dtype: str):
        classes, features = p.shape[1], problem.features
        self.weights = problem.weights.astype(dtype)
        self.shared = np.empty((len(p), 2 * classes), dtype)
        self.shared[:, classes:] = p
        np.multiply(p, features, out=self.shared[:, :classes], casting="same_kind")
        self.penalty = problem.penalty
        weighted = p * problem.weights[:, None]
        self.own = _moments(weighted, features)
        weighted *= 1 - p
        vv, vb, bb = _moments(weighted, features)
        self.diagonal = np.stack([vv, bb]) + self.penalty
        # With 1e-6 more the determinant is above its rounding.
        vv, bb = self.diagonal * (1 + 1e-6)
        self.inverse = np.stack([bb, -vb, vv]) / (vv * bb - vb * vb)

    def product(self, direction: np.ndarray) -> np.ndarray:
        along = self.shared @ direction.ravel().astype(self.shared.dtype)
        away = ((self.weights * along) @ self.shared).astype("float64")
        return _by_class(self.own, direction) - away.reshape(2, -1) + self.penalty * direction

    def solve_roughly(self, gradient: np.ndarray) -> np.ndarray:
        return _by_class(self.inverse, gradient)


def _moments(weights: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Return the sums of weights f^2, weights f and weights, shape (3, K)."""
    second = np.einsum("nk,nk,nk->k", weights, features, features)
    return np.stack([second, np.einsum("nk,nk->k", weights, features), weights.sum(axis=0)])


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
        self.rough = self.features.astype("float32")
        self._squares = self.rough**2
        self._blocks: np.ndarray | None = None
        self._inverse: np.ndarray | None = None
        self._latest: _FullCurvature | None = None

    def penalise(self, penalty: np.ndarray) -> None:
        super().penalise(penalty)
        self._inverse = None

    def predictors(self, parameters: np.ndarray) -> np.ndarray:
        return self.features @ parameters.T

    def adjoint(self, residuals: np.ndarray) -> np.ndarray:
        return residuals.T @ self.features

    def curvature(self, probabilities: np.ndarray, dtype: str) -> Curvature:
        found = _FullCurvature(self, probabilities, dtype)
        is_old = self._latest is None or self._latest.products > _MANY_PRODUCTS
        if is_old and self.start.size * len(self.start) <= _MOST_BLOCKS:
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
    place; of very many classes it is that of the diagonal.
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
