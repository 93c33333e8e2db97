"""The cases of Keras's own tests of its two focal losses, with the numbers that stand there.

Keras: keras/src/losses/losses_test.py, BinaryFocalCrossentropyTest and
CategoricalFocalCrossentropyTest. Keras's categorical loss has alpha 0.25 by default.
"""

from functools import partial

import keras
import numpy as np
import pytest
from backends import to_numpy

from keras_focal import losses

binary = losses.BinaryFocalCrossentropy
categorical = partial(losses.CategoricalFocalCrossentropy, alpha=0.25)

TWO_PAIRS = np.array([[1, 0], [1, 0]]), np.array([[0.9, 0.8], [0.7, 0.2]], "float32")
TWO_TRIPLES = (
    np.array([[1, 1, 0], [0, 1, 0]], "float32"),
    np.array([[1.5, -2.7, 2.9], [-3.8, 1.2, -4.5]]),
)
PROBABILITIES = (
    np.eye(3, dtype="int64"),
    np.array([[0.9, 0.05, 0.05], [0.5, 0.89, 0.6], [0.05, 0.01, 0.94]], "float32"),
)
LOGITS = np.eye(3), np.array([[8.0, 1.0, 1.0], [0.0, 9.0, 1.0], [2.0, 3.0, 5.0]])
SMOOTHED = np.array([[1, 0, 0]]), np.array([[4.9, -0.5, 2.05]])

PAIR_WEIGHTS = np.array([[1.2], [3.4]])
ROW_WEIGHTS = np.array([[1.2], [3.4], [5.6]])

of_logits = {"from_logits": True}
CASES = {
    "binary, all correct": (binary(1.5), (np.eye(3), np.eye(3)), None, 0.0),
    "binary, all correct logits": (
        binary(2.0, **of_logits),
        (np.eye(3), 200.0 * np.eye(3) - 100.0),
        None,
        0.0,
    ),
    "binary, unweighted": (binary(2.0), TWO_PAIRS, None, 0.268),
    "binary, unweighted logits": (binary(3.0, **of_logits), TWO_TRIPLES, None, 0.799),
    "binary, scalar weight": (binary(2.0), TWO_PAIRS, 1.23, 0.3296),
    "binary, scalar weight, logits": (binary(3.0, **of_logits), TWO_TRIPLES, 3.21, 2.565),
    "binary, sample weights": (binary(2.0), TWO_PAIRS, PAIR_WEIGHTS, 0.34415),
    "binary, sample weights, logits": (
        binary(3.0, **of_logits),
        TWO_TRIPLES,
        PAIR_WEIGHTS,
        0.95977,
    ),
    "binary, no reduction": (binary(2.0, reduction=None), TWO_PAIRS, None, [0.515547, 0.020513]),
    "categorical, all correct": (categorical(2.0), (np.eye(3), np.eye(3)), None, 0.0),
    "categorical, all correct logits": (
        categorical(**of_logits),
        (np.eye(3), 10.0 * np.eye(3)),
        None,
        0.0,
    ),
    "categorical, unweighted": (categorical(), PROBABILITIES, None, 0.02059),
    "categorical, unweighted logits": (categorical(**of_logits), LOGITS, None, 0.000345),
    "categorical, scalar weight": (categorical(), PROBABILITIES, 2.3, 0.047368),
    "categorical, scalar weight, logits": (categorical(**of_logits), LOGITS, 2.3, 0.000794),
    "categorical, sample weights": (categorical(), PROBABILITIES, ROW_WEIGHTS, 0.06987),
    "categorical, sample weights, logits": (
        categorical(**of_logits),
        LOGITS,
        ROW_WEIGHTS,
        0.001933,
    ),
    "categorical, no reduction": (
        categorical(**of_logits, reduction=None),
        LOGITS,
        None,
        [1.5096224e-09, 2.4136547e-11, 1.0360638e-03],
    ),
    "categorical, label smoothing": (
        categorical(**of_logits, label_smoothing=0.1),
        SMOOTHED,
        None,
        0.06685,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_case_of_keras_has_its_number(case):
    loss, (y_true, y_pred), weights, expected = CASES[case]
    np.testing.assert_allclose(
        to_numpy(loss(y_true, y_pred, weights)),
        expected,
        rtol=1e-6,
        atol=1e-6 if loss.reduction is None else 5e-4,
    )


@pytest.mark.parametrize("loss", [binary(name="bfce"), categorical(name="cfce")])
def test_a_loss_survives_its_config(loss):
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(copy) is type(loss)
    assert copy.get_config() == loss.get_config()


@pytest.mark.parametrize(
    ("make", "data"), [(binary, TWO_PAIRS), (partial(categorical, from_logits=True), SMOOTHED)]
)
def test_a_half_dtype_is_that_of_the_result(make, data):
    value = make(dtype="bfloat16")(*data)
    assert keras.backend.standardize_dtype(value.dtype) == "bfloat16"
