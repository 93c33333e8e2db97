"""fit_conformal and conformalize: the guarantee, the oracle, the peers, and what is refused."""

import keras
import numpy as np
import pytest
import reference
from backends import BACKEND
from keras import ops

from keras_focal import functional
from keras_focal.calibration import conformalize, fit_conformal

# What calibration computes is the matter here, not the traced `predict` of a model.
pytestmark = pytest.mark.usefixtures("few_steps")

METHODS = ("lac", "aps", "raps")


def sample(rng, size=300, classes=6, scale=1.5):
    """Return over-confident logits and labels."""
    logits = rng.normal(0, 1, (size, classes))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return (scale * logits).astype("float32"), labels


def softmax(logits):
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def scores_of(p, method, u=None, **settings):
    return ops.convert_to_numpy(functional.conformal_scores(p, method, u=u, **settings))


# --- the guarantee


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("is_randomized", [False, True])
def test_coverage_holds_over_a_thousand_splits(rng, method, is_randomized):
    """Labels need not follow the probabilities: these are of a model that is wrong."""
    size, splits, alpha = 99, 1000, 0.1
    logits, labels = sample(rng, 4000, scale=4.0)
    u = rng.random((4000, 1)).astype("float32") if is_randomized else None
    scores = scores_of(softmax(logits), method, u)[np.arange(4000), labels]
    drawn = np.argsort(rng.random((splits, 4000)), axis=1)
    held_out, new = scores[drawn[:, :size]], scores[drawn[:, size:]]
    place = 90  # ceil(100 * 0.9)
    thresholds = np.partition(held_out, place - 1, axis=1)[:, place - 1]
    coverage = (new <= thresholds[:, None]).mean(axis=1)
    # The mean of Beta(90, 10) is 0.9, its standard deviation 0.03: the mean of 1000 is off by 0.001
    # (and a little more, since the splits share their pool).
    assert coverage.mean() >= 1 - alpha - 0.004
    if method != "lac" and not is_randomized:
        return  # equal scores of classes that rank last may raise it
    assert coverage.mean() <= 1 - alpha + 0.004
    assert coverage.std() == pytest.approx(0.03, abs=0.003)


@pytest.mark.parametrize("method", METHODS)
def test_layer_of_the_fit_covers_new_predictions(rng, method):
    logits, labels = sample(rng, 4000, scale=3.0)
    fit = fit_conformal(logits[:1000], labels[:1000], 0.2, method=method)
    sets = ops.convert_to_numpy(fit.layer(logits[1000:]))
    covered = sets[np.arange(3000), labels[1000:]].mean()
    assert covered >= 0.8 - 3 * np.hypot(fit.coverage_std, 0.4 / np.sqrt(3000))


# --- what a fit is


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("alpha", [0.05, 0.1, 1 / 3, 0.5])
def test_threshold_is_the_quantile_of_the_scores(rng, method, alpha):
    logits, labels = sample(rng)
    fit = fit_conformal(logits, labels, alpha, method=method, penalty=0.02, rank=2)
    p = softmax(logits.astype("float64"))
    scores = [
        reference.conformal_score(row, label, method, 0.02, 2)
        for row, label in zip(p, labels, strict=True)
    ]
    assert fit.threshold == pytest.approx(reference.conformal_threshold(scores, alpha), abs=2e-6)
    assert (fit.method, fit.alpha, fit.num_samples) == (method, alpha, 300)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("allow_empty", [False, True])
@pytest.mark.parametrize("classes", [1, 4])
def test_figures_are_those_of_the_layer(rng, method, allow_empty, classes):
    logits, labels = sample(rng, classes=max(classes, 2))
    if classes == 1:
        logits = logits[:, 1:] - logits[:, :1]
    fit = fit_conformal(logits, labels, 0.3, method=method, allow_empty=allow_empty)
    sets = ops.convert_to_numpy(fit.layer(logits))
    sizes = sets.sum(axis=1)
    assert fit.coverage == sets[np.arange(300), labels].mean()
    assert fit.mean_size == pytest.approx(sizes.mean())
    assert fit.singletons == pytest.approx((sizes == 1).mean())
    assert fit.empty == pytest.approx((sizes == 0).mean())
    assert fit.coverage >= 0.7
    assert fit.empty == 0 or allow_empty


def test_expected_coverage_is_that_of_a_beta_distribution(rng):
    stats = pytest.importorskip("scipy.stats")
    fit = fit_conformal(*sample(rng, 199), 0.1)
    law = stats.beta(180, 20)
    assert fit.expected_coverage == pytest.approx(law.mean())
    assert fit.coverage_std == pytest.approx(law.std())


@pytest.mark.parametrize("method", METHODS)
def test_probabilities_give_the_fit_of_their_logits(rng, method):
    logits, labels = sample(rng)
    p = softmax(logits)
    of_logits = fit_conformal(logits, labels, method=method)
    of_probabilities = fit_conformal(p, labels, method=method, from_logits=False)
    assert of_probabilities.threshold == pytest.approx(of_logits.threshold, abs=2e-6)
    assert of_probabilities.layer.inputs == "probabilities"
    np.testing.assert_array_equal(
        ops.convert_to_numpy(of_probabilities.layer(p)),
        ops.convert_to_numpy(of_logits.layer(logits)),
    )


def test_random_numbers_make_sets_smaller_and_coverage_exact(rng):
    logits, labels = sample(rng, 5000, scale=3.0)
    plain = fit_conformal(logits, labels, method="aps", allow_empty=True)
    drawn = fit_conformal(logits, labels, method="aps", randomized=True, allow_empty=True, seed=3)
    assert drawn.mean_size < plain.mean_size - 0.1
    assert drawn.coverage == pytest.approx(0.9, abs=1e-3)
    again = fit_conformal(logits, labels, method="aps", randomized=True, allow_empty=True, seed=3)
    assert again.threshold == drawn.threshold


def test_raps_has_smaller_sets_than_aps_where_there_are_many_classes(rng):
    logits, labels = sample(rng, 2000, classes=50, scale=1.0)
    settings = {"randomized": True, "penalty": 0.1, "rank": 1}
    sizes = [fit_conformal(logits, labels, 0.5, method=m, **settings) for m in ("aps", "raps")]
    assert sizes[1].mean_size < sizes[0].mean_size


# --- what is given


def test_batches_give_the_fit_of_their_arrays(rng):
    logits, labels = sample(rng)
    batches = [(logits[i : i + 70], labels[i : i + 70]) for i in range(0, 300, 70)]
    settings = {"method": "aps", "randomized": True}
    by_batches = fit_conformal(batches, **settings)
    by_arrays = fit_conformal(logits, labels, **settings)
    assert by_batches.threshold == by_arrays.threshold
    assert by_batches.mean_size == pytest.approx(by_arrays.mean_size)


def test_ignored_and_weightless_predictions_are_left_out(rng):
    logits, labels = sample(rng)
    more, of_more = np.concatenate([logits, np.full((2, 6), np.nan)]), [*labels, 255, 255]
    expected = fit_conformal(logits, labels)
    assert fit_conformal(more, of_more, ignore_class=255).threshold == expected.threshold
    weights = np.r_[np.ones(300), 0, 0]
    found = fit_conformal(more, [*labels, 0, 0], sample_weight=weights)
    assert (found.threshold, found.num_samples) == (expected.threshold, 300)


def test_weights_other_than_0_and_1_are_refused(rng):
    logits, labels = sample(rng)
    with pytest.raises(ValueError, match=r"`sample_weight` must be 0 or 1.*exchangeable.*: 2\."):
        fit_conformal(logits, labels, sample_weight=np.r_[2.0, np.ones(299)])


@pytest.mark.parametrize(("number", "alpha"), [(8, 0.1), (18, 0.05), (98, 0.01)])
def test_too_few_predictions_for_alpha_are_an_error(rng, number, alpha):
    logits, labels = sample(rng)
    needed = f"Give {number + 1} predictions or more"
    with pytest.raises(ValueError, match=rf"`alpha` must be >= 1 / \(n \+ 1\).*infinite.*{needed}"):
        fit_conformal(logits[:number], labels[:number], alpha)
    fit = fit_conformal(logits[: number + 1], labels[: number + 1], alpha)
    assert fit.coverage == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 0.0}, r"`alpha` must be a number in \(0, 1\)"),
        ({"alpha": 1}, r"`alpha` must be a number in \(0, 1\)"),
        ({"method": "top"}, "`method` must be one of 'lac', 'aps', 'raps'"),
        ({"randomized": True}, "`randomized` must be one of False"),
        ({"from_logits": False}, "`from_logits` must say what the model gives"),
        ({"sample_weight": np.zeros(300)}, "no prediction that counts"),
    ],
)
def test_what_is_no_setting_raises(rng, arguments, message):
    with pytest.raises(ValueError, match=message):
        fit_conformal(*sample(rng), **arguments)


# --- a model that gives sets


def network(from_logits, outputs=4):
    last = None if from_logits else "sigmoid" if outputs == 1 else "softmax"
    dense = keras.layers.Dense(outputs, last, kernel_initializer="orthogonal")
    return keras.Sequential([keras.Input((4,), name="x"), dense])


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("outputs", [1, 4])
def test_model_gives_probabilities_and_their_sets(rng, tmp_path, from_logits, outputs):
    x = rng.normal(0, 2, (200, 4)).astype("float32")
    y = rng.integers(0, max(outputs, 2), 200)
    model = network(from_logits, outputs)
    with_sets, fit = conformalize(
        model, x, y, 0.2, method="raps", from_logits=from_logits, return_fit=True, verbose=0
    )
    found = with_sets.predict(x, verbose=0)
    raw = model.predict(x, verbose=0)
    expected = fit_conformal(raw, y, 0.2, method="raps", from_logits=from_logits)
    assert fit.threshold == expected.threshold
    np.testing.assert_array_equal(found["sets"], ops.convert_to_numpy(expected.layer(raw)))
    if not from_logits:
        np.testing.assert_array_equal(found["probabilities"], raw)
    assert found["probabilities"].shape == raw.shape
    with_sets.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras").predict(x, verbose=0)
    np.testing.assert_array_equal(loaded["sets"], found["sets"])
    assert model.predict(x, verbose=0).shape == raw.shape


def test_model_takes_batches(rng):
    x, y = rng.normal(size=(64, 4)).astype("float32"), rng.integers(0, 4, 64)
    model = network(False)
    batches = [(x[i : i + 16], y[i : i + 16]) for i in range(0, 64, 16)]
    _, by_batches = conformalize(model, batches, return_fit=True, verbose=0)
    _, by_arrays = conformalize(model, x, y, return_fit=True, verbose=0)
    assert by_batches.threshold == pytest.approx(by_arrays.threshold, abs=1e-6)


def test_model_of_several_outputs_or_of_labels_is_refused(rng):
    x, y = rng.normal(size=(64, 4)).astype("float32"), rng.integers(0, 4, 64)
    inputs = keras.Input((4,))
    heads = {name: keras.layers.Dense(4, "softmax", name=name)(inputs) for name in "ab"}
    with pytest.raises(ValueError, match=r"`model` must have one output\. Received: the outputs"):
        conformalize(keras.Model(inputs, heads), x, y, verbose=0)
    labels = keras.Sequential([inputs, keras.layers.Dense(4, "sigmoid")])
    with pytest.raises(ValueError, match=r"must give one class per prediction\. Received: 4 sig"):
        conformalize(labels, x, y, verbose=0)


exported = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="Keras exports these formats from TensorFlow"
)


@exported
@pytest.mark.parametrize("method", METHODS)
def test_exported_model_gives_the_sets(rng, tmp_path, method):
    tf = pytest.importorskip("tensorflow")
    x, y = rng.normal(0, 2, (200, 4)).astype("float32"), rng.integers(0, 4, 200)
    with_sets = conformalize(network(True), x, y, 0.3, method=method, from_logits=True, verbose=0)
    expected = with_sets.predict(x, verbose=0)["sets"]
    with_sets.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(tmp_path / "served")
    np.testing.assert_array_equal(served.serve(x)["sets"], expected)


@pytest.mark.nightly
@exported
@pytest.mark.filterwarnings("ignore")
def test_sets_of_the_adaptive_method_are_those_of_litert_and_onnx(rng, tmp_path):
    """The adaptive method computes what the other two compute, and more."""
    tf = pytest.importorskip("tensorflow")
    x, y = rng.normal(0, 2, (200, 4)).astype("float32"), rng.integers(0, 4, 200)
    with_sets = conformalize(
        network(True), x, y, 0.3, method=METHODS[-1], from_logits=True, verbose=0
    )
    expected = with_sets.predict(x, verbose=0)["sets"]
    with_sets.export(tmp_path / "m.tflite", format="litert", verbose=False)
    lite = tf.lite.Interpreter(str(tmp_path / "m.tflite"))
    found = lite.get_signature_runner("serving_default")(x=x)
    np.testing.assert_array_equal(found["sets"], expected)
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    with_sets.export(tmp_path / "m.onnx", format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    (found,) = session.run(["sets"], {"x": x})
    np.testing.assert_array_equal(found, expected)


# --- peers


class _Given:
    """A classifier of scikit-learn's kind that gives its inputs as probabilities."""

    def __init__(self, classes):
        self.classes_ = np.arange(classes)

    def fit(self, x, y):
        return self

    def predict(self, x):
        return x.argmax(axis=1)

    def predict_proba(self, x):
        return x

    def __sklearn_is_fitted__(self):
        return True

    def get_params(self, deep=True):
        return {"classes": len(self.classes_)}


@pytest.mark.filterwarnings("ignore")
def test_lac_agrees_with_mapie(rng):
    classification = pytest.importorskip("mapie.classification")
    logits, labels = sample(rng, 1000)
    p = softmax(logits.astype("float64"))
    peer = classification.SplitConformalClassifier(
        _Given(6), confidence_level=0.85, conformity_score="lac", prefit=True
    )
    peer.conformalize(p[:500], labels[:500])
    _, expected = peer.predict_set(p[500:])
    fit = fit_conformal(p[:500], labels[:500], 0.15, from_logits=False, allow_empty=True)
    found = ops.convert_to_numpy(fit.layer(p[500:].astype("float32")))
    np.testing.assert_array_equal(found, expected[:, :, 0])


@pytest.mark.filterwarnings("ignore")
def test_randomized_aps_has_the_quantile_of_mapie(rng):
    sets = pytest.importorskip("mapie.conformity_scores.sets")
    logits, labels = sample(rng, 500)
    p = softmax(logits.astype("float64"))
    peer = sets.APSConformityScore()
    peer.set_external_attributes(classes=np.arange(6), random_state=np.random.RandomState(0))
    scores = peer.get_conformity_scores(labels, p, labels)
    # It takes u p_y away, where the layer adds it.
    u = 1 - np.random.RandomState(0).uniform(size=(500, 1))
    found = scores_of(p.astype("float32"), "aps", u.astype("float32"))
    np.testing.assert_allclose(found[np.arange(500), labels], np.ravel(scores), atol=2e-6)
    quantile = peer.get_conformity_score_quantiles(scores, np.array([0.1]), "prefit")
    place = np.sort(found[np.arange(500), labels])[451 - 1]
    assert place == pytest.approx(float(np.ravel(quantile)[0]), abs=2e-6)


@pytest.mark.parametrize("method", METHODS)
def test_sets_agree_with_crepes(rng, method):
    crepes = pytest.importorskip("crepes")
    logits, labels = sample(rng, 1000)
    scores = scores_of(softmax(logits), method).astype("float64")
    peer = crepes.ConformalClassifier().fit(scores[np.arange(500), labels[:500]])
    expected = peer.predict_set(scores[500:], confidence=0.85, smoothing=False)
    fit = fit_conformal(logits[:500], labels[:500], 0.15, method=method, allow_empty=True)
    found = ops.convert_to_numpy(fit.layer(logits[500:]))
    assert (found != expected).mean() < 1e-3  # of a score at the threshold rounding decides
