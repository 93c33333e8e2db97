"""Augmentation against loops; batches that are the same after a resume."""

import keras
import numpy as np
import pytest

from examples.paper.data import Batches, FollowEpochs, Split, crop_and_flip
from examples.paper.data.augment import random_crop, random_flip


@pytest.fixture
def images(rng):
    return rng.integers(1, 256, (400, 6, 7, 3)).astype(np.uint8)


def crop_at(image, top, left, padding):
    """Return a crop pixel by pixel; coordinates are those of the padded image."""
    height, width, _ = image.shape
    cropped = np.zeros_like(image)
    for row in range(height):
        for column in range(width):
            y, x = row + top - padding, column + left - padding
            if 0 <= y < height and 0 <= x < width:
                cropped[row, column] = image[y, x]
    return cropped


def test_each_crop_is_one_of_the_moves_and_all_moves_occur(images, rng):
    padding, seen = 2, set()
    cropped = random_crop(images, padding, rng)
    assert (cropped.shape, cropped.dtype) == (images.shape, np.uint8)
    assert cropped.flags.c_contiguous
    moves = [(top, left) for top in range(5) for left in range(5)]
    for image, found in zip(images, cropped, strict=True):
        matches = [m for m in moves if np.array_equal(crop_at(image, *m, padding), found)]
        assert len(matches) == 1
        seen.update(matches)
    assert seen == set(moves)


def test_about_half_of_the_images_are_flipped_left_to_right(images, rng):
    before = images.copy()
    flipped = random_flip(images, rng)
    np.testing.assert_array_equal(images, before)
    same = np.array([np.array_equal(a, b) for a, b in zip(images, flipped, strict=True)])
    for image, found in zip(images[~same], flipped[~same], strict=True):
        np.testing.assert_array_equal(found, [row[::-1] for row in image])
    assert 0.4 < same.mean() < 0.6


def test_without_padding_images_stay(images, rng):
    np.testing.assert_array_equal(random_crop(images, 0, rng), images)


def split_of(images, **kwargs):
    return Split(images, np.arange(len(images), dtype=np.int32), **kwargs)


def epochs_of(batches, epochs):
    """Return the batches of these epochs, read as a loop by hand does."""
    found = []
    for epoch in epochs:
        batches.epoch = epoch
        found.append([batches[index] for index in range(len(batches))])
    return found


def assert_equal_batches(one, other):
    keras.tree.map_structure(np.testing.assert_array_equal, one, other)


def test_a_batch_depends_on_the_seed_the_epoch_and_its_place_alone(images):
    def make(seed):
        return Batches(split_of(images), 150, seed=seed, augment=crop_and_flip(2))

    unbroken = epochs_of(make(3), range(4))
    assert_equal_batches(epochs_of(make(3), [2, 3]), unbroken[2:])
    again = make(3)
    again.epoch = 2
    for index in (2, 0, 1):
        assert_equal_batches(again[index], unbroken[2][index])
    assert not np.array_equal(unbroken[0][0][1], unbroken[1][0][1])
    assert not np.array_equal(unbroken[0][0][1], epochs_of(make(4), [0])[0][0][1])


def test_moves_differ_between_the_batches_and_epochs_of_equal_samples(images):
    equal = np.repeat(images[:1], 100, axis=0)
    batches = Batches(split_of(equal), 50, augment=crop_and_flip(2))
    (a, b), (c, _) = epochs_of(batches, [0, 1])
    assert not np.array_equal(a[0], b[0])
    assert not np.array_equal(a[0], c[0])


def test_each_sample_comes_once_an_epoch_in_an_order_of_its_own(images):
    batches = Batches(split_of(images), 150)
    assert [len(y) for _, y in batches] == [150, 150, 100]
    y = np.concatenate([y for _, y in batches])
    np.testing.assert_array_equal(np.sort(y), np.arange(400))
    assert not np.array_equal(y, np.arange(400))


def test_dictionaries_and_weights_keep_their_rows(rng):
    y = rng.integers(2, size=(10, 3)).astype(np.int32)
    x = {"a": y * 2, "b": np.arange(10)}
    for x_part, y_part, weight in Batches(Split(x, y, y.astype("float32")), 4):
        np.testing.assert_array_equal(x_part["a"], y_part * 2)
        np.testing.assert_array_equal(y_part, y[x_part["b"]])
        np.testing.assert_array_equal(weight, y_part)


class Seen(keras.layers.Layer):
    """A linear layer over the sum of the inputs, whose weights tell of the order of samples."""

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(3,), initializer="ones")

    def call(self, x):
        return keras.ops.cast(x["a"], "float32") * self.scale


def trained(batches, epochs, initial_epoch=0, weights=None, callbacks=()):
    """Return the scale after plain gradient descent, which depends on the order of samples."""
    inputs = {"a": keras.Input((3,), dtype="int32", name="a")}
    model = keras.Model(inputs, Seen()(inputs))
    model.compile(keras.optimizers.SGD(0.05), "mse", weighted_metrics=[])
    if weights is not None:
        model.set_weights(weights)
    model.fit(
        batches,
        epochs=epochs,
        initial_epoch=initial_epoch,
        shuffle=False,
        callbacks=[*callbacks, FollowEpochs(batches)],
        verbose=0,
    )
    return model.get_weights()


def test_a_resumed_fit_ends_as_an_unbroken_one(rng):
    x = {"a": rng.integers(-2, 3, (23, 3)).astype(np.int32)}
    split = Split(x, x["a"] % 2, rng.random(23).astype("float32"))

    def make():
        return Batches(split, 4, seed=1)

    (whole,) = trained(make(), 4)
    (resumed,) = trained(make(), 4, initial_epoch=2, weights=trained(make(), 2))
    np.testing.assert_array_equal(resumed, whole)


def test_fit_sees_the_epochs_that_a_loop_sees():
    class Recorded(Batches):
        def __getitem__(self, index):
            batch = super().__getitem__(index)
            given.append((self.epoch, index, batch[1].tobytes()))
            return batch

    given, starts = [], []
    split = Split({"a": np.arange(90).reshape(30, 3)}, np.arange(90.0).reshape(30, 3))
    start = keras.callbacks.LambdaCallback(on_epoch_begin=lambda *_: starts.append(len(given)))
    trained(Recorded(split, 4, seed=2), 3, callbacks=[start])
    oracle = Batches(split, 4, seed=2)
    assert len(starts) == 3
    for epoch, first in enumerate(starts):
        oracle.epoch = epoch
        expected = [(epoch, i, oracle[i][1].tobytes()) for i in range(len(oracle))]
        assert given[first : first + len(expected)] == expected


def test_without_a_callback_the_order_still_changes_each_epoch():
    batches = Batches(split_of(np.zeros((40, 1, 1, 1), np.uint8)), 40)
    orders = []
    for _ in range(3):
        orders.append(tuple(batches[0][1]))
        batches.on_epoch_end()
    assert len(set(orders)) == 3
