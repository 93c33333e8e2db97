"""What users can rely on: names, docstrings, signatures, and an import that costs little."""

import ast
import builtins
import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import keras_focal

PACKAGE = Path(keras_focal.__file__).parent
FOLDERS = {path.parent.name for path in PACKAGE.glob("[!_]*/__init__.py")}
# Folders that need an extra to be imported at all, and so are in no `import *`.
EXTRA = {"beam": "apache_beam"}
MODULES = {
    name: importlib.import_module(f"keras_focal.{name}")
    for name in sorted(FOLDERS)
    if name not in EXTRA or importlib.util.find_spec(EXTRA[name])
}
NAMES = [(module, name) for module, found in MODULES.items() for name in found.__all__]
CODE = [
    (module, name)
    for module, name in NAMES
    if inspect.isclass(getattr(MODULES[module], name))
    or inspect.isfunction(getattr(MODULES[module], name))
]

# Not called by users: base classes, and what functions return.
WITHOUT_EXAMPLE = {
    "beam": {"CalibrationReport"},
    "calibration": {
        "CalibrationReport",
        "ConformalFit",
        "FocalTemperatureFit",
        "MapFit",
        "MapIntervals",
        "MapScores",
        "SkippedMap",
        "TemperatureFit",
    },
    "gammas": {"GammaRule", "GammaSteps", "HeldState", "sample_dependent"},
    "losses": {"ClassificationLoss", "FocalLoss", "OutputLoss", "LossRow", "LossTable", "Penalty"},
    "metrics": {"BinnedMetric", "CellMetric", "PredictionMetric", "TotalsMetric"},
}


# --- names


def test_dir_shows_what_is_imported_only_when_asked_for():
    assert {*dir(keras_focal)} >= {*keras_focal.__all__, "plotting", "beam"}


# Reached as attributes alone: `losses.list`.
HIDING = {*dir(builtins)}


@pytest.mark.parametrize("module", MODULES)
def test_no_import_of_all_names_hides_one_of_python(module):
    assert not {*MODULES[module].__all__} & HIDING


def test_every_public_folder_is_exported():
    assert {*keras_focal.__all__} == {"__version__", *FOLDERS} - {*EXTRA, "cli"}


@pytest.mark.parametrize("module", [None, *MODULES])
def test_all_names_exist_once(module):
    module = keras_focal if module is None else MODULES[module]
    assert all(hasattr(module, name) for name in module.__all__)
    assert len(set(module.__all__)) == len(module.__all__)


@pytest.mark.parametrize("module", MODULES)
def test_all_is_complete(module):
    public = {
        name
        for name, value in vars(MODULES[module]).items()
        if not name.startswith("_") and not inspect.ismodule(value) and name not in HIDING
    }
    assert public == set(MODULES[module].__all__)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("losses", "SparseCategoricalFocalCrossentropy"),
        ("losses", "CategoricalFocalCrossentropy"),
        ("losses", "BinaryFocalCrossentropy"),
        ("losses", "get"),
        ("losses", "BrierLoss"),
        ("losses", "MMCELoss"),
        ("losses", "DualFocalCrossentropy"),
        ("gammas", "SampleDependentGamma"),
        ("gammas", "gamma_star"),
        ("gammas", "gradient_ratio"),
        ("metrics", "ExpectedCalibrationError"),
        ("metrics", "AdaptiveExpectedCalibrationError"),
        ("metrics", "MaximumCalibrationError"),
        ("callbacks", "GammaScheduler"),
        ("callbacks", "CalibrationMonitor"),
        ("callbacks", "AdaptiveGamma"),
        ("callbacks", "RefinementStopping"),
        ("metrics", "RefinementError"),
        ("gammas", "ThresholdGamma"),
        ("layers", "FocalPosterior"),
        ("calibration", "fit_focal_temperature"),
        ("metrics", "ClasswiseExpectedCalibrationError"),
        ("plotting", "confidence_histogram"),
        ("layers", "TemperatureScaling"),
        ("calibration", "fit_temperature"),
        ("calibration", "calibrate"),
        ("plotting", "reliability_diagram"),
    ],
)
def test_fixed_name_is_exported(module, name):
    assert name in MODULES[module].__all__


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("ECE", "ExpectedCalibrationError"),
        ("AdaECE", "AdaptiveExpectedCalibrationError"),
        ("MCE", "MaximumCalibrationError"),
        ("RMSCE", "RootMeanSquareCalibrationError"),
        ("ClasswiseECE", "ClasswiseExpectedCalibrationError"),
        ("BinaryECE", "BinaryExpectedCalibrationError"),
        ("LaECE", "LocalizationAwareCalibrationError"),
    ],
)
def test_short_metric_name_is_the_long_one(short, long):
    assert getattr(MODULES["metrics"], short) is getattr(MODULES["metrics"], long)
    assert short in MODULES["metrics"].__all__


def test_unknown_attribute_of_the_package_raises():
    with pytest.raises(AttributeError, match="no_such_name"):
        keras_focal.no_such_name  # noqa: B018


def test_package_is_marked_as_typed():
    assert (PACKAGE / "py.typed").is_file()


def test_version_is_of_three_numbers():
    assert re.fullmatch(r"\d+\.\d+\.\d+([a-z.]+\d+)?", keras_focal.__version__)


# --- signatures


def defaults(function):
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("SparseCategoricalFocalCrossentropy", {"ignore_class": None}),
        ("CategoricalFocalCrossentropy", {"label_smoothing": 0.0}),
        ("BinaryFocalCrossentropy", {"label_smoothing": 0.0}),
    ],
)
def test_losses_have_the_fixed_arguments(name, own):
    found = defaults(getattr(MODULES["losses"], name))
    assert isinstance(found.pop("name"), str)
    assert found == {
        "gamma": 2.0,
        "alpha": None,
        "from_logits": False,
        "axis": -1,
        "reduction": "sum_over_batch_size",
        "dtype": None,
        **own,
    }


@pytest.mark.parametrize("name", ["ECE", "AdaECE", "MCE", "RMSCE"])
def test_metrics_have_the_fixed_arguments(name):
    found = defaults(getattr(MODULES["metrics"], name))
    assert isinstance(found.pop("name"), str)
    assert found == {
        "num_bins": 15,
        "from_logits": False,
        "ignore_class": None,
        "dtype": None,
        "axis": -1,
        "skip_invalid": False,
    }


def test_metrics_have_names_of_their_own():
    names = [MODULES["metrics"].ECE().name, MODULES["metrics"].AdaECE().name]
    names.append(MODULES["metrics"].MCE().name)
    assert len(set(names)) == 3


@pytest.mark.parametrize(
    ("module", "name", "first"),
    [
        ("calibration", "fit_temperature", ["logits", "labels", "criterion"]),
        ("calibration", "fit_map", ["logits", "labels", "method"]),
        ("calibration", "calibrate", ["model", "x", "y"]),
        ("beam", "CombineCalibration", ["num_bins", "from_logits", "bounds"]),
        ("callbacks", "GammaScheduler", ["schedule"]),
        ("gammas", "SampleDependentGamma", ["thresholds", "gammas"]),
        ("gammas", "gamma_star", ["p0"]),
        ("gammas", "gradient_ratio", ["p", "gamma"]),
        ("layers", "TemperatureScaling", ["temperature"]),
        ("losses", "get", ["name"]),
    ],
)
def test_arguments_come_in_the_fixed_order(module, name, first):
    if module not in MODULES:
        pytest.skip(f"needs {EXTRA[module]}")
    parameters = inspect.signature(getattr(MODULES[module], name)).parameters
    assert [*parameters][: len(first)] == first


@pytest.mark.parametrize(("module", "name"), CODE)
def test_public_arguments_are_annotated(module, name):
    member = getattr(MODULES[module], name)
    if inspect.isclass(member) and issubclass(member, tuple):
        return  # the fields of a named tuple are annotated or it would have none
    for parameter in inspect.signature(member).parameters.values():
        assert parameter.annotation is not parameter.empty, parameter.name


# --- docstrings


@pytest.mark.parametrize("module", [None, *MODULES])
def test_module_has_a_docstring(module):
    assert (keras_focal if module is None else MODULES[module]).__doc__


@pytest.mark.parametrize(("module", "name"), CODE)
def test_class_or_function_has_a_docstring_of_its_own(module, name):
    doc = getattr(MODULES[module], name).__doc__
    assert doc
    # A named tuple without one gets "Name(field, ...)".
    assert not doc.startswith(f"{name}(")


@pytest.mark.parametrize(
    ("module", "name"), [pair for pair in CODE if pair[1] not in WITHOUT_EXAMPLE.get(pair[0], ())]
)
def test_what_users_call_has_an_example(module, name):
    doc = getattr(MODULES[module], name).__doc__
    assert "    Example:" in doc
    assert ">>>" in doc


@pytest.mark.parametrize(("module", "name"), CODE)
def test_every_argument_is_described(module, name):
    member = getattr(MODULES[module], name)
    doc = inspect.getdoc(member)
    if "Args:" not in doc:
        return
    section = doc.split("Args:")[1].split("\n\n")[0]
    for parameter in inspect.signature(member).parameters:
        assert re.search(rf"^ +\**{parameter}(, \w+)*:", section, re.MULTILINE), parameter


def test_exempt_names_exist():
    exempt = {
        (module, name)
        for module, names in WITHOUT_EXAMPLE.items()
        if module in MODULES
        for name in names
    }
    assert exempt <= set(CODE)


# --- imports

HEAVY = {"matplotlib", "scipy", "sklearn", "tensorflow", "jax", "torch"}
# Files that are imported when what is in them is named, and what they may import.
NAMED_LATE = {"calibration/maps/calibrator.py": {"sklearn"}}


def imports_at_module_level(source: str) -> set[str]:
    """Return the top-level packages that importing a file imports; not under TYPE_CHECKING."""
    found = set()

    def visit(node):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                visit(other)
            return
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(source))
    return found


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_file_imports_no_heavy_package_at_module_level(path):
    allowed = NAMED_LATE.get(path.relative_to(PACKAGE).as_posix(), set())
    assert not imports_at_module_level(path.read_text()) & HEAVY - allowed


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import scipy.special", {"scipy"}),
        ("from matplotlib import pyplot", {"matplotlib"}),
        ("class A:\n    import jax", {"jax"}),
        ("try:\n    import torch\nexcept ImportError:\n    torch = None", {"torch"}),
        ("def f():\n    import tensorflow", set()),
        ("if TYPE_CHECKING:\n    import jax\nelse:\n    import torch", {"torch"}),
    ],
)
def test_check_of_module_level_imports_sees_them(source, found):
    assert imports_at_module_level(source) == found


IMPORT = """
import json, sys
import keras
before = set(sys.modules)
blocked = [name for name in sys.modules if name.split(".")[0] in ("matplotlib", "scipy")]
for name in [*blocked, "matplotlib", "scipy"]:
    sys.modules[name] = None
import keras_focal
added = set(sys.modules) - before
eager = "keras_focal.plotting" in sys.modules
value = float(keras_focal.losses.get("FLSD-53", from_logits=True)([0], [[1.0, 0.0]]))
star = keras_focal.gammas.gamma_star(0.25)
metric = keras_focal.metrics.ECE()
metric.update_state([0], [[0.75, 0.25]])
lazy = keras_focal.plotting.__name__
print("RESULT", json.dumps(dict(
    added=sorted(added), eager=eager, lazy=lazy, values=[value, star, float(metric.result())]
)))
"""


@pytest.fixture(scope="module")
def fresh_import():
    """Import the package in a process where matplotlib and scipy cannot be imported."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT],
        env={
            **os.environ,
            "KERAS_BACKEND": keras.backend.backend(),
            "PYTHONPATH": str(PACKAGE.parent),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    return json.loads(line.removeprefix("RESULT "))


def test_package_works_where_matplotlib_and_scipy_cannot_be_imported(fresh_import):
    assert fresh_import["values"][1:] == pytest.approx([3.070227, 0.25], rel=1e-6)


def test_plotting_is_imported_only_when_asked_for(fresh_import):
    assert not fresh_import["eager"]
    assert fresh_import["lazy"] == "keras_focal.plotting"


def test_import_adds_to_keras_nothing_but_the_package_and_the_standard_library(fresh_import):
    roots = {name.split(".")[0] for name in fresh_import["added"]}
    assert roots - {"matplotlib", "scipy"} - sys.stdlib_module_names == {"keras_focal"}
