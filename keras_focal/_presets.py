"""Gammas and losses by their names in the paper (section 5.1, Tables 1 and 5, Appendix E)."""

from collections.abc import Iterable
from fractions import Fraction
from typing import Any, NamedTuple

from keras_focal._validation.choices import check_choice


def matching(name: Any, choices: Iterable[str]) -> str | None:
    """Return the one of `choices` that a name means, None if none: case and hyphens are free."""
    if not isinstance(name, str):
        return None
    return next((choice for choice in choices if _letters(choice) == _letters(name)), None)


def known_name(argument: str, name: Any, choices: Iterable[str]) -> str:
    """Return the one of `choices` that a name means.

    Args:
        argument: What the caller calls the name.
        name: The name as it was given.
        choices: The names as the paper writes them.

    Raises:
        ValueError: If it means none of them.
    """
    choices = tuple(choices)
    found = matching(name, choices) or name
    check_choice(argument, found, choices)
    return found


def _letters(name: str) -> str:
    return name.lower().replace("-", "")


class GammaSteps(NamedTuple):
    """A schedule of gammas.

    Attributes:
        gammas: The gamma of each phase of the training.
        switches: Start of each phase after the first, as a fraction of the epochs.
    """

    gammas: tuple[float, ...]
    switches: tuple[Fraction, ...]


FIXED = {"FL-1": 1.0, "FL-2": 2.0, "FL-3": 3.0}
"""The fixed gammas of the paper, by name."""

SAMPLE_DEPENDENT = {
    "FLSD-53": ((0.2,), (5.0, 3.0)),
    "FLSD-532": ((0.2, 0.5), (5.0, 3.0, 2.0)),
}
"""Thresholds of p_t, and the gammas between them."""

# The paper switches at epochs 100 and 250 of 350.
_SWITCHES = (Fraction(100, 350), Fraction(250, 350))
SCHEDULED = {
    "FLSc-531": GammaSteps((5.0, 3.0, 1.0), _SWITCHES),
    "FLSc-532": GammaSteps((5.0, 3.0, 2.0), _SWITCHES),
}
"""The scheduled gammas of the paper, by name."""


class LossRow(NamedTuple):
    """A loss of the paper.

    Attributes:
        name: The name that `get` takes.
        loss: The class that `get` returns for class ids.
        what: Description.
        source: Place in the paper.
        callback: The callback that the loss needs in `fit`, or "".
    """

    name: str
    loss: str
    what: str
    source: str
    callback: str


class LossTable(tuple[LossRow, ...]):
    """The rows that `list` returns; its `repr` is a table."""

    def __repr__(self) -> str:
        """Return one line per row, with aligned columns."""
        lines = [LossRow._fields, *self]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )


_FL = "SparseCategoricalFocalCrossentropy"
_TABLE_1, _TABLE_5 = "Table 1, section 5.1", "Table 5, Appendix E"
LOSSES = LossTable(
    [
        LossRow("CE", _FL, "cross-entropy (gamma 0)", _TABLE_1, ""),
        LossRow("Brier", "BrierLoss", "sum over classes of (p - q)^2", _TABLE_1, ""),
        LossRow("MMCE", "MMCELoss", "cross-entropy + 2 MMCE (text: weight=8)", _TABLE_1, ""),
        LossRow("LS-0.05", "LabelSmoothingCrossentropy", "labels smoothed by 0.05", _TABLE_1, ""),
        LossRow("FL-1", _FL, "gamma 1", _TABLE_5, ""),
        LossRow("FL-2", _FL, "gamma 2", _TABLE_5, ""),
        LossRow("FL-3", _FL, "gamma 3", _TABLE_1, ""),
        *(
            LossRow(
                name,
                _FL,
                f"gamma {', '.join(f'{gamma:g}' for gamma in steps.gammas)} by epoch",
                _TABLE_5,
                f'GammaScheduler("{name}")',
            )
            for name, steps in SCHEDULED.items()
        ),
        LossRow("FLSD-53", _FL, "gamma 5 for p_t < 0.2, else 3", _TABLE_1, ""),
        LossRow("FLSD-532", _FL, "gamma 5 for p_t < 0.2, 3 for p_t < 0.5, else 2", _TABLE_5, ""),
    ]
)
