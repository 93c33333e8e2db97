"""The bins that pictures share: the arguments, and what is read of them."""

import numpy as np
import pytest

from keras_focal import functional
from keras_focal.functional import BinStatistics
from keras_focal.plotting import confidence_histogram, reliability_diagram
from keras_focal.plotting._bins import filled_bins

PICTURES = [reliability_diagram, confidence_histogram]


@pytest.mark.parametrize("draw", PICTURES)
@pytest.mark.parametrize("given", [{}, {"y_true": [0]}, {"y_pred": [[0.9, 0.1]]}])
def test_neither_arrays_nor_bins_raise(draw, given):
    received = ", ".join(given) or "none of them"
    with pytest.raises(ValueError, match=f"`bins` must be given, or else both .*: {received}. "):
        draw(**given)


@pytest.mark.parametrize("draw", PICTURES)
@pytest.mark.parametrize("labels", [[0], None])
def test_arrays_and_bins_together_raise(draw, labels):
    bins = functional.bin_statistics([0], [[0.9, 0.1]])
    with pytest.raises(ValueError, match="`bins` must be given, or else both"):
        draw(labels, [[0.9, 0.1]], bins=bins)


@pytest.mark.parametrize("draw", PICTURES)
def test_a_number_of_bins_given_as_bins_raises(draw):
    with pytest.raises(ValueError, match=r"`bins` must be a BinStatistics.*bins=15.*`num_bins`"):
        draw(bins=15)


@pytest.mark.parametrize("draw", PICTURES)
def test_labels_that_do_not_fit_the_predictions_raise(draw):
    with pytest.raises(ValueError, match="`y_true` must have shape"):
        draw([0, 1, 0], [[0.9, 0.1], [0.8, 0.2]])


@pytest.mark.parametrize("draw", PICTURES)
def test_number_of_bins_below_one_raises(draw, data):
    with pytest.raises(ValueError, match="`num_bins` must be a whole number >= 1"):
        draw(*data, num_bins=0)


def test_bins_are_read_back():
    # Bin 2 of 4: 8 predictions, 2 wrong, confidence .75; bin 4: 2, both right, confidence .95.
    bins = BinStatistics(*np.array([[0, 8, 0, 2], [0, 2, 0, 0], [0, 0, 0, -0.1]], "float64"))
    filled = filled_bins(bins)
    np.testing.assert_allclose(filled.centers, [0.375, 0.875])
    np.testing.assert_allclose(filled.share, [80, 20])
    np.testing.assert_allclose(filled.accuracy, [0.75, 1.0])
    np.testing.assert_allclose(filled.confidence, [0.75, 0.95])
    assert filled.width == 0.25
    assert filled.mean_accuracy == pytest.approx(0.8)
    assert filled.mean_confidence == pytest.approx(0.79)


def test_means_of_empty_bins_are_nan():
    filled = filled_bins(BinStatistics(*np.zeros((3, 4))))
    assert np.isnan([filled.mean_accuracy, filled.mean_confidence]).all()
    assert filled.share.size == 0
