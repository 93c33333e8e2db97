"""calibrate with what models do beyond a softmax of logits: masks, saturation, own prediction."""

import gc
import warnings
import weakref

import keras
import numpy as np
import pytest
import reference
from keras import layers
from networks import noisy_labels, predict

from keras_focal.calibration import calibrate, fit_temperature

# What calibration computes is the matter here, not the traced `predict` of a model.
pytestmark = pytest.mark.usefixtures("few_steps")


def warnings_of(function):
    # Not pytest.warns, which turns the warnings of the frameworks themselves into errors.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function()
    return caught


def column(rng, scale=60.0, activation="sigmoid"):
    """Return x, a network of logits scale * x, and labels of a temperature of 40."""
    x = rng.normal(size=(400, 1)).astype("float32")
    labels = noisy_labels(scale * x, rng, temperature=40.0)
    kernel = keras.initializers.Constant(scale)
    head = layers.Dense(1, activation, kernel_initializer=kernel)
    return x, keras.Sequential([keras.Input((1,)), head]), labels


@pytest.mark.parametrize("depth", [0, 1])
def test_saturated_sigmoid_gives_the_temperature_of_its_logits(rng, depth):
    x, model, y = column(rng)
    for _ in range(depth):
        model = keras.Sequential([keras.Input((1,)), model])
    assert (predict(model, x) == 1.0).any()
    calibrated, fit = calibrate(model, x, y, return_fit=True, verbose=0)
    expected = fit_temperature(60.0 * x.astype("float64"), y).temperature
    assert fit.temperature == pytest.approx(expected, rel=1e-5)
    p = 1 / (1 + np.exp(-60.0 * x.astype("float64") / expected))
    np.testing.assert_allclose(predict(calibrated, x), p, atol=1e-5)


def test_saturated_sigmoid_of_a_subclassed_model_is_counted(rng):
    class Own(keras.Model):
        def call(self, x):
            return keras.ops.sigmoid(60.0 * x)

    x, _, y = column(rng)
    assert any(
        "of 400 predictions are exactly 0 or 1" in str(warning.message)
        for warning in warnings_of(lambda: calibrate(Own(), x, y, verbose=0))
    )


def tagger(rng):
    ids = keras.Input((None,), dtype="int32", name="ids")
    x = layers.Embedding(8, 4, mask_zero=True)(ids)
    model = keras.Model(ids, layers.Dense(3)(x))
    model.set_weights([rng.normal(0, 2, weight.shape) for weight in model.get_weights()])
    return model


@pytest.mark.parametrize("fold", [False, True])
def test_padding_is_left_out_as_evaluate_does(rng, fold):
    model = tagger(rng)
    ids = rng.integers(1, 8, (60, 10), dtype="int32")
    ids[:, 5:] = 0
    logits = predict(model, ids)
    labels = noisy_labels(logits, rng)
    labels[:, 5:] = 77  # no class at all
    expected = fit_temperature(logits[:, :5], labels[:, :5]).temperature
    kwargs = {"from_logits": True, "fold": fold, "return_fit": True, "verbose": 0}
    weights = rng.uniform(0.5, 1.5, 60)
    _, fit = calibrate(model, ids, labels, **kwargs)
    assert fit.temperature == pytest.approx(expected, rel=1e-5)
    assert fit.num_samples == 300
    batches = [(ids[:20], labels[:20]), (ids[20:, :6], labels[20:, :6])]  # of unlike lengths
    _, fit = calibrate(model, batches, **kwargs)
    assert fit.temperature == pytest.approx(expected, rel=1e-5)
    weighted = fit_temperature(logits[:, :5], labels[:, :5], sample_weight=weights).temperature
    _, fit = calibrate(model, ids, labels, sample_weight=weights, **kwargs)
    assert fit.temperature == pytest.approx(weighted, rel=1e-5)
    column = [(ids[part], labels[part], weights[part]) for part in (slice(0, 20), slice(20, 60))]
    _, fit = calibrate(model, column, **{**kwargs, "verbose": 1})
    assert fit.temperature == pytest.approx(weighted, rel=1e-5)
    of_steps = np.repeat(weights[:, None, None], 10, axis=1)
    _, fit = calibrate(model, ids, labels, sample_weight=of_steps, **kwargs)
    assert fit.temperature == pytest.approx(weighted, rel=1e-5)


def test_weights_of_independent_labels_are_left_out_with_their_padding(rng):
    model = tagger(rng)
    ids = rng.integers(1, 8, (40, 6), dtype="int32")
    ids[:, 4:] = 0
    logits = predict(model, ids)
    labels = (logits / 2 + rng.logistic(size=logits.shape) > 0).astype(int)
    weights = rng.uniform(0.5, 1.5, labels.shape)
    weights[:, 4:] = np.nan
    kwargs = {"from_logits": True, "multi_label": True, "verbose": 0}
    _, fit = calibrate(model, ids, labels, sample_weight=weights, return_fit=True, **kwargs)
    counts = slice(0, 4)
    expected = fit_temperature(
        logits[:, counts], labels[:, counts], sample_weight=weights[:, counts], multi_label=True
    )
    assert fit.temperature == pytest.approx(expected.temperature, rel=1e-5)
    assert fit.num_samples == expected.num_samples


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="models of strings need it")
def test_strings_are_taken_as_a_list_or_an_array(rng):
    inputs = keras.Input((), dtype="string")
    ids = layers.StringLookup(vocabulary=["a", "b", "c"])(inputs)
    model = keras.Model(inputs, layers.Embedding(4, 3, "normal")(ids))
    texts = ["a", "b", "c", "d"] * 20
    y = rng.integers(0, 3, 80)
    expected = fit_temperature(predict(model, np.array(texts, object)), y)
    for given in (texts, np.array(texts), np.array(texts, "S")):
        _, fit = calibrate(model, given, y, from_logits=True, return_fit=True, verbose=0)
        assert fit.temperature == pytest.approx(expected.temperature, rel=1e-5)


def classifier(activation=None):
    inputs = keras.Input((4,))
    head = layers.Dense(3, activation, name="temperature")
    model = keras.Model(inputs, head(inputs), name="classifier")
    model.set_weights([np.random.default_rng(1).normal(0, 2, (4, 3)), np.zeros(3)])
    return model


def data(rng, model, size=200):
    x = rng.normal(size=(size, 4)).astype("float32")
    return x, noisy_labels(predict(model, x), rng)


def test_weights_of_later_batches_count(rng):
    model = classifier()
    x, y = data(rng, model)
    weights = rng.uniform(0.1, 3, 200)
    weights[:50] = 1
    expected = fit_temperature(predict(model, x), y, sample_weight=weights).temperature
    batches = [(x[:50], y[:50]), (x[50:], y[50:], weights[50:])]
    found = calibrate(model, batches, from_logits=True, verbose=0)
    assert found.get_layer("temperature").temperature == pytest.approx(expected, rel=1e-5)


def test_ignored_labels_are_left_out(rng):
    model = classifier()
    x, y = data(rng, model)
    void = np.where(np.arange(200) < 50, 255, y)
    expected = fit_temperature(predict(model, x)[50:], y[50:]).temperature
    kwargs = {"from_logits": True, "verbose": 0}
    found = calibrate(model, x, void, ignore_class=255, **kwargs)
    assert found.get_layer("temperature").temperature == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match=r"`labels` must be class ids .*ignore_class"):
        calibrate(model, x, void, **kwargs)


class Numbered(keras.utils.PyDataset):
    """Batches whose number is said by `num_batches` alone, as `predict` takes them."""

    def __init__(self, batches, number):
        super().__init__()
        self.batches, self._number = batches, number

    @property
    def num_batches(self):
        return self._number

    def __getitem__(self, i):
        return self.batches[i]


def test_odd_datasets_are_read_or_refused(rng):
    model = classifier()
    x, y = data(rng, model)
    expected = fit_temperature(predict(model, x), y).temperature
    batches = [(x[:90], y[:90]), (x[90:], y[90:])]
    kwargs = {"from_logits": True, "verbose": 0}
    for given in (batches, Numbered(batches, 2)):
        found = calibrate(model, given, **kwargs)
        assert found.get_layer("temperature").temperature == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="`x` must end"):
        calibrate(model, Numbered(batches, None), **kwargs)
    tf = pytest.importorskip("tensorflow")
    samples = tf.data.Dataset.from_tensor_slices((x, y))
    with pytest.raises(ValueError, match="`x` must yield batches, with a first axis of samples"):
        calibrate(model, samples, **kwargs)
    with pytest.raises(ValueError, match="`x` must end"):
        calibrate(model, samples.batch(9).repeat(), **kwargs)


def labels_of_each(rng, model, x):
    p = predict(model, x).astype("float64")
    z = np.log(p) - np.log1p(-np.minimum(p, 1 - 2.0**-24))
    return z, (z / 3 + rng.logistic(size=z.shape) > 0).astype(int)


def test_sigmoids_are_refused_as_classes_and_calibrated_as_labels(rng):
    model = classifier(activation="sigmoid")
    x = rng.normal(size=(200, 4)).astype("float32")
    z, y = labels_of_each(rng, model, x)
    with pytest.raises(ValueError, match="`multi_label` must be True for the 3 sigmoids"):
        calibrate(model, x, y, verbose=0)
    inputs = keras.Input((4,))
    behind = keras.Model(inputs, layers.Activation("sigmoid")(classifier()(inputs)))
    with pytest.raises(ValueError, match="`multi_label` must be True for the 3 sigmoids"):
        calibrate(behind, x, y, verbose=0)
    expected = fit_temperature(z, y, multi_label=True).temperature
    calibrated = calibrate(model, x, y, multi_label=True, verbose=0)
    assert calibrated.get_layer("temperature").temperature == pytest.approx(expected, rel=1e-3)
    np.testing.assert_allclose(predict(calibrated, x), 1 / (1 + np.exp(-z / expected)), atol=1e-3)
    each = [fit_temperature(z[:, [k]], y[:, k]).temperature for k in range(3)]
    nested = keras.Model(inputs, model(inputs))
    calibrated = calibrate(nested, x, y, multi_label=True, verbose=0)
    assert calibrated.get_layer("temperature").temperature == pytest.approx(expected, rel=1e-3)
    calibrated, fits = calibrate(model, x, y, multi_label="per_label", return_fit=True, verbose=0)
    assert [fit.temperature for fit in fits] == pytest.approx(each, rel=1e-3)
    np.testing.assert_allclose(predict(calibrated, x), 1 / (1 + np.exp(-z / each)), atol=1e-3)


def test_independent_labels_are_taken_by_a_temperature_behind_a_sigmoid_alone(rng):
    model, x, y = classifier(activation="sigmoid"), np.ones((8, 4)), np.zeros((8, 3))
    with pytest.raises(ValueError, match="`method` must be 'temperature' for labels"):
        calibrate(model, x, y, method="vector", multi_label=True, verbose=0)
    with pytest.raises(ValueError, match="`from_logits` must be True for independent labels"):
        calibrate(classifier(), x, y, multi_label=True, from_logits=False, verbose=0)


def test_model_that_gives_back_its_inputs_is_calibrated(rng):
    inputs = keras.Input((3,))
    logits = rng.normal(0, 3, (200, 3)).astype("float32")
    y = noisy_labels(logits, rng)
    expected = fit_temperature(logits, y).temperature
    for from_logits, x in ((True, logits), (False, reference.softmax64(logits))):
        found = calibrate(keras.Model(inputs, inputs), x, y, from_logits=from_logits, verbose=0)
        assert found.get_layer("temperature").temperature == pytest.approx(expected, rel=1e-3)


def test_prediction_that_is_more_than_the_layers_is_refused(rng):
    class Scaled(keras.Model):
        def predict_on_batch(self, x):
            return 1.3 * super().predict_on_batch(x)

    plain = classifier()
    x, y = data(rng, plain)
    with pytest.raises(ValueError, match="`model` must give in `predict` what its layers give"):
        calibrate(Scaled(plain.input, plain.output), x, y, from_logits=True, verbose=0)

    class Drawn(keras.Model):
        def predict_on_batch(self, x):
            return rng.uniform(1.5, 3.0) * super().predict_on_batch(x)

    expected = fit_temperature(predict(plain, x), y).temperature
    found = calibrate(Drawn(plain.input, plain.output), x, y, from_logits=True, verbose=0)
    assert found.get_layer("temperature").temperature == pytest.approx(expected, rel=1e-3)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["images", "strings"])
def test_task_with_a_preprocessor_is_refused_and_without_it_taken(rng, kind):
    hub = pytest.importorskip("keras_hub")
    if kind == "images":
        backbone = hub.models.ResNetBackbone(
            [64], [3], [64], [1], [1], "basic_block", image_shape=(16, 16, 3)
        )
        converter = hub.layers.ImageConverter(image_size=(16, 16), scale=1 / 255)
        preprocessor = hub.models.ImageClassifierPreprocessor(converter)
        model = hub.models.ImageClassifier(backbone, num_classes=3, preprocessor=preprocessor)
        raw = rng.uniform(0, 255, (24, 16, 16, 3)).astype("float32")
    else:
        pytest.importorskip("tensorflow_text")
        tokenizer = hub.models.BertTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"])
        preprocessor = hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=8)
        backbone = hub.models.BertBackbone(6, 1, 1, 8, 8, max_sequence_length=8)
        model = hub.models.BertTextClassifier(backbone, 3, preprocessor=preprocessor)
        raw = np.array(["a", "a a", "b a"] * 8)
    y = np.arange(24) % 3
    with pytest.raises(ValueError, match=r"`model` must give in .*model\.preprocessor = None"):
        calibrate(model, raw, y, from_logits=True, verbose=0)
    ready = keras.tree.map_structure(keras.ops.convert_to_numpy, preprocessor(raw))
    model.preprocessor = None
    calibrated = calibrate(model, ready, y, from_logits=True, verbose=0)
    np.testing.assert_allclose(predict(calibrated, ready).sum(1), 1.0, atol=1e-5)


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("activation", [None, "softmax"])
def test_nothing_is_left_behind_in_the_model(rng, fold, activation):
    model = classifier(activation=activation)
    x, y = data(rng, classifier())
    kwargs = {"from_logits": activation is None, "fold": fold, "verbose": 0}

    def nodes():
        return sum(len(x._inbound_nodes) + len(x._outbound_nodes) for x in model.layers)

    before = nodes()
    discarded = weakref.ref(calibrate(model, x, y, **kwargs))
    assert nodes() == before
    keras.backend.clear_session(free_memory=False)
    gc.collect()
    assert discarded() is None


def test_calibrated_twice_the_temperature_is_the_last_one(rng):
    model = classifier()
    x, y = data(rng, model)
    once = calibrate(model, x, y, from_logits=True, verbose=0)
    twice, fit = calibrate(once, x, y, return_fit=True, verbose=0)
    assert twice.get_layer("temperature").temperature == pytest.approx(fit.temperature)
    assert fit.temperature == pytest.approx(1.0, rel=1e-3)
    np.testing.assert_allclose(predict(twice, x), predict(once, x), atol=1e-4)


def test_calibrated_model_is_evaluated_with_a_loss_of_probabilities(rng):
    model = classifier()
    x, y = data(rng, model)
    calibrated, fit = calibrate(model, x, y, from_logits=True, return_fit=True, verbose=0)
    calibrated.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    loss, accuracy = calibrated.evaluate(x, y, verbose=0)
    assert loss == pytest.approx(fit.nll_after, rel=1e-5)
    assert accuracy == pytest.approx((predict(model, x).argmax(1) == y).mean())


def test_bound_warning_names_the_output_and_the_line(rng):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, {"a": classifier()(inputs), "b": layers.Dense(3)(inputs)})
    x = rng.normal(size=(50, 4)).astype("float32")
    y = {"a": predict(model, x)["a"].argmax(1)}
    caught = warnings_of(lambda: calibrate(model, x, y, from_logits=True, verbose=0))
    (warning,) = [warning for warning in caught if "separable" in str(warning.message)]
    assert str(warning.message).endswith("This is of the output 'a'.")
    assert warning.filename == __file__


def test_reference_softmax_of_a_padded_batch_is_what_the_model_serves(rng):
    model = tagger(rng)
    ids = np.pad(rng.integers(1, 8, (40, 4), dtype="int32"), ((0, 0), (0, 3)))
    labels = noisy_labels(predict(model, ids), rng)
    calibrated, fit = calibrate(model, ids, labels, from_logits=True, return_fit=True, verbose=0)
    expected = reference.softmax64(predict(model, ids).astype("float64") / fit.temperature)
    np.testing.assert_allclose(predict(calibrated, ids), expected, atol=1e-5)
