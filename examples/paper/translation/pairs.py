"""Sentence pairs, English to German."""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.paper.data._datasets import source_of

DATASETS = ("multi30k", "wmt14")


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

    train: Pairs
    validation: Pairs
    test: Pairs

    def fingerprint(self) -> dict[str, Any]:
        """Return the sizes of the parts and a checksum of all sentences, "sha256"."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        digest = hashlib.sha256()
        for part in parts.values():
            for sentence in (*part.source, *part.target):
                digest.update(f"{sentence}\n".encode())
        return {**{name: len(part) for name, part in parts.items()}, "sha256": digest.hexdigest()}


def load_pairs(name: str, data_dir: Path | None = None) -> Corpus:
    """Return a parallel corpus, English to German.

    Args:
        name: "multi30k" (29,000 pairs; 1,014; 1,000 of the 2016 Flickr test set), or "wmt14"
            (4.5 million pairs; newstest2013; newstest2014), through tensorflow-datasets.
        data_dir: Folder with the folder multi30k, which has train.en.gz, train.de.gz and so on,
            None for the working directory; or where tensorflow-datasets prepared wmt14, None to
            download it to its own folder.

    Raises:
        ValueError: If the name is unknown.
        FileNotFoundError: If the files are not there.

    Source:
        Elliott et al., 2016, "Multi30K", task 1; Bojar et al., 2014.
    """
    if name == "multi30k":
        return _multi30k(Path(data_dir or ".") / name)
    if name == "wmt14":
        return _wmt14(data_dir)
    raise ValueError(f"`name` must be one of {DATASETS}. Received: name={name!r}")


def _multi30k(folder: Path) -> Corpus:
    def pairs(part: str) -> Pairs:
        return Pairs(*(_lines(folder / f"{part}.{language}.gz") for language in ("en", "de")))

    return Corpus(pairs("train"), pairs("val"), pairs("test_2016_flickr"))


def _lines(file: Path) -> list[str]:
    if not file.is_file():
        raise FileNotFoundError(
            f"`data_dir` must hold multi30k/{file.name}, as data/task1/raw of "
            f"https://github.com/multi30k/dataset has it. Received: {file.parent.parent}"
        )
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return lines.read().rstrip("\n").split("\n")


def _wmt14(data_dir: Path | None) -> Corpus:
    source = source_of("wmt14_translate/de-en", data_dir)
    import tensorflow_datasets as tfds

    def pairs(part: str) -> Pairs:
        rows = tfds.as_numpy(source.as_dataset(split=part))
        texts = [(row["en"].decode(), row["de"].decode()) for row in rows]
        return Pairs([source for source, _ in texts], [target for _, target in texts])

    return Corpus(pairs("train"), pairs("validation"), pairs("test"))
