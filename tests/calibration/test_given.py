"""What is given to the fits is read rightly or refused by name, the same by each of them."""

import dataclasses
import warnings
from functools import partial

import keras
import numpy as np
import pytest
import reference

from keras_focal.calibration import fit_focal_temperature, fit_map, fit_temperature

FITS = {
    "temperature": fit_temperature,
    "focal": fit_focal_temperature,
    "map": partial(fit_map, method="vector", folds=0),
}
every_fit = pytest.mark.parametrize("fit", FITS.values(), ids=FITS)


def sample(rng, size=200, classes=3, temperature=2.5):
    logits = rng.normal(0, 3, (size, classes))
    return logits, (logits / temperature + rng.gumbel(size=logits.shape)).argmax(1)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


@every_fit
def test_entries_that_do_not_count_are_exempt_from_every_check(rng, fit):
    logits, labels = sample(rng)
    spoilt, wrong = logits.copy(), labels.copy()
    spoilt[:50], wrong[:50] = np.nan, 99
    expected = fit(logits[50:], labels[50:])
    weights = np.repeat([0.0, 1.0], [50, 150])
    for found in (
        fit(spoilt, wrong, sample_weight=weights),
        fit(spoilt, wrong, ignore_class=99),
        fit(spoilt, np.where(np.arange(200)[:, None] < 50, 0, np.eye(3)[labels])),
    ):
        assert found.num_samples == 150
        assert found.nll_after == pytest.approx(expected.nll_after, rel=1e-9)


@every_fit
def test_nothing_left_raises(rng, fit):
    logits, labels = sample(rng, 20)
    with pytest.raises(ValueError, match="no prediction that counts"):
        fit(logits, np.full_like(labels, 7), ignore_class=7)


@every_fit
def test_rows_of_several_classes_are_refused_and_smoothed_rows_read(rng, fit):
    logits, labels = sample(rng)
    several = np.eye(3)[labels]
    several[3] = [1, 0, 1]
    with pytest.raises(ValueError, match=r"`labels` must name one class .*row 3 .*multi_label"):
        fit(logits, several)
    smoothed = 0.9 * np.eye(3)[labels] + 0.1 / 3
    assert fit(logits, smoothed).nll_after == fit(logits, labels).nll_after


@every_fit
@pytest.mark.parametrize("spoilt", [False, True])
def test_probabilities_given_as_logits_are_refused(rng, fit, spoilt):
    logits, labels = sample(rng)
    p = reference.softmax64(logits)
    if spoilt:  # one row that is not finite does not switch the check off
        p[5] = np.nan
    with pytest.raises(ValueError, match=r"pass from_logits=False"):
        fit(p, labels)


@every_fit
@pytest.mark.parametrize("spoilt", [False, True])
def test_what_is_no_probability_is_refused_and_its_row_named(rng, fit, spoilt):
    logits, labels = sample(rng)
    p = reference.softmax64(logits)
    p[7] *= 0.97  # of sum 0.97, as no softmax gives
    if spoilt:
        p[9] = np.nan
    with pytest.raises(ValueError, match=r"row 7 has entries .* with sum 0.97"):
        fit(p, labels, from_logits=False)


@every_fit
def test_probabilities_give_what_their_logits_give(rng, fit):
    logits, labels = sample(rng)
    logits -= np.log(np.exp(logits).sum(1, keepdims=True))
    expected = fit(logits, labels)
    found = fit(np.exp(logits), labels, from_logits=False)
    assert found.nll_after == pytest.approx(expected.nll_after, rel=1e-9)


def test_sigmoid_gives_the_same_temperature_from_either_class(rng):
    z = rng.normal(0, 25, (400, 1)).clip(-80, 80).astype("float32")
    labels = (z[:, 0] / 20 + rng.logistic(size=400) > 0).astype(int)
    p = sigmoid(z)
    assert (p == 1).any()
    assert (p < 2.0**-24).any()
    temperatures = []
    for column, of in ((p, labels), (sigmoid(-z), 1 - labels)):
        with pytest.warns(UserWarning, match=r"of 400 predictions are exactly 0 or 1"):
            temperatures.append(fit_temperature(column, of, from_logits=False).temperature)
    # 1 - p is rounded where p is not.
    assert temperatures[0] == pytest.approx(temperatures[1], rel=5e-3)


def test_labels_that_rounding_took_are_counted(rng):
    logits, labels = sample(rng)
    p = reference.softmax64(logits)
    p[[4, 8]] = np.eye(3)[(labels[[4, 8]] + 1) % 3]
    with pytest.warns(UserWarning, match="2 of 200 labels have a probability of exactly 0"):
        fit_temperature(p, labels, from_logits=False)


def test_one_temperature_of_independent_labels_is_that_of_all_their_columns(rng):
    z = rng.normal(0, 4, (150, 5))
    labels = (z / 3 + rng.logistic(size=z.shape) > 0).astype(int)
    weights = rng.uniform(0, 2, 150)
    found = fit_temperature(z, labels, multi_label=True, sample_weight=weights)
    expected = fit_temperature(
        z.reshape(-1, 1), labels.reshape(-1), sample_weight=weights.repeat(5)
    )
    assert found == expected
    p = fit_temperature(sigmoid(z), labels, from_logits=False, multi_label=True)
    assert p.temperature == pytest.approx(
        fit_temperature(z, labels, multi_label=True).temperature, rel=1e-6
    )
    with pytest.raises(ValueError, match="`labels` must have shape"):
        fit_temperature(z, labels[:, 0], multi_label=True)


def test_minus_infinity_is_probability_zero(rng):
    logits, labels = sample(rng)
    masked = np.concatenate([logits, np.full((200, 1), -np.inf)], axis=1)
    for fit in (fit_temperature, fit_focal_temperature):
        found, expected = fit(masked, labels), fit(logits, labels)
        assert found.temperature == pytest.approx(expected.temperature, rel=1e-6)
        assert found.nll_after == pytest.approx(expected.nll_after, rel=1e-9)
        with pytest.raises(ValueError, match=r"`logits` must be finite. Received: 1 of 200"):
            fit(masked, np.where(np.arange(200) == 3, 3, labels))


def parts(*arrays):
    return [tuple(array[i : i + 60] for array in arrays) for i in range(0, len(arrays[0]), 60)]


def test_a_list_of_batches_is_read_as_batches(rng):
    logits, labels = sample(rng)
    found = fit_temperature(parts(logits, labels))
    assert found.temperature == pytest.approx(fit_temperature(logits, labels).temperature)


def test_batches_are_checked_as_a_whole(rng):
    logits, labels = sample(rng)
    p = reference.softmax64(logits)
    for kind in (fit_temperature, fit_focal_temperature):
        with pytest.raises(ValueError, match="pass from_logits=False"):
            kind(parts(p, labels))
        with pytest.raises(ValueError, match="pass from_logits=True"):
            kind(parts(logits, labels), from_logits=False)
    logits[:60] = p[:60]  # one batch that looks like probabilities is not refused
    fit_temperature(parts(logits, labels))


def test_batches_without_an_end_are_refused(rng):
    class Endless(keras.utils.PyDataset):
        num_batches = None

        def __getitem__(self, i):
            raise AssertionError("read")

    tf = pytest.importorskip("tensorflow")
    repeated = tf.data.Dataset.from_tensor_slices(sample(rng)).batch(50).repeat()
    for batches in (Endless(), repeated):
        with pytest.raises(ValueError, match="`logits` must end"):
            fit_temperature(batches)


@pytest.mark.parametrize("method", ["vector", "matrix", "platt", "beta"])
def test_a_class_without_labels_warns_at_the_line_of_the_caller(rng, method):
    logits, labels = sample(rng, classes=4)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        options = {"off_diagonal": 0.1, "bias": 0.0, "smoothing": False}
        fit = fit_map(logits, labels % 3, method, folds=0, **options)
    (warning,) = [w for w in caught if "no best parameters" in str(w.message)]
    assert "there are no labels of class 3" in str(warning.message)
    assert warning.filename == __file__
    assert fit.at_bound
    assert fit.reason == str(warning.message)


def test_message_at_a_bound_says_what_was_looked_at(rng):
    logits, labels = sample(rng)
    small = 1e-5 * logits
    with pytest.warns(
        UserWarning, match=r"lower bound 0.001: the likelihood still increases there"
    ):
        fit_temperature(small, labels)
    with pytest.warns(UserWarning, match=r"upper bound 1000: the likelihood still increases"):
        fit_temperature(1e5 * logits, labels)
    with pytest.warns(UserWarning, match=r"upper bound 1000: the logits carry no information"):
        fit_temperature(-logits, labels)


@every_fit
@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.filterwarnings("ignore:.* were rounded and count as")
def test_probability_of_0_in_half_precision_counts_by_its_dtype(rng, fit, columns):
    logits, labels = sample(rng, classes=max(columns, 2))
    p = reference.softmax64(6 * logits).astype("float16")[:, -columns:]
    labels[:2], p[:2] = 1, [0.0] if columns == 1 else [1.0, 0.0, 0.0]
    read = p.astype("float64")
    if columns == 1:
        read = np.clip(read, 2.0**-11, 1 - 2.0**-11)
        expected = np.log(read / (1 - read))
    else:
        expected = np.log(np.where(read == 0, 2.0**-25, read))
    found = fit(p, labels, from_logits=False)
    assert found.nll_after == pytest.approx(fit(expected, labels).nll_after, rel=1e-5)


@pytest.mark.parametrize("fit", [fit_temperature, fit_focal_temperature])
@pytest.mark.parametrize("in_batches", [False, True])
def test_fits_per_label_are_those_of_the_columns(rng, fit, in_batches):
    logits = rng.normal(0, 3, (300, 3))
    labels = (logits / [1.5, 3.0, 6.0] > rng.logistic(size=(300, 3))).astype(int)
    weights = rng.integers(0, 3, 300)
    given = (logits, labels, weights)
    batches = ([tuple(part[start : start + 90] for part in given) for start in range(0, 300, 90)],)
    arguments = {} if in_batches else {"sample_weight": weights}
    data = batches if in_batches else given[:2]
    found = fit(*data, multi_label="per_label", ignore_class=7, **arguments)
    assert isinstance(found, tuple)
    for k, of_label in enumerate(found):
        alone = fit(logits[:, [k]], labels[:, k], sample_weight=weights)
        assert dataclasses.asdict(of_label) == pytest.approx(dataclasses.asdict(alone))


def test_fits_per_label_refuse_what_the_others_refuse(rng):
    logits, labels = rng.normal(size=(20, 3)), np.ones((20, 3), int)
    with pytest.raises(ValueError, match="`labels` must be given with arrays"):
        fit_temperature(logits, multi_label="per_label")
    with pytest.raises(ValueError, match="`labels` must have shape"):
        fit_temperature(logits, labels[:, :2], multi_label="per_label")
    labels[3, 1] = 2
    with pytest.raises(ValueError, match="`labels` must be class ids"):
        fit_temperature(logits, labels, multi_label="per_label")
    with pytest.raises(ValueError, match="`multi_label` must be one of"):
        fit_temperature(logits, labels, multi_label="per label")
