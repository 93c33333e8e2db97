"""CIFAR-10 and CIFAR-100: 60,000 images of 32 x 32, split 45,000 / 5,000 / 10,000.

Source:
    Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
"""

from pathlib import Path

import numpy as np

from examples.paper.data._datasets import prepared
from examples.paper.data._files import decode, local_file
from examples.paper.data._split import shuffled
from examples.paper.data._types import Data, Split
from examples.paper.files import read_arrays

VALIDATION = 0.1


def load_cifar10(data_dir: Path | None) -> Data:
    """Return CIFAR-10.

    Args:
        data_dir: Folder that holds `cifar10_jpeg/cifar10_{train,test}_jpeg.npz`, a lossy copy in
            an order of its own, or what tensorflow-datasets prepared; None downloads.

    Raises:
        FileNotFoundError: If the folder holds neither.
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
        data_dir: Folder that holds what tensorflow-datasets prepared; None downloads.

    Raises:
        FileNotFoundError: If the folder does not hold it.
    """
    return _load("cifar100", data_dir)


def _load(name: str, data_dir: Path | None) -> Data:
    parts, class_names = prepared(name, ("train", "test"), data_dir)
    train, test = (Split(part["image"], part["label"].astype(np.int32)) for part in parts)
    return _data(name, train, test, class_names)


def _data(name: str, train: Split, test: Split, class_names: tuple[str, ...]) -> Data:
    rows = shuffled(len(train))
    held_out = int(VALIDATION * len(train))
    return Data(name, train.take(rows[held_out:]), train.take(rows[:held_out]), test, class_names)
