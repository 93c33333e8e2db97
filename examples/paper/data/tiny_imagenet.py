"""Tiny-ImageNet: images of 64 x 64 in 200 classes, split 90,000 / 10,000 / 10,000.

The published validation part is the test part; a tenth of the training images of each class, 50 of
500, are held out for validation.

Source:
    Le and Yang, Tiny ImageNet Visual Recognition Challenge, 2015.
"""

from pathlib import Path

import numpy as np

from examples.paper.data._datasets import prepared
from examples.paper.data._files import decode, local_file
from examples.paper.data._split import tenth_of_each_class
from examples.paper.data._types import Data, Split
from examples.paper.files import read_arrays


def load_tiny_imagenet(data_dir: Path | None) -> Data:
    """Return Tiny-ImageNet.

    Args:
        data_dir: Folder that holds `tiny_imagenet_subset/tiny_imagenet_10k_2k.npz`, 50 and 10
            images a class, or what tensorflow-datasets prepared; None downloads.

    Raises:
        FileNotFoundError: If the folder holds neither.
    """
    file = local_file(data_dir, "tiny_imagenet_subset/tiny_imagenet_10k_2k.npz")
    if file is None:
        from examples.paper.data.builders.tiny_imagenet.tiny_imagenet_dataset_builder import Builder

        parts, class_names = prepared(Builder, ("train", "validation"), data_dir)
        train, test = (Split(part["image"], part["label"].astype(np.int32)) for part in parts)
    else:
        kinds = ("bytes", "offsets", "labels")
        names = (f"{part}_{kind}" for part in ("train", "val") for kind in kinds)
        arrays = read_arrays(file, (*names, "words"))
        train, test = (
            Split(
                decode(arrays[f"{part}_bytes"], arrays[f"{part}_offsets"]),
                arrays[f"{part}_labels"].astype(np.int32),
            )
            for part in ("train", "val")
        )
        class_names = tuple(arrays["words"].tolist())
    kept, held_out = tenth_of_each_class(train.y)
    return Data("tiny_imagenet", train.take(kept), train.take(held_out), test, class_names)
