"""Which loss for the scores of a dense detector?

RetinaNet is where focal loss comes from: each of thousands of anchors is a class or background, and
nearly all are easy background. KerasHub's RetinaNet with a small ResNet and random weights learns
to find blood cells (BCCD: 292 images for training, 72 for test, three classes) with focal loss of
this package, of Keras, with plain cross-entropy, with a scheduled gamma, and with a gamma for each
sample. All but one start with a bias that gives each class at each anchor a probability of 0.01.

mAP and AP50 are those of COCO (pycocotools). D-ECE and LaECE compare the scores of all boxes of
0.05 or more with what was matched at IoU 0.5. Both can be small because few boxes are left: the
columns "of 0.5 or more" keep only those boxes, and say how many are left.

The settings differ in nothing else, and learning rate and loss weights were not tuned for any of
them. At the same loss weights cross-entropy gives scores more weight against the positions of boxes
than a focal loss does, so its row is no verdict on it. The focal loss of Keras is the same function
as the first but for rounding: its row shows what chance does over a few seeds.

KerasHub 0.32 puts its `classification_head_prior_probability` into the head of the boxes; the
example sets the bias of the scores itself. `NormalizedByPositives` would change nothing here, since
KerasHub divides by the number of positive anchors. `VarifocalLoss` needs the IoU of each anchor as
its target, and KerasHub gives 0 or 1.
"""

from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from shared.boxes import LAYOUTS, Data, read
from shared.retinanet import detector, measure
from shared.study import Figure, Run, Study

from keras_focal import callbacks, losses

PRIOR = 0.01
FIGURES = [
    Figure("map", "mAP %", "more", 100, 1),
    Figure("ap50", "AP50 %", "more", 100, 1),
    Figure("d_ece", "D-ECE %", factor=100, digits=1),
    Figure("la_ece", "LaECE %", factor=100, digits=1),
    Figure("boxes", "boxes per image", "neither", digits=1),
    Figure("d_ece_half", "D-ECE % of 0.5 or more", factor=100, digits=1),
    Figure("boxes_half", "boxes of 0.5 or more", "neither", digits=1),
    Figure("loss", "training loss", "neither", digits=3),
]
STUDY = Study("detection", __doc__, "focal, gamma 2", FIGURES, "--data-dir bccd --seeds 2")

focal = partial(losses.BinaryFocalCrossentropy, alpha=0.25, from_logits=True, reduction="sum")
keras_focal_loss = partial(
    keras.losses.BinaryFocalCrossentropy,
    apply_class_balancing=True,
    from_logits=True,
    reduction="sum",
)
cross_entropy = partial(keras.losses.BinaryCrossentropy, from_logits=True, reduction="sum")
SETTINGS = {
    "focal, gamma 2": {"loss": focal},
    "focal of Keras": {"loss": keras_focal_loss},
    "cross-entropy": {"loss": cross_entropy},
    "focal, no prior": {"loss": focal, "prior": 0.5},
    "focal, FLSc-531": {"loss": focal, "schedule": "FLSc-531"},
    "focal, FLSD-53": {"loss": partial(focal, "FLSD-53")},
}


def train(arguments, data: Data, seed: int, *, loss, prior=PRIOR, schedule=None) -> Run:
    """Train a detector with a loss of its scores, and measure it."""
    model = detector(arguments.size, len(data.classes), prior)
    images, targets = scaled(data.train.images), data.train
    batches = tf.data.Dataset.from_tensor_slices(
        (images, {"boxes": targets.boxes, "labels": targets.labels})
    )
    batches = batches.shuffle(len(images), seed=seed).batch(4)
    steps = arguments.epochs * len(batches)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=1e-3, warmup_steps=steps // 10
    )
    model.compile(
        keras.optimizers.Adam(rate, clipnorm=10.0),
        box_loss=keras.losses.MeanAbsoluteError(reduction="sum"),
        classification_loss=loss(),
        # These losses are means over classes, where the paper sums.
        loss_weights={"bbox_regression": 1.0, "cls_logits": float(len(data.classes))},
    )
    history = model.fit(
        batches,
        shuffle=False,  # the batches are
        epochs=arguments.epochs,
        callbacks=[callbacks.GammaScheduler(schedule)] if schedule else [],
        verbose=2,
    ).history["loss"]
    found = model.predict(scaled(data.test.images), batch_size=4, verbose=0)
    first = zip(found["boxes"][0], found["labels"][0], found["confidence"][0], strict=True)
    shown = [[*map(float, box), int(label), float(p)] for box, label, p in first if p >= 0.3]
    return {**measure(found, data), "loss": history[-1], "losses": history, "shown": shown}


def scaled(images: np.ndarray) -> np.ndarray:
    return images.astype("float32") / 127.5 - 1.0


def draw(data: Data, runs: list[Run], file: Path) -> None:
    """Draw the losses by epoch, and what the first setting finds in a test image."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(11, 4), layout="constrained")
    curves, image = canvas.subplots(1, 2)
    for name in dict.fromkeys(run["setting"] for run in runs):
        own = np.array([run["losses"] for run in runs if run["setting"] == name])
        curves.plot(np.arange(1, own.shape[1] + 1), own.mean(axis=0), label=name)
    curves.set(xlabel="epoch", ylabel="training loss", yscale="log")
    curves.legend(fontsize="small")
    image.imshow(data.test.images[0])
    title = f"{runs[0]['setting']}: boxes of 0.5 or more in a test image"
    image.set(xticks=[], yticks=[], title=title, autoscale_on=False)
    for k, name in enumerate(data.classes):
        image.plot([], [], color=f"C{k}", label=name)
    for x1, y1, x2, y2, label, score in (box for box in runs[0]["shown"] if box[-1] >= 0.5):
        image.plot([x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], color=f"C{label}")
        image.text(x1 + 1, y1 + 1, f"{score:.2f}", fontsize=8, va="top", clip_on=True)
    image.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    file.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(file, dpi=100)


def text(runs: list[Run], classes: list[str]) -> str:
    """Return what the page says beside the tables."""
    of_classes = [run["ap50_by_class"] for run in runs if run["setting"] == STUDY.baseline]
    means = zip(classes, np.mean(of_classes, axis=0), strict=True)
    return (
        f"AP50 of each class with {STUDY.baseline}: "
        + ", ".join(f"{name} {mean:.0%}" for name, mean in means)
        + ". Platelets are smaller than the smallest anchor at this size of images."
    )


def main() -> None:
    parser = STUDY.parser(epochs=8, seeds=3, data=LAYOUTS)
    parser.add_argument("--size", type=int, nargs=2, default=(128, 96), metavar=("WIDTH", "HEIGHT"))
    arguments = STUDY.parse(parser)
    if any(side < 32 or side % 16 for side in arguments.size):
        parser.error(f"--size must be multiples of 16, at least 32. Received: {arguments.size}.")
    arguments.size = tuple(arguments.size)
    data = read(arguments.data_dir, arguments.size, limit=8 if arguments.quick else None)
    names = ["focal, FLSc-531"] if arguments.quick else SETTINGS
    settings = {name: partial(train, arguments, data, **SETTINGS[name]) for name in names}
    runs = STUDY.run(arguments, settings)
    more = text(runs, data.classes) if arguments.publish else ""
    STUDY.report(arguments, runs, partial(draw, data), more)


if __name__ == "__main__":
    main()
