"""Every row of the paper's tables, and some losses beside them, train a small net on digits."""

import keras
import numpy as np
import pytest

from keras_focal import losses
from keras_focal.callbacks import GammaScheduler

BACKEND = keras.backend.backend()
EPOCHS = 4

OTHERS = {
    "margin": lambda: losses.MarginLabelSmoothingCrossentropy(margin=2.0, from_logits=True),
    "dual": lambda: losses.DualFocalCrossentropy(from_logits=True),
    "mining": lambda: losses.HardExampleMining(losses.BrierLoss(from_logits=True), 0.5),
}


@pytest.fixture(scope="module")
def digits():
    sklearn = pytest.importorskip("sklearn.datasets")
    x, y = sklearn.load_digits(return_X_y=True)
    return (x[:1024] / 16.0).astype("float32"), y[:1024].astype("int32")


USUAL = {"MMCE", "FLSc-531"}
NAMES = [
    pytest.param(name, marks=[] if name in USUAL else pytest.mark.nightly)
    for name in [*(row.name for row in losses.list()), *OTHERS]
]


@pytest.mark.parametrize("name", NAMES)
def test_loss_of_real_digits_falls(name, digits):
    x, y = digits
    rows = {row.name: row for row in losses.list()}
    model = keras.Sequential(
        [keras.Input((64,)), keras.layers.Dense(32, "relu"), keras.layers.Dense(10)]
    )
    loss = OTHERS[name]() if name in OTHERS else losses.get(name, from_logits=True)
    model.compile(
        keras.optimizers.Adam(1e-2), loss, metrics=["accuracy"], jit_compile=BACKEND == "jax"
    )
    callbacks = []
    if name in rows and rows[name].callback:
        assert rows[name].callback == f'GammaScheduler("{name}")'
        callbacks = [GammaScheduler(name)]
    history = model.fit(x, y, 128, EPOCHS, verbose=0, callbacks=callbacks).history
    assert np.isfinite(history["loss"]).all()
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    assert history["accuracy"][-1] > 0.6
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
