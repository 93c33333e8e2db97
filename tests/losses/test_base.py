"""What every focal loss shares: gamma and its state, the config, and the checks of arguments."""

import copy
import json
import pickle

import keras
import numpy as np
import pytest
from backends import BACKEND, to_numpy
from keras import ops

from keras_focal import losses
from keras_focal.gammas import SampleDependentGamma

CLASSES = (
    losses.SparseCategoricalFocalCrossentropy,
    losses.CategoricalFocalCrossentropy,
    losses.BinaryFocalCrossentropy,
)
RULE = SampleDependentGamma([0.3, 0.6], [4.0, 2.0, 1.0])

every_class = pytest.mark.parametrize("cls", CLASSES)
every_gamma = pytest.mark.parametrize("gamma", [0.0, 2.5, "FLSD-53", RULE], ids=str)

LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]], "float32")


def targets_of(cls):
    sparse = cls is losses.SparseCategoricalFocalCrossentropy
    return np.array([0, 2]) if sparse else np.array([[1, 0, 0], [0, 0, 1]], "float32")


def value_of(loss):
    return to_numpy(loss(targets_of(type(loss)), LOGITS))


@every_class
def test_call_gives_the_loss_of_each_prediction(cls):
    targets = targets_of(cls)
    each = cls(from_logits=True, reduction="none")(targets, LOGITS)
    called = cls(from_logits=True).call(targets, LOGITS)
    np.testing.assert_array_equal(to_numpy(called), to_numpy(each))


def copies(loss):
    config = keras.losses.serialize(loss)
    return {
        "from_config": type(loss).from_config(loss.get_config()),
        "JSON": keras.losses.deserialize(json.loads(json.dumps(config))),
        "pickle": pickle.loads(pickle.dumps(loss)),
        "deepcopy": copy.deepcopy(loss),
    }


# --- Gamma --------------------------------------------------------------------------------------


@every_class
def test_gamma_can_be_set(cls):
    loss = cls(gamma=5.0, from_logits=True)
    loss.gamma = 1.0
    assert loss.gamma == 1.0
    np.testing.assert_array_equal(value_of(loss), value_of(cls(gamma=1.0, from_logits=True)))


@every_class
def test_gamma_read_back_is_a_float(cls):
    assert type(cls(gamma=3).gamma) is float


@pytest.mark.parametrize("gamma", [-1.0, np.nan, np.inf, "FLSD-53", None])
def test_gamma_can_only_be_set_to_an_exponent(gamma):
    loss = CLASSES[0](gamma=2.0)
    with pytest.raises(ValueError, match=r"`gamma` must be a finite number >= 0. Received: gamma="):
        loss.gamma = gamma
    assert loss.gamma == 2.0


@pytest.mark.parametrize("gamma", ["FLSD-53", RULE], ids=str)
def test_a_rule_cannot_be_replaced_by_a_number(gamma):
    loss = CLASSES[0](gamma=gamma)
    before = loss.gamma
    with pytest.raises(ValueError, match=r"`gamma` must remain the rule .*=2.0.*Create a loss"):
        loss.gamma = 2.0
    assert loss.gamma == before


def test_a_preset_reads_back_as_its_rule():
    assert CLASSES[0](gamma="FLSD-53").gamma == SampleDependentGamma([0.2], [5.0, 3.0])


def test_only_a_number_has_a_state():
    assert CLASSES[0](gamma=2.0).gamma_state["gamma"] == 2.0
    assert CLASSES[0](gamma="FLSD-53").gamma_state is None


@pytest.mark.skipif(BACKEND != "tensorflow", reason="a tf.function reads variables at run time")
@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_traced_loss_follows_gamma_without_a_retrace(jit_compile):
    import tensorflow as tf

    loss = CLASSES[0](gamma=5.0, from_logits=True)
    step = tf.function(loss, jit_compile=jit_compile)
    labels, logits = tf.constant([0, 2]), tf.constant(LOGITS)
    for gamma in (5.0, 1.0, 0.0):
        loss.gamma = gamma
        expected = value_of(CLASSES[0](gamma=gamma, from_logits=True))
        assert float(step(labels, logits)) == pytest.approx(float(expected), rel=1e-5)
    assert step.experimental_get_tracing_count() == 1


# --- Config -------------------------------------------------------------------------------------


@every_gamma
@every_class
def test_copies_have_the_same_config_and_value(cls, gamma):
    loss = cls(gamma=gamma, alpha=[0.5, 1.0, 0.25], from_logits=True, axis=1, name="mine")
    for how, copied in copies(loss).items():
        assert type(copied) is cls, how
        assert copied.get_config() == loss.get_config(), how
        np.testing.assert_array_equal(value_of(copied), value_of(loss), err_msg=how)


@every_class
def test_config_holds_every_argument(cls):
    arguments = {
        "gamma": 3.0,
        "alpha": 0.5,
        "from_logits": True,
        "axis": 1,
        "reduction": "sum",
        "name": "mine",
        "dtype": "float64",
    }
    if cls is losses.SparseCategoricalFocalCrossentropy:
        arguments["ignore_class"] = 7
    else:
        arguments["label_smoothing"] = 0.1
    assert cls(**arguments).get_config() == arguments


@every_class
def test_config_holds_the_present_gamma(cls):
    loss = cls(gamma=5.0)
    loss.gamma = 1.0
    assert {how: copied.gamma for how, copied in copies(loss).items()} == dict.fromkeys(
        copies(loss), 1.0
    )


@every_class
def test_a_copy_has_a_gamma_of_its_own(cls):
    loss = cls(gamma=5.0)
    for how, copied in copies(loss).items():
        copied.gamma = 1.0
        assert loss.gamma == 5.0, how


def test_a_preset_keeps_its_name_in_the_config():
    assert CLASSES[0](gamma="FLSD-53").get_config()["gamma"] == "FLSD-53"


@every_class
def test_a_vector_of_alpha_may_be_an_array_or_a_tuple(cls):
    for alpha in (np.array([0.5, 1.0, 0.25], "float32"), (0.5, 1.0, 0.25)):
        loss = cls(alpha=alpha)
        assert loss.alpha == [0.5, 1.0, 0.25]
        json.dumps(loss.get_config())


# --- Bad arguments ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "gamma", [-1.0, -1e-9, np.nan, np.inf, None, True, [1.0, 2.0], {1}], ids=str
)
@every_class
def test_a_gamma_that_is_no_exponent_is_an_error(cls, gamma):
    with pytest.raises(ValueError, match=r"`gamma` must be a finite number >= 0. Received: gamma="):
        cls(gamma=gamma)


@pytest.mark.parametrize("gamma", ["FLSD-35", "flsd-35", "FL-3", "FLSc-5", ""])
@every_class
def test_an_unknown_name_of_a_rule_is_an_error_that_lists_the_names(cls, gamma):
    with pytest.raises(ValueError, match=f"`gamma` must be one of 'FLSD-53'.*gamma='{gamma}'"):
        cls(gamma=gamma)


@pytest.mark.parametrize(
    "alpha", [-0.5, np.nan, np.inf, [0.5, -0.5], [], [[0.5, 0.5]], "balanced"], ids=str
)
@every_class
def test_an_alpha_that_is_no_weight_is_an_error(cls, alpha):
    with pytest.raises(ValueError, match=r"`alpha` must be None, a number >= 0.*Received: alpha="):
        cls(alpha=alpha)


@pytest.mark.parametrize("label_smoothing", [-0.1, 1.0, np.nan, "0.1", None])
@pytest.mark.parametrize("cls", CLASSES[1:])
def test_a_label_smoothing_outside_its_interval_is_an_error(cls, label_smoothing):
    with pytest.raises(ValueError, match=r"`label_smoothing` must be a number in \[0, 1\)"):
        cls(label_smoothing=label_smoothing)


@every_class
def test_an_unknown_reduction_is_an_error(cls):
    with pytest.raises(ValueError, match=r"reduction"):
        cls(reduction="average")


# --- Weights ------------------------------------------------------------------------------------


@every_class
def test_loss_is_float32_and_a_scalar(cls):
    value = cls(from_logits=True)(targets_of(cls), LOGITS)
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    assert tuple(ops.shape(value)) == ()


@every_class
def test_a_weight_of_two_counts_twice(cls):
    targets, loss = targets_of(cls), cls(from_logits=True, reduction="mean_with_sample_weight")
    value = loss(targets, LOGITS, np.array([2.0, 1.0], "float32"))
    repeated = loss(targets[[0, 0, 1]], LOGITS[[0, 0, 1]])
    assert float(value) == pytest.approx(float(repeated), rel=1e-6)
