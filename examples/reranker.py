"""Ranking: binary focal loss, cross-entropy and a pairwise loss on sparse relevance.

The subject of a thread of 20 Newsgroups is a query. Two of its articles are relevant, among 30
candidates: half are from the same group, the rest from any. A network with one hidden layer scores
each candidate from what the query and the first 1,500 characters of the article share in tf-idf and
in 50 dimensions of latent semantic analysis. Held-out threads and those of the test are not trained
on.

Cross-entropy and both focal losses (gamma 2; and with alpha 0.75 for the relevant) see each
candidate by itself, so that the sigmoid of a score is meant to be the probability that it is
relevant. The pairwise loss, RankNet's (Burges et al., 2005) from KerasRS, sees only differences
between scores of the same list.

NDCG@10 measures the order. NLL and ECE, the binary ECE, measure the probabilities: as they are, at
the temperature T that was fitted on the held-out threads, and after Platt scaling, which also
shifts the scores. Neither map changes the order.
"""

import os
import re
from collections import defaultdict
from functools import lru_cache, partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import keras_rs
import numpy as np
from keras import layers
from shared.dots import draw_dots
from shared.study import Figure, Run, Study
from shared.texts import FILE, WANTED, read_articles
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import ndcg_score
from sklearn.preprocessing import normalize

from keras_focal import calibration, functional, losses, metrics

NDCG = Figure("ndcg", "NDCG@10 %", "more", 100, 1)
NLL_AT_T = Figure("nll_at_t", "NLL at T")
STUDY = Study(
    "reranker",
    __doc__,
    baseline="cross-entropy",
    figures=[
        NDCG,
        Figure("nll", "NLL"),
        Figure("ece", "ECE %", "less", 100, 2),
        Figure("temperature", "T", "neither", 1, 2),
        NLL_AT_T,
        Figure("ece_at_t", "ECE % at T", "less", 100, 2),
        Figure("nll_platt", "NLL, Platt"),
        Figure("ece_platt", "ECE %, Platt", "less", 100, 2),
    ],
    command="--data-dir newsgroups20",
)
CANDIDATES, RELEVANT = 30, 2
LOSSES = {
    "cross-entropy": partial(keras.losses.BinaryCrossentropy, from_logits=True),
    "focal": partial(losses.BinaryFocalCrossentropy, gamma=2.0, from_logits=True),
    "focal, alpha 0.75": partial(
        losses.BinaryFocalCrossentropy, gamma=2.0, alpha=0.75, from_logits=True
    ),
    "pairwise": keras_rs.losses.PairwiseLogisticLoss,
}
Lists = tuple[np.ndarray, np.ndarray]
"""Features, shape (lists, candidates, features), and relevance, shape (lists, candidates)."""


def threads_of(articles: list[dict]) -> dict[tuple[str, str], list[int]]:
    """Return the articles of each thread by group and words of the subject, without "Re:"."""
    threads = defaultdict(list)
    for number, article in enumerate(articles):
        subject = re.sub(r"^(\s*re\s*:)+", "", article["subject"].lower())
        words = " ".join(re.findall(r"[a-z0-9]+", subject))
        threads[article["group"], words].append(number)
    return threads


def candidates(
    number: int, own: list[int], groups: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return articles to rank for a thread: the relevant ones, then others."""
    relevant = rng.permutation(own)[:RELEVANT]
    near = np.setdiff1d(np.flatnonzero(groups == groups[number]), own)
    near = rng.permutation(near)[: CANDIDATES // 2 - RELEVANT]
    rest = np.setdiff1d(np.arange(len(groups)), np.concatenate([own, near]))
    return np.concatenate([relevant, near, rng.permutation(rest)[: CANDIDATES // 2]])


def features_of(queries: list[str], texts: list[str], rows: np.ndarray, train: int) -> np.ndarray:
    """Return features of (query, text) pairs, float32, shape (queries, candidates, features).

    Args:
        queries: Words of each query.
        texts: Articles.
        rows: Which texts are the candidates of each query.
        train: The first so many queries are trained on. All that is fitted is fitted to them.
    """
    words = TfidfVectorizer(max_features=20_000, sublinear_tf=True, stop_words="english")
    seen = np.unique(rows[:train])
    words.fit([texts[row] for row in seen])
    of_texts, of_queries = words.transform(texts), words.transform(queries)
    latent = TruncatedSVD(50, random_state=0).fit(of_texts[seen])
    of_both = (normalize(latent.transform(part)) for part in (of_texts, of_queries))
    near = np.multiply(next(of_both)[rows], next(of_both)[:, None])
    cosine = np.take_along_axis((of_queries @ of_texts.T).toarray(), rows, axis=1)
    length = np.log1p([len(text) for text in texts])[rows]
    features = np.concatenate(
        [near, *(part[..., None] for part in (near.sum(axis=-1), cosine, length))], axis=-1
    )
    mean, spread = (getattr(features[:train], name)(axis=(0, 1)) for name in ("mean", "std"))
    return ((features - mean) / np.maximum(spread, 1e-6)).astype("float32")


@lru_cache(maxsize=1)
def prepared(file: Path, quick: bool, seed: int) -> tuple[Lists, Lists, Lists]:
    """Return lists of threads to train on, of held-out threads, and of those of the test."""
    articles = read_articles(file, ("text", "group", "subject"))
    found = [
        (words, own)
        for (_, words), own in threads_of(articles).items()
        if len(own) >= RELEVANT and len(words.split()) >= 2
    ]
    sizes = (60, 30, 30) if quick else (400, 150, 300)
    if len(found) < sum(sizes):
        raise SystemExit(
            f"{file} must hold {sum(sizes)} threads, {RELEVANT} articles or more with the same "
            f"`group` and `subject`. Received: {len(found)}."
        )
    rng = np.random.default_rng(seed)
    drawn = [found[number] for number in rng.permutation(len(found))[: sum(sizes)]]
    groups = np.array([article["group"] for article in articles])
    numbers = np.array([candidates(own[0], own, groups, rng) for _, own in drawn])
    used, rows = np.unique(numbers, return_inverse=True)
    features = features_of(
        [words for words, _ in drawn],
        [articles[number]["text"][:1500] for number in used],
        rows.reshape(numbers.shape),
        sizes[0],
    )
    relevance = np.tile(np.arange(CANDIDATES) < RELEVANT, (len(drawn), 1)).astype("float32")
    cuts = np.cumsum(sizes)[:-1]
    train, held_out, test = zip(np.split(features, cuts), np.split(relevance, cuts), strict=True)
    return train, held_out, test


def train(file: Path, quick: bool, name: str, epochs: int, seed: int) -> Run:
    """Train with a loss, fit maps on held-out threads, and return the figures of the test."""
    (x, relevance), held_out, test = prepared(file, quick, seed)
    inputs = keras.Input(x.shape[1:])
    hidden = layers.Dropout(0.3)(layers.Dense(64, activation="relu")(inputs))
    share = keras.initializers.Constant(float(np.log(RELEVANT / (CANDIDATES - RELEVANT))))
    scores = layers.Dense(1, bias_initializer=share)(hidden)
    model = keras.Model(inputs, keras.ops.squeeze(scores, axis=-1))
    model.compile(keras.optimizers.Adam(2e-3), LOSSES[name]())
    model.fit(x, relevance, epochs=epochs, batch_size=20, verbose=0)
    fitted_to, logits = (
        keras.ops.convert_to_numpy(model(part[0], training=False)) for part in (held_out, test)
    )
    fitted = {"logits": fitted_to.reshape(-1, 1), "labels": held_out[1].reshape(-1).astype(int)}
    temperature = calibration.fit_temperature(**fitted).temperature
    platt = calibration.fit_map(**fitted, method="platt", folds=0).layer
    ndcg = float(ndcg_score(test[1], logits, k=10))
    logits, labels = logits.reshape(-1, 1), test[1].reshape(-1).astype(int)
    figures = {
        **probabilities(labels, logits, ""),
        **probabilities(labels, logits / np.float32(temperature), "_at_t"),
        **probabilities(labels, platt(logits), "_platt"),
    }
    return {"ndcg": ndcg, "temperature": temperature, **figures}


def probabilities(labels: np.ndarray, logits: np.ndarray, suffix: str) -> Run:
    """Return NLL and binary ECE of logits, shape (N, 1)."""
    nll = functional.negative_log_likelihood(labels, logits, from_logits=True)
    ece = metrics.BinaryExpectedCalibrationError(from_logits=True)
    ece.update_state(labels, logits)
    return {f"nll{suffix}": float(keras.ops.mean(nll)), f"ece{suffix}": float(ece.result())}


def draw(runs: list[Run], file: Path) -> None:
    draw_dots(STUDY, runs, file, NDCG, NLL_AT_T)


def main() -> None:
    arguments = STUDY.parse(STUDY.parser(epochs=20, seeds=5, data=WANTED))
    train_one = partial(train, arguments.data_dir / FILE, arguments.quick)
    runs = STUDY.run(
        arguments, {name: partial(train_one, name, arguments.epochs) for name in LOSSES}
    )
    STUDY.report(arguments, runs, draw)


if __name__ == "__main__":
    main()
