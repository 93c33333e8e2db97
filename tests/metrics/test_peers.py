"""The same quantities by other packages, and by how much they differ where they do.

Each test is skipped where its package is absent.
"""

import importlib.util
import sys
import types

import numpy as np
import pytest
import reference
from backends import to_numpy
from keras import ops

from keras_focal import functional, metrics

SIZE, CLASSES = 400, 5


@pytest.fixture
def data(rng):
    """Labels, and probabilities in float32 none of which is near an edge of 15 bins."""
    logits = rng.normal(0, 2, (SIZE, CLASSES))
    labels = rng.integers(0, CLASSES, SIZE)
    logits[np.arange(SIZE), labels] += 1.0
    p = reference.softmax64(logits).astype("float32")
    position = p * 15.0
    near = np.abs(position - np.round(position)) < 1e-4
    keep = ~near[:, :].any(axis=1) | (p.max(1) > 0.999)
    return labels[keep], p[keep]


@pytest.fixture
def binary(rng):
    p = rng.random(SIZE).astype("float32")
    keep = np.abs(p * 15 - np.round(p * 15)) > 1e-4
    return (rng.random(SIZE) < p**2).astype("int32")[keep], p[keep]


def value(metric, labels, predictions):
    metric.update_state(labels, predictions)
    return float(metric.result())


# torchmetrics


def torchmetrics_error(labels, p, norm, num_bins=15):
    torch = pytest.importorskip("torch")
    classification = pytest.importorskip("torchmetrics.functional.classification")
    labels, p = torch.from_numpy(np.asarray(labels)), torch.from_numpy(np.asarray(p))
    if p.ndim == 1:
        return float(classification.binary_calibration_error(p, labels, num_bins, norm))
    classes = p.shape[1]
    return float(
        classification.multiclass_calibration_error(p, labels.long(), classes, num_bins, norm)
    )


TORCHMETRICS = pytest.mark.parametrize(
    ("build", "norm"), [(metrics.ECE, "l1"), (metrics.RMSCE, "l2"), (metrics.MCE, "max")]
)


@TORCHMETRICS
def test_errors_are_those_of_torchmetrics(build, norm, data):
    assert value(build(), *data) == pytest.approx(torchmetrics_error(*data, norm), abs=1e-6)


def test_error_of_the_positive_class_is_the_binary_one_of_torchmetrics(binary):
    expected = torchmetrics_error(*binary, "l1")
    assert value(metrics.BinaryECE(), *binary) == pytest.approx(expected, abs=1e-6)


@TORCHMETRICS
def test_torchmetrics_gives_confidence_one_a_bin_of_its_own(build, norm):
    """Its bins are [a, b), and 1 begins one more; here the last bin is (a, 1]."""
    labels, p = [0, 1, 0, 0], np.array([[1, 0], [1, 0], [0.95, 0.05], [0.95, 0.05]], "float32")
    ones, rest = 0.5, 0.05
    apart = {"l1": (ones + rest) / 2, "l2": ((ones**2 + rest**2) / 2) ** 0.5, "max": ones}[norm]
    assert torchmetrics_error(labels, p, norm, 10) == pytest.approx(apart, abs=1e-6)
    # One bin: mean confidence 0.975, accuracy 0.75.
    assert value(build(num_bins=10), labels, p) == pytest.approx(0.225, abs=1e-6)


def test_torchmetrics_puts_a_confidence_on_an_edge_in_the_bin_above():
    labels, p = [0, 1], np.array([[0.5, 0.5], [0.55, 0.45]], "float32")
    # Above: one bin of 0.5 and 0.55. Below: two bins, each with a gap of its own.
    assert torchmetrics_error(labels, p, "l1", 2) == pytest.approx(0.025, abs=1e-6)
    assert value(metrics.ECE(2), labels, p) == pytest.approx((0.5 + 0.55) / 2, abs=1e-6)


# netcal


@pytest.mark.parametrize("build", [metrics.ECE, metrics.MCE], ids=["ECE", "MCE"])
def test_errors_are_those_of_netcal(build, data):
    netcal = pytest.importorskip("netcal.metrics")
    labels, p = data
    name = {metrics.ECE: "ECE", metrics.MCE: "MCE"}[build]
    expected = getattr(netcal, name)(15).measure(p.astype("float64"), labels)
    assert value(build(), labels, p) == pytest.approx(expected, abs=1e-6)


def test_error_of_the_positive_class_is_the_binary_one_of_netcal(binary):
    netcal = pytest.importorskip("netcal.metrics")
    labels, p = binary
    expected = netcal.ECE(15).measure(p.astype("float64"), labels)
    assert value(metrics.BinaryECE(), labels, p) == pytest.approx(expected, abs=1e-6)


def test_ace_of_netcal_is_the_mean_gap_of_the_bins_that_hold_something(data):
    """Its ACE weighs bins alike; it is neither AdaECE nor the class-wise ACE of Nixon et al."""
    netcal = pytest.importorskip("netcal.metrics")
    labels, p = data
    bins = functional.bin_statistics(labels, p)
    count, gap = to_numpy(bins.count), to_numpy(bins.gap)
    expected = (np.abs(gap) / np.maximum(count, 1))[count > 0].mean()
    assert netcal.ACE(15).measure(p.astype("float64"), labels) == pytest.approx(expected, abs=1e-6)


# relplot


@pytest.fixture
def relplot(monkeypatch):
    """Its metrics alone: importing the package changes the style of Matplotlib."""
    spec = importlib.util.find_spec("relplot")
    if spec is None:
        pytest.skip("relplot is not installed")
    package = types.ModuleType("relplot")
    package.__path__ = spec.submodule_search_locations
    monkeypatch.setitem(sys.modules, "relplot", package)
    return pytest.importorskip("relplot.metrics", exc_type=ImportError)


@pytest.mark.filterwarnings("ignore")
def test_smooth_error_is_that_of_relplot_to_its_own_accuracy(relplot, data):
    """It halves the width ten times and takes the upper end, so it is up to 2**-10 off."""
    labels, p = data
    confidence, correct = reference.top_label(labels, p)
    got = functional.smooth_calibration_error(labels, p)
    assert got == pytest.approx(relplot.smECE(confidence, correct), abs=2**-10)


# scikit-learn


@pytest.mark.parametrize("weighted", [False, True])
def test_scores_are_those_of_scikit_learn(weighted, data, rng):
    sklearn = pytest.importorskip("sklearn.metrics")
    labels, p = data
    weights = rng.uniform(0, 2, len(labels)).astype("float32") if weighted else None
    nll, brier = metrics.NegativeLogLikelihood(), metrics.BrierScore()
    for metric in (nll, brier):
        metric.update_state(labels, p, weights)
    # Rows in float64 again sum to 1 only after a division.
    rows = p.astype("float64") / p.sum(1, dtype="float64", keepdims=True)
    expected = sklearn.log_loss(labels, rows, sample_weight=weights)
    assert float(nll.result()) == pytest.approx(expected, rel=1e-5)
    squares = ((p.astype("float64") - np.eye(CLASSES)[labels]) ** 2).sum(1)
    expected = np.average(squares, weights=weights)
    assert float(brier.result()) == pytest.approx(expected, rel=1e-5)


def test_brier_score_of_two_classes_is_twice_that_of_scikit_learn(binary):
    """It squares the error of the positive class alone; here both classes count."""
    sklearn = pytest.importorskip("sklearn.metrics")
    labels, p = binary
    got = value(metrics.BrierScore(), labels, p)
    assert got == pytest.approx(2 * sklearn.brier_score_loss(labels, p), rel=1e-5)


def test_bins_of_the_positive_class_are_the_calibration_curve_of_scikit_learn(binary):
    calibration = pytest.importorskip("sklearn.calibration")
    labels, p = binary
    frequency, mean = calibration.calibration_curve(labels, p, n_bins=15)
    metric = metrics.BinaryECE()
    metric.update_state(labels, p)
    count, wrong, gap = map(to_numpy, metric.bins())
    filled = count > 0
    np.testing.assert_allclose(1 - (wrong / count)[filled], frequency, atol=1e-6)
    np.testing.assert_allclose(((count - wrong + gap) / count)[filled], mean, atol=1e-5)
    expected = (count[filled] * np.abs(frequency - mean)).sum() / len(p)
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)


def test_top_k_error_is_one_minus_keras_s_top_k_accuracy(data):
    """What the guide says: no class of this package is needed for it."""
    import keras

    sklearn = pytest.importorskip("sklearn.metrics")
    labels, p = data
    metric = keras.metrics.SparseTopKCategoricalAccuracy(k=3)
    metric.update_state(labels, ops.convert_to_tensor(p))
    expected = sklearn.top_k_accuracy_score(labels, p, k=3)
    assert 1 - float(metric.result()) == pytest.approx(1 - expected, abs=1e-6)
