"""Sentences as arrays of token ids, and batches of them by length.

One vocabulary of byte pairs serves source and target. A source ends in END; a target is fed as
START, tokens and predicted as tokens, END. PAD fills up, and has weight 0.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from examples.paper.data.batches import EpochBatches
from examples.paper.data.pairs import Pairs
from examples.paper.files import DamagedFileError

PAD, START, END, UNKNOWN = range(4)
FILE = "tokens.model"
LENGTHS = (8, 12, 16, 20, 24, 28, 32, 40, 48, 64, 96, 128, 192, 256)
"""The lengths that batches have: few, for each is compiled once."""


def train_tokenizer(pairs: Pairs, vocabulary_size: int) -> bytes:
    """Return a SentencePiece model of byte pairs, trained on sources and targets together.

    Raises:
        ValueError: If the vocabulary is too small for the characters of the sentences.
    """
    import sentencepiece

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(pairs.source + pairs.target),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocabulary_size,
            hard_vocab_limit=False,
            character_coverage=1.0,
            pad_id=PAD,
            bos_id=START,
            eos_id=END,
            unk_id=UNKNOWN,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise ValueError(
            f"`--vocabulary-size` must be enough for every character of the sentences "
            f"({' '.join(f'{error}'.split())}). Received: {vocabulary_size}"
        ) from error
    return model.getvalue()


def tokenizer_of(model: bytes) -> Any:
    """Return the SentencePieceProcessor of what `train_tokenizer` gave."""
    import sentencepiece

    return sentencepiece.SentencePieceProcessor(model_proto=model)


def load_tokenizer(folder: Path) -> Any:
    """Return the SentencePieceProcessor of the tokens.model in the folder of a run.

    Raises:
        DamagedFileError: If the file is absent or not whole.
    """
    file = folder / FILE
    try:
        return tokenizer_of(file.read_bytes())
    except (OSError, RuntimeError) as error:
        raise DamagedFileError(file, "a SentencePiece model", error) from error


def encode(tokenizer: Any, sentences: Sequence[str], longest: int) -> list[list[int]]:
    """Return the ids of sentences, with END; one of more than `longest` is cut off."""
    return [[*ids[: longest - 1], END] for ids in tokenizer.encode(list(sentences))]


class TokenBatches(EpochBatches):
    """Batches of pairs of like length, each with about the same number of positions.

    A batch is ({"source", "target"}, labels, weights), each int32 (weights float32), shape
    (batch, length). What is lacking in the last batch of a length are rows of PAD, of weight 0.

    Args:
        pairs: The sentences.
        tokenizer: From `load_tokenizer`.
        positions: Of a batch, padding included: a batch has positions // length pairs.
        longest: Tokens of a sentence, END included; a longer one is cut off.
        seed: None for batches in a fixed order; else those of each epoch depend on it and on
            `epoch` alone.
    """

    def __init__(
        self,
        pairs: Pairs,
        tokenizer: Any,
        positions: int,
        longest: int,
        seed: int | None = None,
    ):
        super().__init__()
        self._sources = encode(tokenizer, pairs.source, longest)
        self._targets = encode(tokenizer, pairs.target, longest)
        self._positions, self._seed = positions, seed
        sizes = np.array(
            [max(map(len, both)) for both in zip(self._sources, self._targets, strict=True)]
        )
        self._lengths = np.array([*(n for n in LENGTHS if n < longest), longest])
        self._length_of = np.searchsorted(self._lengths, sizes)
        self.order: list[tuple[int, np.ndarray]] = []
        self.epoch = 0

    def draw(self) -> None:
        """Draw which pairs are in a batch, and the order of the batches."""
        rng = None if self._seed is None else np.random.default_rng([self._seed, self.epoch])
        self.order = []
        for index, length in enumerate(self._lengths):
            rows = np.flatnonzero(self._length_of == index)
            rows = rows if rng is None else rng.permutation(rows)
            size = max(1, self._positions // int(length))
            parts = [rows[start : start + size] for start in range(0, len(rows), size)]
            self.order += [(int(length), part) for part in parts]
        if rng is not None:
            self.order = [self.order[index] for index in rng.permutation(len(self.order))]
        # Keras takes lengths to vary if they do in the first two batches.
        other = (i for i, (length, _) in enumerate(self.order) if length != self.order[0][0])
        index = next(other, 0)
        self.order.insert(min(1, index), self.order.pop(index))

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return len(self.order)

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Return a batch: inputs, labels and weights."""
        length, rows = self.order[index]
        shape = (max(1, self._positions // length), length)
        source, target, labels = (np.full(shape, PAD, "int32") for _ in range(3))
        for i, row in enumerate(rows):
            ids = self._targets[row]
            source[i, : len(self._sources[row])] = self._sources[row]
            target[i, : len(ids)] = [START, *ids[:-1]]
            labels[i, : len(ids)] = ids
        return {"source": source, "target": target}, labels, (labels != PAD).astype("float32")
