"""A calibrated network for 32 x 32 images gives the same probabilities from every file format."""

import importlib
import subprocess
import sys
from pathlib import Path

import backends
import keras
import numpy as np
import pytest
from keras import layers
from networks import noisy_labels, predict

from keras_focal.calibration import calibrate

ROOT = Path(__file__).resolve().parents[2]
FORMS = {
    "layer": {},
    "folded": {"fold": True},
    "all": {"outputs": "all"},
    "all_folded": {"outputs": "all", "fold": True},
}

needs_tensorflow = pytest.mark.skipif(
    backends.BACKEND != "tensorflow", reason="Keras exports this format from TensorFlow"
)
# The exporters and interpreters of other packages warn of their own future.
lenient = pytest.mark.filterwarnings("ignore")


def network(images):
    x = layers.Conv2D(8, 3, strides=2, activation="relu")(images)
    x = layers.BatchNormalization()(x)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, activation="relu")(x))
    kernel = keras.initializers.RandomNormal(stddev=20.0, seed=0)
    return layers.Dense(10, kernel_initializer=kernel)(x)


@pytest.fixture(scope="module")
def shipped():
    """Images and, by form, the calibrated network with what it gives."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.random((40, 32, 32, 3)).astype("float32")
    images = keras.Input((32, 32, 3), name="images")
    model = keras.Model(images, network(images))
    y = noisy_labels(predict(model, x), rng)
    made = {
        form: calibrate(model, x, y, from_logits=True, verbose=0, **kwargs)
        for form, kwargs in FORMS.items()
    }
    return x, {form: (model, predict(model, x)) for form, model in made.items()}


def run(script, *arguments):
    command = [sys.executable, "-c", script, *map(str, arguments)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert answer.returncode == 0, answer.stderr


def assert_outputs_agree(found, expected, atol=1e-5):
    """Compare outputs by name; one bare output may have any name."""
    if not isinstance(expected, dict):
        (name,) = found
        expected = {name: expected}
    assert {*found} == {*expected}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=atol)


SERVE = """
import sys
sys.modules["keras"] = sys.modules["keras_focal"] = None  # importing either is an error
import numpy as np, tensorflow as tf
folder = sys.argv[1]
x = tf.constant(np.load(folder + "/x.npy"))
for form in sys.argv[2:]:
    model = tf.saved_model.load(folder + "/" + form)
    out = model.signatures["serving_default"](x)
    weights = {weight.name: weight.numpy() for weight in model.variables}
    logs = [value for name, value in weights.items() if "log_temperature" in name]
    outputs = {name: value.numpy() for name, value in out.items()}
    np.savez(folder + "/" + form + "_served.npz", temperatures=np.exp(logs), **outputs)
assert sys.modules["keras"] is sys.modules["keras_focal"] is None
del sys.modules["keras"], sys.modules["keras_focal"]
"""
RELOAD = """
import sys
import keras, numpy as np, keras_focal
folder = sys.argv[1]
x = np.load(folder + "/x.npy")
for form in sys.argv[2:]:
    found = keras.models.load_model(folder + "/" + form + ".keras").predict(x, verbose=0)
    found = found if isinstance(found, dict) else {"output": found}
    np.savez(folder + "/" + form + ".npz", **found)
"""


@pytest.fixture(scope="module")
def elsewhere(shipped, tmp_path_factory):
    """A folder with what a process that has made no model gets from the files, by form."""
    folder = tmp_path_factory.mktemp("formats")
    x, made = shipped
    np.save(folder / "x.npy", x)
    is_exported = backends.BACKEND != "torch"
    for form, (model, _) in made.items():
        model.save(folder / f"{form}.keras")
        if is_exported:
            model.export(folder / form, verbose=False)
    run(SERVE + RELOAD if is_exported else RELOAD, folder, *made)
    return folder


@pytest.mark.nightly
def test_saved_model_is_the_same_in_a_fresh_process(shipped, elsewhere):
    for form, (_, expected) in shipped[1].items():
        assert_outputs_agree(np.load(elsewhere / f"{form}.npz"), expected, atol=1e-6)


@pytest.mark.skipif(backends.BACKEND == "torch", reason="Keras exports no SavedModel from torch")
@pytest.mark.nightly
def test_exported_model_is_served_without_keras(shipped, elsewhere):
    for form, (model, expected) in shipped[1].items():
        found = dict(np.load(elsewhere / f"{form}_served.npz"))
        temperatures = found.pop("temperatures")
        assert_outputs_agree(found, expected)
        if "folded" in form:
            assert temperatures.size == 0
        else:
            temperature = model.get_layer("temperature").temperature
            assert temperatures == pytest.approx([temperature])


@needs_tensorflow
@lenient
@pytest.mark.parametrize("form", FORMS)
def test_onnx_runtime_gives_the_same(shipped, form, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    x, (model, expected) = shipped[0], shipped[1][form]
    model.export(tmp_path / "m.onnx", format="onnx", verbose=False)
    served = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    assert [part.name for part in served.get_inputs()] == ["images"]
    names = [part.name for part in served.get_outputs()]
    found = dict(zip(names, served.run(None, {"images": x}), strict=True))
    assert_outputs_agree(found, expected)


@needs_tensorflow
@lenient
def test_folded_onnx_has_the_operations_of_the_model(shipped, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("tf2onnx")
    folded = shipped[1]["folded"][0]
    images = keras.Input((32, 32, 3))
    plain = keras.Model(images, layers.Softmax()(network(images)))
    plain(images)
    operations = []
    for model in (folded, plain):
        model.export(tmp_path / "m.onnx", format="onnx", verbose=False)
        graph = onnx.load(tmp_path / "m.onnx").graph
        operations.append(sorted(node.op_type for node in graph.node))
    assert operations[0] == operations[1]


def interpreter(file):
    """Return a LiteRT interpreter, from its own package or else from TensorFlow's."""
    try:
        return importlib.import_module("ai_edge_litert.interpreter").Interpreter(str(file))
    except ImportError:
        lite = pytest.importorskip("tensorflow").lite
        return lite.Interpreter(str(file))


@needs_tensorflow
@lenient
@pytest.mark.parametrize("form", ["layer", "all_folded"])
def test_litert_interpreter_gives_the_same(shipped, form, tmp_path):
    x, (model, expected) = shipped[0], shipped[1][form]
    model.export(tmp_path / "m.tflite", format="litert", verbose=False)
    serve = interpreter(tmp_path / "m.tflite").get_signature_runner("serving_default")
    assert_outputs_agree(serve(images=x), expected)


@needs_tensorflow
@pytest.mark.parametrize("endpoint", ["serve", "serving_default"])
def test_exported_model_of_another_hand_is_calibrated(rng, endpoint, tmp_path):
    features = keras.Input((4,))
    kernel = keras.initializers.RandomNormal(stddev=2.0, seed=0)
    outputs = layers.Dense(3, "softmax", kernel_initializer=kernel)(features)
    model = keras.Model(features, outputs)
    x = rng.normal(size=(200, 4)).astype("float32")
    y = noisy_labels(np.log(predict(model, x)), rng)
    expected = predict(calibrate(model, x, y, verbose=0), x)
    model.export(tmp_path / "given", verbose=False)

    layer = layers.TFSMLayer(tmp_path / "given", call_endpoint=endpoint)
    loaded = keras.Sequential([keras.Input((4,)), layer])
    given = predict(loaded, x)
    calibrated = calibrate(loaded, x, y, verbose=0)
    found = predict(calibrated, x)
    assert type(found) is type(given)
    found = found["output_0"] if isinstance(found, dict) else found
    np.testing.assert_allclose(found, expected, atol=1e-6)
    calibrated.export(tmp_path / "ours", verbose=False)
    served = layers.TFSMLayer(tmp_path / "ours", call_endpoint="serving_default")(x)
    assert_outputs_agree(
        {name: value.numpy() for name, value in served.items()}, {"output_0": expected}
    )
    with pytest.raises(ValueError, match=r"is of type TFSMLayer, not .* Pass fold=False"):
        calibrate(loaded, x, y, fold=True, verbose=0)
