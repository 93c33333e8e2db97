"""D-ECE and LaECE of detected boxes, in images with padding, against the oracle."""

import numpy as np
import pytest
import reference
from backends import BACKEND, to_numpy
from keras import ops
from metric_inputs import in_graph

from keras_focal import functional, metrics

IMAGES, BOXES, CLASSES = 20, 12, 3


class Found:
    """Detections of images, some of them padding with score -1."""

    def __init__(self, rng):
        shape = (IMAGES, BOXES)
        self.padding = rng.random(shape) < 0.2
        # None lies on the edge of a bin, from which rounding could move it.
        scores = (rng.integers(0, 61, shape) + 0.5) / 61
        self.scores = np.where(self.padding, -1.0, scores).astype("float32")
        self.matches = (rng.random(shape) < self.scores**2).astype("int32")
        self.overlaps = np.where(self.matches, rng.uniform(0.5, 1, shape), 0).astype("float32")
        self.class_ids = np.where(self.padding, -1, rng.integers(0, CLASSES, shape))
        self.centers = rng.uniform(0, 1, (*shape, 2)).astype("float32")
        self.weights = np.where(self.padding, 0, rng.uniform(0.5, 2, shape)).astype("float32")

    def real(self, *parts):
        return [part[~self.padding] for part in parts]


@pytest.fixture
def found(rng):
    return Found(rng)


def d_ece(found, images=slice(None), **how):
    metric = metrics.DetectionCalibrationError(**how)
    boxes = {"boxes": found.centers[images]} if metric.box_bins else {}
    metric.update_state(found.matches[images], found.scores[images], found.weights[images], **boxes)
    return metric


def la_ece(found, images=slice(None), **how):
    metric = metrics.LaECE(CLASSES, **how)
    metric.update_state(
        found.overlaps[images],
        found.scores[images],
        found.weights[images],
        class_ids=found.class_ids[images],
    )
    return metric


@pytest.mark.parametrize("num_bins", [1, 15])
def test_d_ece_is_the_oracle_s(num_bins, found):
    matches, scores, weights = found.real(found.matches, found.scores, found.weights)
    expected = reference.detection_ece(matches, scores, num_bins, weights=weights)
    assert float(d_ece(found, num_bins=num_bins).result()) == pytest.approx(expected, abs=1e-6)
    error = functional.detection_calibration_error(
        found.matches, found.scores, num_bins=num_bins, sample_weight=found.weights
    )
    assert float(error) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("box_bins", [(3,), (2, 4)])
def test_d_ece_of_score_and_box_is_the_oracle_s(box_bins, found):
    found.centers = found.centers[..., : len(box_bins)]
    matches, scores, centers, weights = found.real(
        found.matches, found.scores, found.centers, found.weights
    )
    expected = reference.detection_ece(matches, scores, 5, centers.T, box_bins, weights)
    metric = d_ece(found, num_bins=5, box_bins=box_bins)
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)
    error = functional.detection_calibration_error(
        found.matches,
        found.scores,
        found.centers,
        num_bins=5,
        box_bins=box_bins,
        sample_weight=found.weights,
    )
    assert float(error) == pytest.approx(expected, abs=1e-6)


def test_score_on_an_edge_lies_in_the_bin_below():
    error = functional.detection_calibration_error([1, 0, 1], [0.5, 0.25, 0.75], num_bins=2)
    assert float(error) == pytest.approx((2 * 0.125 + 0.25) / 3)


def test_errors_of_two_halves_of_the_image_do_not_cancel():
    matches, scores = [1, 1, 0, 0], [0.5] * 4
    left_and_right = [[0.1], [0.2], [0.8], [0.9]]
    assert float(functional.detection_calibration_error(matches, scores)) == 0.0
    error = functional.detection_calibration_error(matches, scores, left_and_right, box_bins=[2])
    assert float(error) == 0.5


@pytest.mark.parametrize("num_bins", [1, 25])
def test_la_ece_is_the_oracle_s(num_bins, found):
    overlaps, scores, class_ids, weights = found.real(
        found.overlaps, found.scores, found.class_ids, found.weights
    )
    expected = reference.la_ece(overlaps, scores, class_ids, num_bins, weights)
    metric = la_ece(found, num_bins=num_bins)
    np.testing.assert_allclose(to_numpy(metric.by_class()), list(expected.values()), atol=1e-6)
    mean = np.mean(list(expected.values()))
    assert float(metric.result()) == pytest.approx(mean, abs=1e-6)
    error = functional.localization_aware_calibration_error(
        found.overlaps,
        found.scores,
        found.class_ids,
        num_classes=CLASSES,
        num_bins=num_bins,
        sample_weight=found.weights,
    )
    assert float(error) == pytest.approx(mean, abs=1e-6)


def test_class_without_detections_is_left_out_of_the_mean():
    metric = metrics.LaECE(3)
    metric.update_state([0.5, 0.0], [0.5, 0.25], class_ids=[0, 2])
    np.testing.assert_allclose(to_numpy(metric.by_class()), [0.0, np.nan, 0.25])
    assert float(metric.result()) == 0.125


def test_binary_ece_of_matches_is_d_ece(found):
    matches, scores, weights = found.real(found.matches, found.scores, found.weights)
    binary = metrics.BinaryECE()
    binary.update_state(matches, scores, weights)
    assert float(binary.result()) == pytest.approx(float(d_ece(found).result()), abs=1e-7)


@pytest.mark.parametrize("error_of", [d_ece, la_ece])
def test_merged_parts_equal_the_whole(error_of, found):
    first, second = error_of(found, slice(0, 7)), error_of(found, slice(7, None))
    first.merge_state([second])
    assert float(first.result()) == pytest.approx(float(error_of(found).result()), abs=1e-7)


def test_metrics_of_other_bins_are_not_merged(found):
    with pytest.raises(ValueError, match="'box_bins'"):
        d_ece(found).merge_state([d_ece(found, box_bins=[2, 2])])
    with pytest.raises(ValueError, match="'num_classes': 1"):
        la_ece(found).merge_state([metrics.LaECE()])


@pytest.mark.parametrize("error_of", [d_ece, la_ece])
def test_logits_give_the_error_of_their_scores(error_of, found):
    expected = error_of(found)
    scores = np.where(found.padding, 0.5, found.scores)
    found.scores = np.log(scores / (1 - scores))
    metric = error_of(found, from_logits=True)
    assert float(metric.result()) == pytest.approx(float(expected.result()), abs=1e-6)


@pytest.mark.parametrize(
    ("error", "target"),
    [
        (functional.detection_calibration_error, 1.0),
        (functional.localization_aware_calibration_error, 0.9),
    ],
)
def test_few_boxes_have_a_small_error_whatever_was_missed(error, target):
    """The caution of the guide: both detectors find objects, one of them 1 and the other 90."""
    all_found = float(error(np.full(90, target), np.full(90, 0.6)))
    one_found = float(error([target], [target]))
    assert all_found == pytest.approx(target - 0.6, abs=1e-6)
    assert one_found == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("error_of", [d_ece, la_ece])
def test_raising_the_threshold_can_lower_the_error(error_of, found):
    """Of one detector: the sure boxes that are kept have scores that fit, the others have not."""
    found.scores = np.where(found.matches, np.maximum(found.overlaps, 0.5), 0.4).astype("float32")
    found.matches = (found.overlaps > 0).astype("int32")
    whole = float(error_of(found).result())
    found.weights = found.weights * (found.scores >= 0.5)
    kept = float(error_of(found).result())
    assert kept < whole


@pytest.mark.parametrize(
    ("build", "data", "message"),
    [
        (metrics.DetectionCalibrationError, ([0.7], [0.5]), r"`y_true` must hold 1 \(matched\)"),
        (metrics.LaECE, ([1.5], [0.5]), r"`y_true` must hold numbers in \[0, 1\]. Received: 1.5"),
        (metrics.LaECE, ([0.5], [-1.0]), r"`y_pred` must hold probabilities, in \[0, 1\]"),
        (metrics.LaECE, ([0.5], [0.5], [-1.0]), "`sample_weight` must hold finite numbers"),
        (metrics.LaECE, ([0.5, 0.5], [0.5]), r"`y_true` must have shape \(1,\)"),
    ],
)
def test_invalid_detection_is_named(build, data, message):
    with pytest.raises(ValueError, match=message):
        build().update_state(*data)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "`boxes` must be given if and only if there are `box_bins`"),
        ({"boxes": [[0.5]]}, r"`boxes` must have shape \(1, 2\)"),
        ({"boxes": [[0.5, 64.0]]}, "Received: 64.*Divide pixels by the width and height"),
    ],
)
def test_invalid_boxes_are_named(given, message):
    metric = metrics.DetectionCalibrationError(box_bins=(2, 2))
    with pytest.raises(ValueError, match=message):
        metric.update_state([1], [0.5], **given)


@pytest.mark.parametrize(
    ("class_ids", "message"),
    [
        (None, "`class_ids` must give the class of each detection"),
        ([3], r"`class_ids` must hold whole numbers in \[0, 3\). Received: 3 at \[0\]"),
        ([0.5], "whole numbers"),
        ([0, 1], r"`class_ids` must have shape \(1,\)"),
    ],
)
def test_invalid_classes_are_named(class_ids, message):
    with pytest.raises(ValueError, match=message):
        metrics.LaECE(3).update_state([0.5], [0.5], class_ids=class_ids)


@pytest.mark.parametrize("box_bins", [3, (0,), (1.5,)])
def test_invalid_bins_of_boxes_are_named(box_bins):
    with pytest.raises(ValueError, match="`box_bins` must"):
        metrics.DetectionCalibrationError(box_bins=box_bins)


def test_invalid_detections_can_be_left_out_and_counted():
    metric = metrics.LaECE(2, skip_invalid=True)
    overlaps, scores, class_ids = [0.5, 0.5, 2.0, 0.5], [0.25, np.nan, 0.5, 0.5], [0, 0, 0, 2]
    metric.update_state(overlaps, scores, class_ids=class_ids)
    assert metric.invalid_count == 3
    assert float(metric.result()) == 0.25
    metric = metrics.DetectionCalibrationError(box_bins=(2,), skip_invalid=True)
    metric.update_state([1, 0], [0.25, 0.5], boxes=[[0.5], [2.0]])
    assert metric.invalid_count == 1
    assert float(metric.result()) == 0.75


@pytest.mark.skipif(BACKEND == "torch", reason="torch runs eagerly")
@pytest.mark.parametrize("case", ["fine", "score", "target", "class"])
def test_compiled_updates_equal_eager_ones_and_are_nan_where_invalid(case, found):
    metric = metrics.LaECE(CLASSES)
    if case == "score":
        found.scores[~found.padding] = 1.5
    elif case == "target":
        found.overlaps[~found.padding] = -0.5
    elif case == "class":
        found.class_ids[~found.padding] = CLASSES

    def step(state, overlaps, scores, weights, class_ids):
        return metric.stateless_update_state(state, overlaps, scores, weights, class_ids=class_ids)

    state = [variable.value for variable in metric.variables]
    parts = (found.overlaps, found.scores, found.weights, found.class_ids.astype("int32"))
    state = in_graph(step)(state, *(ops.convert_to_tensor(part) for part in parts))
    result = float(metric.stateless_result(state))
    assert np.isnan(result) == (case != "fine")
    if case == "fine":
        assert result == pytest.approx(float(la_ece(found).result()), abs=1e-6)


@pytest.mark.skipif(BACKEND == "jax", reason="JAX arrays carry no mask outside a model")
def test_mask_leaves_padding_out(found):
    scores = ops.convert_to_tensor(found.scores)
    scores._keras_mask = ops.convert_to_tensor(~found.padding)
    metric = metrics.DetectionCalibrationError()
    metric.update_state(found.matches, scores)
    matches, kept = found.real(found.matches, found.scores)
    assert float(metric.result()) == pytest.approx(reference.detection_ece(matches, kept), abs=1e-6)


def test_weight_of_an_image_is_that_of_its_boxes(found):
    of_images = np.arange(IMAGES, dtype="float32")
    found.scores = np.where(found.padding, 0.0, found.scores)
    metric = metrics.DetectionCalibrationError()
    metric.update_state(found.matches, found.scores, of_images)
    weights = np.repeat(of_images, BOXES)
    expected = reference.detection_ece(found.matches.ravel(), found.scores.ravel(), weights=weights)
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("part", ["matches", "scores", "centers", "weights"])
def test_parts_may_have_different_dtypes(part, found):
    expected = float(d_ece(found, box_bins=(2, 2)).result())
    setattr(found, part, getattr(found, part).astype("float64"))
    assert float(d_ece(found, box_bins=(2, 2)).result()) == pytest.approx(expected, abs=1e-6)


def test_no_detections_read_zero():
    metric = metrics.LaECE(2)
    metric.update_state(np.zeros((0,)), np.zeros((0,)), class_ids=np.zeros((0,), "int32"))
    assert float(metric.result()) == 0.0
    assert float(functional.detection_calibration_error(np.zeros(0), np.zeros(0))) == 0.0
