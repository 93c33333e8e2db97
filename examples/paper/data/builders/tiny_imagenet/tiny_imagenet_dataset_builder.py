"""Tiny-ImageNet."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
SHAPE = (64, 64, 3)
NUM_CLASSES = 200


class Builder(tfds.core.GeneratorBasedBuilder):
    """Images of 200 classes of ImageNet; the published test images have no labels and are left."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(doc="Name of the file."),
                    "image": tfds.features.Image(shape=SHAPE, encoding_format="jpeg"),
                    "label": tfds.features.ClassLabel(num_classes=NUM_CLASSES),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="http://cs231n.stanford.edu/",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        folder = Path(dl_manager.download_and_extract(URL)) / "tiny-imagenet-200"
        wnids = (folder / "wnids.txt").read_text().split()
        rows = (folder / "words.txt").read_text().splitlines()
        words = dict(row.split("\t", 1) for row in rows)
        self.info.features["label"].names = [words[wnid] for wnid in wnids]
        return {
            "train": self._generate_examples(self._train(folder / "train", wnids)),
            "validation": self._generate_examples(self._validation(folder / "val", wnids)),
        }

    def _train(self, folder: Path, wnids: list[str]) -> Iterator[tuple[Path, int]]:
        for label, wnid in enumerate(wnids):
            for file in (folder / wnid / "images").glob("*.JPEG"):
                yield file, label

    def _validation(self, folder: Path, wnids: list[str]) -> Iterator[tuple[Path, int]]:
        for row in (folder / "val_annotations.txt").read_text().splitlines():
            name, wnid, *_ = row.split("\t")
            yield folder / "images" / name, wnids.index(wnid)

    def _generate_examples(
        self, samples: Iterator[tuple[Path, int]]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for file, label in samples:
            yield file.name, {"id": file.name, "image": file, "label": label}
