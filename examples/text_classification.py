"""Rare topics: recall and calibration, and a served model that takes strings.

Every second group of 20 Newsgroups is thinned, so that it has one training article where the others
have 50. A network with one hidden layer is trained on the tf-idf of 3,000 words with cross-entropy,
focal loss (gamma 2), FLSD-53, and cross-entropy with `class_balanced_alpha` (Cui et al., 2019), and
a temperature is fitted on held-out articles.

Recalls are those of articles of rare and of common topics. *Rare ECE* is the binary ECE of the
probability that an article is of a rare topic, the sum over those topics, and *rare NLL* the mean
-log p of the articles of rare topics. ECE, rare ECE and NLL are those of articles with topics as
rare as in training: test articles are weighted accordingly. All probabilities are those at T.

Then the network trained with FLSD-53 is put behind its `TextVectorization`, calibrated, exported
and loaded again. Whoever serves it sends strings and gets calibrated probabilities.
"""

import os
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from shared.dots import draw_dots
from shared.study import Figure, Run, Study
from shared.texts import FILE, WANTED, read_articles
from shared.thinned import Thinned, thin

from keras_focal import calibration, functional, losses, metrics

RARE_RECALL = Figure("rare_recall", "rare recall %", "more", 100, 1)
RARE_ECE = Figure("rare_ece", "rare ECE %", "less", 100, 2)
STUDY = Study(
    "text_classification",
    __doc__,
    baseline="cross-entropy",
    figures=[
        RARE_RECALL,
        Figure("common_recall", "common recall %", "more", 100, 1),
        Figure("temperature", "T", "neither", 1, 2),
        RARE_ECE,
        Figure("rare_nll", "rare NLL", "less", 1, 3),
        Figure("ece", "ECE %", "less", 100, 2),
        Figure("nll", "NLL"),
    ],
    command="--data-dir newsgroups20",
)
SETTINGS = ("cross-entropy", "focal", "FLSD-53", "class-balanced")
WORDS = 3000
SHIPPED = "FLSD-53"


def loss_of(name: str, counts: np.ndarray) -> keras.losses.Loss:
    """Return the loss of a setting, for topics with so many articles."""
    if name == "class-balanced":
        alpha = losses.class_balanced_alpha(counts)
        return losses.SparseCategoricalFocalCrossentropy(gamma=0.0, alpha=alpha, from_logits=True)
    return losses.get({"cross-entropy": "CE", "focal": "FL-2"}.get(name, name), from_logits=True)


@lru_cache(maxsize=1)
def prepared(file: Path, quick: bool, seed: int) -> tuple[Thinned, list[str], layers.Layer, Any]:
    """Return a split, the texts of all articles, their vectorization, and a row of each text."""
    articles = read_articles(file)
    labels = np.array([article["label"] for article in articles])
    rare = tuple(range(1, labels.max() + 1, 2))
    sizes = (
        {"train": 100, "held_out": 10, "test": 10}
        if quick
        else {"train": 200, "held_out": 50, "test": 150}
    )
    split = thin(labels, rare, **sizes, seed=seed)
    texts = [article["text"] for article in articles]
    vectorize = layers.TextVectorization(max_tokens=WORDS, output_mode="tf_idf")
    vectorize.adapt([texts[row] for row in split.train])
    rows = {
        name: vectorize([texts[row] for row in getattr(split, name)]).numpy()
        for name in ("train", "validation", "test")
    }
    return split, texts, vectorize, rows


def trained(file: Path, quick: bool, name: str, epochs: int, seed: int) -> keras.Model:
    """Return a network that gives logits from tf-idf rows."""
    split, _, _, rows = prepared(file, quick, seed)
    model = keras.Sequential(
        [
            keras.Input((rows["train"].shape[1],)),
            layers.UnitNormalization(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(len(split.counts)),
        ]
    )
    model.compile(keras.optimizers.Adam(3e-3), loss_of(name, split.counts))
    model.fit(rows["train"], split.labels[split.train], epochs=epochs, batch_size=64, verbose=0)
    return model


def train(file: Path, quick: bool, name: str, epochs: int, seed: int) -> Run:
    """Train with a loss, fit a temperature, and return the figures of the test articles."""
    model = trained(file, quick, name, epochs, seed)
    split, _, _, rows = prepared(file, quick, seed)
    held_out = split.validation
    temperature = calibration.fit_temperature(
        model(rows["validation"], training=False),
        split.labels[held_out],
        sample_weight=split.weights(held_out),
    ).temperature
    logits = model(rows["test"], training=False).numpy() / np.float32(temperature)
    return {"temperature": temperature, **measure(logits, split)}


def measure(logits: np.ndarray, split: Thinned) -> Run:
    """Return the figures of the test articles from calibrated logits."""
    labels, weights = split.labels[split.test], split.weights(split.test)
    is_rare = np.isin(labels, split.rare)
    probs = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    nll = keras.ops.convert_to_numpy(
        functional.negative_log_likelihood(labels, logits, from_logits=True)
    )
    right = logits.argmax(axis=1) == labels
    rare_ece = metrics.BinaryExpectedCalibrationError()
    rare_probs = probs[:, split.rare].sum(axis=1, keepdims=True).clip(0, 1)
    rare_ece.update_state(is_rare.astype("int32"), rare_probs, weights)
    figures = {
        "rare_recall": right[is_rare].mean(),
        "common_recall": right[~is_rare].mean(),
        "rare_ece": rare_ece.result(),
        "rare_nll": nll[is_rare].mean(),
        "ece": functional.expected_calibration_error(labels, probs, sample_weight=weights),
        "nll": np.average(nll, weights=weights),
    }
    return {name: float(value) for name, value in figures.items()}


def ship(model: keras.Model, file: Path, quick: bool, seed: int, folder: Path) -> float:
    """Calibrate and export a model of strings, load it, and return how much it differs."""
    split, texts, vectorize, _ = prepared(file, quick, seed)
    of_strings = keras.Sequential([keras.Input((), dtype="string"), vectorize, model])
    held_out, test = (
        tf.constant([texts[row] for row in rows]) for rows in (split.validation, split.test[:200])
    )
    calibrated = calibration.calibrate(
        of_strings,
        held_out,
        split.labels[split.validation],
        from_logits=True,
        sample_weight=split.weights(split.validation),
        verbose=0,
    )
    calibrated.export(folder, verbose=False)
    loaded = tf.saved_model.load(folder)
    return float(np.abs(loaded.serve(test) - calibrated(test)).max())


def draw(runs: list[Run], file: Path) -> None:
    draw_dots(STUDY, runs, file, RARE_RECALL, RARE_ECE)


def main() -> None:
    if keras.backend.backend() != "tensorflow":
        raise SystemExit(
            "TextVectorization is exported from TensorFlow alone: KERAS_BACKEND=tensorflow."
        )
    arguments = STUDY.parse(STUDY.parser(epochs=12, seeds=5, data=WANTED))
    of = (arguments.data_dir / FILE, arguments.quick)
    runs = STUDY.run(
        arguments, {name: partial(train, *of, name, arguments.epochs) for name in SETTINGS}
    )
    STUDY.report(arguments, runs, draw)
    keras.utils.set_random_seed(arguments.seed)
    model = trained(*of, SHIPPED, arguments.epochs, arguments.seed)
    folder = arguments.out / "saved_model"
    largest = ship(model, *of, arguments.seed, folder)
    print(f"{folder} takes strings. Largest difference from the model: {largest:.1e}")


if __name__ == "__main__":
    main()
