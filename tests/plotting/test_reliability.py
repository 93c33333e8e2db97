"""The reliability diagram: what is drawn is what the bins hold."""

import numpy as np
import pytest
import reference
from matplotlib import pyplot as plt
from matplotlib.transforms import Bbox
from pictures import is_inside_the_figure, legend_texts, picture

from keras_focal import functional, metrics
from keras_focal.plotting import reliability_diagram

SERIES = ["accuracy", "gap to confidence"]


def bars(ax, label):
    """Left edge, bottom and top of the bars of a series, sorted by their place."""
    container = next(c for c in ax.containers if c.get_label() == label)
    boxes = [patch.get_bbox() for patch in container]
    return np.array(sorted((b.x0, b.y0, b.y1) for b in boxes)).reshape(-1, 3)


def strip(ax):
    """The axes under the diagram: the share of each bin."""
    return ax.child_axes[0]


def filled_bins(labels, probabilities, num_bins=15):
    """(left edge, weight, accuracy, mean confidence) of the bins that hold something."""
    confidence, correct = reference.top_label(labels, probabilities)
    rows = []
    for i in range(num_bins):
        inside = (confidence > i / num_bins) & (confidence <= (i + 1) / num_bins)
        if inside.any():
            means = correct[inside].mean(), confidence[inside].mean()
            rows.append((i / num_bins, inside.sum(), *means))
    return np.array(rows).T


def test_bar_heights_are_the_accuracies_of_the_filled_bins(data):
    left, _, accuracy, _ = filled_bins(*data)
    drawn = bars(reliability_diagram(*data), "accuracy")
    np.testing.assert_allclose(drawn[:, 0], left, atol=1e-9)
    np.testing.assert_allclose(drawn[:, 1], 0.0)
    np.testing.assert_allclose(drawn[:, 2], accuracy, atol=1e-6)


def test_gap_reaches_from_accuracy_to_mean_confidence(data):
    left, _, accuracy, confidence = filled_bins(*data)
    drawn = bars(reliability_diagram(*data), "gap to confidence")
    np.testing.assert_allclose(drawn[:, 0], left, atol=1e-9)
    np.testing.assert_allclose(drawn[:, 1:].min(-1), np.minimum(accuracy, confidence), atol=1e-6)
    np.testing.assert_allclose(drawn[:, 1:].max(-1), np.maximum(accuracy, confidence), atol=1e-6)


def test_strip_shows_the_share_of_each_bin_in_percent(data):
    _, count, _, _ = filled_bins(*data)
    heights = [patch.get_height() for patch in strip(reliability_diagram(*data)).patches]
    np.testing.assert_allclose(heights, 100 * count / 64, rtol=1e-6)


def test_diagonal_is_perfect_calibration(data):
    lines = [line.get_xydata() for line in reliability_diagram(*data).lines]
    assert any(np.array_equal(line, [[0, 0], [1, 1]]) for line in lines)


def test_title_gives_the_ece_in_percent(data):
    ece = 100 * reference.ece(*reference.top_label(*data))
    assert reliability_diagram(*data).get_title() == f"ECE {ece:.2f} %"


def test_title_starts_with_the_given_text(data):
    ece = 100 * reference.ece(*reference.top_label(*data))
    assert (
        reliability_diagram(*data, title="100 % CNN").get_title() == f"100 % CNN: ECE {ece:.2f} %"
    )


def test_number_of_bins_is_used(data):
    left, _, accuracy, _ = filled_bins(*data, num_bins=4)
    ax = reliability_diagram(*data, num_bins=4)
    drawn = bars(ax, "accuracy")
    np.testing.assert_allclose(drawn[:, 0], left, atol=1e-9)
    np.testing.assert_allclose(drawn[:, 2], accuracy, atol=1e-6)
    ece = 100 * reference.ece(*reference.top_label(*data), num_bins=4)
    assert ax.get_title() == f"ECE {ece:.2f} %"


def test_logits_give_the_picture_of_their_probabilities(data):
    labels, probabilities = data
    from_logits = reliability_diagram(labels, np.log(probabilities), from_logits=True)
    np.testing.assert_allclose(
        bars(from_logits, "accuracy"), bars(reliability_diagram(*data), "accuracy"), atol=1e-6
    )


def test_sample_weight_counts(data, rng):
    labels, probabilities = data
    times = rng.integers(0, 3, 64)
    repeated = labels.repeat(times), probabilities.repeat(times, axis=0)
    _, count, accuracy, _ = filled_bins(*repeated)
    ax = reliability_diagram(labels, probabilities, sample_weight=times)
    np.testing.assert_allclose(bars(ax, "accuracy")[:, 2], accuracy, atol=1e-6)
    heights = [patch.get_height() for patch in strip(ax).patches]
    np.testing.assert_allclose(heights, 100 * count / times.sum(), rtol=1e-6)


def test_bins_of_a_metric_give_the_picture_of_the_arrays(data):
    metric = metrics.ECE()
    metric.update_state(*data)
    from_metric = picture(reliability_diagram(bins=metric.bins()))
    np.testing.assert_array_equal(from_metric, picture(reliability_diagram(*data)))


def test_bins_of_a_function_give_the_picture_of_the_arrays(data):
    bins = functional.bin_statistics(*data, num_bins=5)
    from_bins = picture(reliability_diagram(bins=bins))
    np.testing.assert_array_equal(from_bins, picture(reliability_diagram(*data, num_bins=5)))


def test_given_axes_are_drawn_into_and_returned(data):
    figure, (first, second) = plt.subplots(1, 2)
    assert reliability_diagram(*data, ax=second) is second
    assert plt.get_fignums() == [figure.number]
    assert second.patches
    assert not first.patches


def test_new_axes_are_made_without_given_ones(data):
    first, second = reliability_diagram(*data), reliability_diagram(*data)
    assert first.figure is not second.figure


def test_current_axes_stay(data):
    _, (first, second) = plt.subplots(1, 2)
    plt.sca(first)
    reliability_diagram(*data, ax=second)
    assert plt.gca() is first


def test_picture_can_be_saved_without_a_warning(data, tmp_path):
    ax = reliability_diagram(*data, title="model")
    ax.figure.savefig(tmp_path / "reliability.png")
    assert (tmp_path / "reliability.png").stat().st_size > 1000


def test_axes_are_labelled_and_span_all_confidences(data):
    ax = reliability_diagram(*data)
    ax.figure.canvas.draw()
    assert ax.get_xlim() == ax.get_ylim() == (0.0, 1.0)
    assert ax.get_ylabel() == "accuracy"
    assert strip(ax).get_xlabel() == "confidence"
    assert strip(ax).get_ylim()[0] == 0.0


def test_everything_is_drawn_inside_the_figure(data):
    assert is_inside_the_figure(reliability_diagram(*data))


@pytest.mark.nightly
@pytest.mark.parametrize("layout", ["none", "tight", "constrained", "compressed"])
def test_given_axes_are_not_cut_off_by_any_layout(data, layout):
    _, axes = plt.subplots(2, 2, layout=layout)
    for ax in axes.flat:
        reliability_diagram(*data, ax=ax)
    assert is_inside_the_figure(*axes.flat)


def test_diagram_and_strip_share_the_place_of_the_given_axes(data):
    _, (ax, other) = plt.subplots(1, 2)
    ax.set_axes_locator(lambda ax, _: Bbox.from_bounds(0.1, 0.2, 0.3, 0.6))
    for each in (ax, other):
        reliability_diagram(*data, ax=each)
    ax.figure.canvas.draw()
    for each, place in ((ax, (0.1, 0.2, 0.4, 0.8)), (other, other.get_position(True).extents)):
        below = strip(each).get_window_extent().transformed(each.figure.transFigure.inverted())
        above = each.get_position()
        found = (above.x0, below.y0, below.x1, above.y1)
        np.testing.assert_allclose(found, place, atol=1e-3)
        assert below.y1 < above.y0


def test_label_of_the_strip_is_no_longer_than_the_strip(data):
    ax = reliability_diagram(*data)
    ax.figure.canvas.draw()
    label = strip(ax).yaxis.label.get_window_extent()
    assert label.height <= strip(ax).get_window_extent().height


def test_bins_of_one_class_have_labels_of_their_own(data):
    labels, p = data
    metric = metrics.BinaryECE(class_id=2)
    metric.update_state(labels, p)
    ax = reliability_diagram(bins=metric.bins())
    assert ax.get_ylabel() == "fraction of positives"
    assert strip(ax).get_xlabel() == "predicted probability"
    names = ["perfect calibration", "fraction of positives", "gap to predicted probability"]
    assert legend_texts(ax) == names
    left, top = bars(ax, "fraction of positives").T[[0, 2]]
    bin_of_each = np.ceil(p[:, 2] * 15 - 1e-6).astype(int) - 1
    expected = [(labels[bin_of_each == b] == 2).mean() for b in np.unique(bin_of_each)]
    np.testing.assert_allclose(left * 15, np.unique(bin_of_each), atol=1e-6)
    np.testing.assert_allclose(top, expected, atol=1e-6)


def test_no_predictions_draw_no_bars():
    ax = reliability_diagram(np.zeros(0, "int32"), np.zeros((0, 4), "float32"))
    assert ax.get_title() == "ECE 0.00 %"
    assert len(bars(ax, "accuracy")) == 0
    picture(ax)


def test_bins_of_an_empty_metric_draw_no_bars_and_have_no_legend():
    ax = reliability_diagram(bins=metrics.ECE().bins())
    assert ax.get_title() == "ECE 0.00 %"
    assert len(bars(ax, "accuracy")) == 0
    assert ax.get_legend() is None
    assert strip(ax).get_ylim() == (0.0, 100.0)


def test_gap_is_seen_in_front_of_the_bar_without_colour(data):
    ax = reliability_diagram(*data)
    bar, gap = (next(c for c in ax.containers if c.get_label() == name)[0] for name in SERIES)
    weights = 0.299, 0.587, 0.114
    of_bar, of_hatch = (
        np.dot(weights, color[:3]) for color in (bar.get_facecolor(), gap.get_edgecolor())
    )
    assert of_bar - of_hatch > 0.2


def test_tick_labels_of_the_strip_are_below_those_of_the_diagram(data):
    ax = reliability_diagram(*data)
    ax.figure.canvas.draw()
    lowest = min(label.get_window_extent().y0 for label in ax.get_yticklabels())
    highest = max(
        label.get_window_extent().y1
        for tick, label in zip(strip(ax).get_yticks(), strip(ax).get_yticklabels(), strict=True)
        if tick <= strip(ax).get_ylim()[1]
    )
    assert highest < lowest


def test_small_weights_keep_their_shares():
    rows, weights = [[0.9, 0.1], [0.6, 0.4]], np.array([0.003, 0.001], "float32")
    ax = reliability_diagram([0, 0], rows, sample_weight=weights)
    heights = sorted(patch.get_height() for patch in strip(ax).patches)
    np.testing.assert_allclose(heights, [25.0, 75.0], rtol=1e-5)


def test_number_of_bins_below_one_raises(data):
    with pytest.raises(ValueError, match="`num_bins` must be a whole number >= 1"):
        reliability_diagram(*data, num_bins=0)


def test_interval_bars_are_those_of_the_noise_floor(data):
    bins = functional.bin_statistics(*data)
    floor = functional.noise_floor(bins, level=0.9)
    ax = reliability_diagram(bins=bins, interval=0.9)
    container = next(c for c in ax.containers if c.get_label() == "90 % of perfect models")
    (lines,) = container.lines[2]
    drawn = np.array([segment[:, 1] for segment in lines.get_segments()])
    filled = ~np.isnan(floor.low)
    np.testing.assert_allclose(drawn, np.stack([floor.low, floor.high], 1)[filled], atol=1e-12)
    assert ax.get_title().endswith(f", by chance up to {100 * floor.upper:.2f} %")


def test_interval_outside_zero_to_one_raises(data):
    with pytest.raises(ValueError, match=r"`level` must be in \(0, 1\)"):
        reliability_diagram(*data, interval=95)
