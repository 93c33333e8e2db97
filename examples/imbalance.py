"""Rare classes: focal loss against class weights, resampling, SMOTE and logit adjustment.

scikit-learn's handwritten digits and breast cancers, and with `--data-dir` 20 Newsgroups, are
thinned: half of the classes keep one training example where the others have 50. The same network
with one hidden layer is then trained for the same number of steps with each remedy:

- *class weights*: cross-entropy with weights proportional to 1 / (rows of the class);
- *over-sampling*: rows of the rare classes are repeated; *under-sampling*: rows of the others are
  left out; *SMOTE*: rows between neighbours of a rare class are made up (imbalanced-learn);
- *focal*: gamma 2; *focal, balanced*: gamma 2 with `class_balanced_alpha` (Cui et al., 2019);
- *logit adjustment*: cross-entropy of the logits plus the logarithms of the shares of the classes,
  which are left out to predict (Menon et al., 2021).

Balanced accuracy is the mean recall of the classes and AUPRC the mean area under their
precision-recall curves. AUPRC, ECE and NLL are those of data with classes as rare as in training:
test rows are weighted accordingly. NLL at T is the NLL after a temperature was fitted on held-out
rows. The step time is the processor time of training, as a ratio to cross-entropy, taken in turns
with it; resampling changes the rows, not the step.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler
from keras import layers
from shared.dots import draw_dots
from shared.study import SEPARATOR, Figure, Run, Study, data_sets
from shared.texts import FILE, WANTED, read_articles
from shared.thinned import thin
from sklearn import datasets, preprocessing
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import average_precision_score

from keras_focal import calibration, functional, losses

BALANCED = Figure("balanced", "balanced accuracy %", "more", 100, 1)
NLL = Figure("nll", "NLL")
STUDY = Study(
    "imbalance",
    __doc__,
    baseline="cross-entropy",
    figures=[
        BALANCED,
        Figure("auprc", "AUPRC %", "more", 100, 1),
        Figure("ece", "ECE %", "less", 100, 2),
        NLL,
        Figure("nll_at_t", "NLL at T"),
        Figure("step", "step time", "neither", 1, 2),
    ],
    command="--data-dir newsgroups20",
)


@dataclass(frozen=True)
class Task:
    """A data set, how it becomes numbers, its rare classes, and its split by class."""

    load: Callable[[], tuple[Any, np.ndarray]]
    features: Callable[[], Any]
    rare: tuple[int, ...]
    train: int
    held_out: int
    test: int


@dataclass(frozen=True)
class Data:
    """Features, class ids and weights of three parts, and the training rows of each class."""

    train: tuple[np.ndarray, np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray, np.ndarray]
    counts: np.ndarray


def newsgroups(folder: Path) -> tuple[Any, np.ndarray]:
    articles = read_articles(folder / FILE)
    texts = np.array([article["text"] for article in articles], dtype=object)
    return texts, np.array([article["label"] for article in articles])


def tasks(folder: Path | None) -> dict[str, Task]:
    """Return the data sets. Of the cancers the malignant ones are rare, of others every second."""
    odd, scale = tuple(range(1, 20, 2)), preprocessing.StandardScaler
    digits, cancers = (
        partial(load, return_X_y=True)
        for load in (datasets.load_digits, datasets.load_breast_cancer)
    )
    found = {
        "Digits": Task(digits, scale, odd[:5], train=100, held_out=20, test=60),
        "Breast cancer": Task(cancers, scale, (0,), train=200, held_out=50, test=110),
    }
    if folder is not None:
        words = {"max_features": 2000, "sublinear_tf": True, "stop_words": "english"}
        tf_idf, articles = partial(TfidfVectorizer, **words), newsgroups(folder)
        found["20 Newsgroups"] = Task(lambda: articles, tf_idf, odd, 200, held_out=50, test=150)
    return found


@lru_cache(maxsize=3)
def prepared(task: Task, seed: int) -> Data:
    """Return the features of a split. They are fitted to the training rows."""
    x, y = task.load()
    sizes = {"train": task.train, "held_out": task.held_out, "test": task.test}
    split = thin(y, task.rare, **sizes, seed=seed)
    features = task.features().fit(x[split.train])
    parts = {}
    for name in ("train", "validation", "test"):
        rows = getattr(split, name)
        found = features.transform(x[rows])
        dense = found.toarray() if hasattr(found, "toarray") else found
        parts[name] = (dense.astype("float32"), y[rows], split.weights(rows))
    return Data(counts=split.counts, **parts)


class Batches(keras.utils.PyDataset):
    """So many batches of rows in random order, as often as it takes. All have the same size."""

    def __init__(self, x: np.ndarray, y: np.ndarray, steps: int, seed: int, batch_size: int = 32):
        super().__init__()
        rng, size = np.random.default_rng(seed), steps * batch_size
        passes = [rng.permutation(len(x)) for _ in range(-(-size // len(x)))]
        self.rows = np.concatenate(passes)[:size].reshape(steps, batch_size)
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        return self.x[self.rows[step]], self.y[self.rows[step]]


def remedies(counts: np.ndarray, seed: int) -> dict[str, dict[str, Any]]:
    """Return what differs between the settings, for classes of so many rows."""
    neighbors = min(5, counts.min() - 1)
    focal = partial(losses.SparseCategoricalFocalCrossentropy, gamma=2.0, from_logits=True)
    return {
        "cross-entropy": {},
        "class weights": {"class_weight": dict(enumerate(counts.sum() / len(counts) / counts))},
        "over-sampling": {"sampler": RandomOverSampler(random_state=seed)},
        "under-sampling": {"sampler": RandomUnderSampler(random_state=seed)},
        "SMOTE": {"sampler": SMOTE(random_state=seed, k_neighbors=neighbors)},
        "focal": {"loss": focal()},
        "focal, balanced": {"loss": focal(alpha=losses.class_balanced_alpha(counts))},
        "logit adjustment": {"shift": np.log(counts / counts.sum()).astype("float32")},
    }


def compiled(width: int, counts: np.ndarray, remedy: dict[str, Any]) -> tuple:
    """Return a network that gives logits, and the model that trains it."""
    network = keras.Sequential(
        [
            keras.Input((width,)),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(len(counts)),
        ]
    )
    trainer = network
    if "shift" in remedy:
        trainer = keras.Model(network.inputs[0], network.outputs[0] + remedy["shift"])
    loss = remedy.get("loss", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    trainer.compile(keras.optimizers.Adam(1e-3), loss)
    return network, trainer


@cache
def reference(width: int, classes: int) -> keras.Model:
    """Return what the time of a step is compared with."""
    return compiled(width, np.ones(classes), {})[1]


def train(task: Task, name: str, epochs: int, seed: int) -> Run:
    """Train with a remedy, and return the figures of the test rows."""
    data = prepared(task, seed)
    x, y, _ = data.train
    remedy = remedies(data.counts, seed)[name]
    network, trainer = compiled(x.shape[1], data.counts, remedy)
    sampled = remedy["sampler"].fit_resample(x, y) if "sampler" in remedy else (x, y)
    fit = partial(trainer.fit, class_weight=remedy.get("class_weight"), verbose=0)
    fit(Batches(*sampled, steps=epochs * len(x) // 32, seed=seed))
    held_out, logits = (
        keras.ops.convert_to_numpy(network(part[0], training=False))
        for part in (data.validation, data.test)
    )
    _, labels, weights = data.validation
    temperature = calibration.fit_temperature(held_out, labels, sample_weight=weights).temperature
    figures = measure(logits, *data.test[1:], temperature)
    if "sampler" not in remedy:
        plain = partial(reference(x.shape[1], len(data.counts)).fit, verbose=0)
        figures["step"] = step_ratio(fit, plain, Batches(x, y, steps=20, seed=seed))
    return figures


def measure(logits: np.ndarray, y: np.ndarray, weights: np.ndarray, temperature: float) -> Run:
    """Return the figures of weighted test rows."""
    probs = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    recalls = [np.mean(logits[y == label].argmax(axis=1) == label) for label in np.unique(y)]
    areas = [
        average_precision_score(y == label, probs[:, label], sample_weight=weights)
        for label in np.unique(y)
    ]
    nll, nll_at_t = (
        np.average(
            functional.negative_log_likelihood(y, logits / np.float32(t), from_logits=True),
            weights=weights,
        )
        for t in (1.0, temperature)
    )
    ece = functional.expected_calibration_error(y, probs, sample_weight=weights)
    figures = {"balanced": np.mean(recalls), "auprc": np.mean(areas), "ece": ece}
    figures |= {"nll": nll, "nll_at_t": nll_at_t, "temperature": temperature}
    return {name: float(value) for name, value in figures.items()}


def step_ratio(own: Callable, plain: Callable, batches: Batches, rounds: int = 9) -> float:
    """Return the median ratio of the processor times of two trainings, taken in turns."""
    own(batches), plain(batches)
    seconds = np.empty((rounds, 2))
    for turn in range(rounds):
        for column, fit in enumerate((own, plain)):
            begin = time.process_time()
            fit(batches)
            seconds[turn, column] = time.process_time() - begin
    return float(np.median(seconds[:, 0] / seconds[:, 1]))


def verdict(runs: list[Run]) -> str:
    """Return where focal loss does not win, in sentences."""
    shown = [figure for figure in STUDY.figures if figure.better != "neither"]
    titles = {figure: figure.heading.removesuffix(" %") for figure in shown}
    lines, winners = [], []
    for data in data_sets(runs):
        prefix = data + SEPARATOR
        names = dict.fromkeys(run["setting"] for run in runs if run["setting"].startswith(prefix))
        best = {}
        for figure, title in titles.items():
            choose = min if figure.better == "less" else max
            means = {name: STUDY.values(runs, name, figure.name).mean() for name in names}
            best[title] = choose(means, key=means.__getitem__).removeprefix(prefix)
        winners += best.values()
        found = "; ".join(f"of {title}, {name}" for title, name in best.items())
        lines.append(f"\n**{data}.** The best mean is, {found}.")
        for name in ("focal", "focal, balanced"):
            gains = {title: STUDY.gain(runs, prefix + name, f) for f, title in titles.items()}
            better, worse = (
                ", ".join(title for title, gain in gains.items() if gain == sign) or "nothing"
                for sign in (1, -1)
            )
            lines.append(f"*{name}* against cross-entropy: better in {better}; worse in {worse}.")
    wins = sum(winner.startswith("focal") for winner in winners)
    head = f"Of the {len(winners)} best means, focal loss, class weights or not, has {wins}."
    return "\n".join(["## Where focal loss does not win\n", head, *lines])


def draw(runs: list[Run], file: Path) -> None:
    draw_dots(STUDY, runs, file, BALANCED, NLL)


def main() -> None:
    parser = STUDY.parser(epochs=30, seeds=5)
    parser.add_argument("--data-dir", type=Path, help=WANTED)
    arguments = STUDY.parse(parser)
    settings = {
        f"{data}{SEPARATOR}{name}": partial(train, task, name, arguments.epochs)
        for data, task in tasks(arguments.data_dir).items()
        for name in remedies(np.array([2, 3]), 0)
    }
    runs = STUDY.run(arguments, settings)
    STUDY.report(arguments, runs, draw, verdict(runs) if arguments.seeds > 1 else "")


if __name__ == "__main__":
    main()
