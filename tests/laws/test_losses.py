"""Laws of every loss on random input: sign, invariance, gradients, weights, half precision.

    python -m pytest tests/laws --hypothesis-profile deep --hypothesis-show-statistics

tries 10,000 examples of each law. `--hypothesis-seed N` repeats a run.
"""

import keras
import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from keras import ops
from laws import samples

from keras_focal import losses
from keras_focal.functional._backend.transformations import gradient

SLOPE_TOLERANCE = 2e-6
SMOOTHED = losses.LabelSmoothingCrossentropy, losses.MarginLabelSmoothingCrossentropy


@st.composite
def cases(draw, values=samples.usual, made=None):
    """A loss, labels as it takes them, logits, and whether it is one of a softmax."""
    is_softmax = draw(st.booleans()) if made is None else made is samples.softmax_losses
    loss = draw((samples.softmax_losses if is_softmax else samples.output_losses)())
    shape = draw(st.sampled_from(samples.SHAPES))
    labels = draw(samples.ids(shape))
    z = draw(samples.logits(shape, values))
    return loss, labels if is_softmax else samples.one_hot(labels), z


def value_of(loss, labels, z, weights=None):
    return np.asarray(ops.convert_to_numpy(loss(labels, z, weights)), "float64")


def slope_of(loss, labels, z):
    return np.asarray(gradient(lambda x: ops.sum(loss(labels, x)), z), "float64")


of_softmax = cases(made=samples.softmax_losses)


@given(cases(samples.finite))
def test_value_is_finite_and_not_negative_for_finite_logits(case):
    value = value_of(*case)
    assert np.isfinite(value).all()
    assert (value >= 0).all()


@given(cases(samples.finite))
def test_gradient_is_finite_for_finite_logits(case):
    assert np.isfinite(slope_of(*case)).all()


@given(cases(), st.sampled_from([np.nan, np.inf]), st.integers(0, 2))
def test_logit_that_is_no_number_is_never_silent(case, invalid, place):
    """+inf is no logit of a softmax; that of an output is certain, and allowed."""
    loss, labels, z = case
    assume(np.isnan(invalid) or labels.dtype.kind == "i")
    z = z.copy()
    z[..., place] = invalid
    try:
        value = value_of(loss, labels, z)
    except ValueError:
        return
    assert np.isnan(value).all()


@given(cases(samples.whole, samples.softmax_losses), samples.whole)
def test_adding_a_number_to_all_logits_of_a_softmax_changes_nothing(case, shift):
    loss, labels, z = case
    expected = value_of(*case)
    found = value_of(loss, labels, z + np.float32(shift))
    np.testing.assert_allclose(found, expected, rtol=3e-6, atol=1e-30)


@given(of_softmax, st.permutations(range(samples.CLASSES)))
def test_classes_may_be_numbered_in_any_order(case, order):
    loss, labels, z = case
    renamed = np.argsort(order).astype("int32")[labels]
    found = value_of(loss, renamed, z[..., order])
    np.testing.assert_allclose(found, value_of(*case), rtol=3e-6, atol=1e-30)


@given(cases(), st.randoms(use_true_random=False))
def test_rows_do_not_depend_on_each_other(case, random):
    loss, labels, z = case
    order = random.sample(range(len(z)), len(z))
    found = value_of(loss, labels[order], z[order])
    np.testing.assert_allclose(found, value_of(*case)[order], rtol=1e-6, atol=1e-30)


@given(of_softmax)
@example(
    (
        losses.LabelSmoothingCrossentropy(0.1, from_logits=True, reduction=None),
        np.array([0]),
        np.array([[0.5, -2.5, -2.5]], "float32"),
    )
)
def test_gradient_of_each_row_of_a_softmax_sums_to_zero(case):
    """To rounding errors of its largest entry, or of the probabilities whose difference it is."""
    slope = slope_of(*case)
    largest = np.abs(slope).max(axis=-1)
    if isinstance(case[0], SMOOTHED):
        largest = np.maximum(largest, 0.1)
    assert (np.abs(slope.sum(axis=-1)) <= SLOPE_TOLERANCE * largest + 1e-37).all()


@given(cases())
def test_a_small_step_along_the_negative_gradient_does_not_raise_the_loss(case):
    """Gammas are numbers: one that is found from p is a constant to the gradient, not to the value.

    Logits lie apart: the dual focal loss jumps where the second largest changes.
    """
    loss, labels, z = case
    assume(isinstance(getattr(loss, "gamma", 0.0), float))
    slope = slope_of(*case)
    norm = np.abs(slope).max()
    # A step along a smaller gradient would change less than a rounding error.
    assume(norm > 1e-3 and np.diff(np.sort(z, axis=-1), axis=-1).min() > 0.05)
    step = (z - 2.0**-7 * slope / norm).astype("float32")
    assert value_of(loss, labels, step).sum() <= value_of(*case).sum() * (1 + 1e-6)


@given(cases(), st.integers(0, 3))
def test_weight_k_counts_a_row_k_times(case, k):
    loss, labels, z = case
    counts = np.ones(len(z), int)
    counts[0] = k
    weights = np.ones(z.shape[:-1], "float32")
    weights[0] = k
    summed = type(loss).from_config({**loss.get_config(), "reduction": "sum"})
    found = value_of(summed, labels, z, weights)
    copies = value_of(loss, labels.repeat(counts, axis=0), z.repeat(counts, axis=0)).sum()
    np.testing.assert_allclose(found, copies, rtol=2e-6, atol=1e-30)


@given(cases(), st.sampled_from(["float16", "bfloat16"]))
def test_half_precision_logits_count_as_their_values(case, dtype):
    loss, labels, z = case
    half = ops.cast(z, dtype)
    found = value_of(loss, labels, half)
    np.testing.assert_array_equal(found, value_of(loss, labels, ops.cast(half, "float32")))


@given(cases())
def test_a_loss_made_from_its_config_is_the_same(case):
    loss, labels, z = case
    copied = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert copied.get_config() == loss.get_config()
    np.testing.assert_array_equal(value_of(copied, labels, z), value_of(*case))


@given(of_softmax, st.sampled_from([-1, samples.CLASSES, 2**20]))
def test_label_of_no_class_is_never_silent(case, invalid):
    loss, labels, z = case
    labels = labels.copy()
    labels.flat[0] = invalid
    with pytest.raises(ValueError, match="y_true"):
        loss(labels, z)
