"""fit_temperature: the one optimum by likelihood or by ECE, and clear words where none is."""

import dataclasses
import itertools
import warnings

import keras
import numpy as np
import pytest
import reference
from keras import ops

from keras_focal.calibration import fit_temperature
from keras_focal.calibration.given import HeldOut, _held_out
from keras_focal.calibration.temperature import Data
from keras_focal.calibration.temperature._gaps import grid_gaps, rough_gaps


def sample(rng, temperature=2.5, size=2000, classes=6):
    """Return logits `temperature` times too large, and labels drawn from the right ones."""
    logits = rng.normal(0, 1.5, (size, classes))
    p = reference.softmax64(logits)
    labels = (p.cumsum(1) < rng.random((size, 1))).sum(1)
    return (logits * temperature).astype("float32"), labels


@pytest.mark.parametrize("temperature", [0.05, 0.5, 1.0, 2.5, 15.0, 100.0])
def test_likelihood_temperature_is_the_optimum_to_1e_6(rng, temperature):
    logits, labels = sample(rng, temperature)
    fit = fit_temperature(logits, labels)
    assert abs(fit.temperature / temperature - 1) < 0.1
    # Golden section cannot place a minimum closer than the square root of its rounding.
    assert fit.temperature == pytest.approx(reference.best_temperature(labels, logits), rel=1e-6)
    assert not fit.at_bound


def test_slope_of_the_likelihood_vanishes_at_the_temperature(rng):
    logits, labels = sample(rng)
    best = 1 / fit_temperature(logits, labels).temperature
    z = logits.astype("float64")
    slopes = []
    for beta in (best * (1 - 1e-6), best * (1 + 1e-6)):
        p = reference.softmax64(beta * z)
        slopes.append(((p * z).sum(1) - z[np.arange(len(z)), labels]).mean())
    assert slopes[0] < 0 < slopes[1]


def test_figures_before_and_after_are_the_oracle_s(rng):
    logits, labels = sample(rng)
    fit = fit_temperature(logits, labels)
    for temperature, nll, ece in (
        (1.0, fit.nll_before, fit.ece_before),
        (fit.temperature, fit.nll_after, fit.ece_after),
    ):
        assert nll == pytest.approx(reference.nll(labels, logits, temperature), rel=1e-9)
        p = reference.softmax64(logits.astype("float64") / temperature)
        assert ece == pytest.approx(reference.ece(*reference.top_label(labels, p)), abs=1e-9)
    assert fit.num_samples == len(labels)


@pytest.mark.parametrize("criterion", ["nll", "ece"])
def test_figures_are_plain_numbers(rng, criterion):
    values = dataclasses.asdict(fit_temperature(*sample(rng, size=50), criterion))
    assert {type(value) for value in values.values()} == {float, int, str, bool}


def test_ece_temperature_is_the_first_least_of_the_grid(rng):
    logits, labels = sample(rng, size=300)
    grid = [
        reference.ece(
            *reference.top_label(labels, reference.softmax64(logits.astype("float64") / (k / 10)))
        )
        for k in range(1, 101)
    ]
    assert fit_temperature(logits, labels, "ece").temperature == (np.argmin(grid) + 1) / 10


def test_first_of_equal_minima_of_the_grid_wins():
    # Equal logits have one confidence at every temperature, and so one calibration error.
    logits = np.zeros((30, 3))
    assert fit_temperature(logits, np.arange(30) % 3, "ece").temperature == 0.1


@pytest.mark.parametrize("num_bins", [1, 5, 40])
def test_ece_temperature_depends_on_the_number_of_bins(rng, num_bins):
    logits, labels = sample(rng, size=300)
    z = logits.astype("float64")
    errors = [
        reference.ece(*reference.top_label(labels, reference.softmax64(z / t)), num_bins)
        for t in np.arange(1, 101) / 10
    ]
    fit = fit_temperature(logits, labels, "ece", num_bins=num_bins)
    assert fit.temperature == (np.argmin(errors) + 1) / 10
    assert fit.ece_after == pytest.approx(min(errors), abs=1e-12)
    assert fit.criterion == "ece"


def test_weights_equal_repetition(rng):
    logits, labels = sample(rng, size=400)
    times = rng.integers(0, 3, 400)
    weighted = fit_temperature(logits, labels, sample_weight=times)
    repeated = fit_temperature(logits.repeat(times, axis=0), labels.repeat(times))
    assert weighted.temperature == pytest.approx(repeated.temperature, rel=1e-8)
    assert weighted.ece_after == pytest.approx(repeated.ece_after, abs=1e-8)


def test_weighted_temperature_is_the_optimum_to_1e_6(rng):
    logits, labels = sample(rng, size=400)
    weights = rng.uniform(0, 3, 400)
    expected = reference.best_temperature(labels, logits, weights)
    found = fit_temperature(logits, labels, sample_weight=weights)
    assert found.temperature == pytest.approx(expected, rel=1e-6)
    assert found.nll_after == pytest.approx(
        reference.nll(labels, logits, expected, weights), rel=1e-9
    )


def test_only_ratios_of_weights_matter(rng):
    logits, labels = sample(rng, size=400)
    weights = rng.uniform(0.5, 3, 400)
    found, scaled = (
        fit_temperature(logits, labels, sample_weight=scale * weights) for scale in (1.0, 1e6)
    )
    assert scaled.temperature == pytest.approx(found.temperature, rel=1e-9)
    assert scaled.ece_after == pytest.approx(found.ece_after, rel=1e-9)


@pytest.mark.parametrize("shape", [(400,), (400, 1), (40, 10), (40, 10, 1)])
def test_weights_take_the_shape_of_the_labels(rng, shape):
    logits, labels = sample(rng, size=400)
    weights = rng.uniform(0, 3, 400)
    expected = fit_temperature(logits, labels, sample_weight=weights).temperature
    rows = logits.reshape(*(shape[:-1] if shape[-1] == 1 else shape), 6)
    found = fit_temperature(rows, labels.reshape(shape), sample_weight=weights.reshape(shape))
    assert found.temperature == pytest.approx(expected, rel=1e-9)


def test_weights_of_sequences_are_spread_over_their_predictions(rng):
    logits, labels = sample(rng, size=400)
    weights = rng.uniform(0, 3, 40)
    expected = fit_temperature(logits, labels, sample_weight=weights.repeat(10)).temperature
    found = fit_temperature(
        logits.reshape(40, 10, 6), labels.reshape(40, 10), sample_weight=weights
    )
    assert found.temperature == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("scale", [0.02, 0.5, 40.0])
def test_logits_times_a_factor_have_the_temperature_times_it(rng, scale):
    logits, labels = sample(rng, size=400)
    found = fit_temperature(scale * logits.astype("float64"), labels).temperature
    assert found == pytest.approx(scale * fit_temperature(logits, labels).temperature, rel=1e-8)


def test_shift_of_a_row_of_logits_does_not_matter(rng):
    logits, labels = sample(rng, size=400)
    shifted = logits.astype("float64") + rng.normal(0, 100, (400, 1))
    expected = fit_temperature(logits, labels)
    found = fit_temperature(shifted, labels)
    assert found.temperature == pytest.approx(expected.temperature, rel=1e-8)
    assert found.ece_after == pytest.approx(expected.ece_after, abs=1e-9)


def test_row_order_does_not_matter(rng):
    logits, labels = sample(rng, size=400)
    order = rng.permutation(400)
    expected = fit_temperature(logits, labels).temperature
    assert fit_temperature(logits[order], labels[order]).temperature == pytest.approx(
        expected, rel=1e-9
    )


def test_float64_logits_keep_their_precision(rng):
    # In float32 the gaps of these logits would be rounded to multiples of 0.5.
    logits, labels = sample(rng, size=400)
    exact = fit_temperature(logits, labels).temperature
    assert fit_temperature(logits + np.float64(2**22), labels).temperature == pytest.approx(
        exact, rel=1e-6
    )


def test_every_form_of_the_same_data_gives_the_same_temperature(rng):
    logits, labels = sample(rng, size=300)
    expected = fit_temperature(logits, labels).temperature
    forms = [
        (ops.convert_to_tensor(logits), ops.convert_to_tensor(labels)),
        (logits.tolist(), labels.tolist()),
        (logits.reshape(30, 10, 6), labels.reshape(30, 10)),
        (logits, labels[:, None]),
        (logits, np.eye(6)[labels]),
    ]
    for z, y in forms:
        assert fit_temperature(z, y).temperature == pytest.approx(expected, rel=1e-9)


def test_half_precision_logits_are_taken(rng):
    logits, labels = sample(rng, size=300)
    half = ops.cast(logits, "bfloat16")
    rounded = ops.convert_to_numpy(ops.cast(half, "float32"))
    found = fit_temperature(half, labels).temperature
    assert found == pytest.approx(fit_temperature(rounded, labels).temperature, rel=1e-9)


def test_one_binary_logit_equals_two_classes(rng):
    logits, labels = sample(rng, classes=2)
    one = fit_temperature(logits[:, 1:] - logits[:, :1], labels).temperature
    assert one == pytest.approx(fit_temperature(logits, labels).temperature, rel=1e-5)


@pytest.mark.parametrize("criterion", ["nll", "ece"])
def test_blocks_of_rows_change_nothing(rng, monkeypatch, criterion):
    logits, labels = sample(rng, size=300)
    whole = fit_temperature(logits, labels, criterion).temperature
    monkeypatch.setattr(_held_out, "_BLOCK", 6 * 7)
    assert fit_temperature(logits, labels, criterion).temperature == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize("criterion", ["nll", "ece"])
def test_threads_change_nothing(rng, monkeypatch, criterion):
    logits, labels = sample(rng, size=300)
    alone = fit_temperature(logits, labels, criterion)
    monkeypatch.setattr(_held_out, "_BLOCK", 6 * 7)
    monkeypatch.setattr(_held_out, "_WORTH_THREADS", 0)
    together = fit_temperature(logits, labels, criterion)
    assert together.temperature == pytest.approx(alone.temperature, rel=1e-12)
    assert together.ece_after == pytest.approx(alone.ece_after, abs=1e-12)


@pytest.mark.parametrize(
    ("temperature", "classes"),
    [*((t, 10) for t in (0.01, 0.1, 0.5, 1.0, 2.5, 10.0, 100.0)), (0.5, 2), (2.5, 2), (1.0, 100)],
)
def test_likelihood_takes_eight_passes_at_most(rng, monkeypatch, temperature, classes):
    logits, labels = sample(rng, temperature, classes=classes)
    passes, read = [], Data.at

    def counted(data, beta, **how):
        passes.append(beta)
        return read(data, beta, **how)

    monkeypatch.setattr(Data, "at", counted)
    fit = fit_temperature(logits, labels)
    assert len(passes) <= 8
    assert fit.temperature == pytest.approx(reference.best_temperature(labels, logits), rel=1e-6)


def test_grid_has_the_error_of_a_softmax_for_each_temperature(rng):
    logits, labels = sample(rng, size=50)
    gaps = grid_gaps(HeldOut.from_arrays(logits, labels, None), 15).reshape(100, 15)
    for error, tenths in zip(np.abs(gaps).sum(1) / 50, range(1, 101), strict=True):
        p = reference.softmax64(logits.astype("float64") / (tenths / 10))
        assert error == pytest.approx(reference.ece(*reference.top_label(labels, p)), abs=1e-12)


def on_edges(rng):
    """Return logits of two classes whose confidences lie close to the edges of bins at T = 2."""
    confidence = np.repeat(np.arange(8, 15) / 15, 9) + rng.normal(0, 1e-7, 63)
    return np.stack([2 * np.log(confidence / (1 - confidence)), np.zeros(63)], axis=1)


@pytest.mark.parametrize(
    "logits_of",
    [
        lambda rng: sample(rng, size=300)[0],
        lambda rng: sample(rng, size=300)[0].astype("float64"),
        lambda rng: sample(rng, size=40, classes=300)[0],
        lambda rng: sample(rng, 100.0, size=300)[0],
        lambda rng: np.zeros((30, 3), "float32"),
        on_edges,
        lambda rng: on_edges(rng).astype("float32"),
    ],
    ids=["float32", "float64", "many classes", "sure", "equal", "edges", "rounded edges"],
)
def test_rough_errors_of_the_grid_are_wrong_by_no_more_than_they_say(rng, logits_of):
    logits = logits_of(rng)
    labels, weights = rng.integers(0, logits.shape[1], len(logits)), rng.uniform(0, 3, len(logits))
    data = HeldOut.from_arrays(logits, labels, weights)
    *gaps, doubt = rough_gaps(data, 15).reshape(16, 100) / weights.sum()
    exact = []
    for tenths in range(1, 101):
        p = reference.softmax64(logits.astype("float64") / (tenths / 10))
        exact.append(reference.ece(*reference.top_label(labels, p), weights=weights))
    assert np.all(np.abs(np.abs(gaps).sum(0) - exact) <= doubt + 1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [1e3, 1e30])
def test_logits_beyond_all_exponentials_lead_to_the_bounds(rng, scale, dtype):
    logits, _ = sample(rng, size=50)
    logits = (scale * logits).astype(dtype)
    with pytest.warns(UserWarning, match=r"lower bound 0\.001"):
        assert fit_temperature(logits, logits.argmax(1)).temperature == 1e-3
    with pytest.warns(UserWarning, match="upper bound 1000"):
        assert fit_temperature(logits, logits.argmin(1)).temperature == 1e3


@pytest.mark.parametrize("bounds", [(0.3, 1.9), (0.7, 3.0), (1e-4, 1e5)])
def test_bound_is_returned_to_the_last_digit(rng, bounds):
    logits, _ = sample(rng, size=50)
    for labels, bound in ((logits.argmax(1), bounds[0]), (logits.argmin(1), bounds[1])):
        with pytest.warns(UserWarning, match=f"bound {bound:g}"):
            fit = fit_temperature(logits, labels, bounds=bounds)
        assert (fit.temperature, fit.at_bound) == (bound, True)


@pytest.mark.parametrize("of", ["right", "wrong"])
def test_figures_at_a_bound_are_read_in_full(rng, of):
    logits = rng.normal(0, 2, (50, 4)).astype("float32")
    labels = logits.argmax(1) if of == "right" else logits.argmin(1)
    with pytest.warns(UserWarning, match="bound"):
        fit = fit_temperature(logits, labels, bounds=(0.3, 1.9))
    p = reference.softmax64(logits.astype("float64") / fit.temperature)
    assert fit.ece_after == pytest.approx(reference.ece(*reference.top_label(labels, p)), abs=1e-9)
    expected = reference.nll(labels, logits, fit.temperature)
    assert fit.nll_after == pytest.approx(expected, rel=1e-9)


def test_separable_data_give_the_lower_bound_and_a_warning(rng):
    logits, _ = sample(rng, size=50)
    with pytest.warns(UserWarning, match="lower bound 0.001: .*separable"):
        fit = fit_temperature(logits, logits.argmax(1))
    assert fit.at_bound
    assert fit.temperature == 1e-3


def test_logits_that_say_nothing_give_the_upper_bound_and_a_warning():
    # Every row of logits comes with every label equally often.
    logits = np.repeat([[2.0, 0.0, 1.0], [0.0, 3.0, -1.0]], 3, axis=0)
    with pytest.warns(UserWarning, match="upper bound 1000: the logits carry no information"):
        fit = fit_temperature(logits, [0, 1, 2] * 2)
    assert fit.at_bound
    assert fit.temperature == 1e3


def test_given_bounds_are_the_ends_of_the_search(rng):
    logits, labels = sample(rng, temperature=2.5, size=400)
    with pytest.warns(UserWarning, match="upper bound 2"):
        assert fit_temperature(logits, labels, bounds=(0.5, 2.0)).temperature == 2.0
    with pytest.warns(UserWarning, match="lower bound 0.5"):
        assert fit_temperature(logits / 25, labels, bounds=(0.5, 2.0)).temperature == 0.5


def test_logits_that_mislead_give_the_upper_bound_and_a_warning(rng):
    logits, _ = sample(rng, size=50)
    with pytest.warns(UserWarning, match="upper bound 1000"):
        assert fit_temperature(logits, logits.argmin(1)).temperature == 1e3


def test_extreme_logits_are_fitted_without_overflow(rng):
    logits, labels = sample(rng, size=300)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = fit_temperature(logits + 1e4, labels)
    assert fit.temperature == pytest.approx(2.5, rel=0.3)


PUBLISHED = {"cross_entropy": (2.5, 2.4975, 1.35), "flsd53": (1.1, 1.0626, 0.95)}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_temperatures_are_met(real_data, name):
    with np.load(real_data / f"logits/cifar10_resnet50_{name}.npz") as data:
        arrays = {key: data[key] for key in data.files}
    by_ece, by_nll, ece_after = PUBLISHED[name]
    validation = arrays["val_logits"], arrays["val_labels"]
    assert fit_temperature(*validation, "ece").temperature == by_ece
    assert round(fit_temperature(*validation, "nll").temperature, 4) == by_nll
    p = reference.softmax64(arrays["test_logits"].astype("float64") / by_ece)
    ece = reference.ece(*reference.top_label(arrays["test_labels"], p))
    assert round(100 * ece, 2) == ece_after


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[]], [0]), "`logits` must hold at least one prediction"),
        ((np.zeros((0, 3)), []), "`logits` must hold at least one prediction"),
        (([1.0, 2.0], [0, 1]), r"`logits` must have shape \(\.\.\., K\)"),
        (([[np.nan, 1.0]], [0]), "`logits` must be finite. Received: 1 of 1 rows"),
        (([[np.inf, 1.0]], [0]), "`logits` must be finite"),
        (([[0.0, 1.0]], [0, 1]), "`labels` must have shape"),
        (([[0.0, 1.0]], [2]), r"`labels` must be class ids in \[0, 2\). Received: 2"),
        (([[0.0, 1.0]], [-1]), "`labels` must be class ids"),
        (([[0.0, 1.0]], [0.5]), "`labels` must be class ids"),
        (([[0.0, 1.0]], [np.nan]), "`labels` must be class ids"),
        (([[0.0, 1.0]], [np.inf]), "`labels` must be class ids"),
        (([[0.0, 1.0]], [0], "brier"), "`criterion` must be one of 'nll', 'ece'"),
    ],
)
def test_bad_data_raise_before_any_work(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit_temperature(*arguments)


@pytest.mark.parametrize("weights", [[0.0, 0.0], [-1.0, 2.0], [np.nan, 1.0]])
def test_bad_weights_raise(weights):
    with pytest.raises(ValueError, match="`sample_weight` must be finite, >= 0, and not all 0"):
        fit_temperature([[0.0, 1.0], [1.0, 0.0]], [0, 1], sample_weight=weights)


@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [[1.0, 1.0]] * 2])
def test_weights_of_another_shape_raise(weights):
    with pytest.raises(ValueError, match="`sample_weight` must"):
        fit_temperature([[0.0, 1.0], [1.0, 0.0]], [0, 1], sample_weight=weights)


def test_bad_bounds_raise():
    with pytest.raises(ValueError, match="`bounds` must be"):
        fit_temperature([[0.0, 1.0]], [0], bounds=(2.0, 3.0))


class Batches:
    """Batches that can be read again, of any sizes."""

    def __init__(self, *columns, sizes=(100, 1, 250, 49)):
        edges = np.cumsum([0, *sizes])
        self.parts = [
            tuple(column[low:high] for column in columns) for low, high in itertools.pairwise(edges)
        ]
        self.reads = 0

    def __iter__(self):
        self.reads += 1
        yield from self.parts


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("criterion", ["nll", "ece"])
def test_batches_give_the_fit_of_the_whole(rng, criterion, weighted):
    logits, labels = sample(rng, size=400)
    weights = rng.uniform(0, 2, 400) * (np.arange(400) != 100) if weighted else None
    whole = fit_temperature(logits, labels, criterion, sample_weight=weights)
    columns = (logits, labels, weights) if weighted else (logits, labels)
    batches = Batches(*columns)
    streamed = fit_temperature(batches, criterion=criterion)
    for name, value in dataclasses.asdict(whole).items():
        assert getattr(streamed, name) == (
            value if isinstance(value, str) else pytest.approx(value, rel=1e-9)
        )
    assert batches.reads <= 8


def test_dataset_gives_the_fit_of_the_whole(rng):
    tf = pytest.importorskip("tensorflow")
    logits, labels = sample(rng, size=400)
    dataset = tf.data.Dataset.from_tensor_slices((logits, labels)).shuffle(400).batch(64)
    streamed = fit_temperature(dataset)
    assert streamed.temperature == pytest.approx(fit_temperature(logits, labels).temperature)
    assert streamed.num_samples == 400


def test_indexed_batches_give_the_fit_of_the_whole(rng):
    logits, labels = sample(rng, size=400)

    class Indexed(keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return logits[100 * index :][:100], labels[100 * index :][:100]

    expected = fit_temperature(logits, labels).temperature
    assert fit_temperature(Indexed()).temperature == pytest.approx(expected, rel=1e-9)


def test_published_temperatures_are_met_in_batches(real_data):
    with np.load(real_data / "logits/cifar10_resnet50_cross_entropy.npz") as data:
        columns = data["val_logits"], data["val_labels"]
    batches = Batches(*columns, sizes=(2000, 2000, 1000))
    assert fit_temperature(batches, criterion="ece").temperature == 2.5
    assert round(fit_temperature(batches).temperature, 4) == 2.4975


def test_progress_of_batches_is_shown_if_asked(rng, capsys):
    batches = Batches(*sample(rng, size=400))
    fit_temperature(batches)
    assert capsys.readouterr().out == ""
    fit_temperature(batches, verbose=1)
    assert "4/Unknown" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (np.zeros((3, 2)), "`labels` must be given with arrays of logits"),
        ([[1.0, 2.0]], "`labels` must be given with arrays of logits"),
        (3, "`labels` must be given with arrays of logits"),
        (iter([(np.zeros((3, 2)), [0, 1, 0])]), "`logits` must be batches that can be read again"),
        (Batches(np.zeros((0, 2)), [], sizes=()), "`logits` must hold at least one prediction"),
        (Batches(np.zeros((4, 2)), sizes=(4,)), r"`logits` must yield batches \(logits, labels\)"),
        (
            Batches(np.zeros((4, 2)), np.zeros(4), np.zeros(4), sizes=(4,)),
            "`sample_weight` must be finite, >= 0, and not all 0",
        ),
    ],
)
def test_bad_batches_raise(batches, message):
    with pytest.raises(ValueError, match=message):
        fit_temperature(batches)


def test_batches_of_different_classes_raise():
    batches = Batches()
    batches.parts = [(np.zeros((2, k)), [0, 1]) for k in (3, 4)]
    with pytest.raises(ValueError, match="`logits` must have the same classes"):
        fit_temperature(batches)


def test_weights_beside_batches_raise(rng):
    with pytest.raises(ValueError, match="`sample_weight` must be None where `logits` are batches"):
        fit_temperature(Batches(*sample(rng, size=400)), sample_weight=np.ones(400))
