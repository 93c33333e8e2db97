"""noise_floor: what chance alone does to a calibrated model."""

import numpy as np
import pytest
from keras import ops

from keras_focal import functional


def bins_of(count, confidence):
    """Bins of perfectly calibrated predictions."""
    count, confidence = np.asarray(count, "float32"), np.asarray(confidence, "float32")
    wrong = count * (1 - confidence)
    return functional.BinStatistics(*map(ops.convert_to_tensor, (count, wrong, 0 * wrong)))


def exact_floor(count, confidence):
    """Sum of the mean absolute deviations of binomials over their number, term by term."""
    from math import comb

    total = 0.0
    for n, c in zip(count, confidence, strict=True):
        total += sum(abs(k - n * c) * comb(n, k) * c**k * (1 - c) ** (n - k) for k in range(n + 1))
    return total / sum(count)


@pytest.mark.parametrize(
    ("count", "confidence"), [([50], [0.8]), ([20, 0, 100], [0.3, 0.0, 0.95]), ([7, 9], [0.5, 0.9])]
)
def test_expected_error_is_the_exact_one(count, confidence):
    floor = functional.noise_floor(bins_of(count, confidence), num_draws=40_000)
    assert floor.expected == pytest.approx(exact_floor(count, confidence), rel=0.02)


@pytest.mark.nightly
def test_calibrated_models_exceed_the_upper_error_as_seldom_as_said(rng):
    confidence = rng.uniform(0.5, 1, 400).astype("float32")
    rows = np.stack([confidence, 1 - confidence], -1)
    upper = functional.noise_floor(functional.bin_statistics(np.zeros(400), rows), level=0.9).upper
    errors = [
        float(functional.expected_calibration_error(rng.random(400) > confidence, rows))
        for _ in range(300)
    ]
    assert 0.84 < np.mean(np.array(errors) < upper) < 0.96


def test_more_predictions_lower_the_floor_by_their_square_root():
    few, many = (
        functional.noise_floor(bins_of([size, size], [0.7, 0.9]), num_draws=20_000).expected
        for size in (1_000, 100_000)
    )
    assert few / many == pytest.approx(10, rel=0.05)


def test_interval_holds_the_confidence_and_empty_bins_have_none():
    floor = functional.noise_floor(bins_of([200, 0, 300], [0.6, 0.0, 0.97]))
    assert floor.low[0] < 0.6 < floor.high[0]
    assert floor.low[2] < 0.97 < floor.high[2]
    assert np.isnan(floor.low[1])
    assert np.isnan(floor.high[1])


def test_miscalibration_does_not_move_the_floor():
    # The floor depends on counts and confidences alone.
    rows = [[0.8, 0.2]] * 40
    floors = [
        functional.noise_floor(functional.bin_statistics(labels, rows)).expected
        for labels in ([0] * 40, [1] * 40, [0, 1] * 20)
    ]
    assert floors == pytest.approx([floors[0]] * 3, rel=1e-6)


def test_wider_level_gives_a_higher_upper_error():
    bins = bins_of([100], [0.7])
    uppers = [functional.noise_floor(bins, level=level).upper for level in (0.5, 0.9, 0.99)]
    assert uppers == sorted(uppers)
    assert len(set(uppers)) == 3


def test_seed_fixes_the_draws():
    bins = bins_of([100, 100], [0.7, 0.9])
    same = [functional.noise_floor(bins, seed=3).upper for _ in range(2)]
    assert same[0] == same[1]
    assert functional.noise_floor(bins, seed=4, num_draws=10).expected != pytest.approx(
        functional.noise_floor(bins, seed=3, num_draws=10).expected, rel=1e-9
    )


def test_empty_bins_have_no_noise():
    floor = functional.noise_floor(bins_of([0, 0], [0, 0]))
    assert (floor.expected, floor.upper) == (0.0, 0.0)
    assert np.isnan(floor.low).all()


@pytest.mark.parametrize("level", [0.0, 1.0, 1.5, -0.1])
def test_level_outside_zero_to_one_raises(level):
    with pytest.raises(ValueError, match=r"`level` must be in \(0, 1\)"):
        functional.noise_floor(bins_of([1], [0.5]), level=level)


@pytest.mark.parametrize("num_draws", [0, 2.5])
def test_number_of_draws_that_is_no_count_raises(num_draws):
    with pytest.raises(ValueError, match="`num_draws` must be a whole number >= 1"):
        functional.noise_floor(bins_of([1], [0.5]), num_draws=num_draws)


def test_published_errors_are_no_noise(real_data):
    with np.load(real_data / "logits/cifar10_resnet50_flsd53.npz") as data:
        labels, logits = data["test_labels"], data["test_logits"]
    bins = functional.bin_statistics(labels, logits, from_logits=True)
    floor = functional.noise_floor(bins)
    assert 0 < floor.expected < floor.upper < float(functional.ece_from_bins(bins))
