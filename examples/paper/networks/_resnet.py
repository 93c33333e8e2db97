"""Residual networks of small images.

Source:
    He et al., 2016, "Deep Residual Learning for Image Recognition".
"""

import keras
from keras import layers, ops

from examples.paper.data._types import Data
from examples.paper.networks._layers import (
    classifier,
    convolution,
    normalisation,
    pixels,
    projection,
    relu,
)


def resnet(data: Data, depth: int) -> keras.Model:
    """Return the network of 6n + 2 layers of section 4.2: 3 stages of n blocks, 16 to 64 wide.

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
    return classifier(inputs, layers.GlobalAveragePooling2D()(x), data)


def pooled_resnet(data: Data, widths: tuple[int, ...]) -> keras.Model:
    """Return a wide and shallow network that a CPU trains in minutes an epoch, and that overfits.

    Each stage halves the image with a maximum right after its first convolution, before the costly
    normalisation, and all but the first add a block of one convolution.

    Args:
        data: Images, uint8, shape (N, height, width, 3).
        widths: Channels of each stage.
    """
    inputs, x = pixels(data)
    for stage, filters in enumerate(widths):
        x = relu(normalisation(layers.MaxPooling2D()(convolution(x, filters, 3))))
        if stage > 0:
            x = layers.Add()([x, relu(normalisation(convolution(x, filters, 3)))])
    return classifier(inputs, layers.GlobalAveragePooling2D()(x), data)


def bottleneck_resnet(data: Data, blocks: tuple[int, int, int, int]) -> keras.Model:
    """Return the network of bottleneck blocks for ImageNet, with the authors' start for CIFAR.

    It starts with a convolution of 3 x 3 that keeps the size, without pooling, and ends with means
    of 4 x 4 pixels: 2,048 features of an image of 32 x 32, and 8,192 of one of 64 x 64.

    Args:
        data: Images, uint8, shape (N, height, width, 3), of 32 x 32 at least.
        blocks: Blocks of each stage: (3, 4, 6, 3) for 50 layers, (3, 4, 26, 3) for 110.
    """
    inputs, x = pixels(data)
    x = relu(normalisation(convolution(x, 64, 3)))
    for filters, count in zip((64, 128, 256, 512), blocks, strict=True):
        for block in range(count):
            strides = 2 if filters > 64 and block == 0 else 1
            shortcut = x if block > 0 else projection(x, 4 * filters, strides)
            x = relu(normalisation(convolution(x, filters, 1)))
            x = relu(normalisation(convolution(x, filters, 3, strides)))
            x = normalisation(convolution(x, 4 * filters, 1))
            x = relu(layers.Add()([x, shortcut]))
    features = layers.Flatten()(layers.AveragePooling2D(4)(x))
    return classifier(inputs, features, data)


def _every_second_pixel(x, filters):
    x = layers.AveragePooling2D(1, strides=2)(x)
    return ops.pad(x, [(0, 0), (0, 0), (0, 0), (0, filters - x.shape[-1])])
