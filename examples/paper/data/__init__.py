"""The paper's data sets, with its splits: NumPy arrays, or sentences and their translations."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from examples.paper.data import cifar, newsgroups20, pairs, sst, tiny_imagenet
from examples.paper.data._types import Data, Split
from examples.paper.data.augment import crop_and_flip
from examples.paper.data.batches import Batches, FollowEpochs
from examples.paper.data.pairs import Corpus

__all__ = [
    "KINDS",
    "LOADERS",
    "Batches",
    "Corpus",
    "Data",
    "FollowEpochs",
    "Split",
    "crop_and_flip",
    "load",
]

LOADERS: dict[str, Callable[..., Data | Corpus]] = {
    "cifar10": cifar.load_cifar10,
    "cifar100": cifar.load_cifar100,
    "multi30k": pairs.load_multi30k,
    "newsgroups20": newsgroups20.load_newsgroups20,
    "sst": sst.load_sst,
    "tiny_imagenet": tiny_imagenet.load_tiny_imagenet,
    "wmt14": pairs.load_wmt14,
}
"""Each takes the folder of local copies, or None, and keyword arguments of its own."""

KINDS = {
    "cifar10": "images",
    "cifar100": "images",
    "multi30k": "pairs",
    "newsgroups20": "texts",
    "sst": "trees",
    "tiny_imagenet": "images",
    "wmt14": "pairs",
}
"""What the samples of a data set are: the `kind` of what its loader returns."""


def load(
    name: str, data_dir: str | Path | None = None, limit: int | None = None, **options: Any
) -> Data | Corpus:
    """Return a data set. The last few that were read stay in memory: do not write to the arrays.

    Args:
        name: A key of `LOADERS`.
        data_dir: Folder of local copies, or of what tensorflow-datasets prepared; nothing is
            downloaded then. None: tensorflow-datasets downloads the data set, where need be, to
            its own folder.
        limit: Number of training samples to keep, the first ones after the split; None keeps all.
            Validation and test stay whole.
        **options: Further arguments of the function in `LOADERS`.

    Raises:
        ValueError: If there is no data set of this name, or `limit` is less than 1.
        FileNotFoundError: If `data_dir` does not hold the data set.

    Example:
        >>> data = load("cifar10", "../shared/data", limit=10_000)  # doctest: +SKIP
        >>> len(data.train), len(data.validation), len(data.test)  # doctest: +SKIP
        (10000, 5000, 10000)
    """
    if name not in LOADERS:
        raise ValueError(
            f"`--dataset` must be one of {', '.join(sorted(LOADERS))}. Received: {name!r}"
        )
    if limit is not None and limit < 1:
        raise ValueError(f"`--limit` must be at least 1. Received: {limit}")
    data = _load(name, None if data_dir is None else Path(data_dir), **options)
    return data if limit is None else replace(data, train=data.train.take(slice(limit)))


@lru_cache(maxsize=2)
def _load(name: str, data_dir: Path | None, **options: Any) -> Data | Corpus:
    return LOADERS[name](data_dir, **options)
