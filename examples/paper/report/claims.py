"""What the paper says of its losses, held against runs: one claim, a figure, who is right."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Means = dict[str, dict[str, float]]
"""By loss: `pre` and `post` (ECE %), `T` of least validation ECE; `ada_pre` (AdaECE %), `error`
(%), `nll` (x 100), `sure_post` (% of confidences above 0.99 after T); of translation `bleu_pre`."""


@dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    Attributes:
        text: The claim.
        figures: The figures that it is about, of a data set, as they are shown.
        holds: Whether the claim is true of them.
        losses: The losses that it is about.
        needs: A figure that the paper has not for every data set, "" for none.
    """

    text: str
    figures: Callable[[Means], str]
    holds: Callable[[Means], bool]
    losses: tuple[str, ...] = ("CE", "FLSD-53")
    needs: str = ""

    def can_be_asked(self, means: Means) -> bool:
        """Return whether there are the figures that the claim is about."""
        return all(
            loss in means and (not self.needs or self.needs in means[loss]) for loss in self.losses
        )


def _below(text: str, figure: str, ours: str, other: str, share: float = 1.0) -> Claim:
    """Return the claim that a figure of a loss is below (a share of) that of another loss."""
    return Claim(
        text,
        lambda m: f"{m[ours][figure]:.2f} against {m[other][figure]:.2f}",
        lambda m: m[ours][figure] < share * m[other][figure],
        (other, ours),
        needs=figure,
    )


def _best(text: str, figure: str, ours: str, losses: tuple[str, ...], sign: int = 1) -> Claim:
    """Return the claim that a figure is the least of some losses, the greatest with sign -1."""

    def best(m: Means) -> str:
        return min(losses, key=lambda loss: sign * m[loss][figure])

    return Claim(
        text,
        lambda m: f"{m[ours][figure]:.2f}; best is {best(m)} with {m[best(m)][figure]:.2f}",
        lambda m: m[ours][figure] == m[best(m)][figure],
        losses,
    )


def _distance(m: Means, loss: str) -> float:
    """Return how far a temperature is from 1."""
    return abs(float(np.log(m[loss]["T"])))


_TABLE_1 = ("CE", "Brier", "MMCE", "LS-0.05", "FLSD-53")
_TABLE_3 = ("CE", "LS-0.1", "FL-1")

CLAIMS = (
    _below("FLSD-53's ECE before T is below cross-entropy's (Table 1)", "pre", "FLSD-53", "CE"),
    _below("it is below half of cross-entropy's", "pre", "FLSD-53", "CE", 0.5),
    _best("it is the lowest of Table 1's losses", "pre", "FLSD-53", _TABLE_1),
    _best("after T it is the lowest too", "post", "FLSD-53", _TABLE_1),
    Claim(
        "its temperature is closer to 1 than cross-entropy's",
        lambda m: f"{m['FLSD-53']['T']:.2f} against {m['CE']['T']:.2f}",
        lambda m: _distance(m, "FLSD-53") < _distance(m, "CE"),
    ),
    Claim(
        "its error is within half a point of cross-entropy's (Table 4)",
        lambda m: f"{m['FLSD-53']['error']:.2f} against {m['CE']['error']:.2f}",
        lambda m: abs(m["FLSD-53"]["error"] - m["CE"]["error"]) <= 0.5,
    ),
    _below(
        "its NLL before T is below cross-entropy's (Table 9, NLL x 100)", "nll", "FLSD-53", "CE"
    ),
    _below("its AdaECE before T is below cross-entropy's (Table 2)", "ada_pre", "FLSD-53", "CE"),
    _below(
        "after T it is surer than 0.99 more often than cross-entropy (Table 13)",
        "sure_post",
        "CE",
        "FLSD-53",
    ),
    _below("FL-3's ECE before T is below cross-entropy's (Tables 1 and 5)", "pre", "FL-3", "CE"),
    _below("FLSD-53's ECE before T is below FLSc-531's (Table 5)", "pre", "FLSD-53", "FLSc-531"),
)
"""Of images and texts."""

TRANSLATION_CLAIMS = (
    _best("FL-1's ECE before T is the lowest (Table 3)", "pre", "FL-1", _TABLE_3),
    _best("it is the lowest after T", "post", "FL-1", _TABLE_3),
    Claim(
        "its temperature is 1, cross-entropy's is above 1",
        lambda m: f"{m['FL-1']['T']:.2f} and {m['CE']['T']:.2f}",
        lambda m: m["FL-1"]["T"] == 1.0 < m["CE"]["T"],
        ("CE", "FL-1"),
    ),
    _best("its BLEU before T is the highest", "bleu_pre", "FL-1", _TABLE_3, sign=-1),
)
