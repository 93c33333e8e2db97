"""Language models trained without their logits, and what fine-tuning does to their calibration.

A small causal transformer (KerasHub's decoder blocks, tied embeddings) is trained on the English
captions of Multi30k that speak of no dog, measured on the test captions, then fine-tuned with the
same loss for many epochs on a few captions with dogs, and measured on others of these. Neither
training nor evaluation ever holds the logits, one column for each word: the loss, the perplexity,
the share of words whose likeliest prediction is right and the ECE over the whole vocabulary come
from the blocks of `layers.LinearHead`. So does the temperature T, at which the mean negative
log-likelihood equals the mean entropy. It is fitted on captions held out for that, one for all
positions and one for each.
"""

import gzip
import re
import zlib
from collections import Counter
from functools import cache, partial
from pathlib import Path

import keras
import keras_hub
import matplotlib.pyplot as plt
import numpy as np
from keras import ops
from shared.study import Figure, Run, Study

from keras_focal import gammas, layers, metrics

WANTED = "Multi30k's captions `train.en.gz`, `val.en.gz` and `test_2016_flickr.en.gz`, one a line"
LENGTH, WIDTH, NUM_WORDS, PADDING, BATCH = 16, 64, 3000, 0, 64
NUM_TRAINING, NUM_TUNING, TUNING_EPOCHS = 12800, 128, 40
SETTINGS = {
    "cross-entropy": {"gamma": 0.0},
    "focal, gamma 1": {"gamma": 1.0},
    "FLSD-53": {"gamma": gammas.SampleDependentGamma([0.2], [5.0, 3.0])},
    "label smoothing 0.05": {"gamma": 0.0, "label_smoothing": 0.05},
}
FIGURES = [
    Figure("trained_perplexity", "perplexity", digits=1),
    Figure("trained_accuracy", "correct %", "more", 100, 1),
    Figure("trained_ece", "ECE %", factor=100, digits=2),
    Figure("trained_temperature", "T", "neither", digits=2),
    Figure("trained_ece_at_t", "ECE % at T", factor=100, digits=2),
    Figure("trained_ece_by_position", "at T by position", factor=100, digits=2),
    Figure("before_ece", "dogs: ECE %", factor=100, digits=2),
    Figure("tuned_perplexity", "tuned: perplexity", digits=1),
    Figure("tuned_ece", "ECE % ", factor=100, digits=2),
    Figure("tuned_temperature", "T ", "neither", digits=2),
    Figure("tuned_perplexity_at_t", "perplexity at T", digits=1),
    Figure("tuned_ece_at_t", "ECE % at T ", factor=100, digits=2),
]
STUDY = Study(
    "language_model",
    __doc__,
    baseline="cross-entropy",
    figures=FIGURES,
    command="--data-dir multi30k",
)


@cache
def read_captions(folder: Path) -> dict[str, list[list[str]]]:
    """Return the words of the captions of each file."""
    found = {}
    for name in ("train", "val", "test_2016_flickr"):
        file = folder / f"{name}.en.gz"
        try:
            lines = gzip.decompress(file.read_bytes()).decode("utf-8").splitlines()
            if not lines:
                raise EOFError("no line")
        except FileNotFoundError:
            raise SystemExit(f"--data-dir must hold {WANTED}. Received: {folder}.") from None
        except (EOFError, OSError, UnicodeDecodeError, zlib.error) as error:
            raise SystemExit(f"{file} is damaged: {error}. Get it again.") from error
        found[name] = [re.findall(r"[a-z']+", line.lower()) for line in lines]
    return found


def load(folder: Path, quick: bool) -> dict[str, np.ndarray]:
    """Return word ids of captions by what they are for, in whole batches.

    0 pads, 1 begins and ends a caption, 2 is a rare word.
    """
    captions = read_captions(folder)
    counts = Counter(word for words in captions["train"] for word in words)
    size = 200 if quick else NUM_WORDS
    ids = {word: i for i, (word, _) in enumerate(counts.most_common(size - 3), 3)}

    def rows(captions: list[list[str]]) -> np.ndarray:
        encoded = ([1, *(ids.get(word, 2) for word in words), 1] for words in captions)
        return keras.utils.pad_sequences(
            list(encoded), LENGTH + 1, padding="post", truncating="post", value=PADDING
        )[: len(captions) // BATCH * BATCH]

    dogs = [c for c in captions["train"] if not {"dog", "dogs"}.isdisjoint(c)]
    others = [c for c in captions["train"] if {"dog", "dogs"}.isdisjoint(c)]
    n, most = (BATCH, 4 * BATCH) if quick else (NUM_TUNING, NUM_TRAINING)
    return {
        "train": rows(others[:most]),
        "validation": rows(captions["val"][: 4 * n]),
        "test": rows(captions["test_2016_flickr"][:most]),
        "tuning": rows(dogs[:n]),
        "dogs, validation": rows(dogs[n : 3 * n]),
        "dogs, test": rows(dogs[3 * n : most]),
        "size": size,
    }


class LanguageModel(keras.Model):
    """A causal transformer that returns features; its head turns them into a loss or statistics."""

    def __init__(self, num_words: int, **loss):
        super().__init__()
        embed = keras_hub.layers.TokenAndPositionEmbedding(
            num_words, LENGTH, WIDTH, tie_weights=True
        )
        tokens = keras.Input((LENGTH,), dtype="int32")
        x = embed(tokens)
        for _ in range(2):
            x = keras_hub.layers.TransformerDecoder(
                2 * WIDTH, 4, dropout=0.1, normalize_first=True
            )(x)
        self.backbone = keras.Model(tokens, keras.layers.LayerNormalization()(x))
        self.head = layers.LinearHead(embedding=embed.token_embedding)
        self.head.build((None, WIDTH))
        self.loss_arguments = loss

    def call(self, tokens, training=False):
        return self.backbone(tokens, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        values = self.head.focal_crossentropy(
            y_pred, y, ignore_class=PADDING, **self.loss_arguments
        )
        return ops.sum(values) / ops.sum(ops.cast(ops.not_equal(y, PADDING), values.dtype))


class Statistics(keras.Model):
    """What a language model predicts for each word, at an inverse temperature for each."""

    def __init__(self, model: LanguageModel):
        super().__init__()
        self.model = model

    def call(self, inputs):
        # Logits over T: the features over T.
        features = self.model(inputs["x"]) * inputs["scale"][..., None]
        _, found = self.model.head.focal_crossentropy(
            features, inputs["y"], ignore_class=PADDING, return_statistics=True
        )
        return found._asdict()

    def of(self, tokens: np.ndarray, scale: np.ndarray | float) -> dict[str, np.ndarray]:
        x, y = tokens[:, :-1], tokens[:, 1:]
        scale = np.broadcast_to(scale, x.shape).astype("float32")
        return self.predict({"x": x, "y": y, "scale": scale}, batch_size=BATCH, verbose=0)


def fitted_scale(statistics: Statistics, tokens: np.ndarray, axis: int | None) -> np.ndarray:
    """Return 1/T at which the mean NLL equals the mean entropy, by the secant method.

    The derivative of the mean NLL with respect to 1/T is (NLL - entropy) T.
    """
    counts = tokens[:, 1:] != PADDING

    def slope(scale: np.ndarray) -> np.ndarray:
        found = statistics.of(tokens, scale)
        excess = np.sum((found["neg_log_likelihood"] - found["entropy"]), axis=axis, where=counts)
        return excess / np.maximum(counts.sum(axis=axis), 1) / scale

    number = () if axis is None else (LENGTH,)
    before, scale = np.full(number, 0.9), np.ones(number)
    slope_before = slope(before)
    # Close to the solution the difference of two slopes is rounding error.
    while np.any(moves := np.abs(scale - before) > 0.005):
        now = slope(scale)
        change = np.where(moves, now - slope_before, 1.0)
        step = np.where(moves, now * (scale - before) / change, 0.0)
        before, slope_before, scale = scale, now, np.clip(scale - step, scale / 2, scale * 2)
    return scale


def measure(statistics: Statistics, tokens: np.ndarray, scale: np.ndarray | float = 1.0) -> Run:
    """Return perplexity, accuracy and ECE of all words at an inverse temperature."""
    counts, found = tokens[:, 1:] != PADDING, statistics.of(tokens, scale)
    ece = metrics.BinaryExpectedCalibrationError()
    ece.update_state(found["correct"][counts], found["confidence"][counts])
    return {
        "perplexity": float(np.exp(found["neg_log_likelihood"][counts].mean())),
        "accuracy": float(found["correct"][counts].mean()),
        "ece": float(ece.result()),
    }


def measured(statistics: Statistics, fit_on: np.ndarray, test: np.ndarray) -> Run:
    """Return the figures before and after temperatures are fitted."""
    of_all, of_each = (fitted_scale(statistics, fit_on, axis) for axis in (None, 0))
    after = measure(statistics, test, of_all)
    return {
        **measure(statistics, test),
        "temperature": float(1 / of_all),
        "perplexity_at_t": after["perplexity"],
        "ece_at_t": after["ece"],
        "ece_by_position": measure(statistics, test, of_each)["ece"],
        "temperatures": [float(1 / s) for s in of_each],
    }


def train(arguments, loss: dict, seed: int) -> Run:
    """Train, measure, fine-tune on captions of dogs, and measure again."""
    data = load(arguments.data_dir, arguments.quick)
    model = LanguageModel(data["size"], **loss)
    model.compile("adam")
    statistics = Statistics(model)
    figures = {}
    for phase, part, epochs, rate in (
        ("trained", "train", arguments.epochs, 3e-3),
        ("tuned", "tuning", 1 if arguments.quick else TUNING_EPOCHS, 1e-3),
    ):
        if phase == "tuned":
            found = measure(statistics, data["dogs, test"])
            figures |= {f"before_{name}": value for name, value in found.items()}
        model.optimizer.learning_rate = rate
        tokens, of = data[part], "dogs, " if phase == "tuned" else ""
        model.fit(tokens[:, :-1], tokens[:, 1:], batch_size=BATCH, epochs=epochs, verbose=2)
        found = measured(statistics, data[f"{of}validation"], data[f"{of}test"])
        figures |= {f"{phase}_{name}": value for name, value in found.items()}
    return figures


def draw(runs: list[Run], file: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    bars = {
        "trained": "trained_ece",
        "trained, at T": "trained_ece_at_t",
        "dogs, before tuning": "before_ece",
        "dogs, tuned": "tuned_ece",
        "dogs, tuned, at T": "tuned_ece_at_t",
    }
    for i, name in enumerate(dict.fromkeys(run["setting"] for run in runs)):
        values = [100 * STUDY.values(runs, name, key) for key in bars.values()]
        at = np.arange(len(bars)) + 0.2 * (i - 1.5)
        spread = [value.std() for value in values]
        left.bar(at, [value.mean() for value in values], 0.2, yerr=spread, label=name)
        for phase, line in (("trained", "-"), ("tuned", "--")):
            curves = [run[f"{phase}_temperatures"] for run in runs if run["setting"] == name]
            mean = np.mean(curves, axis=0)
            label = phase if i == 0 else None
            right.plot(range(1, LENGTH + 1), mean, line, color=f"C{i}", label=label)
    left.set_xticks(range(len(bars)), bars, rotation=20)
    left.set(ylabel="ECE in %")
    right.set(xlabel="position of the word", ylabel="temperature")
    right.legend()
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=4)
    figure.savefig(file, dpi=80)
    plt.close(figure)


def main() -> None:
    arguments = STUDY.parse(STUDY.parser(epochs=1, seeds=3, data=WANTED))
    read_captions(arguments.data_dir)
    names = ["FLSD-53"] if arguments.quick else SETTINGS
    settings = {name: partial(train, arguments, SETTINGS[name]) for name in names}
    STUDY.report(arguments, STUDY.run(arguments, settings), draw)


if __name__ == "__main__":
    main()
