"""The histogram of gradient norms: the share of each bin, the same bins for all, and the means."""

from itertools import pairwise

import numpy as np
import pytest
import reference
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb
from pictures import is_inside_the_figure, legend_texts, picture

from keras_focal import gammas
from keras_focal.plotting import gradient_norm_histogram


@pytest.fixture
def labels(rng):
    return rng.integers(0, 4, 64)


@pytest.fixture
def logits(rng):
    return rng.normal(0, 4, (64, 4)).astype("float32")


@pytest.fixture
def models(labels, logits):
    return {"CE": (labels, logits, 0.0), "FL-3": (labels, logits, 3.0)}


def norms(labels, logits, gamma):
    rows = zip(labels, logits, strict=True)
    return np.linalg.norm([reference.sparse_focal(*row, gamma)[1] for row in rows], axis=1)


def steps(ax):
    """(heights, edges) of each line."""
    return [patch.get_data()[:2] for patch in ax.patches]


@pytest.mark.parametrize("num_bins", [1, 7, 30])
@pytest.mark.parametrize("gamma", [0.0, 3.0])
def test_heights_are_the_shares_of_the_bins_in_percent(labels, logits, gamma, num_bins):
    ax = gradient_norm_histogram(
        {"model": (labels, logits, gamma)}, num_bins=num_bins, scale="linear"
    )
    ((heights, edges),) = steps(ax)
    expected = norms(labels, logits, gamma)
    np.testing.assert_allclose(edges, np.linspace(0, expected.max(), num_bins + 1), rtol=1e-5)
    inside = [
        np.mean((expected >= low * (1 - 1e-6)) & (expected <= high * (1 + 1e-6)))
        for low, high in pairwise(edges)
    ]
    np.testing.assert_allclose(heights, 100 * np.array(inside), atol=1e-9)


def test_logarithmic_bins_are_equal_in_the_logarithm_and_hold_all(models):
    ax = gradient_norm_histogram(models)
    assert ax.get_xscale() == "log"
    for heights, edges in steps(ax):
        assert heights.sum() == pytest.approx(100.0)
        ratios = edges[1:] / edges[:-1]
        np.testing.assert_allclose(ratios, ratios[0], rtol=1e-6)


def test_first_logarithmic_bin_holds_what_is_next_to_nothing(labels):
    logits = 60.0 * np.eye(4, dtype="float32")[labels]
    logits[:4] = 0.0
    ((heights, edges),) = steps(gradient_norm_histogram({"sure": (labels, logits, 5.0)}))
    assert heights[0] == pytest.approx(100 * 60 / 64)
    assert heights[-1] == pytest.approx(100 * 4 / 64)
    assert edges[0] == pytest.approx(1e-12 * edges[-1], rel=1e-6)


def test_lines_have_the_same_bins(models):
    (_, first), (_, second) = steps(gradient_norm_histogram(models))
    np.testing.assert_array_equal(first, second)


def test_legend_gives_the_mean_norm(models):
    texts = legend_texts(gradient_norm_histogram(models))
    expected = {name: norms(*data).mean() for name, data in models.items()}
    assert texts == [f"{name}: mean {mean:.3g}" for name, mean in expected.items()]


def test_gamma_may_be_a_rule(labels, logits):
    rule = gammas.SampleDependentGamma([0.2], [5.0, 3.0])
    p = reference.softmax64(logits)[np.arange(64), labels]
    expected = np.where(p < 0.2, norms(labels, logits, 5.0), norms(labels, logits, 3.0)).mean()
    (text,) = legend_texts(gradient_norm_histogram({"FLSD-53": (labels, logits, rule)}))
    assert text == f"FLSD-53: mean {expected:.3g}"


def test_features_make_it_the_gradient_of_the_last_layer(labels, logits, rng):
    features = rng.normal(0, 3, (64, 5)).astype("float32")
    ax = gradient_norm_histogram({"CE": (labels, logits, 0.0, features)})
    expected = norms(labels, logits, 0.0) * np.sqrt((features**2).sum(1) + 1)
    assert legend_texts(ax) == [f"CE: mean {expected.mean():.3g}"]
    assert ax.get_xlabel() == "norm of the gradient of the last layer"


@pytest.mark.parametrize("form", ["columns", "rows"])
def test_labels_may_be_columns_or_one_hot_rows(labels, logits, form):
    given = labels[:, None] if form == "columns" else np.eye(4)[labels]
    drawn, expected = (
        picture(gradient_norm_histogram({"CE": (y, logits, 0.0)})) for y in (given, labels)
    )
    np.testing.assert_array_equal(drawn, expected)


def test_norms_that_are_not_finite_are_left_out(labels, logits):
    broken = np.concatenate([logits, np.full((3, 4), np.nan, "float32")])
    more = np.concatenate([labels, [0, 1, 2]])
    drawn, expected = (
        steps(gradient_norm_histogram({"CE": data}))[0]
        for data in [(more, broken, 0.0), (labels, logits, 0.0)]
    )
    np.testing.assert_array_equal(drawn[0], expected[0])


def test_no_samples_draw_nothing():
    ax = gradient_norm_histogram({"CE": (np.zeros(0, "int32"), np.zeros((0, 4)), 0.0)})
    assert not ax.patches
    assert ax.get_legend() is None
    picture(ax)


def test_two_classes_in_one_column(rng):
    z, labels = rng.normal(0, 2, (20, 1)).astype("float32"), rng.integers(0, 2, 20)
    expected = np.mean(
        [abs(reference.binary_focal(y, x, 1.0)[1]) for y, x in zip(labels, z[:, 0], strict=True)]
    )
    (text,) = legend_texts(gradient_norm_histogram({"FL-1": (labels, z, 1.0)}))
    assert text == f"FL-1: mean {expected:.3g}"


def test_lines_differ_without_colour(labels, logits):
    many = {f"γ = {gamma}": (labels, logits, gamma) for gamma in range(8)}
    weights = 0.299, 0.587, 0.114
    looks = {
        (round(10 * np.dot(weights, to_rgb(line.get_edgecolor()))), str(line.get_linestyle()))
        for line in gradient_norm_histogram(many).patches
    }
    assert len(looks) == 8


def test_given_axes_are_drawn_into_and_returned(models):
    figure, (first, second) = plt.subplots(1, 2)
    plt.sca(first)
    assert gradient_norm_histogram(models, ax=second) is second
    assert plt.get_fignums() == [figure.number]
    assert plt.gca() is first
    assert not first.patches


@pytest.mark.parametrize("scale", ["log", "linear"])
def test_axes_are_labelled_and_titled(models, scale):
    ax = gradient_norm_histogram(models, scale=scale, title="epoch 10")
    assert ax.get_title() == "epoch 10"
    assert ax.get_xlabel() == "norm of the gradient at the logits"
    assert ax.get_ylabel() == "samples, %"
    assert ax.get_ylim()[0] == 0.0
    assert is_inside_the_figure(ax)


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ({}, "`models` must be a dict of one or more models. Received: no model"),
        ([([0], [[1.0, 0.0]], 0.0)], "`models` must be a dict .* Received: list"),
        ({"CE": ([0], [[1.0, 0.0]])}, "`models` must hold .*Received: tuple for 'CE'.*gamma"),
        ({"CE": None}, "`models` must hold .*Received: NoneType for 'CE'"),
        ({"CE": ([0, 1], [[1.0, 0.0]], 0.0)}, "`y_true` must have shape"),
        (
            {"a": ([0], [[1.0, 0.0]], 0.0), "b": ([0], [[1.0, 0.0]], 0.0, [[1.0]])},
            "`models` must hold features for all names or for none",
        ),
    ],
)
def test_what_are_no_models_raise(models, message):
    with pytest.raises(ValueError, match=message):
        gradient_norm_histogram(models)
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_bins": 0}, "`num_bins` must be a whole number >= 1"),
        ({"scale": "sqrt"}, "`scale` must be one of 'log', 'linear'"),
    ],
)
def test_bins_that_cannot_be_raise(models, given, message):
    with pytest.raises(ValueError, match=message):
        gradient_norm_histogram(models, **given)
