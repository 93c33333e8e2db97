"""bootstrap_intervals: how far a figure would move with another sample."""

from itertools import pairwise

import numpy as np
import predictions
import pytest
import reference

from keras_focal import functional
from keras_focal.functional.calibration import _bootstrap

LABELS, LOGITS, _ = predictions.example("random")


def figures(labels, logits):
    p = reference.softmax64(logits)
    rows = np.arange(len(labels))
    return {
        "ece": reference.ece(*reference.top_label(labels, p)),
        "nll": -np.log(p[rows, labels]).mean(),
        "brier": ((p - np.eye(p.shape[1])[labels]) ** 2).sum(axis=1).mean(),
        "error": np.mean(logits.argmax(axis=1) != labels),
    }


def test_estimates_are_those_of_the_sample():
    found = functional.bootstrap_intervals(LABELS, LOGITS, from_logits=True, num_draws=10)
    expected = figures(LABELS, LOGITS)
    assert {name: each.estimate for name, each in found.items()} == pytest.approx(expected, 1e-5)
    change = functional.bootstrap_intervals(
        LABELS, LOGITS / 2, LOGITS, from_logits=True, num_draws=10
    )
    for name, each in figures(LABELS, LOGITS / 2).items():
        assert change[name].estimate == pytest.approx(each - expected[name], abs=1e-5)


def test_intervals_are_those_of_drawing_rows_again(rng):
    draws = rng.integers(0, len(LABELS), (1500, len(LABELS)))
    drawn = [figures(LABELS[each], LOGITS[each]) for each in draws]
    found = functional.bootstrap_intervals(LABELS, LOGITS, from_logits=True, level=0.9)
    for name, each in figures(LABELS, LOGITS).items():
        high, low = 2 * each - np.quantile([row[name] for row in drawn], [0.05, 0.95])
        width = high - low
        assert found[name].low == pytest.approx(low, abs=0.15 * width)
        assert found[name].high == pytest.approx(high, abs=0.15 * width)


def test_intervals_hold_the_true_values_as_often_as_said(rng):
    # Confidence .6 or .9 that is right 45 % or 80 % of the time: an ECE of .125.
    hits, size = 0, 500
    for seed in range(200):
        is_high = rng.random(size) < 0.5
        right = rng.random(size) < np.where(is_high, 0.8, 0.45)
        gap = np.where(is_high, 0.9, 0.6) - right
        values = _bootstrap.summands(1.0, 0.0, 0.0, ~right, gap, is_high.astype(int), 2)
        drawn = _bootstrap.resample(values, np.arange(size), np.random.default_rng(seed), 200)
        found = drawn.intervals(level=0.8)["ece"]
        hits += found.low <= 0.125 <= found.high
    assert 0.7 < hits / 200 < 0.9


def test_difference_of_models_is_paired():
    logits = LOGITS + np.float32(0.01) * np.sign(LOGITS)
    how = {"from_logits": True, "num_draws": 300}
    change = functional.bootstrap_intervals(LABELS, logits, LOGITS, **how)["nll"]
    alone = functional.bootstrap_intervals(LABELS, logits, **how)["nll"]
    assert change.high - change.low < 0.1 * (alone.high - alone.low)


def test_parts_of_a_sample_are_drawn_together():
    how = {"from_logits": True, "num_draws": 500}
    once = functional.bootstrap_intervals(LABELS, LOGITS, **how)
    pixels = functional.bootstrap_intervals(
        np.repeat(LABELS[:, None], 9, 1), np.repeat(LOGITS[:, None], 9, 1), **how
    )
    for name in once:
        assert pixels[name] == pytest.approx(once[name], rel=1e-4)


def test_weights_count_as_repetition_and_weight_0_exempts(rng):
    logits = np.where(np.arange(len(LABELS))[:, None] % 3 == 0, np.nan, LOGITS)
    weights = np.where(np.arange(len(LABELS)) % 3 == 0, 0.0, 2.0)
    kept = weights > 0
    how = {"from_logits": True, "num_draws": 800}
    found = functional.bootstrap_intervals(LABELS, logits, sample_weight=weights, **how)
    expected = functional.bootstrap_intervals(LABELS[kept], LOGITS[kept], **how)
    for name, each in expected.items():
        assert found[name].estimate == pytest.approx(each.estimate, rel=1e-5)
        assert found[name].high - found[name].low == pytest.approx(each.high - each.low, rel=0.2)


@pytest.mark.parametrize("num_draws", [7, 8])
def test_samples_may_come_in_parts(num_draws):
    values = _bootstrap.measured_values(LABELS, LOGITS, num_bins=15, from_logits=True)
    units = np.arange(len(values))
    whole = _bootstrap.resample(values, units, np.random.default_rng(3), num_draws)
    generator, cuts = np.random.default_rng(3), (0, 1, 100, len(values))
    first, *others = (
        _bootstrap.resample(values[a:b], units[a:b], generator, num_draws)
        for a, b in pairwise(cuts)
    )
    for each in others:
        first = first.plus(each)
    np.testing.assert_allclose(first.sums, whole.sums, rtol=1e-4, atol=1e-4)


def test_no_predictions_have_no_interval():
    nothing = functional.bootstrap_intervals(np.zeros(0, "int32"), np.zeros((0, 3), "float32"))
    assert all(np.isnan(each).all() for each in nothing.values())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"level": 1.0}, "`level` must be"),
        ({"num_draws": 0}, "`num_draws` must be"),
        ({"num_bins": 0}, "`num_bins` must be"),
        ({"baseline": LOGITS[:9]}, "`baseline` must have"),
    ],
)
def test_bad_argument_is_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        functional.bootstrap_intervals(LABELS, LOGITS, from_logits=True, **arguments)
