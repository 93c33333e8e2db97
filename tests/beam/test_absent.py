"""Without Apache Beam the package works, and the room that needs it says what to install."""

import importlib
import sys

import pytest

import keras_focal


@pytest.fixture
def without_beam(monkeypatch):
    for name in [*sys.modules]:
        if name == "keras_focal.beam" or name.startswith("keras_focal.beam."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(vars(keras_focal), "beam", raising=False)
    monkeypatch.setitem(sys.modules, "apache_beam", None)


@pytest.mark.usefixtures("without_beam")
@pytest.mark.parametrize(
    "reach",
    [lambda: importlib.import_module("keras_focal.beam"), lambda: keras_focal.beam],
    ids=["import", "attribute"],
)
def test_error_names_what_to_install(reach):
    with pytest.raises(ImportError, match=r'pip install "keras-focal\[beam\]"'):
        reach()


@pytest.mark.usefixtures("without_beam")
def test_import_star_does_without():
    names = {}
    exec("from keras_focal import *", names)
    assert "metrics" in names
    assert "beam" not in names
