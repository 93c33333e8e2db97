"""Sentence pairs, English to German."""

import gzip
from dataclasses import dataclass
from pathlib import Path

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


def load_pairs(name: str, data_dir: Path | None = None) -> Corpus:
    """Return a parallel corpus, English to German.

    Args:
        name: "multi30k" (29,000 pairs; 1,014; 1,000 of the 2016 Flickr test set), or "wmt14"
            (4.5 million pairs; newstest2013; newstest2014), through tensorflow-datasets.
        data_dir: Folder with the folder multi30k, which has train.en.gz, train.de.gz and so on;
            or the folder of tensorflow-datasets, None for its own.

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
    import tensorflow_datasets as tfds

    def pairs(part: str) -> Pairs:
        rows = tfds.as_numpy(tfds.load("wmt14_translate/de-en", split=part, data_dir=data_dir))
        texts = [(row["en"].decode(), row["de"].decode()) for row in rows]
        return Pairs([source for source, _ in texts], [target for _, target in texts])

    return Corpus(pairs("train"), pairs("validation"), pairs("test"))
