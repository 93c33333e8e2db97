"""The oracle of all margins, some of them, and the page of accuracy."""

import json

import accuracy_page
import exhaustive
import mpmath
import numpy as np
import pytest
import reference
from backends import BACKEND
from harness import RESULTS

PUBLISHED = json.loads((RESULTS / f"exhaustive_{BACKEND}.json").read_text())
ONE_MODE = exhaustive.MODES[-1:] if BACKEND == "jax" else exhaustive.MODES[:1]


def test_float64_oracle_agrees_with_fifty_digits_to_a_hundredth_of_an_ulp():
    rng = np.random.default_rng(0)
    margins = np.concatenate([rng.normal(0, 1, 20), rng.uniform(-103, 103, 20), [0.0, 1e-30, 1e30]])
    margins = margins.astype("float32")
    for gamma, (values, slopes) in zip(exhaustive.GAMMAS, exhaustive.oracle(margins), strict=True):
        for margin, value, slope in zip(margins, values, slopes, strict=True):
            m = mpmath.mpf(float(margin))
            p, complement = 1 / (1 + mpmath.exp(m)), 1 / (1 + mpmath.exp(-m))
            true = np.array(
                [
                    float(reference.focal_value(p, complement, gamma)),
                    float(complement * reference.focal_slope(p, complement, gamma)),
                ]
            )
            assert exhaustive.ulps(np.array([value, slope]), true).max() < 0.01


def test_ulps_count_from_the_binade_of_the_exact_result():
    true = np.array([1.0, 1.5, -2.0, 1e-40])
    found = true + np.array([2.0**-23, 2.0**-22, -(2.0**-22), 1e-41])
    np.testing.assert_allclose(exhaustive.ulps(found, true), [1.0, 2.0, 1.0, 0.0])
    assert exhaustive.ulps(np.array([1.0]), np.array([1e-40]))[0] == np.inf


def test_margins_of_all_chunks_are_all_finite_floats():
    stride = 2**12 + 1
    total = -(-exhaustive.FLOATS // stride)
    margins = exhaustive.float32_margins(0, stride, total + 5)
    assert np.isfinite(margins).all()
    assert margins.min() < -3e38
    assert margins.max() > 3e38
    assert (margins[total:] == 0).all()


def test_error_of_some_margins_is_within_what_is_published():
    stride = PUBLISHED["stride"] * 1597
    worst = exhaustive.Worst(modes=ONE_MODE)
    worst.add(exhaustive.float32_margins(0, stride, -(-exhaustive.FLOATS // stride)))
    published = {(row["mode"], row["gamma"], row["what"]): row["ulp"] for row in PUBLISHED["rows"]}
    for row in worst.rows():
        # Machines differ in the last digit of an exponential.
        limit = published[row["mode"], row["gamma"], row["what"]] + 1.0 + row["gamma"]
        assert row["ulp"] <= limit


@pytest.mark.parametrize("dtype", exhaustive.HALVES)
def test_half_precision_results_are_the_rounded_float32_ones(dtype):
    for row in exhaustive.half_precision(dtype, ONE_MODE, gammas=(3.0,)):
        assert row["value"] == row["gradient"] == 0


def test_page_is_made_from_the_results():
    assert accuracy_page.PAGE.read_text() == accuracy_page.page()
