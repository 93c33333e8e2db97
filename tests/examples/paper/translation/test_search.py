"""Beam search against all sequences that there are."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from examples.paper.data.tokens import END, PAD, START
from examples.paper.networks.transformer import SIZES, transformer
from examples.paper.translation.search import Translator, beam_search

WORDS, LENGTH = 6, 3


def table_step(tables, beams):
    """A model whose next token hangs on all tokens before it, which its state keeps as a number."""
    tables = ops.convert_to_tensor(tables)
    batch_size, states = tables.shape[0], tables.shape[1]
    flat = ops.reshape(tables, (batch_size * states, WORDS))
    first = np.repeat(np.arange(batch_size) * states, beams)

    def step(last, i, state):
        code = ops.cast(state[:, 0], "int32") * WORDS + last
        code = ops.where(ops.equal(i, 0), ops.zeros_like(code), code)
        logits = ops.take(flat, code % states + ops.cast(first, "int32"), axis=0)
        return logits, ops.cast(code, "float32")[:, None]

    return step


def best_of_all(table, alpha, length=LENGTH):
    """The sequence of the highest score, and the score, by trying each."""
    best = (-np.inf, ())
    for n in range(1, length + 1):
        for words in itertools.product([w for w in range(WORDS) if w != END], repeat=n - 1):
            code, log_p, last = 0, 0.0, START
            for i, word in enumerate((*words, END)):
                code = 0 if i == 0 else code * WORDS + last
                z = table[code % len(table)].astype("float64")
                log_p += z[word] - np.log(np.exp(z).sum())
                last = word
            best = max(best, (log_p / ((5 + n) / 6) ** alpha, (*words, END)))
    return best


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
def test_wide_beam_finds_the_best_of_all_sequences(rng, alpha):
    beams = (WORDS - 1) ** (LENGTH - 1)
    tables = 2.0 * rng.normal(size=(4, 37, WORDS)).astype("float32")
    tokens, scores = beam_search(
        table_step(tables, beams),
        ops.zeros((4 * beams, 1)),
        4,
        max_length=LENGTH,
        beams=beams,
        alpha=alpha,
    )
    for row, score, table in zip(*map(ops.convert_to_numpy, (tokens, scores)), tables, strict=True):
        wanted, words = best_of_all(table, alpha)
        assert row.tolist() == [*words, *[PAD] * (LENGTH - len(words))]
        assert score == pytest.approx(wanted, 1e-5)


def test_limit_is_a_shorter_length(rng):
    beams = (WORDS - 1) ** (LENGTH - 1)
    tables = rng.normal(size=(3, 37, WORDS)).astype("float32")
    step = table_step(tables, beams)
    _, scores = beam_search(
        step, ops.zeros((3 * beams, 1)), 3, max_length=LENGTH, limit=2, beams=beams
    )
    wanted = [best_of_all(table, 0.6, length=2)[0] for table in tables]
    np.testing.assert_allclose(ops.convert_to_numpy(scores), wanted, rtol=1e-5)


def test_open_sequence_is_returned_where_none_ends():
    logits = np.zeros((1, 37, WORDS), "float32")
    logits[..., END], logits[..., 4] = -np.inf, 5.0
    tokens, scores = beam_search(
        table_step(logits, 2), ops.zeros((2, 1)), 1, max_length=LENGTH, beams=2
    )
    assert ops.convert_to_numpy(tokens)[0].tolist() == [4, 4, 4]
    assert float(scores[0]) == -np.inf


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return transformer(SIZES["tiny"], 12)


def test_search_with_a_cache_is_the_search_without(model, rng):
    source = rng.integers(4, 12, (3, 6)).astype("int32")
    source[:, -1], source[1, 3:] = END, PAD
    beams, length = 2, 6 + 2
    repeated = ops.convert_to_tensor(np.repeat(source, beams, axis=0))

    def step(last, i, state):
        state = ops.where(ops.arange(length) == i, last[:, None], state)
        logits = model({"source": repeated, "target": state}) / 0.7
        return ops.take(logits, i, axis=1), state

    nothing = ops.full((3 * beams, length), PAD, dtype="int32")
    wanted, _ = beam_search(step, nothing, 3, max_length=length, beams=beams)
    translator = Translator(model, beams=beams, extra=2)
    translator.set_temperature(0.7)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(translator(source)), ops.convert_to_numpy(wanted)
    )


def test_padding_of_a_source_changes_nothing(model, rng):
    source = rng.integers(4, 12, (2, 5)).astype("int32")
    wider = np.pad(source, [(0, 0), (0, 4)])
    narrow, wide = (
        ops.convert_to_numpy(Translator(model, beams=2, extra=3)(x)) for x in (source, wider)
    )
    np.testing.assert_array_equal(wide[:, : narrow.shape[1]], narrow)
