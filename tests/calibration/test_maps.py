"""fit_map: every optimum is one, agrees with the peers, and says what it did."""

import dataclasses
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import reference
from backends import to_numpy
from keras import ops

from keras_focal.calibration import fit_map
from keras_focal.calibration.maps import METHODS, _solvers

ALONE = ("temperature", "vector", "platt", "beta", "ensemble_temperature", "histogram", "isotonic")
FIXED = {"off_diagonal": 0.1, "bias": 0.1}
pytestmark = pytest.mark.filterwarnings("ignore:The .* map has no best parameters")


def sample(rng, size=400, classes=4):
    """Return logits with an error of their own in each class, and labels."""
    logits = rng.normal(0, 2, (size, classes))
    labels = (logits + rng.gumbel(0, 1, logits.shape)).argmax(axis=1)
    return 2 * logits * np.linspace(0.6, 1.4, classes) + np.linspace(-1, 1, classes), labels


def of_layer(fit, logits):
    activation = ops.sigmoid if logits.shape[-1] == 1 else ops.softmax
    return to_numpy(activation(fit.layer(np.asarray(logits, "float32"))))


@pytest.fixture(scope="module")
def published():
    """Return a function of a file that gives 2000 published validation logits."""

    def load(folder, name):
        arrays = np.load(folder / "logits" / f"cifar10_resnet50_{name}.npz", allow_pickle=False)
        return arrays["val_logits"][:2000], arrays["val_labels"][:2000]

    return load


def test_guide_lists_every_map_and_what_it_keeps():
    guide = Path(__file__).parents[2] / "docs/guides/maps.md"
    rows = [line.split("|")[1:4] for line in guide.read_text().splitlines() if line[:3] == "| `"]
    keeps = {name.strip(" `"): kept.strip() == "yes" for name, _, kept in rows}
    assert keeps == {name: method.keeps_top_class for name, method in METHODS.items()}


@pytest.mark.parametrize("method", [name for name, it in METHODS.items() if it.keeps_top_class])
@pytest.mark.parametrize("classes", [2, 4])
def test_top_class_stays_where_the_registry_says_so(rng, method, classes):
    logits, labels = sample(rng, classes=classes)
    fit = fit_map(logits, labels, method, folds=0)
    np.testing.assert_array_equal(of_layer(fit, logits).argmax(axis=1), logits.argmax(axis=1))


# --- what a fit says


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("classes", [2, 4])
def test_figures_are_those_of_the_layer_that_ships(rng, method, classes):
    logits, labels = sample(rng, classes=classes)
    fit = fit_map(logits, labels, method, folds=0, **FIXED)
    p = of_layer(fit, logits)
    rows = np.arange(len(labels))
    assert fit.nll_after == pytest.approx(-np.log(p[rows, labels]).mean(), rel=1e-5)
    squares = ((p - np.eye(classes)[labels]) ** 2).sum(axis=1)
    assert fit.brier_after == pytest.approx(squares.mean(), rel=1e-4)
    top = reference.top_label(labels, p)
    # A confidence in float32 may lie in another bin.
    assert fit.ece_after == pytest.approx(reference.ece(*top), abs=3e-3)
    # And what ties in float64 may not.
    assert fit.ada_ece_after == pytest.approx(reference.adaptive_ece(*top), abs=2e-2)
    assert (fit.method, fit.folds, fit.num_samples) == (method, 0, len(labels))


def test_figures_before_are_the_oracle_s(rng):
    logits, labels = sample(rng)
    weights = rng.uniform(0, 2, len(labels))
    fit = fit_map(logits, labels, "temperature", folds=0, sample_weight=weights)
    p = reference.softmax64(logits)
    top = reference.top_label(labels, p)
    assert fit.nll_before == pytest.approx(reference.nll(labels, logits, 1.0, weights), rel=1e-9)
    assert fit.ece_before == pytest.approx(reference.ece(*top, weights=weights), abs=1e-9)
    expected = reference.adaptive_ece(*top, weights=weights)
    assert fit.ada_ece_before == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("method", ["vector", "isotonic"])
def test_held_out_figures_are_worse_than_those_of_the_fitted_data(rng, method):
    logits, labels = sample(rng)
    inside, outside = (fit_map(logits, labels, method, folds=folds) for folds in (0, 5))
    assert inside.nll_after < outside.nll_after < outside.nll_before
    assert outside.folds == 5


def test_a_seed_gives_the_same_figures_again(rng):
    logits, labels = sample(rng)
    first, again, other = (fit_map(logits, labels, "platt", seed=seed) for seed in (0, 0, 1))
    assert first.nll_after == again.nll_after != other.nll_after


def test_figures_are_plain_numbers(rng):
    fit = fit_map(*sample(rng, 60), "matrix", **FIXED)
    names = {part.name for part in dataclasses.fields(fit)} - {"layer", "comparison"}
    values = [getattr(fit, name) for name in names]
    assert {type(value) for value in values} <= {float, int, str, bool}


def test_auto_takes_the_least_held_out_likelihood_and_lists_what_it_compared(rng):
    logits, labels = sample(rng, 250, 3)
    fit = fit_map(logits, labels, "auto", **FIXED)
    assert {row.method for row in fit.comparison} == set(METHODS)
    nll = [row.nll for row in fit.comparison]
    assert nll == sorted(nll)
    assert (fit.method, fit.nll_after) == (fit.comparison[0].method, nll[0])


def test_auto_of_one_logit_leaves_out_what_is_the_same(rng):
    logits, labels = sample(rng, 250, 2)
    fit = fit_map(logits[:, 1:] - logits[:, :1], labels, "auto")
    assert {row.method for row in fit.comparison} == set(METHODS) - {
        "vector",
        "matrix",
        "dirichlet",
    }


@pytest.mark.parametrize("method", ["matrix", "dirichlet"])
def test_strength_is_chosen_by_held_out_likelihood(rng, method):
    logits, labels = sample(rng)
    fit = fit_map(logits, labels, method)
    assert fit.off_diagonal == fit.bias
    for strength in (fit.off_diagonal * 10, fit.off_diagonal / 10):
        other = fit_map(logits, labels, method, off_diagonal=strength, bias=strength)
        assert other.nll_after >= fit.nll_after - 1e-6
    assert fit.num_parameters == 20


# --- optima


def objective_of_linear(features, labels, matrix, bias, off_diagonal, bias_strength, temperature):
    """Mean NLL and ODIR penalty, from their definition."""
    z = features @ matrix.T + bias
    k = len(bias)
    off = (matrix * temperature)[~np.eye(k, dtype=bool)]
    penalty = off_diagonal * (off**2).sum() / (k * (k - 1)) + bias_strength * (bias**2).mean()
    return reference.nll(labels, z) + penalty


@pytest.mark.parametrize("method", ["vector", "matrix", "dirichlet"])
def test_linear_map_is_at_the_minimum_in_every_direction(rng, method):
    logits, labels = sample(rng)
    fit = fit_map(logits, labels, method, folds=0, **FIXED)
    assert fit.converged
    config = fit.layer.get_config()
    bias = np.array(config["bias"])
    matrix = np.diag(config["scale"]) if method == "vector" else np.array(config["matrix"])
    features = np.log(reference.softmax64(logits)) if method == "dirichlet" else logits
    temperature = reference.best_temperature(labels, logits)
    strengths = (0.0, 0.0) if method == "vector" else (0.1, 0.1)
    least = objective_of_linear(features, labels, matrix, bias, *strengths, temperature)
    mask = np.eye(4) if method == "vector" else np.ones((4, 4))
    for _ in range(20):
        step = 1e-3 * rng.normal(size=(5, 4))
        for sign in (1, -1):
            moved = objective_of_linear(
                features,
                labels,
                matrix + sign * step[:4] * mask,
                bias + sign * step[4],
                *strengths,
                temperature,
            )
            assert moved > least


@pytest.mark.parametrize("is_diagonal", [True, False])
def test_gradient_and_curvature_equal_finite_differences(rng, is_diagonal):
    logits, labels = sample(rng, 60, 3)
    weights = rng.uniform(0, 2, 60)
    problem = _solvers.Softmax(logits, labels, weights, is_diagonal=is_diagonal)
    at = problem.start + 0.1 * rng.normal(size=problem.start.shape)
    value, residuals, p = problem.loss(problem.predictors(at))
    gradient = problem.adjoint(residuals)
    assert value == pytest.approx(
        reference.nll(labels, problem.predictors(at), weights=weights), rel=1e-12
    )
    direction = rng.normal(size=at.shape)
    product = problem.adjoint(problem.curvature(p, problem.predictors(direction)))
    sides = []
    for sign in (1e-5, -1e-5):
        v, r, _ = problem.loss(problem.predictors(at + sign * direction))
        sides.append((v, problem.adjoint(r)))
    assert (sides[0][0] - sides[1][0]) / 2e-5 == pytest.approx(gradient @ direction, rel=1e-6)
    np.testing.assert_allclose((sides[0][1] - sides[1][1]) / 2e-5, product, rtol=1e-5, atol=1e-8)
    units = np.eye(len(at))
    curvatures = [
        unit @ problem.adjoint(problem.curvature(p, problem.predictors(unit))) for unit in units
    ]
    np.testing.assert_allclose(problem.diagonal(p), curvatures, rtol=1e-9)


def test_beta_parameters_below_zero_are_held_there(rng):
    # Labels against the logits: the free optimum has a, b < 0.
    logits = rng.normal(0, 2, (300, 1))
    labels = (rng.random(300) < 1 / (1 + np.exp(logits[:, 0]))).astype(int)
    fit = fit_map(logits, labels, "beta", folds=0)
    config = fit.layer.get_config()
    assert (config["a"], config["b"]) == ([0.0], [0.0])
    assert fit.at_bound


def test_mixture_is_the_best_of_a_fine_grid(rng):
    likelihoods = rng.uniform(0.05, 1, (300, 3)) * [1.0, 1.1, 0.6]
    found = _solvers.mixture(likelihoods, np.ones(300))
    assert found.converged
    assert found.parameters.sum() == pytest.approx(1)
    best = np.log(likelihoods @ found.parameters).mean()
    for a in np.linspace(0, 1, 41):
        for b in np.linspace(0, 1 - a, 21):
            assert np.log(likelihoods @ [a, b, 1 - a - b]).mean() <= best + 1e-8


@pytest.mark.parametrize("method", METHODS)
def test_weights_equal_repetition(rng, method):
    logits, labels = sample(rng, 200, 3)
    times = rng.integers(0, 3, 200)
    weighted = fit_map(logits, labels, method, sample_weight=times, folds=0, **FIXED)
    repeated = fit_map(logits.repeat(times, axis=0), labels.repeat(times), method, folds=0, **FIXED)
    assert weighted.nll_after == pytest.approx(repeated.nll_after, rel=1e-6)
    assert weighted.ada_ece_after == pytest.approx(repeated.ada_ece_after, abs=1e-6)


@pytest.mark.parametrize("method", [m for m in METHODS if m not in ("ensemble_temperature",)])
def test_probabilities_do_not_change_with_the_scale_of_logits(rng, method):
    if method in ("platt", "beta", "histogram", "isotonic", "dirichlet"):
        pytest.skip("maps of probabilities, which change with the scale")
    logits, labels = sample(rng)
    plain, scaled = (
        fit_map(z, labels, method, folds=0, **FIXED).nll_after for z in (logits, 50 * logits)
    )
    assert scaled == pytest.approx(plain, rel=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_two_classes_and_one_logit_have_one_map(rng, method):
    if method in ("vector", "matrix", "dirichlet"):
        pytest.skip("two classes have more parameters there")
    logits, labels = sample(rng, classes=2)
    two = fit_map(logits, labels, method, folds=0)
    one = fit_map(logits[:, 1:] - logits[:, :1], labels, method, folds=0)
    # Bins are closed above, also where the other class sees them from below.
    rel = 0.05 if method == "histogram" else 1e-6
    assert one.nll_after == pytest.approx(two.nll_after, rel=rel)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", ["absent class", "separable", "few", "extreme"])
def test_degenerate_data_give_finite_answers(rng, method, case):
    logits, labels = sample(rng, 60, 3)
    if case == "absent class":
        labels = np.minimum(labels, 1)
    if case == "separable":
        labels = logits.argmax(axis=1)
    if case == "few":
        logits, labels = logits[:6], np.array([0, 1, 2, 0, 1, 0])
    if case == "extreme":
        logits = logits * 2000
    fit = fit_map(logits, labels, method, folds=3, **FIXED)
    assert np.all(np.isfinite(of_layer(fit, logits)))
    assert np.isfinite([fit.nll_after, fit.ece_after, fit.ada_ece_after, fit.brier_after]).all()
    if case == "separable" and method in ("temperature", "vector"):
        assert fit.at_bound


@pytest.mark.filterwarnings("default:The .* map has no best parameters")
def test_map_without_an_optimum_warns(rng):
    logits, _ = sample(rng, 60, 3)
    with pytest.warns(UserWarning, match="The vector map has no best parameters"):
        fit_map(logits, logits.argmax(axis=1), "vector", folds=0)


def test_hundred_classes_are_fitted(rng):
    logits, labels = sample(rng, 600, 100)
    for method in ("vector", "isotonic"):
        fit = fit_map(logits, labels, method, folds=0)
        assert fit.converged
        assert fit.nll_after < fit.nll_before


# --- peers, on published logits


@pytest.mark.parametrize("name", ["cross_entropy", "flsd53"])
@pytest.mark.parametrize("method", METHODS)
def test_map_lowers_the_likelihood_loss_of_published_logits(real_data, published, name, method):
    logits, labels = published(real_data, name)
    fit = fit_map(logits, labels, method, folds=0, off_diagonal=1.0, bias=1.0)
    # Histogram binning gives up order within a bin: logits as good as these lose by it.
    allowed = 0.02 if (method, name) == ("histogram", "flsd53") else 0.0
    assert fit.nll_after < fit.nll_before + allowed
    assert fit.converged


def test_vector_and_matrix_agree_with_scikit_learn(real_data, published):
    linear_model = pytest.importorskip("sklearn.linear_model")
    logits, labels = published(real_data, "flsd53")
    # Without regularisation both maximise the likelihood of the same family.
    fit = fit_map(logits, labels, "matrix", folds=0, off_diagonal=0.0, bias=0.0)
    peer = linear_model.LogisticRegression(C=1e9, tol=1e-9, max_iter=5000).fit(logits, labels)
    expected = -np.log(peer.predict_proba(logits)[np.arange(2000), labels]).mean()
    # Ours is the lower of the two: LogisticRegression stops where its steps no longer help.
    assert expected - 1e-4 < fit.nll_after < expected + 1e-7


def test_platt_and_isotonic_agree_with_scikit_learn(real_data, published):
    calibration = pytest.importorskip("sklearn.calibration")
    isotonic = pytest.importorskip("sklearn.isotonic")
    logits, labels = published(real_data, "cross_entropy")
    p = reference.softmax64(logits)
    others = np.stack([np.delete(p, k, axis=1).sum(axis=1) for k in range(10)], axis=1)
    odds = np.log(p) - np.log(others)
    platt = fit_map(logits, labels, "platt", folds=0).layer.get_config()
    hard = fit_map(logits, labels, "isotonic", folds=0, smoothing=False)
    columns = []
    for k in range(10):
        hits = (labels == k).astype(int)
        # Ours is -A, -B of scikit-learn, which stops at a gradient of about 1e-5.
        slope, intercept = calibration._sigmoid_calibration(odds[:, k], hits)
        assert platt["slope"][k] == pytest.approx(-slope, rel=2e-3)
        assert platt["intercept"][k] == pytest.approx(-intercept, abs=5e-3)
        peer = isotonic.IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
        columns.append(peer.fit(odds[:, k], hits).predict(odds[:, k]))
    expected = np.maximum(np.stack(columns, axis=1), 2.0**-126)
    expected /= expected.sum(axis=1, keepdims=True)
    found = of_layer(hard, logits)
    # A float32 log-odds may lie on the other side of a jump.
    assert np.mean(np.abs(found - expected).max(axis=1) > 1e-4) < 0.005


def test_histogram_agrees_with_netcal(real_data, published):
    binning = pytest.importorskip("netcal.binning")
    logits, labels = published(real_data, "cross_entropy")
    p = reference.softmax64(logits)
    fit = fit_map(
        logits, labels, "histogram", folds=0, smoothing=False, map_bins=10, binning="equal_width"
    )
    peer = binning.HistogramBinning(bins=10)
    expected = peer.fit(p, labels).transform(p)
    found = of_layer(fit, logits)
    assert np.mean(np.abs(found - expected).max(axis=1) > 1e-4) < 0.002


# --- bad input


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"method": "focal"},
            "`method` must be one of 'temperature', 'focal_temperature', 'vector'.*'auto'",
        ),
        ({"binning": "equal"}, "`binning` must be one of 'balanced', 'equal_width'"),
        ({"logits": np.zeros((0, 4)), "labels": []}, "at least one prediction"),
        ({"logits": np.full((60, 4), np.nan)}, "`logits` must be finite"),
        ({"labels": np.full(60, 4)}, r"`labels` must be class ids in \[0, 4\)"),
        ({"labels": np.zeros(59, int)}, "`labels` must have shape"),
        ({"labels": np.zeros(60, int)}, "two classes or more. Received: .0. alone"),
        ({"logits": np.full((60, 4), 0.25)}, "look like probabilities"),
        ({"from_logits": False}, "that are not probabilities"),
        ({"folds": 1}, "`folds` must be 0 or from 2"),
        ({"folds": 61}, "number of predictions, 60"),
        ({"folds": 0, "method": "auto"}, "`folds` must be >= 2 with method='auto'"),
        ({"off_diagonal": -1.0}, "`off_diagonal` must be None or a finite number >= 0"),
        ({"map_bins": 0}, "`map_bins` must be a whole number >= 1"),
        ({"sample_weight": -np.ones(60)}, "`sample_weight` must be finite"),
    ],
)
def test_bad_input_says_what_is_wrong(rng, change, words):
    logits, labels = sample(rng, 60, 4)
    with pytest.raises(ValueError, match=words):
        fit_map(**{"logits": logits, "labels": labels, **change})


def test_dirichlet_map_of_one_logit_names_the_same_map(rng):
    logits, labels = sample(rng, 60, 2)
    with pytest.raises(ValueError, match="Use 'beta', the same map"):
        fit_map(logits[:, :1] - logits[:, 1:], 1 - labels, "dirichlet")


def test_missing_scikit_learn_names_the_extra(rng, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"keras-focal\[maps\]"):
        fit_map(*sample(rng, 60, 3), "vector")


def test_probabilities_are_taken_and_the_layer_takes_them(rng):
    logits, labels = sample(rng)
    p = reference.softmax64(logits).astype("float32")
    fit = fit_map(p, labels, "dirichlet", from_logits=False, folds=0, **FIXED)
    assert fit.layer.inputs == "probabilities"
    same = fit_map(logits, labels, "dirichlet", folds=0, **FIXED)
    assert fit.nll_after == pytest.approx(same.nll_after, rel=1e-5)


def test_layer_goes_behind_a_model(rng):
    logits, labels = sample(rng)
    fit = fit_map(logits, labels, "vector")
    model = keras.Sequential([keras.Input((4,)), fit.layer, keras.layers.Softmax()])
    np.testing.assert_allclose(
        model.predict(logits.astype("float32"), verbose=0), of_layer(fit, logits), rtol=1e-5
    )
