"""What the paper says of its losses, held against runs: one claim, a figure, who is right."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Means = dict[str, dict[str, float]]
"""By loss: `pre` and `post` (ECE %), `T` of least validation ECE, `error` (%), `nll` (x 100)."""


@dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    Attributes:
        text: The claim.
        figures: The figures that it is about, of a data set, as they are shown.
        holds: Whether the claim is true of them.
        losses: The losses that it needs.
    """

    text: str
    figures: Callable[[Means], str]
    holds: Callable[[Means], bool]
    losses: tuple[str, ...] = ("CE", "FLSD-53")


def _two(figure: str, digits: int = 2) -> Callable[[Means], str]:
    return lambda m: f"{m['FLSD-53'][figure]:.{digits}f} against {m['CE'][figure]:.{digits}f}"


def _lowest(figure: str) -> Callable[[Means], str]:
    def shown(m: Means) -> str:
        best = min(m, key=lambda loss: m[loss][figure])
        return f"{m['FLSD-53'][figure]:.2f}; least is {best} with {m[best][figure]:.2f}"

    return shown


CLAIMS = (
    Claim(
        "FLSD-53's ECE before T is below cross-entropy's (Table 1)",
        _two("pre"),
        lambda m: m["FLSD-53"]["pre"] < m["CE"]["pre"],
    ),
    Claim(
        "it is at most half of it",
        _two("pre"),
        lambda m: m["FLSD-53"]["pre"] <= m["CE"]["pre"] / 2,
    ),
    Claim(
        "it is the lowest of Table 1's losses",
        _lowest("pre"),
        lambda m: m["FLSD-53"]["pre"] <= min(m[loss]["pre"] for loss in m),
        ("CE", "Brier", "MMCE", "LS-0.05", "FLSD-53"),
    ),
    Claim(
        "after T it is the lowest too",
        _lowest("post"),
        lambda m: m["FLSD-53"]["post"] <= min(m[loss]["post"] for loss in m),
        ("CE", "Brier", "MMCE", "LS-0.05", "FLSD-53"),
    ),
    Claim(
        "its temperature is closer to 1 than cross-entropy's",
        _two("T", 1),
        lambda m: abs(np.log(m["FLSD-53"]["T"])) < abs(np.log(m["CE"]["T"])),
    ),
    Claim(
        "its error is within half a point of cross-entropy's (Table 4)",
        _two("error"),
        lambda m: abs(m["FLSD-53"]["error"] - m["CE"]["error"]) <= 0.5,
    ),
    Claim(
        "its NLL before T is below cross-entropy's (Table 9, NLL x 100)",
        _two("nll"),
        lambda m: m["FLSD-53"]["nll"] < m["CE"]["nll"],
    ),
    Claim(
        "scheduled gamma (FLSc-531) is calibrated worse before T than sample-dependent (Table 5)",
        lambda m: f"{m['FLSc-531']['pre']:.2f} against {m['FLSD-53']['pre']:.2f}",
        lambda m: m["FLSc-531"]["pre"] > m["FLSD-53"]["pre"],
        ("FLSc-531", "FLSD-53"),
    ),
)
