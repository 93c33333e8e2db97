"""Convex problems of the calibration maps, solved by SciPy to rounding in float64."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from keras_focal._host import weighted_sum

RIDGE = 1e-9
"""Half the curvature that every problem gets towards its start, so that it has one finite solution:
where a class has no label or the data are separable, likelihood alone has its optimum at infinity.
"""

TOLERANCE = 1e-8
"""Norm of the gradient, in units in which each parameter has about the curvature 1."""


class Solution(NamedTuple):
    """Parameters of least value."""

    parameters: np.ndarray
    value: float
    iterations: int
    converged: bool


class Problem(ABC):
    """A sum of functions of linear predictors, and a quadratic penalty about `start`.

    Subclasses give the predictors, their adjoint, and the loss of predictors.
    """

    start: np.ndarray
    penalty: np.ndarray

    @abstractmethod
    def predictors(self, parameters: np.ndarray) -> np.ndarray: ...

    @abstractmethod
    def adjoint(self, residuals: np.ndarray) -> np.ndarray: ...

    @abstractmethod
    def loss(self, predictors: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Return the loss, its derivative by the predictors, and the probabilities."""

    @abstractmethod
    def curvature(self, probabilities: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """Return the second derivative of the loss times a direction of the predictors."""

    @abstractmethod
    def diagonal(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the second derivative by each parameter."""

    def solve(self, guess: np.ndarray | None = None, tolerance: float = TOLERANCE) -> Solution:
        """Return the minimum: Newton's method with conjugate gradients in a trust region.

        Args:
            guess: None, or parameters to begin at; the minimum is the same.
            tolerance: Of the norm of the gradient.
        """
        found = Solution(self.start if guess is None else guess, np.inf, 0, False)
        # Far from the start its units no longer fit: the second round has those of the end.
        for _ in range(3):
            found = self._round(found, tolerance)
            if found.converged:
                break
        return found

    def _round(self, begin: Solution, tolerance: float) -> Solution:
        origin = begin.parameters
        _, _, p = self.loss(self.predictors(origin))
        scale = 1.0 / np.sqrt(self.diagonal(p) + self.penalty)
        latest: dict[str, Any] = {"at": None}

        def value_and_gradient(u: np.ndarray) -> tuple[float, np.ndarray]:
            parameters = origin + scale * u
            value, residuals, p = self.loss(self.predictors(parameters))
            shift = parameters - self.start
            latest.update(at=u.copy(), p=p)
            gradient = self.adjoint(residuals) + self.penalty * shift
            return value + 0.5 * float(self.penalty @ (shift * shift)), scale * gradient

        def product(u: np.ndarray, direction: np.ndarray) -> np.ndarray:
            if not np.array_equal(latest["at"], u):
                value_and_gradient(u)
            direction = scale * direction
            along = self.curvature(latest["p"], self.predictors(direction))
            return scale * (self.adjoint(along) + self.penalty * direction)

        found = libraries().optimize.minimize(
            value_and_gradient,
            np.zeros_like(origin),
            jac=True,
            hessp=product,
            method="trust-ncg",
            options={"gtol": tolerance, "max_trust_radius": 1e4, "maxiter": 200},
        )
        is_small = bool(np.linalg.norm(found.jac) <= tolerance)
        iterations = begin.iterations + int(found.nit)
        return Solution(origin + scale * found.x, float(found.fun), iterations, is_small)


class Logistic(Problem):
    """Mean of the cross-entropy of sigmoid(features @ parameters) with targets in [0, 1]."""

    def __init__(
        self,
        features: np.ndarray,
        targets: np.ndarray,
        weights: np.ndarray,
        start: np.ndarray,
        ridge: float = RIDGE,
    ):
        self.features, self.targets, self.start = features, targets, start
        self.weights = weights / weights.sum()
        self.penalty = np.full(len(start), ridge)

    def predictors(self, parameters: np.ndarray) -> np.ndarray:
        return self.features @ parameters

    def adjoint(self, residuals: np.ndarray) -> np.ndarray:
        return residuals @ self.features

    def loss(self, predictors: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        # Both factors of p (1 - p) from one exponential that cannot overflow.
        e = np.exp(-np.abs(predictors))
        p = np.where(predictors >= 0, 1.0, e) / (1 + e)
        costs = np.maximum(predictors, 0) + np.log1p(e) - self.targets * predictors
        return (
            weighted_sum(self.weights, costs),
            self.weights * (p - self.targets),
            e / (1 + e) ** 2,
        )

    def curvature(self, probabilities: np.ndarray, direction: np.ndarray) -> np.ndarray:
        return self.weights * probabilities * direction

    def diagonal(self, probabilities: np.ndarray) -> np.ndarray:
        return (self.weights * probabilities) @ self.features**2


def logistic(
    features: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    start: np.ndarray,
    bounded: int = 0,
) -> Solution:
    """Return the best parameters of a logistic map, the first `bounded` of which are >= 0.

    The optimum with bounds lies on the best of the faces: every set of them held at 0 is tried.
    """
    # Held to a length of 1, so that a logit of 10,000 and a constant weigh alike.
    lengths = np.maximum(np.sqrt(weights @ features**2 / weights.sum()), 1e-12)

    def on_face(is_free: np.ndarray) -> Solution:
        unit = lengths[is_free]
        problem = Logistic(features[:, is_free] / unit, targets, weights, start[is_free] * unit)
        found = problem.solve()
        parameters = np.zeros(len(start))
        parameters[is_free] = found.parameters / unit
        return found._replace(parameters=parameters)

    free = np.ones(len(start), bool)
    whole = on_face(free)
    if np.all(whole.parameters[:bounded] >= 0):
        return whole
    faces = []
    for held in range(1, 2**bounded):
        free[:bounded] = [not held >> i & 1 for i in range(bounded)]
        faces.append(on_face(free.copy()))
    feasible = [face for face in faces if np.all(face.parameters[:bounded] >= 0)]
    return min(feasible, key=lambda face: face.value)


def mixture(likelihoods: np.ndarray, weights: np.ndarray) -> Solution:
    """Return shares, >= 0 of sum 1, of greatest mean log(likelihoods @ shares).

    It is concave: shares are best where no component has a mean ratio to the mixture above 1, and
    `converged` says whether that holds to 1e-8. Newton's method on -mean log + sum of the shares,
    whose minimum over shares >= 0 has the sum 1: each step is a problem of least squares >= 0.
    """
    nnls = libraries().optimize.nnls
    weights = weights / weights.sum()
    # A common factor of a row does not matter.
    likelihoods = likelihoods / likelihoods.max(axis=1, keepdims=True)
    count = likelihoods.shape[1]

    def value(shares: np.ndarray) -> float:
        with np.errstate(divide="ignore"):  # a share of 0 where nothing else is likely
            costs = -np.log(likelihoods @ shares)
        return float(shares.sum()) + weighted_sum(weights, costs)

    shares = np.full(count, 1.0 / count)
    for iterations in range(101):
        rates = likelihoods / (likelihoods @ shares)[:, None]
        mean_rates = weights @ rates
        converged = bool(mean_rates.max() - 1 <= TOLERANCE)
        if converged or iterations == 100:
            break
        curvature = (rates.T * weights) @ rates
        # Shares in units of their own, in which the curvature along each is 1.
        units = 1 / np.sqrt(np.maximum(np.diag(curvature), 1e-300))
        root = np.linalg.cholesky(units[:, None] * curvature * units + 1e-14 * np.eye(count))
        target = np.linalg.solve(root, units * (2 * mean_rates - 1))
        step = units * nnls(root.T, target)[0] - shares
        now, size = value(shares), 1.0
        while size > 1e-9 and not value(shares + size * step) <= now:
            size /= 2
        shares = shares + size * step
    return Solution(shares / shares.sum(), value(shares), iterations, converged)


@contextmanager
def one_thread(needs_solvers: bool) -> Iterator[None]:
    """Give BLAS one thread, where SciPy is needed: products of some thousand rows lose by more."""
    if not needs_solvers:
        yield
        return
    with libraries().threads.threadpool_limits(1, "blas"):
        yield


class Libraries(NamedTuple):
    """Modules that the extra "maps" brings."""

    optimize: Any
    isotonic: Any
    threads: Any


def libraries() -> Libraries:
    """Return the modules of SciPy and scikit-learn that fits use, or say what to install."""
    try:
        import threadpoolctl
        from scipy import optimize
        from sklearn import isotonic
    except ImportError as error:
        raise ImportError(
            "Fitting a calibration map needs SciPy and scikit-learn. Install them with "
            '`pip install "keras-focal[maps]"`.'
        ) from error
    return Libraries(optimize, isotonic, threadpoolctl)
