"""What a run makes of its data: logits of images, texts and trees, or translations.

`train.fit_run` is the same for both. A task has the batches, what is validated, the network, and
what is written of it.
"""

from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from examples.paper import networks
from examples.paper.callbacks import PREDICT_BATCH, first, predict
from examples.paper.data import Batches, Corpus, Data, crop_and_flip, tokens
from examples.paper.data.batches import EpochBatches
from examples.paper.recipes import Recipe
from examples.paper.runs import Logits, Run


class Task(Protocol):
    """What differs between the kinds of data.

    Attributes:
        batches: What `fit` trains on, with an `epoch` that decides the order.
        validation: Arguments of `fit`: what is validated.
    """

    batches: EpochBatches
    validation: dict[str, Any]

    def prepare(self, folder: Path) -> None:
        """Write what a resumed run and its evaluation need of the data."""

    def network(self, name: str) -> keras.Model:
        """Return a network, its weights drawn anew."""

    def write(self, run: Run, model: keras.Model) -> bool:
        """Write the trained model, and return whether it gives finite numbers."""


class Classification:
    """Images, texts or trees: what is written are the held-out logits and the model.

    Args:
        run: The run.
        recipe: How it is trained.
        dataset: The data.
        options: Further arguments of the network.
    """

    def __init__(self, run: Run, recipe: Recipe, dataset: Data, options: dict[str, Any]):
        self.dataset, self.options = dataset, options
        augment = None if recipe.crop is None else crop_and_flip(recipe.crop)
        self.batches = Batches(dataset.train, recipe.batch_size, seed=run.seed, augment=augment)
        part = dataset.validation
        self.validation = {
            "validation_data": (part.x, part.y, part.weight),
            "validation_batch_size": PREDICT_BATCH,
        }

    def prepare(self, folder: Path) -> None:
        """Write nothing."""

    def network(self, name: str) -> keras.Model:
        """Return a network for the data."""
        return networks.build(name, self.dataset, **self.options)

    def write(self, run: Run, model: keras.Model) -> bool:
        """Write logits.npz and model.keras."""
        parts = (self.dataset.validation, self.dataset.test)
        pairs = [(predict(model, part), first(part.y)) for part in parts]
        logits = Logits(*(array for pair in pairs for array in pair))
        logits.save(run.folder / "logits.npz")
        model.save(run.folder / "model.keras", include_optimizer=False)
        return logits.finite


class Translation:
    """Pairs of sentences: what is written are the weights, and the tokens of the sentences.

    Args:
        run: The run. The tokens are those of its folder, if it has begun.
        recipe: How it is trained.
        corpus: The data.
    """

    def __init__(self, run: Run, recipe: Recipe, corpus: Corpus):
        of = recipe.translation
        self.corpus = corpus
        self.tokens = None
        if (run.folder / tokens.FILE).is_file():
            tokenizer = tokens.load_tokenizer(run.folder)
        else:
            self.tokens = tokens.train_tokenizer(corpus.train, of.vocabulary_size)
            tokenizer = tokens.tokenizer_of(self.tokens)
        sizes = (recipe.batch_size, of.length)
        self.batches = tokens.TokenBatches(corpus.train, tokenizer, *sizes, run.seed)
        validation = tokens.TokenBatches(corpus.validation, tokenizer, *sizes)
        self.validation = {"validation_data": validation}
        self.options = {"size": of.size, "vocabulary_size": tokenizer.get_piece_size()}

    def prepare(self, folder: Path) -> None:
        """Write tokens.model."""
        if self.tokens is not None:
            (folder / tokens.FILE).write_bytes(self.tokens)

    def network(self, name: str) -> keras.Model:
        """Return a network for the pairs."""
        return networks.build(name, self.corpus, **self.options)

    def write(self, run: Run, model: keras.Model) -> bool:
        """Write model.weights.h5."""
        model.save_weights(run.folder / "model.weights.h5")
        return all(np.isfinite(weight).all() for weight in model.get_weights())
