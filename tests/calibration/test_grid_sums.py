"""Sums at fixed temperatures: they add up, and give the fit of the whole data in one pass."""

import dataclasses

import numpy as np
import pytest
import reference

from keras_focal._temperature import GRID, NEAREST, OCTAVE, grid_betas
from keras_focal.calibration import fit_temperature
from keras_focal.calibration.given import HeldOut
from keras_focal.calibration.temperature import _grid_sums, _sums, fitted

BOUNDS = (0.05, 20.0)
NUM_BINS = 15


def summed(logits, labels, weights=None, bounds=BOUNDS):
    betas = grid_betas(*bounds)
    data = HeldOut.from_arrays(logits, labels, weights)
    values = _grid_sums.GridSums.values_of(data, betas, NUM_BINS)
    return _grid_sums.GridSums(betas, NUM_BINS, len(data.labels), values)


def sample(rng, temperature, size, classes, scale):
    """Return logits `temperature` times too large, and labels drawn from the right ones."""
    logits = rng.normal(0, scale, (size, classes))
    p = reference.softmax64(logits)
    labels = (p.cumsum(1) < rng.random((size, 1))).sum(1).clip(0, classes - 1)
    return temperature * logits, labels


def one_against_equals(temperature, size, classes, accuracy):
    """Return logits of one class above equal others, whose NLL is the least smooth in T."""
    logits = np.zeros((size, classes))
    logits[:, 0] = temperature * np.log((classes - 1) * accuracy / (1 - accuracy))
    return logits, (np.arange(size) >= round(size * accuracy)).astype(int)


@pytest.mark.parametrize("temperature", [0.0501, 0.3, 1.03, 2.5, 7.1, 19.9])
def test_temperature_of_one_pass_is_that_of_many(rng, temperature):
    errors = []
    for logits, labels in (
        sample(rng, temperature, 500, 10, 1.5),
        sample(rng, temperature, 500, 10, 6.0),
        sample(rng, temperature, 50, 1000, 1.5),
        one_against_equals(temperature, 200, 2, 0.99),
        one_against_equals(temperature, 40, 1000, 0.5),
        one_against_equals(temperature, 100, 1000, 0.99),
    ):
        # Of a few samples the best temperature may lie a little beyond the bounds.
        bounds = (BOUNDS[0] / 2, 2 * BOUNDS[1])
        found = fitted(summed(logits, labels, bounds=bounds), "nll", bounds)
        expected = fit_temperature(logits, labels, bounds=bounds)
        errors.append(abs(found.temperature / expected.temperature - 1))
        assert found.nll_after == pytest.approx(expected.nll_after, rel=1e-7)
        assert found.nll_before == pytest.approx(expected.nll_before, rel=1e-9)
    print(f"T = {temperature}: largest error of one pass {max(errors):.1e}")
    assert max(errors) < 1e-7


@pytest.mark.parametrize("temperature", [0.07, 1.0, 15.0])
def test_temperature_is_the_oracle_s(rng, temperature):
    logits, labels = sample(rng, temperature, 2000, 6, 1.5)
    expected = reference.best_temperature(labels, logits)
    found = fitted(summed(logits, labels), "nll", BOUNDS).temperature
    assert found == pytest.approx(expected, rel=1e-6)


def test_readings_between_the_temperatures_are_those_of_the_data(rng):
    logits, labels = sample(rng, 2.0, 300, 5, 2.0)
    sums, data = summed(logits, labels), HeldOut.from_arrays(logits, labels, None)
    for beta in np.geomspace(1 / BOUNDS[1], 1 / BOUNDS[0], 37):
        at = sums.at(beta)
        _, slope, curvature, *_ = _sums.sums_at(data, beta, NUM_BINS, rough=False) / 300
        assert at.nll == pytest.approx(reference.nll(labels, logits, 1 / beta), rel=1e-8)
        assert at.slope == pytest.approx(slope, rel=1e-6, abs=1e-9)
        assert at.curvature == pytest.approx(curvature, rel=1e-5, abs=1e-12)


def test_fit_by_ece_is_that_of_the_data(rng):
    logits, labels = sample(rng, 2.5, 400, 6, 1.5)
    weights = rng.uniform(0, 3, 400)
    found = dataclasses.asdict(fitted(summed(logits, labels, weights), "ece", BOUNDS))
    expected = dataclasses.asdict(fit_temperature(logits, labels, "ece", sample_weight=weights))
    for name in ("criterion", "reason"):
        assert found.pop(name) == expected.pop(name)
    assert found == pytest.approx(expected, rel=1e-9)


def test_ece_is_read_at_the_temperatures_of_the_grid_alone(rng):
    sums = summed(*sample(rng, 2.5, 100, 6, 1.5))
    assert all(np.isfinite(sums.at(1 / temperature).ece) for temperature in GRID)
    assert np.isnan(sums.at(1 / 2.55).ece)


def test_values_of_two_parts_add_up(rng):
    logits, labels = sample(rng, 2.5, 400, 6, 1.5)
    weights = rng.uniform(0, 3, 400)
    parts = [
        summed(logits[part], labels[part], weights[part]).values
        for part in (slice(0, 150), slice(150, 400))
    ]
    whole = summed(logits, labels, weights).values
    np.testing.assert_allclose(sum(parts), whole, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("bounds", [BOUNDS, (0.5, 2.0), (1e-3, 1e3)])
def test_temperatures_reach_beyond_bounds_and_grid(bounds):
    betas = grid_betas(*bounds)
    low, high = min(bounds[0], GRID[0]), max(bounds[1], GRID[-1])
    # Three on either side of each temperature that can be asked for.
    assert betas[NEAREST // 2 - 1] <= 1 / high
    assert betas[-NEAREST // 2] >= 1 / low
    assert 1.0 in betas
    np.testing.assert_allclose(betas[OCTAVE:] / betas[:-OCTAVE], 2.0)


def test_wide_bounds_find_a_temperature_far_away(rng):
    logits, labels = sample(rng, 100.0, 500, 6, 1.5)
    bounds = (1e-3, 1e3)
    found = fitted(summed(logits, labels, bounds=bounds), "nll", bounds)
    assert found.temperature == pytest.approx(fit_temperature(logits, labels).temperature, rel=1e-7)


@pytest.mark.parametrize(
    ("logits", "labels", "bound"),
    [
        (30 * np.eye(4), np.arange(4), 0),
        (3000 * np.eye(4), np.arange(4), 0),
        (np.zeros((8, 4)), np.arange(8) % 4, 1),
        (-5 * np.eye(4), np.arange(4), 1),
    ],
    ids=["separable", "separable and certain", "saying nothing", "always wrong"],
)
def test_bounds_are_those_of_the_data(logits, labels, bound):
    fit = fitted(summed(logits, labels), "nll", BOUNDS)
    assert (fit.temperature, fit.at_bound) == (BOUNDS[bound], True)
    with pytest.warns(UserWarning, match="bound"):
        assert fit_temperature(logits, labels, bounds=BOUNDS).temperature == fit.temperature
