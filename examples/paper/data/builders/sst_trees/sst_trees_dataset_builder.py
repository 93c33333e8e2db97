"""The Stanford Sentiment Treebank as trees, with two classes of sentences."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

URL = "http://nlp.stanford.edu/sentiment/trainDevTestTrees_PTB.zip"
NEUTRAL = 2


class Builder(tfds.core.GeneratorBasedBuilder):
    """Sentences of movie reviews as binary trees; neutral sentences are left out."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(doc="Number of the line: they sort as in the file."),
                    "tree": tfds.features.Text(
                        doc="In brackets, each phrase with its label, 0 very negative, 4 very "
                        "positive: (3 (2 It) (4 (2 's) (3 good)))"
                    ),
                    "label": tfds.features.ClassLabel(names=("negative", "positive")),
                }
            ),
            supervised_keys=("tree", "label"),
            homepage="https://nlp.stanford.edu/sentiment/treebank.html",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        folder = Path(dl_manager.download_and_extract(URL)) / "trees"
        files = {"train": "train.txt", "validation": "dev.txt", "test": "test.txt"}
        return {split: self._generate_examples(folder / file) for split, file in files.items()}

    def _generate_examples(self, file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
        with open(file, encoding="utf-8", newline="\n") as lines:
            for number, line in enumerate(lines):
                tree, key = line.strip(" \n"), f"{number:05}"
                root = int(tree[1])
                if root != NEUTRAL:
                    yield key, {"id": key, "tree": tree, "label": int(root > NEUTRAL)}
