"""What is fitted to many predictions: the same temperature, in memory that does not grow."""

import gc
import tracemalloc

import keras
import numpy as np
import pytest
from backends import BACKEND

from keras_focal.calibration import calibrate, fit_temperature
from keras_focal.calibration.surgery import _predict
from keras_focal.calibration.temperature import _gathered

SHAPE, CLASSES, BATCH = (32, 32), 8, 4
VOID = 255


class Maps(keras.utils.PyDataset):
    """Batches of images whose pixels have labels, some of them void."""

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def __len__(self):
        return self.batches

    def __getitem__(self, index):
        if BACKEND == "torch":
            gc.collect()  # it leaves cycles to the collector
        rng = np.random.default_rng(index)
        x = rng.normal(0, 2, (BATCH, *SHAPE, CLASSES)).astype("float32")
        labels = (x + rng.gumbel(0, 1, x.shape)).argmax(axis=-1)
        labels[rng.random(labels.shape) < 0.1] = VOID
        return x, labels


def whole(batches):
    parts = [*map(Maps(batches).__getitem__, range(batches))]
    return tuple(map(np.concatenate, zip(*parts, strict=True)))


@pytest.fixture(scope="module")
def model():
    """Gives three times the logits that it is given, of each pixel."""
    kernel = keras.initializers.Constant(3 * np.eye(CLASSES)[None, None])
    head = keras.layers.Conv2D(CLASSES, 1, kernel_initializer=kernel, use_bias=False)
    return keras.Sequential([keras.Input((*SHAPE, CLASSES)), head])


@pytest.fixture
def few(monkeypatch):
    """Let a few predictions be many."""
    monkeypatch.setattr(_gathered, "MOST", 30_000)
    monkeypatch.setattr(_predict, "MOST", 30_000)


def fitted(model, data, **arguments):
    given = {"from_logits": True, "ignore_class": VOID, "return_fit": True, "verbose": 0}
    return calibrate(model, *data, **given, **arguments)[1]


@pytest.mark.usefixtures("few")
def test_peak_memory_does_not_grow_with_the_number_of_maps(model):
    def peak(fit, batches):
        tracemalloc.start()
        try:
            fit(batches)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    def calibrated(batches):
        fitted(model, (Maps(batches),))

    def fitted_alone(batches):
        fit_temperature(Maps(batches), ignore_class=VOID)

    for fit in (calibrated, fitted_alone):
        fit(2)  # what is made once
        few, many = peak(fit, 2), peak(fit, 12)
        assert many < 1.25 * few, fit.__name__
    # Of all predictions alone there would be more.
    assert many < 12 * BATCH * np.prod(SHAPE) * CLASSES * 4


@pytest.mark.parametrize("criterion", ["nll", "ece"])
def test_sums_give_the_temperature_of_all_predictions(model, monkeypatch, criterion):
    kept = fitted(model, (Maps(3),), criterion=criterion)
    monkeypatch.setattr(_gathered, "MOST", 30_000)
    monkeypatch.setattr(_predict, "MOST", 30_000)
    for data in ((Maps(3),), whole(3)):
        summed = fitted(model, data, criterion=criterion, batch_size=BATCH)
        assert summed.num_samples == kept.num_samples
        assert summed.temperature == pytest.approx(kept.temperature, rel=1e-7)
        assert summed.nll_after == pytest.approx(kept.nll_after, rel=1e-7)
        assert summed.ece_before == pytest.approx(kept.ece_before, rel=1e-6)
        assert np.isnan(summed.ece_after) == (criterion == "nll")


def passed_on(shape):
    return keras.Sequential([keras.Input(shape), keras.layers.Identity()])


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("outputs", [1, 3])
def test_predictions_that_are_summed_are_checked_all_the_same(outputs):
    model, labels = passed_on((2000, outputs)), np.zeros((20, 2000), int)
    p = np.full((20, 2000, outputs), 1.0 / max(outputs, 2), "float32")
    if outputs > 1:
        with pytest.raises(ValueError, match="from_logits=True for outputs that all look"):
            calibrate(model, p, labels, from_logits=True, verbose=0)
    p[0, 0, 0] = 1.5
    with pytest.raises(ValueError, match="from_logits=False for outputs"):
        calibrate(model, p, labels, verbose=0)
    none = np.zeros(20)
    with pytest.raises(ValueError, match="no prediction that counts"):
        calibrate(model, p, labels, from_logits=True, sample_weight=none, verbose=0)


@pytest.mark.usefixtures("few")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_labels_that_rounding_took_to_0_are_counted(rng):
    p = rng.dirichlet([1.0, 1.0], (20, 2000)).astype("float32")
    labels = (p[..., 1] > rng.random(p.shape[:-1])).astype(int)
    p[:3, 0], labels[:3, 0] = [0.0, 1.0], 0
    with pytest.warns(UserWarning, match="^3 of 40000 labels have a probability of exactly 0"):
        calibrate(passed_on((2000, 2)), p, labels, verbose=0)


def test_rounded_labels_of_batches_are_counted(rng):
    p = rng.dirichlet([1.0, 1.0], 300).astype("float32")
    labels = (p[:, 1] > rng.random(300)).astype(int)
    p[:3], labels[:3] = [0.0, 1.0], 0
    batches = [(p[:100], labels[:100]), (p[100:], labels[100:])]
    with pytest.warns(UserWarning, match="^3 of 300 labels have a probability of exactly 0"):
        fit_temperature(batches, from_logits=False)
