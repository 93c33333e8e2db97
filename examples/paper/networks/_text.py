"""Convolutional networks of documents with global pooling.

Source:
    Lin et al., 2014, "Network In Network"; the layers are those of the authors' code.
"""

import keras
import numpy as np
from keras import layers

from examples.paper.data._types import Data
from examples.paper.networks._layers import classifier


def global_pooling_cnn(data: Data, vectors: np.ndarray | None = None) -> keras.Model:
    """Return the network of the paper: 3 convolutions, 128 wide, over 100 values a word.

    The maximum of 5 neighbours, taken at every word, stands between convolutions.

    Args:
        data: Documents, int, shape (N, words), of at least 21 words; 0 is padding.
        vectors: None, or where the embedding starts, shape (V, 100), as GloVe vectors. It is
            trained in either case; the authors' code keeps GloVe vectors as they are.
    """
    return _network(data, 100, 128, convolutions=3, vectors=vectors)


def small_global_pooling_cnn(data: Data) -> keras.Model:
    """Return one convolution, 64 wide, over 64 values a word, for processors."""
    return _network(data, 64, 64, convolutions=1)


def _network(data, embedding, filters, convolutions, vectors=None):
    inputs = keras.Input(data.train.x.shape[1:], dtype="int32", name="words")
    embed = layers.Embedding(len(data.vocabulary), embedding, name="embedding")
    x = embed(inputs)
    if vectors is not None:
        embed.set_weights([vectors])
    for index in range(convolutions):
        if index > 0:
            x = layers.MaxPooling1D(5, strides=1)(x)
        x = layers.Conv1D(filters, 5, activation="relu")(x)
    x = layers.GlobalMaxPooling1D()(x)
    x = layers.Dropout(0.3)(layers.Dense(filters, activation="relu")(x))
    return classifier(inputs, x, data)
