"""20 Newsgroups: 19,997 articles, split 15,098 / 900 / 3,999, as ids of words.

As in the paper's code, headers are dropped, words are in lower case, and a text keeps its last
words, with padding in front. Unlike there, the words are counted in the training texts alone, and a
rare word has an id where there it is dropped.

Source:
    Lang, NewsWeeder: Learning to Filter Netnews, 1995.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from examples.paper.data._datasets import prepared
from examples.paper.data._files import local_file, read_lines
from examples.paper.data._split import shuffled
from examples.paper.data._types import Data, Split
from examples.paper.files import DamagedFileError

WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
PADDING, UNKNOWN = "", "<unknown>"
VALIDATION, TEST = 900, 3_999


def load_newsgroups20(data_dir: Path | None, length: int = 1000, num_words: int = 20_000) -> Data:
    """Return 20 Newsgroups; inputs are int32, shape (N, length): 0 is padding, 1 an unknown word.

    Args:
        data_dir: Folder that holds `newsgroups20/newsgroups20_original_19997.jsonl.gz`, or what
            tensorflow-datasets prepared; None downloads.
        length: Number of words of a text.
        num_words: Size of the vocabulary, the two ids above included.

    Raises:
        FileNotFoundError: If the folder holds neither.
    """
    file = local_file(data_dir, "newsgroups20/newsgroups20_original_19997.jsonl.gz")
    texts, y, class_names = _prepared(data_dir) if file is None else _read(file)
    rows = shuffled(len(texts))
    words = [WORD.findall(texts[row].lower()) for row in rows]
    y = y[rows]
    end = len(rows) - TEST
    vocabulary = most_frequent(words[: end - VALIDATION], num_words)
    all_ = Split(encode(words, vocabulary, length), y)
    train, validation, test = (
        all_.take(part)
        for part in (slice(end - VALIDATION), slice(end - VALIDATION, end), slice(end, None))
    )
    return Data("newsgroups20", train, validation, test, class_names, vocabulary)


def most_frequent(texts: Iterable[Sequence[str]], num_words: int) -> tuple[str, ...]:
    """Return padding, the unknown word and the most frequent words, `num_words` in all."""
    counts = Counter(word for text in texts for word in text)
    return (PADDING, UNKNOWN, *(word for word, _ in counts.most_common(num_words - 2)))


def encode(texts: Sequence[Sequence[str]], vocabulary: Sequence[str], length: int) -> np.ndarray:
    """Return the ids of the last words of each text, int32, shape (N, length)."""
    ids = {word: number for number, word in enumerate(vocabulary)}
    unknown = ids[UNKNOWN]
    rows = np.zeros((len(texts), length), np.int32)
    for row, text in zip(rows, texts, strict=True):
        last = text[-length:]
        row[length - len(last) :] = [ids.get(word, unknown) for word in last]
    return rows


def _read(file: Path) -> tuple[list[str], np.ndarray, tuple[str, ...]]:
    try:
        articles = [json.loads(line) for line in read_lines(file)]
        texts = [article["text"] for article in articles]
        y = np.array([article["label"] for article in articles], np.int32)
        groups = {article["group"] for article in articles}
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise DamagedFileError(file, "articles in JSON, one a line", error) from error
    return texts, y, tuple(sorted(groups))


def _prepared(data_dir: Path | None) -> tuple[list[str], np.ndarray, tuple[str, ...]]:
    from examples.paper.data.builders.newsgroups20.newsgroups20_dataset_builder import Builder

    (articles,), class_names = prepared(Builder, ("train",), data_dir)
    texts = [text.decode() for text in articles["text"]]
    return texts, articles["label"].astype(np.int32), class_names
