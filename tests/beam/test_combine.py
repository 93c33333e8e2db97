"""CombineCalibration: a CombineFn of `CalibrationState`, in the terms of Beam."""

import dataclasses
import pickle

import numpy as np
import predictions
import pytest

pytest.importorskip("apache_beam", reason="needs the extra `beam`")

from keras_focal.beam import CombineCalibration
from keras_focal.calibration.report import CalibrationState, Settings

LABELS, LOGITS, _ = predictions.example("saturated")
RECORDS = [(LOGITS[i : i + 64], LABELS[i : i + 64]) for i in range(0, len(LABELS), 64)]


def accumulated(combine, records):
    accumulator = combine.create_accumulator()
    for record in records:
        accumulator = combine.add_input(accumulator, record)
    return accumulator


def assert_same(found, expected):
    for field in dataclasses.fields(found):
        value, other = (getattr(report, field.name) for report in (found, expected))
        if field.name.endswith("_fit"):
            value, other = value.temperature, other.temperature
        np.testing.assert_allclose(value, other, rtol=1e-6, atol=1e-7, err_msg=field.name)


@pytest.mark.parametrize("compact", [False, True])
def test_combiner_gives_what_the_state_gives(compact):
    combine = pickle.loads(pickle.dumps(CombineCalibration(9, True, (0.1, 8.0), ignore_class=2)))
    parts = [accumulated(combine, RECORDS[start::3]) for start in range(3)]
    if compact:
        parts = [combine.compact(part) for part in parts]
    found = combine.extract_output(combine.merge_accumulators(parts))
    state = CalibrationState(Settings(9, True, (0.1, 8.0), ignore_class=2))
    for record in RECORDS:
        state.add(record)
    assert_same(found, state.report())


def test_refused_record_leaves_the_accumulator_as_it_was():
    combine = CombineCalibration(from_logits=True)
    accumulator = accumulated(combine, RECORDS[:1])
    with pytest.raises(ValueError, match="`labels`"):
        combine.add_input(accumulator, (LOGITS[:2], [0, 4]))
    expected = accumulated(combine, RECORDS[:1])
    assert_same(combine.extract_output(accumulator), combine.extract_output(expected))


def test_independent_labels_are_predictions_of_two_classes_each(rng):
    logits = rng.normal(0, 3, (60, 5)).astype("float32")
    labels = (rng.random((60, 5)) < 1 / (1 + np.exp(-logits / 2))).astype(int)
    labels[::7, 2] = -1
    records = [(logits[:40], labels[:40]), *zip(logits[40:], labels[40:], strict=True)]
    combine = CombineCalibration(from_logits=True, multi_label=True, ignore_class=-1)
    found = combine.extract_output(accumulated(combine, records))
    is_known = labels.reshape(-1) >= 0
    flat = (logits.reshape(-1, 1)[is_known], labels.reshape(-1)[is_known])
    alone = CombineCalibration(from_logits=True)
    assert_same(found, alone.extract_output(accumulated(alone, [flat])))
    assert found.count == is_known.sum()


@pytest.mark.parametrize("settings", [{}, {"multi_label": True}])
def test_independent_labels_and_single_ones_are_not_mistaken(settings):
    combine = CombineCalibration(from_logits=True, **settings)
    labels = [0, 1] if settings else [[1, 1, 0], [0, 1, 0]]
    for record in ((LOGITS[:2, :3], labels), (LOGITS[0, :3], labels[0])):
        with pytest.raises(ValueError, match="`labels` must"):
            combine.add_input(combine.create_accumulator(), record)


def test_ignored_class_is_left_out():
    labels = np.where(np.arange(len(LABELS)) % 3, LABELS, 255)
    combine = CombineCalibration(from_logits=True, ignore_class=255)
    found = combine.extract_output(accumulated(combine, [(LOGITS, labels)]))
    alone = CombineCalibration(from_logits=True)
    kept = labels != 255
    assert_same(found, alone.extract_output(accumulated(alone, [(LOGITS[kept], labels[kept])])))


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"num_bins": 0}, "num_bins"),
        ({"bounds": (2.0, 3.0)}, "bounds"),
        ({"bounds": 3}, "bounds"),
        ({"ignore_class": "void"}, "ignore_class"),
        ({"multi_label": "per_label"}, "multi_label"),
    ],
)
def test_bad_argument_is_refused_at_once(settings, name):
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        CombineCalibration(**settings)
