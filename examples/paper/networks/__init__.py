"""The networks of the paper by name, and smaller ones that a processor trains."""

from collections.abc import Callable
from typing import Any

import keras

from examples.paper.data import Corpus, Data
from examples.paper.networks._densenet import densenet
from examples.paper.networks._resnet import bottleneck_resnet, pooled_resnet, resnet
from examples.paper.networks._text import global_pooling_cnn, small_global_pooling_cnn
from examples.paper.networks._tree_lstm import tree_lstm
from examples.paper.networks._wide_resnet import wide_resnet
from examples.paper.networks.transformer import SIZES, transformer

NETWORKS: dict[str, Callable[..., keras.Model]] = {
    "resnet6-wide": lambda data: pooled_resnet(data, (64, 128, 256)),
    "resnet8": lambda data: resnet(data, depth=8),
    "resnet20": lambda data: resnet(data, depth=20),
    "resnet50": lambda data: bottleneck_resnet(data, (3, 4, 6, 3)),
    "resnet110": lambda data: resnet(data, depth=110),
    "resnet110-bottleneck": lambda data: bottleneck_resnet(data, (3, 4, 26, 3)),
    "wide-resnet-26-10": lambda data: wide_resnet(data, depth=26, width=10),
    "densenet121": lambda data: densenet(data, (6, 12, 24, 16), growth=32),
    "global-pooling-cnn": global_pooling_cnn,
    "global-pooling-cnn-small": small_global_pooling_cnn,
    "tree-lstm": tree_lstm,
    "transformer": lambda _, size, vocabulary_size: transformer(SIZES[size], vocabulary_size),
}

FEWEST_WORDS = {"global-pooling-cnn": 21, "global-pooling-cnn-small": 5}
"""Words that a text must have for a network of texts."""

KINDS = {
    "global-pooling-cnn": "texts",
    "global-pooling-cnn-small": "texts",
    "tree-lstm": "trees",
    "transformer": "pairs",
}
"""What a network takes, if not images."""


def check(name: str, kind: str) -> None:
    """Raise an error if there is no network of this name, or it takes data of another kind.

    Raises:
        ValueError: In both cases.
    """
    if name not in NETWORKS:
        raise ValueError(f"`--network` must be one of {sorted(NETWORKS)}. Received: {name!r}")
    if KINDS.get(name, "images") != kind:
        fitting = [other for other in NETWORKS if KINDS.get(other, "images") == kind]
        raise ValueError(
            f"`--network` must be a network of {kind} for this data set: {', '.join(fitting)}. "
            f"Received: {name!r}"
        )


def build(name: str, data: Data | Corpus, **options: Any) -> keras.Model:
    """Return a network for a data set, its weights drawn anew.

    It takes what `data.train.x` holds and gives logits, float32, from its layer "logits"; what
    that layer takes is `model.get_layer("logits").input`. A Transformer takes and gives what
    `transformer` says. `options` are further arguments of the network.

    Raises:
        ValueError: If no network has the name, or it takes other data.
    """
    check(name, data.kind)
    return NETWORKS[name](data, **options)
