"""What the focal loss makes of one prediction: every step, and a table over gammas."""

import argparse
from typing import Any, NamedTuple

import numpy as np

from keras_focal._presets import SAMPLE_DEPENDENT
from keras_focal.cli._errors import UsageError, extra
from keras_focal.cli._tables import figure, print_json, print_table

HELP = "the focal loss of one prediction, step by step"
EXAMPLE = "  keras-focal explain --logits 4,1,-1 --label 0 --gamma 2"

_GAMMAS = ("0", "0.5", "1", "2", "3", "5", "FLSD-53")
_BAR = 24
"""Letters of the bar of probability 1."""


class Softmax(NamedTuple):
    """The softmax of logits, seen from the true class; 1 - p and -log p do not round off.

    Attributes:
        p: Probabilities, shape (K,), float64.
        p_t: That of the true class.
        complement: 1 - p_t.
        neg_log_p: -log p_t, the cross-entropy in nats.
    """

    p: np.ndarray
    p_t: float
    complement: float
    neg_log_p: float

    @classmethod
    def of(cls, logits: np.ndarray, label: int) -> "Softmax":
        """Return the softmax of logits, shape (K,)."""
        p = np.exp(logits - np.logaddexp.reduce(logits))
        margin = np.logaddexp.reduce(np.delete(logits, label)) - logits[label]
        neg_log_p = np.logaddexp(0.0, margin)
        return cls(p, float(p[label]), float(np.exp(margin - neg_log_p)), float(neg_log_p))


class Steps(NamedTuple):
    """What a gamma makes of it.

    Attributes:
        gamma: Focusing exponent.
        factor: (1 - p_t)^gamma.
        loss: The factor times the cross-entropy, in nats.
        ratio: g(p_t, gamma): this gradient over that of cross-entropy.
        gradient: Derivative of the loss by each logit, shape (K,).
    """

    gamma: float
    factor: float
    loss: float
    ratio: float
    gradient: np.ndarray

    @classmethod
    def of(cls, softmax: Softmax, label: int, gamma: float) -> "Steps":
        """Return the steps; float64 on the host, for which the losses have no place on JAX."""
        p, p_t, complement, neg_log_p = softmax
        factor = complement**gamma
        # -log p_t / (1 - p_t) tends to 1.
        quotient = neg_log_p / complement if complement else 1.0
        ratio = factor * (1.0 + gamma * p_t * quotient)
        direction = p.copy()
        direction[label] = -complement
        return cls(gamma, factor, factor * neg_log_p, ratio, ratio * direction)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--logits", required=True, metavar="Z,Z,...", help="logits of all classes")
    parser.add_argument("--label", required=True, type=int, help="the true class, from 0 on")
    parser.add_argument("--gamma", default="2", help='a number >= 0, or "FLSD-53", "FLSD-532"')


def run(arguments: argparse.Namespace) -> None:
    """Print the steps."""
    logits = _logits(arguments.logits)
    label = arguments.label
    if not 0 <= label < len(logits):
        raise UsageError(
            f"--label must be a class in 0 ... {len(logits) - 1}, as there are {len(logits)} "
            f"logits. Received: {label}."
        )
    softmax = Softmax.of(logits, label)
    steps = Steps.of(softmax, label, _gamma(arguments.gamma, softmax.p_t))
    others = {name: Steps.of(softmax, label, _gamma(name, softmax.p_t)) for name in _GAMMAS}
    if arguments.json:
        print_json(_values(logits, label, softmax, steps, others))
        return
    _print_softmax(logits, label, softmax, steps)
    print_table(
        ("", "value"),
        [
            (f"probability of class {label}, p", figure(softmax.p_t)),
            ("cross-entropy, -log p", figure(softmax.neg_log_p)),
            (f"factor, (1 - p)^{steps.gamma:g}", figure(steps.factor)),
            ("focal loss, factor x cross-entropy", figure(steps.loss)),
            (f"gradient against cross-entropy's, g(p, {steps.gamma:g})", figure(steps.ratio)),
        ],
    )
    print_table(
        ("gamma", "factor", "focal loss", "g", f"gradient of logit {label}"),
        [
            (
                name if name == f"{row.gamma:g}" else f"{name}: {row.gamma:g}",
                *(figure(x) for x in (row.factor, row.loss, row.ratio, row.gradient[label])),
            )
            for name, row in others.items()
        ],
    )


def _print_softmax(logits: np.ndarray, label: int, softmax: Softmax, steps: Steps) -> None:
    with extra():
        from rich.bar import Bar
    print_table(
        ("class", "", "logit", "probability", "gradient"),
        [
            (
                f"{index}, true" if index == label else str(index),
                Bar(1.0, 0.0, float(softmax.p[index]), width=_BAR),
                figure(logits[index]),
                figure(softmax.p[index]),
                figure(steps.gradient[index]),
            )
            for index in range(len(logits))
        ],
        words=2,
    )


def _values(
    logits: np.ndarray, label: int, softmax: Softmax, steps: Steps, others: dict[str, Steps]
) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "logits": logits,
        "label": label,
        "probabilities": softmax.p,
        "p": softmax.p_t,
        "cross_entropy": softmax.neg_log_p,
        **_of_steps(steps),
        "gammas": {name: _of_steps(row) for name, row in others.items()},
    }


def _of_steps(steps: Steps) -> dict[str, Any]:
    return {
        "gamma": steps.gamma,
        "modulating_factor": steps.factor,
        "focal_loss": steps.loss,
        "gradient_ratio": steps.ratio,
        "gradient": steps.gradient,
    }


def _logits(text: str) -> np.ndarray:
    try:
        logits = np.array([float(part) for part in text.replace(",", " ").split()])
    except ValueError:
        logits = np.array([])
    if len(logits) < 2 or not np.all(np.abs(logits) <= 1e300):
        raise UsageError(
            "--logits must be two or more finite numbers with commas between. Received: "
            f"{text!r}. Such as: --logits 4,1,-1"
        )
    return logits


def _gamma(text: str, p: float) -> float:
    """Return the gamma of a name or number at p."""
    if text in SAMPLE_DEPENDENT:
        thresholds, gammas = SAMPLE_DEPENDENT[text]
        return gammas[int(np.searchsorted(thresholds, p, side="right"))]
    try:
        gamma = float(text)
    except ValueError:
        gamma = np.nan
    if not 0 <= gamma < np.inf:
        names = " or ".join(SAMPLE_DEPENDENT)
        raise UsageError(f"--gamma must be a finite number >= 0, or {names}. Received: {text!r}.")
    return gamma
