"""Networks of images and documents: sizes as published, float32 logits, pixels as in the paper."""

import keras
import numpy as np
import pytest

from examples.paper.data._types import Data, Split
from examples.paper.networks import build
from examples.paper.networks._layers import convolution
from examples.paper.networks._text import global_pooling_cnn

WORDS = 50
SMALL = ("resnet8", "global-pooling-cnn", "global-pooling-cnn-small")


def dataset(x, num_classes, vocabulary=None):
    split = Split(x, np.arange(len(x), dtype="int32") % num_classes)
    return Data("toy", split, split, split, tuple(map(str, range(num_classes))), vocabulary)


def images(size=32, num_classes=10, samples=4):
    rng = np.random.default_rng(0)
    return dataset(rng.integers(0, 256, (samples, size, size, 3), "uint8"), num_classes)


def documents():
    x = np.random.default_rng(0).integers(0, WORDS, (4, 30)).astype("int32")
    return dataset(x, 20, list(map(str, range(WORDS))))


def data_of(network):
    return documents() if "cnn" in network else images(size=8)


@pytest.fixture
def mixed_bfloat16():
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def zeros(monkeypatch):
    """Zeros in place of random weights, which take half of the time to build a network."""

    def draw(self, shape, dtype=None):
        return np.zeros(shape, dtype)

    monkeypatch.setattr(keras.initializers.VarianceScaling, "__call__", draw)


@pytest.mark.parametrize(
    ("network", "size", "num_classes", "parameters", "features"),
    [
        ("resnet6-wide", 32, 10, 1_111_882, 256),
        ("resnet8", 32, 10, 75_290, 64),
        ("resnet20", 32, 10, 269_722, 64),
        *(
            pytest.param(*row, marks=pytest.mark.nightly)
            for row in (
                ("wide-resnet-26-10", 32, 10, 36_481_434, 640),
                ("resnet50", 32, 10, 23_520_842, 2048),
                ("resnet50", 64, 200, 25_138_952, 8192),
                ("resnet110", 32, 10, 1_727_962, 64),
                ("resnet110-bottleneck", 32, 10, 45_864_522, 2048),
                ("densenet121", 32, 10, 6_956_298, 1024),
            )
        ),
    ],
)
def test_networks_of_images_have_the_published_numbers_of_parameters(
    network, size, num_classes, parameters, features, zeros
):
    model = build(network, images(size, num_classes))
    assert sum(np.prod(weight.shape) for weight in model.trainable_weights) == parameters
    assert model.get_layer("logits").input.shape == (None, features)
    assert model.output.shape == (None, num_classes)


def test_networks_of_documents_have_the_numbers_of_parameters_of_their_layers():
    paper = WORDS * 100 + (500 + 1) * 128 + 2 * (640 + 1) * 128 + 129 * 128 + 129 * 20
    small = WORDS * 64 + (320 + 1) * 64 + 65 * 64 + 65 * 20
    assert build("global-pooling-cnn", documents()).count_params() == paper
    assert build("global-pooling-cnn-small", documents()).count_params() == small


@pytest.mark.parametrize("network", SMALL)
def test_a_network_trains_in_mixed_precision_and_gives_finite_float32_logits(
    network, mixed_bfloat16, few_steps
):
    data = data_of(network)
    model = build(network, data)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss)
    before = [np.array(keras.ops.convert_to_numpy(weight)) for weight in model.trainable_weights]
    assert np.isfinite(model.train_on_batch(data.train.x, data.train.y))
    after = [keras.ops.convert_to_numpy(weight) for weight in model.trainable_weights]
    assert sum((old != new).any() for old, new in zip(before, after, strict=True)) > len(after) / 2
    logits = model.predict(data.train.x, verbose=0)
    assert logits.dtype == "float32"
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("network", ["resnet8", "global-pooling-cnn-small"])
def test_a_saved_network_gives_the_same_logits(network, tmp_path):
    data = data_of(network)
    model = build(network, data)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(loaded(data.train.x)),
        keras.ops.convert_to_numpy(model(data.train.x)),
    )


@pytest.mark.parametrize(
    ("size", "mean", "deviation"),
    [
        (32, (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
        (64, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ],
)
def test_pixels_are_standardised_in_float32(size, mean, deviation, mixed_bfloat16):
    data = images(size)
    model = build("resnet8", data)
    (layer,) = (each for each in model.layers if isinstance(each, keras.layers.Normalization))
    found = keras.ops.convert_to_numpy(keras.Model(model.input, layer.output)(data.train.x))
    assert found.dtype == "float32"
    np.testing.assert_allclose(found, (data.train.x / 255 - mean) / deviation, atol=1e-5)


def test_the_windows_of_strided_convolutions_are_centred_as_those_of_the_shortcuts():
    x = np.arange(36.0, dtype="float32").reshape(1, 6, 6, 1)
    inputs = keras.Input((6, 6, 1))
    model = keras.Model(inputs, convolution(inputs, 1, 3, strides=2))
    model.set_weights([np.pad(np.ones((1, 1, 1, 1), "float32"), [(1, 1), (1, 1), (0, 0), (0, 0)])])
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model(x)), x[:, ::2, ::2])


def test_shortcuts_without_parameters_take_every_second_pixel_and_fill_up_with_zeros():
    data = images(size=8)
    model = build("resnet8", data)
    added = [layer for layer in model.layers if isinstance(layer, keras.layers.Add)][1]
    x, shortcut = keras.Model(model.input, [_first_stage(model), added.input[1]])(data.train.x)
    expected = np.pad(keras.ops.convert_to_numpy(x)[:, ::2, ::2], [(0, 0)] * 3 + [(0, 16)])
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(shortcut), expected)


def _first_stage(model):
    """Return what the shortcut of the second block takes."""
    return next(
        layer.input for layer in model.layers if isinstance(layer, keras.layers.AveragePooling2D)
    )


def test_the_embedding_starts_at_given_vectors_and_is_trained():
    vectors = np.random.default_rng(0).normal(size=(WORDS, 100)).astype("float32")
    embedding = global_pooling_cnn(documents(), vectors).get_layer("embedding")
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(embedding.embeddings), vectors)
    assert embedding.trainable


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="`--network` must be one of"):
        build("resnet9", images())
