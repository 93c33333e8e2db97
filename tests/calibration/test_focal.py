"""fit_focal_temperature: the pair (T, gamma) of least likelihood, never worse than T alone."""

import dataclasses

import numpy as np
import pytest
import reference

from keras_focal.calibration import fit_focal_temperature, fit_temperature
from keras_focal.calibration.given import HeldOut
from keras_focal.calibration.temperature import _focal_fit, _focal_map, fitted
from keras_focal.calibration.temperature._sums import Data


def sample(rng, temperature=2.0, gamma=2.0, size=3000, classes=4):
    """Return logits whose posterior under (temperature, gamma) the labels were drawn from."""
    eta = rng.dirichlet(np.full(classes, 0.7), 100) * 0.998 + 0.002 / classes
    times = -(-size // 100)
    q = reference.focal_minimiser(eta, gamma).repeat(times, axis=0)[:size]
    eta = eta.repeat(times, axis=0)[:size]
    labels = (eta.cumsum(1) < rng.random((size, 1))).sum(1)
    return np.log(q) * temperature, labels


def scipy_fit(labels, logits, start=(0.0, 0.0)):
    from scipy.optimize import minimize

    def nll(x):
        return reference.focal_temperature_nll(labels, logits, np.exp(x[0]), x[1])

    options = {"xatol": 1e-9, "fatol": 1e-14, "maxiter": 2000}
    return minimize(nll, start, method="Nelder-Mead", options=options)


def gradient(labels, logits, fit, h=1e-4):
    """Derivatives of the oracle's NLL by log T and gamma, by five-point differences."""

    def nll(log_t, gamma):
        return reference.focal_temperature_nll(labels, logits, np.exp(log_t), gamma)

    t, g = np.log(fit.temperature), fit.gamma
    weights = ((1, 1 / 12), (-1, -1 / 12), (0.5, -2 / 3), (-0.5, 2 / 3))
    by_t = -sum(w * nll(t + 2 * h * s, g) for s, w in weights) / h
    by_gamma = -sum(w * nll(t, g + 2 * h * s) for s, w in weights) / h
    return by_t, by_gamma


def test_rows_that_are_read_first_do_not_decide_the_fit(rng):
    logits, labels = sample(rng)
    order = np.argsort(logits.argmax(axis=1) != labels, kind="stable")
    # Every fifth row, all that the search begins with, is right: its best T is 0.
    misleading = np.empty(len(labels), int)
    misleading[::5], rest = order[:600], iter(order[600:])
    for place in range(len(labels)):
        if place % 5:
            misleading[place] = next(rest)
    fit = fit_focal_temperature(logits, labels)
    other = fit_focal_temperature(logits[misleading], labels[misleading])
    assert other.converged
    assert other.nll_after == pytest.approx(fit.nll_after, rel=1e-9)
    assert other.gamma == pytest.approx(fit.gamma, abs=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 2.0, 4.0])
def test_fit_is_the_optimum_that_scipy_finds(gamma, rng):
    logits, labels = sample(rng, gamma=gamma, size=1500)
    fit = fit_focal_temperature(logits, labels)
    found = scipy_fit(labels, logits, (np.log(fit.temperature) + 0.1, fit.gamma + 0.3))
    assert fit.converged
    assert not fit.at_bound
    assert fit.nll_after <= found.fun + 1e-12
    assert np.log(fit.temperature) == pytest.approx(found.x[0], abs=2e-5)
    assert fit.gamma == pytest.approx(found.x[1], abs=1e-4)
    assert fit.nll_after == pytest.approx(found.fun, abs=1e-9)


def test_gradient_vanishes_at_the_fit(rng):
    logits, labels = sample(rng)
    fit = fit_focal_temperature(logits, labels)
    np.testing.assert_allclose(gradient(labels, logits, fit), 0.0, atol=1e-8)


def test_minimum_of_a_few_rows_that_is_nearly_level_is_found():
    logits, labels = np.array([[0, 0], [-2, 1], [-1, 1], [0, 1], [2, 1]], float), [0, 1, 0, 1, 1]
    fit = fit_focal_temperature(logits, labels)
    assert fit.converged
    assert np.abs(gradient(labels, logits, fit)).max() < 1e-8


def test_fit_that_runs_out_of_steps_says_so(rng, monkeypatch):
    logits, labels = sample(rng)
    few = tuple(effort._replace(most=1) for effort in _focal_fit._EFFORTS)
    monkeypatch.setattr(_focal_fit, "_EFFORTS", few)
    fit = fit_focal_temperature(logits, labels)
    assert not fit.converged
    assert np.abs(gradient(labels, logits, fit)).max() > 1e-8


def test_guess_in_a_poor_valley_is_given_up_for_the_temperature_alone():
    logits = [[0, -5, 3], [-1, -5, -2], [-1, -5, -1], [-1, -3, 2], [-4, 4, -2]]
    data = Data([HeldOut.from_arrays(logits, [0, 2, 0, 2, 1], None)], 15)
    bounds = (0.05, 20.0)
    plain = fitted(data, "nll", bounds)
    found = _focal_fit.focal_least(data, plain, bounds, (-0.75, 10.0), guess=(10.0, 9.0))
    assert found.converged
    assert found.nll < plain.nll_after


def test_search_that_finds_nothing_lower_stays_where_it_is():
    class Level:
        """NLL is the same everywhere, whatever its derivatives say."""

        def summed(self, work):
            count, share, nll, by_beta, by_gamma = 5.0, 1.0, 0.5, 0.0, 1.0
            return np.array([count, share, nll, by_beta, by_gamma, 1.0, 0.0, 1.0])

    search = _focal_fit._Search(Level(), (-3.0, 3.0), (-0.9, 10.0))
    found = search.descend((0.5, 2.0), _focal_fit._EFFORTS[-1])
    assert (found.log_beta, found.gamma) == (0.5, 2.0)


@pytest.mark.parametrize(
    ("place", "slope", "is_bound"),
    [
        ((-1.0, 0.5), (0.1, 0.0), True),
        ((-1.0, 0.5), (-0.1, 0.0), False),
        ((1.0, 0.5), (-0.1, 0.0), True),
        ((0.0, 0.0), (0.0, 0.1), True),
        ((0.0, 2.0), (0.0, -0.1), True),
        ((0.0, 0.5), (0.1, -0.1), False),
    ],
)
def test_bound_is_where_nll_falls_beyond_it(place, slope, is_bound):
    search = _focal_fit._Search(None, (-1.0, 1.0), (0.0, 2.0))
    point = _focal_fit._Point(*place, 0.5, np.array(slope), np.eye(2))
    assert search.is_bound(point) == is_bound
    assert search.excess(point) == (0.0 if is_bound else 0.1)


def test_gamma_and_temperature_of_a_focal_model_are_recovered(rng):
    logits, labels = sample(rng, temperature=1.5, gamma=2.0, size=20_000)
    fit = fit_focal_temperature(logits, labels)
    plain = fit_temperature(logits, labels)
    assert fit.gamma == pytest.approx(2.0, abs=0.5)
    # What T loses by being wrong, gamma makes up for; the likelihood tells them apart.
    assert fit.nll_after < plain.nll_after


@pytest.mark.parametrize("beta", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("gamma", [-0.6, 0.0, 1.0, 5.0])
def test_nll_and_its_derivatives_are_the_oracle_s(beta, gamma, rng):
    logits, labels = rng.normal(0, 3, (40, 4)), rng.integers(0, 4, 40)
    batch = HeldOut.from_arrays(logits, labels, None)

    def at(beta, gamma):
        return _focal_map.derivatives(batch, beta, gamma) / 40

    h = 1e-5
    value, *slopes = at(beta, gamma)
    expected = reference.focal_temperature_nll(labels, logits, 1 / beta, gamma)
    assert value == pytest.approx(expected, rel=1e-10)
    by_beta = (at(beta + h, gamma) - at(beta - h, gamma)) / (2 * h)
    by_gamma = (at(beta, gamma + h) - at(beta, gamma - h)) / (2 * h)
    numeric = [by_beta[0], by_gamma[0], by_beta[1], by_gamma[1], by_gamma[2]]
    np.testing.assert_allclose(slopes, numeric, rtol=1e-6, atol=1e-8)


def test_derivatives_stay_finite_at_extreme_logits():
    logits = np.array([[1e4, 0, 0], [0, 800.0, -800], [0, 0, 0], [3, 3, -1e5]])
    for gamma in (-0.6, 0.0, 3.0):
        batch = HeldOut.from_arrays(logits, [1, 1, 0, 2], None)
        assert np.isfinite(_focal_map.derivatives(batch, 1.0, gamma)).all()


@pytest.mark.parametrize("name", ["cross_entropy", "flsd53"])
def test_published_logits_are_fitted_better_than_by_a_temperature(real_data, name):
    with np.load(real_data / "logits" / f"cifar10_resnet50_{name}.npz") as data:
        logits, labels = data["val_logits"], data["val_labels"]
    fit, plain = fit_focal_temperature(logits, labels), fit_temperature(logits, labels)
    assert fit.nll_after < plain.nll_after - 5e-4
    assert (fit.nll_before, fit.num_samples) == (plain.nll_before, plain.num_samples)
    assert fit.converged
    assert -0.5 < fit.gamma < 0
    assert fit.nll_after == pytest.approx(
        reference.focal_temperature_nll(labels, logits, fit.temperature, fit.gamma), rel=1e-9
    )
    np.testing.assert_allclose(gradient(labels, logits, fit), 0.0, atol=1e-8)


def test_gamma_bounds_hold_gamma_and_are_reported(rng):
    logits, labels = sample(rng, gamma=4.0)
    fit = fit_focal_temperature(logits, labels, gamma_bounds=(0.0, 1.0))
    assert (fit.gamma, fit.at_bound, fit.converged) == (1.0, True, True)
    free = fit_focal_temperature(logits, labels)
    assert free.nll_after < fit.nll_after < fit_temperature(logits, labels).nll_after


def test_separable_data_end_at_the_temperature_bound_with_a_warning():
    with pytest.warns(UserWarning, match="lower bound"):
        fit = fit_focal_temperature([[2.0, 0.0], [0.0, 1.0]] * 5, [0, 1] * 5)
    assert (fit.temperature, fit.gamma, fit.at_bound, fit.converged) == (1e-3, 0.0, True, False)


def test_ece_after_is_that_of_the_calibrated_probabilities(rng):
    logits, labels = sample(rng, size=100)
    fit = fit_focal_temperature(logits, labels)
    log_h = [reference.focal_posterior(row / fit.temperature, fit.gamma) for row in logits]
    p = reference.softmax64(np.array(log_h))
    expected = reference.ece(*reference.top_label(labels, p))
    assert fit.ece_after == pytest.approx(expected, abs=1e-9)


def test_batches_give_the_fit_of_the_whole(rng):
    logits, labels = sample(rng, size=600)
    weights = rng.uniform(0, 2, 600)
    parts = [(logits[i::3], labels[i::3], weights[i::3]) for i in range(3)]

    class Batches:
        def __iter__(self):
            return iter(parts)

    whole = fit_focal_temperature(logits, labels, sample_weight=weights)
    batched = fit_focal_temperature(Batches())
    for name in ("temperature", "gamma", "nll_after", "ece_after"):
        assert getattr(batched, name) == pytest.approx(getattr(whole, name), rel=1e-7)


def test_binary_logits_are_two_classes(rng):
    logits, labels = sample(rng, classes=2, size=800)
    two = fit_focal_temperature(logits, labels)
    one = fit_focal_temperature(logits[:, 1:] - logits[:, :1], labels)
    assert one.gamma == pytest.approx(two.gamma, rel=1e-5)
    assert one.nll_after == pytest.approx(two.nll_after, rel=1e-10)


def test_figures_are_plain_numbers(rng):
    values = dataclasses.asdict(fit_focal_temperature(*sample(rng, size=100)))
    assert {type(value) for value in values.values()} == {float, int, bool, str}


@pytest.mark.parametrize("bounds", [(-1.0, 3.0), (0.5, 3.0), (3.0, -0.5)])
def test_gamma_bounds_out_of_order_are_refused(bounds):
    with pytest.raises(ValueError, match=r"`gamma_bounds` must be .*Received: gamma_bounds="):
        fit_focal_temperature([[1.0, 0.0]], [0], gamma_bounds=bounds)
