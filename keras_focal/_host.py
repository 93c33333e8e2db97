"""What predictions come to in NumPy, on the host: no framework is needed, and float64 is at hand.

The same rules as in `functional`, where tensors are (docs/maths.md, sections A to C).
"""

import numpy as np

TINY = 2.0**-126
"""The smallest normal float32: what lies below is flushed to zero on some devices."""


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities of logits, shape (N, K)."""
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return the log-probabilities of logits, shape (N, K)."""
    below = logits - logits.max(axis=1, keepdims=True)
    return below - np.log(np.exp(below).sum(axis=1, keepdims=True))


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

    A p below 2**-126 counts as that. One column is held to the same distance from 0 and from 1,
    that of the largest number below 1, so that both classes are read alike.
    """
    p = np.asarray(probabilities)
    p = p if p.dtype == "float64" else p.astype("float32")
    if p.shape[-1] > 1:
        return np.log(np.clip(p, TINY, None))
    nearest = float(np.finfo(p.dtype).epsneg) if p.dtype == "float64" else 2.0**-24
    return log_odds(np.clip(p, nearest, 1 - nearest))


def equal_width_bins(p: np.ndarray, num_bins: int) -> np.ndarray:
    """Return the bin of each probability: (a, b] of equal width, 0 in the first."""
    return np.clip(np.ceil(p * num_bins).astype("int64") - 1, 0, num_bins - 1)
