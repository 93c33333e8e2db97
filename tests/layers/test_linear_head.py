"""The head of a language model: its loss is that of its logits, in a function and in `fit`."""

import keras
import numpy as np
import pytest
from backends import to_numpy
from keras import ops

from keras_focal import functional, layers, metrics

NUM_CLASSES, WIDTH, LENGTH, PADDING = 40, 6, 5, 0


def embeddings():
    made = {
        "Embedding": keras.layers.Embedding(NUM_CLASSES, WIDTH),
        "tied": keras.layers.ReversibleEmbedding(NUM_CLASSES, WIDTH, logit_soft_cap=2.0),
        "untied": keras.layers.ReversibleEmbedding(NUM_CLASSES, WIDTH, tie_weights=False),
    }
    for embedding in made.values():
        embedding.build((None, LENGTH))
    return made


def heads():
    made = {name: layers.LinearHead(embedding=found) for name, found in embeddings().items()}
    made["own"] = layers.LinearHead(NUM_CLASSES, use_bias=True, softcap=3.0)
    for head in made.values():
        head.build((None, WIDTH))
    made["own"].bias.assign(np.linspace(-1, 1, NUM_CLASSES))
    return made


@pytest.fixture
def rows(rng):
    features = rng.normal(0, 2, (4, LENGTH, WIDTH)).astype("float32")
    return features, rng.integers(0, NUM_CLASSES, (4, LENGTH)).astype("int32")


@pytest.mark.parametrize("name", ["Embedding", "tied", "untied", "own"])
def test_loss_is_that_of_the_logits(name, rows):
    features, labels = rows
    head = heads()[name]
    expected = functional.sparse_categorical_focal_crossentropy(labels, head(features), gamma=2.0)
    found = head.focal_crossentropy(features, labels)
    np.testing.assert_allclose(to_numpy(found), to_numpy(expected), rtol=1e-5)


@pytest.mark.parametrize("name", ["tied", "untied"])
def test_logits_are_those_of_the_reversed_embedding(name, rows):
    head = heads()[name]
    expected = head.embedding(ops.convert_to_tensor(rows[0]), reverse=True)
    np.testing.assert_allclose(to_numpy(head(rows[0])), to_numpy(expected), rtol=1e-5)


def test_a_mask_and_weights_of_samples_leave_tokens_out(rows):
    features, labels = rows
    features[1, 2] = 0.0
    head = heads()["own"]
    masked = keras.layers.Masking()(features)
    weights = np.array([1.0, 2.0, 0.0, 1.0], "float32")
    found = head.focal_crossentropy(masked, labels, sample_weight=weights)
    expected = to_numpy(head.focal_crossentropy(features, labels)) * weights[:, None]
    expected[1, 2] = 0.0
    np.testing.assert_allclose(to_numpy(found), expected, rtol=1e-6)


def test_half_precision_computes_as_its_logits_do(rows):
    features, labels = rows
    head = layers.LinearHead(NUM_CLASSES, dtype="mixed_bfloat16")
    logits = head(features)
    assert keras.backend.standardize_dtype(logits.dtype) == "bfloat16"
    found = head.focal_crossentropy(features, labels, gamma=0.0)
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    exact = functional.sparse_categorical_focal_crossentropy(
        labels, ops.matmul(features, ops.convert_to_tensor(head.kernel)), gamma=0.0
    )
    np.testing.assert_allclose(to_numpy(found), to_numpy(exact), rtol=0.02, atol=0.05)


class LanguageModel(keras.Model):
    """A model that returns features, and in `compute_loss` the loss and metrics of its head."""

    def __init__(self, reduction="mean"):
        super().__init__()
        keras.utils.set_random_seed(0)
        tokens = keras.Input((LENGTH,), dtype="int32")
        embedding = keras.layers.Embedding(NUM_CLASSES, WIDTH)
        outputs = keras.layers.GRU(WIDTH, return_sequences=True)(embedding(tokens))
        self.backbone = keras.Model(tokens, outputs)
        self.head = layers.LinearHead(embedding=embedding, use_bias=True)
        self.head.build((None, WIDTH))
        self.reduction = reduction
        self.accuracy = keras.metrics.Mean(name="accuracy")
        self.ece = metrics.BinaryExpectedCalibrationError(name="ece")

    def call(self, tokens, training=False):
        return self.backbone(tokens, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        weights = ops.cast(ops.not_equal(y, PADDING), "float32")
        loss, found = self.head.focal_crossentropy(
            y_pred,
            y,
            gamma=2.0,
            sample_weight=weights,
            reduction=self.reduction,
            return_statistics=True,
        )
        self.accuracy.update_state(found.correct, weights)
        self.ece.update_state(found.correct, found.confidence[..., None], weights)
        return loss if self.reduction else ops.sum(loss) / ops.sum(weights)


class WithLogits(LanguageModel):
    """The same model, which makes its logits."""

    def call(self, tokens, training=False):
        return self.head(self.backbone(tokens, training=training))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        weights = ops.cast(ops.not_equal(y, PADDING), "float32")
        losses = functional.sparse_categorical_focal_crossentropy(y, y_pred, gamma=2.0)
        correct = ops.cast(ops.equal(ops.cast(ops.argmax(y_pred, -1), "int32"), y), "float32")
        self.accuracy.update_state(correct, weights)
        confidence = ops.max(ops.softmax(y_pred), axis=-1)
        self.ece.update_state(correct, confidence[..., None], weights)
        return ops.sum(losses * weights) / ops.sum(weights)


def trained(model, epochs=2):
    tokens = np.random.default_rng(0).integers(0, NUM_CLASSES, (16, LENGTH + 1)).astype("int32")
    model.compile(keras.optimizers.SGD(0.5))
    x, y = tokens[:, :-1], tokens[:, 1:]
    history = model.fit(x, y, batch_size=8, epochs=epochs, shuffle=False, verbose=0).history
    return history, [keras.ops.convert_to_numpy(weight) for weight in model.weights]


@pytest.fixture(scope="module")
def with_logits(eagerly):
    with eagerly():
        return trained(WithLogits())


@pytest.mark.parametrize("reduction", [pytest.param(None, marks=pytest.mark.nightly), "mean"])
def test_fit_without_logits_is_fit_with_logits(reduction, with_logits):
    history, weights = trained(LanguageModel(reduction))
    assert sorted(history) == ["accuracy", "ece", "loss"]
    for name, values in with_logits[0].items():
        np.testing.assert_allclose(history[name], values, rtol=1e-4, err_msg=name)
    for found, expected in zip(weights, with_logits[1], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("reduction", [None, "mean"])
def test_data_parallel_devices_train_as_one(reduction, with_logits, data_parallel):
    history, weights = trained(LanguageModel(reduction))
    for name, values in with_logits[0].items():
        np.testing.assert_allclose(history[name], values, rtol=1e-4, err_msg=name)
    for found, expected in zip(weights, with_logits[1], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_saved_model_gives_the_same_logits_and_still_shares_its_embedding(tmp_path):
    tokens = keras.Input((LENGTH,), dtype="int32")
    embedding = keras.layers.ReversibleEmbedding(NUM_CLASSES, WIDTH)
    head = layers.LinearHead(embedding=embedding, use_bias=True, softcap=5.0, name="head")
    model = keras.Model(tokens, head(embedding(tokens)))
    head.bias.assign(np.linspace(-1, 1, NUM_CLASSES))
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    x = np.arange(2 * LENGTH, dtype="int32").reshape(2, LENGTH)
    np.testing.assert_allclose(to_numpy(loaded(x)), to_numpy(model(x)), rtol=1e-6)
    assert len(loaded.weights) == 2
    assert loaded.get_layer("head").embedding is loaded.layers[1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (layers.LinearHead, "`num_classes` must be given or `embedding` be given"),
        (
            lambda: layers.LinearHead(5, embedding=embeddings()["tied"]),
            "`num_classes` must be given or",
        ),
        (lambda: layers.LinearHead(0), "`num_classes` must be a whole number"),
        (lambda: layers.LinearHead(5, softcap=-1.0), "`softcap` must be a finite number > 0"),
        (lambda: layers.LinearHead(embedding=keras.layers.Dense(3)), "`embedding` must be a layer"),
        (
            lambda: layers.LinearHead(5).focal_crossentropy(np.zeros((2, 3)), [0, 1]),
            "`LinearHead` must be built",
        ),
    ],
    ids=["neither", "both", "no class", "cap", "no embedding", "not built"],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_repr_names_the_classes_and_the_embedding():
    assert repr(layers.LinearHead(5, name="head")) == "LinearHead(5, embedding=None, name='head')"
