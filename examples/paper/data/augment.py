"""The paper's augmentation of images: crops and flips."""

from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def random_crop(images: np.ndarray, padding: int, rng: np.random.Generator) -> np.ndarray:
    """Return images moved by up to `padding` pixels either way, with zeros where they were not.

    Args:
        images: Shape (N, height, width, channels).
        padding: Number of pixels.
        rng: Where the moves, uniform and one for each image, are drawn from.
    """
    count, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    top, left = rng.integers(0, 2 * padding + 1, (2, count))
    # Views of every crop, with the channels in front of the pixels.
    crops = sliding_window_view(padded, (height, width), axis=(1, 2))
    return np.ascontiguousarray(np.moveaxis(crops[np.arange(count), top, left], 1, -1))


def random_flip(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return images, shape (N, height, width, channels), half of them flipped left to right."""
    flipped, rows = images.copy(), rng.random(len(images)) < 0.5
    flipped[rows] = images[rows, :, ::-1]
    return flipped


def crop_and_flip(padding: int = 4) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    """Return the paper's augmentation of images, for `Batches`."""
    return lambda images, rng: random_flip(random_crop(images, padding, rng), rng)
