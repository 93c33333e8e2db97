"""Sample-dependent gammas by their names in the paper (section 5.1 and Appendix E)."""

from collections.abc import Mapping
from typing import Any

from keras_focal import _presets
from keras_focal.gammas._rules import SampleDependentGamma

SAMPLE_DEPENDENT = {
    name: SampleDependentGamma(thresholds, gammas)
    for name, (thresholds, gammas) in _presets.SAMPLE_DEPENDENT.items()
}
"""The sample-dependent gammas of the paper, by name."""


def sample_dependent(name: Any) -> SampleDependentGamma:
    """Return the rule named "FLSD-53" or "FLSD-532"; case and hyphens do not matter.

    Raises:
        ValueError: If the name is unknown. For the name of a schedule, a dict or a function, the
            message names the callback that changes gamma by epoch.
    """
    scheduled = _presets.matching(name, _presets.SCHEDULED)
    if scheduled is not None or callable(name) or isinstance(name, Mapping):
        schedule = "schedule" if scheduled is None else repr(scheduled)
        raise ValueError(
            "`gamma` must be a number, or a rule that gives each sample its own. Received: "
            f"gamma={name!r}. To change gamma by epoch, leave `gamma` out and pass "
            f"callbacks=[keras_focal.callbacks.GammaScheduler({schedule})] to fit()."
        )
    return SAMPLE_DEPENDENT[_presets.known_name("gamma", name, SAMPLE_DEPENDENT)]
