"""Sentence pairs, English to German."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.paper.data._datasets import source_of
from examples.paper.data._files import local_file, read_lines


@dataclass(frozen=True)
class Pairs:
    """Sentences and their translations, in the same order."""

    source: list[str]
    target: list[str]

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.source)

    def take(self, rows: slice) -> "Pairs":
        """Return some of the pairs."""
        return Pairs(self.source[rows], self.target[rows])


@dataclass(frozen=True)
class Corpus:
    """Pairs to train on, to choose the temperature on, and to test on."""

    name: str
    train: Pairs
    validation: Pairs
    test: Pairs

    @property
    def kind(self) -> str:
        """Return what the samples are: "pairs"."""
        return "pairs"

    def fingerprint(self) -> dict[str, Any]:
        """Return the sizes of the parts and a checksum of all sentences, "sha256"."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        digest = hashlib.sha256()
        for part in parts.values():
            for sentence in (*part.source, *part.target):
                digest.update(f"{sentence}\n".encode())
        return {**{name: len(part) for name, part in parts.items()}, "sha256": digest.hexdigest()}


def load_multi30k(data_dir: Path | None) -> Corpus:
    """Return Multi30k: 29,000 pairs, 1,014, and the 1,000 of the 2016 Flickr test set.

    Args:
        data_dir: Folder that holds `multi30k/train.en.gz`, `train.de.gz`, `val.en.gz` and so on;
            None for the working directory: nothing is downloaded.

    Raises:
        FileNotFoundError: If a file is absent.

    Source:
        Elliott et al., 2016, "Multi30K: Multilingual English-German Image Descriptions", task 1.
    """

    def pairs(part: str) -> Pairs:
        return Pairs(*(_lines(data_dir, f"{part}.{language}") for language in ("en", "de")))

    return Corpus("multi30k", pairs("train"), pairs("val"), pairs("test_2016_flickr"))


def load_wmt14(data_dir: Path | None) -> Corpus:
    """Return WMT14: 4.5 million pairs, newstest2013 and newstest2014.

    Args:
        data_dir: Folder of what tensorflow-datasets prepared; None downloads.

    Raises:
        FileNotFoundError: If the folder does not hold it.

    Source:
        Bojar et al., 2014, "Findings of the 2014 Workshop on Statistical Machine Translation".
    """
    source = source_of("wmt14_translate/de-en", data_dir)
    import tensorflow_datasets as tfds

    def pairs(part: str) -> Pairs:
        rows = tfds.as_numpy(source.as_dataset(split=part))
        texts = [(row["en"].decode(), row["de"].decode()) for row in rows]
        return Pairs([source for source, _ in texts], [target for _, target in texts])

    return Corpus("wmt14", pairs("train"), pairs("validation"), pairs("test"))


def _lines(data_dir: Path | None, name: str) -> list[str]:
    file = local_file(data_dir or Path(), f"multi30k/{name}.gz")
    if file is None:
        raise FileNotFoundError(
            f"`--data-dir` must hold multi30k/{name}.gz, as data/task1/raw of "
            f"https://github.com/multi30k/dataset has it. Received: {data_dir or Path()}"
        )
    return read_lines(file)
