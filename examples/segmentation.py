"""Segmentation: calibration of pixels, with and without a loss of regions.

A small U-Net gives each pixel a class: digits of scikit-learn on noisy backgrounds (eleven classes,
100 images for training), and with `--data-dir` blood cells, whose boxes are the masks (four
classes). Borders of digits and overlapping boxes are void: they have no loss and are not measured.
Each setting is a loss:

- *cross-entropy*, *focal* with gamma 2, and *FLSD-53* look at single pixels;
- *focal Tversky* and *unified focal* look at the overlap of each class, alone or with a focal loss;
- *focal + Dice* adds both in a `CompoundLoss`. The Dice loss is `FocalTversky(0.5, 0.5, 1.0)`, which
  ignores void pixels, as `keras.losses.Dice` cannot. In *scheduled focal + Dice* a `GammaScheduler`
  changes the gamma inside the sum from 5 to 3 to 1;
- *+ NACL* and *+ soft-binned ECE* add a penalty that trains calibration to cross-entropy.

Dice is the mean over classes of the overlap of what is predicted and what is there, over all test
pixels. ECE and NLL are those of all pixels; classwise ECE is the mean over classes, image ECE the
mean over images of the ECE of each. ECE at T follows a temperature fitted on held-out images.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import keras
import numpy as np
from keras import layers
from scenes import VOID, WANTED, blood_cells, digits
from study import Figure, Run, Study
from vision import Data, Split

from keras_focal import calibration, callbacks, losses, metrics

STUDY = Study(
    "segmentation",
    __doc__,
    baseline="cross-entropy",
    figures=[
        Figure("dice", "Dice %", "more", 100, 1),
        Figure("nll", "NLL"),
        Figure("ece", "ECE %", "less", 100, 2),
        Figure("classwise_ece", "classwise ECE %", "less", 100, 2),
        Figure("image_ece", "image ECE %", "less", 100, 2),
        Figure("temperature", "T", "neither", 1, 2),
        Figure("ece_at_t", "ECE % at T", "less", 100, 2),
        Figure("cells_dice", "cells: Dice %", "more", 100, 1),
        Figure("cells_ece", "cells: ECE %", "less", 100, 2),
        Figure("cells_ece_at_t", "cells: ECE % at T", "less", 100, 2),
    ],
    command="--data-dir bccd",
)
PIXELS = {"from_logits": True, "ignore_class": VOID}
RATE, BATCH = 3e-3, 10


def focal(gamma: float | str = 2.0) -> keras.losses.Loss:
    return losses.SparseCategoricalFocalCrossentropy(gamma=gamma, **PIXELS)


def with_dice(loss: keras.losses.Loss) -> keras.losses.Loss:
    return losses.CompoundLoss([loss, losses.FocalTversky(0.5, 0.5, gamma=1.0, **PIXELS)])


SETTINGS: dict[str, Callable[[], keras.losses.Loss]] = {
    "cross-entropy": partial(losses.get, "CE", **PIXELS),
    "focal": focal,
    "FLSD-53": partial(focal, "FLSD-53"),
    "focal Tversky": partial(losses.FocalTversky, **PIXELS),
    "unified focal": partial(losses.UnifiedFocalLoss, **PIXELS),
    "focal + Dice": lambda: with_dice(focal()),
    "scheduled focal + Dice": lambda: with_dice(focal()),
    "+ NACL": lambda: losses.Calibrated(losses.get("CE", **PIXELS), losses.NACL()),
    "+ soft-binned ECE": lambda: losses.Calibrated(
        losses.get("CE", **PIXELS), losses.SoftBinnedECE()
    ),
}
SHOWN = ("cross-entropy", "focal + Dice")


def unet(shape: tuple[int, ...], num_classes: int) -> keras.Model:
    """Return a U-Net with 16, 32 and 64 channels. It gives the logits of each pixel."""

    def block(x: keras.KerasTensor, channels: int) -> keras.KerasTensor:
        x = layers.Conv2D(channels, 3, padding="same", use_bias=False)(x)
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))

    inputs = keras.Input(shape)
    fine = block(inputs, 16)
    middle = block(layers.MaxPooling2D()(fine), 32)
    x = block(block(layers.MaxPooling2D()(middle), 64), 64)
    for skip, channels in ((middle, 32), (fine, 16)):
        x = layers.Concatenate()([layers.UpSampling2D()(x), skip])
        x = block(x, channels)
    return keras.Model(inputs, layers.Conv2D(num_classes, 1)(x))


def train(name: str, epochs: int, sets: Mapping[str, Callable], out: Path, seed: int) -> Run:
    """Train with a loss on each data set, and return the figures of its test pixels."""
    found: Run = {}
    for prefix, load in sets.items():
        data, num_classes = load(seed)
        model = unet(data.train.x.shape[1:], num_classes)
        model.compile(keras.optimizers.Adam(RATE), SETTINGS[name]())
        schedule = [callbacks.GammaScheduler("FLSc-531")] if name.startswith("scheduled") else []
        x, y = data.train.x, data.train.y
        model.fit(x, y, batch_size=BATCH, epochs=epochs, callbacks=schedule, verbose=0)
        found |= {prefix + key: value for key, value in measure(model, data).items()}
        if name in SHOWN:
            out.mkdir(parents=True, exist_ok=True)
            few = Split(data.test.x[:1], data.test.y[:1])
            logits = model.predict(few.x, verbose=0)
            np.savez(out / f"{prefix}{SHOWN.index(name)}.npz", x=few.x, y=few.y, logits=logits)
    return found


def measure(model: keras.Model, data: Data, batch: int = 50) -> Run:
    """Return the figures of the test pixels. One batch of predictions is held at a time."""
    held_out = model.predict(data.validation.x, batch_size=batch, verbose=0)
    fit = calibration.fit_temperature(held_out, data.validation.y, ignore_class=VOID)
    names = {"nll": metrics.NegativeLogLikelihood, "classwise_ece": metrics.ClasswiseECE}
    names |= {"ece": metrics.ECE, "ece_at_t": metrics.ECE}
    pixels = {name: metric(**PIXELS) for name, metric in names.items()}
    image, image_errors = metrics.ECE(**PIXELS), []
    overlap = keras.metrics.MeanIoU(held_out.shape[-1], ignore_class=VOID, sparse_y_pred=False)
    for begin in range(0, len(data.test.x), batch):
        y = data.test.y[begin : begin + batch]
        logits = np.asarray(model.predict_on_batch(data.test.x[begin : begin + batch]))
        for name, metric in pixels.items():
            metric.update_state(y, logits / np.float32(fit.temperature if name[-1] == "t" else 1))
        overlap.update_state(y, logits)
        for one in zip(y, logits, strict=True):
            image.reset_state()
            image.update_state(*one)
            image_errors.append(float(image.result()))
    found = {name: float(metric.result()) for name, metric in pixels.items()}
    table = np.asarray(overlap.total_cm)
    dice = 2 * np.diag(table) / (table.sum(axis=0) + table.sum(axis=1))
    return {
        **found,
        "image_ece": float(np.mean(image_errors)),
        "dice": float(np.nanmean(dice)),
        "temperature": fit.temperature,
    }
