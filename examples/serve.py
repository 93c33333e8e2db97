"""Serve a calibrated classifier: the REST requests of TensorFlow Serving against its SavedModel.

    python examples/serve.py                 # digits, half a minute

The same request goes to a TensorFlow Serving server, which reads the same folder:

    curl -d '{"signature_name": "serving_default", "instances": [...]}' \
        http://localhost:8501/v1/models/digits:predict

Here a server of the standard library answers it, on this machine only. Writes serve_output/: the
model as a SavedModel, digits/1, with the version folder that TensorFlow Serving wants.
"""

import argparse
import http.client
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from rich import box
from rich.console import Console
from rich.table import Table
from shared.digits import load_digits, small_cnn

import keras_focal
from examples.paper.data import Data

PATH = "/v1/models/digits:predict"

console = Console()


def train(data: Data, epochs: int) -> keras.Model:
    """Return a network that gives logits."""
    model = small_cnn()
    model.compile(keras.optimizers.Adam(5e-3), keras_focal.losses.get("CE", from_logits=True))
    model.fit(data.train.x, data.train.y, batch_size=25, epochs=epochs, verbose=0)
    return model


class Signatures:
    """A SavedModel that answers requests as TensorFlow Serving does, without Keras."""

    def __init__(self, folder: Path):
        self.model = tf.saved_model.load(str(folder))

    def predict(self, request: Any) -> dict[str, Any]:
        """Return {"predictions": one entry for each of the instances}.

        An instance is the value of the one input or {input: value}; an entry is the value of the
        one output or {output: value}.

        Raises:
            ValueError: If the request names no signature of the model, or does not fit its inputs.
        """
        if not isinstance(request, dict):
            raise ValueError("Request body must be a JSON object")
        name = request.get("signature_name", "serving_default")
        if name not in self.model.signatures:
            raise ValueError(f"Serving signature name: {name!r} not found in signature def")
        signature = self.model.signatures[name]
        instances = request.get("instances")
        if not isinstance(instances, list) or not instances:
            raise ValueError("Request body must have a list of instances")
        specs = signature.structured_input_signature[1]
        if len(specs) == 1 and not isinstance(instances[0], dict):
            instances = [{next(iter(specs)): instance} for instance in instances]
        try:
            inputs = {
                name: tf.constant([instance[name] for instance in instances], spec.dtype)
                for name, spec in specs.items()
            }
            if not all(spec.is_compatible_with(inputs[name]) for name, spec in specs.items()):
                raise ValueError("shapes differ")
            found = {name: value.numpy().tolist() for name, value in signature(**inputs).items()}
        except (KeyError, TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
            raise ValueError(f"Instances do not fit the inputs {sorted(specs)}") from error
        if len(found) == 1:
            return {"predictions": next(iter(found.values()))}
        rows = zip(*found.values(), strict=True)
        return {"predictions": [dict(zip(found, row, strict=True)) for row in rows]}


@contextmanager
def server(signatures: Signatures) -> Iterator[int]:
    """Answer requests to `PATH` on this machine; yields the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            try:
                if self.path != PATH:
                    raise ValueError(f"Not found: {self.path}")
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, answer = 200, signatures.predict(json.loads(body))
            except ValueError as error:
                status, answer = 400, {"error": str(error)}
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            """Say nothing of each request."""

    http_server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http_server.serve_forever)
    thread.start()
    try:
        yield http_server.server_port
    finally:
        http_server.shutdown()
        thread.join()
        http_server.server_close()


def post(port: int, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Return the status and the answer of a request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", PATH, json.dumps(request))
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def table_of(data: Data, before: np.ndarray, served: list[dict], size: int) -> Table:
    """Return a table of the images that the network is most wrongly sure of."""
    labels = data.test.y[: len(served)]
    predicted = before.argmax(axis=1)
    order = np.lexsort((-before.max(axis=1), predicted == labels))[:size]
    table = Table(
        *("digit", "taken for", "probability before %", "served %"),
        title="Mistakes first, the most confident ones on top",
        box=box.SIMPLE_HEAD,
    )
    for i in order:
        after = served[i]["probabilities"][predicted[i]]
        cells = (labels[i], predicted[i], f"{before[i].max():.1%}", f"{after:.1%}")
        table.add_row(*(str(cell).rstrip("%") for cell in cells))
    return table


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=30, help="epochs of the training")
    parser.add_argument("--instances", type=int, default=500, help="images in the request")
    parser.add_argument("--out", type=Path, default=Path("serve_output"))
    arguments = parser.parse_args()
    if arguments.epochs < 1 or arguments.instances < 1:
        parser.error("--epochs and --instances must be at least 1.")
    if keras.backend.backend() == "torch":
        parser.error("Keras exports a SavedModel from TensorFlow and JAX. Set KERAS_BACKEND.")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    keras.utils.set_random_seed(0)
    data = load_digits(0)
    model = train(data, arguments.epochs)
    calibrated, fit = keras_focal.calibration.calibrate(
        model,
        data.validation.x,
        data.validation.y,
        from_logits=True,
        outputs="all",
        return_fit=True,
        verbose=0,
    )
    folder = arguments.out / "digits" / "1"
    calibrated.export(folder, verbose=False)
    console.print(
        f"T = {fit.temperature:.2f}: ECE on held-out data {fit.ece_before:.2%} before, "
        f"{fit.ece_after:.2%} after; SavedModel in {folder}"
    )
    x = data.test.x[: arguments.instances]
    request = {"signature_name": "serving_default", "instances": x.tolist()}
    with server(Signatures(folder)) as port:
        status, answer = post(port, request)
        refused, reason = post(port, {**request, "signature_name": "other"})
    if status != 200:
        raise SystemExit(f"The request was refused: {answer['error']}.")
    served = answer["predictions"]
    before = keras.ops.convert_to_numpy(keras.ops.softmax(model.predict(x, verbose=0)))
    console.print(table_of(data, before, served, size=8))
    console.print(
        f"POST {PATH}: {status}, {len(served)} predictions of {sorted(served[0])}; of an unknown "
        f"signature: {refused}, {reason['error']}"
    )
    expected = calibrated.predict(x, verbose=0)
    for name in ("logits", "probabilities"):
        found = np.array([prediction[name] for prediction in served])
        console.print(f"{name}: largest difference {np.abs(found - expected[name]).max():.1e}")


if __name__ == "__main__":
    main()
