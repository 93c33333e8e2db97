"""HeldState: numbers that callbacks change; what they are read as, compared by and saved as."""

import numpy as np
import pytest
from backends import to_numpy

from keras_focal.gammas import HeldState


@pytest.fixture
def state():
    return HeldState({"gamma": 0.1, "edges": [0.25, 0.5]}, name="mine")


def test_numbers_are_kept_as_given_and_read_in_the_dtype_of_the_state(state):
    assert state["gamma"] == 0.1
    assert state["edges"] == [0.25, 0.5]
    for key, value in (("gamma", 0.1), ("edges", [0.25, 0.5])):
        read = state.read(key)
        assert "float32" in str(read.dtype)
        np.testing.assert_array_equal(to_numpy(read), np.asarray(value, "float32"))


def test_change_is_what_the_variables_can_tell_apart(state):
    assert not state.assign(gamma=0.1)
    assert not state.assign(gamma=float(np.float32(0.1)))
    assert state.assign(gamma=0.1000001)
    assert state.assign(edges=[0.25, 0.75])
    assert float(state.read("gamma")) == np.float32(0.1000001)
    np.testing.assert_array_equal(to_numpy(state.read("edges")), [0.25, 0.75])


def test_it_outlives_reset_and_update_and_reports_nothing(state):
    state.assign(gamma=1.5)
    state.update_state([1.0], [2.0])
    state.reset_state()
    assert state["gamma"] == float(state.read("gamma")) == 1.5
    assert state.result() == {}


def test_config_holds_the_present_numbers(state):
    state.assign(gamma=1.5)
    copied = HeldState.from_config(state.get_config())
    assert copied["gamma"] == 1.5
    assert copied.get_config() == state.get_config()


def test_no_optimizer_trains_its_variables(state):
    assert len(state.variables) == 2
    assert not any(variable.trainable for variable in state.variables)
