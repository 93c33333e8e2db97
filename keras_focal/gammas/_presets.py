"""The paper's gammas by the paper's names (section 5.1 and Appendix E)."""

from keras_focal import _presets
from keras_focal._validation import check_choice
from keras_focal.gammas._rules import SampleDependentGamma

SAMPLE_DEPENDENT = {
    name: SampleDependentGamma(thresholds, gammas)
    for name, (thresholds, gammas) in _presets.SAMPLE_DEPENDENT.items()
}


def sample_dependent(name: str) -> SampleDependentGamma:
    """Return the rule "FLSD-53" or "FLSD-532".

    Raises:
        ValueError: If the name is another.
    """
    check_choice("gamma", name, tuple(SAMPLE_DEPENDENT))
    return SAMPLE_DEPENDENT[name]
