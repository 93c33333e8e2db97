"""Stop training on val_loss or on the refinement error, then fit a temperature: which is better?

    python examples/early_stopping.py                     # digits
    python examples/early_stopping.py --newsgroups FILE   # and 20 Newsgroups

Each seed draws a split and a network. Both rules see the same training: the same epochs in the same
order, until one of them stops it. Then the weights of the best epoch are restored, a temperature is
fitted on the validation data, and everything is measured on the test data.
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers
from shared.digits import load_digits, small_cnn
from shared.texts import read_articles

from examples.paper.data import Data, Split
from examples.paper.files import write_json
from keras_focal import calibration, callbacks, functional, metrics

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs/results/early_stopping.json"
PAGE = ROOT / "docs/early_stopping.md"
RULES = ("val_loss", "val_refinement")
HEADINGS = {
    "epoch": "epoch",
    "nll_before": "NLL at T = 1",
    "temperature": "T",
    "nll": "NLL",
    "brier": "Brier",
    "ece": "ECE %",
    "error": "error %",
}
FORMS = {"epoch": (1, 1), "temperature": (1, 2), "ece": (100, 2), "error": (100, 2)}
"""Factor and digits of what is shown; 1 and 4 of others."""
COMPARED = ("nll", "brier", "ece", "error")
HEAD = """# Stopping on val_loss or on the refinement error

Made by `python examples/early_stopping.py --newsgroups FILE --publish`; no figure is typed. Both
rules see the same training with cross-entropy and Adam, with a patience of {patience} epochs, and
restore the best epoch. A temperature T is then fitted on the validation data. All figures are of
the test data: NLL in nats, Brier score (0 to 2), ECE of 15 bins, as mean ± standard deviation over
{seeds} seeds, each with its own split and network. Everything but "NLL at T = 1" is measured at T.

The second table of each data set has the difference between the two on the same seed,
`val_refinement` minus `val_loss`, with its standard error, and the number of seeds on which
`val_refinement` is better; less is better for all four figures.
"""


@dataclass(frozen=True)
class Task:
    """A data set with its network and its training."""

    name: str
    load: Callable[[int], Data]
    network: Callable[[], keras.Model]
    learning_rate: float
    batch_size: int


def load_newsgroups(
    file: Path, seed: int, sizes: tuple[int, int, int] = (2000, 1000, 4000)
) -> Data:
    """Return tf-idf of the 5,000 most frequent words of articles, in a split drawn at random."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    articles = read_articles(file)
    rows = np.random.default_rng(seed).permutation(len(articles))[: sum(sizes)]
    parts = np.split(rows, np.cumsum(sizes)[:-1])
    texts = [[articles[row]["text"] for row in part] for part in parts]
    vectorizer = TfidfVectorizer(max_features=5000, sublinear_tf=True, stop_words="english")
    vectorizer.fit(texts[0])
    return Data(
        "newsgroups20",
        *(
            Split(
                vectorizer.transform(text).toarray().astype("float32"),
                np.array([articles[row]["label"] for row in part]),
            )
            for text, part in zip(texts, parts, strict=True)
        ),
        class_names=tuple(map(str, range(20))),
    )


def text_mlp() -> keras.Model:
    """Return a network of one hidden layer for 20 classes of text. It gives logits."""
    return keras.Sequential(
        [
            keras.Input((5000,)),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(20),
        ]
    )


def train(
    task: Task, data: Data, rule: str, seed: int, patience: int, epochs: int
) -> tuple[keras.Model, int, int]:
    """Train until a rule stops it; return the best model, its epoch from 1, and their number."""
    keras.utils.set_random_seed(seed)
    model = task.network()
    model.compile(
        keras.optimizers.Adam(task.learning_rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[metrics.RefinementError(from_logits=True)],
    )
    if rule == "val_loss":
        stop = keras.callbacks.EarlyStopping(patience=patience, restore_best_weights=True)
    else:
        stop = callbacks.RefinementStopping(patience=patience)
    history = model.fit(
        data.train.x,
        data.train.y,
        batch_size=task.batch_size,
        epochs=epochs,
        validation_data=(data.validation.x, data.validation.y),
        validation_batch_size=1000,
        callbacks=[stop],
        verbose=0,
    )
    return model, stop.best_epoch + 1, len(history.epoch)


def measure(model: keras.Model, data: Data) -> dict[str, float]:
    """Return the figures of the test data before and after a temperature."""
    fitted_to = model.predict(data.validation.x, batch_size=1000, verbose=0)
    temperature = calibration.fit_temperature(fitted_to, data.validation.y).temperature
    logits, labels = model.predict(data.test.x, batch_size=1000, verbose=0), data.test.y
    scaled = logits / np.float32(temperature)
    nll = functional.negative_log_likelihood
    mean = {
        "nll_before": nll(labels, logits, from_logits=True),
        "nll": nll(labels, scaled, from_logits=True),
        "brier": functional.brier_score(labels, scaled, from_logits=True),
        "ece": functional.expected_calibration_error(labels, scaled, from_logits=True),
    }
    figures = {name: float(np.mean(keras.ops.convert_to_numpy(x))) for name, x in mean.items()}
    error = float((logits.argmax(axis=1) != labels).mean())
    return {"temperature": temperature, "error": error, **figures}


def shown(name: str, values: np.ndarray) -> str:
    """Return mean ± standard deviation of a figure."""
    scale, digits = FORMS.get(name, (1, 4))
    return f"{scale * values.mean():.{digits}f} ± {scale * values.std(ddof=1):.{digits}f}"


def difference(name: str, values: np.ndarray) -> str:
    """Return mean ± standard error of a difference."""
    scale, digits = (100, 3) if name in ("ece", "error") else (1, 5)
    error = values.std(ddof=1) / np.sqrt(len(values))
    return f"{scale * values.mean():+.{digits}f} ± {scale * error:.{digits}f}"


def tables(name: str, runs: list[dict]) -> str:
    """Return both tables of a data set."""
    of = {rule: [run[rule] for run in runs] for rule in RULES}
    columns = {
        rule: {key: np.array([run[key] for run in of[rule]]) for key in HEADINGS} for rule in RULES
    }
    lines = [f"## {name}\n", f"| stopped on | {' | '.join(HEADINGS.values())} |"]
    lines.append("| --- |" + " --- |" * len(HEADINGS))
    for rule in RULES:
        cells = [shown(key, columns[rule][key]) for key in HEADINGS]
        lines.append(f"| `{rule}` | {' | '.join(cells)} |")
    lines += ["", "| figure at T | difference | better | equal | worse |", "| --- |" + " --- |" * 4]
    for key in COMPARED:
        change = columns["val_refinement"][key] - columns["val_loss"][key]
        counts = [int(part.sum()) for part in (change < 0, change == 0, change > 0)]
        cells = [difference(key, change), *map(str, counts)]
        lines.append(f"| {HEADINGS[key]} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def page(results: dict) -> str:
    """Return the page of results."""
    machine = ", ".join(f"{key} {results[key]}" for key in ("backend", "keras", "keras_focal"))
    head = HEAD.format(patience=results["patience"], seeds=results["seeds"])
    sets = [tables(name, runs) for name, runs in results["runs"].items()]
    return "\n".join([head, machine + "\n", *sets])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--newsgroups", type=Path, help="articles of 20 Newsgroups, .jsonl.gz")
    parser.add_argument("--seeds", type=int, default=10, help="trainings with each rule, 2 or more")
    parser.add_argument("--patience", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=200, help="epochs at most")
    parser.add_argument("--publish", action="store_true", help="write the page in docs")
    arguments = parser.parse_args()
    if arguments.newsgroups is not None and not arguments.newsgroups.is_file():
        parser.error(f"--newsgroups must be a file. Received: {arguments.newsgroups}.")
    if arguments.seeds < 2 or arguments.epochs < 1 or arguments.patience < 0:
        parser.error("--seeds must be at least 2, --epochs 1, and --patience 0.")
    return arguments


def main() -> None:
    import keras_focal

    arguments = parse_arguments()
    tasks = [Task("Digits", load_digits, small_cnn, 1e-3, 25)]
    if arguments.newsgroups is not None:
        file = arguments.newsgroups
        tasks.append(
            Task("20 Newsgroups", lambda seed: load_newsgroups(file, seed), text_mlp, 1e-3, 64)
        )
    results = {
        "made_by": "python examples/early_stopping.py --newsgroups FILE --publish",
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
        "keras_focal": keras_focal.__version__,
        "patience": arguments.patience,
        "seeds": arguments.seeds,
        "runs": {task.name: [] for task in tasks},
    }
    started = time.perf_counter()
    for task in tasks:
        for seed in range(arguments.seeds):
            data, figures = task.load(seed), {}
            for rule in RULES:
                model, best, epochs = train(
                    task, data, rule, seed, arguments.patience, arguments.epochs
                )
                figures[rule] = {"epoch": best, "epochs": epochs, **measure(model, data)}
            results["runs"][task.name].append(figures)
            for rule, found in figures.items():
                print(
                    f"{task.name}, seed {seed}, {rule}: epoch {found['epoch']} of "
                    f"{found['epochs']}, T {found['temperature']:.2f}, NLL {found['nll']:.4f}, "
                    f"error {found['error']:.2%}",
                    flush=True,
                )
        print(tables(task.name, results["runs"][task.name]), flush=True)
    print(f"{time.perf_counter() - started:.0f} s")
    if arguments.publish:
        write_json(RESULTS, results)
        PAGE.write_text(page(results))


if __name__ == "__main__":
    main()
