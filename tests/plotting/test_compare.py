"""Reliability diagrams side by side: each is the model's own, and all have the same limits."""

import numpy as np
import pytest
import reference
from matplotlib import pyplot as plt
from pictures import is_inside_the_figure

from keras_focal import functional, metrics
from keras_focal.plotting import compare_reliability, reliability_diagram


@pytest.fixture
def models(rng):
    """Three models of 64 predictions each; the second is the most sure."""
    return {
        name: (rng.integers(0, 4, 64), rng.dirichlet(np.full(4, spread), 64).astype("float32"))
        for name, spread in [("CE", 1.0), ("FL-3", 0.05), ("Brier", 5.0)]
    }


def boxes(ax):
    return np.array([patch.get_bbox().get_points() for patch in ax.patches])


def shares(ax):
    return ax.child_axes[0]


def test_each_axes_holds_the_diagram_of_its_model(models):
    axes = compare_reliability(models)
    assert axes.shape == (3,)
    for ax, data in zip(axes, models.values(), strict=True):
        alone = reliability_diagram(*data)
        np.testing.assert_array_equal(boxes(ax), boxes(alone))
        np.testing.assert_array_equal(boxes(shares(ax)), boxes(shares(alone)))


def test_titles_give_name_and_ece(models):
    for ax, (name, data) in zip(compare_reliability(models), models.items(), strict=True):
        ece = 100 * reference.ece(*reference.top_label(*data))
        assert ax.get_title() == f"{name}\nECE {ece:.2f} %"


def test_limits_are_shared(models):
    axes = compare_reliability(models)
    assert {ax.get_xlim() for ax in axes} == {ax.get_ylim() for ax in axes} == {(0.0, 1.0)}
    assert {shares(ax).get_xlim() for ax in axes} == {(0.0, 1.0)}
    (limits,) = {shares(ax).get_ylim() for ax in axes}
    largest = max(patch.get_height() for ax in axes for patch in shares(ax).patches)
    assert limits[0] == 0.0
    assert largest <= limits[1] <= 1.1 * largest


def test_bins_stand_for_arrays(models):
    metric = metrics.ECE()
    metric.update_state(*models["FL-3"])
    mixed = {
        "CE": functional.bin_statistics(*models["CE"]),
        "FL-3": metric.bins(),
        "Brier": models["Brier"],
    }
    for ax, other in zip(compare_reliability(mixed), compare_reliability(models), strict=True):
        np.testing.assert_allclose(boxes(ax), boxes(other), atol=1e-6)
        assert ax.get_title() == other.get_title()


def test_number_of_bins_and_logits_are_used(models):
    logits = {name: (labels, np.log(p + 1e-30)) for name, (labels, p) in models.items()}
    axes = compare_reliability(logits, num_bins=4, from_logits=True)
    for ax, data in zip(axes, models.values(), strict=True):
        np.testing.assert_allclose(
            boxes(ax), boxes(reliability_diagram(*data, num_bins=4)), atol=1e-5
        )


@pytest.mark.parametrize(
    ("count", "ncols", "shape"),
    [(1, None, (1, 1)), (3, None, (1, 3)), (6, None, (2, 4)), (3, 2, (2, 2)), (3, 9, (1, 3))],
)
def test_diagrams_fill_rows(models, count, ncols, shape):
    named = {str(i): models["CE"] for i in range(count)}
    axes = compare_reliability(named, ncols=ncols)
    assert axes.shape == (count,)
    assert len({ax.figure for ax in axes}) == 1
    assert axes[0].figure.axes == [*axes]
    for index, ax in enumerate(axes):
        spec = ax.get_subplotspec()
        assert spec.get_gridspec().get_geometry() == shape
        assert spec.num1 == index


def test_one_figure_is_made_with_one_legend(models):
    axes = compare_reliability(models)
    (figure,) = (plt.figure(number) for number in plt.get_fignums())
    assert all(ax.figure is figure for ax in axes)
    assert [ax.get_legend() for ax in axes] == [None] * 3
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert sorted(texts) == ["accuracy", "gap to confidence", "perfect calibration"]


@pytest.mark.parametrize("ncols", [1, 2, 3])
def test_legend_stays_inside_the_figure_and_below_the_diagrams(models, ncols):
    axes = compare_reliability(models, ncols=ncols)
    figure = axes[0].figure
    figure.canvas.draw()
    box = figure.legends[0].get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width
    assert box.y0 >= 0
    assert all(not box.overlaps(ax.get_tightbbox()) for ax in axes)


def test_figure_has_the_given_size(models):
    axes = compare_reliability(models, figsize=(9.0, 3.5))
    np.testing.assert_allclose(axes[0].figure.get_size_inches(), [9.0, 3.5])


@pytest.mark.nightly
@pytest.mark.parametrize("ncols", [None, 2])
def test_long_names_stay_inside_the_figure_and_apart(models, ncols):
    name = "a residual network of fifty layers, focal loss, temperature-scaled"
    axes = compare_reliability({f"{name} {i}": models["CE"] for i in range(3)}, ncols=ncols)
    assert all(is_inside_the_figure(ax) for ax in axes)
    titles = [ax.title.get_window_extent() for ax in axes]
    for ax, title in zip(axes, titles, strict=True):
        assert ax.get_title().replace("\n", " ").startswith(name)
        others = [other for other in axes if other is not ax]
        assert not any(title.overlaps(other.get_tightbbox()) for other in others)


def test_names_need_not_be_text(models):
    axes = compare_reliability({2: models["CE"], "$": models["CE"]})
    assert [ax.get_title().splitlines()[0] for ax in axes] == ["2", "$"]
    axes[0].figure.canvas.draw()


def test_empty_bins_are_drawn():
    (ax,) = compare_reliability({"none": metrics.ECE().bins()})
    assert ax.get_title() == "none\nECE 0.00 %"
    assert not ax.figure.legends


def test_legend_is_that_of_a_model_with_predictions(models):
    axes = compare_reliability({"none": metrics.ECE().bins(), "CE": models["CE"]})
    (legend,) = axes[0].figure.legends
    assert len(legend.get_texts()) == 3
    assert [ax.get_legend() for ax in axes] == [None] * 2


@pytest.mark.parametrize("count", [1, 2, 5])
def test_labels_of_the_strips_keep_clear_of_legend_and_titles(models, count):
    axes = compare_reliability({str(i): models["CE"] for i in range(count)})
    figure = axes[0].figure
    figure.canvas.draw()
    others = [ax.title.get_window_extent() for ax in axes]
    others.append(figure.legends[0].get_window_extent())
    for ax in axes:
        label = shares(ax).xaxis.label.get_window_extent()
        assert not any(label.overlaps(other) for other in others)


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ({}, "`models` must be a dict of one or more models. Received: no model"),
        ([([0], [[0.9, 0.1]])], '`models` must be a dict .* Received: list. Give .*{"CE": '),
        ({"CE": [[0.9, 0.1]]}, "`models` must hold .*Received: list for 'CE'. Give labels"),
        ({"CE": None}, "`models` must hold .*Received: NoneType for 'CE'"),
        ({"CE": ([0, 1, 1], [[0.9, 0.1]] * 2)}, "`y_true` must have shape"),
        (
            {"top": metrics.ECE().bins(), "class": metrics.BinaryECE().bins()},
            "one horizontal axis. Received: confidence and predicted probability",
        ),
    ],
)
def test_what_are_no_models_raise(models, message):
    with pytest.raises(ValueError, match=message):
        compare_reliability(models)


@pytest.mark.parametrize("ncols", [0, 1.5, "2"])
def test_columns_below_one_raise(models, ncols):
    with pytest.raises(ValueError, match="`ncols` must be a whole number >= 1"):
        compare_reliability(models, ncols=ncols)


@pytest.mark.parametrize("figsize", [3.0, (3.0,), (0.0, 2.0), (3.0, -1.0)])
def test_figure_without_a_size_raises(models, figsize):
    with pytest.raises(ValueError, match=r"`figsize` must be \(width, height\), both > 0"):
        compare_reliability(models, figsize=figsize)


@pytest.mark.parametrize("given", [{"ncols": 0}, {"figsize": 3.0}, {"num_bins": 0}])
def test_no_figure_is_left_by_an_error(models, given):
    with pytest.raises(ValueError, match="must be"):
        compare_reliability(models, **given)
    assert plt.get_fignums() == []
