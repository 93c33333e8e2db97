"""Data sets and networks of the examples."""

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from keras import layers


@dataclass(frozen=True)
class Split:
    """Images, float32 in [0, 1], shape (N, height, width, channels), and class ids, shape (N,)."""

    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Data:
    """Training data, held-out data to calibrate on, and test data."""

    train: Split
    validation: Split
    test: Split


def load_digits(seed: int) -> Data:
    """Return scikit-learn's handwritten digits: 100 for training, 300 held out, 1,397 for test."""
    from sklearn import datasets

    digits = datasets.load_digits()
    images = (digits.images[..., None] / 16.0).astype("float32")
    return _split(images, digits.target, sizes=(100, 300), seed=seed)


def load_cifar10(seed: int, file: Path | None = None, validation_share: float = 0.1) -> Data:
    """Return CIFAR-10 from an .npz file with x_train, y_train, x_test, y_test, or by download.

    Args:
        seed: Which images of the training set are held out.
        file: The .npz file, images uint8; None downloads through tensorflow-datasets.
        validation_share: Share of the training set to hold out.
    """
    if file is not None:
        with np.load(file, allow_pickle=False) as arrays:
            x, y, x_test, y_test = (
                arrays[name] for name in ("x_train", "y_train", "x_test", "y_test")
            )
    else:
        import tensorflow_datasets as tfds

        try:
            train, test = tfds.as_numpy(
                tfds.load("cifar10", split=["train", "test"], batch_size=-1, as_supervised=True)
            )
        except Exception as error:
            raise SystemExit(
                f"CIFAR-10 could not be downloaded ({type(error).__name__}). Give a local file "
                "with --data FILE.npz holding x_train, y_train, x_test and y_test."
            ) from error
        (x, y), (x_test, y_test) = train, test
    x, x_test = x.astype("float32") / 255.0, x_test.astype("float32") / 255.0
    held_out = int(len(x) * validation_share)
    parts = _split(x, y, sizes=(len(x) - held_out, held_out), seed=seed)
    return Data(parts.train, parts.validation, Split(x_test, y_test.reshape(-1)))


def small_cnn(num_classes: int = 10) -> keras.Model:
    """Return a network of three convolutions for 8 x 8 digits. It gives logits."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(num_classes),
        ]
    )


def resnet(num_classes: int = 10, blocks: int = 3) -> keras.Model:
    """Return the CIFAR ResNet of 6 * blocks + 2 layers for 32 x 32 images. It gives logits."""
    inputs = keras.Input((32, 32, 3))
    x = layers.RandomFlip("horizontal")(inputs)
    x = layers.RandomTranslation(0.125, 0.125, fill_mode="constant")(x)
    x = _convolution(x, 16)
    for filters in (16, 32, 64):
        for block in range(blocks):
            stride = 2 if filters > 16 and block == 0 else 1
            shortcut = x
            if stride != 1:
                shortcut = layers.Conv2D(filters, 1, strides=stride, use_bias=False)(x)
            x = _convolution(x, filters, stride)
            x = _convolution(x, filters, activation=False)
            x = layers.ReLU()(layers.Add()([x, shortcut]))
    return keras.Model(inputs, layers.Dense(num_classes)(layers.GlobalAveragePooling2D()(x)))


def _convolution(
    x: keras.KerasTensor, filters: int, stride: int = 1, activation: bool = True
) -> keras.KerasTensor:
    x = layers.Conv2D(filters, 3, strides=stride, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    return layers.ReLU()(x) if activation else x


def _split(x: np.ndarray, y: np.ndarray, sizes: tuple[int, int], seed: int) -> Data:
    """Return a training part, a held-out part, and the rest, each with all classes alike."""
    from sklearn.model_selection import train_test_split

    train, held_out = sizes
    x_train, x, y_train, y = train_test_split(
        x, y.reshape(-1), train_size=train, stratify=y, random_state=seed
    )
    validation, test = Split(x, y), Split(x[:0], y[:0])
    if held_out < len(x):
        parts = train_test_split(x, y, train_size=held_out, stratify=y, random_state=seed)
        validation, test = Split(parts[0], parts[2]), Split(parts[1], parts[3])
    return Data(Split(x_train, y_train), validation, test)
