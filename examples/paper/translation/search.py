"""Beam search over a batch of sentences."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

import keras_focal
from examples.paper.data.tokens import END, PAD, START
from examples.paper.networks.transformer import embed

Tensor = Any
Step = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def beam_search(
    step: Step,
    state: Tensor,
    batch_size: int,
    *,
    max_length: int,
    limit: Tensor | None = None,
    beams: int = 4,
    alpha: float = 0.6,
) -> tuple[Tensor, Tensor]:
    """Return the sequence of the highest score that beam search finds for each of a batch.

    The score of a sequence of n tokens, END included, is log p / ((5 + n) / 6)^alpha. The search
    ends when no open sequence can reach the score of the best ended one.

    Args:
        step: Function of the last tokens, int32 (batch * beams,), their position, and a state, to
            logits, shape (batch * beams, V), V >= 2, and the next state.
        state: Tensor with batch * beams on its first axis, which follows the beams.
        batch_size: Number of sequences.
        max_length: Number of tokens, END included, that there is room for.
        limit: None, or an int32 scalar <= max_length: the number that may be used.
        beams: Width of the beam.
        alpha: Length penalty, >= 0.

    Returns:
        Tokens, int32, shape (batch, max_length), PAD after END; the best open sequence where none
        ended. Scores, float32, shape (batch,), -inf there.

    Source:
        Vaswani et al., 2017, section 6.1 (4 beams, alpha 0.6); Wu et al., 2016, eq. 14.
    """
    limit = ops.convert_to_tensor(max_length if limit is None else limit, dtype="int32")
    places = ops.arange(max_length, dtype="int32")
    start = [[0.0] + [-float("inf")] * (beams - 1)] * batch_size
    nothing = ops.full((batch_size, beams, max_length), PAD, dtype="int32")
    no_score = ops.full((batch_size, beams), -float("inf"), dtype="float32")

    def penalty(length: Tensor) -> Tensor:
        return ops.power((5.0 + ops.cast(length, "float32")) / 6.0, alpha)

    def goes_on(i, last, tokens, log_probs, ended, scores, state):
        best = log_probs[:, 0] / penalty(limit)
        return ops.logical_and(i < limit, ops.any(scores[:, 0] < best))

    def body(i, last, tokens, log_probs, ended, scores, state):
        logits, state = step(ops.reshape(last, (-1,)), i, state)
        vocabulary_size = logits.shape[-1]
        log_p = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
        log_p = ops.reshape(log_p, (batch_size, beams, vocabulary_size)) + log_probs[..., None]
        # Of twice as many, enough are left when those that end are taken out.
        log_p, index = ops.top_k(
            ops.reshape(log_p, (batch_size, beams * vocabulary_size)), 2 * beams
        )
        index = ops.cast(index, "int32")
        parents, words = index // vocabulary_size, index % vocabulary_size
        candidates = ops.where(places == i, words[..., None], _choose(tokens, parents))
        ends = words == END

        new_scores = ops.where(ends, log_p / penalty(i + 1), -float("inf"))
        scores, best = ops.top_k(ops.concatenate([scores, new_scores], axis=1), beams)
        ended = _choose(ops.concatenate([ended, candidates], axis=1), best)

        log_probs, best = ops.top_k(ops.where(ends, -float("inf"), log_p), beams)
        state = ops.reshape(state, (batch_size, beams, *state.shape[1:]))
        state = _choose(state, _choose(parents, best))
        state = ops.reshape(state, (batch_size * beams, *state.shape[2:]))
        last, tokens = _choose(words, best), _choose(candidates, best)
        return i + 1, last, tokens, log_probs, ended, scores, state

    variables = (
        ops.zeros((), dtype="int32"),
        ops.full((batch_size, beams), START, dtype="int32"),
        nothing,
        ops.convert_to_tensor(start, dtype="float32"),
        nothing,
        no_score,
        state,
    )
    _, _, tokens, _, ended, scores, _ = ops.while_loop(goes_on, body, variables)
    has_ended = scores[:, :1] > -float("inf")
    return ops.where(has_ended, ended[:, 0], tokens[:, 0]), scores[:, 0]


def _choose(x: Tensor, index: Tensor) -> Tensor:
    """Return x[b, index[b, j]], shape (batch, n, ...)."""
    batch_size, size = x.shape[:2]
    index = ops.cast(index, "int32") + ops.arange(batch_size, dtype="int32")[:, None] * size
    return ops.take(ops.reshape(x, (batch_size * size, *x.shape[2:])), index, axis=0)


class Translator(keras.Model):
    """Source tokens to target tokens, by beam search with cached keys and values.

    Args:
        model: From `transformer`.
        beams: Width of the beam.
        alpha: Length penalty.
        extra: A translation may have this many tokens more than its source.

    Call arguments:
        source: int32, shape (batch, length), both known.

    Returns:
        int32, shape (batch, length + extra), PAD after END.
    """

    def __init__(self, model: keras.Model, *, beams: int = 4, alpha: float = 0.6, extra: int = 20):
        super().__init__()
        self.encoder, self.decoder = model.get_layer("encoder"), model.get_layer("decoder")
        self.scaling = keras_focal.layers.TemperatureScaling()
        self.beams, self.alpha, self.extra = beams, alpha, extra

    def set_temperature(self, temperature: float) -> None:
        """Divide logits by this from now on."""
        self.scaling.log_temperature.assign(ops.log(temperature))

    def call(self, source: Tensor) -> Tensor:
        import keras_hub

        batch_size, length = source.shape
        max_length = length + self.extra
        blocks = [
            layer
            for layer in self.decoder.layers
            if isinstance(layer, keras_hub.layers.TransformerDecoder)
        ]
        embedding = self.decoder.get_layer("embedding")
        memory = ops.repeat(self.encoder(source), self.beams, axis=0)
        mask = ops.repeat(ops.not_equal(source, PAD), self.beams, axis=0)

        def empty(length: int) -> Tensor:
            heads = blocks[0].num_heads
            shape = (batch_size * self.beams, 2, length, heads, memory.shape[-1] // heads)
            return ops.zeros(shape, dtype=memory.dtype)

        def decode(last: Tensor, i: Tensor, caches: list, cross: list, fill: int | None) -> tuple:
            x = embed(embedding, last[:, None], i)
            caches, cross = list(caches), list(cross)
            for n, block in enumerate(blocks):
                x, caches[n], cross[n] = block(
                    x,
                    memory,
                    encoder_padding_mask=mask,
                    self_attention_cache=caches[n],
                    self_attention_cache_update_index=i,
                    cross_attention_cache=cross[n],
                    cross_attention_cache_update_index=fill,
                )
            return x, caches, cross

        caches = [empty(max_length) for _ in blocks]
        first = ops.full((batch_size * self.beams,), START, dtype="int32")
        _, _, cross = decode(first, 0, caches, [empty(length) for _ in blocks], 0)

        def step(last: Tensor, i: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            x, caches, _ = decode(last, i, ops.unstack(state, len(blocks), axis=1), cross, None)
            logits = self.scaling(embedding(x[:, 0], reverse=True))
            return logits, ops.stack(caches, axis=1)

        limit = ops.max(ops.sum(ops.cast(mask, "int32"), axis=-1)) + self.extra
        tokens, _ = beam_search(
            step,
            ops.stack(caches, axis=1),
            batch_size,
            max_length=max_length,
            limit=limit,
            beams=self.beams,
            alpha=self.alpha,
        )
        return tokens
