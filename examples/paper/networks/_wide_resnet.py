"""Wide residual networks.

Source:
    Zagoruyko & Komodakis, 2016, "Wide Residual Networks".
"""

import keras
from keras import layers

from examples.paper.data._types import Data
from examples.paper.networks._layers import (
    classifier,
    convolution,
    normalisation,
    pixels,
    projection,
    relu,
)


def wide_resnet(data: Data, depth: int, width: int) -> keras.Model:
    """Return a network of 6n + 2 layers, `width` times as wide, with projections as shortcuts.

    Its blocks are those of He et al., 2016, as in the authors' code: normalisation follows a
    convolution, where the source's precedes it.

    Args:
        data: Images, uint8, shape (N, height, width, 3).
        depth: 6n + 2; the paper's is 26.
        width: What multiplies 16, 32 and 64 filters; the paper's is 10.
    """
    inputs, x = pixels(data)
    x = relu(normalisation(convolution(x, 16, 3)))
    for filters in (16 * width, 32 * width, 64 * width):
        for block in range((depth - 2) // 6):
            strides = 2 if filters > 16 * width and block == 0 else 1
            shortcut = x if block > 0 else projection(x, filters, strides)
            x = relu(normalisation(convolution(x, filters, 3, strides)))
            x = normalisation(convolution(x, filters, 3))
            x = relu(layers.Add()([x, shortcut]))
    features = layers.GlobalAveragePooling2D()(x)
    return classifier(inputs, features, data)
