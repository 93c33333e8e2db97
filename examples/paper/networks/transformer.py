"""The Transformer, of KerasHub's blocks."""

from dataclasses import dataclass
from typing import Any

import keras
from keras import layers, ops

from examples.paper.data.tokens import PAD

Tensor = Any


@dataclass(frozen=True)
class Size:
    """Blocks of encoder and decoder each, width, heads, width of the hidden layer, dropout."""

    blocks: int
    width: int
    heads: int
    hidden: int
    dropout: float = 0.1


SIZES = {
    "base": Size(blocks=6, width=512, heads=8, hidden=2048),
    "small": Size(blocks=2, width=128, heads=4, hidden=512),
    "tiny": Size(blocks=1, width=16, heads=2, hidden=32),
}
"""Base is the paper's; small is for processors; tiny for tests."""


def transformer(size: Size, vocabulary_size: int) -> keras.Model:
    """Return a Transformer that gives the logits of the next target token at each position.

    One embedding serves source, target and, transposed, the logits. The sub-models "encoder"
    (source → memory) and "decoder" (memory, source, target → logits) are what beam search calls.

    Args:
        size: Of `SIZES`, or your own.
        vocabulary_size: V.

    Returns:
        Model of {"source": int (B, S), "target": int (B, T)}, PAD at the end of each, to logits,
        float32, shape (B, T, V).

    Source:
        Vaswani et al., 2017, "Attention Is All You Need", section 3; base model of Table 3.
    """
    import keras_hub

    embedding = keras_hub.layers.ReversibleEmbedding(
        vocabulary_size,
        size.width,
        embeddings_initializer=keras.initializers.RandomNormal(stddev=size.width**-0.5),
        reverse_dtype="float32",
        name="embedding",
    )
    block = {
        "intermediate_dim": size.hidden,
        "num_heads": size.heads,
        "dropout": size.dropout,
    }

    source = keras.Input((None,), dtype="int32", name="source")
    x = layers.Dropout(size.dropout)(embed(embedding, source))
    for _ in range(size.blocks):
        x = keras_hub.layers.TransformerEncoder(**block)(x, padding_mask=ops.not_equal(source, PAD))
    encoder = keras.Model(source, x, name="encoder")

    memory = keras.Input((None, size.width), name="memory")
    target = keras.Input((None,), dtype="int32", name="target")
    x = layers.Dropout(size.dropout)(embed(embedding, target))
    for _ in range(size.blocks):
        x = keras_hub.layers.TransformerDecoder(**block)(
            x, memory, encoder_padding_mask=ops.not_equal(source, PAD)
        )
    decoder = keras.Model([memory, source, target], embedding(x, reverse=True), name="decoder")

    logits = decoder([encoder(source), source, target])
    return keras.Model({"source": source, "target": target}, logits, name="transformer")


def embed(embedding: keras.layers.Layer, ids: Tensor, start: Tensor = 0) -> Tensor:
    """Return embeddings scaled by sqrt(width), plus sines of the positions from `start` on."""
    import keras_hub

    x = embedding(ids) * embedding.output_dim**0.5
    return x + keras_hub.layers.SinePositionEncoding()(x, start_index=start)
