"""Nonconformity scores against an oracle that counts."""

import numpy as np
import pytest
import reference
from backends import as_usual, to_numpy

from keras_focal import functional

METHODS = ("lac", "aps", "raps")


@pytest.fixture
def probabilities(rng):
    p = rng.dirichlet(np.ones(5), 40).astype("float32")
    p[:5] = [0.2] * 5  # all tie
    p[5:9] = [0.0, 0.5, 0.0, 0.5, 0.0]
    return p


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("u", [None, 0.0, 0.25])
def test_scores_are_those_of_counting(probabilities, method, u):
    given = None if u is None else np.full((len(probabilities), 1), u, "float32")
    settings = {"penalty": 0.05, "rank": 2}
    function = as_usual(lambda p: functional.conformal_scores(p, method, **settings, u=given))
    expected = [
        [
            reference.conformal_score(row, c, method, **settings, u=1.0 if u is None else u)
            for c in range(5)
        ]
        for row in probabilities
    ]
    np.testing.assert_allclose(to_numpy(function(probabilities)), expected, atol=1e-6)


def test_scores_keep_the_axes_before_the_classes(rng):
    p = rng.dirichlet(np.ones(4), (3, 2)).astype("float32")
    found = to_numpy(functional.conformal_scores(p, "raps"))
    flat = to_numpy(functional.conformal_scores(p.reshape(6, 4), "raps"))
    np.testing.assert_array_equal(found, flat.reshape(3, 2, 4))


@pytest.mark.parametrize("method", METHODS)
def test_rows_need_not_sum_to_one(rng, method):
    p = rng.dirichlet(np.ones(4), 20).astype("float32")
    found = functional.conformal_scores(np.float32(0.995) * p, method)
    expected = functional.conformal_scores(p, method)
    np.testing.assert_allclose(to_numpy(found), to_numpy(expected), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "aps_"}, "`method` must be one of 'lac', 'aps', 'raps'"),
        ({"method": "raps", "penalty": -0.1}, "`penalty` must be a finite number >= 0"),
        ({"method": "raps", "rank": -1}, "`rank` must be a finite number >= 0"),
    ],
)
def test_what_is_no_setting_raises(arguments, message):
    with pytest.raises(ValueError, match=message):
        functional.conformal_scores([[0.5, 0.5]], **arguments)
