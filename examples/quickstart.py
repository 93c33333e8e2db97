"""Train with five losses, measure calibration, calibrate, save, export, and look at the result.

    python examples/quickstart.py                        # digits, under 2 minutes on 2 cores
    python examples/quickstart.py --dataset cifar10      # downloads CIFAR-10
    python examples/quickstart.py --dataset cifar10 --data cifar10.npz

Writes quickstart_output/: results.json, reliability.png, the calibrated FLSD-53 model as
flsd53.keras and as a SavedModel, flsd53_saved_model.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import matplotlib
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from shared.vision import Data, load_cifar10, load_digits, resnet, small_cnn

import keras_focal

LOSSES = ("CE", "FL-1", "FL-3", "FLSc-531", "FLSD-53")
MEASURES = ("error", "nll", "ece", "ada_ece", "mce")
HEADINGS = ("error %", "NLL", "ECE %", "AdaECE %", "MCE %")
SHIPPED = "FLSD-53"
ROOT = Path(__file__).resolve().parents[1]

console = Console()


@dataclass(frozen=True)
class Task:
    """A data set with its network and its training."""

    load: Callable[[int], Data]
    network: Callable[[], keras.Model]
    optimizer: Callable[[int], keras.optimizers.Optimizer]
    batch_size: int
    epochs: int


def digits_task() -> Task:
    return Task(load_digits, small_cnn, lambda steps: keras.optimizers.Adam(5e-3), 25, 30)


def cifar10_task(file: Path | None) -> Task:
    """The paper's training, shortened: its learning rate drops at 3/7 and 5/7 of the epochs."""

    def optimizer(steps: int) -> keras.optimizers.Optimizer:
        rate = keras.optimizers.schedules.PiecewiseConstantDecay(
            [steps * 3 // 7, steps * 5 // 7], [0.1, 0.01, 0.001]
        )
        return keras.optimizers.SGD(rate, momentum=0.9, weight_decay=5e-4)

    return Task(lambda seed: load_cifar10(seed, file), resnet, optimizer, 128, 35)


def calibration_metrics(from_logits: bool) -> list:
    return [
        "accuracy",
        keras.metrics.SparseCategoricalCrossentropy(from_logits=from_logits, name="nll"),
        keras_focal.metrics.ExpectedCalibrationError(from_logits=from_logits),
        keras_focal.metrics.AdaptiveExpectedCalibrationError(from_logits=from_logits),
        keras_focal.metrics.MaximumCalibrationError(from_logits=from_logits),
    ]


def train(task: Task, data: Data, name: str) -> keras.Model:
    """Return a network trained with the loss of that name, measuring as it goes."""
    steps = task.epochs * -(-len(data.train.x) // task.batch_size)
    model = task.network()
    model.compile(
        optimizer=task.optimizer(steps),
        loss=keras_focal.losses.get(name, from_logits=True),
        metrics=calibration_metrics(from_logits=True),
    )
    callbacks = [keras_focal.callbacks.GammaScheduler(name)] if name.startswith("FLSc") else []
    model.fit(
        data.train.x,
        data.train.y,
        batch_size=task.batch_size,
        epochs=task.epochs,
        callbacks=callbacks,
        verbose=1 if len(data.train.x) > 1000 else 0,
    )
    return model


def measure(model: keras.Model, data: Data) -> dict[str, float]:
    """Return the measures of a compiled model on the test data."""
    logs = model.evaluate(data.test.x, data.test.y, batch_size=500, return_dict=True, verbose=0)
    return {"error": 1.0 - logs["accuracy"], **{name: logs[name] for name in MEASURES[1:]}}


def run(task: Task, name: str, seed: int) -> tuple[dict, keras.Model, keras.Model, Data]:
    """Train, measure, calibrate and measure again; return figures, both models and the data."""
    keras.utils.set_random_seed(seed)
    data = task.load(seed)
    model = train(task, data, name)
    calibrated = keras_focal.calibration.calibrate(
        model, data.validation.x, data.validation.y, from_logits=True, verbose=0
    )
    calibrated.compile(
        loss=keras_focal.losses.get("CE"), metrics=calibration_metrics(from_logits=False)
    )
    figures = {
        "before": measure(model, data),
        "temperature": calibrated.get_layer("temperature").temperature,
        "after": measure(calibrated, data),
    }
    return figures, model, calibrated, data


def summary_rows(runs: dict[str, dict], losses: tuple[str, ...]) -> list[list[str]]:
    """Return the rows of the table: mean and spread over seeds, before and after scaling."""
    rows = []
    for name in losses:
        of_loss = [figures for key, figures in runs.items() if key.startswith(f"{name}/")]
        temperatures = np.array([figures["temperature"] for figures in of_loss])
        for stage, label in (("before", "1"), ("after", f"{temperatures.mean():.2f}")):
            row = [name, label]
            for measure_name in MEASURES:
                values = np.array([figures[stage][measure_name] for figures in of_loss])
                scale, digits = (1.0, 3) if measure_name == "nll" else (100.0, 2)
                mean = scale * values.mean()
                spread = scale * values.std(ddof=1) if len(values) > 1 else 0.0
                row.append(f"{mean:.{digits}f}±{spread:.{digits}f}")
            rows.append(row)
    return rows


def draw(models: dict[str, keras.Model], data: Data, file: Path) -> None:
    """Draw the reliability of models side by side."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        1, len(models), figsize=(4.4 * len(models), 5.0), layout="constrained"
    )
    for ax, (title, model) in zip(axes, models.items(), strict=True):
        logits = model.predict(data.test.x, verbose=0)
        keras_focal.plotting.reliability_diagram(
            data.test.y, logits, from_logits=True, ax=ax, title=title
        )
    figure.savefig(file, dpi=110)
    plt.close(figure)


RELOAD = """
import sys
import numpy as np, tensorflow as tf
folder, file = sys.argv[1:]
arrays = np.load(file)
model = tf.saved_model.load(folder)
served = model.serve(tf.constant(arrays["x"]))
assert "keras_focal" not in sys.modules
print(float(np.abs(served.numpy() - arrays["probabilities"]).max()))
"""


def ship(calibrated: keras.Model, data: Data, folder: Path) -> None:
    """Save and export the calibrated model, and compare what a fresh process makes of it."""
    x = data.test.x[:200]
    probabilities = calibrated.predict(x, verbose=0)
    calibrated.save(folder / "flsd53.keras")
    reloaded = keras.models.load_model(folder / "flsd53.keras", compile=False)
    difference = np.abs(reloaded.predict(x, verbose=0) - probabilities).max()
    console.print(f"saved and reloaded: largest difference {difference:.1e}")
    if keras.backend.backend() == "torch":
        console.print("no SavedModel: Keras exports it from TensorFlow and JAX, not from torch")
        return
    calibrated.export(folder / "flsd53_saved_model", verbose=False)
    np.savez(folder / "check.npz", x=x, probabilities=probabilities)
    command = [sys.executable, "-c", RELOAD, folder / "flsd53_saved_model", folder / "check.npz"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise SystemExit(f"The exported model could not be served:\n{answer.stderr}")
    console.print(
        "exported and served in a process without keras_focal: largest difference "
        f"{float(answer.stdout):.1e}"
    )


def publish(results: dict, rows: list[list[str]], folder: Path) -> None:
    """Put figures, table and picture of this run into docs and README."""
    (ROOT / "docs/results").mkdir(parents=True, exist_ok=True)
    (ROOT / "docs/images").mkdir(exist_ok=True)
    (ROOT / "docs/results/quickstart.json").write_text(json.dumps(results, indent=1) + "\n")
    picture = (folder / "reliability.png").read_bytes()
    (ROOT / "docs/images/quickstart_reliability.png").write_bytes(picture)
    lines = [
        "| " + " | ".join(("loss", "T", *HEADINGS)) + " |",
        "|" + " --- |" * (len(HEADINGS) + 2),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
    readme = (ROOT / "README.md").read_text()
    begin, end = "<!-- quickstart table -->\n", "<!-- end of quickstart table -->"
    head, rest = readme.split(begin)
    tail = rest.split(end)[1]
    (ROOT / "README.md").write_text(head + begin + "\n".join(lines) + "\n" + end + tail)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", choices=("digits", "cifar10"), default="digits")
    parser.add_argument("--data", type=Path, help="local .npz of CIFAR-10")
    parser.add_argument("--quick", action="store_true", help="three losses, one seed, few epochs")
    parser.add_argument("--epochs", type=int, help="epochs of each training")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each loss")
    parser.add_argument("--out", type=Path, default=Path("quickstart_output"))
    parser.add_argument("--resume", action="store_true", help="keep the finished runs in --out")
    parser.add_argument("--publish", action="store_true", help="put the results into the README")
    arguments = parser.parse_args()
    if arguments.data is not None and not arguments.data.is_file():
        parser.error(f"--data must be a file. Received: {arguments.data}.")
    if arguments.seeds < 1 or (arguments.epochs is not None and arguments.epochs < 1):
        parser.error("--epochs and --seeds must be at least 1.")
    return arguments


def main() -> None:
    matplotlib.use("Agg")
    arguments = parse_arguments()
    task = digits_task() if arguments.dataset == "digits" else cifar10_task(arguments.data)
    losses = ("CE", "FLSc-531", "FLSD-53") if arguments.quick else LOSSES
    seeds = 1 if arguments.quick else arguments.seeds
    epochs = arguments.epochs or (max(1, task.epochs // 10) if arguments.quick else task.epochs)
    task = Task(task.load, task.network, task.optimizer, task.batch_size, epochs)
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / "results.json"
    results = {
        "dataset": arguments.dataset,
        "epochs": epochs,
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
        "keras_focal": keras_focal.__version__,
        "runs": {},
    }
    if arguments.resume and file.is_file():
        earlier = json.loads(file.read_text())
        if all(earlier.get(key) == results[key] for key in results if key != "runs"):
            results["runs"] = earlier["runs"]
    started = time.perf_counter()
    console.print(
        f"{arguments.dataset}: {len(losses)} losses x {seeds} seeds, {epochs} epochs each, on "
        f"{keras.backend.backend()}"
    )
    shown: dict[str, keras.Model] = {}
    for seed in range(seeds):
        for name in losses:
            key = f"{name}/{seed}"
            is_shown = seed == 0 and name in ("CE", SHIPPED)
            if key in results["runs"] and not is_shown:
                continue
            figures, model, calibrated, data = run(task, name, seed)
            results["runs"][key] = figures
            file.write_text(json.dumps(results, indent=1))
            done = f"[{len(results['runs'])}/{len(losses) * seeds}]"
            console.print(
                f"{done:>8} {name:9} seed {seed}: error {figures['before']['error']:6.2%}, ECE "
                f"{figures['before']['ece']:6.2%}, at T = {figures['temperature']:.2f} "
                f"{figures['after']['ece']:6.2%}",
                highlight=False,
            )
            if is_shown:
                shown[name] = model
            if is_shown and name == SHIPPED:
                draw(shown, data, arguments.out / "reliability.png")
                ship(calibrated, data, arguments.out)
    rows = summary_rows(results["runs"], losses)
    table = Table(
        *("loss", "T", *HEADINGS),
        title="Test set, before and after temperature scaling",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for row in rows:
        table.add_row(*row, end_section=row[1] != "1")
    console.print(table)
    console.print(
        f"mean ± standard deviation over {seeds} seeds; {time.perf_counter() - started:.0f} s; "
        f"pictures and models in {arguments.out}/"
    )
    if arguments.publish:
        publish(results, rows, arguments.out)


if __name__ == "__main__":
    main()
