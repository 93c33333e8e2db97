"""Every public class, one registry: config, serialization, saved models, jit, dtypes, policies.

A new class needs a line in `CASES` and gets all the tests below.
"""

import inspect
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from backends import BACKEND, FEW_STEPS_EAGERLY
from keras import ops

import keras_focal
from keras_focal import gammas, layers, losses, metrics, testing
from keras_focal.testing._subjects import LossSubject, MapSubject, MetricSubject

LOGITS = np.array(
    [[2.0, -1.0, 0.5], [0.0, 3.0, -2.0], [-1.5, 0.25, 1.0], [4.0, 0.0, 0.0]], "float32"
)
CLASSES = np.array([0, 1, 1, 2], "int32")
ROWS = np.eye(3, dtype="float32")[CLASSES]


@dataclass(frozen=True)
class Case:
    """A way to build one class, with arguments that are not the defaults."""

    cls: type
    arguments: dict[str, Any]
    labels: np.ndarray | None = None
    label: str = ""
    # Predictions, with the 3 classes at the end.
    x: np.ndarray = field(default_factory=lambda: LOGITS)

    def build(self, **more) -> Any:
        return self.cls(**self.arguments, **more)

    def __str__(self) -> str:
        return f"{self.cls.__name__}{self.label}"


PENALTIES = [
    losses.MDCA(weight=3.0),
    losses.DCA(weight=2.0),
    losses.SoftBinnedECE(weight=2.0, num_bins=5, temperature=0.02, norm=1),
    losses.SoftBinnedACE(weight=2.0, num_bins=5),
    losses.ACLS(weight=0.5, margin=1.0, positive=0.5, negative=0.25),
    losses.CALS(3, margin=1.5, multipliers=[0.5, 1.0, 0.25], rho=2.0),
]
CASES = [
    Case(
        losses.SparseCategoricalFocalCrossentropy,
        {
            "gamma": 3.5,
            "alpha": [0.5, 1.0, 2.0],
            "from_logits": True,
            "ignore_class": 2,
            "reduction": "sum",
            "name": "a",
        },
        CLASSES,
    ),
    Case(
        losses.SparseCategoricalFocalCrossentropy,
        {"gamma": gammas.SampleDependentGamma([0.3], [4.0, 1.0]), "from_logits": True},
        CLASSES,
        " with a rule",
    ),
    Case(
        losses.BinaryFocalCrossentropy,
        {"gamma": gammas.AdaptiveBins(3, [0.5, -1.0, 2.0]), "from_logits": True},
        ROWS,
        " with bins",
    ),
    Case(
        losses.CategoricalFocalCrossentropy,
        {
            "gamma": "FLSD-532",
            "alpha": 0.25,
            "from_logits": True,
            "label_smoothing": 0.1,
            "axis": 1,
            "reduction": "mean_with_sample_weight",
            "name": "b",
        },
        ROWS,
    ),
    Case(
        losses.BinaryFocalCrossentropy,
        {"gamma": 1.5, "alpha": 0.75, "from_logits": True, "label_smoothing": 0.2, "name": "c"},
        ROWS,
    ),
    Case(
        losses.BrierLoss,
        {"from_logits": True, "ignore_class": 2, "reduction": "sum", "name": "q"},
        CLASSES,
    ),
    Case(
        losses.MMCELoss,
        {"weight": 8.0, "form": "weighted", "from_logits": True, "axis": 1, "name": "r"},
        ROWS,
    ),
    Case(
        losses.LabelSmoothingCrossentropy,
        {"label_smoothing": 0.2, "from_logits": True, "ignore_class": 0, "name": "s"},
        CLASSES,
    ),
    Case(
        losses.EntropyRegularizedCrossentropy,
        {"weight": 0.3, "from_logits": True, "reduction": "mean", "name": "t"},
        ROWS,
    ),
    Case(
        losses.MarginLabelSmoothingCrossentropy,
        {"weight": 0.3, "margin": 1.25, "from_logits": True, "name": "u"},
        CLASSES,
    ),
    Case(
        losses.DualFocalCrossentropy,
        {"gamma": 3.5, "from_logits": True, "ignore_class": 2, "name": "v"},
        CLASSES,
    ),
    Case(
        losses.PolyLoss,
        {"gamma": "FLSD-53", "epsilon": -0.5, "from_logits": True, "name": "w"},
        CLASSES,
    ),
    Case(
        losses.FocalCalibrationLoss,
        {"gamma": 1.5, "weight": 0.5, "from_logits": True, "name": "x"},
        ROWS,
    ),
    Case(
        losses.AsymmetricLoss,
        {"gamma_pos": 1.0, "gamma_neg": 3.0, "shift": 0.1, "from_logits": True, "name": "y"},
        ROWS,
    ),
    Case(
        losses.QualityFocalCrossentropy,
        {"gamma": 1.5, "from_logits": True, "axis": 1, "reduction": "sum", "name": "z"},
        ROWS,
    ),
    Case(
        losses.VarifocalLoss,
        {"gamma": 1.5, "alpha": 0.5, "from_logits": True, "axis": 1, "name": "gg"},
        0.75 * ROWS,
    ),
    Case(
        losses.CompoundLoss,
        {
            "losses": [
                losses.CategoricalFocalCrossentropy(gamma=3.0, from_logits=True),
                losses.HardExampleMining(
                    keras.losses.CategoricalCrossentropy(from_logits=True), fraction=0.5
                ),
            ],
            "weights": [0.5, 2.0],
            "name": "hh",
        },
        ROWS,
    ),
    Case(
        losses.NormalizedByPositives,
        {"base": losses.VarifocalLoss(gamma=3.0, from_logits=True), "name": "ii"},
        0.75 * ROWS,
    ),
    Case(
        losses.FocalTversky,
        {
            "alpha": 0.6,
            "beta": 0.5,
            "gamma": 2.0,
            "from_logits": True,
            "ignore_class": 2,
            "name": "jj",
        },
        CLASSES,
    ),
    Case(
        losses.UnifiedFocalLoss,
        {
            "weight": 0.25,
            "delta": 0.7,
            "gamma": 0.25,
            "form": "symmetric",
            "background": 1,
            "from_logits": True,
            "ignore_class": 2,
            "name": "kk",
        },
        CLASSES,
    ),
    Case(
        losses.HardExampleMining,
        {
            "loss": losses.SparseCategoricalFocalCrossentropy(gamma=3.0, from_logits=True),
            "fraction": 0.5,
            "name": "aa",
        },
        CLASSES,
    ),
    *[
        Case(
            losses.Calibrated,
            {
                "base": losses.SparseCategoricalFocalCrossentropy(
                    gamma=3.0, from_logits=True, ignore_class=2
                ),
                "penalty": penalty,
                "name": "ff",
            },
            CLASSES,
            f" with {type(penalty).__name__}",
        )
        for penalty in PENALTIES
    ],
    Case(
        losses.Calibrated,
        {
            "base": losses.SparseCategoricalFocalCrossentropy(from_logits=True, ignore_class=2),
            "penalty": losses.NACL(weight=0.5, kernel_size=5, norm=2),
            "name": "ll",
        },
        CLASSES[None],
        " with NACL",
        LOGITS[None],
    ),
    Case(
        metrics.ExpectedCalibrationError,
        {"num_bins": 7, "from_logits": True, "name": "d"},
        CLASSES,
    ),
    Case(
        metrics.MaximumCalibrationError,
        {"num_bins": 5, "from_logits": True, "name": "e"},
        CLASSES,
    ),
    Case(
        metrics.AdaptiveExpectedCalibrationError,
        {"num_bins": 2, "from_logits": True, "name": "f"},
        ROWS,
    ),
    Case(
        metrics.CalibrationMetrics,
        {"num_bins": 3, "from_logits": True, "readings": ["mce", "ada_ece"], "name": "j"},
        CLASSES,
    ),
    Case(
        metrics.RootMeanSquareCalibrationError,
        {"num_bins": 4, "from_logits": True, "ignore_class": 2, "name": "k"},
        CLASSES,
    ),
    Case(
        metrics.ClasswiseExpectedCalibrationError,
        {"num_bins": 4, "from_logits": True, "num_classes": 3, "name": "l"},
        CLASSES,
    ),
    Case(
        metrics.BinaryExpectedCalibrationError,
        {"num_bins": 6, "from_logits": True, "class_id": 0, "name": "ee"},
        CLASSES,
    ),
    Case(
        metrics.DetectionCalibrationError,
        {"num_bins": 4, "from_logits": True, "name": "d_error"},
        ROWS,
    ),
    Case(
        metrics.LocalizationAwareCalibrationError,
        {"num_bins": 4, "from_logits": True, "name": "la_error"},
        ROWS,
    ),
    Case(metrics.NegativeLogLikelihood, {"from_logits": True, "name": "m"}, ROWS),
    Case(metrics.BrierScore, {"from_logits": True, "ignore_class": 1, "name": "n"}, CLASSES),
    Case(
        metrics.ConfidentCoverage,
        {"threshold": 0.7, "from_logits": True, "name": "o"},
        CLASSES,
    ),
    Case(metrics.ScoresByCorrectness, {"from_logits": True, "name": "p"}, CLASSES),
    Case(metrics.LogitNorm, {"ignore_class": 1, "name": "bb"}, CLASSES),
    Case(
        metrics.RefinementError,
        {"from_logits": True, "bounds": [0.1, 10.0], "name": "ff"},
        CLASSES,
    ),
    Case(gammas.HeldState, {"values": {"gamma": 4.0, "edges": [0.5, 1.0]}, "name": "g"}),
    Case(layers.TemperatureScaling, {"temperature": 2.5, "name": "h"}),
    Case(
        layers.TemperatureScaling,
        {"temperature": 0.5, "inputs": "probabilities", "name": "i"},
        label=" of probabilities",
    ),
    Case(
        layers.FocalPosterior,
        {"gamma": 3.5, "temperature": 0.5, "inputs": "probabilities", "name": "cc"},
    ),
    Case(layers.VectorScaling, {"scale": [0.5, 2.0, 1.5], "bias": [0.25, 0.0, -1.0], "name": "dd"}),
    Case(
        layers.MatrixScaling,
        {"matrix": [[2.0, 0.5, 0.0], [0.0, 1.0, 0.25], [0.5, 0.0, 1.5]], "bias": [0.0, 1.0, -0.5]},
    ),
    Case(
        layers.DirichletCalibration,
        {
            "matrix": [[2.0, 0.5, 0.0], [0.0, 1.0, 0.25], [0.5, 0.0, 1.5]],
            "bias": [0.0, 1.0, -0.5],
            "inputs": "probabilities",
        },
    ),
    Case(
        layers.StructuredVectorScaling,
        {"temperature": 2.0, "scale": [0.5, 2.0, 1.5], "bias": [0.25, 0.0, -1.0]},
    ),
    Case(
        layers.StructuredMatrixScaling,
        {
            "temperature": 2.0,
            "matrix": [[0.5, 2.0, 1.5], [0.0, 1.0, 0.0], [0.25, 0.0, 1.0]],
            "bias": [0.25, 0.0, -1.0],
        },
    ),
    Case(layers.PlattScaling, {"slope": [0.5, 2.0, 1.5], "intercept": [0.25, 0.0, -1.0]}),
    Case(
        layers.QuadraticScaling,
        {"square": [0.5, -0.25, 0.0], "slope": [0.5, 2.0, 1.5], "intercept": [0.25, 0.0, -1.0]},
    ),
    Case(
        layers.BetaCalibration,
        {"a": [0.5, 2.0, 1.5], "b": [1.0, 0.0, 0.5], "c": [0.25, 0.0, -1.0]},
    ),
    Case(
        layers.EnsembleTemperatureScaling,
        {"temperature": 2.5, "weights": [0.5, 0.375, 0.125], "inputs": "probabilities"},
    ),
    Case(
        layers.HistogramBinning,
        {
            "edges": [[-1.0, 1.0], [0.0, 0.5], [-2.0, 2.0]],
            "values": [[0.125, 0.5, 0.75], [0.25, 0.5, 0.875], [0.0625, 0.25, 1.0]],
        },
    ),
    Case(
        layers.IsotonicRegression,
        {
            "knots": [[-9.0, 9.0, 9.0], [-8.0, 0.5, 8.0], [-7.0, 2.0, 8.0]],
            "values": [[0.125, 0.5, 0.75], [0.25, 0.5, 0.875], [0.0625, 0.25, 0.75]],
        },
    ),
    Case(
        layers.LinearHead,
        {
            "num_classes": 3,
            "use_bias": True,
            "softcap": 2.5,
            "kernel_initializer": keras.initializers.serialize(keras.initializers.Identity(2.0)),
            "name": "lh",
        },
    ),
    Case(
        layers.ConformalSets,
        {"threshold": 0.75, "method": "raps", "penalty": 0.25, "rank": 1.0, "allow_empty": True},
    ),
    Case(
        layers.VennAbersCalibration,
        {
            "edges": [[-1.0, 1.0], [0.0, 0.5], [-2.0, 2.0]],
            "lower": [[0.0, 0.5, 0.75], [0.25, 0.5, 0.875], [0.0625, 0.25, 0.9375]],
            "upper": [[0.5, 0.625, 0.875], [0.25, 0.75, 1.0], [0.5, 0.75, 0.96875]],
        },
    ),
    Case(gammas.SampleDependentGamma, {"thresholds": [0.2, 0.5], "gammas": [5.0, 3.0, 2.0]}),
    Case(gammas.ThresholdGamma, {"p0s": [0.15, 0.3]}),
    Case(gammas.ContinuousGamma, {"low": 1.0, "high": 4.0}),
    Case(
        gammas.AdaptiveBins,
        {"num_bins": 3, "gamma": [0.5, -1.0, 2.0], "edges": [0.25, 0.5]},
    ),
]
# Nobody builds these: they are the base of others, or stay in the process that made them.
BASES = {
    losses.ClassificationLoss,
    losses.FocalLoss,
    losses.OutputLoss,
    losses.Penalty,
    gammas.GammaRule,
    metrics.BinnedMetric,
    metrics.CellMetric,
    metrics.PredictionMetric,
    metrics.TotalsMetric,
}

# A penalty is part of a loss, and tested with it.
TESTED = {case.cls for case in CASES} | {
    type(case.arguments["penalty"]) for case in CASES if case.cls is losses.Calibrated
}

every_class = pytest.mark.parametrize("case", CASES, ids=str)


def apply(obj: Any, case: Case) -> Any:
    """Return what an object makes of the sample input, as a tensor; {} of a silent metric."""
    x = case.x
    if isinstance(obj, keras.losses.Loss):
        return obj(case.labels, x)
    if isinstance(obj, keras.metrics.Metric):
        obj.update_state(case.labels, x)
        return obj.result()
    takes_probabilities = getattr(obj, "inputs", None) == "probabilities"
    takes_probabilities = takes_probabilities or isinstance(obj, gammas.GammaRule)
    return obj(ops.softmax(x)) if takes_probabilities else obj(x)


def result(obj: Any, case: Case) -> np.ndarray:
    return as_array(apply(obj, case))


def as_array(value: Any) -> np.ndarray:
    if isinstance(value, dict):
        return np.array([float(value[name]) for name in sorted(value)], "float32")
    return ops.convert_to_numpy(ops.cast(value, "float32"))


# --- the registry


def public_classes() -> set[type]:
    """Return the classes that the package exports and that have a config."""
    members = [getattr(keras_focal, name) for name in keras_focal.__all__]
    return {
        member
        for module in filter(inspect.ismodule, members)
        for _, member in inspect.getmembers(module, inspect.isclass)
        if hasattr(member, "get_config")
    }


def test_every_public_class_is_in_the_registry():
    assert public_classes() - BASES == TESTED


def test_every_class_registered_with_keras_is_in_the_registry():
    registered = {
        one
        for name, one in keras.saving.get_custom_objects().items()
        if name.startswith("keras_focal>") and inspect.isclass(one)
    }
    assert registered - BASES == TESTED


@every_class
def test_sample_arguments_are_not_the_defaults(case):
    """So that an argument which a config forgets changes something."""
    defaults = inspect.signature(case.cls).parameters
    for name, value in case.arguments.items():
        if name in defaults:
            assert value != defaults[name].default


# --- config


@every_class
def test_config_holds_every_argument(case):
    names = {
        name
        for name, parameter in inspect.signature(case.cls).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    }
    config = case.build().get_config()
    assert names <= set(config)
    for name, value in case.arguments.items():
        stored = config[name]
        if name == "losses":
            copies = [keras.saving.deserialize_keras_object(one) for one in stored]
            assert [one.get_config() for one in copies] == [one.get_config() for one in value]
            continue
        if isinstance(value, keras.losses.Loss | losses.Penalty):
            copied = keras.saving.deserialize_keras_object(stored)
            assert copied.get_config() == value.get_config()
            continue
        if isinstance(value, gammas.GammaRule):
            stored = keras.saving.deserialize_keras_object(stored)
            assert type(stored) is type(value)
            assert stored.get_config() == value.get_config()
            continue
        if name in ("temperature", "lower", "upper"):  # which are kept as logarithms
            np.testing.assert_allclose(stored, value, rtol=1e-6)
        else:
            assert stored == value


class OtherSubject(LossSubject):
    """A rule or a state. It is saved as part of a loss or of a model, not by itself."""

    def value(self, obj, y_true, y_pred, sample_weight=None):
        if isinstance(obj, gammas.HeldState):
            return ops.concatenate([ops.ravel(obj.read(name)) for name in ("gamma", "edges")])
        return obj(ops.softmax(y_pred))


OF_ALL = testing.LOSS_CHECKS.keys() & testing.METRIC_CHECKS.keys() & testing.MAP_CHECKS.keys()
OF_OTHERS = OF_ALL - {"saved_model_evaluates_the_same"}
KINDS = [
    (keras.losses.Loss, LossSubject, testing.LOSS_CHECKS),
    (metrics.PredictionMetric, MetricSubject, testing.METRIC_CHECKS),
    (keras.layers.Layer, MapSubject, testing.MAP_CHECKS),
    (object, OtherSubject, {name: testing.LOSS_CHECKS[name] for name in sorted(OF_OTHERS)}),
]
# `test_saved_model_evaluates_the_same_in_a_fresh_process` saves every class by day.
SAVED_HERE_BY_DAY = {
    "SparseCategoricalFocalCrossentropy",
    "CalibrationMetrics",
    "TemperatureScaling",
    "Calibrated with CALS",
}
FAILURES = {
    ("Calibrated with ACLS", "gradient_is_the_slope"): "two logits of the sample are equal",
    ("LogitNorm", "invalid_labels_are_never_silent"): "labels do not matter to it",
}


def subject_of(case):
    """Return a case with the sample that it is checked on, and the checks of its kind."""
    obj = case.build()
    _, kind, checks = next(kind for kind in KINDS if isinstance(obj, kind[0]))
    takes_probabilities = getattr(obj, "inputs", "logits") == "probabilities"
    x = ops.convert_to_numpy(ops.softmax(case.x)) if takes_probabilities else case.x
    return kind(obj, case.labels, x), checks


def checked():
    """Return every check of every class, those that fail marked."""
    for case in CASES:
        for check in next(kind for kind in KINDS if issubclass(case.cls, kind[0]))[2]:
            reason = FAILURES.get((str(case), check))
            marks = [pytest.mark.xfail(strict=True, reason=reason)] if reason else []
            if check == "saved_model_evaluates_the_same" and str(case) not in SAVED_HERE_BY_DAY:
                marks.append(pytest.mark.nightly)
            yield pytest.param(check, case, id=f"{check}-{case}", marks=marks)


@pytest.mark.parametrize(("check", "case"), list(checked()))
def test_class_passes_the_public_checks(check, case):
    subject, checks = subject_of(case)
    checks[check](subject)


# --- saved models


def used(case: Case, inputs: Any, name: str = "logits") -> tuple[Any, Any, list[Any]]:
    """Return logits of some inputs, a loss and metrics; one of them uses the object of a case."""
    obj = case.build()
    outputs = keras.layers.Dense(3, name=name)(inputs)
    loss: Any = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    weighted_metrics: list[Any] = []
    if isinstance(obj, keras.losses.Loss):
        loss = obj
    elif isinstance(obj, gammas.GammaRule):
        loss = losses.SparseCategoricalFocalCrossentropy(obj, from_logits=True)
    elif isinstance(obj, keras.metrics.Metric):
        weighted_metrics = [obj]
        if case.labels is ROWS:
            loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    else:
        probabilities = keras.layers.Softmax()
        takes_logits = getattr(obj, "inputs", "logits") == "logits"
        found = obj(outputs if takes_logits else probabilities(outputs))
        # Sets are no logits: what is in one adds 1 to its logit.
        is_set = isinstance(obj, layers.ConformalSets)
        outputs = outputs + ops.cast(found, outputs.dtype) if is_set else found
    return outputs, loss, weighted_metrics


def compiled(case: Case, **kwargs) -> keras.Model:
    """Return a model of 3 inputs and 3 logits that uses an object of the case."""
    inputs = keras.Input(case.x.shape[1:])
    outputs, loss, weighted_metrics = used(case, inputs)
    model = keras.Model(inputs, outputs)
    model.compile("sgd", loss, weighted_metrics=weighted_metrics, **kwargs)
    return model


def labels_of(case: Case) -> np.ndarray:
    return CLASSES if case.labels is None else case.labels


@pytest.fixture
def some(pytestconfig):
    """Every fifth of some cases on JAX, which compiles each for a second, else or nightly all."""
    is_all = BACKEND != "jax" or pytestconfig.getoption("--nightly")
    return lambda cases: cases if is_all else cases[::5]


FRESH_PROCESS = """
import json, sys
import keras, numpy as np
import keras_focal
for name in sys.argv[1:]:
    arrays = dict(np.load(name + ".npz"))
    model = keras.saving.load_model(name + ".keras")
    model.run_eagerly = keras.backend.backend() != "jax"
    values = model.evaluate(arrays.pop("x"), arrays, verbose=0, return_dict=True)
    print("RESULT", json.dumps({key: float(value) for key, value in values.items()}))
"""


def in_one_model(cases: dict[str, Case]) -> keras.Model:
    """Return a model with a head for each case, all of the same input, compiled to run eagerly."""
    inputs = keras.Input(next(iter(cases.values())).x.shape[1:])
    heads = {name: used(case, inputs, f"logits_of_{name}") for name, case in cases.items()}
    model = keras.Model(inputs, {name: outputs for name, (outputs, _, _) in heads.items()})
    loss = {name: loss for name, (_, loss, _) in heads.items()}
    measures = {name: found for name, (*_, found) in heads.items() if found}
    # Eagerly: what is saved is the matter here, and tracing takes longer than a step.
    model.compile("sgd", loss, weighted_metrics=measures, run_eagerly=True)
    return model


def test_saved_model_evaluates_the_same_in_a_fresh_process(some, tmp_path):
    """A model of every class, with a head for each, is loaded where none was made."""
    expected, files = [], []
    for shape in dict.fromkeys(case.x.shape for case in CASES):
        of_shape = some([case for case in CASES if case.x.shape == shape])
        cases = {str(case).replace(" ", "_"): case for case in of_shape}
        model, x = in_one_model(cases), next(iter(cases.values())).x
        labels = {name: labels_of(case) for name, case in cases.items()}
        values = model.evaluate(x, labels, verbose=0, return_dict=True)
        expected.append({name: float(value) for name, value in values.items()})
        assert min(value for name, value in values.items() if name.endswith("loss")) > 0
        files.append(f"{tmp_path / str(len(files))}")
        np.savez(f"{files[-1]}.npz", x=x, **labels)
        model.save(f"{files[-1]}.keras")
    environment = {
        "KERAS_BACKEND": BACKEND,
        "PYTHONPATH": str(Path(keras_focal.__file__).parents[1]),
    }
    answer = subprocess.run(
        [sys.executable, "-c", FRESH_PROCESS, *files],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    lines = [line for line in answer.stdout.splitlines() if line.startswith("RESULT ")]
    for line, values in zip(lines, expected, strict=True):
        assert json.loads(line.removeprefix("RESULT ")) == pytest.approx(values, rel=1e-6)


# --- dtypes


@every_class
def test_dtype_survives_the_config(case):
    if issubclass(case.cls, gammas.GammaRule):
        pytest.skip("a rule has no dtype: it takes that of the probabilities")
    obj = case.build(dtype="float64")
    assert (
        keras.backend.standardize_dtype(case.cls.from_config(obj.get_config()).dtype) == "float64"
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
def test_temperature_layer_gives_its_compute_dtype_and_keeps_a_float32_weight(dtype):
    if dtype == "float64" and BACKEND == "jax":
        pytest.skip("JAX keeps float64 off by default")
    layer = layers.TemperatureScaling(2.0, dtype=dtype)
    scaled = layer(LOGITS)
    assert keras.backend.standardize_dtype(scaled.dtype) == dtype
    assert keras.backend.standardize_dtype(layer.log_temperature.dtype) == "float32"
    exact = 2.0**-7 if dtype == "bfloat16" else 1e-3 if dtype == "float16" else 1e-6
    np.testing.assert_allclose(as_array(scaled), LOGITS / 2.0, rtol=exact)


@pytest.fixture(params=["mixed_bfloat16", "mixed_float16"])
def policy(request):
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy("float32")


TRAINED = [
    case
    for case in CASES
    if issubclass(case.cls, keras.losses.Loss | keras.layers.Layer)
    # Constant pieces have no gradient.
    and case.cls not in (layers.HistogramBinning, layers.VennAbersCalibration)
]
SHAPES = {case.x.shape: case.x for case in TRAINED}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_half_precision_model_trains_with_every_loss_and_map(shape, policy, some):
    of_shape = some([case for case in TRAINED if case.x.shape == shape])
    cases = {f"head_{i}": case for i, case in enumerate(of_shape)}
    x, inputs = SHAPES[shape], keras.Input(shape[1:])
    heads = {name: used(case, inputs, name) for name, case in cases.items()}
    model = keras.Model(inputs, [outputs for outputs, *_ in heads.values()])
    of_heads = [loss for _, loss, _ in heads.values()]
    # Loss scaling would leave out the first steps of float16.
    model.compile("sgd", of_heads, run_eagerly=True, auto_scale_loss=False)
    kernels = {name: model.get_layer(name).kernel for name in cases}
    before = {name: ops.convert_to_numpy(kernel) for name, kernel in kernels.items()}
    labels = [labels_of(case) for case in cases.values()]
    history = model.fit(x, labels, verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values())
    for name, case in cases.items():
        assert model.get_layer(name).compute_dtype == policy.removeprefix("mixed_")
        after = ops.convert_to_numpy(kernels[name])
        assert np.isfinite(after).all(), case
        assert not np.array_equal(before[name], after), case


@pytest.mark.parametrize("name", ["SparseCategoricalFocalCrossentropy", "TemperatureScaling"])
def test_half_precision_model_trains_in_compiled_steps(name, policy):
    case = next(case for case in TRAINED if str(case) == name)
    model = compiled(case)
    before = ops.convert_to_numpy(model.get_layer("logits").kernel)
    # Loss scaling in float16 begins too high and leaves out the first steps that overflow.
    epochs = 8 if policy == "mixed_float16" else 1
    history = model.fit(case.x, labels_of(case), epochs=epochs, verbose=0).history
    after = ops.convert_to_numpy(model.get_layer("logits").kernel)
    assert all(np.isfinite(values).all() for values in (*history.values(), after))
    assert not np.array_equal(before, after)


@pytest.mark.parametrize(
    "policy",
    ["mixed_bfloat16", pytest.param("mixed_float16", marks=pytest.mark.nightly)],
    indirect=True,
)
def test_half_precision_model_measures_its_predictions_with_every_metric(policy, some):
    cases = some([case for case in CASES if issubclass(case.cls, metrics.PredictionMetric)])
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    measured = [case.build() for case in cases]
    model.compile("sgd", "mse", weighted_metrics=measured, run_eagerly=FEW_STEPS_EAGERLY)
    predictions = ops.cast(model(LOGITS), "float32")
    values = model.evaluate(LOGITS, ROWS, verbose=0, return_dict=True)
    for case in cases:
        metric = case.build()
        metric.update_state(ROWS, predictions)
        expected = metric.result()
        expected = expected if isinstance(expected, dict) else {metric.name: expected}
        for name, value in expected.items():
            assert values[name] == pytest.approx(float(value), rel=1e-6)


@pytest.fixture
def half_floatx():
    keras.config.set_floatx("bfloat16")
    yield
    keras.config.set_floatx("float32")


USUAL = {"SparseCategoricalFocalCrossentropy", "BinaryFocalCrossentropy", "CalibrationMetrics"}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=[] if str(case) in USUAL else pytest.mark.nightly)
        for case in CASES
        if case.labels is not None
    ],
    ids=str,
)
def test_half_floatx_does_not_change_a_loss_or_metric(case, half_floatx):
    obj = case.build()
    assert obj.dtype == "float32"
    value = result(obj, case)
    keras.config.set_floatx("float32")
    np.testing.assert_array_equal(value, result(case.build(), case))
