"""The inverse focal loss -(1 + p)^|gamma| log p, written as a gamma < 0."""

import numpy as np
import pytest
import reference
from backends import to_numpy, value_and_gradient
from keras import ops

from keras_focal import functional
from keras_focal.functional.gammas._adaptive import BinnedGamma

GAMMAS = (-0.2, -0.5, -1.0, -2.0)
LOGITS = np.array(
    [[2.0, -1.0, 0.5], [0.0, 3.0, -2.0], [30.0, 0.0, 1.0], [-40.0, 0.0, 1.0], [90.0, 0.0, 0.0]],
    "float32",
)
LABELS = np.array([0, 1, 0, 0, 0])
BOTH = BinnedGamma(np.array([0.0, 0.3, 0.6], "float32"), np.array([3.0, -0.5, -2.0], "float32"))


def both(p):
    return 3.0 if p < 0.3 else -0.5 if p < 0.6 else -2.0


def assert_matches(found, expected):
    value, gradient = found
    np.testing.assert_allclose(value, [row[0] for row in expected], rtol=3e-6, atol=1e-37)
    np.testing.assert_allclose(gradient, [row[1] for row in expected], rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("gamma", GAMMAS)
def test_sparse_loss_of_a_negative_number_is_the_inverse_focal_loss(gamma, compiled):
    found = value_and_gradient(
        lambda z: functional.sparse_categorical_focal_crossentropy(LABELS, z, gamma=gamma),
        LOGITS,
        compiled=compiled,
    )
    assert_matches(
        found, [reference.sparse_focal(*row, gamma) for row in zip(LABELS, LOGITS, strict=True)]
    )


@pytest.mark.parametrize("compiled", [False, True])
def test_sparse_loss_of_a_rule_takes_each_form_where_it_holds(compiled):
    found = value_and_gradient(
        lambda z: functional.sparse_categorical_focal_crossentropy(LABELS, z, gamma=BOTH),
        LOGITS,
        compiled=compiled,
    )
    assert_matches(
        found, [reference.sparse_focal(*row, both) for row in zip(LABELS, LOGITS, strict=True)]
    )


@pytest.mark.parametrize("gamma", [-0.5, -2.0, BOTH])
def test_categorical_loss_has_the_inverse_form_of_every_class(gamma):
    targets = np.array([[0.7, 0.2, 0.1]] * 5, "float32")
    oracle = both if gamma is BOTH else gamma
    found = value_and_gradient(
        lambda z: functional.categorical_focal_crossentropy(targets, z, gamma=gamma), LOGITS
    )
    assert_matches(
        found,
        [reference.categorical_focal(*row, oracle) for row in zip(targets, LOGITS, strict=True)],
    )


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("gamma", [-0.5, -2.0, BOTH])
def test_binary_loss_has_the_inverse_form(gamma, compiled):
    logits = np.array([-90.0, -20.0, -3.0, -0.1, 0.0, 0.4, 2.0, 15.0, 90.0], "float32")
    targets = np.array([1, 0, 1, 0.3, 1, 0, 1, 1, 1], "float32")
    oracle = both if gamma is BOTH else gamma
    found = value_and_gradient(
        lambda z: functional.binary_focal_crossentropy(targets, z, gamma=gamma),
        logits,
        compiled=compiled,
    )
    expected = [
        reference.binary_focal(float(q), float(z), oracle)
        for q, z in zip(targets, logits, strict=True)
    ]
    assert_matches(found, expected)


def test_inverse_loss_is_at_least_cross_entropy_with_a_finite_gradient():
    loss, gradient = value_and_gradient(
        lambda z: functional.sparse_categorical_focal_crossentropy(LABELS, z, gamma=-2.0), LOGITS
    )
    plain, slope = value_and_gradient(
        lambda z: functional.sparse_categorical_focal_crossentropy(LABELS, z, gamma=0.0), LOGITS
    )
    assert np.all(loss >= plain)
    assert np.isfinite(gradient).all()
    # (1 + p)^2 of a sure sample: its gradient is not reduced.
    assert np.all(np.abs(gradient[:3]) >= np.abs(slope[:3]))


def test_binned_gamma_takes_the_upper_bin_at_an_edge_and_has_the_shape_of_p():
    p = np.array([[0.0, 0.29], [0.3, 0.59], [0.6, 1.0]], "float32")
    np.testing.assert_array_equal(
        to_numpy(BOTH(ops.convert_to_tensor(p))), [[3, 3], [-0.5, -0.5], [-2, -2]]
    )
