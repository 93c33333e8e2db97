"""Residual networks of small images.

Source:
    He et al., 2016, "Deep Residual Learning for Image Recognition", section 4.2 and Figure 5.
"""

import keras
from keras import layers, ops

from examples.paper.data._types import Data
from examples.paper.networks._layers import (
    classifier,
    convolution,
    normalisation,
    pixels,
    relu,
)


def resnet(data: Data, depth: int) -> keras.Model:
    """Return the network of 6n + 2 layers for CIFAR-10: 3 stages of n basic blocks, 16 to 64 wide.

    Shortcuts have no parameters (option A): where the width grows, they take every second pixel,
    and the new channels are zero.

    Args:
        data: Images, uint8, shape (N, height, width, 3).
        depth: 6n + 2: 8, 20, 110.
    """
    inputs, x = pixels(data)
    x = relu(normalisation(convolution(x, 16, 3)))
    for filters in (16, 32, 64):
        for block in range((depth - 2) // 6):
            strides = 2 if filters > 16 and block == 0 else 1
            shortcut = x if strides == 1 else _every_second_pixel(x, filters)
            x = relu(normalisation(convolution(x, filters, 3, strides)))
            x = normalisation(convolution(x, filters, 3))
            x = relu(layers.Add()([x, shortcut]))
    return classifier(f"resnet{depth}", inputs, layers.GlobalAveragePooling2D()(x), data)


def _every_second_pixel(x, filters):
    x = layers.AveragePooling2D(1, strides=2)(x)
    return ops.pad(x, [(0, 0), (0, 0), (0, 0), (0, filters - x.shape[-1])])
