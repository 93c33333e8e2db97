"""Propositions 1 and 2: the gradient ratio and the gamma that sets it to 1."""

import backends
import numpy as np
import pytest
import reference
from keras import ops

from keras_focal import functional
from keras_focal.gammas import gamma_star, gradient_ratio


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 3.0, 7.5])
def test_gradient_ratio_equals_the_oracle(gamma):
    p = np.array([1e-6, 0.01, 0.2, 0.25, 0.5, 0.75, 0.96875], "float32")
    expected = [reference.gradient_ratio(float(x), gamma) for x in p]
    found = ops.convert_to_numpy(gradient_ratio(p, gamma))
    np.testing.assert_allclose(found, expected, rtol=5e-6)


def test_gradient_ratio_is_one_at_zero_and_zero_at_one():
    assert float(gradient_ratio(0.0, 3.0)) == 1.0
    assert float(gradient_ratio(1.0, 0.5)) == 0.0
    assert float(gradient_ratio(1.0, 0.0)) == 1.0


def test_focal_gradient_is_cross_entropy_gradient_times_the_ratio(rng):
    logits, labels = rng.normal(0, 2, (20, 5)).astype("float32"), rng.integers(0, 5, 20)
    loss = functional.sparse_categorical_focal_crossentropy
    focal = backends.value_and_gradient(lambda z: loss(labels, z, gamma=3.0), logits)[1]
    plain = backends.value_and_gradient(lambda z: loss(labels, z, gamma=0.0), logits)[1]
    p = reference.softmax64(logits)[np.arange(20), labels]
    ratio = np.array([reference.gradient_ratio(x, 3.0) for x in p])
    np.testing.assert_allclose(focal, plain * ratio[:, None], rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("p0", [1e-6, 0.01, 0.1, 0.2, 0.25, 1 / np.e, 0.45, 0.499])
def test_gamma_star_is_the_root_of_the_ratio(p0):
    assert gamma_star(p0) == pytest.approx(reference.gamma_star(p0), rel=1e-10)


def test_gamma_star_damps_every_probability_above():
    p = np.linspace(0.25, 1.0, 500).astype("float32")
    ratio = ops.convert_to_numpy(gradient_ratio(p, gamma_star(0.25)))
    assert ratio[0] == pytest.approx(1.0, abs=1e-6)
    assert np.all(ratio[1:] < 1.0)


def test_gamma_star_of_an_array_is_an_array():
    found = gamma_star(np.array([[0.2, 0.25]]))
    assert found.shape == (1, 2)
    assert found[0, 1] == gamma_star(0.25)


@pytest.mark.parametrize("p0", [0.0, 0.5, 0.9, 1.0, -0.1, float("nan"), [0.2, 0.6]])
def test_gamma_star_outside_its_domain_raises(p0):
    with pytest.raises(ValueError, match=r"`p0` must be in \(0, 0.5\): Proposition 2"):
        gamma_star(p0)
