"""Calibration maps beyond temperature scaling (docs/maths.md, section Q).

Inputs are logits, shape (..., K), or (..., 1) for the positive class of two. Outputs are logits
whose softmax, or sigmoid for K = 1, gives the calibrated probabilities.
"""

from keras import ops

from keras_focal._typing import Tensor
from keras_focal.functional._backend.precision import LOWEST, TINY
from keras_focal.functional._inputs.probabilities import first_largest
from keras_focal.functional._stable.margin import chosen_class
from keras_focal.functional.maps._export import log_one_plus, logits_of


def linear_map(logits: Tensor, matrix: Tensor, bias: Tensor) -> Tensor:
    """Return W z + b: matrix scaling, or vector scaling if W is a vector.

    Args:
        logits: Float tensor, shape (..., K).
        matrix: W, shape (K, K), or (K,) for a diagonal matrix.
        bias: b, shape (K,).

    Returns:
        Tensor of the shape of `logits`.

    Example:
        >>> from keras import ops
        >>> from keras_focal import functional
        >>> logits = ops.array([[4.0, 1.0]])
        >>> mapped = functional.linear_map(logits, ops.array([0.5, 1.0]), ops.array([0.0, 1.0]))
        >>> [float(z) for z in mapped[0]]
        [2.0, 2.0]

    Source:
        Guo et al., 2017, section 4.2.
    """
    if len(matrix.shape) == 1:
        return logits * matrix + bias
    return ops.matmul(logits, ops.transpose(matrix)) + bias


def log_probabilities(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return log p and log(1 - p) of each class, finite for finite logits, both (..., K)."""
    if logits.shape[-1] == 1:
        return ops.log_sigmoid(logits), ops.log_sigmoid(-logits)
    # Not argmax: in TensorFlow it needs a bitcast, which few exporters support.
    top, largest = first_largest(logits)
    below = logits - ops.stop_gradient(ops.expand_dims(largest, -1))
    is_top = chosen_class(top, logits.shape[-1])
    lowest = ops.cast(LOWEST, below.dtype)
    others = ops.where(is_top, lowest, below)
    # For the top class 1 - p is the sum over the others: it would round to 0 past a gap of 17.
    second = ops.stop_gradient(ops.max(others, axis=-1, keepdims=True))
    shares = ops.exp(ops.where(is_top, lowest, below - second))
    rest = second + ops.log(ops.sum(shares, axis=-1, keepdims=True))
    top = ops.sum(ops.where(is_top, below, ops.zeros_like(below)), axis=-1, keepdims=True)
    log_total = top + ops.softplus(rest - top)
    log_p = below - log_total
    half = ops.cast(0.5, below.dtype)
    small = ops.where(is_top, half, ops.exp(log_p))
    return log_p, ops.where(is_top, rest - log_total, log_one_plus(-small))


def log_odds(logits: Tensor) -> Tensor:
    """Return the log-odds log(p / (1 - p)) of each class, p the softmax of the logits.

    Adding a constant to all logits of a row does not change them.

    Args:
        logits: Float tensor, shape (..., K), or (..., 1), whose logits are log-odds already.

    Returns:
        Tensor of the shape of `logits`.

    Numerics:
        Finite for finite logits, and accurate where p rounds to 1.

    Example:
        >>> from keras import ops
        >>> from keras_focal import functional
        >>> [float(z) for z in functional.log_odds(ops.array([[2.0, -1.0]]))[0]]
        [3.0, -3.0]
    """
    if logits.shape[-1] == 1:
        return logits
    log_p, log_q = log_probabilities(logits)
    return log_p - log_q


def platt_map(logits: Tensor, slope: Tensor, intercept: Tensor) -> Tensor:
    """Return the logits of Platt scaling: sigmoid(a s + b), s the log-odds of each class.

    Args:
        logits: Float tensor, shape (..., K) or (..., 1).
        slope: a, a scalar or shape (K,).
        intercept: b, of the shape of `slope`.

    Returns:
        Tensor of the shape of `logits`. For K > 1 its softmax normalises the sigmoids to sum 1.

    Example:
        >>> from keras import ops
        >>> from keras_focal import functional
        >>> float(functional.platt_map(ops.array([[4.0]]), 0.5, 1.0)[0, 0])
        3.0

    Source:
        Platt, 1999; one-vs-rest as Zadrozny and Elkan, 2002.
    """
    return _normalisable(log_odds(logits) * slope + intercept)


def quadratic_map(logits: Tensor, square: Tensor, slope: Tensor, intercept: Tensor) -> Tensor:
    """Return the logits of quadratic scaling: sigmoid(a s^2 + b s + c), s the log-odds of a class.

    Args:
        logits: Float tensor, shape (..., K) or (..., 1).
        square: a, a scalar or shape (K,). 0 gives Platt scaling.
        slope: b, of the shape of `square`.
        intercept: c, likewise.

    Returns:
        Tensor of the shape of `logits`. For K > 1 its softmax normalises the sigmoids to sum 1.

    Example:
        >>> from keras import ops
        >>> from keras_focal import functional
        >>> float(functional.quadratic_map(ops.array([[4.0]]), 0.25, 0.5, 1.0)[0, 0])
        7.0

    Source:
        Berta, Holzmüller, Jordan and Bach, 2026, "Structured Matrix Scaling for Multi-Class
        Calibration", which names it; as in probmetrics.
    """
    s = log_odds(logits)
    return _normalisable(s * (square * s + slope) + intercept)


def beta_map(logits: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return the logits of beta calibration: sigmoid(a log p - b log(1 - p) + c) of each class.

    Args:
        logits: Float tensor, shape (..., K) or (..., 1).
        a: Scalar or shape (K,), >= 0.
        b: Scalar or shape (K,), >= 0.
        c: Scalar or shape (K,), any real numbers.

    Returns:
        Tensor of the shape of `logits`. For K > 1 its softmax normalises the sigmoids to sum 1.

    Example:
        >>> from keras import ops
        >>> from keras_focal import functional
        >>> mapped = functional.beta_map(ops.array([[1.0]]), 2.0, 2.0, 0.5)
        >>> round(float(mapped[0, 0]), 4)
        2.5

    Source:
        Kull, Silva Filho and Flach, 2017.
    """
    log_p, log_q = log_probabilities(logits)
    return _normalisable(a * log_p - b * log_q + c)


def ensemble_map(logits: Tensor, temperature: Tensor, weights: Tensor) -> Tensor:
    """Return log(w1 softmax(z / T) + w2 softmax(z) + w3 / K), or the log-odds of that for K = 1.

    Args:
        logits: Float tensor, shape (..., K) or (..., 1).
        temperature: Scalar > 0.
        weights: [w1, w2, w3], shape (3,), >= 0, which sum to 1. Below 2**-126 they count as that.

    Returns:
        Tensor of the shape of `logits`.

    Example:
        >>> from keras import ops
        >>> from keras_focal import functional
        >>> uniform = ops.array([0.0, 0.0, 1.0])
        >>> mapped = functional.ensemble_map(ops.array([[4.0, 1.0]]), 2.0, uniform)
        >>> [round(float(z), 4) for z in mapped[0]]
        [-0.6931, -0.6931]

    Source:
        Zhang, Kailkhura and Han, 2020, eq. 8.
    """
    is_binary = logits.shape[-1] == 1
    if is_binary:
        logits = ops.concatenate([ops.zeros_like(logits), logits], axis=-1)
    flat = ops.zeros_like(logits) - ops.log(ops.cast(logits.shape[-1], logits.dtype))
    parts = [
        ops.log_softmax(logits / temperature, axis=-1),
        ops.log_softmax(logits, axis=-1),
        flat,
    ]
    log_weights = ops.log(ops.clip(weights, TINY, 1.0))
    mixed = ops.logsumexp(ops.stack(parts, axis=-1) + log_weights, axis=-1)
    return mixed[..., 1:] - mixed[..., :1] if is_binary else mixed


def piecewise_constant_map(logits: Tensor, edges: Tensor, values: Tensor) -> Tensor:
    """Return the logits of histogram binning: of the probability of the bin of each class.

    The probability is values[k, j] where edges[k, j - 1] < log-odds of class k <= edges[k, j].

    Args:
        logits: Float tensor, shape (..., K) or (..., 1).
        edges: Log-odds, shape (K, M - 1), non-decreasing in each row.
        values: Probabilities, shape (K, M).

    Returns:
        Tensor of the shape of `logits`.

    Example:
        >>> from keras import ops
        >>> from keras_focal import functional
        >>> edges, values = ops.array([[0.0]]), ops.array([[0.25, 0.75]])
        >>> logits = ops.array([[-3.0], [9.0]])
        >>> p = ops.sigmoid(functional.piecewise_constant_map(logits, edges, values))
        >>> [round(float(x), 4) for x in p[:, 0]]
        [0.25, 0.75]

    Source:
        Zadrozny and Elkan, 2001.
    """
    x = log_odds(logits)
    return logits_of(_looked_up(values, _place(x, edges), x))


def piecewise_linear_map(logits: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Return the logits of isotonic regression: of probabilities interpolated between knots.

    Beyond the first and the last knot the probability is constant.

    Args:
        logits: Float tensor, shape (..., K) or (..., 1).
        knots: Log-odds, shape (K, M), non-decreasing in each row. Equal knots make a jump.
        values: Probabilities at the knots, shape (K, M).

    Returns:
        Tensor of the shape of `logits`.

    Example:
        >>> from keras import ops
        >>> from keras_focal import functional
        >>> knots, values = ops.array([[0.0, 2.0]]), ops.array([[0.25, 0.75]])
        >>> logits = ops.array([[-3.0], [1.0]])
        >>> p = ops.sigmoid(functional.piecewise_linear_map(logits, knots, values))
        >>> [round(float(x), 4) for x in p[:, 0]]
        [0.25, 0.5]

    Source:
        Zadrozny and Elkan, 2002.
    """
    x = log_odds(logits)
    width, rise = knots[:, 1:] - knots[:, :-1], values[:, 1:] - values[:, :-1]
    slopes = ops.where(width > 0, rise / ops.where(width > 0, width, 1.0), 0.0)
    slopes = ops.pad(slopes, ((0, 0), (1, 1)))
    starts = ops.concatenate([knots[:, :1], knots], axis=-1)
    lows = ops.concatenate([values[:, :1], values], axis=-1)
    place = _place(x, knots)
    low, slope, start = (_looked_up(table, place, x) for table in (lows, slopes, starts))
    return logits_of(low + slope * (x - start))


def venn_abers_map(logits: Tensor, edges: Tensor, log_q0: Tensor, log_p1: Tensor) -> Tensor:
    """Return the logits of Venn-Abers calibration: of p1 / (1 - p0 + p1) of each class.

    p0 and p1 are the probabilities that isotonic regression gives to a prediction if it joins the
    data of the fit with the label 0, and with the label 1. Both are step functions of the log-odds.
    The logit is log p1 - log(1 - p0).

    Args:
        logits: Float tensor, shape (..., K) or (..., 1).
        edges: Log-odds, shape (K, M), non-decreasing in each row. Pieces are (a, b].
        log_q0: log(1 - p0) of the pieces, shape (K, M + 1).
        log_p1: log p1 of the pieces, shape (K, M + 1).

    Returns:
        Tensor of the shape of `logits`. For K > 1 its softmax normalises the merged probabilities
        to sum 1.

    Example:
        >>> from keras import ops
        >>> from keras_focal import functional
        >>> edges, halves = ops.array([[0.0]]), ops.log(ops.array([[1.0, 0.5]]))
        >>> float(functional.venn_abers_map(ops.array([[2.0]]), edges, halves, halves)[0, 0])
        0.0

    Source:
        Vovk, Petej and Fedorova, 2015, "Large-scale probabilistic predictors with and without
        guarantees of validity", section 4.
    """
    found_q0, found_p1 = venn_abers_logs(logits, edges, log_q0, log_p1)
    return _normalisable(found_p1 - found_q0)


def venn_abers_logs(
    logits: Tensor, edges: Tensor, log_q0: Tensor, log_p1: Tensor
) -> tuple[Tensor, Tensor]:
    """Return log(1 - p0) and log p1 of each class, both of the shape of the logits."""
    x = log_odds(logits)
    place = _place(x, edges)
    return _looked_up(log_q0, place, x), _looked_up(log_p1, place, x)


def _place(x: Tensor, edges: Tensor) -> Tensor:
    """Return in which of the M + 1 pieces (a, b] of its row x lies: int32, of the shape of x.

    A binary search of gathers: exporters have no searchsorted, and comparing with every edge takes
    M times the memory.
    """
    count = edges.shape[-1]
    row = count * ops.arange(edges.shape[0], dtype="int32")
    flat = ops.reshape(edges, (-1,))
    place = ops.zeros_like(x, dtype="int32")
    for bit in reversed(range(int(count).bit_length())):
        following = place + 2**bit
        is_past = x > ops.take(flat, row + ops.minimum(following, count) - 1)
        place = ops.where(ops.logical_and(is_past, following <= count), following, place)
    return place


def _looked_up(table: Tensor, place: Tensor, x: Tensor) -> Tensor:
    """Return table[k, place] for each class k; NaN where x is."""
    row = table.shape[-1] * ops.arange(table.shape[0], dtype="int32")
    found = ops.take(ops.reshape(table, (-1,)), row + place)
    return ops.where(ops.equal(x, x), found, x)


def _normalisable(log_odds: Tensor) -> Tensor:
    """Return log-sigmoids, whose softmax normalises the sigmoids; one column is unchanged."""
    return log_odds if log_odds.shape[-1] == 1 else ops.log_sigmoid(log_odds)
