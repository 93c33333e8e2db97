"""ECE of the next token and BLEU of a trained Transformer, before and after temperature scaling."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from examples.paper import data
from examples.paper.data.tokens import PAD, TokenBatches, encode, load_tokenizer
from examples.paper.files import load_weights, write_json
from examples.paper.networks.transformer import SIZES, transformer
from examples.paper.recipes import RECIPES
from examples.paper.runs import Run, read
from examples.paper.translation.search import Translator
from keras_focal import metrics

LONGEST = 256
"""Tokens of a sentence that is measured; the end of a longer one is cut off."""
BLEU_TEMPERATURES = (0.5, 0.8, 1.0, 1.2, 1.5, 2.0)


class TokenPredictions(NamedTuple):
    """What was predicted for each token of a text, padding left out.

    Attributes:
        confidence: Probability of the top token at each temperature, shape (tokens, temperatures).
        nll: -log p of the right token at each temperature, in nats.
        wrong: 1 where the top token is not the right one, shape (tokens,).
    """

    confidence: np.ndarray
    nll: np.ndarray
    wrong: np.ndarray

    def errors(self, num_bins: int = 15) -> np.ndarray:
        """Return the ECE at each temperature, a fraction."""
        return np.array([self._error(column, num_bins) for column in self.confidence.T])

    def _error(self, confidence: np.ndarray, num_bins: int) -> float:
        # The ECE of the top token is that of the probability that it is right.
        metric = metrics.BinaryECE(num_bins)
        metric.update_state(1 - self.wrong, confidence)
        return float(metric.result())


class AtTemperatures(keras.Model):
    """Confidence and -log p of the label at several temperatures: the logits stay on the device.

    Args:
        model: From `transformer`.
        temperatures: To divide logits by.

    Call arguments:
        inputs: {"source", "target", "labels"}, int, shapes (B, S), (B, T), (B, T).

    Returns:
        float32, shape (B, T, 1 + 2 temperatures): whether the top token is wrong, confidences,
        -log p of the label.
    """

    def __init__(self, model: keras.Model, temperatures: Sequence[float]):
        super().__init__()
        self.model, self.temperatures = model, tuple(temperatures)

    def call(self, inputs: dict[str, Any]) -> Any:
        logits = self.model({name: inputs[name] for name in ("source", "target")})
        labels = ops.expand_dims(inputs["labels"], -1)
        largest = ops.max(logits, axis=-1, keepdims=True)
        below = ops.squeeze(largest - ops.take_along_axis(logits, labels, axis=-1), -1)
        wrong = ops.not_equal(ops.argmax(logits, axis=-1), inputs["labels"])
        sums = [ops.sum(ops.exp((logits - largest) / t), axis=-1) for t in self.temperatures]
        nll = [below / t + ops.log(x) for t, x in zip(self.temperatures, sums, strict=True)]
        parts = [ops.cast(wrong, "float32"), *(1.0 / x for x in sums), *nll]
        return ops.stack(parts, axis=-1)


def predict_tokens(
    model: keras.Model, batches: TokenBatches, temperatures: Sequence[float]
) -> TokenPredictions:
    """Return what a model predicts for the next token, given the right ones before it."""
    at_temperatures = AtTemperatures(model, temperatures)
    at_temperatures.compile()
    rows = []
    for index in range(len(batches)):
        inputs, labels, weights = batches[index]
        found = at_temperatures.predict_on_batch({**inputs, "labels": labels})
        rows.append(found[weights > 0])
    wrong, confidence, nll = np.split(np.concatenate(rows), [1, 1 + len(temperatures)], axis=-1)
    return TokenPredictions(confidence, nll, wrong[:, 0])


def translate(
    translator: Translator, tokenizer: Any, sentences: Sequence[str], batch_size: int = 100
) -> list[str]:
    """Return translations, detokenised, in the order of the sentences."""
    sources = encode(tokenizer, sentences, LONGEST)
    length = max(map(len, sources))
    order = np.argsort([len(ids) for ids in sources], kind="stable")
    texts: dict[int, str] = {}
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = np.full((batch_size, length), PAD, "int32")
        for i, row in enumerate(rows):
            batch[i, : len(sources[row])] = sources[row]
        found = translator.predict_on_batch(batch)
        for row, ids in zip(rows, found, strict=False):
            texts[int(row)] = tokenizer.decode(ids.tolist())
    return [texts[row] for row in range(len(sources))]


def evaluate(
    folder: Path,
    *,
    data_dir: Path | None = None,
    temperatures: Sequence[float] | None = None,
    bleu_temperatures: Sequence[float] = BLEU_TEMPERATURES,
    beams: int = 4,
    alpha: float = 0.6,
    sentences: int | None = None,
    num_bins: int = 15,
) -> dict[str, Any]:
    """Measure a run, write translation.json into its folder, and return what was written.

    By criterion, "ece" or "nll", it holds the temperature `T` of the least on the validation
    pairs, and `pre` and `post`: `ece` of the next token in per cent, `nll` in nats a token, and
    `bleu` of beam search, all on the test pairs. `ece` also holds the curves of Figure 5.

    Args:
        folder: Folder of a finished run.
        data_dir: As for `data.load`.
        temperatures: Where ECE and NLL are measured; T is one of them. 1 is added. None for those
            of the recipe.
        bleu_temperatures: Where BLEU is measured besides 1 and the two T.
        beams: Width of the beam.
        alpha: Length penalty.
        sentences: None, or how many of the test sentences are translated.
        num_bins: Bins of the ECE.

    Raises:
        FileNotFoundError: If the folder holds no run.
        ValueError: If the run is not finished, or a temperature is not above 0.
    """
    import sacrebleu

    check(temperatures=temperatures, bleu_temperatures=bleu_temperatures)
    start = time.perf_counter()
    if not (folder / "run.json").is_file():
        raise FileNotFoundError(
            f"RUN must be the folder of a run, with the run.json that training writes. "
            f"Received: {folder}"
        )
    (run,) = read(folder)
    model, tokenizer = load(run)
    corpus = data.load(run.dataset, data_dir)
    temperatures = temperatures or RECIPES[run.dataset].translation.temperatures
    temperatures = sorted({1.0, *temperatures})
    parts = {}
    for name, pairs in (("validation", corpus.validation), ("test", corpus.test)):
        batches = TokenBatches(pairs, tokenizer, run.trained_with["batch_size"], LONGEST)
        parts[name] = predict_tokens(model, batches, temperatures)
    if not all(np.isfinite(part.nll).all() for part in parts.values()):
        raise ValueError(f"RUN must be a run that did not diverge. Received: {folder}")
    ece = {name: 100.0 * part.errors(num_bins) for name, part in parts.items()}
    nll = {name: part.nll.mean(axis=0, dtype="float64") for name, part in parts.items()}
    chosen = {
        "ece": temperatures[int(np.argmin(ece["validation"]))],
        "nll": temperatures[int(np.argmin(nll["validation"]))],
    }

    test = corpus.test.take(slice(sentences))
    translator = Translator(model, beams=beams, alpha=alpha)
    translator.compile()
    bleu, examples = {}, {}
    for temperature in sorted({1.0, *chosen.values(), *bleu_temperatures}):
        translator.set_temperature(temperature)
        texts = translate(translator, tokenizer, test.source)
        bleu[temperature] = sacrebleu.corpus_bleu(texts, [test.target]).score
        examples[temperature] = texts[:3]

    def figures(temperature: float) -> dict[str, float]:
        at = temperatures.index(temperature)
        return {
            "ece": float(ece["test"][at]),
            "nll": float(nll["test"][at]),
            "bleu": bleu[temperature],
        }

    found: dict[str, Any] = {
        name: {"T": T, "pre": figures(1.0), "post": figures(T)} for name, T in chosen.items()
    }
    found["ece"] |= {
        "temperatures": list(temperatures),
        "ece_validation": ece["validation"].tolist(),
        "ece_test": ece["test"].tolist(),
        "bleu_temperatures": list(bleu),
        "bleu_test": list(bleu.values()),
        "search": {"beams": beams, "alpha": alpha, "sentences": len(test)},
        "examples": examples[1.0],
        "seconds": time.perf_counter() - start,
    }
    write_json(run.folder / "translation.json", found)
    return found


def check(
    temperatures: Sequence[float] | None, bleu_temperatures: Sequence[float], **_: Any
) -> None:
    """Raise an error if a temperature is not above 0.

    Raises:
        ValueError: Which option has it.
    """
    asked = {"--temperatures": temperatures or (), "--bleu-temperatures": bleu_temperatures}
    for name, values in asked.items():
        if not all(value > 0 for value in values):
            raise ValueError(f"`{name}` must be above 0. Received: {list(values)}")


def load(run: Run) -> tuple[keras.Model, Any]:
    """Return the model of a finished run, and its tokenizer."""
    if not run.is_translation:
        raise ValueError(
            f"RUN must be a run of translation; `python -m examples.paper.tables` measures others. "
            f"Received: {run.folder}"
        )
    if not run.finished:
        raise ValueError(
            f"RUN must be a finished run: train with the same settings again, and it goes on. "
            f"Received: {run.folder}"
        )
    tokenizer = load_tokenizer(run.folder)
    half = run.trained_with["mixed_precision"]
    keras.config.set_dtype_policy("mixed_bfloat16" if half else "float32")
    model = transformer(SIZES[run.settings["size"]], tokenizer.get_piece_size())
    load_weights(model, run.folder / "model.weights.h5")
    return model, tokenizer
