"""The asymmetric, the quality focal and the varifocal loss against their formulas in 80 digits."""

from functools import cache, partial

import numpy as np
import pytest
import reference
from backends import BACKEND, to_numpy, value_and_gradient

from keras_focal import functional

NORMAL = 2.0**-126
AS_USUAL = BACKEND == "jax"
compiled_or_not = pytest.mark.parametrize(
    "compiled", [False] if BACKEND == "torch" else [False, True], ids=lambda c: f"compiled={c}"
)

ASYMMETRIC = [(0.0, 4.0, 0.05), (1.0, 4.0, 0.2), (0.5, 0.5, 0.1), (2.0, 2.0, 0.0), (0, 0, 0.3)]
LOSSES = {
    **{
        f"asymmetric {pos} {neg} {shift}": (
            partial(functional.asymmetric_loss, gamma_pos=pos, gamma_neg=neg, shift=shift),
            partial(reference.asymmetric, gamma_pos=pos, gamma_neg=neg, shift=shift),
        )
        for pos, neg, shift in ASYMMETRIC
    },
    **{
        f"quality {gamma}": (
            partial(functional.quality_focal_crossentropy, gamma=gamma),
            partial(reference.quality_focal, gamma=gamma),
        )
        for gamma in (0.0, 0.5, 1.0, 2.0, 3.0)
    },
    **{
        f"varifocal {gamma} {alpha}": (
            partial(functional.varifocal_crossentropy, gamma=gamma, alpha=alpha),
            partial(reference.varifocal, gamma=gamma, alpha=alpha),
        )
        for gamma, alpha in ((0.0, 1.0), (0.5, 0.75), (2.0, 0.75))
    },
}
every_loss = pytest.mark.parametrize("name", LOSSES)


@cache
def batch():
    logits = np.array([-1e4, -70, -30, -18, -4, -3.1, -1, 0.25, 0.7, 2, 9, 18, 30, 70, 1e4])
    targets = np.array([0.0, 0.2, 0.8, 1.0])
    return tuple(
        part.ravel().astype("float32") for part in np.meshgrid(targets, logits, indexing="ij")
    )


@compiled_or_not
@every_loss
def test_value_and_gradient_are_accurate(name, compiled):
    loss, formula = LOSSES[name]
    targets, logits = batch()
    value, gradient = value_and_gradient(partial(loss, targets), logits, compiled=compiled)
    for i, (q, z) in enumerate(zip(targets, logits, strict=True)):
        function = partial(formula, q)
        expected = reference.value_of(function, [z])
        slope = reference.gradient_of(function, [z])[0]
        # p - shift and q - p lose digits where the two are near: that is the formula's doing.
        assert value[i] == pytest.approx(expected, rel=1e-5, abs=NORMAL), (q, z)
        assert gradient[i] == pytest.approx(slope, rel=1e-5, abs=NORMAL), (q, z)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_equal_gammas_without_a_shift_are_binary_focal(gamma):
    targets, logits = batch()
    value = functional.asymmetric_loss(targets, logits, gamma_pos=gamma, gamma_neg=gamma, shift=0.0)
    expected = functional.binary_focal_crossentropy(targets, logits, gamma=gamma)
    np.testing.assert_allclose(to_numpy(value), to_numpy(expected), rtol=1e-5, atol=NORMAL)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_quality_focal_of_hard_targets_is_binary_focal(gamma):
    targets, logits = batch()
    targets = np.round(targets)
    value = functional.quality_focal_crossentropy(targets, logits, gamma=gamma)
    expected = functional.binary_focal_crossentropy(targets, logits, gamma=gamma)
    np.testing.assert_allclose(to_numpy(value), to_numpy(expected), rtol=1e-5, atol=NORMAL)


def test_a_negative_below_the_shift_costs_nothing():
    value, gradient = value_and_gradient(
        lambda z: functional.asymmetric_loss(np.zeros(2, "float32"), z, shift=0.05),
        np.array([-3.0, -2.9], "float32"),  # p = 0.0474 and 0.0522
        compiled=AS_USUAL,
    )
    assert value[0] == gradient[0] == 0.0
    assert value[1] > 0.0
    assert gradient[1] > 0.0


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_quality_focal_is_zero_and_level_where_the_prediction_meets_the_target(gamma):
    value, gradient = value_and_gradient(
        lambda z: functional.quality_focal_crossentropy(np.array([0.5], "float32"), z, gamma=gamma),
        np.zeros(1, "float32"),
        compiled=AS_USUAL,
    )
    assert value[0] == gradient[0] == 0.0


def test_quality_focal_takes_a_rule_for_gamma():
    targets, logits = np.array([1.0, 0.0], "float32"), np.array([-3.0, -3.0], "float32")
    rule = functional.quality_focal_crossentropy(
        targets, logits, gamma=lambda p: functional.step_gamma(p, [0.2], [5.0, 3.0])
    )
    fives, threes = (
        to_numpy(functional.quality_focal_crossentropy(targets, logits, gamma=gamma))
        for gamma in (5.0, 3.0)
    )
    np.testing.assert_allclose(to_numpy(rule), [fives[0], threes[1]], rtol=1e-6)


@every_loss
def test_nothing_is_nan_at_the_ends(name):
    logits = np.array([-3e38, -200, 0, 200, 3e38], "float32")
    for target in (0.0, 0.5, 1.0):
        targets = np.full(5, target, "float32")
        value, gradient = value_and_gradient(
            partial(LOSSES[name][0], targets), logits, compiled=AS_USUAL
        )
        assert np.all(np.isfinite(value))
        assert np.all(np.isfinite(gradient))
