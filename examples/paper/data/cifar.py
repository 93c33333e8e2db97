"""CIFAR-10 and CIFAR-100: 60,000 images of 32 x 32, split 45,000 / 5,000 / 10,000.

Source:
    Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from examples.paper.data._datasets import prepared
from examples.paper.data._files import decode, local_file
from examples.paper.data._split import shuffled
from examples.paper.data._types import Data, Split
from examples.paper.files import DamagedFileError, read_arrays

VALIDATION = 0.1
PIXELS = 3 * 32 * 32

_ARCHIVES = {
    "cifar10": (
        "cifar-10-batches-bin",
        {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]},
        "batches.meta.txt",
        1,
    ),
    "cifar100": (
        "cifar-100-binary",
        {"train": ["train.bin"], "test": ["test.bin"]},
        "fine_label_names.txt",
        2,
    ),
}
"""Folder, files of each part, file of the class names, and bytes of labels before the pixels, of
which the last is the class: https://www.cs.toronto.edu/~kriz/cifar.html, binary version."""


def load_cifar10(data_dir: Path | None) -> Data:
    """Return CIFAR-10.

    Args:
        data_dir: Folder that holds one of

            - `cifar10_jpeg/cifar10_{train,test}_jpeg.npz`, a lossy copy in an order of its own;
            - `cifar10.npz`, with `x_train`, `y_train`, `x_test` and `y_test` as
              `keras.datasets.cifar10.load_data` gives them;
            - `cifar-10-batches-bin`, the binary version of the official archive;
            - what tensorflow-datasets prepared.

            None downloads.

    Raises:
        FileNotFoundError: If the folder holds none of them.
    """
    file = local_file(data_dir, "cifar10_jpeg/cifar10_train_jpeg.npz")
    if file is None:
        return _load("cifar10", data_dir)
    parts = []
    for part in ("train", "test"):
        names = ("bytes", "offsets", "labels", "class_names")
        arrays = read_arrays(file.with_name(f"cifar10_{part}_jpeg.npz"), names)
        x = decode(arrays["bytes"], arrays["offsets"])
        parts.append(Split(x, arrays["labels"].astype(np.int32)))
        class_names = tuple(arrays["class_names"].tolist())
    return _data("cifar10", *parts, class_names)


def load_cifar100(data_dir: Path | None) -> Data:
    """Return CIFAR-100.

    Args:
        data_dir: Folder that holds `cifar100.npz`, `cifar-100-binary` or what tensorflow-datasets
            prepared, as for CIFAR-10; None downloads.

    Raises:
        FileNotFoundError: If the folder holds none of them.
    """
    return _load("cifar100", data_dir)


def _load(name: str, data_dir: Path | None) -> Data:
    arrays = local_file(data_dir, f"{name}.npz")
    if arrays is not None:
        return _of_keras(name, arrays)
    folder, files, names, labels = _ARCHIVES[name]
    if data_dir is not None and (data_dir / folder).is_dir():
        folder = data_dir / folder
        train, test = (
            _records([folder / file for file in files[part]], labels) for part in ("train", "test")
        )
        return _data(name, train, test, tuple((folder / names).read_text().split()))
    parts, class_names = prepared(name, ("train", "test"), data_dir)
    train, test = (Split(part["image"], part["label"].astype(np.int32)) for part in parts)
    return _data(name, train, test, class_names)


def _of_keras(name: str, file: Path) -> Data:
    arrays = read_arrays(file, ("x_train", "y_train", "x_test", "y_test"))
    train, test = (
        Split(arrays[f"x_{part}"], arrays[f"y_{part}"].reshape(-1).astype(np.int32))
        for part in ("train", "test")
    )
    return _data(name, train, test, tuple(map(str, range({"cifar10": 10, "cifar100": 100}[name]))))


def _records(files: Iterable[Path], labels: int) -> Split:
    """Return the records of files: bytes of labels, then the pixels of each channel."""
    rows = []
    for file in files:
        try:
            rows.append(np.fromfile(file, np.uint8).reshape(-1, labels + PIXELS))
        except (OSError, ValueError) as error:
            raise DamagedFileError(file, f"records of {labels + PIXELS} bytes", error) from error
    records = np.concatenate(rows)
    images = records[:, labels:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return Split(np.ascontiguousarray(images), records[:, labels - 1].astype(np.int32))


def _data(name: str, train: Split, test: Split, class_names: tuple[str, ...]) -> Data:
    rows = shuffled(len(train))
    held_out = int(VALIDATION * len(train))
    return Data(name, train.take(rows[held_out:]), train.take(rows[:held_out]), test, class_names)
