"""Calibrated: a base loss and a penalty, with weights, masks and gamma as for the base alone."""

import copy
import pickle

import keras
import numpy as np
import pytest
from backends import FEW_STEPS_EAGERLY, to_numpy
from keras import ops

from keras_focal import functional, losses
from keras_focal.callbacks import GammaScheduler

PENALTIES = [
    losses.MDCA(3.0),
    losses.DCA(2.0),
    losses.SoftBinnedECE(2.0),
    losses.SoftBinnedACE(2.0),
    losses.ACLS(0.5, margin=1.0),
    losses.CALS(3, margin=1.0),
    losses.NACL(0.5),
]
every_penalty = pytest.mark.parametrize("penalty", PENALTIES, ids=lambda p: type(p).__name__)


@pytest.fixture
def batch(rng):
    """Two sequences of six predictions."""
    logits = rng.normal(0, 2, (2, 6, 3)).astype("float32")
    return rng.integers(0, 3, (2, 6)), logits


def cross_entropy(**arguments):
    return losses.get("CE", from_logits=True, **arguments)


def added(penalty, labels, logits, weights=None):
    """Return what the functional form adds to the loss of each prediction."""
    config = {**penalty.get_config()}
    config.pop("num_classes", None)
    weight = config.pop("weight", 1.0)
    name = type(penalty).__name__
    if name in ("ACLS", "CALS"):
        return weight * to_numpy(getattr(functional, f"{name.lower()}_penalty")(logits, **config))
    function = {
        "MDCA": functional.mdca_penalty,
        "DCA": functional.dca_penalty,
        "SoftBinnedECE": functional.soft_binned_ece_penalty,
        "SoftBinnedACE": functional.soft_binned_ace_penalty,
        "NACL": functional.nacl_penalty,
    }[name]
    return weight * to_numpy(function(labels, logits, sample_weight=weights, **config))


@every_penalty
def test_loss_of_each_prediction_is_the_base_plus_the_penalty(penalty, batch):
    base = cross_entropy(reduction=None)
    loss = losses.Calibrated(base, penalty, reduction=None)
    expected = to_numpy(base(*batch)) + added(penalty, *batch)
    np.testing.assert_allclose(to_numpy(loss(*batch)), expected, rtol=1e-5, atol=1e-6)
    mean = losses.Calibrated(cross_entropy(), penalty)(*batch)
    assert float(mean) == pytest.approx(expected.mean(), rel=1e-5)


@every_penalty
def test_sample_weights_apply_to_both(penalty, batch, rng):
    weights = rng.uniform(0, 2, (2, 6)).astype("float32")
    weights[0, :3] = 0
    loss = losses.Calibrated(cross_entropy(), penalty)
    values = to_numpy(cross_entropy(reduction=None)(*batch)) + added(penalty, *batch, weights)
    found = float(loss(*batch, sample_weight=weights))
    assert found == pytest.approx((weights * values).sum() / 12, rel=1e-5)


@every_penalty
def test_ignored_class_and_mask_leave_predictions_out(penalty, batch):
    labels, logits = batch
    expected = float(losses.Calibrated(cross_entropy(), penalty)(labels, logits))
    more = np.concatenate([logits, np.full((2, 3, 3), np.nan, "float32")], axis=1)
    ignoring = losses.Calibrated(cross_entropy(ignore_class=255), penalty)
    found = float(ignoring(np.c_[labels, np.full((2, 3), 255)], more))
    assert found == pytest.approx(expected, rel=1e-5)
    masked = ops.convert_to_tensor(more)
    keras.src.backend.set_keras_mask(masked, ops.tile(ops.arange(9) < 6, (2, 1)))
    wrong = np.c_[labels, np.tile([0, 9, -5], (2, 1))]
    found = float(losses.Calibrated(cross_entropy(), penalty)(wrong, masked))
    assert found == pytest.approx(expected, rel=1e-5)


@every_penalty
def test_pixels_with_the_class_axis_first(penalty, rng):
    logits = rng.normal(0, 2, (2, 3, 4, 4)).astype("float32")
    labels = rng.integers(0, 3, (2, 4, 4))
    first = losses.Calibrated(cross_entropy(axis=1), penalty)
    last = losses.Calibrated(cross_entropy(), penalty)
    expected = float(last(labels, np.moveaxis(logits, 1, -1)))
    assert float(first(labels, logits)) == pytest.approx(expected, rel=1e-5)


@every_penalty
def test_copies_of_a_penalty_are_like_it(penalty):
    for found in (pickle.loads(pickle.dumps(penalty)), copy.deepcopy(penalty)):
        assert repr(found) == repr(penalty)


def test_penalties_of_no_entry_are_zero():
    assert float(functional.soft_binned_ace_penalty(np.zeros(0, int), np.zeros((0, 3)))) == 0.0
    assert functional.nacl_penalty(np.zeros((0, 4), int), np.zeros((0, 4, 3))).shape == (0, 4)


@pytest.mark.parametrize(
    "penalty", [p for p in PENALTIES if not p.needs_logits], ids=lambda p: type(p).__name__
)
def test_base_of_probabilities_gives_what_its_logits_give(penalty, batch):
    labels, logits = batch
    of_probabilities = losses.Calibrated(losses.get("CE"), penalty)
    expected = float(losses.Calibrated(cross_entropy(), penalty)(labels, logits))
    assert float(of_probabilities(labels, ops.softmax(logits))) == pytest.approx(expected, rel=1e-4)


@every_penalty
def test_base_of_keras_gives_what_the_own_one_gives(penalty, batch):
    labels, logits = batch
    expected = float(losses.Calibrated(cross_entropy(), penalty)(labels, logits))
    stock = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert float(losses.Calibrated(stock, penalty)(labels, logits)) == pytest.approx(expected)
    rows = np.eye(3, dtype="float32")[labels]
    stock = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.0)
    assert float(losses.Calibrated(stock, penalty)(rows, logits)) == pytest.approx(expected)


def test_smoothed_labels_of_the_base_do_not_reach_the_penalty(batch):
    labels, logits = batch
    base = losses.CategoricalFocalCrossentropy(label_smoothing=0.3, from_logits=True)
    rows = np.eye(3, dtype="float32")[labels]
    found = float(losses.Calibrated(base, losses.MDCA())(rows, logits)) - float(base(rows, logits))
    assert found == pytest.approx(float(functional.mdca_penalty(labels, logits)), rel=1e-4)


def test_two_penalties_are_two_wrappers(batch):
    inner = losses.Calibrated(cross_entropy(), losses.DCA(2.0))
    both = losses.Calibrated(inner, losses.ACLS(margin=0.5))
    expected = float(inner(*batch)) + added(both.penalty, *batch).mean()
    assert float(both(*batch)) == pytest.approx(expected, rel=1e-5)
    mined = losses.HardExampleMining(inner, fraction=1.0)
    assert float(mined(*batch)) == pytest.approx(float(inner(*batch)), rel=1e-6)


@every_penalty
def test_schedule_changes_the_gamma_of_the_base_in_compiled_steps(penalty, batch):
    labels, logits = batch
    base = losses.SparseCategoricalFocalCrossentropy(gamma=0.0, from_logits=True)
    loss = losses.Calibrated(base, penalty)
    model = keras.Sequential([keras.Input((6, 3)), keras.layers.Dense(3, use_bias=False)])
    model.layers[0].set_weights([np.eye(3, dtype="float32")])
    eagerly = FEW_STEPS_EAGERLY and not isinstance(penalty, losses.MDCA)
    model.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=eagerly)
    history = model.fit(
        logits,
        labels,
        batch_size=12,
        epochs=2,
        verbose=0,
        callbacks=[GammaScheduler({0: 1.0, 1: 4.0})],
    ).history["loss"]
    for gamma, value in zip((1.0, 4.0), history, strict=True):
        plain = losses.SparseCategoricalFocalCrossentropy(gamma=gamma, from_logits=True)
        expected = float(losses.Calibrated(plain, penalty)(labels, logits))
        assert value == pytest.approx(expected, rel=1e-5)
    assert base.gamma == 4.0


def test_multipliers_of_cals_can_be_read_and_set():
    penalty = losses.CALS(3, multipliers=[1.0, 2.0, 3.0])
    assert penalty.multipliers == [1.0, 2.0, 3.0]
    penalty.assign(0.5, 2.0)
    assert (penalty.multipliers, penalty.rho) == ([0.5] * 3, 2.0)
    copied = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(penalty))
    assert copied.get_config() == penalty.get_config()
    assert repr(copied) == "CALS(num_classes=3, margin=10.0, multipliers=[0.5, 0.5, 0.5], rho=2.0)"


def test_wrapper_shows_its_parts():
    loss = losses.Calibrated(cross_entropy(), losses.DCA())
    assert repr(loss).startswith("Calibrated(SparseCategoricalFocalCrossentropy(gamma=0.0")
    assert repr(loss).endswith("DCA(weight=5.0))")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.Calibrated("mse", losses.MDCA()), "`base` must be a `keras.losses.Loss`"),
        (
            lambda: losses.Calibrated(keras.losses.MeanSquaredError(), losses.MDCA()),
            "`base` must be a loss with `from_logits`",
        ),
        (
            lambda: losses.Calibrated(losses.BinaryFocalCrossentropy(), losses.MDCA()),
            "for one class per prediction",
        ),
        (
            lambda: losses.Calibrated(keras.losses.BinaryCrossentropy(), losses.MDCA()),
            "for one class per prediction",
        ),
        (lambda: losses.Calibrated(losses.get("CE"), "mdca"), "`penalty` must be a penalty object"),
        (lambda: losses.Calibrated(losses.get("CE"), losses.ACLS()), "`base` must take logits"),
        (lambda: losses.MDCA(-1.0), "`weight` must be a finite number >= 0"),
        (lambda: losses.SoftBinnedECE(num_bins=1), "`num_bins` must be a whole number >= 2"),
        (lambda: losses.SoftBinnedECE(norm=0), "`norm` must be one of 1, 2"),
        (lambda: losses.SoftBinnedACE(num_bins=2.5), "`num_bins` must be a whole number >= 2"),
        (lambda: losses.ACLS(margin=-1), "`margin` must be a finite number >= 0"),
        (lambda: losses.NACL(kernel_size=2), "`kernel_size` must be an odd whole number >= 3"),
        (lambda: losses.NACL(norm=0), "`norm` must be one of 1, 2"),
        (lambda: losses.CALS(1), "`num_classes` must be a whole number >= 2"),
        (lambda: losses.CALS(3, margin=0), "`margin` must be a finite number > 0"),
        (lambda: losses.CALS(3, multipliers=[1.0, 2.0]), "`multipliers` must be a finite number"),
        (lambda: losses.CALS(3, multipliers=0.0), "`multipliers` must be a finite number > 0"),
        (lambda: losses.CALS(3, rho=0.0), "`rho` must be a finite number > 0"),
        (
            lambda: losses.Calibrated(cross_entropy(), losses.CALS(4))([0], [[1.0, 0.0, 0.0]]),
            r"`num_classes` must be that of the predictions.*Create CALS\(3\)",
        ),
    ],
)
def test_what_cannot_be_raises(make, message):
    with pytest.raises(ValueError, match=message):
        make()
