"""Sentences with a tag for each word, for the examples that read tokens: CoNLL files or trees."""

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

PARTS = {"train": ("train",), "dev": ("dev", "valid"), "test": ("test",)}
TREES = "sst_trees_{}.txt.gz"
WANTED = (
    "the trees of the Stanford Sentiment Treebank as `sst_trees_{train,dev,test}.txt.gz`, or "
    "`train`, `dev` (or `valid`) and `test` with the ending `.txt` or `.conll`: a word and its "
    "tag (O, B-TYPE, I-TYPE, or ? to leave it out) on each line, or four columns with the word "
    "first and the tag last, and an empty line after each sentence"
)
UNCLEAR = "?"
"""The tag of a word that is left out of training and of all figures."""
IGNORED = -1
"""The label of words that are UNCLEAR, and of padding."""
LONGEST, LONGEST_UNCLEAR = 4, 8
FEELINGS = {"0": "NEG", "4": "POS"}


class Sentence(NamedTuple):
    """Words, and a tag for each: O, B-TYPE, I-TYPE, or UNCLEAR."""

    words: list[str]
    tags: list[str]


class Encoded:
    """Ids of the words and tags of a draw of a corpus.

    Attributes:
        x, y: For each part ids of words and of tags, shape (sentences, words). In x 0 is padding
            and 1 a word that the draw for training has fewer than two times; in y both padding and
            UNCLEAR words are IGNORED.
        tags: The tags by their ids. The first is O.
        num_words: Number of ids of words.
    """

    def __init__(self, corpus: dict[str, list[Sentence]], sizes: dict[str, int], seed: int):
        draw = np.random.default_rng(seed).permutation(len(corpus["train"]))[: sizes["train"]]
        parts = {part: sentences[: sizes[part]] for part, sentences in corpus.items()}
        parts["train"] = [corpus["train"][row] for row in draw]
        words = [word.lower() for sentence in parts["train"] for word in sentence.words]
        known, times = np.unique(words, return_counts=True)
        ids = {word: 2 + i for i, word in enumerate(known[times > 1])}
        types = {tag[2:] for sentence in corpus["train"] for tag in sentence.tags} - {""}
        self.tags = ["O", *(f"{end}-{kind}" for kind in sorted(types) for end in "BI")]
        self.num_words = 2 + len(ids)
        tag_ids = {UNCLEAR: IGNORED} | {tag: i for i, tag in enumerate(self.tags)}
        pad = keras.utils.pad_sequences
        self.x, self.y = {}, {}
        for part, sentences in parts.items():
            x = [[ids.get(word.lower(), 1) for word in sentence.words] for sentence in sentences]
            y = [[tag_ids[tag] for tag in sentence.tags] for sentence in sentences]
            self.x[part] = pad(x, padding="post")
            self.y[part] = pad(y, padding="post", value=IGNORED)


def read_corpus(folder: Path) -> dict[str, list[Sentence]]:
    """Return the sentences of "train", "dev" and "test". What is wrong is named by file and line.

    Entities of the trees are the largest phrases of at most 4 words that were called very negative
    or very positive. The other words of such phrases of 5 to 8 words are UNCLEAR.
    """
    trees = {part: folder / TREES.format(part) for part in PARTS}
    if any(file.exists() for file in trees.values()):
        if missing := [file.name for file in trees.values() if not file.exists()]:
            raise SystemExit(f"--data-dir must hold {WANTED}. {folder} lacks {missing[0]}.")
        return {part: [_of_tree(*line) for line in _lines(file)] for part, file in trees.items()}
    corpus: dict[str, list[Sentence]] = {}
    types: set[str] = set()
    for part, names in PARTS.items():
        files = [folder / (name + end) for name in names for end in (".txt", ".conll")]
        file = next((file for file in files if file.exists()), None)
        if file is None:
            raise SystemExit(f"--data-dir must hold {WANTED}. {folder} has no file of {part}.")
        corpus[part] = list(_of_columns(file, types if corpus else None))
        types |= {tag[2:] for sentence in corpus[part] for tag in sentence.tags if tag != UNCLEAR}
        if not corpus[part]:
            raise SystemExit(f"{file} has no sentence.")
    return corpus


def _lines(file: Path) -> Iterator[tuple[str, str]]:
    """Give each line, and its place for error messages."""
    opened = gzip.open if file.suffix == ".gz" else open
    try:
        with opened(file, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                yield line.strip(), f"{file}, line {number}"
    except (EOFError, OSError, UnicodeDecodeError, zlib.error) as error:
        raise SystemExit(f"{file} cannot be read: {error}.") from error


def _of_columns(file: Path, types: set[str] | None) -> Iterator[Sentence]:
    """Give the sentences of a CoNLL file. `types`: those of the training data, None if any."""
    words, tags = [], []
    for line, place in (*_lines(file), ("", "")):
        columns = line.split()
        if not columns or columns[0] == "-DOCSTART-":
            if words:
                yield Sentence(words, tags)
            words, tags = [], []
            continue
        if len(columns) not in (2, 4):
            raise SystemExit(
                f"{place}: a word and its tag, or four columns, are wanted. Received: {line!r}."
            )
        tag = columns[-1]
        if tag not in ("O", UNCLEAR) and not re.fullmatch("[BI]-.+", tag):
            raise SystemExit(f"{place}: a tag must be O, B-TYPE, I-TYPE or ?. Received: {tag!r}.")
        if types is not None and tag not in ("O", UNCLEAR) and tag[2:] not in types:
            raise SystemExit(f"{place}: no entity of the training data is of the type of {tag!r}.")
        if tag[0] == "I" and (not tags or tags[-1][2:] != tag[2:]):
            tag = "B" + tag[1:]  # IOB1, as in CoNLL-2003, begins an entity with I- too
        words.append(columns[0])
        tags.append(tag)


def _of_tree(line: str, place: str) -> Sentence:
    """Return the words of a tree, such as (3 (2 a) (4 masterpiece)), and tags by its labels."""
    words: list[str] = []
    phrases: list[list] = []  # label, first word, word after the last; outer before inner
    is_open: list[list] = []
    for label, word, other in re.findall(r"\(([0-4])(?= )|([^\s()]+)|(\S)", line):
        if label:
            is_open.append([label, len(words), None])
            phrases.append(is_open[-1])
        elif other != ")" and word and is_open:
            words.append(word)
        elif other == ")" and is_open and is_open[-1][1] < len(words):
            is_open.pop()[2] = len(words)
        else:
            raise SystemExit(f"{place}: not a tree near {(word or other)!r}.")
    if is_open or not words:
        raise SystemExit(f"{place}: {'a bracket is not closed' if is_open else 'no words'}.")
    tags = ["O"] * len(words)
    for label, first, end in phrases:
        if label not in FEELINGS or end - first > LONGEST_UNCLEAR:
            continue
        if end - first > LONGEST:
            tags[first:end] = [UNCLEAR] * (end - first)
        elif tags[first] in ("O", UNCLEAR):
            kind = FEELINGS[label]
            tags[first:end] = [f"B-{kind}"] + [f"I-{kind}"] * (end - first - 1)
    return Sentence(words, tags)
