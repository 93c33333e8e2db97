"""Sample-dependent gammas by their names in the paper (section 5.1 and Appendix E)."""

from typing import Any

from keras_focal import _presets
from keras_focal._validation.choices import check_choice
from keras_focal.gammas._rules import SampleDependentGamma

SAMPLE_DEPENDENT = {
    name: SampleDependentGamma(thresholds, gammas)
    for name, (thresholds, gammas) in _presets.SAMPLE_DEPENDENT.items()
}


def sample_dependent(name: Any) -> SampleDependentGamma:
    """Return the rule named "FLSD-53" or "FLSD-532".

    Raises:
        ValueError: If the name is unknown. For the name of a schedule or a function, the message
            names the callback that changes gamma by epoch.
    """
    if callable(name) or (isinstance(name, str) and name in _presets.SCHEDULED):
        schedule = "schedule" if callable(name) else repr(name)
        raise ValueError(
            "`gamma` must be a number, or a rule that gives each sample its own. Received: "
            f"gamma={name!r}. To change gamma by epoch, leave `gamma` out and pass "
            f"callbacks=[keras_focal.callbacks.GammaScheduler({schedule})] to fit()."
        )
    check_choice("gamma", name, tuple(SAMPLE_DEPENDENT))
    return SAMPLE_DEPENDENT[name]
