"""The networks of the paper by name, and smaller ones that a processor trains."""

from collections.abc import Callable

import keras

from examples.paper.data._types import Data
from examples.paper.networks._resnet import resnet
from examples.paper.networks._text import global_pooling_cnn, small_global_pooling_cnn

NETWORKS: dict[str, Callable[[Data], keras.Model]] = {
    "resnet8": lambda data: resnet(data, depth=8),
    "resnet20": lambda data: resnet(data, depth=20),
    "resnet110": lambda data: resnet(data, depth=110),
    "global-pooling-cnn": global_pooling_cnn,
    "global-pooling-cnn-small": small_global_pooling_cnn,
}


def build(name: str, data: Data) -> keras.Model:
    """Return a network for a data set, its weights drawn anew.

    It takes what `data.train.x` holds and gives logits, float32, from its layer "logits"; what
    that layer takes is `model.get_layer("logits").input`.

    Raises:
        ValueError: If no network has the name.
    """
    if name not in NETWORKS:
        raise ValueError(f"`name` must be one of {sorted(NETWORKS)}. Received: {name!r}")
    return NETWORKS[name](data)
