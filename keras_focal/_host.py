"""What predictions come to in NumPy, on the host: no framework is needed, and float64 is at hand.

The same rules as in `functional`, where tensors are (docs/maths.md, sections A to C).
"""

import numpy as np

TINY = 2.0**-126
"""The smallest normal float32: what lies below is flushed to zero on some devices."""

_ZERO = {"float16": 2.0**-25}
"""Half the smallest number of a dtype, where that is more than `TINY`."""

_NEAREST = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float64": 2.0**-53}
"""What lies between 1 and the largest number below it; 2**-24 of float32."""


def weighted_sum(weights: np.ndarray, values: np.ndarray) -> float:
    """Return the sum of weights times values, both of shape (N,).

    `weights @ values` of more than 10,000 waits for a thread, for milliseconds on a busy machine.
    """
    return float(np.sum(weights * values))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities of logits, shape (N, K)."""
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def log_sum_exp(logits: np.ndarray) -> np.ndarray:
    """Return log of the sum of exp of logits, shape (N, K), of each row."""
    largest = logits.max(axis=1)
    return largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1))


def log_probabilities(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return log p and log(1 - p) of each class of logits, shape (N, K >= 2)."""
    rows, top = np.arange(len(logits)), logits.argmax(axis=1)
    others = logits.copy()
    others[rows, top] = -np.inf
    second = others.max(axis=1)
    rest = second + np.log(np.exp(others - second[:, None]).sum(axis=1))
    total = np.logaddexp(logits[rows, top], rest)
    log_p = logits - total[:, None]
    log_q = np.log1p(-np.minimum(np.exp(log_p), 0.5))
    log_q[rows, top] = rest - total
    return log_p, log_q


def complement_of_top(logits: np.ndarray) -> np.ndarray:
    """Return 1 - confidence of the top class, shape (N,), which does not round to 0."""
    rows, top = np.arange(len(logits)), logits.argmax(axis=1)
    others = np.exp(logits - logits[rows, top][:, None])
    others[rows, top] = 0.0
    rest = others.sum(axis=1)
    return rest / (1.0 + rest)


def log_odds(p: np.ndarray) -> np.ndarray:
    """Return log(p / (1 - p)) of probabilities of any shape."""
    return np.log(p) - np.log1p(-p)


def logits_of(probabilities: np.ndarray) -> np.ndarray:
    """Return the logits that probabilities come from: log p; of one column, log(p / (1 - p)).

    A p below `least_probability` counts as that. One column is held to the same distance from 0
    and from 1, so that both classes are read alike.
    """
    p = np.asarray(probabilities)
    is_binary = p.shape[-1] == 1
    least = least_probability(str(p.dtype), is_binary=is_binary)
    p = p if p.dtype == "float64" else p.astype("float32")
    if is_binary:
        return log_odds(np.clip(p, least, 1 - least))
    return np.log(np.clip(p, least, None))


def least_probability(dtype: str, *, is_binary: bool) -> float:
    """Return what a probability of 0 counts as.

    Half the smallest number of its dtype, but 2**-126 at least; of one column, which is rounded to
    1 as well, what lies between 1 and the largest number below it.
    """
    return _NEAREST.get(dtype, 2.0**-24) if is_binary else _ZERO.get(dtype, TINY)


def equal_width_bins(p: np.ndarray, num_bins: int) -> np.ndarray:
    """Return the bin of each probability: (a, b] of equal width, 0 in the first."""
    return np.clip(np.ceil(p * num_bins).astype("int64") - 1, 0, num_bins - 1)
