"""Densely connected networks.

Source:
    Huang et al., 2017, "Densely Connected Convolutional Networks".
"""

import keras
from keras import layers

from examples.paper.data._types import Data
from examples.paper.networks._layers import classifier, convolution, normalisation, pixels, relu


def densenet(data: Data, blocks: tuple[int, ...], growth: int) -> keras.Model:
    """Return the network with bottlenecks and compression, DenseNet-BC, as the authors' code.

    It starts with a convolution of 3 x 3 that keeps the size, without pooling, and ends with means
    of 4 x 4 pixels.

    Args:
        data: Images, uint8, shape (N, height, width, 3), of 32 x 32 at least.
        blocks: Layers of each dense block: (6, 12, 24, 16) for 121 layers.
        growth: Channels that a layer adds; the paper's are 32.
    """
    inputs, x = pixels(data)
    x = convolution(x, 2 * growth, 3)
    for index, count in enumerate(blocks):
        if index > 0:
            x = convolution(relu(normalisation(x)), x.shape[-1] // 2, 1)
            x = layers.AveragePooling2D(2)(x)
        for _ in range(count):
            new = convolution(relu(normalisation(x)), 4 * growth, 1)
            new = convolution(relu(normalisation(new)), growth, 3)
            x = layers.Concatenate()([new, x])
    x = layers.AveragePooling2D(4)(relu(normalisation(x)))
    return classifier(inputs, layers.Flatten()(x), data)
