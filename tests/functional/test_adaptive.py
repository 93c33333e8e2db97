"""AdaFocal's arithmetic: gaps of bins of equal mass, their edges, and the next gammas."""

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_focal.functional import adapted_gammas
from keras_focal.functional.gammas._adaptive import bin_gaps
from keras_focal.metrics import AdaECE

quick = settings(max_examples=50, deadline=None, database=None, derandomize=True)
GAMMA = st.one_of(st.floats(0.2, 20.0), st.floats(-2.0, -0.2))


@quick
@given(st.lists(st.tuples(GAMMA, st.floats(-1.0, 1.0)), min_size=1, max_size=6), st.floats(0, 3))
def test_gammas_move_as_the_algorithm_goes(pairs, rate):
    gammas, gaps = zip(*pairs, strict=True)
    expected = [reference.adafocal(gamma, gap, rate) for gamma, gap in pairs]
    np.testing.assert_allclose(adapted_gammas(gammas, gaps, rate=rate), expected, rtol=1e-12)


def test_five_epochs_of_over_confidence_multiply_gamma_by_e():
    gamma = [1.0]
    for _ in range(5):
        gamma = adapted_gammas(gamma, [0.2])
    assert gamma[0] == pytest.approx(np.e, rel=1e-12)


def test_under_confidence_crosses_to_the_inverse_loss_and_goes_on_to_its_bound():
    path = [1.0]
    for _ in range(40):
        path.append(adapted_gammas(path[-1:], [-0.2])[0])
    assert path[8] == pytest.approx(np.exp(-1.6))
    assert path[9] == -0.2
    assert path[10] == pytest.approx(-0.2 * np.exp(0.2))
    assert path[-1] == -2.0


def test_over_confidence_crosses_back_to_the_focal_loss():
    assert adapted_gammas([-0.21], [0.1])[0] == 0.2


def test_rate_zero_leaves_gammas_alone():
    np.testing.assert_array_equal(adapted_gammas([1.0, -0.5], [0.9, 0.9], rate=0.0), [1.0, -0.5])


def test_low_at_the_switch_keeps_the_inverse_loss_out():
    gamma = [1.0]
    for _ in range(30):
        gamma = adapted_gammas(gamma, [-0.5], low=0.2)
        assert gamma[0] >= 0.2


def binary(confidence, correct):
    """Labels and probabilities of two classes with these confidences in class 0."""
    return np.where(correct, 0, 1), np.stack([confidence, 1 - confidence], axis=1)


def test_edges_cut_the_validation_data_into_equal_parts(rng):
    confidence = rng.uniform(0.5, 1.0, 3000)
    correct = rng.random(3000) < 0.7
    metric = AdaECE()
    metric.update_state(*binary(confidence, correct))
    found = bin_gaps(metric.equal_mass_cells(), 5)
    assert found.edges[0] == 0.0
    # A cell is 1/256 wide in log2(c / (1 - c)).
    expected = np.quantile(confidence, [0.2, 0.4, 0.6, 0.8])
    np.testing.assert_allclose(found.edges[1:], expected, atol=1e-3)
    bins = np.digitize(confidence, expected)
    gaps = [(confidence - correct)[bins == b].mean() for b in range(5)]
    np.testing.assert_allclose(found.gaps, gaps, atol=4e-3)


def test_number_of_bins_is_that_of_the_loss_and_not_of_the_metric(rng):
    metric = AdaECE(num_bins=3)
    metric.update_state(*binary(rng.uniform(0.5, 1.0, 100), rng.random(100) < 0.5))
    assert len(bin_gaps(metric.equal_mass_cells(), 15).gaps) == 15
    one = bin_gaps(metric.equal_mass_cells(), 1)
    assert (len(one.gaps), one.edges.tolist()) == (1, [0.0])


def test_equal_confidences_share_their_gap_among_the_bins():
    metric = AdaECE()
    metric.update_state(*binary(np.full(40, 0.75), np.arange(40) < 10))
    found = bin_gaps(metric.equal_mass_cells(), 4)
    np.testing.assert_allclose(found.gaps, 0.5, rtol=1e-5)
    np.testing.assert_allclose(found.edges[1:], 0.75, atol=2e-3)
    assert np.all(np.diff(found.edges) >= 0)


def test_saturated_confidences_give_edges_that_are_probabilities():
    metric = AdaECE(from_logits=True)
    metric.update_state(np.zeros(20), np.array([[200.0, 0.0]] * 20, "float32"))
    found = bin_gaps(metric.equal_mass_cells(), 15)
    assert np.all((found.edges >= 0) & (found.edges <= 1))
    np.testing.assert_allclose(found.gaps, 0.0, atol=1e-6)


def test_metric_that_has_seen_nothing_has_no_gaps():
    assert bin_gaps(AdaECE().equal_mass_cells(), 15) is None
