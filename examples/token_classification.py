"""Tokens: phrases of strong feeling in sentences of the Stanford Sentiment Treebank.

Most words belong to no entity, sentences are padded to one length, and some words are left out.
The entities are the largest phrases of at most 4 words that readers called very positive or very
negative. The other words of such phrases of 5 to 8 words are ignored (`ignore_class=-1`), since
they may or may not be part of the entity. Padding is left out by the mask of `Embedding`. The
network looks at 3 words to each side. Each seed draws 3,000 training sentences; T is fitted on the
words of the development data. `--data-dir` also takes any corpus in the form of CoNLL, of two or
four columns.

An entity is right if its words and its type are exactly those of an entity of the test data: F1 is
"strict" of `nervaluate`. Its confidence is the product of the probabilities of its words, and
`BinaryECE` of 10 bins compares it with the share of entities that are right: as trained, at T, and
after a Platt map that was fitted on the entities found in the development data. Tokens are words,
and their ECE is that of the most probable tag of each.
"""

import argparse
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import keras
import numpy as np
from keras import layers
from nervaluate import Evaluator
from nervaluate.utils import collect_named_entities
from scipy.special import softmax
from shared.study import Figure, Run, Study
from shared.tagged import IGNORED, WANTED, Encoded, read_corpus

from keras_focal import calibration, losses, metrics

STUDY = Study(
    "token_classification",
    __doc__,
    baseline="cross-entropy",
    figures=[
        Figure("f1", "entity F1 %", "more", 100, 1),
        Figure("entity_ece", "entity ECE %", "less", 100, 1),
        Figure("entity_ece_scaled", "entity ECE % at T", "less", 100, 1),
        Figure("entity_ece_platt", "entity ECE %, Platt", "less", 100, 1),
        Figure("ece", "token ECE %", "less", 100, 2),
        Figure("ece_scaled", "token ECE % at T", "less", 100, 2),
        Figure("nll", "token NLL"),
        Figure("nll_scaled", "token NLL at T"),
        Figure("temperature", "T", "neither", 1, 2),
    ],
    command="--data-dir sst",
)
ROUNDING = 1e-5
NLL = metrics.NegativeLogLikelihood
SIZES = {"train": 3000, "dev": 1500, "test": 3000}
QUICK = {"train": 300, "dev": 150, "test": 200}
read = cache(read_corpus)
Focal = losses.SparseCategoricalFocalCrossentropy
OPTIONS = {"from_logits": True, "ignore_class": IGNORED}
SETTINGS: dict[str, Callable[[list[int]], keras.losses.Loss]] = {
    "cross-entropy": lambda counts: Focal(gamma=0.0, **OPTIONS),
    "focal, gamma 2": lambda counts: Focal(gamma=2.0, **OPTIONS),
    "FLSD-53": lambda counts: Focal(gamma="FLSD-53", **OPTIONS),
    "focal, class-balanced alpha": lambda counts: Focal(
        gamma=2.0, alpha=losses.class_balanced_alpha(counts, beta=0.999), **OPTIONS
    ),
    "label smoothing 0.05": lambda counts: losses.LabelSmoothingCrossentropy(0.05, **OPTIONS),
    "dual focal": lambda counts: losses.DualFocalCrossentropy(gamma=2.0, **OPTIONS),
}


@keras.saving.register_keras_serializable(package="examples")
class MaskedConv1D(layers.Conv1D):
    """A convolution to which padding is 0, as what lies beyond the ends of a sentence.

    Plain `Conv1D` drops the mask, and the vectors of padding reach the last words.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, padding="same", **kwargs)
        self.supports_masking = True

    def call(self, inputs, mask=None):
        if mask is not None:
            inputs = inputs * keras.ops.cast(mask[..., None], inputs.dtype)
        return super().call(inputs)


def tagger(num_words: int, num_tags: int) -> keras.Model:
    """Return a network that gives the logits of tags, from the words 3 to each side."""
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            layers.Embedding(num_words, 64, mask_zero=True),
            layers.Dropout(0.3),
            MaskedConv1D(64, 3, activation="relu"),
            MaskedConv1D(64, 3, activation="relu", dilation_rate=2),
            layers.Dropout(0.3),
            layers.Dense(num_tags),
        ]
    )


def change_by_masks(model: keras.Model, loss: keras.losses.Loss, x, y) -> float:
    """Return the largest share by which padding or an ignored word changes loss, ECE or NLL.

    The sentences are measured as they are, with 20 more of padding under labels that are no tags,
    and as the words alone that count, without mask and `ignore_class`.
    """

    def measured(y, logits):
        found = [f(y, logits) for f in (loss, metrics.ECE(**OPTIONS), NLL(**OPTIONS))]
        return [float(keras.ops.convert_to_numpy(value)) for value in found]

    longer = np.pad(x, ((0, 0), (0, 20)))
    wrong = np.where(longer == 0, model.output_shape[-1], np.pad(y, ((0, 0), (0, 20))))
    counts, logits = y != IGNORED, model(x)
    alone = measured(y[counts], keras.ops.convert_to_numpy(logits)[counts])
    masked = np.array([measured(y, logits), measured(wrong, model(longer))])
    return float(np.max(np.abs(masked - alone) / np.abs(alone)))


class Entities:
    """Entities of sentences: the true ones, and those that logits name, with their confidences.

    Attributes:
        true, found: For each sentence, entities as `nervaluate` has them.
        is_right: Whether each entity that was found is a true one, shape (entities,).
        product, minimum: Of the probabilities of its words, shape (entities,).
    """

    def __init__(self, labels: np.ndarray, logits: np.ndarray, tags: list[str]):
        """Take tag ids or IGNORED, and logits (sentences, words, tags). An ignored word is O."""
        best = np.where(labels == IGNORED, 0, logits.argmax(axis=-1))
        self.true, self.found = (
            [collect_named_entities([tags[i] for i in row]) for row in ids]
            for ids in (np.maximum(labels, 0), best)
        )
        p = softmax(logits.astype("float64"), axis=-1).max(axis=-1)
        rows = [
            (entity in of_true, words.prod(), words.min())
            for of_true, of_one, row in zip(self.true, self.found, p, strict=True)
            for entity in of_one
            for words in [row[entity["start"] : entity["end"] + 1]]
        ]
        self.is_right, self.product, self.minimum = np.array(rows).reshape(-1, 3).T

    def f1(self, tags: list[str]) -> float:
        """Return F1 of entities with exactly the words and the type of a true one."""
        types = sorted({tag[2:] for tag in tags} - {""})
        scores = Evaluator(self.true, self.found, tags=types, loader="dict").evaluate()
        return scores["overall"]["strict"].f1


def binary_ece(is_right: np.ndarray, p: np.ndarray) -> metrics.BinaryECE:
    metric = metrics.BinaryECE(num_bins=10)
    metric.update_state(is_right, p[:, None])
    return metric


def train(folder: Path, name: str, arguments: argparse.Namespace, seed: int) -> Run:
    """Train with one loss, and return the figures of the test data."""
    corpus = Encoded(read(folder), QUICK if arguments.quick else SIZES, seed)
    y, tags = corpus.y, corpus.tags
    counts = np.bincount(y["train"][y["train"] != IGNORED], minlength=len(tags))
    loss = SETTINGS[name](np.maximum(counts, 1).tolist())
    model = tagger(corpus.num_words, len(tags))
    model.compile(keras.optimizers.Adam(2e-3), loss)
    model.fit(corpus.x["train"], y["train"], 32, arguments.epochs, verbose=0)
    dev, logits = (
        model.predict(corpus.x[part], batch_size=256, verbose=0) for part in ("dev", "test")
    )
    temperature = calibration.fit_temperature(dev, y["dev"], ignore_class=IGNORED).temperature
    figures = {
        "temperature": temperature,
        "change_by_masks": change_by_masks(model, loss, corpus.x["test"][:64], y["test"][:64]),
    }
    for end, divided in (("", logits), ("_scaled", logits / temperature)):
        for metric in (metrics.ECE(**OPTIONS, name="ece"), NLL(**OPTIONS, name="nll")):
            figures[metric.name + end] = float(metric(y["test"], divided))
        test = Entities(y["test"], divided, tags)
        if len(test.is_right):
            figures["entity_ece" + end] = float(binary_ece(test.is_right, test.product).result())
            figures["minimum" + end] = float(binary_ece(test.is_right, test.minimum).result())
    figures["f1"] = test.f1(tags)
    dev, test = Entities(y["dev"], dev, tags), Entities(y["test"], logits, tags)
    if len(test.is_right) and 0 < dev.is_right.sum() < len(dev.is_right):
        platt = calibration.fit_map(dev.product[:, None], dev.is_right, "platt", from_logits=False)
        p = keras.ops.convert_to_numpy(keras.ops.sigmoid(platt.layer(test.product[:, None])))
        figures["entity_ece_platt"] = float(binary_ece(test.is_right, p[:, 0]).result())
    bins = binary_ece(test.is_right, test.product).bins()
    return figures | {"bins": [keras.ops.convert_to_numpy(part).tolist() for part in bins]}


def draw(runs: list[Run], file: Path) -> None:
    """Draw the reliability of entities over all seeds, and the errors of tokens and entities."""
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.4), layout="constrained")
    left.plot([0, 1], [0, 1], color="0.7", linewidth=1, label="calibrated")
    names = list(dict.fromkeys(run["setting"] for run in runs))
    for name in names:
        count, wrong, gap = np.sum([r["bins"] for r in runs if r["setting"] == name], axis=0)
        rows = count > 0
        share = 1 - wrong[rows] / count[rows]
        left.plot(share + gap[rows] / count[rows], share, marker="o", markersize=4, label=name)
    for key, label, color, face in (
        ("ece", "tokens", "C0", "none"),
        ("ece_scaled", "tokens at T", "C0", "C0"),
        ("entity_ece", "entities", "C3", "none"),
        ("entity_ece_scaled", "entities at T", "C3", "C3"),
        ("entity_ece_platt", "entities, Platt", "C2", "C2"),
    ):
        values = [100 * STUDY.values(runs, name, key) for name in names]
        means, spread = [v.mean() for v in values], [v.std() for v in values]
        right.errorbar(
            means, range(len(names)), xerr=spread, fmt="o", c=color, mfc=face, label=label
        )
    left.set(xlabel="confidence", ylabel="share that is right", title="Entities, as trained")
    right.set(yticks=range(len(names)), yticklabels=names, xlabel="ECE %", title="Before and after")
    right.invert_yaxis()
    left.legend(fontsize=8)
    right.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.savefig(file, dpi=100)
    plt.close(figure)


def found_text(runs: list[Run]) -> str:
    """Return what the page says of T, of masks and of confidences, from the runs."""
    change = max(run["change_by_masks"] for run in runs)
    product, minimum = (
        100 * np.nanmean([run.get(key, np.nan) for run in runs])
        for key in ("entity_ece", "minimum")
    )
    names = {run["setting"] for run in runs}
    at, before = (
        [STUDY.values(runs, name, key).mean() for name in names]
        for key in ("entity_ece_scaled", "entity_ece")
    )
    return (
        "## Calibrated tokens are not calibrated entities\n\nT is fitted on tokens, most of which "
        "are O. It lowers the NLL of tokens, but with "
        f"{np.greater(at, before).sum()} of {len(names)} losses the mean entity ECE is larger at T "
        "than as trained. Calibrate the confidence that is used: here, by a map that is fitted on "
        "entities.\n\n"
        "## Padding and ignored words\n\nIn every run the loss, the ECE and the NLL of 64 "
        "sentences were measured three times: as they are, with 20 more of padding under labels "
        "that are no tags, and as the words alone that count, without mask and `ignore_class`. "
        f"The largest difference was {change:.1e} of the value: rounding of float32.\n\n"
        "## Product or minimum\n\nOver all runs, the entity ECE of the product of "
        f"probabilities is {product:.1f} %, that of their minimum {minimum:.1f} %."
    )


def main() -> None:
    arguments = STUDY.parse(STUDY.parser(epochs=5, seeds=5, data=WANTED))
    read(arguments.data_dir)
    settings = {name: partial(train, arguments.data_dir, name, arguments) for name in SETTINGS}
    runs = STUDY.run(arguments, settings)
    change = max(run["change_by_masks"] for run in runs)
    print(f"Padding and ignored words change loss, ECE and NLL by at most {change:.1e} of each.")
    if not change < ROUNDING:
        raise SystemExit(f"That is more than the rounding of float32, {ROUNDING:.0e}.")
    STUDY.report(arguments, runs, draw, found_text(runs) if arguments.publish else "")


if __name__ == "__main__":
    main()
