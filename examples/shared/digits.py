"""scikit-learn's handwritten digits, and a network for them."""

import keras
from keras import layers

from examples.paper.data import Data, Split


def load_digits(seed: int) -> Data:
    """Return the digits: 100 for training, 300 held out, 1,397 for test, float32 in [0, 1].

    All parts have all classes alike; `seed` says which images they have.
    """
    from sklearn import datasets

    digits = datasets.load_digits()
    images = (digits.images[..., None] / 16.0).astype("float32")
    train, rest = _divided(Split(images, digits.target), 100, seed)
    validation, test = _divided(rest, 300, seed)
    return Data("digits", train, validation, test, tuple(map(str, digits.target_names)))


def _divided(split: Split, size: int, seed: int) -> tuple[Split, Split]:
    """Return as many samples and the rest, each with all classes alike."""
    from sklearn.model_selection import train_test_split

    x, x_rest, y, y_rest = train_test_split(
        split.x, split.y, train_size=size, stratify=split.y, random_state=seed
    )
    return Split(x, y), Split(x_rest, y_rest)


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
