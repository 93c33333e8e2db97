"""Several labels per article: asymmetric, focal and plain loss on 20 Newsgroups.

The labels of an article are the words of its group: `comp.sys.mac.hardware` is comp, sys, mac and
hardware, of 33 labels in all, of which an article has two to five. Each seed draws 2,000 articles
for training, 1,000 to calibrate on and 3,000 for test. The network has one hidden layer over the
tf-idf of 5,000 words, and a sigmoid for each label.

mAP is the mean over labels of the average precision; F1 is that of labels whose probability is
above one half, over all decisions (micro) and as the mean over labels (macro). NLL is the mean of
all decisions in nats, ECE the mean over labels of `BinaryECE`. Both are measured as trained, with
one temperature for all labels, with one for each (`multi_label="per_label"`), and with a Platt map
for each, which can also shift a logit.
"""

import argparse
from functools import cache, partial
from pathlib import Path

import keras
import numpy as np
from keras import layers
from shared.study import Figure, Run, Study
from shared.texts import FILE, WANTED, read_articles
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import average_precision_score, f1_score

from keras_focal import calibration, losses, metrics

WAYS = {"": "", "_one": ", one T", "_each": ", T each", "_platt": ", Platt"}
STUDY = Study(
    "multi_label",
    __doc__,
    baseline="cross-entropy",
    figures=[
        Figure("map", "mAP %", "more", 100, 1),
        Figure("micro_f1", "micro F1 %", "more", 100, 1),
        Figure("macro_f1", "macro F1 %", "more", 100, 1),
        *(Figure(f"nll{way}", f"NLL{title}") for way, title in WAYS.items()),
        *(Figure(f"ece{way}", f"ECE %{title}", "less", 100, 2) for way, title in WAYS.items()),
    ],
    command="--data-dir newsgroups20",
)
SETTINGS: dict[str, keras.losses.Loss] = {
    "cross-entropy": losses.BinaryFocalCrossentropy(gamma=0.0, from_logits=True),
    "focal, gamma 2": losses.BinaryFocalCrossentropy(gamma=2.0, from_logits=True),
    "focal, gamma 2, alpha 0.25": losses.BinaryFocalCrossentropy(
        gamma=2.0, alpha=0.25, from_logits=True
    ),
    "asymmetric": losses.AsymmetricLoss(from_logits=True),
    "asymmetric, shift 0": losses.AsymmetricLoss(shift=0.0, from_logits=True),
}
SIZES, QUICK = (2000, 1000, 3000), (600, 400, 400)


def labels_of(articles: list[dict]) -> tuple[list[str], np.ndarray]:
    """Return the names of the labels, sorted, and a row of 0 and 1 for each article."""
    for row, article in enumerate(articles):
        group = article.get("group")
        if not isinstance(group, str) or not all(group.split(".")):
            raise SystemExit(
                f"Article {row} must have a `group` such as 'rec.autos'. Received: {group!r}."
            )
    words = [set(article["group"].split(".")) for article in articles]
    names = sorted(set().union(*words))
    return names, np.array([[name in own for name in names] for own in words], "float32")


@cache
def load(folder: Path, sizes: tuple[int, int, int], seed: int) -> tuple[list[str], list[tuple]]:
    """Return the names of the labels, and x and y for training, calibration and test."""
    articles = read_articles(folder / FILE)
    names, y = labels_of(articles)
    rows = np.random.default_rng(seed).permutation(len(articles))[: sum(sizes)]
    parts = np.split(rows, np.cumsum(sizes)[:-1])
    for part in parts:
        if not y[part].any(axis=0).all() or y[part].all(axis=0).any():
            which = names[int(np.argmin(y[part].any(axis=0) & ~y[part].all(axis=0)))]
            raise SystemExit(f"All or none of {len(part)} articles have the label {which!r}.")
    texts = [[articles[row]["text"] for row in part] for part in parts]
    vectors = TfidfVectorizer(max_features=5000, sublinear_tf=True, stop_words="english")
    vectors.fit(texts[0])
    x = [vectors.transform(text).toarray().astype("float32") for text in texts]
    return names, [(x_part, y[part]) for x_part, part in zip(x, parts, strict=True)]


def platt(logits: np.ndarray, y: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return test logits by a Platt map of each label, fitted on held-out data."""
    columns = range(y.shape[1])
    fits = [calibration.fit_map(logits[:, [k]], y[:, k], "platt", folds=0) for k in columns]
    mapped = [fits[k].layer(test[:, [k]]) for k in columns]
    return keras.ops.convert_to_numpy(keras.ops.concatenate(mapped, axis=1))


def measure(y: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """Return NLL over all decisions, and the mean ECE of labels."""
    nll = metrics.NegativeLogLikelihood(from_logits=True)
    nll.update_state(y.reshape(-1), logits.reshape(-1, 1))
    ece, errors = metrics.BinaryECE(from_logits=True), []
    for k in range(y.shape[1]):
        ece.reset_state()
        ece.update_state(y[:, k], logits[:, [k]])
        errors.append(float(ece.result()))
    return {"nll": float(nll.result()), "ece": float(np.mean(errors))}


def train(name: str, arguments: argparse.Namespace, seed: int) -> Run:
    """Train with one loss, and return the figures of the test data."""
    sizes = QUICK if arguments.quick else SIZES
    names, (train, (x_fit, y_fit), (x, y)) = load(arguments.data_dir, sizes, seed)
    model = keras.Sequential(
        [
            keras.Input((train[0].shape[1],)),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(len(names)),
        ]
    )
    model.compile(keras.optimizers.Adam(2e-3), SETTINGS[name])
    model.fit(*train, batch_size=64, epochs=arguments.epochs, verbose=0)
    held_out, logits = (model.predict(part, batch_size=1000, verbose=0) for part in (x_fit, x))
    one = calibration.fit_temperature(held_out, y_fit, multi_label=True)
    each = calibration.fit_temperature(held_out, y_fit, multi_label="per_label")
    temperatures = [fit.temperature for fit in each]
    calibrated = {
        "": logits,
        "_one": logits / np.float32(one.temperature),
        "_each": logits / np.float32(temperatures),
        "_platt": platt(held_out, y_fit, logits),
    }
    return {
        "map": average_precision_score(y, logits),
        "micro_f1": f1_score(y, logits > 0, average="micro"),
        "macro_f1": f1_score(y, logits > 0, average="macro", zero_division=0.0),
        **{
            key + way: value
            for way, of_way in calibrated.items()
            for key, value in measure(y, of_way).items()
        },
        "temperature": one.temperature,
        "temperatures": dict(zip(names, temperatures, strict=True)),
        "shares": dict(zip(names, y.mean(axis=0).tolist(), strict=True)),
    }


def draw(runs: list[Run], file: Path) -> None:
    """Draw the NLL before and after, and the mean temperature of each label by its frequency."""
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    names = list(dict.fromkeys(run["setting"] for run in runs))
    titles = ("as trained", "one T for all", "a T for each", "Platt for each")
    for (way, title), marker in zip(zip(WAYS, titles, strict=True), "osD^", strict=True):
        values = [STUDY.values(runs, name, f"nll{way}") for name in names]
        means, spread = [v.mean() for v in values], [v.std() for v in values]
        left.errorbar(means, range(len(names)), xerr=spread, fmt=marker, mfc="none", label=title)
    for name in names:
        own = [run for run in runs if run["setting"] == name]
        shares, temperatures = (
            np.mean([list(run[key].values()) for run in own], axis=0)
            for key in ("shares", "temperatures")
        )
        right.plot(100 * shares, temperatures, "o", markersize=4, alpha=0.8, label=name)
    left.set(yticks=range(len(names)), yticklabels=names, xlabel="NLL")
    left.invert_yaxis()
    right.axhline(1.0, color="0.7", linewidth=1)
    right.set(xlabel="articles with the label, %", ylabel="T of the label")
    for axes in (left, right):
        axes.legend(fontsize=8)
    figure.savefig(file, dpi=100)
    plt.close(figure)


def main() -> None:
    arguments = STUDY.parse(STUDY.parser(epochs=15, seeds=5, data=WANTED))
    labels_of(read_articles(arguments.data_dir / FILE))
    settings = {name: partial(train, name, arguments) for name in SETTINGS}
    STUDY.report(arguments, STUDY.run(arguments, settings), draw)


if __name__ == "__main__":
    main()
