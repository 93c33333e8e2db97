"""Train with five losses, measure calibration, calibrate, save, export, and look at the result.

    python examples/quickstart.py                        # digits, under 2 minutes on 2 cores
    python examples/quickstart.py --dataset cifar10      # downloads CIFAR-10
    python examples/quickstart.py --dataset cifar10 --data-dir DATA

CIFAR-10 is trained with the network, the augmentation and the optimiser of examples/paper, whose
README.md says what DATA may hold.

Writes quickstart_output/: results.json, reliability.png, the calibrated FLSD-53 model as
flsd53.keras and as a SavedModel, flsd53_saved_model.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import matplotlib
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from shared.digits import load_digits, small_cnn

import keras_focal
from examples.paper import data as data_sets
from examples.paper import networks
from examples.paper.data import Batches, Data, crop_and_flip
from examples.paper.files import DamagedFileError, read_json, write_json
from examples.paper.recipes import OBJECTIVES, RECIPES, Recipe

LOSSES = ("CE", "FL-1", "FL-3", "FLSc-531", "FLSD-53")
MEASURES = ("error", "nll", "ece", "ada_ece", "mce")
HEADINGS = ("error %", "NLL", "ECE %", "AdaECE %", "MCE %")
SHIPPED = "FLSD-53"
LARGEST_DIFFERENCE = 1e-4
"""Of a probability, between the calibrated model and what a fresh process makes of it."""
ROOT = Path(__file__).resolve().parents[1]

console = Console()


@dataclass(frozen=True)
class Task:
    """A data set with its network and its training."""

    load: Callable[[int], Data]
    network: Callable[[Data], keras.Model]
    recipe: Recipe


def digits_task() -> Task:
    return Task(load_digits, lambda _: small_cnn(), Recipe(30, 25, keras.optimizers.Adam, 5e-3))


def cifar10_task(data_dir: Path | None) -> Task:
    """The paper's training in 35 epochs, in which its learning rate drops twice."""
    return Task(
        lambda _: data_sets.load("cifar10", data_dir),
        lambda data: networks.build("resnet20", data),
        RECIPES["cifar10"].scaled(epochs=35),
    )


def calibration_metrics(from_logits: bool) -> list:
    return [
        "accuracy",
        keras.metrics.SparseCategoricalCrossentropy(from_logits=from_logits, name="nll"),
        keras_focal.metrics.ExpectedCalibrationError(from_logits=from_logits),
        keras_focal.metrics.AdaptiveExpectedCalibrationError(from_logits=from_logits),
        keras_focal.metrics.MaximumCalibrationError(from_logits=from_logits),
    ]


def train(task: Task, data: Data, name: str, seed: int) -> keras.Model:
    """Return a network trained with the loss of that name, measuring as it goes."""
    recipe, model = task.recipe, task.network(data)
    model.compile(
        optimizer=recipe.make_optimizer(),
        loss=keras_focal.losses.get(name, from_logits=True, reduction=OBJECTIVES[recipe.objective]),
        metrics=calibration_metrics(from_logits=True),
    )
    rate = recipe.learning_rate_at
    callbacks = [keras.callbacks.LearningRateScheduler(lambda epoch, _: rate(epoch))]
    if name.startswith("FLSc"):
        callbacks.append(keras_focal.callbacks.GammaScheduler(name))
    model.fit(
        **samples(recipe, data, seed),
        epochs=recipe.epochs,
        callbacks=callbacks,
        verbose=1 if len(data.train) > 1000 else 0,
    )
    return model


def samples(recipe: Recipe, data: Data, seed: int) -> dict[str, Any]:
    """Return what `fit` trains on. Augmentation is no part of the model: it must not be served."""
    if recipe.crop is None:
        return {"x": data.train.x, "y": data.train.y, "batch_size": recipe.batch_size}
    augment = crop_and_flip(recipe.crop)
    return {"x": Batches(data.train, recipe.batch_size, seed=seed, augment=augment)}


def measure(model: keras.Model, data: Data) -> dict[str, float]:
    """Return the measures of a compiled model on the test data."""
    logs = model.evaluate(data.test.x, data.test.y, batch_size=500, return_dict=True, verbose=0)
    return {"error": 1.0 - logs["accuracy"], **{name: logs[name] for name in MEASURES[1:]}}


def run(task: Task, name: str, seed: int) -> tuple[dict, keras.Model, keras.Model, Data]:
    """Train, measure, calibrate and measure again; return figures, both models and the data."""
    keras.utils.set_random_seed(seed)
    data = task.load(seed)
    model = train(task, data, name, seed)
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
    difference = float(np.abs(reloaded.predict(x, verbose=0) - probabilities).max())
    told("saved and reloaded", difference)
    if keras.backend.backend() == "torch":
        console.print("no SavedModel: Keras exports it from TensorFlow and JAX, not from torch")
        return
    calibrated.export(folder / "flsd53_saved_model", verbose=False)
    np.savez(folder / "check.npz", x=x, probabilities=probabilities)
    command = [sys.executable, "-c", RELOAD, folder / "flsd53_saved_model", folder / "check.npz"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise SystemExit(f"The exported model could not be served:\n{answer.stderr}")
    told("exported and served in a process without keras_focal", float(answer.stdout))


def told(what: str, difference: float) -> None:
    """Print the largest difference of a probability; stop the program if it is not small."""
    console.print(f"{what}: largest difference {difference:.1e}")
    if not difference <= LARGEST_DIFFERENCE:
        raise SystemExit(
            f"{what}: the model must give the same probabilities to {LARGEST_DIFFERENCE:g}. Does "
            f"a layer of it act at random? Received: a difference of {difference:.1e}"
        )


def publish(results: dict, rows: list[list[str]], folder: Path) -> None:
    """Put figures, table and picture of this run into docs and README."""
    (ROOT / "docs/results").mkdir(parents=True, exist_ok=True)
    (ROOT / "docs/images").mkdir(exist_ok=True)
    write_json(ROOT / "docs/results/quickstart.json", results)
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
    parser.add_argument("--data-dir", type=Path, help="folder of a local copy of CIFAR-10")
    parser.add_argument("--quick", action="store_true", help="three losses, one seed, few epochs")
    parser.add_argument("--epochs", type=int, help="epochs of each training")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each loss")
    parser.add_argument("--out", type=Path, default=Path("quickstart_output"))
    parser.add_argument("--resume", action="store_true", help="keep the finished runs in --out")
    parser.add_argument("--publish", action="store_true", help="put the results into the README")
    arguments = parser.parse_args()
    if arguments.data_dir is not None and not arguments.data_dir.is_dir():
        parser.error(f"--data-dir must be a folder. Received: {arguments.data_dir}.")
    if arguments.data_dir is not None and arguments.dataset == "digits":
        parser.error("--data-dir needs --dataset cifar10: the digits are those of scikit-learn.")
    if arguments.seeds < 1 or (arguments.epochs is not None and arguments.epochs < 1):
        parser.error("--epochs and --seeds must be at least 1.")
    return arguments


def main() -> None:
    matplotlib.use("Agg")
    arguments = parse_arguments()
    task = digits_task() if arguments.dataset == "digits" else cifar10_task(arguments.data_dir)
    losses = ("CE", "FLSc-531", "FLSD-53") if arguments.quick else LOSSES
    seeds = 1 if arguments.quick else arguments.seeds
    recipe = task.recipe
    epochs = arguments.epochs or (max(1, recipe.epochs // 10) if arguments.quick else recipe.epochs)
    task = replace(task, recipe=recipe.scaled(epochs))
    file = arguments.out / "results.json"
    results = {
        "dataset": arguments.dataset,
        "epochs": epochs,
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
        "keras_focal": keras_focal.__version__,
        "runs": {},
    }
    try:
        if arguments.resume and file.is_file():
            earlier = read_json(file)
            if all(earlier.get(key) == results[key] for key in results if key != "runs"):
                results["runs"] = earlier["runs"]
        task.load(0)
    except (DamagedFileError, OSError, ImportError) as error:
        raise SystemExit(str(error)) from error
    arguments.out.mkdir(parents=True, exist_ok=True)
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
            write_json(file, results)
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
