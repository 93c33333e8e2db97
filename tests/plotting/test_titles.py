"""Titles stay over their axes, whatever the name."""

import pytest
from matplotlib import pyplot as plt
from pictures import is_inside_the_figure

from keras_focal.plotting import confidence_histogram, reliability_diagram

LONG = "a residual network of fifty layers, focal loss, temperature-scaled"
DRAW = {
    "diagram": reliability_diagram,
    "diagram with an interval": lambda *data, **how: reliability_diagram(
        *data, interval=0.95, **how
    ),
    "histogram": confidence_histogram,
}
every_picture = pytest.mark.parametrize("draw", DRAW.values(), ids=DRAW)


@every_picture
@pytest.mark.parametrize("name", ["ResNet-50, FLSD-53", LONG])
def test_long_title_stays_inside_the_figure(draw, name, data):
    ax = draw(*data, title=name)
    assert is_inside_the_figure(ax)
    assert ax.get_title().replace("\n", " ").startswith(name)


@every_picture
def test_long_titles_side_by_side_stay_apart(draw, data):
    figure, axes = plt.subplots(1, 2, figsize=(8.0, 5.0), layout="constrained")
    for ax in axes:
        draw(*data, ax=ax, title=LONG)
    figure.canvas.draw()
    left, right = (ax.title.get_window_extent() for ax in axes)
    assert not left.overlaps(right)


def test_values_stand_whole_on_their_lines(data):
    _, ax = plt.subplots(figsize=(2.6, 3.0), layout="constrained")
    lines = reliability_diagram(*data, ax=ax, interval=0.95, title="CE").get_title().splitlines()
    assert lines[0] == "CE"
    assert [line.split()[0] for line in lines[1:]] == ["ECE", "by"]
