"""The paper's gammas by the paper's names (section 5.1 and Appendix E)."""

from typing import Any

from keras_focal import _presets
from keras_focal._validation.choices import check_choice
from keras_focal.gammas._rules import SampleDependentGamma

SAMPLE_DEPENDENT = {
    name: SampleDependentGamma(thresholds, gammas)
    for name, (thresholds, gammas) in _presets.SAMPLE_DEPENDENT.items()
}


def sample_dependent(name: Any) -> SampleDependentGamma:
    """Return the rule "FLSD-53" or "FLSD-532".

    Raises:
        ValueError: If the name is another; for a gamma by epoch, the name of a schedule or a
            function, with the callback that sets it.
    """
    if callable(name) or (isinstance(name, str) and name in _presets.SCHEDULED):
        schedule = "schedule" if callable(name) else repr(name)
        raise ValueError(
            "`gamma` must be a number, or a rule that gives each sample its own. Received: "
            f"gamma={name!r}. A gamma by epoch is set in fit(): leave `gamma` out, and give "
            f"callbacks=[keras_focal.callbacks.GammaScheduler({schedule})]."
        )
    check_choice("gamma", name, tuple(SAMPLE_DEPENDENT))
    return SAMPLE_DEPENDENT[name]
