"""p, 1 - p and -log p of a class keep their relative accuracy however close p comes to 0 or 1."""

import mpmath
import numpy as np
import pytest
import reference
from backends import BACKEND, to_numpy
from keras import ops

from keras_focal.functional._stable import margin as stable

# p, 1 - p and -log p each come from two exponentials, a sum and a quotient.
TOLERANCE = 4 * 2.0**-23


def chosen_probability(labels, logits):
    labels, logits = ops.convert_to_tensor(labels), ops.convert_to_tensor(logits)
    parts = stable.stable_probability(stable.class_margin(labels, logits)[0])
    return [to_numpy(part) for part in parts]


def oracle_probability(labels, logits):
    with mpmath.workdps(120):
        p = [reference.softmax(row)[label] for label, row in zip(labels, logits, strict=True)]
        parts = [p, [1 - x for x in p], [-mpmath.log(x) for x in p]]
        return [np.array([float(x) for x in part]) for part in parts]


@pytest.mark.parametrize("offset", [0.0, 1e4], ids=["no offset", "offset 1e4"])
def test_probabilities_are_accurate_at_both_ends(offset):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (60, 5)).astype("float32")
    labels = rng.integers(0, 5, 60).astype("int32")
    logits[np.arange(60), labels] += np.linspace(-80, 80, 60, dtype="float32")
    logits += np.float32(offset)
    for actual, expected in zip(
        chosen_probability(labels, logits), oracle_probability(labels, logits), strict=True
    ):
        np.testing.assert_allclose(actual, expected, rtol=TOLERANCE)


def test_gap_and_its_error_sum_to_the_exact_difference():
    rng = np.random.default_rng(0)
    logits = (rng.normal(0, 1, (50, 2)) * 10.0 ** rng.integers(-3, 5, (50, 2))).astype("float32")
    margin, _ = stable.class_margin(ops.zeros(50, dtype="int32"), ops.convert_to_tensor(logits))
    exact = logits.max(-1).astype("float64") - logits[:, 0]
    assert np.any(to_numpy(margin.gap) != exact)
    np.testing.assert_array_equal(to_numpy(margin.gap) + to_numpy(margin.gap_error), exact)


def test_gap_is_held_to_its_largest_value():
    top = np.finfo("float32").max
    logits = np.array([[-top, top], [top, -top], [0.0, np.inf], [-np.inf, 0.0]], "float32")
    margin, _ = stable.class_margin(ops.zeros(4, dtype="int32"), ops.convert_to_tensor(logits))
    np.testing.assert_array_equal(to_numpy(margin.gap), np.array([1, 0, 1, 1]) * stable.LARGEST_GAP)


def test_an_index_out_of_range_points_nowhere():
    chosen = stable.chosen_class(ops.convert_to_tensor(np.array([-1, 0, 2, 3], "int32")), 3)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(chosen),
        [[False] * 3, [True, False, False], [False, False, True], [False] * 3],
    )


def test_the_lowest_logits_of_all_share_alike():
    """float32's lowest number is a logit like any other, not a mark of absence."""
    logits = np.full((1, 4), np.finfo("float32").min, "float32")
    p, complement, neg_log_p = chosen_probability(np.zeros(1, "int32"), logits)
    np.testing.assert_allclose(
        [p[0], complement[0], neg_log_p[0]], [0.25, 0.75, np.log(4)], rtol=1e-6
    )


@pytest.mark.skipif(BACKEND == "jax", reason="JAX has no float64 unless jax_enable_x64 is set")
def test_float64_logits_keep_their_precision():
    # None of these is a float32 number.
    logits = np.array([[1.1, 20.3, -3.7], [30.9, 1.3, 0.1], [0.7, 0.7, 0.1]])
    margin, _ = stable.class_margin(ops.zeros(3, dtype="int32"), ops.convert_to_tensor(logits))
    for actual, expected in zip(
        stable.stable_probability(margin), oracle_probability([0, 0, 0], logits), strict=True
    ):
        np.testing.assert_allclose(ops.convert_to_numpy(actual), expected, rtol=1e-14)
