"""Bins of confidence: which one holds what, and what each one adds up to.

Examples keep to few shapes, (3, 3) and (64, 4): JAX compiles every operation again for a new one.
"""

import keras
import numpy as np
import pytest
import reference
from backends import BACKEND, to_numpy
from keras import ops

from keras_focal import functional
from keras_focal.functional.calibration._bins import (
    LOGIT_CELLS,
    Predictions,
    contributions,
    equal_width_bins,
    logit_cells,
    one_class,
    top_label,
)


def bins_of(confidence, num_bins):
    confidence = ops.convert_to_tensor(np.asarray(confidence, "float32"))
    return ops.convert_to_numpy(equal_width_bins(confidence, num_bins))


def compiled(function):
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=True, autograph=False)
    if BACKEND == "jax":
        import jax

        return jax.jit(function)
    pytest.skip("Keras runs torch eagerly: there is no compiled form to compare")


@pytest.mark.parametrize("num_bins", [1, 10, 15, 20, 25, 100])
def test_edge_belongs_to_the_bin_below(num_bins):
    edges = np.arange(1, num_bins + 1) / num_bins
    np.testing.assert_array_equal(bins_of(edges, num_bins), np.arange(num_bins))


@pytest.mark.parametrize("num_bins", [10, 15, 20, 25, 100])
def test_next_float_above_an_edge_falls_in_the_bin_above(num_bins):
    edges = (np.arange(num_bins) / num_bins).astype("float32")
    above = np.nextafter(edges, np.float32(1))
    np.testing.assert_array_equal(bins_of(above, num_bins), np.arange(num_bins))


def test_float32_of_one_fifth_falls_below_its_edge():
    # float32(0.2) is 0.2 + 3e-9: compared with the edge in float64 it would fall in bin 3.
    assert bins_of([0.2], 15)[0] == 2


def test_confidence_zero_falls_in_first_bin():
    assert bins_of([0.0], 15)[0] == 0


def test_confidence_one_falls_in_last_bin():
    assert bins_of([1.0], 15)[0] == 14


@pytest.mark.parametrize("from_logits", [False, True])
def test_tie_of_top_class_goes_to_lowest_index(from_logits):
    row = [0.0, 3.0, 3.0] if from_logits else [0.2, 0.4, 0.4]
    top = top_label([0, 1, 2], [row] * 3, from_logits=from_logits)
    np.testing.assert_array_equal(to_numpy(top.wrong), [1.0, 0.0, 1.0])


@pytest.mark.parametrize(("from_logits", "undecided"), [(False, 0.5), (True, 0.0)])
def test_undecided_binary_prediction_is_the_negative_class(from_logits, undecided):
    top = top_label([0, 1, 1], [[undecided]] * 3, from_logits=from_logits)
    np.testing.assert_array_equal(to_numpy(top.wrong), [0.0, 1.0, 1.0])
    np.testing.assert_array_equal(to_numpy(top.confidence), [0.5] * 3)


@pytest.mark.parametrize("from_logits", [False, True])
def test_one_column_equals_two_columns(rng, from_logits):
    logit = rng.normal(0, 4, (64, 1)).astype("float32")
    labels = rng.integers(0, 2, 64)
    if from_logits:
        one, two = logit, np.concatenate([0 * logit, logit], -1)
    else:
        one = 1 / (1 + np.exp(-logit))
        two = np.concatenate([1 - one, one], -1)
    single = top_label(labels, one, from_logits=from_logits)
    double = top_label(labels, two, from_logits=from_logits)
    for a, b in zip(single, double, strict=True):
        np.testing.assert_array_equal(to_numpy(a), to_numpy(b))


@pytest.mark.parametrize("dtype", ["int64", "uint8", "float32"])
@pytest.mark.parametrize("form", ["ids", "column", "one_hot"])
def test_every_form_of_label_says_the_same(rng, form, dtype):
    probabilities = rng.dirichlet(np.ones(4), 64).astype("float32")
    ids = rng.integers(0, 4, 64)
    labels = {"ids": ids, "column": ids[:, None], "one_hot": np.eye(4)[ids]}[form].astype(dtype)
    wrong = to_numpy(top_label(labels, probabilities).wrong)
    np.testing.assert_array_equal(wrong, probabilities.argmax(-1) != ids)


def test_soft_label_stands_for_its_largest_entry(rng):
    probabilities = rng.dirichlet(np.ones(4), 64).astype("float32")
    soft = rng.dirichlet(np.ones(4), 64).astype("float32")
    wrong = to_numpy(top_label(soft, probabilities).wrong)
    np.testing.assert_array_equal(wrong, probabilities.argmax(-1) != soft.argmax(-1))


def test_class_ids_beyond_half_precision_are_exact():
    probabilities = np.full((3, 1000), 1e-4, "float32")
    probabilities[[0, 1, 2], [257, 511, 999]] = 0.9
    top = top_label([257, 511, 999], ops.cast(probabilities, "bfloat16"))
    np.testing.assert_array_equal(to_numpy(top.wrong), [0.0, 0.0, 0.0])


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("label", [-1, 3, 2**20])
def test_label_out_of_range_makes_its_own_row_nan(from_logits, label):
    rows = [[0.2, 0.2, 0.6], [0.7, 0.2, 0.1], [0.7, 0.2, 0.1]]
    top = top_label([label, label, 0], rows, from_logits=from_logits)
    np.testing.assert_array_equal(np.isnan(to_numpy(top.confidence)), [True, True, False])


def test_doubt_survives_where_confidence_rounds_to_one():
    gaps = [1.0, 17.0, 80.0]
    logits = np.array([[gap, 0.0, -1.0] for gap in gaps], "float32")
    top = top_label(np.zeros(len(gaps), int), logits, from_logits=True)
    expected = [float(sum(reference.softmax(row)[1:])) for row in logits]
    np.testing.assert_allclose(to_numpy(top.complement), expected, rtol=1e-6)
    assert to_numpy(top.confidence)[-1] == 1.0


def test_logits_give_the_confidence_of_their_softmax(rng):
    logits = rng.normal(0, 5, (64, 4)).astype("float32")
    labels = rng.integers(0, 4, 64)
    top = top_label(labels, logits, from_logits=True)
    confidence, correct = reference.top_label(labels, reference.softmax64(logits))
    np.testing.assert_allclose(to_numpy(top.confidence), confidence, rtol=3e-7)
    np.testing.assert_array_equal(to_numpy(top.wrong), 1 - correct)


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32(rng, dtype, from_logits):
    rows = ops.cast(rng.dirichlet(np.ones(4), 64).astype("float32"), dtype)
    labels = rng.integers(0, 4, 64)
    half = top_label(labels, rows, from_logits=from_logits)
    full = top_label(labels, ops.cast(rows, "float32"), from_logits=from_logits)
    assert keras.backend.standardize_dtype(half.complement.dtype) == "float32"
    np.testing.assert_array_equal(to_numpy(half.complement), to_numpy(full.complement))


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_prediction_that_is_not_finite_affects_its_own_row_alone(bad, from_logits, jit):
    rows = np.array([[0.6, 0.3, 0.1]] * 3, "float32")
    rows[1, 2] = bad

    def complement(x):
        return top_label([0, 0, 0], x, from_logits=from_logits).complement

    finite = np.isfinite(
        to_numpy((compiled(complement) if jit else complement)(ops.convert_to_tensor(rows)))
    )
    np.testing.assert_array_equal(finite, [True, False, True])


def test_logit_cells_rise_with_confidence():
    complement = np.logspace(-9, -0.001, 5000).astype("float32")[::-1]
    cells = logit_cells(Predictions(1 - complement, complement, 0 * complement))
    cells = ops.convert_to_numpy(cells)
    assert np.all(np.diff(cells) >= 0)
    assert cells[0] >= 0
    assert cells[-1] == LOGIT_CELLS - 1


def test_logit_cells_are_256_to_a_doubling_of_the_odds():
    # Cell k holds log2(odds) from -7 + k / 256 on; the middle of a cell is far from rounding.
    cell = np.array([0, 1, 1791, 1792, 4000, 6000])
    odds = 2.0 ** (-7 + (cell + 0.5) / 256)
    confidence, complement = odds / (1 + odds), 1 / (1 + odds)
    parts = (
        ops.convert_to_tensor(part.astype("float32"))
        for part in (confidence, complement, complement)
    )
    got = logit_cells(Predictions(*parts))
    np.testing.assert_array_equal(ops.convert_to_numpy(got), cell)


@pytest.mark.parametrize(("confidence", "cell"), [(0.0, 0), (1.0, LOGIT_CELLS - 1)])
def test_certain_prediction_falls_in_an_outermost_cell(confidence, cell):
    parts = (ops.convert_to_tensor([part], "float32") for part in (confidence, 1 - confidence, 0.0))
    assert int(logit_cells(Predictions(*parts))[0]) == cell


def test_amounts_are_weight_wrong_weight_and_doubted_weight():
    top = Predictions(
        *(
            ops.convert_to_tensor(part, "float32")
            for part in ([0.75, 0.5, 0.5], [0.25, 0.5, 0.5], [0.0, 1.0, 0.0])
        )
    )
    amounts = contributions(top, ops.convert_to_tensor([4.0, 2.0, 1.0]))
    expected = [[4.0, 0.0, 1.0], [2.0, 2.0, 1.0], [1.0, 0.0, 0.5]]
    np.testing.assert_array_equal(to_numpy(amounts), expected)


def test_prediction_that_is_not_finite_has_no_amount_of_doubt():
    top = Predictions(*(ops.convert_to_tensor([part], "float32") for part in (np.nan, np.nan, 0.0)))
    amounts = contributions(top, ops.convert_to_tensor([3.0]))
    np.testing.assert_array_equal(to_numpy(amounts), [[3.0, 0.0, 0.0]])


@pytest.mark.parametrize("num_bins", [1, 15])
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_bin_statistics_equal_the_oracle(rng, weighted, from_logits, num_bins):
    logits = rng.normal(0, 3, (64, 4)).astype("float32")
    labels = rng.integers(0, 4, 64)
    weights = rng.uniform(0, 2, 64).astype("float32") if weighted else None
    probabilities = reference.softmax64(logits).astype("float32")
    bins = functional.bin_statistics(
        labels,
        logits if from_logits else probabilities,
        num_bins=num_bins,
        from_logits=from_logits,
        sample_weight=weights,
    )
    expected = reference.equal_width_gaps(
        *reference.top_label(labels, probabilities), num_bins, weights
    )
    count, gap = np.array(expected).T
    np.testing.assert_allclose(to_numpy(bins.count), count, rtol=1e-6)
    np.testing.assert_allclose(to_numpy(bins.gap), count * gap, atol=5e-6)


def test_gap_is_positive_where_overconfident():
    rows = [[0.9, 0.1, 0.0], [0.4, 0.6, 0.0], [0.4, 0.3, 0.3]]
    bins = functional.bin_statistics([1, 0, 0], rows, num_bins=2)
    np.testing.assert_allclose(to_numpy(bins.gap), [-0.6, 1.5], rtol=1e-6)
    np.testing.assert_array_equal(to_numpy(bins.wrong), [0.0, 2.0])


def test_empty_bins_hold_zero():
    bins = functional.bin_statistics([0, 0, 0], [[0.85, 0.1, 0.05]] * 3, num_bins=10)
    for part in bins:
        np.testing.assert_array_equal(to_numpy(part)[[0, 1, 2, 3, 4, 5, 6, 7, 9]], np.zeros(9))


def test_bin_statistics_of_no_predictions_are_zero():
    bins = functional.bin_statistics(np.zeros(0, "int32"), np.zeros((0, 3), "float32"), num_bins=4)
    for part in bins:
        np.testing.assert_array_equal(to_numpy(part), np.zeros(4))


def test_leading_axes_are_samples(rng):
    rows = rng.dirichlet(np.ones(4), (4, 8, 2)).astype("float32")
    labels, weights = rng.integers(0, 4, (4, 8, 2)), rng.integers(0, 3, (4, 8, 2))
    nested = functional.bin_statistics(labels, rows, sample_weight=weights)
    flat = functional.bin_statistics(
        labels.ravel(), rows.reshape(-1, 4), sample_weight=weights.ravel()
    )
    for a, b in zip(nested, flat, strict=True):
        np.testing.assert_allclose(to_numpy(a), to_numpy(b), atol=1e-6)


def test_weights_in_a_column_fit_labels_in_a_column(rng):
    rows = rng.dirichlet(np.ones(4), 64).astype("float32")
    labels, weights = rng.integers(0, 4, 64), rng.uniform(0, 2, 64).astype("float32")
    column = functional.bin_statistics(labels[:, None], rows, sample_weight=weights[:, None])
    flat = functional.bin_statistics(labels, rows, sample_weight=weights)
    np.testing.assert_allclose(to_numpy(column.count), to_numpy(flat.count), rtol=1e-6)


def test_predictions_that_are_not_finite_make_every_bin_nan():
    rows = [[np.nan, 0.5, 0.5], [0.9, 0.1, 0.0], [0.9, np.inf, 0.0]]
    for part in functional.bin_statistics([0, 0, 0], rows, num_bins=4):
        assert np.all(np.isnan(to_numpy(part)))
    bins = functional.bin_statistics([0, 0, 0], rows, num_bins=4, sample_weight=[0, 1, 0])
    np.testing.assert_array_equal(to_numpy(bins.count), [0.0, 0.0, 0.0, 1.0])


def test_float64_predictions_are_taken(rng):
    rows, labels = rng.dirichlet(np.ones(4), 64), rng.integers(0, 4, 64)
    double = functional.bin_statistics(labels, rows, sample_weight=np.ones(64, "float32"))
    single = functional.bin_statistics(labels, rows.astype("float32"))
    np.testing.assert_array_equal(to_numpy(double.count), to_numpy(single.count))


def test_compiled_bin_statistics_equal_eager_ones(rng):
    logits = rng.normal(0, 3, (64, 4)).astype("float32")
    labels = rng.integers(0, 4, 64)

    def statistics(x):
        return tuple(functional.bin_statistics(labels, x, from_logits=True))

    for a, b in zip(compiled(statistics)(logits), statistics(logits), strict=True):
        np.testing.assert_allclose(to_numpy(a), to_numpy(b), atol=1e-6)


@pytest.mark.parametrize("num_bins", [0, -1, 1.5])
def test_number_of_bins_below_one_or_broken_raises(num_bins):
    with pytest.raises(ValueError, match="`num_bins` must be a whole number >= 1"):
        functional.bin_statistics([0], [[0.9, 0.1]], num_bins=num_bins)


@pytest.mark.parametrize("class_id", [0, 3])
def test_one_class_of_logits_is_that_of_their_probabilities(rng, class_id):
    labels, logits = rng.integers(0, 4, 64), rng.normal(0, 2, (64, 4)).astype("float32")
    found = one_class(labels, logits, class_id, from_logits=True)
    p = reference.softmax64(logits)[:, class_id]
    np.testing.assert_allclose(to_numpy(found.confidence), p, rtol=1e-5)
    np.testing.assert_allclose(to_numpy(found.complement), 1 - p, rtol=1e-5)
    np.testing.assert_array_equal(to_numpy(found.wrong), labels != class_id)
