"""Images with a class for each pixel: digits on backgrounds, and blood cells.

Classes are ids, 0 the background, `VOID` where no class is asked for.
"""

import io
from pathlib import Path
from zipfile import BadZipFile

import keras
import numpy as np

from examples.paper.data import Data, Split

VOID = 255
FILE = "bccd.npz"
WANTED = (
    f"{FILE} of the blood cells (github.com/Shenggan/BCCD_Dataset), with arrays `bytes` and "
    "`offsets` of the encoded images, `names`, `size_wh`, `boxes_xyxy` in pixels, `box_image`, "
    "`box_class`, `class_names`, and rows of images `split_train`, `split_val` and `split_test`"
)
BOX_ARRAYS = ("bytes", "offsets", "names", "size_wh", "boxes_xyxy", "box_image", "box_class")
SPLITS = ("split_train", "split_val", "split_test")
HEIGHT, WIDTH = 36, 48


def digits(seed: int, sizes: tuple[int, int, int]) -> Data:
    """Return scenes of 32 x 32 with four of scikit-learn's digits on a noisy background.

    Pixels of half the ink or more are of the digit's class, 1 to 10; the border, where there is
    less, is void. Training, held-out and test scenes have digits of their own.
    """
    from sklearn import datasets

    source, rng = datasets.load_digits(), np.random.default_rng(seed)
    images = (source.images[..., None] / 16.0).astype("float32")
    ink = keras.ops.convert_to_numpy(keras.ops.image.resize(images, (12, 12))[..., 0])
    order = rng.permutation(len(source.target))

    def scenes(glyphs: np.ndarray, number: int) -> Split:
        background = np.kron(rng.uniform(0, 0.5, (number, 8, 8)), np.ones((4, 4)))
        x = (background + rng.normal(0, 0.08, background.shape)).astype("float32")
        y = np.zeros(x.shape, "int32")
        for image in range(number):
            for corner in np.ndindex(2, 2):
                (top, left), glyph = (
                    16 * np.array(corner) + rng.integers(0, 5, 2),
                    rng.choice(glyphs),
                )
                window = (image, slice(top, top + 12), slice(left, left + 12))
                x[window] += rng.uniform(0.4, 0.8) * ink[glyph]
                y[window] = np.where(ink[glyph] > 0.1, VOID, 0)
                y[window][ink[glyph] >= 0.5] = source.target[glyph] + 1
        return Split(x[..., None], y)

    parts = np.split(order, [500, 700])
    scenes_of = (scenes(part, size) for part, size in zip(parts, sizes, strict=True))
    return Data("digits", *scenes_of, ("background", *map(str, range(10))))


def blood_cells(folder: Path, sizes: tuple[int, int, int]) -> Data:
    """Return blood cells at 36 x 48 pixels, their boxes as masks.

    Boxes of a class are filled; where two classes overlap the pixel is void. Boxes are cut at the
    edges of the image, those without area are left out, and so are images that do not decode, which
    are named. Of each part no more than its size is read.

    Raises:
        SystemExit: If the file is missing or is not such a file, or a box names no class or image.
    """
    arrays = _read(folder / FILE)
    num_classes, number = 1 + len(arrays["class_names"]), len(arrays["names"])
    for key, most in (("box_class", num_classes - 1), ("box_image", number)):
        wrong = arrays[key][(arrays[key] < 0) | (arrays[key] >= most)]
        if len(wrong):
            raise SystemExit(f"{FILE}: `{key}` must be in [0, {most}). Received: {wrong[0]}.")
    parts, bad = [], []
    for split, size in zip(SPLITS, sizes, strict=True):
        images = {row: _decoded(arrays, row) for row in arrays[split][:size]}
        bad += [str(arrays["names"][row]) for row, image in images.items() if image is None]
        rows = [row for row, image in images.items() if image is not None]
        if not rows:
            raise SystemExit(f"{FILE}: `{split}` has no image that decodes.")
        masks = [_mask(arrays, row, num_classes) for row in rows]
        parts.append(Split(np.stack([images[row] for row in rows]), np.stack(masks)))
    if bad:
        print(f"{len(bad)} images do not decode and are left out: {', '.join(bad)}")
    return Data("BCCD", *parts, ("background", *map(str, arrays["class_names"])))


def _read(file: Path) -> dict[str, np.ndarray]:
    if not file.is_file():
        raise SystemExit(f"--data-dir must hold {WANTED}. Received: {file.parent}.")
    wanted = (*BOX_ARRAYS, "class_names", *SPLITS)
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            missing = [name for name in wanted if name not in arrays]
            if not missing:
                return {name: arrays[name] for name in wanted}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise SystemExit(f"{file} cannot be read as .npz: {error}") from error
    raise SystemExit(f"{file} has no {', '.join(missing)}: it must hold {WANTED}.")


def _decoded(arrays: dict[str, np.ndarray], row: int) -> np.ndarray | None:
    """Return an image in [0, 1], or None."""
    from PIL import Image, UnidentifiedImageError

    begin, end = arrays["offsets"][row : row + 2]
    try:
        with Image.open(io.BytesIO(arrays["bytes"][begin:end].tobytes())) as image:
            small = image.convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BOX)
    except (UnidentifiedImageError, OSError):
        return None
    return np.asarray(small, "float32") / 255.0


def _mask(arrays: dict[str, np.ndarray], row: int, num_classes: int) -> np.ndarray:
    """Return the class ids of the pixels of an image."""
    scale = np.tile((WIDTH, HEIGHT) / arrays["size_wh"][row], 2)
    is_class = np.zeros((num_classes, HEIGHT, WIDTH), bool)
    for box in np.flatnonzero(arrays["box_image"] == row):
        left, top, right, bottom = arrays["boxes_xyxy"][box]
        if right > left and bottom > top:
            left, top, right, bottom = (
                np.rint(arrays["boxes_xyxy"][box] * scale).astype(int).clip(0)
            )
            is_class[arrays["box_class"][box] + 1, top:bottom, left:right] = True
    return np.where(is_class.sum(axis=0) > 1, VOID, is_class.argmax(axis=0)).astype("int32")
