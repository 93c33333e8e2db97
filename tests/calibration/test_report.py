"""CalibrationState: one report, however records are split, and the same as in memory."""

import dataclasses
import itertools
import pickle

import numpy as np
import predictions
import pytest
import reference
from keras import ops

from keras_focal import calibration, functional, metrics, plotting
from keras_focal.calibration.report import CalibrationState, Settings

WEIGHTS = np.random.default_rng(1).integers(0, 4, predictions.SIZE) * 0.5


def state_of(records=(), **settings):
    """Return the state of a list of records."""
    given = {"num_bins": 15, "from_logits": True, "bounds": (0.05, 20.0), **settings}
    state = CalibrationState(Settings(**given))
    for record in records:
        state.add(record)
    return state


def merged(states):
    whole = state_of()
    for state in states:
        whole.merge(state)
    return whole


def combined(*lists, **settings):
    """Return the report of lists of records, each with a state of its own."""
    whole = state_of(**settings)
    for records in lists:
        whole.merge(state_of(records, **settings))
    return whole.report()


def figures(report, leave_out=()):
    """Return every number of a report by its name."""
    found = {
        f"{name}.{part}" if part else name: number
        for name, value in dataclasses.asdict(report).items()
        for part, number in (value.items() if isinstance(value, dict) else [("", value)])
    }
    found |= {f"bins.{name}": part for name, part in zip("nwg", found.pop("bins"), strict=True)}
    return {name: x for name, x in found.items() if name.split(".")[-1] not in leave_out}


def assert_same(found, expected, leave_out=(), **tolerance):
    found, expected = figures(found, leave_out), figures(expected, leave_out)
    assert [*found] == [*expected]
    for name, value in found.items():
        if isinstance(value, str):
            assert value == expected[name]
        else:
            other, near = expected[name], {"rtol": 1e-6, "atol": 1e-7, **tolerance}
            np.testing.assert_allclose(value, other, **near, equal_nan=True, err_msg=name)


# --- the numbers


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("case", predictions.CASES)
def test_report_is_the_oracle_s(case, weights):
    labels, logits, _ = predictions.example(case)
    report = combined([(logits, labels) if weights is None else (logits, labels, weights)])
    ones = np.ones(len(labels)) if weights is None else weights
    p = reference.softmax64(logits)
    confidence, correct = reference.top_label(labels, p)
    targets = np.eye(4)[labels]
    assert report.count == ones.sum()
    assert report.accuracy == pytest.approx(np.average(correct, weights=ones))
    assert report.error == pytest.approx(1 - report.accuracy)
    assert report.nll == pytest.approx(reference.nll(labels, logits, 1.0, weights), rel=1e-9)
    brier = np.average(((p - targets) ** 2).sum(1), weights=ones)
    assert report.brier == pytest.approx(brier, rel=1e-6)
    assert report.ece == pytest.approx(reference.ece(confidence, correct, 15, ones), abs=1e-6)
    classwise = reference.classwise_ece(labels, p, 15, ones).mean()
    assert report.classwise_ece == pytest.approx(classwise, abs=1e-6)
    gaps = reference.equal_width_gaps(confidence, correct, 15, ones)
    assert report.mce == pytest.approx(max(abs(gap) for _, gap in gaps), abs=1e-6)
    np.testing.assert_allclose(
        report.class_ece, reference.classwise_ece(labels, p, 15, ones), atol=1e-6
    )
    sure = confidence > 0.99
    assert report.confident == pytest.approx(ones[sure].sum() / ones.sum())
    right = np.average(correct[sure], weights=ones[sure]) if sure.any() else 0.0
    assert report.confident_accuracy == pytest.approx(right)
    np.testing.assert_allclose(report.bins.count, [weight for weight, _ in gaps])
    np.testing.assert_allclose(report.bins.gap, [w * gap for w, gap in gaps], atol=1e-4)


@pytest.mark.parametrize(("name", "ece", "ada_ece"), predictions.PUBLISHED)
def test_published_predictions_give_what_they_give_in_memory(real_data, name, ece, ada_ece):
    labels, logits = predictions.published_test_set(real_data, name)
    records = [(logits[i : i + 1000], labels[i : i + 1000]) for i in range(0, len(labels), 1000)]
    report = combined(records[:3], records[3:])
    assert round(100 * report.ece, 2) == ece
    of = {"labels": labels, "predictions": logits, "from_logits": True}
    assert report.ece == pytest.approx(float(functional.expected_calibration_error(**of)), abs=1e-6)
    assert report.mce == pytest.approx(float(functional.maximum_calibration_error(**of)), abs=1e-6)
    for value, metric in (
        (report.ada_ece, metrics.AdaECE(from_logits=True)),
        (report.classwise_ece, metrics.ClasswiseECE(from_logits=True)),
    ):
        for part in np.split(np.arange(len(labels)), 10):
            metric.update_state(labels[part], logits[part])
        assert value == pytest.approx(float(metric.result()), abs=1e-6)
    assert 100 * report.ada_ece == pytest.approx(ada_ece, abs=0.02)
    for temperature, error in zip((0.1, 1.0, 2.5), report.grid_ece[[0, 9, 24]], strict=True):
        scaled = {**of, "predictions": logits / np.float32(temperature)}
        assert error == pytest.approx(
            float(functional.expected_calibration_error(**scaled)), abs=1e-6
        )
    for fit in (report.nll_fit, report.ece_fit):
        expected = calibration.fit_temperature(logits, labels, fit.criterion)
        assert fit.temperature == pytest.approx(expected.temperature, rel=1e-6)
        assert fit.nll_before == report.nll == pytest.approx(expected.nll_before, rel=1e-9)
        assert fit.nll_after == pytest.approx(expected.nll_after, rel=1e-9)
        assert fit.ece_before == pytest.approx(expected.ece_before, abs=1e-9)
        assert fit.num_samples == len(labels)
    assert report.ece_fit.ece_after == pytest.approx(expected.ece_after, abs=1e-9)
    assert np.isnan(report.nll_fit.ece_after)


def test_report_of_scaled_logits_is_that_of_the_calibrated_model():
    labels, logits, _ = predictions.example("random")
    fit = calibration.fit_temperature(logits, labels)
    report = combined([(logits / np.float32(fit.temperature), labels)])
    assert report.ece == pytest.approx(fit.ece_after, abs=1e-6)
    assert report.nll_fit.temperature == pytest.approx(1.0, rel=1e-6)


def test_probabilities_are_taken_as_they_are():
    labels, logits, probabilities = predictions.example("random")
    of_logits, found = (
        combined([(given, labels)], from_logits=from_logits)
        for given, from_logits in ((logits, True), (probabilities, False))
    )
    assert_same(found, of_logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("from_logits", [True, False])
def test_one_column_is_the_positive_class_of_two(rng, from_logits):
    logits = rng.normal(0.2, 2, (200, 1)).astype("float32")
    labels = (rng.random(200) < 0.5).astype(int)
    one = logits if from_logits else 1 / (1 + np.exp(-logits))
    two = np.concatenate([0 * one if from_logits else 1 - one, one], axis=1)
    found, expected = (combined([(given, labels)], from_logits=from_logits) for given in (one, two))
    assert_same(found, expected, rtol=1e-5, atol=1e-6)


def test_number_of_bins_is_that_of_every_error():
    labels, logits, _ = predictions.example("random")
    num_bins = 7
    report = combined([(logits, labels)], num_bins=num_bins)
    assert len(report.bins.count) == num_bins
    confidence, correct = reference.top_label(labels, reference.softmax64(logits))
    assert report.ece == pytest.approx(reference.ece(confidence, correct, num_bins), abs=1e-6)
    metric = metrics.AdaECE(num_bins, from_logits=True)
    metric.update_state(labels, logits)
    assert report.ada_ece == pytest.approx(float(metric.result()), abs=1e-6)


def test_bins_are_drawn_as_those_of_the_predictions():
    labels, logits, _ = predictions.example("random")
    bins = combined([(logits, labels)]).bins
    drawn = plotting.reliability_diagram(bins=bins, interval=0.95)
    expected = plotting.reliability_diagram(labels, logits, from_logits=True, interval=0.95)
    assert drawn.get_title() == expected.get_title()


def test_bounds_end_the_search(rng):
    logits = rng.normal(0, 2, (50, 3))
    for labels, bound in ((logits.argmax(1), 0.5), (logits.argmin(1), 4.0)):
        fit = combined([(logits, labels)], bounds=(0.5, 4.0)).nll_fit
        assert (fit.temperature, fit.at_bound) == (bound, True)


# --- splits and orders


def all_forms(labels, logits, weights):
    """Return lists of lists of records that hold the same predictions."""
    size = len(labels)

    def batches(start, stop, step):
        parts = (slice(i, min(i + step, stop)) for i in range(start, stop, step))
        return [(logits[part], labels[part], weights[part]) for part in parts]

    rows = list(zip(logits, labels, weights, strict=True))
    return {
        "one accumulator": [batches(0, size, 100)],
        "many": [batches(i, i + 64, 20) for i in range(0, size, 64)],
        "in reverse": [batches(i, i + 64, 20)[::-1] for i in range(0, size, 64)][::-1],
        "some of them empty": [[], batches(0, 200, 200), [], batches(200, size, 200), []],
        "rows": [rows[:300], rows[300:]],
        "rows of labels (1,)": [[(z, [y], [w]) for z, y, w in rows]],
        "rows among batches": [rows[:50] + batches(50, 400, 70), rows[400:]],
        "more axes": [
            [(logits.reshape(16, 32, 4), labels.reshape(16, 32), weights.reshape(16, 32))]
        ],
        "one-hot rows": [[(logits, np.eye(4)[labels], weights)]],
        "labels (n, 1)": [[(logits, labels[:, None], weights[:, None])]],
        "lists": [[(logits.tolist(), labels.tolist(), weights.tolist())]],
        "tensors": [[tuple(ops.convert_to_tensor(x) for x in (logits, labels, weights))]],
    }


FORMS = all_forms(*predictions.example("saturated")[:2], WEIGHTS.astype("float32"))


@pytest.mark.parametrize("form", FORMS)
def test_split_and_order_and_form_do_not_matter(form):
    labels, logits, _ = predictions.example("saturated")
    assert_same(combined(*FORMS[form]), combined([(logits, labels, WEIGHTS)]))


def test_states_merge_in_any_grouping():
    lists = FORMS["many"][:4]
    expected = combined(list(itertools.chain(*lists)))
    for grouping in ([[0, 1], [2, 3]], [[3], [1, 0, 2]], [[0], [1], [2], [3]]):
        groups = [merged(state_of(lists[i]) for i in group) for group in grouping]
        assert_same(merged(groups).report(), expected)


@pytest.mark.parametrize("when", ["at the end", "after every record"])
def test_flush_changes_nothing(when):
    records, state = FORMS["many"][0], state_of()
    for record in records:
        state.add(record)
        if when == "after every record":
            state.flush()
    state.flush()
    assert_same(state.report(), combined(records))


@pytest.mark.parametrize("flush", [False, True])
def test_state_survives_pickling(flush):
    state = state_of(FORMS["many"][0])
    if flush:
        state.flush()
    restored = pickle.loads(pickle.dumps(state))
    for each in (state, restored):
        each.add(FORMS["many"][1][0])
    assert_same(restored.report(), state.report(), rtol=0, atol=0)


def test_integer_weights_equal_repetition(rng):
    labels, logits, _ = predictions.example("random")
    times = rng.integers(0, 3, len(labels))
    found = combined([(logits, labels, times)])
    expected = combined([(logits.repeat(times, axis=0), labels.repeat(times))])
    assert_same(found, expected, leave_out=["num_samples"])


def test_half_precision_is_computed_in_float32():
    labels, logits, _ = predictions.example("random")
    half = logits.astype("float16")
    assert_same(combined([(half, labels)]), combined([(half.astype("float32"), labels)]))


def test_probability_of_0_in_half_precision_counts_by_its_dtype():
    labels, logits, _ = predictions.example("random")
    p = np.exp(logits - np.logaddexp.reduce(logits, axis=1)[:, None]).astype("float16")
    p[0], labels[0] = np.eye(p.shape[1])[1], 0
    read = np.where(p == 0, np.float32(2.0**-25), p.astype("float32"))
    found, expected = (combined([(each, labels)], from_logits=False) for each in (p, read))
    assert_same(found, expected)


def test_ignored_class_is_left_out_before_any_check():
    labels, logits, _ = predictions.example("random")
    marked = np.where(np.arange(len(labels)) % 3 == 0, 255, labels)
    spoilt = np.where((marked == 255)[:, None], np.nan, logits)
    found = combined([(spoilt, marked)], ignore_class=255)
    assert_same(found, combined([(logits[marked != 255], labels[marked != 255])]))


# --- what is not there, or not finite


@pytest.mark.parametrize(
    "records", [[], [(np.zeros((0, 4)), np.zeros(0))]], ids=["none", "no rows"]
)
def test_report_of_nothing_is_zeros_and_temperature_one(records):
    report = combined(records)
    for name, value in figures(report, ["temperature", "criterion", "reason"]).items():
        assert np.all(np.asarray(value) == 0), name
    assert report.nll_fit.temperature == report.ece_fit.temperature == 1.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("from_logits", [True, False])
def test_what_is_not_finite_is_counted_and_left_out(bad, from_logits):
    labels, logits, probabilities = predictions.example("random")
    given = logits if from_logits else probabilities
    spoilt = np.insert(given, [0, 7, 512], bad, axis=0)
    spoilt[0, 1:] = 0.0
    weights = np.insert(np.ones(512), [0, 7, 512], 2.0)
    found = combined(
        [(spoilt, np.insert(labels, [0, 7, 512], 1), weights)], from_logits=from_logits
    )
    assert found.invalid_count == 6.0
    expected = combined([(given, labels)], from_logits=from_logits)
    assert_same(found, expected, leave_out=["invalid_count"])


def test_report_of_nothing_but_what_is_not_finite_counts_it():
    report = combined([(np.full((3, 4), np.nan), np.zeros(3, int))])
    assert (report.count, report.invalid_count, report.accuracy) == (0.0, 3.0, 0.0)
    assert report.nll_fit.temperature == 1.0


def test_whole_numbers_are_logits_too(rng):
    logits, labels = rng.integers(-4, 5, (60, 3)), rng.integers(0, 3, 60)
    found = combined([(logits, labels)])
    assert_same(found, combined([(logits.astype("float32"), labels)]))


# --- what is refused

ROW, BATCH = np.array([1.0, 0.0, 2.0]), np.eye(3)[[0, 1, 1, 2]]
REFUSED = [
    ("one part", (BATCH,), r"`record`.*tuple"),
    ("no tuple", BATCH, r"`record`.*ndarray"),
    ("label count", (BATCH, [0, 1, 2]), r"`labels`.*\(4, 3\).*\(3,\)"),
    ("row with labels", (ROW, [0, 1, 2]), r"`labels`.*\(\).*\(3,\).*\(3,\)"),
    ("no classes", (np.float32(1.0), 0), r"`predictions`.*\(K,\).*\(\)"),
    ("other classes", (np.zeros((2, 5)), [0, 1]), r"`predictions`.*\(2, 5\).*\(\.\.\., 3\)"),
    ("other classes of a row", (np.zeros(5), 0), r"`predictions`.*\(1, 5\).*\(\.\.\., 3\)"),
    ("label above", (BATCH, [0, 1, 2, 3]), r"`labels`.*\[0, 3\).*3"),
    ("label below", (ROW, -1), r"`labels`.*\[0, 3\).*-1"),
    ("label between", (ROW, 0.5), r"`labels`.*\[0, 3\).*0\.5"),
    ("weight count", (BATCH, [0, 1, 2, 2], [1.0, 1.0]), r"`sample_weight`.*\(4,\).*\(2,\)"),
    ("weight below 0", (ROW, 0, -1.0), r"`sample_weight`.*-1"),
    ("weight NaN", (ROW, 0, np.nan), r"`sample_weight`.*nan"),
]


@pytest.mark.parametrize(
    ("record", "words"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_bad_record_is_refused_before_anything_is_added(record, words):
    state = state_of([(BATCH, [0, 1, 2, 2])])
    with pytest.raises(ValueError, match=words):
        state.add(record)
    assert_same(state.report(), combined([(BATCH, [0, 1, 2, 2])]))


def test_states_of_other_classes_do_not_merge():
    states = [state_of([(np.zeros(width), 0)]) for width in (3, 5)]
    with pytest.raises(ValueError, match=r"`predictions`.*5.*3"):
        merged(states)


@pytest.mark.parametrize("record", [([3.0, -1.0], 0), ([[0.9, 0.6]], [1]), ([[1.5]], [1])])
def test_logits_are_no_probabilities(record):
    with pytest.raises(ValueError, match=r"`from_logits`.*pass from_logits=True"):
        state_of([record], from_logits=False)


# --- size


def test_state_does_not_grow_with_the_records(rng):
    state, sizes = state_of(), []
    logits, labels = rng.normal(0, 2, (4000, 10)).astype("float32"), rng.integers(0, 10, 4000)
    for _ in range(5):
        state.add((logits, labels))
        # Before a flush, no more than a block waits.
        assert len(pickle.dumps(state)) < 2**20
        state.flush()
        sizes.append(len(pickle.dumps(state)))
    assert max(sizes) - min(sizes) < 100
    assert sizes[0] < 240 * 1024
