"""debiased_calibration_error: what is left of the calibration error without chance."""

import keras
import numpy as np
import pytest
import reference
from keras import ops
from predictions import CASES, SIZE, example

from keras_focal import functional


def exact_error(confidence, correct, num_bins=15):
    """Root of sum_i n_i / N (gap^2 - variance of the accuracy / n), from the samples of a bin."""
    total = 0.0
    for i in range(num_bins):
        inside = (confidence > i / num_bins) & (confidence <= (i + 1) / num_bins)
        hits = correct[inside]
        if len(hits) < 2:
            continue
        gap = hits.mean() - confidence[inside].mean()
        total += len(hits) * (gap**2 - np.var(hits, ddof=1) / len(hits))
    return max(total / len(confidence), 0.0) ** 0.5


def bins_of(count, wrong, gap):
    parts = (np.asarray(part, "float32") for part in (count, wrong, gap))
    return functional.BinStatistics(*map(ops.convert_to_tensor, parts))


@pytest.mark.parametrize("num_bins", [1, 15, 37])
@pytest.mark.parametrize("case", CASES)
def test_error_equals_the_oracle(case, num_bins):
    labels, _, probabilities = example(case)
    bins = functional.bin_statistics(labels, probabilities, num_bins=num_bins)
    expected = exact_error(*reference.top_label(labels, probabilities), num_bins)
    # float32 sums: an error of 1e-7 in the square is one of 3e-4 in a root near 0.
    got = float(functional.debiased_calibration_error(bins))
    np.testing.assert_allclose(got**2, expected**2, atol=1e-6)


def test_square_of_a_calibrated_model_is_near_zero_on_average(rng):
    # 10 bins of 20: the plain square is about A (1 - A) / n = 0.009 by chance alone.
    plain, debiased = [], []
    count, confidence = np.full(10, 20), np.linspace(0.5, 0.95, 10)
    for _ in range(300):
        wrong = rng.binomial(count, 1 - confidence)
        bins = bins_of(count, wrong, wrong - count * (1 - confidence))
        plain.append(float(functional.rmsce_from_bins(bins)) ** 2)
        debiased.append(float(functional.debiased_calibration_error(bins)) ** 2)
    chance = np.mean(confidence * (1 - confidence) / count)
    assert np.mean(plain) == pytest.approx(chance, rel=0.1)
    # Clipped at 0, the mean stays a little above it.
    assert np.mean(debiased) < 0.3 * np.mean(plain)
    assert np.mean(np.array(debiased) == 0) > 0.3


def test_square_of_an_overconfident_model_is_right_on_average(rng):
    # True gap 0.2: 20 predictions per bin show 0.2^2 plus the variance of the accuracy.
    plain, debiased = [], []
    count, confidence = np.full(10, 20), np.linspace(0.5, 0.95, 10)
    for _ in range(300):
        wrong = rng.binomial(count, 1.2 - confidence)
        bins = bins_of(count, wrong, wrong - count * (1 - confidence))
        plain.append(float(functional.rmsce_from_bins(bins)) ** 2)
        debiased.append(float(functional.debiased_calibration_error(bins)) ** 2)
    assert np.mean(debiased) == pytest.approx(0.04, abs=0.0025)
    assert np.mean(plain) > 0.045


def test_bin_of_one_prediction_adds_nothing_but_counts():
    # A gap of 0.3 in 4 predictions that are all wrong, and one prediction of gap 0.9.
    alone = functional.debiased_calibration_error(bins_of([4, 0], [4, 0], [1.2, 0]))
    beside = functional.debiased_calibration_error(bins_of([4, 1], [4, 1], [1.2, 0.9]))
    np.testing.assert_allclose(float(alone), 0.3, rtol=1e-6)
    np.testing.assert_allclose(float(beside), 0.3 * (4 / 5) ** 0.5, rtol=1e-6)


def test_only_bins_of_one_prediction_have_no_error():
    error = functional.debiased_calibration_error(bins_of([1, 1, 0], [1, 0, 0], [0.9, -0.4, 0]))
    assert float(error) == 0.0


def test_bins_of_weight_below_one_have_no_error():
    error = functional.debiased_calibration_error(bins_of([0.5, 0.9], [0.2, 0.9], [0.1, 0.8]))
    assert float(error) == 0.0


def test_bins_without_variance_give_the_plain_error():
    bins = bins_of([5, 8], [5, 0], [4.0, -1.6])
    got = functional.debiased_calibration_error(bins)
    np.testing.assert_allclose(float(got), float(functional.rmsce_from_bins(bins)))


def test_integer_weights_equal_repetition(rng):
    labels, _, probabilities = example("ties")
    times = rng.integers(0, 4, SIZE)
    weighted, repeated = (
        float(functional.debiased_calibration_error(bins))
        for bins in (
            functional.bin_statistics(labels, probabilities, sample_weight=times),
            functional.bin_statistics(labels.repeat(times), probabilities.repeat(times, axis=0)),
        )
    )
    np.testing.assert_allclose(weighted, repeated, atol=1e-6)


def test_empty_bins_have_no_error():
    assert float(functional.debiased_calibration_error(bins_of([0, 0], [0, 0], [0, 0]))) == 0.0


@pytest.fixture
def half_floatx():
    keras.config.set_floatx("bfloat16")
    yield
    keras.config.set_floatx("float32")


def test_half_floatx_does_not_change_the_error(half_floatx):
    labels, _, probabilities = example("random")
    got = functional.debiased_calibration_error(functional.bin_statistics(labels, probabilities))
    keras.config.set_floatx("float32")
    bins = functional.bin_statistics(labels, probabilities)
    assert float(got) == float(functional.debiased_calibration_error(bins))
