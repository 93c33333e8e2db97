"""The confidence histogram: the shares of the bins, and two lines with their values."""

import numpy as np
import pytest
import reference
from matplotlib import pyplot as plt
from pictures import grey_looks, is_inside_the_figure, legend_texts, picture

from keras_focal import functional, metrics
from keras_focal.plotting import confidence_histogram


def bars(ax):
    """(left edge, height) of the bars, sorted."""
    return np.array(sorted((bar.get_x(), bar.get_height()) for bar in ax.patches)).reshape(-1, 2)


def shares(confidence, num_bins=15, weights=None):
    """(left edge, per cent) of the bins that hold something."""
    weights = np.ones(len(confidence)) if weights is None else weights
    rows = []
    for i in range(num_bins):
        inside = (confidence > i / num_bins) & (confidence <= (i + 1) / num_bins)
        if weights[inside].sum():
            rows.append((i / num_bins, 100 * weights[inside].sum() / weights.sum()))
    return np.array(rows)


def lines(ax):
    """Place on the axis of confidence of the lines, by the first word of their label."""
    return {line.get_label().split()[0]: line.get_xdata()[0] for line in ax.lines}


@pytest.mark.parametrize("num_bins", [1, 4, 15])
def test_bar_heights_are_the_shares_of_the_bins_in_percent(data, num_bins):
    confidence, _ = reference.top_label(*data)
    drawn = bars(confidence_histogram(*data, num_bins=num_bins))
    np.testing.assert_allclose(drawn, shares(confidence, num_bins), rtol=1e-6, atol=1e-9)


def test_lines_stand_at_the_accuracy_and_the_mean_confidence(data):
    confidence, correct = reference.top_label(*data)
    found = lines(confidence_histogram(*data))
    assert found["accuracy"] == pytest.approx(correct.mean(), abs=1e-6)
    assert found["mean"] == pytest.approx(confidence.mean(), abs=1e-6)


def test_legend_gives_the_values_of_the_lines(data):
    confidence, correct = reference.top_label(*data)
    assert legend_texts(confidence_histogram(*data)) == [
        f"accuracy {100 * correct.mean():.1f} %",
        f"mean confidence {100 * confidence.mean():.1f} %",
    ]


def test_lines_differ_without_colour(data):
    looks = grey_looks(confidence_histogram(*data).lines)
    assert len({dashes for _, dashes in looks}) == 2


def test_logits_give_the_picture_of_their_probabilities(data):
    labels, probabilities = data
    from_logits = confidence_histogram(labels, np.log(probabilities), from_logits=True)
    np.testing.assert_allclose(bars(from_logits), bars(confidence_histogram(*data)), atol=1e-6)


def test_sample_weight_counts(data, rng):
    weights = rng.integers(0, 3, 64).astype("float64")
    confidence, correct = reference.top_label(*data)
    ax = confidence_histogram(*data, sample_weight=weights)
    np.testing.assert_allclose(bars(ax), shares(confidence, weights=weights), rtol=1e-6, atol=1e-9)
    assert lines(ax)["accuracy"] == pytest.approx(np.average(correct, weights=weights), abs=1e-6)
    assert lines(ax)["mean"] == pytest.approx(np.average(confidence, weights=weights), abs=1e-6)


def test_bins_of_a_metric_give_the_picture_of_the_arrays(data):
    metric = metrics.ECE()
    metric.update_state(*data)
    from_metric = picture(confidence_histogram(bins=metric.bins()))
    np.testing.assert_array_equal(from_metric, picture(confidence_histogram(*data)))


def test_bins_of_a_function_give_the_picture_of_the_arrays(data):
    bins = functional.bin_statistics(*data, num_bins=5)
    from_bins = picture(confidence_histogram(bins=bins))
    np.testing.assert_array_equal(from_bins, picture(confidence_histogram(*data, num_bins=5)))


def test_given_axes_are_drawn_into_and_returned(data):
    figure, (first, second) = plt.subplots(1, 2)
    plt.sca(first)
    assert confidence_histogram(*data, ax=second) is second
    assert plt.get_fignums() == [figure.number]
    assert plt.gca() is first
    assert not first.patches


def test_axes_are_labelled_and_titled(data):
    ax = confidence_histogram(*data, title="model")
    assert ax.get_title() == "model"
    assert ax.get_xlabel() == "confidence"
    assert ax.get_ylabel() == "samples, %"
    assert ax.get_xlim() == (0.0, 1.0)
    assert ax.get_ylim()[0] == 0.0
    assert is_inside_the_figure(ax)


def test_bins_of_one_class_have_labels_of_their_own():
    metric = metrics.BinaryECE()
    metric.update_state([1, 0, 0, 0], [[0.5]] * 4)
    ax = confidence_histogram(bins=metric.bins())
    assert ax.get_xlabel() == "predicted probability"
    names = ["fraction of positives 25.0 %", "mean predicted probability 50.0 %"]
    assert legend_texts(ax) == names


@pytest.mark.parametrize("from_metric", [True, False])
def test_no_predictions_draw_nothing(from_metric):
    nothing = functional.bin_statistics(np.zeros(0, "int32"), np.zeros((0, 4), "float32"))
    ax = confidence_histogram(bins=metrics.ECE().bins() if from_metric else nothing)
    assert len(ax.patches) == len(ax.lines) == 0
    assert ax.get_legend() is None
    picture(ax)
