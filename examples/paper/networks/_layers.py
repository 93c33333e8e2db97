"""What the networks of images share: how they begin and end, convolution and normalisation."""

import keras
from keras import layers

from examples.paper.data._types import Data

CIFAR = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Means and standard deviations of the channels, of values in [0, 1]."""


def pixels(data: Data) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Return the input, uint8, and the images, float32, with each channel standardised.

    Images of 64 x 64 are standardised as those of ImageNet, others as those of CIFAR.
    """
    inputs = keras.Input(data.train.x.shape[1:], dtype="uint8", name="images")
    mean, deviation = IMAGENET if inputs.shape[1] == 64 else CIFAR
    x = layers.Rescaling(1 / 255, dtype="float32")(inputs)
    variance = [value**2 for value in deviation]
    return inputs, layers.Normalization(mean=mean, variance=variance, dtype="float32")(x)


def convolution(
    x: keras.KerasTensor, filters: int, size: int, strides: int = 1
) -> keras.KerasTensor:
    """Return a convolution without bias, drawn from He's normal distribution of the fan-out.

    The windows are centred on pixels 0, `strides`, 2 `strides`, ..., as PyTorch's padding has it.
    """
    if strides > 1 and size > 1:
        x = layers.ZeroPadding2D(size // 2)(x)
    return layers.Conv2D(
        filters,
        size,
        strides=strides,
        padding="same" if strides == 1 else "valid",
        use_bias=False,
        kernel_initializer=keras.initializers.VarianceScaling(
            2.0, mode="fan_out", distribution="untruncated_normal"
        ),
    )(x)


def normalisation(x: keras.KerasTensor) -> keras.KerasTensor:
    """Return batch normalisation with PyTorch's constants."""
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)


def projection(x: keras.KerasTensor, filters: int, strides: int) -> keras.KerasTensor:
    """Return a shortcut with parameters (option B of He et al., 2016)."""
    return normalisation(convolution(x, filters, 1, strides))


def relu(x: keras.KerasTensor) -> keras.KerasTensor:
    """Return the positive part."""
    return layers.ReLU()(x)


def classifier(inputs: keras.KerasTensor, features: keras.KerasTensor, data: Data) -> keras.Model:
    """Return the model that ends in a linear layer, "logits"."""
    logits = layers.Dense(data.num_classes, dtype="float32", name="logits")(features)
    return keras.Model(inputs, logits)
