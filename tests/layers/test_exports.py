"""Every map gives the same probabilities from every format that Keras writes."""

import importlib.util
from functools import cache

import backends
import keras
import numpy as np
import pytest
from keras import layers as keras_layers

from keras_focal import layers

needs_tensorflow = pytest.mark.skipif(
    backends.BACKEND != "tensorflow", reason="Keras exports this format from TensorFlow"
)
# The exporters and interpreters of other packages warn of their own future.
pytestmark = pytest.mark.filterwarnings("ignore")


def maps(classes):
    """Return a layer of every map by its name."""
    rng = np.random.default_rng(0)
    edges = np.sort(rng.normal(0, 2, (classes, 4)), axis=1)
    rising = np.sort(rng.random((classes, 4)), axis=1)
    steps = np.sort(rng.random((classes, 5)), axis=1)
    ones, offsets = rng.uniform(0.5, 2, classes), rng.normal(size=classes)
    matrix = rng.normal(size=(classes, classes))
    made = {
        "temperature": layers.TemperatureScaling(2.0),
        "focal": layers.FocalPosterior(2.0, 1.5),
        "vector": layers.VectorScaling(ones, offsets),
        "matrix": layers.MatrixScaling(matrix, offsets),
        "platt": layers.PlattScaling(ones, offsets),
        "quadratic": layers.QuadraticScaling(0.1 * offsets, ones, offsets),
        "beta": layers.BetaCalibration(ones, 2 * ones, offsets),
        "ensemble": layers.EnsembleTemperatureScaling(2.0, [0.5, 0.3, 0.2]),
        "histogram": layers.HistogramBinning(edges, rng.random((classes, 5))),
        "isotonic": layers.IsotonicRegression(edges, rising),
        "venn_abers": layers.VennAbersCalibration(edges, steps / 2, steps),
    }
    if classes > 1:
        made["structured_vector"] = layers.StructuredVectorScaling(2.0, ones, offsets)
        made["structured_matrix"] = layers.StructuredMatrixScaling(2.0, matrix, offsets)
        made["dirichlet"] = layers.DirichletCalibration(matrix, offsets)
        made["temperatures"] = layers.TemperatureScaling([0.5, 1.0, 2.0, 4.0][:classes])
    return made


@cache
def shipped(classes, inputs):
    """Return inputs, and a model that gives the probabilities of every map."""
    x = 4 * np.random.default_rng(1).normal(size=(20, classes)).astype("float32")
    last = "sigmoid" if classes == 1 else "softmax"
    z = keras.Input((classes,), name="z")
    given = z if inputs == "logits" else keras_layers.Activation(last)(z)
    outputs = {}
    for name, layer in maps(classes).items():
        taking = type(layer).from_config({**layer.get_config(), "inputs": inputs})
        outputs[name] = keras_layers.Activation(last, name=name)(taking(given))
    model = keras.Model(z, outputs)
    return x, model, {name: np.asarray(p) for name, p in model(x).items()}


def from_onnx(model, folder, x):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    model.export(folder / "m.onnx", format="onnx", verbose=False)
    served = onnxruntime.InferenceSession(folder / "m.onnx")
    names = [part.name for part in served.get_outputs()]
    return dict(zip(names, served.run(None, {"z": x}), strict=True))


def from_litert(model, folder, x):
    if importlib.util.find_spec("keras.src.export.litert") is None:
        pytest.skip("Keras exports to LiteRT from 3.13 on")
    model.export(folder / "m.tflite", format="litert", verbose=False)
    try:
        kind = importlib.import_module("ai_edge_litert.interpreter").Interpreter
    except ImportError:
        kind = importlib.import_module("tensorflow").lite.Interpreter
    return kind(str(folder / "m.tflite")).get_signature_runner("serving_default")(z=x)


def from_openvino(model, folder, x):
    openvino = pytest.importorskip("openvino")
    model.export(str(folder / "m.xml"), format="openvino", verbose=False)
    # Else matrices are multiplied in bfloat16 where the processor has it.
    how = {"INFERENCE_PRECISION_HINT": "f32"}
    found = openvino.Core().compile_model(folder / "m.xml", "CPU", how)([x])
    return {part.get_any_name(): value for part, value in found.items()}


FORMATS = {"onnx": from_onnx, "litert": from_litert, "openvino": from_openvino}


@pytest.mark.nightly
@needs_tensorflow
@pytest.mark.parametrize(
    ("classes", "inputs"),
    [
        (1, "probabilities"),
        (3, "logits"),
        pytest.param(1, "logits", marks=pytest.mark.nightly),
        pytest.param(3, "probabilities", marks=pytest.mark.nightly),
    ],
)
@pytest.mark.parametrize("format", FORMATS)
def test_every_map_is_served_alike_as_one_of_several_outputs(format, classes, inputs, tmp_path):
    x, model, expected = shipped(classes, inputs)
    found = FORMATS[format](model, tmp_path, x)
    assert len(found) == len(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-5, err_msg=name)


@needs_tensorflow
@pytest.mark.parametrize(
    "name",
    [
        "dirichlet",
        "isotonic",
        *(
            pytest.param(name, marks=pytest.mark.nightly)
            for name in ("focal", "beta", "histogram", "venn_abers")
        ),
    ],
)
def test_map_is_served_alike_as_the_one_output(name, tmp_path):
    x, model, expected = shipped(3, "logits")
    alone = keras.Model(model.input, model.output[name])
    alone(x)  # the exporter refuses a model that was never called
    (found,) = from_onnx(alone, tmp_path, x).values()
    np.testing.assert_allclose(found, expected[name], atol=1e-5)
