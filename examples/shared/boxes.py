"""Images with boxes, read from a folder in one of three layouts.

- BCCD: `bccd.npz` with encoded images, boxes in pixels, class names and splits.
- COCO: `annotations/*_NAME.json` for a NAME that begins with `train`, and one that begins with
  `val` or `test`; their images in the folders NAME.
- VOC: `Annotations/*.xml`, `JPEGImages/*.jpg`, and in `ImageSets/Main` the lists `trainval.txt` or
  `train.txt`, and `test.txt` or `val.txt`.
"""

import io
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from examples.paper.files import read_json

LAYOUTS = (
    "`bccd.npz`, the blood cells of github.com/Shenggan/BCCD_Dataset; or a data set in the layout "
    "of COCO (cocodataset.org: `annotations/instances_train2017.json` and "
    "`annotations/instances_val2017.json` with images in `train2017` and `val2017`) or of Pascal "
    "VOC (host.robots.ox.ac.uk/pascal/VOC: `Annotations`, `JPEGImages`, `ImageSets/Main`)"
)
CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class Picture:
    """An image that is not decoded yet, and its boxes.

    Attributes:
        name: Its file.
        encoded: Returns the bytes of the file.
        boxes: (x1, y1, x2, y2) in pixels and the class of each box.
    """

    name: str
    encoded: Callable[[], bytes]
    boxes: list[tuple[Sequence[float], str]]


@dataclass(frozen=True)
class Split:
    """Images of one size, and boxes scaled with them.

    Attributes:
        images: uint8, shape (N, height, width, 3).
        boxes: Float32 x1, y1, x2, y2 in pixels, shape (N, M, 4), padded with -1.
            Every image has at least one row of padding.
        labels: Float32 class ids, shape (N, M), padded with -1.
    """

    images: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Data:
    """Training and test images, and the names of the classes."""

    train: Split
    test: Split
    classes: list[str]


def read(folder: Path, size: tuple[int, int], limit: int | None = None) -> Data:
    """Return the data of a folder, and print a sentence about each kind of flaw.

    Args:
        folder: Folder in one of the layouts.
        size: Width and height to which all images are scaled.
        limit: Number of images to read of each split; all by default.

    Raises:
        SystemExit: If the folder has none of the layouts, or a split has no image that decodes.
    """
    readers = {"bccd.npz": _bccd, "annotations": _coco, "Annotations": _voc}
    names = {path.name for path in folder.iterdir()}
    reader = next((readers[name] for name in readers if name in names), None)
    if reader is None:
        raise SystemExit(f"--data-dir must be a folder with {LAYOUTS}. Received: {folder}.")
    *parts, classes = reader(folder)
    splits = []
    for name, pictures in zip(("training", "test"), parts, strict=True):
        split = _split(pictures[:limit], classes, size)
        if not len(split.images):
            raise SystemExit(f"{folder} has no {name} image that decodes.")
        empty = [each for k, each in enumerate(classes) if not (split.labels == k).any()]
        if empty:
            print(f"No box of the {name} images is of class {', '.join(empty)}.")
        splits.append(split)
    return Data(*splits, classes)


def _split(pictures: list[Picture], classes: list[str], size: tuple[int, int]) -> Split:
    images, kept, flaws = [], [], defaultdict(list)
    for picture in pictures:
        try:
            with Image.open(io.BytesIO(picture.encoded())) as image:
                scale = np.array(size) / image.size
                images.append(np.asarray(image.convert("RGB").resize(size)))
        except (OSError, SyntaxError, Image.DecompressionBombError):
            flaws["Images that do not decode, skipped"].append(picture.name)
            continue
        kept.append([])
        for corners, label in picture.boxes:
            scaled = np.array(corners, "float64") * np.tile(scale, 2)
            inside = np.clip(scaled, 0, np.tile(size, 2))
            if label not in classes:
                flaws["Boxes of an unknown class, skipped"].append(picture.name)
            elif not (scaled[2:] > scaled[:2]).all():
                flaws["Boxes without area, skipped"].append(picture.name)
            elif not (inside[2:] > inside[:2]).all():
                flaws["Boxes outside their image, skipped"].append(picture.name)
            else:
                kept[-1].append((inside, classes.index(label)))
                if (np.abs(inside - scaled) > 1e-6).any():
                    flaws["Boxes that reach out of their image, cut"].append(picture.name)
    for flaw, found in flaws.items():
        names = list(dict.fromkeys(found))
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        print(f"{flaw}: {len(found)}, in {', '.join(names[:10])}{more}.")
    # KerasHub's matcher of anchors fails for an image without padding.
    most = 1 + max((len(each) for each in kept), default=0)
    boxes = np.full((len(kept), most, 4), -1, "float32")
    labels = np.full((len(kept), most), -1, "float32")
    for i, each in enumerate(kept):
        for j, (corners, label) in enumerate(each):
            boxes[i, j], labels[i, j] = corners, label
    return Split(np.array(images), boxes, labels)


def _bccd(folder: Path) -> tuple[list[Picture], list[Picture], list[str]]:
    with np.load(folder / "bccd.npz", allow_pickle=False) as arrays:
        parts = {name: arrays[name] for name in arrays.files}
    classes = parts["class_names"].tolist()

    def picture(row: int) -> Picture:
        start, end = parts["offsets"][row : row + 2]
        own = parts["box_image"] == row
        labels = [classes[k] for k in parts["box_class"][own]]
        boxes = list(zip(parts["boxes_xyxy"][own].tolist(), labels, strict=True))
        return Picture(parts["names"][row], parts["bytes"][start:end].tobytes, boxes)

    train, test = ([picture(row) for row in parts[f"split_{s}"]] for s in ("trainval", "test"))
    return train, test, classes


def _coco(folder: Path) -> tuple[list[Picture], list[Picture], list[str]]:
    files = sorted((folder / "annotations").glob("*.json"))
    parts = []
    for prefixes in (("train",), ("val", "test")):
        fits = [f for f in files if f.stem.rpartition("_")[2].startswith(prefixes)]
        if not fits:
            raise SystemExit(
                f"{folder / 'annotations'} has no *_{prefixes[0]}*.json. It must hold the "
                "annotations of training images, and of validation or test images."
            )
        parts.append((folder / fits[-1].stem.rpartition("_")[2], read_json(fits[-1])))
    names = {each["id"]: each["name"] for each in parts[0][1]["categories"]}

    def pictures(images: Path, found: dict) -> list[Picture]:
        boxes = defaultdict(list)
        for each in found["annotations"]:
            if not each.get("iscrowd"):
                x, y, w, h = each["bbox"]
                label = names.get(each["category_id"], "")
                boxes[each["image_id"]].append(((x, y, x + w, y + h), label))
        return [
            Picture(each["file_name"], (images / each["file_name"]).read_bytes, boxes[each["id"]])
            for each in found["images"]
        ]

    return pictures(*parts[0]), pictures(*parts[1]), list(names.values())


def _voc(folder: Path) -> tuple[list[Picture], list[Picture], list[str]]:
    def pictures(*lists: str) -> list[Picture]:
        paths = [folder / "ImageSets/Main" / f"{name}.txt" for name in lists]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            raise SystemExit(f"{folder} has no {' or '.join(str(p) for p in paths)}.")
        return [picture(line.split()[0]) for line in path.read_text().splitlines() if line.strip()]

    def picture(name: str) -> Picture:
        root = ElementTree.parse(folder / "Annotations" / f"{name}.xml").getroot()
        boxes = []
        for each in root.iter("object"):
            corners = [float(each.findtext(f"bndbox/{c}")) for c in CORNERS]
            boxes.append((corners, each.findtext("name")))
        image = folder / "JPEGImages" / (root.findtext("filename") or f"{name}.jpg")
        return Picture(image.name, image.read_bytes, boxes)

    train, test = pictures("trainval", "train"), pictures("test", "val")
    return train, test, sorted({label for each in train for _, label in each.boxes})
