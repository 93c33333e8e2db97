"""Imports point one way: functional, then gammas, losses and metrics and layers, and so on up.

A folder may import folders of a lower rank and itself; folders of one rank do not know each other.
"""

import ast
import sys
from pathlib import Path

import pytest

import keras_focal

PACKAGE = Path(keras_focal.__file__).parent
REFERENCE = Path(__file__).with_name("reference.py")

RANK = {
    "_version": 0,
    "_typing": 0,
    "_validation": 0,
    "_quiet": 0,
    "_host": 0,
    "_temperature": 0,
    "_presets": 1,
    "_theory": 1,
    "functional": 2,
    "gammas": 3,
    "losses": 4,
    "metrics": 4,
    "layers": 4,
    "calibration": 5,
    "callbacks": 6,
}
# The rooms of two folders: a room may import rooms of a lower rank. In `functional`: what knows a
# backend, what is numerically delicate, what reads arguments, and then the maths by topic. Those of
# `calibration` are used by the names in their `__init__`, also by the rest of the package.
ROOMS = {
    "functional": {
        "_backend": 0,
        "_stable": 1,
        "_inputs": 2,
        "calibration": 3,
        "losses": 3,
        "maps": 3,
        "gammas": 4,
    },
    "calibration": {
        "given": 0,
        "temperature": 1,
        "conformal": 1,
        "maps": 2,
        "report": 2,
        "surgery": 3,
    },
}
# Leaves that nobody imports, but one another where it is said: one draws what `functional`
# computes, one measures on many machines, one is the command line.
LEAVES = {
    "plotting": {"functional", "_host", "_validation"},
    "beam": {"calibration", "functional", "_validation"},
    "testing": {"_typing", "_validation", "functional"},
    "cli": {
        "_host",
        "_presets",
        "_quiet",
        "_theory",
        "_version",
        "calibration",
        "callbacks",
        "functional",
        "layers",
        "losses",
        "metrics",
        "plotting",
    },
    "__main__": {"cli"},
}

FRAMEWORKS = {"tensorflow", "jax", "torch"}
OUTSIDE = {"keras", "numpy"}
# Imported inside functions: backend code has one place, drawing another, writing events a third,
# solvers a fourth.
EXTRA_OUTSIDE = {
    "calibration": {"scipy", "sklearn", "threadpoolctl"},
    "functional": FRAMEWORKS,
    "plotting": {"matplotlib"},
    "callbacks": {"matplotlib", "tensorboard"},
    "beam": {"apache_beam"},
    "cli": {"matplotlib", "pyarrow", "rich"},
}


def imported_modules(path: Path) -> list[str]:
    """Return the dotted names that a file imports anywhere, also inside functions.

    `from a import b` gives "a.b", since b may be a module.
    """
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names += [f"{module}.{alias.name}" for alias in node.names]
    return names


def violations(package: Path) -> list[str]:
    """Return what the files of a package named keras_focal import against the rules."""
    found = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        folder = parts[0]
        is_root = parts == ("__init__",)
        if not is_root and folder not in {*RANK, *LEAVES}:
            found.append(f"{path.name}: {folder} has no rank")
            continue
        for name in imported_modules(path):
            if not (_is_allowed(folder, is_root, name) and _is_by_rooms(parts, name)):
                found.append(f"{'/'.join(parts)} imports {name}")
    return found


def _is_allowed(folder: str, is_root: bool, name: str) -> bool:
    if name.startswith("."):
        return False
    top, _, rest = name.partition(".")
    if top != "keras_focal":
        allowed = OUTSIDE | EXTRA_OUTSIDE.get(folder, set())
        return top in sys.stdlib_module_names or top in allowed
    target = rest.split(".")[0]
    if folder in LEAVES:
        return target in {folder, *LEAVES[folder]}
    if is_root or target not in RANK:
        return target in RANK
    return target == folder or RANK[target] < RANK[folder]


def _is_by_rooms(parts: tuple[str, ...], name: str) -> bool:
    """Tell whether an import respects the rooms of folders, from within and from without."""
    folder, own = parts[0], parts[1] if len(parts) > 2 else None
    target, room, *inner = (*name.split(".")[1:], "", "")
    if target == "calibration" and (target, room) != (folder, own):
        is_private = any(part.startswith("_") for part in (room, *inner))
        if is_private or parts == ("calibration", "__init__"):
            return not is_private
    ranks = ROOMS.get(folder, {})
    if target != folder or room == own or own not in ranks:
        return True
    return ranks.get(room, 9) < ranks[own]


def test_imports_of_the_package_point_one_way():
    assert violations(PACKAGE) == []


def test_every_ranked_folder_exists():
    present = {path.stem for path in PACKAGE.iterdir()}
    assert {*RANK, *LEAVES} <= present
    for folder, rooms in ROOMS.items():
        assert {path.parent.name for path in PACKAGE.glob(f"{folder}/*/__init__.py")} == {*rooms}


@pytest.fixture
def planted(tmp_path):
    """Write files, given as {path: source}, into an empty package."""

    def plant(files: dict[str, str]) -> Path:
        package = tmp_path / "keras_focal"
        for name, source in files.items():
            path = package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
        return package

    return plant


def test_allowed_imports_are_not_reported(planted):
    package = planted(
        {
            "__init__.py": "import importlib\nfrom keras_focal import callbacks, losses",
            "_validation/a.py": "import math\nimport numpy as np",
            "functional/__init__.py": "from keras_focal.functional.losses._a import f",
            "functional/_backend/a.py": "def f():\n    import jax\n    from jax import numpy",
            "functional/losses/_a.py": "from keras import ops\n"
            "from keras_focal._validation.a import check\n"
            "from keras_focal.functional._backend.a import f\n"
            "from keras_focal.functional.losses._b import g",
            "gammas/_a.py": "from keras_focal.functional import f",
            "losses/_a.py": "from keras_focal import functional\nfrom keras_focal.gammas import g",
            "losses/_b.py": "from keras_focal.losses._a import L",
            "metrics/_a.py": "import keras_focal.functional",
            "calibration/_a.py": "from keras_focal.layers import T\nfrom keras_focal import losses",
            "callbacks/_a.py": "from keras_focal.losses import L\nfrom keras_focal import gammas",
            "plotting/_a.py": "from keras_focal import functional\ndef f():\n    import matplotlib",
            "calibration/__init__.py": "from keras_focal.calibration.maps import fit_map",
            "calibration/maps/_a.py": "from keras_focal.calibration.given import HeldOut",
            "calibration/maps/_b.py": "from keras_focal.calibration.maps._a import f",
            "beam/_a.py": "import apache_beam\nfrom keras_focal.calibration.report import Settings",
            "beam/_b.py": "from keras_focal.beam._a import C",
            "cli/_a.py": "from keras_focal import plotting\ndef f():\n    import rich",
            "__main__.py": "import sys\nfrom keras_focal.cli import main",
        }
    )
    assert violations(package) == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("functional/_a.py", "from keras_focal.losses import FocalLoss"),
        ("functional/_a.py", "from keras_focal import gammas"),
        ("functional/_a.py", "def f():\n    from keras_focal.metrics import ECE"),
        ("functional/_a.py", "import scipy.special"),
        ("functional/_a.py", "import matplotlib"),
        ("functional/_backend/a.py", "from keras_focal.functional._inputs.labels import read"),
        ("functional/losses/_a.py", "from keras_focal.functional.calibration._bins import bins"),
        ("functional/losses/_a.py", "from keras_focal.functional import entropy"),
        ("_validation/a.py", "from keras_focal import functional"),
        ("gammas/_a.py", "from keras_focal.losses import get"),
        ("losses/_a.py", "from keras_focal.metrics import ECE"),
        ("metrics/_a.py", "import keras_focal.losses"),
        ("layers/_a.py", "from keras_focal import losses"),
        ("calibration/_a.py", "from keras_focal.callbacks import GammaScheduler"),
        ("callbacks/_a.py", "from keras_focal import plotting"),
        ("__init__.py", "from keras_focal import plotting"),
        ("__init__.py", "from keras_focal import beam"),
        ("__init__.py", "from keras_focal import cli"),
        ("calibration/_a.py", "from keras_focal.cli import main"),
        ("cli/_a.py", "from keras_focal import beam"),
        ("cli/_a.py", "def f():\n    import tensorflow as tf"),
        ("plotting/_a.py", "from keras_focal import cli"),
        ("__main__.py", "from keras_focal import losses"),
        ("losses/_a.py", "import rich"),
        ("plotting/_a.py", "from keras_focal.metrics import ECE"),
        ("plotting/_a.py", "from keras_focal import beam"),
        ("beam/_a.py", "from keras_focal import plotting"),
        ("calibration/_a.py", "from keras_focal.beam import CombineCalibration"),
        ("calibration/_a.py", "def f():\n    import apache_beam"),
        ("calibration/__init__.py", "from keras_focal.calibration.maps._fit import fit_map"),
        ("calibration/given/_a.py", "from keras_focal.calibration.temperature import GRID"),
        ("calibration/maps/_a.py", "from keras_focal.calibration.report import Settings"),
        ("calibration/maps/_a.py", "from keras_focal.calibration.given._arrays import Rows"),
        ("calibration/maps/_a.py", "from keras_focal.calibration import calibrate"),
        ("beam/_a.py", "from keras_focal.calibration.report._state import CalibrationState"),
        ("callbacks/_a.py", "from keras_focal.calibration._fit import fitted"),
        ("losses/_a.py", "from keras_focal import losses, plotting"),
        ("losses/_a.py", "from ..functional import focal"),
        ("losses/_a.py", "from . import _b"),
        ("losses/_a.py", "import keras_focal"),
        ("losses/_a.py", "def f():\n    import tensorflow as tf"),
        ("callbacks/_a.py", "from jax import numpy"),
        ("metrics/_a.py", "if TYPE_CHECKING:\n    import torch"),
        ("helpers/_a.py", "import math"),
        ("helpers.py", "import math"),
    ],
)
def test_planted_violation_is_reported(planted, file, source):
    assert len(violations(planted({file: source}))) == 1


def frameworks_imported(package: Path) -> set[str]:
    """Return the files outside `functional` that import TensorFlow, JAX or torch anywhere."""
    return {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if path.relative_to(package).parts[0] != "functional"
        and any(name.split(".")[0] in FRAMEWORKS for name in imported_modules(path))
    }


def test_only_functional_may_import_a_framework():
    assert frameworks_imported(PACKAGE) == set()


def test_planted_framework_import_is_reported(planted):
    package = planted(
        {
            "losses/_a.py": "def f():\n    import tensorflow as tf",
            "functional/_a.py": "def f():\n    import tensorflow as tf",
        }
    )
    assert frameworks_imported(package) == {str(Path("losses", "_a.py"))}


def test_reference_never_imports_the_package():
    roots = {name.split(".")[0] for name in imported_modules(REFERENCE)}
    assert "numpy" in roots
    assert not roots & {"keras_focal", "keras", ""}
    # Neither by name at run time.
    assert not {"importlib", "__import__"} & {
        node.id if isinstance(node, ast.Name) else node.attr
        for node in ast.walk(ast.parse(REFERENCE.read_text()))
        if isinstance(node, ast.Name | ast.Attribute)
    }
