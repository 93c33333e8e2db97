"""Segmentation: calibration of pixels, with and without a loss of regions.

A small U-Net gives each pixel a class. The images are digits of scikit-learn on noisy backgrounds
(eleven classes, 100 images for training), or with `--data-dir` blood cells, whose boxes are the
masks (four classes). Borders of digits and overlaps of boxes are void: they have no loss and are
not measured. Each setting is a loss:

- *cross-entropy*, *focal* with gamma 2, and *FLSD-53* look at single pixels;
- *focal Tversky* looks at the overlap of each class, *unified focal* adds a focal loss to it;
- *focal + Dice* adds both in a `CompoundLoss`. Its Dice loss is `FocalTversky(0.5, 0.5, 1.0)`,
  which ignores void pixels, as `keras.losses.Dice` cannot. In *scheduled focal + Dice* a
  `GammaScheduler` changes the gamma inside the sum from 5 to 3 to 1;
- *+ NACL* and *+ soft-binned ECE* add a penalty that trains calibration to cross-entropy.

Dice is the mean over classes of the overlap of what is predicted and what is there, over all test
pixels. ECE and NLL are those of all pixels; classwise ECE is the mean over classes, image ECE that
over 50 images of the ECE of each. ECE at T follows a temperature fitted on held-out images.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import keras
import numpy as np
from keras import layers
from shared.scenes import VOID, WANTED, blood_cells, digits
from shared.strips import draw, save
from shared.study import Figure, Run, Study

from examples.paper.data import Data
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
    ],
)
PIXELS = {"from_logits": True, "ignore_class": VOID}
RATE, BATCH, IMAGES = 1e-2, 10, 50


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
SHOWN = ("cross-entropy", "scheduled focal + Dice")


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
        x = layers.Conv2DTranspose(channels, 2, strides=2)(x)
        x = block(layers.Concatenate()([x, skip]), channels)
    return keras.Model(inputs, layers.Conv2D(num_classes, 1)(x))


def train(name: str, epochs: int, load: Callable[[int], Data], out: Path, seed: int) -> Run:
    """Train with a loss, keep what it makes of one test image, and return the figures of all."""
    data = load(seed)
    model = unet(data.train.x.shape[1:], data.num_classes)
    model.compile(keras.optimizers.Adam(RATE), SETTINGS[name]())
    schedule = [callbacks.GammaScheduler("FLSc-531")] if name.startswith("scheduled") else []
    x, y = data.train.x, data.train.y
    model.fit(x, y, batch_size=BATCH, epochs=epochs, callbacks=schedule, verbose=0)
    if name in SHOWN:
        few = data.test.x[:2]
        save(out, name, few, data.test.y[:2], model.predict(few, verbose=0))
    return measure(model, data)


def measure(model: keras.Model, data: Data, batch: int = 50) -> Run:
    """Return the figures of the test pixels. One batch of their predictions is held at a time."""
    held_out = model.predict(data.validation.x, batch_size=batch, verbose=0)
    fit = calibration.fit_temperature(held_out, data.validation.y, ignore_class=VOID)
    names = {"nll": metrics.NegativeLogLikelihood, "classwise_ece": metrics.ClasswiseECE}
    names |= {"ece": metrics.ECE, "ece_at_t": metrics.ECE}
    pixels = {name: metric(**PIXELS) for name, metric in names.items()}
    scale = np.float32(1 / fit.temperature)
    image, image_errors = metrics.ECE(**PIXELS), []
    overlap = keras.metrics.MeanIoU(held_out.shape[-1], ignore_class=VOID, sparse_y_pred=False)
    for begin in range(0, len(data.test.x), batch):
        y = data.test.y[begin : begin + batch]
        logits = np.asarray(model.predict_on_batch(data.test.x[begin : begin + batch]))
        for name, metric in pixels.items():
            metric.update_state(y, logits * scale if name == "ece_at_t" else logits)
        overlap.update_state(y, logits)
        for one in zip(y[: max(0, IMAGES - begin)], logits, strict=False):
            image.reset_state()
            image.update_state(*one)
            image_errors.append(float(image.result()))
    found = {name: float(metric.result()) for name, metric in pixels.items()}
    table = np.asarray(overlap.total_cm)
    both = table.sum(axis=0) + table.sum(axis=1)
    dice = 2 * np.diag(table)[both > 0] / both[both > 0]
    states = [np.asarray(state) for metric in pixels.values() for state in metric.variables]
    return {
        **found,
        "state_kb": sum(state.nbytes for state in states) / 1024,
        "pixels": int((data.test.y != VOID).sum()),
        "image_ece": float(np.mean(image_errors)),
        "dice": float(np.mean(dice)),
        "temperature": fit.temperature,
    }


def text(runs: list[Run]) -> str:
    """Return what the page says beside the tables."""
    names = dict.fromkeys(run["setting"] for run in runs)
    best = [
        f"*{pick(names, key=lambda name: STUDY.values(runs, name, figure).mean())}* has {words}"
        for words, figure, pick in (
            ("the highest Dice", "dice", max),
            ("the lowest NLL", "nll", min),
            ("the lowest ECE", "ece", min),
            ("the lowest ECE at T", "ece_at_t", min),
        )
    ]
    pixels, state = runs[0]["pixels"], runs[0]["state_kb"]
    return (
        f"In the mean, {', '.join(best)}. {len({run['seed'] for run in runs})} seeds show large "
        "differences alone, and their spread is itself uncertain.\n\n"
        f"**Memory.** Each seed measures {pixels:,} test pixels in batches. The four metrics of "
        f"pixels together hold {state:.0f} kB, however many pixels there are; their logits of 11 "
        f"classes would take {pixels * 11 * 4 / 2**20:.0f} MB."
    )


def main() -> None:
    parser = STUDY.parser(epochs=20, seeds=3)
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help=WANTED)
    arguments = STUDY.parse(parser)
    if arguments.publish and arguments.data_dir is not None:
        parser.error("--publish shows the digits: leave --data-dir out.")
    sizes, cells = (20, 10, 20) if arguments.quick else (100, 50, 500), None
    if arguments.data_dir is not None:
        cells = blood_cells(arguments.data_dir, (10, 5, 5) if arguments.quick else (60, 87, 72))

    def load(seed: int) -> Data:
        return digits(seed, sizes) if cells is None else cells

    names = SHOWN if arguments.quick else SETTINGS
    settings = {n: partial(train, n, arguments.epochs, load, arguments.out) for n in names}
    runs = STUDY.run(arguments, settings)
    picture = partial(draw, STUDY, folder=arguments.out, names=SHOWN)
    STUDY.report(arguments, runs, picture, text(runs))


if __name__ == "__main__":
    main()
