"""fit_map: every optimum is one, agrees with the peers, and says what it did."""

import dataclasses
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import reference
from backends import to_numpy
from keras import ops

from keras_focal import functional
from keras_focal.calibration import fit_map
from keras_focal.calibration.given import HeldOut
from keras_focal.calibration.maps import (
    METHODS,
    _choose,
    _linear,
    _softmax,
    _solvers,
    _venn_abers,
    sample_of,
)

ALONE = ("temperature", "vector", "platt", "beta", "ensemble_temperature", "histogram", "isotonic")
ONE_VS_REST = (
    "platt",
    "quadratic",
    "beta",
    "histogram",
    "isotonic",
    "venn_abers",
    "cross_venn_abers",
)
FIXED = {"diagonal": 0.05, "off_diagonal": 0.1, "bias": 0.1}
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
    others = {"layer", "comparison", "skipped", "_sampled"}
    names = {part.name for part in dataclasses.fields(fit)} - others
    values = [getattr(fit, name) for name in names]
    assert {type(value) for value in values} <= {float, int, str, bool}


def test_intervals_are_those_of_the_held_out_predictions(rng):
    logits, labels = sample(rng)
    weights = rng.integers(0, 3, len(labels))
    fit = fit_map(logits, labels, "vector", sample_weight=weights, num_bins=10)
    found = fit.intervals(level=0.9, num_draws=400)
    for name, interval in found.before.items():
        assert interval.estimate == pytest.approx(getattr(fit, f"{name}_before"), rel=1e-9)
        after = found.after[name].estimate
        assert after == pytest.approx(getattr(fit, f"{name}_after"), rel=1e-9)
        change = found.change[name]
        assert change.estimate == pytest.approx(after - interval.estimate, abs=1e-12)
        assert change.low <= change.high
    kept = weights > 0
    expected = functional.bootstrap_intervals(
        labels[kept],
        logits[kept],
        num_bins=10,
        from_logits=True,
        sample_weight=weights[kept],
        level=0.9,
        num_draws=400,
    )
    for name, interval in found.before.items():
        assert interval == pytest.approx(expected[name], abs=1e-5)


def test_change_says_how_surely_a_map_helps(rng):
    logits, labels = sample(rng, 1000)
    change = fit_map(logits, labels, "vector").intervals().change
    assert change["nll"].high < 0
    # Without an effect the interval holds 0.
    same = rng.normal(0, 2, (1000, 4))
    of_same = (same + rng.gumbel(0, 1, same.shape)).argmax(axis=1)
    change = fit_map(same, of_same, "temperature").intervals().change
    assert change["nll"].low <= 0 <= change["nll"].high
    assert tuple(change["error"]) == (0, 0, 0)
    with pytest.raises(ValueError, match="`level` must be"):
        fit_map(same, of_same, "temperature", folds=0).intervals(level=95)


def test_auto_lists_what_it_compared_by_held_out_likelihood(rng):
    logits, labels = sample(rng, 250, 3)
    fit = fit_map(logits, labels, "auto", **FIXED)
    tried = {name for name, method in METHODS.items() if method.auto == "always"} - {"venn_abers"}
    assert {row.method for row in fit.comparison} == tried
    assert {row.method for row in fit.skipped} == set(METHODS) - tried
    nll = [row.nll for row in fit.comparison]
    assert nll == sorted(nll)
    (taken,) = [row for row in fit.comparison if row.method == fit.method]
    assert (fit.nll_after, fit.error_after) == (taken.nll, taken.error)


@pytest.mark.parametrize("seed", range(3))
def test_auto_stays_at_the_temperature_where_nothing_else_is_surely_better(seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (4000, 3))
    labels = (logits + rng.gumbel(0, 1, logits.shape)).argmax(axis=1)
    auto, plain = (
        fit_map(2 * logits[:150], labels[:150], method, keep_top_class=method == "auto")
        for method in ("auto", "temperature")
    )
    nll = [
        -np.log(of_layer(fit, 2 * logits[150:]))[np.arange(3850), labels[150:]].mean()
        for fit in (auto, plain)
    ]
    assert nll[0] < nll[1] + 1e-3


def test_auto_counts_a_gain_less_two_standard_errors(rng):
    def measured(name, gain, spread):
        noise = rng.permutation(np.repeat([-spread, spread], 50))
        scored = SimpleNamespace(nll=1.0 - gain - noise)
        return SimpleNamespace(method=SimpleNamespace(name=name), scored=scored)

    plain = measured("temperature", 0.0, 0.0)
    lucky, sure = measured("isotonic", 0.5, 3.0), measured("vector", 0.2, 0.5)
    for tried, best in (
        ([lucky, sure, plain], sure),
        ([lucky, plain], plain),
        ([sure, measured("platt", 0.15, 0.01), plain], None),
    ):
        chosen = _choose._surest(tried, np.ones(100))
        assert chosen is (best or tried[1])


def test_auto_keeps_the_top_class_where_it_is_told_to(rng):
    logits, labels = sample(rng, 250, 3)
    fit = fit_map(logits, labels, "auto", keep_top_class=True)
    tried, skipped = ({row.method for row in rows} for rows in (fit.comparison, fit.skipped))
    assert tried == {"temperature", "focal_temperature", "ensemble_temperature"}
    assert skipped == set(METHODS) - tried
    assert fit.error_after == fit.error_before
    np.testing.assert_array_equal(of_layer(fit, logits).argmax(1), logits.argmax(1))


def test_auto_begins_no_fit_after_its_time(rng):
    logits, labels = sample(rng, 250, 3)
    fit = fit_map(logits, labels, "auto", max_seconds=0)
    assert fit.method == "temperature"
    assert [row.method for row in fit.comparison] == ["temperature"]
    assert "0 seconds were spent" in {row.reason for row in fit.skipped}
    assert len(fit.skipped) == len(METHODS) - 1


def test_auto_of_one_logit_leaves_out_what_is_the_same(rng):
    logits, labels = sample(rng, 250, 2)
    fit = fit_map(logits[:, 1:] - logits[:, :1], labels, "auto")
    assert {row.method for row in fit.comparison} == {*METHODS} - {*LINEAR, "cross_venn_abers"}


def test_auto_tries_venn_abers_where_there_are_labels_enough(rng):
    logits, labels = sample(rng, 400, 4)
    for size, reasons in ((400, {}), (399, {"venn_abers": "it wants 100 labels of each class"})):
        fit = fit_map(logits[:size], labels[:size], "auto", folds=2, **FIXED)
        skipped = dict(fit.skipped)
        assert {"venn_abers"} & {*skipped} == {*reasons}
        assert reasons.items() <= skipped.items()


def test_auto_takes_what_bends_where_two_classes_need_it(rng):
    z = rng.normal(0, 2, (3000, 1))
    labels = (rng.random(3000) < 1 / (1 + np.exp(-(0.5 * z * z + z - 1)[:, 0]))).astype(int)
    assert fit_map(z, labels, "auto").method == "quadratic"


def test_auto_of_probabilities_leaves_out_what_is_the_same(rng):
    logits, labels = sample(rng, 250, 3)
    fit = fit_map(reference.softmax64(logits), labels, "auto", from_logits=False, **FIXED)
    assert dict(fit.skipped)["dirichlet"] == "of probabilities it is the map of 'matrix'"
    same = (
        fit_map(np.log(reference.softmax64(logits)), labels, method, **FIXED).nll_after
        for method in ("matrix", "dirichlet")
    )
    assert next(same) == pytest.approx(next(same), rel=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_logits_may_be_float32(rng, method):
    logits, labels = sample(rng, 200, 3)
    logits = logits.astype("float32")
    single, double = (fit_map(z, labels, method, **FIXED) for z in (logits, logits.astype(float)))
    assert single.nll_after == pytest.approx(double.nll_after, rel=1e-7)
    assert single.ada_ece_after == pytest.approx(double.ada_ece_after, rel=1e-6)


def test_diagonal_map_takes_less_memory_than_four_times_the_logits(rng):
    logits, labels = sample(rng, 4000, 500)
    logits = logits.astype("float32")
    fit_map(logits[:500, :5], labels[:500] % 5, "structured_vector")  # what is made once
    tracemalloc.start()
    try:
        fit_map(logits, labels, "structured_vector")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * logits.nbytes


def test_strengths_that_are_given_up_would_not_have_been_chosen(rng, monkeypatch):
    logits, labels = sample(rng, 600, 4)
    found = fit_map(logits, labels, "matrix")
    monkeypatch.setattr(_linear, "_SURE", np.inf)
    patient = fit_map(logits, labels, "matrix")
    assert (found.bias, found.off_diagonal) == (patient.bias, patient.off_diagonal)
    assert found.nll_after == pytest.approx(patient.nll_after, rel=1e-7)


@pytest.mark.parametrize("method", ["matrix", "dirichlet"])
def test_strength_off_the_diagonal_is_chosen_by_held_out_likelihood(rng, method):
    logits, labels = sample(rng)
    fit = fit_map(logits, labels, method)
    for strength in (fit.off_diagonal * 10, fit.off_diagonal / 10):
        other = fit_map(logits, labels, method, off_diagonal=strength, bias=fit.bias)
        assert other.nll_after >= fit.nll_after - 1e-6
    assert fit.num_parameters == 20


def test_biased_classes_are_corrected_where_too_few_labels_say_which_are_confused(rng):
    logits = rng.normal(0, 1.5, (5000, 20))
    truth = logits + rng.normal(0, 1.5, 20) + rng.gumbel(0, 1, logits.shape)
    labels = truth.argmax(axis=1)
    fit = fit_map(logits[:1000], labels[:1000], "matrix")
    # A strength of both that is one number has to choose between them.
    assert fit.off_diagonal >= 1000 * fit.bias
    tied = fit_map(logits[:1000], labels[:1000], "matrix", off_diagonal=1.0, bias=1.0)
    nll = [
        -np.log(of_layer(one, logits[1000:]))[np.arange(4000), labels[1000:]].mean()
        for one in (fit, tied)
    ]
    assert nll[0] < nll[1] - 0.02


@pytest.mark.parametrize("method", ["vector", "structured_vector", "structured_matrix"])
def test_strengths_shrink_with_the_number_of_samples(rng, method):
    logits, labels = sample(rng, 300)
    few, many = (
        fit_map(np.tile(logits, (times, 1)), np.tile(labels, times), method, folds=0)
        for times in (1, 4)
    )
    assert (few.diagonal, few.bias) == (16 / 300, 16 / 300)
    assert few.off_diagonal == (144 / 300 if "matrix" in method else None)
    assert many.bias == few.bias / 4
    assert many.nll_after < few.nll_after


def test_few_labels_leave_a_structured_map_at_the_temperature(rng):
    logits, labels = sample(rng, 300)
    plain = fit_map(logits, labels, "temperature", folds=0)
    held = fit_map(
        logits, labels, "structured_matrix", folds=0, diagonal=1e9, off_diagonal=1e9, bias=1e9
    )
    assert held.nll_after == pytest.approx(plain.nll_after, abs=1e-6)


# --- optima


LINEAR = ("vector", "matrix", "dirichlet", "structured_vector", "structured_matrix")


def features_of(method, logits, temperature):
    """Return f of W f + b, with a W of 1 near the temperature, from the definition of each map."""
    if method.startswith("structured"):
        return np.log(reference.softmax64(logits / temperature))
    f = np.log(reference.softmax64(logits)) if method == "dirichlet" else logits
    return f / temperature


def objective_of_linear(features, labels, matrix, bias):
    """Mean NLL and the penalties of FIXED, from their definition."""
    k = len(bias)
    shift = matrix - np.eye(k)
    off = shift[~np.eye(k, dtype=bool)]
    return (
        reference.nll(labels, features @ matrix.T + bias)
        + FIXED["off_diagonal"] * (off**2).sum() / (k * (k - 1))
        + FIXED["diagonal"] * (np.diag(shift) ** 2).mean()
        + FIXED["bias"] * (bias**2).mean()
    )


@pytest.mark.parametrize("method", LINEAR)
def test_linear_map_is_at_the_minimum_in_every_direction(rng, method):
    logits, labels = sample(rng)
    fit = fit_map(logits, labels, method, folds=0, **FIXED)
    assert fit.converged
    config, temperature = fit.layer.get_config(), reference.best_temperature(labels, logits)
    is_diagonal = "vector" in method
    matrix = np.diag(config["scale"]) if is_diagonal else np.array(config["matrix"])
    bias = np.array(config["bias"])
    if not method.startswith("structured"):
        matrix = matrix * temperature
    features = features_of(method, logits, temperature)
    least = objective_of_linear(features, labels, matrix, bias)
    mask = np.eye(4) if is_diagonal else np.ones((4, 4))
    for _ in range(20):
        step = 1e-3 * rng.normal(size=(5, 4))
        for sign in (1, -1):
            moved = (matrix + sign * step[:4] * mask, bias + sign * step[4])
            assert objective_of_linear(features, labels, *moved) > least


@pytest.mark.parametrize("kind", [_softmax.Diagonal, _softmax.Full])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradient_and_curvature_equal_finite_differences(rng, kind, dtype):
    logits, labels = sample(rng, 60, 3)
    weights = rng.uniform(0, 2, 60)
    shape = (2, 3) if kind is _softmax.Diagonal else (3, 4)
    penalty = rng.uniform(0, 1, shape)
    if kind is _softmax.Diagonal:
        unit, offset = 0.7, rng.normal(size=60)
        problem = kind(logits, labels, weights, penalty, unit, offset)
        features = unit * logits - offset[:, None]
    else:
        problem, features = kind(logits, labels, weights, penalty), logits
    shift = 0.1 * rng.normal(size=shape)
    at = problem.start + shift
    value, p = problem.value(at)
    z = (
        features * at[0] + at[1]
        if kind is _softmax.Diagonal
        else features @ at[:, :-1].T + at[:, -1]
    )
    expected = reference.nll(labels, z, weights=weights) + 0.5 * (problem.penalty * shift**2).sum()
    assert value == pytest.approx(expected, rel=1e-12)
    direction = rng.normal(size=at.shape)
    sides = []
    for sign in (1e-5, -1e-5):
        v, q = problem.value(at + sign * direction)
        sides.append((v, problem.gradient(at + sign * direction, q)))
    slope = (problem.gradient(at, p) * direction).sum()
    assert (sides[0][0] - sides[1][0]) / 2e-5 == pytest.approx(slope, rel=1e-6)
    curvature = problem.curvature(p, dtype)
    rounding = 1e-5 if dtype == "float32" else 1e-8
    expected = (sides[0][1] - sides[1][1]) / 2e-5
    np.testing.assert_allclose(curvature.product(direction), expected, rtol=1e-4, atol=rounding)
    units = np.eye(at.size).reshape(-1, *at.shape)
    own = [(unit * curvature.product(unit)).sum() for unit in units]
    np.testing.assert_allclose(curvature.diagonal.ravel(), own, rtol=1e-4)


@pytest.mark.parametrize("kind", [_softmax.Diagonal, _softmax.Full])
def test_minimum_does_not_depend_on_where_the_search_begins(rng, kind):
    logits, labels = sample(rng, 200, 5)
    shape = (2, 5) if kind is _softmax.Diagonal else (5, 6)
    problem = kind(logits, labels, np.ones(200), np.full(shape, 1e-3))
    found = problem.solve()
    again = problem.solve(found.parameters + rng.normal(size=shape))
    assert found.converged
    assert again.converged
    np.testing.assert_allclose(found.parameters, again.parameters, atol=1e-6)


@pytest.mark.parametrize("kind", [_softmax.Diagonal, _softmax.Full])
def test_search_ends_at_a_gradient_below_its_tolerance(rng, kind):
    logits, labels = sample(rng, 200, 5)
    shape, tolerance = (2, 5) if kind is _softmax.Diagonal else (5, 6), 1e-5
    # The curvature of small logits is small.
    problem = kind(0.01 * logits, labels, np.ones(200), np.full(shape, 1e-6))
    at = problem.solve(None, tolerance).parameters
    place = problem.value(at)[1]
    gradient, curvature = problem.gradient(at, place), problem.curvature(place, "float64")
    assert np.sqrt(np.sum(gradient**2 / curvature.diagonal)) <= 1.01 * tolerance


class Level(_softmax.Softmax):
    """The value is the same everywhere, whatever the gradient says."""

    def __init__(self):
        super().__init__(np.zeros((1, 3)), np.zeros(1, int), np.ones(1), np.ones((1, 3)))
        self.start = np.zeros((1, 3))

    def value(self, parameters):
        return 1.0, None

    def gradient(self, parameters, place):
        return np.ones((1, 3))

    def curvature(self, place, dtype):
        return Scaled(1.0)


class Scaled(_softmax.Curvature):
    """A multiple of the identity."""

    def __init__(self, factor):
        self.factor, self.diagonal = factor, np.ones((1, 3))

    def product(self, direction):
        return self.factor * direction

    def solve_roughly(self, gradient):
        return gradient


def test_search_that_finds_nothing_lower_says_that_it_did_not_converge():
    found = Level().solve()
    assert not found.converged
    np.testing.assert_array_equal(found.parameters, np.zeros((1, 3)))


@pytest.mark.parametrize("factor", [0.0, -1.0])
def test_no_step_is_taken_where_the_curvature_is_not_positive(factor):
    step = _softmax.conjugate_gradients(Scaled(factor), np.ones((1, 3)), 0.1, 1e-9)
    np.testing.assert_array_equal(step, np.zeros((1, 3)))


def test_very_many_classes_are_solved_without_blocks(rng, monkeypatch):
    monkeypatch.setattr(_softmax, "_MOST_BLOCKS", 0)
    logits, labels = sample(rng, 300, 6)
    found = _softmax.Full(logits / 2, labels, np.ones(300), np.full((6, 7), 1e-2)).solve()
    monkeypatch.undo()
    expected = _softmax.Full(logits / 2, labels, np.ones(300), np.full((6, 7), 1e-2)).solve()
    assert found.converged
    assert found.value == pytest.approx(expected.value, rel=1e-12)


def test_blocks_save_products_with_the_curvature(monkeypatch):
    logits, labels = sample(np.random.default_rng(1), 300, 6)

    def products():
        asked = []
        product = _softmax._FullCurvature.product
        with monkeypatch.context() as patch:
            patch.setattr(
                _softmax._FullCurvature,
                "product",
                lambda *given: asked.append(1) or product(*given),
            )
            _softmax.Full(logits / 2, labels, np.ones(300), np.full((6, 7), 1e-4)).solve()
        return len(asked)

    with_blocks = products()
    monkeypatch.setattr(_softmax, "_MOST_BLOCKS", 0)
    assert with_blocks < 0.85 * products()


@pytest.mark.parametrize("ridge", [1e-3, 1.0, 100.0])
def test_a_logistic_map_takes_few_steps_under_any_penalty(rng, ridge):
    x = rng.normal(size=(200, 4))
    targets = (x @ [1.0, -2.0, 0.5, 3.0] + rng.logistic(size=200) > 0).astype("float64")
    found = _solvers.Logistic(x, targets, np.ones(200), np.ones(4), ridge).solve()
    assert found.converged
    assert found.iterations <= 10


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


def test_mixture_of_likelihoods_far_apart_is_found(rng):
    for _ in range(10):
        likelihoods = np.exp(rng.normal(0, 50, (25, 3)))
        found = _solvers.mixture(likelihoods, rng.uniform(size=25))
        assert found.converged
        assert found.parameters.min() >= 0


@pytest.mark.parametrize("seed", [107, 108, 186])
def test_mixture_of_unequal_weights_and_likelihoods_far_apart_is_found(seed):
    rng = np.random.default_rng(seed)
    likelihoods = np.exp(rng.normal(0, 50, (rng.integers(2, 400), rng.integers(2, 6))))
    found = _solvers.mixture(likelihoods, rng.uniform(size=len(likelihoods)) ** 8)
    assert found.converged
    assert found.parameters.min() >= 0


@pytest.mark.parametrize("method", METHODS)
def test_weights_equal_repetition(rng, method):
    if method == "cross_venn_abers":
        pytest.skip("a fold holds rows, and repeated rows lie in several")
    logits, labels = sample(rng, 200, 3)
    times = rng.integers(0, 3, 200)
    weighted = fit_map(logits, labels, method, sample_weight=times, folds=0, **FIXED)
    repeated = fit_map(logits.repeat(times, axis=0), labels.repeat(times), method, folds=0, **FIXED)
    assert weighted.nll_after == pytest.approx(repeated.nll_after, rel=1e-6)
    assert weighted.ada_ece_after == pytest.approx(repeated.ada_ece_after, abs=1e-6)


@pytest.mark.parametrize("method", [m for m in METHODS if m not in ("ensemble_temperature",)])
def test_probabilities_do_not_change_with_the_scale_of_logits(rng, method):
    if method in (*ONE_VS_REST, "dirichlet"):
        pytest.skip("maps of probabilities, which change with the scale")
    logits, labels = sample(rng)
    plain, scaled = (
        fit_map(z, labels, method, folds=0, **FIXED).nll_after for z in (logits, 50 * logits)
    )
    assert scaled == pytest.approx(plain, rel=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_two_classes_and_one_logit_have_one_map(rng, method):
    if method in LINEAR:
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


@pytest.mark.parametrize("method", ["temperature", "vector"])
def test_separable_data_are_fitted_at_a_bound(rng, method):
    logits, _ = sample(rng, 60, 3)
    assert fit_map(logits, logits.argmax(axis=1), method, folds=0, **FIXED).at_bound


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


# --- Venn-Abers and quadratic scaling


def two_isotonic_fits(x, hits, weights, at):
    """Return p0 and p1 from their definition: isotonic regression with one more prediction."""
    isotonic = pytest.importorskip("sklearn.isotonic")
    ends = []
    for label in (0, 1):
        fit = isotonic.IsotonicRegression()
        fit.fit(np.append(x, at), np.append(hits, label), np.append(weights, 1.0))
        ends.append(fit.predict([at])[0])
    return ends


@pytest.mark.parametrize("case", ["distinct", "ties", "all tied", "weights", "one hit", "against"])
def test_venn_abers_is_two_isotonic_fits_for_each_prediction(rng, case):
    z = rng.normal(0, 2, 40)
    hits = (rng.random(40) < 1 / (1 + np.exp(z if case == "against" else -z))).astype(int)
    weights = rng.uniform(0.2, 3, 40) if case == "weights" else np.ones(40)
    z = {"ties": np.round(z), "all tied": np.full(40, 2.0)}.get(case, z)
    if case == "one hit":
        hits = (np.arange(40) == 7).astype(int)
    layer = fit_map(z[:, None], hits, "venn_abers", folds=0, sample_weight=weights).layer
    at = np.concatenate([np.unique(z.astype("float32")), rng.normal(0, 4, 30)]).astype("float32")
    found = np.stack([to_numpy(each)[:, 0] for each in layer.interval(at[:, None])], axis=1)
    # A layer knows the log-odds in float32.
    x = z.astype("float32").astype("float64")
    expected = [two_isotonic_fits(x, hits, weights, each) for each in at.astype("float64")]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_cross_venn_abers_is_the_geometric_mean_over_folds(rng):
    z = rng.normal(0, 2, (60, 1))
    labels = (rng.random(60) < 1 / (1 + np.exp(-z[:, 0]))).astype(int)
    data = HeldOut(np.append(0 * z, z, axis=1), labels, np.ones(60))
    folds = sample_of(data, True, 3, seed=2).folds
    layer = fit_map(z, labels, "cross_venn_abers", folds=3, seed=2).layer
    at = np.linspace(-5, 5, 23)
    ends = np.array(
        [
            [two_isotonic_fits(z[f, 0], labels[f], np.ones(f.sum()), each) for each in at]
            for f in (folds == k for k in range(3))
        ]
    )
    q0, p1 = (np.prod(each, axis=0) ** (1 / 3) for each in (1 - ends[..., 0], ends[..., 1]))
    found = to_numpy(ops.sigmoid(layer(at[:, None].astype("float32"))))[:, 0]
    np.testing.assert_allclose(found, p1 / (q0 + p1), atol=1e-6)


def test_merged_probability_lies_between_p0_and_p1_and_keeps_off_0_and_1(rng):
    z = rng.normal(0, 3, (300, 1))
    labels = (z[:, 0] > 0).astype(int)
    layer = fit_map(z, labels, "venn_abers", folds=0).layer
    x = np.linspace(-50, 50, 400, dtype="float32")[:, None]
    p0, p1 = (to_numpy(each) for each in layer.interval(x))
    p = to_numpy(ops.sigmoid(layer(x)))
    assert np.all((p0 <= p + 1e-7) & (p <= p1 + 1e-7))
    assert 1e-3 < p.min() < 0.05
    assert 0.95 < p.max() < 1 - 1e-3
    assert np.all(np.diff(p[:, 0]) >= -1e-7)


def test_table_that_no_layer_should_hold_is_refused(rng, monkeypatch):
    monkeypatch.setattr(_venn_abers, "MOST_STEPS", 300)
    logits, labels = sample(rng)
    with pytest.raises(ValueError, match=r"over 300\. Fit it to fewer held-out predictions"):
        fit_map(logits, labels, "venn_abers")


@pytest.mark.parametrize("classes", [2, 4])
def test_venn_abers_agrees_with_the_package_of_that_name(rng, classes):
    peer = pytest.importorskip("venn_abers")
    logits, labels = sample(rng, 600, classes)
    if classes == 2:
        # With ties, which rounding does not part.
        logits = np.round([0.0, 4.0] * logits) / 4
    p = reference.softmax64(logits)
    layer = fit_map(logits[:300], labels[:300], "venn_abers", folds=0).layer
    found = of_layer_in_float64(layer, logits[300:])
    expected = peer.VennAbersCalibrator().predict_proba(
        p_cal=p[:300], y_cal=labels[:300], p_test=p[300:], va_type="one_vs_all"
    )
    np.testing.assert_allclose(found, expected, atol=1e-6)


def of_layer_in_float64(layer, logits):
    config = {**layer.get_config(), "dtype": "float64"}
    return to_numpy(ops.softmax(type(layer).from_config(config)(logits)))


def test_quadratic_scaling_is_at_the_minimum_in_every_direction(rng):
    z = rng.normal(0, 2, 500)
    truth = 0.4 * z * z + z - 0.5
    labels = (rng.random(500) < 1 / (1 + np.exp(-truth))).astype(int)
    fit = fit_map(z[:, None], labels, "quadratic", folds=0, smoothing=False)
    config = fit.layer.get_config()
    found = np.array([*config["square"], *config["slope"], *config["intercept"]])
    features = np.stack([z * z, z, np.ones(500)], axis=1)

    def cost(parameters):
        return np.mean(np.logaddexp(0, features @ parameters) - labels * (features @ parameters))

    for step in 1e-3 * rng.normal(size=(20, 3)):
        assert min(cost(found + step), cost(found - step)) > cost(found)
    assert fit.converged


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_quadratic_scaling_agrees_with_probmetrics(rng):
    peer = pytest.importorskip("probmetrics.calibrators")
    logits, labels = sample(rng, 1000, 2)
    logits /= 3
    p = reference.softmax64(logits)
    fit = fit_map(logits, labels, "quadratic", folds=0, smoothing=False)
    expected = peer.get_calibrator("quadratic-scaling").fit(p, labels).predict_proba(p)
    # The peer's solver stops at a gradient of 1e-4, and takes probabilities in float32.
    np.testing.assert_allclose(of_layer(fit, logits), expected, atol=2e-3)


@pytest.mark.parametrize(
    ("hits", "reason"),
    [([0, 0, 1, 1, 0, 0], "separate it"), ([1, 0, 0, 1, 1, 1], "separate it"), ([0, 1] * 3, "")],
)
def test_two_thresholds_separate_a_class_from_a_parabola(hits, reason):
    z = np.arange(6.0)[:, None]
    fit = fit_map(z, hits, "quadratic", folds=0, smoothing=False)
    assert reason in fit.reason
    assert fit.at_bound == bool(reason)
    assert np.isfinite(of_layer(fit, z)).all()
    # Platt's targets have an optimum.
    assert not fit_map(z, hits, "quadratic", folds=0).reason


@pytest.mark.filterwarnings("ignore:.* are exactly 0 or 1")
@pytest.mark.parametrize("method", ["quadratic", "venn_abers", "cross_venn_abers"])
def test_probabilities_of_0_and_1_are_taken(rng, method):
    p = np.clip(rng.normal(0.5, 0.5, (200, 1)), 0, 1).astype("float32")
    labels = (rng.random(200) < 0.2 + 0.6 * p[:, 0]).astype(int)
    fit = fit_map(p, labels, method, from_logits=False)
    found = of_layer(fit, p)
    assert np.all((found > 0) & (found < 1))
    assert fit.nll_after < 1


# --- peers, on published logits


@pytest.mark.parametrize("name", ["cross_entropy", "flsd53"])
@pytest.mark.parametrize("method", METHODS)
def test_map_lowers_the_likelihood_loss_of_published_logits(real_data, published, name, method):
    logits, labels = published(real_data, name)
    fit = fit_map(logits, labels, method, folds=0, off_diagonal=1.0, bias=1.0)
    # Logits as good as these lose by bins, which give up order, and by folds of a few labels.
    lost = {"histogram": 0.02, "cross_venn_abers": 0.07} if name == "flsd53" else {}
    allowed = lost.get(method, 0.0)
    assert fit.nll_after < fit.nll_before + allowed
    assert fit.converged


def test_vector_and_matrix_agree_with_scikit_learn(real_data, published):
    linear_model = pytest.importorskip("sklearn.linear_model")
    logits, labels = published(real_data, "flsd53")
    # Without regularisation both maximise the likelihood of the same family.
    fit = fit_map(logits, labels, "matrix", folds=0, diagonal=0.0, off_diagonal=0.0, bias=0.0)
    peer = linear_model.LogisticRegression(C=1e9, tol=1e-9, max_iter=5000).fit(logits, labels)
    expected = -np.log(peer.predict_proba(logits)[np.arange(2000), labels]).mean()
    # Ours is the lower of the two: LogisticRegression stops where its steps no longer help.
    assert expected - 1e-4 < fit.nll_after < expected + 1e-7


@pytest.mark.parametrize(
    ("method", "peer"),
    [("structured_vector", "SVSCalibrator"), ("structured_matrix", "SMSCalibrator")],
)
def test_structured_maps_agree_with_probmetrics(real_data, published, method, peer):
    logistic = pytest.importorskip("probmetrics.calibrators.logistic")
    logits, labels = published(real_data, "cross_entropy")
    p = reference.softmax64(logits).astype("float32")
    fit = fit_map(p, labels, method, folds=0, from_logits=False)
    expected = getattr(logistic, peer)().fit(p, labels).predict_proba(p)
    # The peer fits in float32, and mixes a little of the uniform into its temperature.
    assert np.abs(of_layer(fit, p) - expected).max() < 5e-3
    nll = -np.log(expected[np.arange(len(labels)), labels]).mean()
    assert fit.nll_after == pytest.approx(nll, abs=5e-4)


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
            "`method` must be one of 'temperature', 'focal_temperature', .*'auto'",
        ),
        ({"binning": "equal"}, "`binning` must be one of 'balanced', 'equal_width'"),
        ({"logits": np.zeros((0, 4)), "labels": []}, "at least one prediction"),
        ({"logits": np.full((60, 4), np.nan)}, "`logits` must be finite"),
        (
            {"logits": np.array([[0, 2, 1, -np.inf]] * 60), "labels": np.arange(60) % 3},
            "`logits` must be finite for a map",
        ),
        ({"labels": np.full(60, 4)}, r"`labels` must be class ids in \[0, 4\)"),
        ({"labels": np.zeros(59, int)}, "`labels` must have shape"),
        ({"labels": np.zeros(60, int)}, "two classes or more. Received: .0. alone"),
        ({"logits": np.full((60, 4), 0.25)}, "look like probabilities"),
        ({"from_logits": False}, "that are not probabilities"),
        ({"folds": 1}, "`folds` must be 0 or from 2"),
        ({"folds": 61}, "number of predictions, 60"),
        ({"folds": 0, "method": "auto"}, "`folds` must be >= 2 with method='auto'"),
        ({"off_diagonal": -1.0}, "`off_diagonal` must be a finite number >= 0.*None lets"),
        ({"keep_top_class": True}, "unless method='auto'"),
        ({"max_seconds": 1.0}, "unless method='auto'"),
        ({"max_seconds": -1.0, "method": "auto"}, "`max_seconds` must be a finite number >= 0"),
        ({"map_bins": 0}, "`map_bins` must be a whole number >= 1"),
        ({"sample_weight": -np.ones(60)}, "`sample_weight` must be finite"),
    ],
)
def test_bad_input_says_what_is_wrong(rng, change, words):
    logits, labels = sample(rng, 60, 4)
    with pytest.raises(ValueError, match=words):
        fit_map(**{"logits": logits, "labels": labels, **change})


def test_equal_bins_of_a_histogram_hold_the_frequencies_of_their_labels(rng):
    p = rng.uniform(0.01, 0.99, 200)
    labels = (rng.random(200) < p**2).astype(int)
    fit = fit_map(
        np.log(p / (1 - p))[:, None],
        labels,
        "histogram",
        map_bins=4,
        binning="equal_width",
        smoothing=False,
        folds=0,
    )
    found = of_layer(fit, np.log(p / (1 - p))[:, None])[:, -1]
    bins = np.ceil(4 * p).astype(int) - 1
    expected = np.array([labels[bins == b].mean() for b in range(4)])
    np.testing.assert_allclose(found, expected[bins], atol=1e-6)


@pytest.mark.parametrize("method", ["vector", "matrix"])
def test_linear_map_of_one_logit_without_penalties_is_that_of_platt(rng, method):
    logits, labels = sample(rng, classes=2)
    z, none = logits[:, 1:] - logits[:, :1], {"diagonal": 0.0, "off_diagonal": 0.0, "bias": 0.0}
    platt = fit_map(z, labels, "platt", smoothing=False, folds=0)
    assert fit_map(z, labels, method, folds=0, **none).nll_after == pytest.approx(
        platt.nll_after, rel=1e-6
    )


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
