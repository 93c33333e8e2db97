"""The reliability diagram draws the metric's bins and leaves everything else alone."""

import matplotlib
import numpy as np
import pytest
import reference
from matplotlib import pyplot as plt

from keras_focal.metrics import ECE
from keras_focal.plotting import reliability_diagram


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def predictions(rng):
    logits = rng.normal(0, 2, (300, 4)).astype("float32")
    labels = np.where(rng.random(300) < 0.6, logits.argmax(1), rng.integers(0, 4, 300))
    return labels, logits


def bars(ax):
    return [(round(bar.get_x(), 4), bar.get_y(), bar.get_height()) for bar in ax.patches]


def test_bars_are_accuracies_and_gaps_of_the_oracle(rng):
    labels, logits = predictions(rng)
    ax = reliability_diagram(labels, logits, from_logits=True)
    confidence, correct = reference.top_label(labels, reference.softmax64(logits))
    expected = [
        (correct[inside].mean(), confidence[inside].mean() - correct[inside].mean())
        for i in range(15)
        if (inside := (confidence > i / 15) & (confidence <= (i + 1) / 15)).any()
    ]
    drawn = ax.containers
    np.testing.assert_allclose(
        [bar.get_height() for bar in drawn[0]], [a for a, _ in expected], atol=1e-5
    )
    np.testing.assert_allclose(
        [bar.get_height() for bar in drawn[1]], [g for _, g in expected], atol=1e-5
    )


def test_title_gives_the_ece_of_the_bins(rng):
    labels, logits = predictions(rng)
    ax = reliability_diagram(labels, logits, from_logits=True, title="net")
    ece = reference.ece(*reference.top_label(labels, reference.softmax64(logits)))
    assert ax.get_title() == f"net: ECE {100 * ece:.2f} %"


def test_bins_of_a_metric_draw_the_same_picture(rng):
    labels, logits = predictions(rng)
    metric = ECE(from_logits=True)
    metric.update_state(labels, logits)
    from_arrays = reliability_diagram(labels, logits, from_logits=True)
    from_bins = reliability_diagram(bins=metric.bins())
    assert from_arrays.get_title() == from_bins.get_title()
    np.testing.assert_allclose(bars(from_arrays), bars(from_bins), atol=1e-5)


def test_given_axes_are_drawn_into_and_returned(rng):
    _, axes = plt.subplots(1, 2)
    assert reliability_diagram(*predictions(rng), from_logits=True, ax=axes[1]) is axes[1]
    assert not axes[0].patches


def test_global_style_is_untouched(rng):
    before = dict(matplotlib.rcParams)
    reliability_diagram(*predictions(rng), from_logits=True)
    assert dict(matplotlib.rcParams) == before


def test_no_predictions_draw_an_empty_diagram():
    ax = reliability_diagram(bins=ECE().bins())
    assert ax.get_title() == "ECE 0.00 %"
    assert not ax.patches


@pytest.mark.parametrize("given", [{}, {"y_true": [0]}, {"y_pred": [[1.0, 0.0]]}])
def test_without_predictions_or_bins_it_raises(given):
    with pytest.raises(ValueError, match="`bins` must be given, or else both"):
        reliability_diagram(**given)
