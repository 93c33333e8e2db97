"""Which loss for the scores of a dense detector?

RetinaNet is where focal loss comes from: each of thousands of anchors is a class or background, and
nearly all are easy background. KerasHub's RetinaNet with a small ResNet and random weights learns
to find blood cells (BCCD: 292 images for training, 72 for test, three classes) with focal loss of
this package, of Keras, with plain cross-entropy, with a scheduled gamma, and with a gamma for each
sample. All but one start with a bias that gives each class at each anchor a probability of 0.01.

mAP and AP50 are those of COCO (pycocotools). D-ECE and LaECE compare the scores of all boxes of
0.05 or more with what was matched at IoU 0.5. Both can be small because few boxes are left: the
columns "of 0.5 or more" keep only those boxes, and say how many are left.
"""

import io
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path

from boxes import LAYOUTS, Data, read
from study import Figure, Run, Study

# isort: split
import keras
import keras_hub
import numpy as np
import tensorflow as tf
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from keras_focal import callbacks, functional, losses

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
STUDY = Study(
    "detection", __doc__, "focal, gamma 2", FIGURES, "--data-dir ../shared/data/bccd --seeds 2"
)

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


def detector(size: tuple[int, int], num_classes: int, prior: float) -> keras.Model:
    """Return a RetinaNet of strides 8 and 16 with random weights."""
    width, height = size
    encoder = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 64, 128],
        stackwise_num_blocks=[1, 1, 1],
        stackwise_num_strides=[1, 2, 2],
        block_type="basic_block",
        image_shape=(height, width, 3),
    )
    levels = {"min_level": 3, "max_level": 4}
    pyramid = keras_hub.models.RetinaNetBackbone(
        encoder, use_p5=False, image_shape=(height, width, 3), **levels
    )
    model = keras_hub.models.RetinaNetObjectDetector(
        pyramid,
        num_classes=num_classes,
        bounding_box_format="xyxy",
        anchor_generator=keras_hub.layers.AnchorGenerator(
            "xyxy", num_scales=3, aspect_ratios=[1.0], anchor_size=width / 80, **levels
        ),
        pre_logits_num_conv_layers=0,
        prediction_decoder=keras_hub.layers.NonMaxSuppression(
            "xyxy", from_logits=True, confidence_threshold=0.05
        ),
    )
    # Boxes that no anchor overlaps by half get the nearest one.
    model.label_encoder.box_matcher.force_match_for_each_col = True
    # KerasHub 0.32 gives the bias of the prior to the head of the boxes.
    for head, p in ((model.classification_head, prior), (model.box_head, 0.5)):
        bias = head.prediction_layer.bias
        bias.assign(np.full(bias.shape, np.log(p / (1 - p))))
    return model


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


def measure(found: dict[str, np.ndarray], data: Data) -> Run:
    """Return the figures of detections, (N, M) with padding of confidence -1, on test images."""
    is_box, is_found = data.test.labels >= 0, found["confidence"] > 0
    truth = as_coco(data.test.boxes, data.test.labels, is_box)
    dataset = {
        "images": [{"id": i} for i in range(len(is_box))],
        "categories": [{"id": k} for k in range(len(data.classes))],
        "annotations": [each | {"area": np.prod(each["bbox"][2:]), "iscrowd": 0} for each in truth],
    }
    if not is_found.any():
        return {"map": 0.0, "ap50": 0.0, "boxes": 0.0, "boxes_half": 0.0}
    results = as_coco(found["boxes"], found["labels"], is_found, found["confidence"])
    with redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = dataset
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    # At IoU 0.5, of boxes of all sizes, at most 100 in an image.
    precision = evaluation.eval["precision"][0, :, :, 0, -1]
    scores, overlaps, labels = matched(evaluation)
    half = scores >= 0.5
    return {
        "map": evaluation.stats[0],
        "ap50": evaluation.stats[1],
        "ap50_by_class": precision.mean(axis=0).tolist(),
        "d_ece": float(functional.detection_calibration_error(overlaps > 0, scores)),
        "la_ece": float(
            functional.localization_aware_calibration_error(
                overlaps, scores, labels, num_classes=len(data.classes)
            )
        ),
        "boxes": len(scores) / len(is_box),
        "d_ece_half": float(
            functional.detection_calibration_error(overlaps[half] > 0, scores[half])
        ),
        "boxes_half": half.sum() / len(is_box),
    }


def as_coco(boxes, labels, is_box, scores=None) -> list[dict]:
    """Return boxes as COCO's annotations, or as results if they have scores."""
    return [
        {
            "id": number,
            "image_id": int(i),
            "category_id": int(labels[i, j]),
            "bbox": [float(z) for z in (*boxes[i, j, :2], *(boxes[i, j, 2:] - boxes[i, j, :2]))],
            **({} if scores is None else {"score": float(scores[i, j])}),
        }
        for number, (i, j) in enumerate(np.argwhere(is_box), 1)
    ]


def matched(evaluation: COCOeval) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return score, overlap with the matched object (0 without one), and class of all boxes."""
    rows = []
    for each in evaluation.evalImgs:
        if each is None or each["aRng"] != evaluation.params.areaRng[0]:
            continue
        overlaps = evaluation.ious[each["image_id"], each["category_id"]]
        # The first threshold of IoU is 0.5; 0 is no object.
        for d, (score, match) in enumerate(
            zip(each["dtScores"], each["dtMatches"][0], strict=True)
        ):
            overlap = overlaps[d, each["gtIds"].index(match)] if match else 0.0
            rows.append((score, overlap, each["category_id"]))
    scores, overlaps, labels = np.array(rows, "float32").T
    return scores, overlaps, labels.astype("int32")


def draw(data: Data, runs: list[Run], file: Path) -> None:
    """Draw the losses by epoch, and what the baseline finds in a test image."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(11, 4), layout="constrained")
    curves, image = canvas.subplots(1, 2)
    for name in SETTINGS:
        own = np.array([run["losses"] for run in runs if run["setting"] == name])
        curves.plot(np.arange(1, own.shape[1] + 1), own.mean(axis=0), label=name)
    curves.set(xlabel="epoch", ylabel="training loss", yscale="log")
    curves.legend(fontsize="small")
    image.imshow(data.test.images[0])
    image.set(xticks=[], yticks=[], title=f"{STUDY.baseline}: boxes of score 0.3 or more")
    for x1, y1, x2, y2, label, score in runs[0]["shown"]:
        color = f"C{label}"
        image.plot([x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], color=color, linewidth=1.5)
        text = f"{data.classes[label]} {score:.2f}"
        image.text(x1, y1, text, fontsize=6, color="white", backgroundcolor=color)
    file.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(file, dpi=100)


def main() -> None:
    parser = STUDY.parser(epochs=8, seeds=3, data=LAYOUTS)
    parser.add_argument("--size", type=int, nargs=2, default=(128, 96), metavar=("WIDTH", "HEIGHT"))
    arguments = STUDY.parse(parser)
    if any(side < 32 or side % 16 for side in arguments.size):
        parser.error(f"--size must be multiples of 16, at least 32. Received: {arguments.size}.")
    data = read(arguments.data_dir, tuple(arguments.size), limit=8 if arguments.quick else None)
    settings = {name: partial(train, arguments, data, **how) for name, how in SETTINGS.items()}
    runs = STUDY.run(arguments, settings)
    STUDY.report(arguments, runs, partial(draw, data))


if __name__ == "__main__":
    main()
