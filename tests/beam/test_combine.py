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


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"num_bins": 0}, "num_bins"), ({"bounds": (2.0, 3.0)}, "bounds"), ({"bounds": 3}, "bounds")],
)
def test_bad_argument_is_refused_at_once(settings, name):
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        CombineCalibration(**settings)
