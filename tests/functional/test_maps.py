"""The maths of the calibration maps: log-odds that last, and every map against plain NumPy."""

import numpy as np
import pytest
from backends import to_numpy, value_and_gradient
from keras import ops

from keras_focal import functional
from keras_focal.functional.maps._maps import _place, log_probabilities

ROWS = np.array(
    [[0.0, 0.0, 0.0], [3.0, -1.0, 0.5], [1e4, -1e4, 0.0], [-1e4, 1e4, 1e4], [40.0, 0.0, -40.0]],
    "float32",
)
BINARY = np.array([[0.0], [3.0], [-2.5], [1e4], [-1e4]], "float32")


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def oracle_log_odds(row):
    """log p - log of the sum of the others, each by adding up exponentials about the largest."""
    others = [np.delete(row, k) for k in range(len(row))]
    rest = [other.max() + np.log(np.exp(other - other.max()).sum()) for other in others]
    return row - np.array(rest)


def probabilities(logits):
    activation = ops.sigmoid if logits.shape[-1] == 1 else ops.softmax
    return to_numpy(activation(logits))


MAPS = {
    "linear vector": lambda z: functional.linear_map(
        z, ops.ones((z.shape[-1],)) * 0.5, ops.ones((z.shape[-1],))
    ),
    "linear matrix": lambda z: functional.linear_map(
        z, ops.eye(z.shape[-1]), ops.ones((z.shape[-1],))
    ),
    "platt": lambda z: functional.platt_map(z, 0.5, 1.0),
    "quadratic": lambda z: functional.quadratic_map(z, 0.1, 0.5, 1.0),
    "beta": lambda z: functional.beta_map(z, 0.5, 2.0, 1.0),
    "ensemble": lambda z: functional.ensemble_map(z, 2.0, ops.array([0.5, 0.5, 0.0])),
    "constant": lambda z: functional.piecewise_constant_map(
        z, ops.zeros((z.shape[-1], 1)), ops.tile(ops.array([[0.0, 1.0]]), (z.shape[-1], 1))
    ),
    "linear": lambda z: functional.piecewise_linear_map(
        z,
        ops.tile(ops.array([[-5.0, 0.0, 0.0, 5.0]]), (z.shape[-1], 1)),
        ops.tile(ops.array([[0.0, 0.2, 0.6, 1.0]]), (z.shape[-1], 1)),
    ),
    "venn_abers": lambda z: functional.venn_abers_map(
        z,
        *(
            ops.tile(ops.array([row]), (z.shape[-1], 1))
            for row in ([-1.0, 2.0], [-0.1, -0.5, -2.0], [-2.0, -0.5, -0.2])
        ),
    ),
}
STEPS = ("constant", "venn_abers")


def test_log_odds_are_the_oracle_s_at_every_size():
    expected = np.array([oracle_log_odds(row) for row in ROWS.astype("float64")])
    np.testing.assert_allclose(
        to_numpy(functional.log_odds(ops.convert_to_tensor(ROWS))), expected, rtol=1e-6, atol=1e-6
    )


def test_log_odds_keep_their_precision_where_probabilities_round_to_one():
    # 1 - p = 2 e^-30: 0 in float32.
    found = to_numpy(functional.log_odds(ops.array([[30.0, 0.0, 0.0]])))
    assert found[0, 0] == pytest.approx(30 - np.log(2), rel=1e-7)


def test_log_odds_do_not_change_with_a_shift(rng):
    logits = np.round(rng.normal(0, 3, (20, 5)) * 8).astype("float32") / 8
    shifted, plain = (
        to_numpy(functional.log_odds(ops.convert_to_tensor(z))) for z in (logits + 1024, logits)
    )
    np.testing.assert_array_equal(shifted, plain)


def test_log_probabilities_are_logs_of_p_and_of_one_minus_p(rng):
    logits = rng.normal(0, 2, (50, 4)).astype("float32")
    p = softmax(logits.astype("float64"))
    log_p, log_q = log_probabilities(ops.convert_to_tensor(logits))
    np.testing.assert_allclose(to_numpy(log_p), np.log(p), rtol=2e-6, atol=2e-7)
    np.testing.assert_allclose(to_numpy(log_q), np.log(1 - p), rtol=2e-6, atol=2e-7)


def test_tied_top_classes_have_their_log_odds():
    found = to_numpy(functional.log_odds(ops.array([[2.0, 2.0, -1e4]])))
    np.testing.assert_allclose(found[0], [0.0, 0.0, -1e4 - 2 - np.log(2)], atol=1e-6)


def test_platt_quadratic_and_beta_are_normalised_sigmoids(rng):
    logits = rng.normal(0, 2, (50, 4)).astype("float32")
    p = softmax(logits.astype("float64"))
    a, b, c = rng.uniform(0.5, 2, (3, 4)).astype("float32")
    log_odds = np.log(p / (1 - p))
    for found, inside in (
        (
            functional.platt_map(
                ops.convert_to_tensor(logits), *map(ops.convert_to_tensor, (a, c))
            ),
            a * log_odds + c,
        ),
        (
            functional.quadratic_map(*map(ops.convert_to_tensor, (logits, a, b, c))),
            a * log_odds**2 + b * log_odds + c,
        ),
        (
            functional.beta_map(*map(ops.convert_to_tensor, (logits, a, b, c))),
            a * np.log(p) - b * np.log(1 - p) + c,
        ),
    ):
        shares = sigmoid(inside)
        expected = shares / shares.sum(-1, keepdims=True)
        np.testing.assert_allclose(probabilities(found), expected, rtol=5e-6)


@pytest.mark.parametrize("logits", [ROWS[:2], BINARY[:3]], ids=["classes", "binary"])
def test_ensemble_is_the_mixture(logits):
    weights = np.array([0.5, 0.2, 0.3])
    two = logits if logits.shape[1] > 1 else np.append(0 * logits, logits, axis=1)
    two = two.astype("float64")
    expected = weights[0] * softmax(two / 3) + weights[1] * softmax(two) + weights[2] / two.shape[1]
    found = functional.ensemble_map(
        ops.convert_to_tensor(logits), 3.0, ops.array(weights, "float32")
    )
    np.testing.assert_allclose(probabilities(found), expected[:, -logits.shape[1] :], rtol=2e-6)


def test_pieces_are_closed_above():
    x = ops.array([[-1.0], [0.0], [0.5], [1.0], [1.5]])
    found = functional.piecewise_constant_map(
        x, ops.array([[0.0, 1.0]]), ops.array([[0.25, 0.5, 0.75]])
    )
    np.testing.assert_allclose(probabilities(found)[:, 0], [0.25, 0.25, 0.5, 0.5, 0.75], rtol=1e-6)


def test_venn_abers_merges_p0_and_p1():
    p0, p1 = np.array([[0.1, 0.4, 0.7]]), np.array([[0.2, 0.8, 0.9]])
    x = ops.array([[-2.0], [-1.0], [0.0], [2.0], [3.0]])
    tables = (ops.array(each, "float32") for each in ([[-1.0, 2.0]], np.log(1 - p0), np.log(p1)))
    expected = (p1 / (1 - p0 + p1))[0, [0, 0, 1, 1, 2]]
    found = functional.venn_abers_map(x, *tables)
    np.testing.assert_allclose(probabilities(found)[:, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("size", [1, 3, 4, 100])
def test_place_of_a_table_is_numpy_s_searchsorted(rng, size):
    edges = np.sort(rng.integers(-20, 20, (3, size)), axis=1).astype("float32")
    x = rng.integers(-22, 22, (200, 3)).astype("float32")
    expected = [np.searchsorted(row, column) for row, column in zip(edges, x.T, strict=True)]
    found = to_numpy(_place(ops.array(x), ops.array(edges)))
    np.testing.assert_array_equal(found.T, expected)


@pytest.mark.parametrize("name", MAPS)
def test_nan_gives_nan(name):
    logits = np.array([[0.5, np.nan, 1.0], [np.nan, np.nan, np.nan]], "float32")
    assert np.isnan(to_numpy(MAPS[name](ops.array(logits)))[1]).all()
    assert np.isnan(to_numpy(MAPS[name](ops.array(logits[:, 1:2])))).all()


def test_lines_are_numpy_s_interpolation(rng):
    knots = np.sort(rng.normal(0, 2, (1, 9))).astype("float32")
    values = np.sort(rng.uniform(0.01, 0.99, (1, 9))).astype("float32")
    x = rng.normal(0, 4, (200, 1)).astype("float32")
    found = functional.piecewise_linear_map(
        ops.convert_to_tensor(x), ops.convert_to_tensor(knots), ops.convert_to_tensor(values)
    )
    expected = np.interp(x[:, 0], knots[0], values[0])
    np.testing.assert_allclose(probabilities(found)[:, 0], expected, rtol=1e-5)


@pytest.mark.parametrize("logits", [ROWS, BINARY], ids=["classes", "binary"])
@pytest.mark.parametrize("name", MAPS)
def test_extreme_logits_give_finite_values_and_gradients(name, logits):
    value = to_numpy(MAPS[name](ops.convert_to_tensor(logits)))
    assert np.all(np.isfinite(value))
    assert value.shape == logits.shape
    if name not in STEPS:  # which have no gradient
        assert np.all(np.isfinite(value_and_gradient(MAPS[name], logits)[1]))


@pytest.mark.parametrize("name", ["platt", "quadratic", "beta", "ensemble", "linear"])
def test_gradient_equals_the_finite_difference(name, rng):
    logits = rng.normal(0, 1, (1, 3)).astype("float32")
    _, gradient = value_and_gradient(MAPS[name], logits)
    for k in range(3):
        step = 0.01 * np.eye(3, dtype="float32")[k]
        high, low = (to_numpy(MAPS[name](ops.array(logits + s))).sum() for s in (step, -step))
        assert gradient[0, k] == pytest.approx((high - low) / 0.02, rel=5e-3, abs=5e-3)
