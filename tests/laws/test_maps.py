"""Laws of every calibration map, and of fitted ones: range, order, rows, weights, copies, NaN."""

import copy
import warnings

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops
from laws import samples
from scipy import special

from keras_focal import calibration, layers

ROWS = 4
FITTED = 24
"""Rows that a map is fitted to."""


def numbers(low, high):
    return st.floats(low, high, width=32)


def listed(values, *shape):
    """Nested lists of a shape."""
    for size in reversed(shape):
        values = st.lists(values, min_size=size, max_size=size)
    return values


K = samples.CLASSES
temperatures, scales, shifts = numbers(0.125, 8), numbers(-4, 4), numbers(-8, 8)


linear_maps = st.one_of(
    st.builds(layers.VectorScaling, listed(scales, K), listed(shifts, K)),
    st.builds(layers.MatrixScaling, listed(scales, K, K), listed(shifts, K)),
    st.builds(layers.DirichletCalibration, listed(scales, K, K), listed(shifts, K)),
)
structured_maps = st.one_of(
    st.builds(
        layers.StructuredVectorScaling,
        temperatures,
        scale=listed(scales, K),
        bias=listed(shifts, K),
    ),
    st.builds(
        layers.StructuredMatrixScaling,
        temperatures,
        matrix=listed(scales, K, K),
        bias=listed(shifts, K),
    ),
)


@st.composite
def tables(draw):
    """A map that reads the probability of each class from a table of its own."""
    cls = draw(st.sampled_from([layers.HistogramBinning, layers.IsotonicRegression]))
    values = numbers(0.0625, 1)
    if cls is layers.HistogramBinning:
        rows = [sorted(row) for row in draw(listed(shifts, K, 2))]
        return cls(edges=rows, values=draw(listed(values, K, 3)))
    knots = [sorted(row) for row in draw(listed(shifts, K, 3))]
    return cls(knots=knots, values=[sorted(row) for row in draw(listed(values, K, 3))])


one_vs_rest = st.one_of(
    st.builds(layers.PlattScaling, listed(scales, K), listed(shifts, K)),
    st.builds(layers.QuadraticScaling, listed(scales, K), listed(scales, K), listed(shifts, K)),
    st.builds(
        layers.BetaCalibration,
        listed(numbers(0, 4), K),
        listed(numbers(0, 4), K),
        listed(shifts, K),
    ),
)
monotone = st.one_of(
    st.builds(layers.TemperatureScaling, temperatures),
    st.builds(layers.FocalPosterior, numbers(0, 8), temperatures),
    st.tuples(temperatures, st.integers(0, 8), st.integers(0, 8)).map(
        lambda drawn: layers.EnsembleTemperatureScaling(
            drawn[0], [(16 - drawn[1] - drawn[2]) / 16, drawn[1] / 16, drawn[2] / 16]
        )
    ),
)
"""Maps that never change the order of the classes."""

any_map = st.one_of(monotone, linear_maps, structured_maps, tables(), one_vs_rest)


def probabilities(layer, z):
    """Return the probabilities of a map, float64."""
    # Not the softmax of TensorFlow, which by oneDNN gives (NaN, 0, 0) for (NaN, 0, 0).
    return special.softmax(ops.convert_to_numpy(layer(z)).astype("float64"), axis=-1)


def rows_of(values):
    return samples.logits((ROWS,), values)


@given(any_map, rows_of(numbers(-1e4, 1e4)))
def test_output_is_a_distribution_for_logits_up_to_10_000(layer, z):
    p = probabilities(layer, z)
    assert p.shape == z.shape
    assert np.isfinite(p).all()
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(-1), 1, atol=1e-6)


@given(monotone | structured_maps | tables() | one_vs_rest, rows_of(samples.whole), shifts)
def test_adding_a_number_to_all_logits_changes_nothing(layer, z, shift):
    shift = np.float32(round(shift))
    np.testing.assert_allclose(
        probabilities(layer, z + shift), probabilities(layer, z), rtol=1e-5, atol=1e-7
    )


@given(monotone, rows_of(samples.usual))
def test_maps_of_one_temperature_keep_the_order_of_the_classes(layer, z):
    p = probabilities(layer, z)
    order = np.argsort(z, -1, kind="stable")
    # It is exact to 3e-6 of each logit, so that equal ones may part by as much.
    rounding = 3e-6 if isinstance(layer, layers.FocalPosterior) else 1e-7
    assert (np.diff(np.take_along_axis(p, order, -1)) >= -rounding).all()


@given(any_map, rows_of(samples.usual), st.permutations(range(ROWS)))
def test_order_of_rows_does_not_matter(layer, z, order):
    found = probabilities(layer, z[order])
    np.testing.assert_allclose(found, probabilities(layer, z)[order], rtol=1e-6, atol=1e-7)


@given(any_map, rows_of(samples.usual), st.integers(0, ROWS - 1), st.integers(0, K - 1))
def test_logit_of_nan_makes_its_row_nan_and_no_other(layer, z, row, column):
    expected = probabilities(layer, z)
    z[row, column] = np.nan
    found = probabilities(layer, z)
    assert np.isnan(found[row]).all()
    others = np.arange(ROWS) != row
    np.testing.assert_allclose(found[others], expected[others], rtol=1e-6, atol=1e-7)


@given(any_map, rows_of(samples.usual), st.sampled_from(["bfloat16", "float16"]))
def test_half_precision_logits_count_as_their_values(layer, z, dtype):
    half = ops.cast(z, dtype)
    values = ops.convert_to_numpy(ops.cast(half, "float32"))
    np.testing.assert_array_equal(probabilities(layer, half), probabilities(layer, values))


@given(any_map, rows_of(samples.usual))
def test_config_and_copy_give_the_same_map(layer, z):
    expected = probabilities(layer, z)
    saved = keras.saving.serialize_keras_object(layer)
    for other in (keras.saving.deserialize_keras_object(saved), copy.deepcopy(layer)):
        assert other.get_config() == layer.get_config()
        np.testing.assert_array_equal(probabilities(other, z), expected)


# --- fits


@st.composite
def held_out(draw):
    """Logits that are right more often than not, and their labels: every class has one."""
    z = draw(samples.logits((FITTED,), samples.usual))
    labels = draw(samples.ids((FITTED,)))
    labels[:K] = range(K)
    z[np.arange(FITTED), labels] += 2
    return z, labels


weights = listed(st.integers(0, 3), FITTED).map(lambda drawn: np.array([1] * K + drawn[K:]))


def temperature(*data, **options):
    """Return a fit; the best temperature of few rows may well lie at a bound."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return calibration.fit_temperature(*data, **options)


@given(held_out(), weights, st.randoms(use_true_random=False))
def test_temperature_depends_on_the_rows_and_not_on_their_form(data, weights, random):
    z, labels = data
    fit = temperature(z, labels, sample_weight=weights)
    assert 0 < fit.temperature < np.inf
    assert fit.nll_after <= fit.nll_before + 1e-12
    order = random.sample(range(FITTED), FITTED)
    same = {
        "order": temperature(z[order], labels[order], sample_weight=weights[order]),
        "repetition": temperature(z.repeat(weights, 0), labels.repeat(weights)),
        "shift": temperature(np.round(z * 64) / 64 + 8, labels, sample_weight=weights),
        "batches": temperature(
            [(z[:9], labels[:9], weights[:9]), (z[9:], labels[9:], weights[9:])]
        ),
    }
    plain = temperature(np.round(z * 64) / 64, labels, sample_weight=weights)
    assert same.pop("shift").temperature == pytest.approx(plain.temperature, rel=1e-6)
    for name, other in same.items():
        assert other.temperature == pytest.approx(fit.temperature, rel=1e-6), name


@given(
    held_out(),
    weights,
    st.sampled_from(["vector", "structured_vector", "platt", "beta", "isotonic"]),
)
def test_weight_k_of_a_fit_counts_a_row_k_times(data, weights, method):
    pytest.importorskip("sklearn", reason="needs the extra `maps`")
    z, labels = data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        fit = calibration.fit_map(z, labels, method, folds=0, sample_weight=weights)
        copies = z.repeat(weights, 0), labels.repeat(weights)
        other = calibration.fit_map(*copies, method, folds=0)
    found = probabilities(fit.layer, z)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, probabilities(other.layer, z), rtol=1e-4, atol=1e-5)
