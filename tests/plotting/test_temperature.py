"""The error against the temperature: the lines, their least, and what tells them apart."""

import keras
import numpy as np
import pytest
from matplotlib import pyplot as plt
from pictures import grey_looks, is_inside_the_figure, legend_texts

from keras_focal.plotting import temperature_plot

T = np.array([0.5, 1.0, 1.5, 2.0, 4.0])
ERRORS = np.array([0.09, 0.04, 0.0155, 0.02, 0.11])


def dot(line):
    """Where the line has its dot."""
    return line.get_xydata()[line.get_markevery()]


def crosses(ax):
    return np.array([np.asarray(mark.get_offsets())[0] for mark in ax.collections])


def test_line_is_the_errors_in_percent():
    (line,) = temperature_plot(T, ERRORS).lines
    np.testing.assert_allclose(line.get_xydata().T, [T, 100 * ERRORS])


def test_dot_marks_the_least_error():
    (line,) = temperature_plot(T, ERRORS).lines
    np.testing.assert_allclose(dot(line), [[1.5, 1.55]])
    assert line.get_marker() == "o"


def test_first_of_equal_errors_is_marked():
    (line,) = temperature_plot([3.0, 1.0, 2.0], [0.01, 0.02, 0.01]).lines
    np.testing.assert_allclose(dot(line), [[2.0, 1.0]])


def test_order_of_the_temperatures_does_not_matter(rng):
    order = rng.permutation(5)
    ax = temperature_plot(T[order], ERRORS[order])
    np.testing.assert_allclose(ax.lines[0].get_xydata().T, [T, 100 * ERRORS])
    assert legend_texts(ax) == legend_texts(temperature_plot(T, ERRORS))


def test_arrays_stay_as_they_are():
    temperatures, errors = T[::-1].copy(), ERRORS.copy()
    temperature_plot(temperatures, errors)
    np.testing.assert_array_equal(temperatures, T[::-1])
    np.testing.assert_array_equal(errors, ERRORS)


@pytest.mark.parametrize(
    ("label", "expected"),
    [(None, "least 1.55 % at T = 1.5"), ("CE", "CE: least 1.55 % at T = 1.5")],
)
def test_legend_gives_the_least_error_and_its_temperature(label, expected):
    assert legend_texts(temperature_plot(T, ERRORS, label=label)) == [expected]


def test_cross_marks_the_given_temperature_on_the_line():
    ax = temperature_plot(T, ERRORS, best=3.0, label="CE")
    np.testing.assert_allclose(crosses(ax), [[3.0, 6.5]])
    assert legend_texts(ax)[1] == "CE: 6.50 % at T = 3"
    np.testing.assert_allclose(dot(ax.lines[0]), [[1.5, 1.55]])


@pytest.mark.parametrize("best", [0.5, 4.0])
def test_ends_of_the_range_may_be_marked(best):
    at_best = 100 * ERRORS[best == T][0]
    np.testing.assert_allclose(crosses(temperature_plot(T, ERRORS, best=best)), [[best, at_best]])


def test_calls_on_one_axes_add_lines_and_names():
    ax = temperature_plot(T, ERRORS, label="CE")
    assert temperature_plot(T, ERRORS / 2, label="FL-3", ax=ax) is ax
    temperature_plot([0.5, 8.0], [0.3, 0.9], label="Brier", ax=ax)
    assert [text.split(":")[0] for text in legend_texts(ax)] == ["CE", "FL-3", "Brier"]
    assert len(set(grey_looks(ax.lines))) == 3
    assert len({dashes for _, dashes in grey_looks(ax.lines)}) == 3


def test_later_lines_are_not_cut_off():
    ax = temperature_plot(T, ERRORS)
    temperature_plot([0.5, 8.0], [0.3, 0.9], ax=ax)
    ax.figure.canvas.draw()
    assert ax.get_ylim()[0] == 0.0
    assert ax.get_ylim()[1] > 90
    assert ax.get_xlim()[1] > 8


def test_tensors_are_drawn():
    tensors = keras.ops.convert_to_tensor(T), [keras.ops.convert_to_tensor(e) for e in ERRORS]
    (line,) = temperature_plot(*tensors).lines
    np.testing.assert_allclose(line.get_xydata().T, [T, 100 * ERRORS], rtol=1e-6)


def test_one_temperature_is_enough():
    assert legend_texts(temperature_plot([2.0], [0.0])) == ["least 0.00 % at T = 2"]


def test_axes_are_labelled():
    ax = temperature_plot(T, ERRORS)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("temperature, T", "ECE, %")
    assert temperature_plot(T, ERRORS, ylabel="AdaECE, %").get_ylabel() == "AdaECE, %"
    assert is_inside_the_figure(ax)


def test_given_axes_alone_are_drawn_into():
    figure, (first, second) = plt.subplots(1, 2)
    plt.sca(first)
    assert temperature_plot(T, ERRORS, ax=second) is second
    assert plt.get_fignums() == [figure.number]
    assert plt.gca() is first
    assert not first.lines


@pytest.mark.parametrize(
    ("temperatures", "errors", "message"),
    [
        ([], [], r"`temperatures` must be a list of one or more numbers.*Received: temp.*\[\]"),
        ([[1.0]], [0.1], "`temperatures` must be a list"),
        (np.ones((2, 1)), [0.1, 0.1], "`temperatures` must be a list"),
        (2.0, 0.1, "`temperatures` must be a list"),
        (None, [0.1], "`temperatures` must be a list"),
        (["warm"], [0.1], "`temperatures` must be a list"),
        ([0.0, 1.0], [0.1, 0.1], "`temperatures` must be finite and > 0. Received: 0"),
        ([1.0, np.nan], [0.1, 0.1], "`temperatures` must be finite and > 0. Received: nan"),
        ([1.0, 2.0], [0.1], r"`errors` must have shape \(2,\).*shape \(1,\).*same `ax`"),
        ([1.0], [4.35], "`errors` must be fractions.*Received: 4.35. Divide per cent by 100"),
        ([1.0], [-0.1], "`errors` must be fractions"),
        ([1.0], [np.nan], "`errors` must be fractions.*Received: nan"),
        ([1.0], [None], "`errors` must be a list"),
    ],
)
def test_arrays_that_are_no_line_raise(temperatures, errors, message):
    with pytest.raises(ValueError, match=message):
        temperature_plot(temperatures, errors)


@pytest.mark.parametrize("best", [0.1, 4.5, np.nan, "2", True])
def test_best_outside_the_temperatures_raises(best):
    with pytest.raises(ValueError, match=r"`best` must be a temperature in \[0.5, 4\].*wider"):
        temperature_plot(T, ERRORS, best=best)
