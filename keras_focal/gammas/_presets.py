"""The paper's gammas by the paper's names (section 5.1 and Appendix E)."""

from fractions import Fraction
from typing import Any, NamedTuple

from keras_focal._validation import check_choice
from keras_focal.gammas._rules import SampleDependentGamma


class GammaSteps(NamedTuple):
    """Gammas that follow one another in training.

    Attributes:
        gammas: The gamma of each phase.
        switches: Where each phase but the first begins, as a fraction of the run.
    """

    gammas: tuple[float, ...]
    switches: tuple[Fraction, ...]


FIXED = {"FL-1": 1.0, "FL-2": 2.0, "FL-3": 3.0}

SAMPLE_DEPENDENT = {
    "FLSD-53": SampleDependentGamma([0.2], [5.0, 3.0]),
    "FLSD-532": SampleDependentGamma([0.2, 0.5], [5.0, 3.0, 2.0]),
}

# The paper switches at epochs 100 and 250 of 350.
_SWITCHES = (Fraction(100, 350), Fraction(250, 350))
SCHEDULED = {
    "FLSc-531": GammaSteps((5.0, 3.0, 1.0), _SWITCHES),
    "FLSc-532": GammaSteps((5.0, 3.0, 2.0), _SWITCHES),
}


def sample_dependent(name: Any) -> SampleDependentGamma:
    """Return the rule "FLSD-53" or "FLSD-532".

    Raises:
        ValueError: If the name is another; for a gamma by epoch, the name of a schedule or a
            function, with the callback that sets it.
    """
    if callable(name) or (isinstance(name, str) and name in SCHEDULED):
        schedule = "schedule" if callable(name) else repr(name)
        raise ValueError(
            "`gamma` must be a number, or a rule that gives each sample its own. Received: "
            f"gamma={name!r}. A gamma by epoch is set in fit(): leave `gamma` out, and give "
            f"callbacks=[keras_focal.callbacks.GammaScheduler({schedule})]."
        )
    check_choice("gamma", name, tuple(SAMPLE_DEPENDENT))
    return SAMPLE_DEPENDENT[name]
