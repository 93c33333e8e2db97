"""What gamma does, drawn: the gradient ratio and the probability that is learnt."""

import re

import numpy as np
import pytest
import reference
from matplotlib import pyplot as plt
from pictures import grey_looks, is_inside_the_figure, legend_texts

from keras_focal.plotting import gradient_ratio_plot, optimal_probability_plot


def curves(ax, gammas):
    """(x, y) of the line of each gamma, by its label."""
    lines = {re.split("[,:]", line.get_label())[0]: line.get_xydata().T for line in ax.lines}
    return [lines[f"γ = {gamma:g}"] for gamma in gammas]


def dots(ax):
    return np.array([np.asarray(dot.get_offsets())[0] for dot in ax.collections])


# --- the gradient ratio


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 3.0, 5.0, 7.5])
def test_line_is_the_ratio_of_the_gradients(gamma):
    ((p, ratio),) = curves(gradient_ratio_plot([gamma]), [gamma])
    expected = (1 - p) ** gamma - gamma * p * (1 - p) ** (gamma - 1) * np.log(p)
    assert 0 < p[0] < 0.01
    assert 0.99 < p[-1] < 1
    # Near p = 1 the ratio falls to 0 and 1 - p has the roundings of float32 (JAX).
    np.testing.assert_allclose(ratio, expected, rtol=2e-5, atol=1e-7)


def test_dots_stand_where_the_line_passes_one():
    gammas = [0.1, 1.0, 2.0, 3.0, 5.0, 10.0]
    drawn = dots(gradient_ratio_plot(gammas))
    np.testing.assert_array_equal(drawn[:, 1], 1.0)
    for p0, gamma in zip(drawn[:, 0], gammas, strict=True):
        assert 0 < p0 < 0.5
        assert reference.gradient_ratio(p0, gamma) == pytest.approx(1.0, abs=1e-12)


def test_dots_lie_where_the_paper_sees_them():
    # g(p, 1) = 1 - p - p log p is 1 at 1 / e: "p0 = 0.4", about. So "g(0.25, 3) = g(0.2, 5) = 1".
    drawn = dots(gradient_ratio_plot([1.0, 3.0, 5.0]))[:, 0]
    assert drawn[0] == pytest.approx(1 / np.e, abs=1e-12)
    np.testing.assert_allclose(drawn[1:], [0.25, 0.2], atol=0.004)


@pytest.mark.parametrize("gamma", [1e-12, 1e-3, 100.0, 1e4])
def test_dot_stays_on_the_axis_at_extreme_gammas(gamma):
    ((p0, _),) = dots(gradient_ratio_plot([gamma]))
    assert 0 < p0 <= 0.5


def test_gamma_zero_has_no_dot():
    ax = gradient_ratio_plot([0.0, 2.0])
    assert len(dots(ax)) == 1
    assert legend_texts(ax)[0] == "γ = 0"


def test_legend_gives_gamma_and_p0():
    drawn = gradient_ratio_plot()
    texts = [
        f"γ = {gamma}, p0 = {p0:.3f}"
        for gamma, (p0, _) in zip([1, 2, 3, 5], dots(drawn), strict=True)
    ]
    assert legend_texts(drawn) == texts


def test_a_level_line_stands_at_one():
    lines = [line.get_ydata() for line in gradient_ratio_plot([3.0]).lines]
    assert any(np.array_equal(y, [1, 1]) for y in lines)


@pytest.mark.parametrize("count", [4, 5, 7, 9])
def test_legend_hides_no_line(count):
    ax = gradient_ratio_plot([0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0][:count])
    ax.figure.canvas.draw()
    box = ax.get_legend().get_window_extent()
    for line in ax.lines[1:]:
        x, y = ax.transData.transform(line.get_xydata()).T
        assert not np.any((x > box.x0) & (x < box.x1) & (y > box.y0) & (y < box.y1))


# --- the optimal probability


def expected_loss(p, q, gamma):
    return -q * (1 - p) ** gamma * np.log(p) - (1 - q) * p**gamma * np.log1p(-p)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 3.0, 10.0])
def test_line_is_the_least_expected_loss(gamma):
    ((q, p),) = curves(optimal_probability_plot([gamma]), [gamma])
    others = np.linspace(0, 1, 2002)[1:-1]
    losses = expected_loss(others, q[:, None], gamma)
    assert np.all(expected_loss(p, q, gamma) <= losses.min(axis=1) * (1 + 1e-12))
    np.testing.assert_allclose(p, others[losses.argmin(axis=1)], atol=6e-4)


@pytest.mark.parametrize("gamma", [1.0, 3.0])
def test_derivative_of_the_loss_is_zero_on_the_line(gamma):
    ((q, p),) = curves(optimal_probability_plot([gamma]), [gamma])

    def slope(p):
        return gamma * (1 - p) ** (gamma - 1) * np.log(p) - (1 - p) ** gamma / p

    np.testing.assert_allclose(q * slope(p), (1 - q) * slope(1 - p), rtol=1e-9)


def test_line_of_gamma_zero_is_the_diagonal():
    ((q, p),) = curves(optimal_probability_plot(), [0.0])
    np.testing.assert_allclose(p, q, atol=1e-14)
    assert 0 < q[0] < 0.01
    assert 0.99 < q[-1] < 1


def curves_of(gammas):
    return [line.get_xydata().T for line in optimal_probability_plot(gammas).lines]


def test_lines_are_symmetric_about_one_half():
    for q, p in curves_of([0.5, 1.0, 5.0]):
        np.testing.assert_allclose(p + p[::-1], 1.0, atol=1e-13)
        np.testing.assert_allclose(q + q[::-1], 1.0, atol=1e-13)


def test_greater_gamma_is_nearer_to_one_half():
    drawn = np.array([p for _, p in curves_of([0.0, 0.5, 1.0, 3.0, 8.0])])
    lower = drawn[:, : drawn.shape[1] // 2]
    assert np.all(np.diff(lower, axis=0) > 0)
    assert np.all(lower < 0.5)


def test_lines_rise_and_stay_finite_at_a_great_gamma():
    ((_, p),) = curves_of([2000.0])
    assert np.all(np.diff(p) > 0)
    np.testing.assert_allclose(p, 0.5, atol=0.01)


# --- both


@pytest.mark.parametrize("draw", [gradient_ratio_plot, optimal_probability_plot])
class TestEveryPicture:
    def test_lines_differ_without_colour(self, draw):
        looks = grey_looks(draw([0.5, 1, 2, 3, 4, 5, 6, 7, 8]).lines)
        assert len(set(looks)) == len(looks)

    def test_given_axes_are_drawn_into_and_returned(self, draw):
        figure, (first, second) = plt.subplots(1, 2)
        plt.sca(first)
        assert draw(ax=second) is second
        assert plt.get_fignums() == [figure.number]
        assert plt.gca() is first
        assert second.lines
        assert not first.lines

    def test_axes_are_labelled(self, draw):
        ax = draw()
        assert ax.get_xlabel()
        assert ax.get_ylabel()
        assert ax.get_xlim() == (0.0, 1.0)
        assert is_inside_the_figure(ax)

    def test_gammas_may_be_an_array(self, draw):
        assert legend_texts(draw(np.array([1, 2]))) == legend_texts(draw([1.0, 2.0]))

    @pytest.mark.parametrize("gammas", [[], 2.0, "FLSD-53", None, np.array(2.0), np.array([])])
    def test_what_is_no_list_of_numbers_raises(self, draw, gammas):
        with pytest.raises(ValueError, match=r"`gammas` must be a list of one or more.*\[2\.0\]"):
            draw(gammas)

    @pytest.mark.parametrize("gamma", [-1.0, np.nan, np.inf, "2", True, None])
    def test_gamma_that_is_none_raises(self, draw, gamma):
        with pytest.raises(ValueError, match=r"`gammas` must be a finite number >= 0\. Received"):
            draw([1.0, gamma])
