"""ECE, MCE and AdaECE of whole arrays against the oracle, the identities and the published figures.

All examples have one shape, (512, 4) or (4, 2): JAX compiles every operation again for a new one.
"""

from functools import partial
from itertools import pairwise

import keras
import numpy as np
import pytest
import reference
from backends import to_numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from predictions import CASES, PUBLISHED, SIZE, example, published_test_set

from keras_focal import functional
from keras_focal.functional.calibration._partitions import equal_mass_bins

ERRORS = {
    "ece": (functional.expected_calibration_error, reference.ece),
    "mce": (functional.maximum_calibration_error, reference.mce),
    "ada_ece": (functional.adaptive_expected_calibration_error, reference.adaptive_ece),
}


def confidence_and_correctness(case, from_logits):
    labels, logits, probabilities = example(case)
    rows = reference.softmax64(logits) if from_logits else probabilities
    return reference.top_label(labels, rows)


def predictions(case, from_logits):
    return example(case)[1 if from_logits else 2]


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ERRORS)
def test_error_equals_the_oracle(name, case, from_logits):
    error, oracle = ERRORS[name]
    got = error(example(case)[0], predictions(case, from_logits), from_logits=from_logits)
    expected = oracle(*confidence_and_correctness(case, from_logits))
    np.testing.assert_allclose(float(got), expected, atol=1e-6)


@pytest.mark.parametrize("num_bins", [1, 2, 40])
@pytest.mark.parametrize("name", ERRORS)
def test_error_equals_the_oracle_for_any_number_of_bins(name, num_bins):
    error, oracle = ERRORS[name]
    labels, _, probabilities = example("random")
    expected = oracle(*reference.top_label(labels, probabilities), num_bins)
    got = error(labels, probabilities, num_bins=num_bins)
    np.testing.assert_allclose(float(got), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["ece", "ada_ece"])
@pytest.mark.parametrize("case", ["random", "ties"])
def test_weighted_error_equals_the_oracle(rng, case, name):
    error, oracle = ERRORS[name]
    labels, _, probabilities = example(case)
    weights = rng.uniform(0, 3, SIZE).astype("float32") * (rng.random(SIZE) < 0.8)
    got = error(labels, probabilities, sample_weight=weights)
    expected = oracle(*reference.top_label(labels, probabilities), weights=weights)
    np.testing.assert_allclose(float(got), expected, atol=1e-6)


@pytest.mark.parametrize("name", ERRORS)
def test_integer_weights_equal_repetition(rng, name):
    labels, _, probabilities = example("ties")
    times = rng.integers(0, 4, SIZE)
    expected = ERRORS[name][1](
        *reference.top_label(labels.repeat(times), probabilities.repeat(times, axis=0))
    )
    got = ERRORS[name][0](labels, probabilities, sample_weight=times)
    np.testing.assert_allclose(float(got), expected, atol=1e-6)


@pytest.mark.parametrize("name", ERRORS)
def test_weights_in_a_column_fit_labels_in_a_column(rng, name):
    labels, _, probabilities = example("random")
    weights = rng.uniform(0, 3, SIZE).astype("float32")
    error = ERRORS[name][0]
    column = error(labels[:, None], probabilities, sample_weight=weights[:, None])
    flat = error(labels, probabilities, sample_weight=weights)
    np.testing.assert_allclose(float(column), float(flat), atol=1e-7)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
@pytest.mark.parametrize("name", ERRORS)
def test_only_ratios_of_weights_matter(rng, name, scale):
    labels, _, probabilities = example("random")
    weights = rng.uniform(1, 3, SIZE).astype("float32")
    error = ERRORS[name][0]
    scaled = error(labels, probabilities, sample_weight=weights * np.float32(scale))
    unscaled = error(labels, probabilities, sample_weight=weights)
    np.testing.assert_allclose(float(scaled), float(unscaled), rtol=1e-5)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31), case=st.sampled_from(CASES), from_logits=st.booleans())
def test_row_order_never_matters(seed, case, from_logits):
    labels, rows = example(case)[0], predictions(case, from_logits)
    order = np.random.default_rng(seed).permutation(SIZE)
    for error, _ in ERRORS.values():
        sorted_error = error(labels[order], rows[order], from_logits=from_logits)
        np.testing.assert_allclose(
            float(sorted_error), float(error(labels, rows, from_logits=from_logits)), atol=1e-6
        )


@pytest.mark.parametrize("name", ERRORS)
def test_names_of_classes_do_not_matter(rng, name):
    labels, logits, _ = example("random")
    renamed = rng.permutation(4)
    error = ERRORS[name][0]
    got = error(renamed[labels], logits[:, np.argsort(renamed)], from_logits=True)
    expected = error(labels, logits, from_logits=True)
    np.testing.assert_allclose(float(got), float(expected), atol=1e-6)


@pytest.mark.parametrize("name", ERRORS)
def test_leading_axes_are_samples(name):
    labels, _, probabilities = example("random")
    nested = ERRORS[name][0](labels.reshape(8, 64), probabilities.reshape(8, 64, 4))
    flat = ERRORS[name][0](labels, probabilities)
    np.testing.assert_allclose(float(nested), float(flat), atol=1e-7)


@pytest.mark.parametrize("name", ERRORS)
def test_predictions_right_as_often_as_they_say_have_no_error(name):
    labels = np.array([0, 0, 0, 1])
    error = ERRORS[name][0](labels, np.array([[0.75, 0.25]] * 4, "float32"))
    np.testing.assert_allclose(float(error), 0.0, atol=1e-7)


@pytest.mark.parametrize("name", ERRORS)
def test_certain_and_always_wrong_predictions_have_the_largest_error(name):
    error = ERRORS[name][0]([1, 1, 1, 1], np.array([[1.0, 0.0]] * 4, "float32"))
    np.testing.assert_allclose(float(error), 1.0, atol=1e-7)


@pytest.mark.parametrize("name", ["ece", "ada_ece"])
def test_gaps_of_one_sign_give_the_mean_gap(name):
    # Every prediction is wrong: each gap is a confidence.
    _, _, probabilities = example("random")
    labels = probabilities.argmin(-1)
    mean = probabilities.max(-1).astype("float64").mean()
    np.testing.assert_allclose(float(ERRORS[name][0](labels, probabilities)), mean, rtol=1e-6)


def test_maximum_error_leaves_out_empty_bins():
    # One bin is filled, nearly calibrated: an empty bin must not count as a gap of its own.
    error = functional.maximum_calibration_error(
        [0, 0, 0, 1], np.array([[0.7, 0.3]] * 4, "float32")
    )
    np.testing.assert_allclose(float(error), 0.05, atol=1e-6)


def test_maximum_error_leaves_out_bins_of_weight_zero():
    rows = np.array([[0.75, 0.25]] * 3 + [[0.1, 0.9]], "float32")
    error = functional.maximum_calibration_error([0, 0, 0, 0], rows, sample_weight=[1, 1, 1, 0])
    np.testing.assert_allclose(float(error), 0.25, atol=1e-6)


@pytest.mark.parametrize("name", ERRORS)
def test_no_predictions_have_no_error(name):
    error = ERRORS[name][0](np.zeros(0, "int32"), np.zeros((0, 2), "float32"))
    assert float(error) == 0.0


@pytest.mark.parametrize("name", ERRORS)
def test_weights_of_zero_have_no_error(name):
    rows = np.array([[0.9, 0.1]] * 4, "float32")
    error = ERRORS[name][0]([0, 1, 0, 1], rows, sample_weight=np.zeros(4, "float32"))
    assert float(error) == 0.0


@pytest.mark.parametrize("name", ERRORS)
def test_float64_predictions_are_taken(name):
    labels, _, probabilities = example("random")
    double = ERRORS[name][0](labels, probabilities.astype("float64"))
    single = ERRORS[name][0](labels, probabilities)
    np.testing.assert_allclose(float(double), float(single), atol=1e-6)


@pytest.mark.parametrize("name", ERRORS)
def test_half_precision_logits_are_computed_in_float32(name):
    labels, logits, _ = example("random")
    half = ops.cast(logits, "bfloat16")
    expected = ERRORS[name][0](labels, ops.cast(half, "float32"), from_logits=True)
    assert float(ERRORS[name][0](labels, half, from_logits=True)) == float(expected)


@pytest.mark.parametrize("name", ERRORS)
def test_number_of_bins_below_one_raises(name):
    with pytest.raises(ValueError, match="`num_bins` must be a whole number >= 1"):
        ERRORS[name][0]([0], [[0.9, 0.1]], num_bins=0)


def cells_of(count, gap):
    parts = (np.array(part, "float32") for part in (count, np.zeros(len(count)), gap))
    return functional.BinStatistics(*(ops.convert_to_tensor(part) for part in parts))


def test_equal_mass_bins_divide_a_cell_in_proportion():
    # Edges at weight 4 and 8: the second cell gives 3 of its 6 to the first bin, 3 to the next.
    bins = equal_mass_bins(cells_of([1, 6, 0, 5], [0.5, 1.2, 0.0, -2.0]), 3)
    np.testing.assert_allclose(to_numpy(bins.count), [4, 4, 4], rtol=1e-6)
    np.testing.assert_allclose(to_numpy(bins.gap), [1.1, 0.2, -1.6], rtol=1e-6)


def test_equal_mass_bins_divide_one_cell_over_many_bins():
    bins = equal_mass_bins(cells_of([0, 0, 12, 0], [0, 0, 3.0, 0]), 4)
    np.testing.assert_allclose(to_numpy(bins.count), [3, 3, 3, 3], rtol=1e-6)
    np.testing.assert_allclose(to_numpy(bins.gap), [0.75] * 4, rtol=1e-6)


def test_equal_mass_bins_of_nothing_hold_nothing():
    bins = equal_mass_bins(cells_of([0, 0, 0, 0], [0, 0, 0, 0]), 4)
    np.testing.assert_array_equal(to_numpy(bins.count), np.zeros(4))


def test_equal_mass_bins_of_many_cells_keep_every_digit(rng):
    # A plain float32 running sum over 10,000 cells loses the fifth digit.
    count, gap = rng.uniform(0, 1, 10_000), rng.uniform(-1, 1, 10_000)
    bins = equal_mass_bins(cells_of(count, gap), 1)
    np.testing.assert_allclose(to_numpy(bins.count), count.sum(), rtol=3e-7)
    np.testing.assert_allclose(to_numpy(bins.gap), gap.sum(), atol=2e-5)


def paper_ada_ece(confidence, correct, num_bins=15):
    """The paper's code again: edges by np.interp over the sorted confidences, bins (low, high]."""
    size = len(confidence)
    edges = np.interp(np.linspace(0, size, num_bins + 1), np.arange(size), np.sort(confidence))
    error = 0.0
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            error += inside.mean() * abs(confidence[inside].mean() - correct[inside].mean())
    return error


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("case", ["random", "flat", "ties"])
def test_paper_binning_equals_the_code_of_the_paper(case, from_logits):
    got = functional.adaptive_expected_calibration_error(
        example(case)[0], predictions(case, from_logits), from_logits=from_logits, binning="paper"
    )
    # float32 as in the package: ties of confidence in float32 fall on one side of an edge.
    confidence, correct = reference.top_label(*example(case)[::2])
    np.testing.assert_allclose(float(got), paper_ada_ece(confidence, correct), atol=1e-6)


@pytest.mark.parametrize("binning", ["paper", "tie-safe"])
def test_unlabelled_rows_are_in_no_bin(binning):
    labels, rows = example("random")[0], predictions("random", True)
    error = partial(
        functional.adaptive_expected_calibration_error, from_logits=True, binning=binning
    )
    targets = np.eye(rows.shape[-1], dtype="float32")[labels]
    targets = np.concatenate([np.zeros_like(targets[:50]), targets])
    more = np.concatenate([50.0 * rows[:50], rows])
    np.testing.assert_allclose(float(error(targets, more)), float(error(labels, rows)), rtol=1e-6)


def test_unknown_binning_raises():
    with pytest.raises(ValueError, match="`binning` must be one of 'tie-safe', 'paper'"):
        functional.adaptive_expected_calibration_error([0], [[0.9, 0.1]], binning="quantile")


def test_weights_with_paper_binning_raise():
    with pytest.raises(ValueError, match="`sample_weight` must be None"):
        functional.adaptive_expected_calibration_error(
            [0], [[0.9, 0.1]], sample_weight=[1.0], binning="paper"
        )


def test_ignore_class_with_paper_binning_raises():
    with pytest.raises(ValueError, match=r"`ignore_class` must be None .*ignore_class=0\."):
        functional.adaptive_expected_calibration_error(
            [0], [[0.9, 0.1]], ignore_class=0, binning="paper"
        )


# On the published logits


@pytest.mark.parametrize(("name", "ece", "ada_ece"), PUBLISHED)
def test_published_ece_is_met_to_the_last_digit(real_data, name, ece, ada_ece):
    labels, logits = published_test_set(real_data, name)
    error = functional.expected_calibration_error(labels, logits, from_logits=True)
    assert round(100 * float(error), 2) == ece


@pytest.mark.parametrize(("name", "ece", "ada_ece"), PUBLISHED)
def test_published_ada_ece_is_met_to_the_digit_by_paper_binning(real_data, name, ece, ada_ece):
    labels, logits = published_test_set(real_data, name)
    error = functional.adaptive_expected_calibration_error(
        labels, logits, from_logits=True, binning="paper"
    )
    assert round(100 * float(error), 4) == ada_ece


@pytest.mark.parametrize(("name", "ece", "ada_ece"), PUBLISHED)
def test_tie_safe_ada_ece_of_published_logits_equals_the_oracle(real_data, name, ece, ada_ece):
    labels, logits = published_test_set(real_data, name)
    error = functional.adaptive_expected_calibration_error(labels, logits, from_logits=True)
    expected = reference.adaptive_ece(*reference.top_label(labels, reference.softmax64(logits)))
    np.testing.assert_allclose(float(error), expected, atol=2e-6)
    assert abs(100 * float(error) - ada_ece) < 0.01


IGNORING = {
    **{name: function for name, (function, _) in ERRORS.items()},
    "smooth": functional.smooth_calibration_error,
    "bins": functional.bin_statistics,
    "decomposition": functional.brier_decomposition,
}


@pytest.mark.parametrize("name", IGNORING)
def test_ignored_class_counts_as_weight_0(name):
    labels, logits, _ = example("random")
    labels = np.where(np.arange(SIZE) % 3 == 0, 255, labels)
    logits = np.where((labels == 255)[:, None], np.nan, logits)
    found = IGNORING[name](labels, logits, from_logits=True, ignore_class=255)
    weights = (labels != 255).astype("float32")
    expected = IGNORING[name](labels, logits, from_logits=True, sample_weight=weights)
    for pair in zip(keras.tree.flatten(found), keras.tree.flatten(expected), strict=True):
        part, other = (to_numpy(keras.ops.convert_to_tensor(one)) for one in pair)
        np.testing.assert_array_equal(part, other)
        assert np.isfinite(part).all()


def test_edges_of_the_paper_refuse_an_ignored_class():
    with pytest.raises(ValueError, match="`ignore_class` must be None with binning='paper'"):
        functional.adaptive_expected_calibration_error(
            [0, 255], [[0.9, 0.1], [0.8, 0.2]], binning="paper", ignore_class=255
        )
