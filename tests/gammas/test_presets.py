"""The paper's gammas: section 5.1 and Appendix E of Mukhoti et al., 2020."""

from fractions import Fraction

import numpy as np
import pytest
from backends import to_numpy

from keras_focal.gammas import FIXED, SAMPLE_DEPENDENT, SCHEDULED, sample_dependent


def test_fixed_gammas_are_the_numbers_in_their_names():
    assert FIXED == {"FL-1": 1.0, "FL-2": 2.0, "FL-3": 3.0}


@pytest.mark.parametrize(
    ("name", "gammas"), [("FLSD-53", [5, 3, 3, 3, 3]), ("FLSD-532", [5, 3, 3, 2, 2])]
)
def test_flsd_steps_where_the_paper_does(name, gammas):
    p = np.array([0.199, 0.2, 0.499, 0.5, 1.0], "float32")
    np.testing.assert_array_equal(to_numpy(sample_dependent(name)(p)), gammas)


@pytest.mark.parametrize(("name", "gammas"), [("FLSc-531", (5, 3, 1)), ("FLSc-532", (5, 3, 2))])
def test_flsc_switches_at_epochs_100_and_250_of_350(name, gammas):
    assert SCHEDULED[name].gammas == gammas
    assert [350 * switch for switch in SCHEDULED[name].switches] == [100, 250]
    assert all(isinstance(switch, Fraction) for switch in SCHEDULED[name].switches)


def test_a_name_belongs_to_one_kind_of_preset():
    names = [*FIXED, *SAMPLE_DEPENDENT, *SCHEDULED]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", ["FLSD-35", "FL-3", "FLSc-5"])
def test_an_unknown_rule_is_an_error_that_lists_the_names(name):
    with pytest.raises(ValueError, match=r"`gamma` must be one of 'FLSD-53', 'FLSD-532'. Received"):
        sample_dependent(name)
