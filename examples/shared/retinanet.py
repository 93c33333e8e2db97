"""A small RetinaNet of KerasHub, and the figures of what it finds."""

import io
from contextlib import redirect_stdout

import keras
import keras_hub
import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from shared.boxes import Data
from shared.study import Run

from keras_focal import functional


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
        none = dict.fromkeys(("map", "ap50", "boxes", "boxes_half"), 0.0)
        return {**none, "ap50_by_class": [0.0] * len(data.classes)}
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
