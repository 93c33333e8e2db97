"""The binary constituency Tree-LSTM of Tai et al., 2015, for batches of trees under XLA."""

import keras
from keras import ops

from examples.paper.data._types import Data

BLOCK = 32


def tree_lstm(data: Data, units: int = 150, embedding: int = 300) -> keras.Model:
    """Return a network that gives the logits of every node, shape (B, nodes, 2), the root first.

    Args:
        data: Trees as `examples.paper.data.sst.encode` gives them.
        units: Size of the hidden state and of the cell.
        embedding: Size of a word vector.
    """
    width = data.train.y.shape[1]
    inputs = {
        name: keras.Input((width,), dtype="int32", name=name)
        for name in ("word", "left", "right", "height")
    }
    levels = max(int(split.x["height"].max()) for split in (data.train, data.validation, data.test))
    outputs = TreeLSTM(
        len(data.vocabulary), data.num_classes, units, embedding, levels, name="tree_lstm"
    )(inputs)
    return keras.Model(inputs, outputs, name="tree_lstm")


class TreeLSTM(keras.layers.Layer):
    """Logits of the nodes of binary trees."""

    def __init__(self, words, num_classes, units, embedding, levels, **kwargs):
        super().__init__(**kwargs)
        self.units, self.levels = units, levels
        self.embedding = keras.layers.Embedding(words, embedding)
        self.leaf = keras.layers.Dense(2 * units)
        self.dropout = keras.layers.Dropout(0.5)
        self.head = keras.layers.Dense(num_classes, dtype="float32")

    def build(self, input_shape):
        units = self.units
        self.kernel = self.add_weight(shape=(2 * units, 5 * units), name="kernel")
        self.bias = self.add_weight(shape=(5 * units,), initializer="zeros", name="bias")
        self.embedding.build(input_shape["word"])
        self.leaf.build((None, self.embedding.output_dim))
        self.head.build((None, units))

    def compute_output_shape(self, input_shape):
        return (*input_shape["word"], self.head.units)

    def call(self, inputs, training=None):
        nodes = _sort(inputs, self.levels)
        width = inputs["word"].shape[1]
        leaves = (nodes["rows"] // width) * ((width + 1) // 2)
        cell, gate = ops.split(
            self.leaf(
                ops.take(
                    ops.multiply(self.embedding.embeddings, 1.0), nodes["word"][:leaves], axis=0
                )
            ),
            2,
            axis=-1,
        )
        states = ops.concatenate([ops.sigmoid(gate) * ops.tanh(cell), cell], axis=-1)
        states = _compose(nodes, self.units)(states, self.kernel, self.bias)
        logits = self.head(self.dropout(states[: nodes["rows"], : self.units], training=training))
        return ops.reshape(ops.take(logits, nodes["rank"], axis=0), (-1, width, self.head.units))


def _sort(x, levels):
    """Return the nodes of a batch in the order of their heights, with the blocks to compute."""
    batch, width = ops.shape(x["word"])
    rows = batch * width
    height = ops.reshape(x["height"], (-1,))
    key = ops.where(height > 0, height, levels + 1)
    order = ops.argsort(key)
    rank = ops.argsort(order)
    offset = width * ops.arange(batch, dtype="int32")[:, None]

    def child(name):
        return ops.take(ops.take(rank, ops.reshape(x[name] + offset, (-1,))), order)

    ends = ops.sum(ops.cast(key[None] <= ops.arange(1, levels + 1)[:, None], "int32"), axis=1)
    counts = (ends[1:] - ends[:-1] + BLOCK - 1) // BLOCK
    last = ops.cumsum(counts)
    step = ops.arange(levels + rows // BLOCK, dtype="int32")
    level = ops.minimum(ops.sum(ops.cast(step[:, None] >= last[None], "int32"), axis=1), levels - 2)
    starts = ops.take(ends, level) + BLOCK * (step - ops.take(last - counts, level))
    left, right = child("left"), child("right")
    return {
        "rows": rows,
        "word": ops.take(ops.reshape(x["word"], (-1,)), order),
        "rank": rank,
        "left": left,
        "right": right,
        "height": ops.take(height, order),
        "starts": starts,
        "steps": last[-1],
    }


def _compose(nodes, units):
    """Return the function of states of leaves, kernel and bias that gives the states of all nodes."""
    rows, starts, steps = nodes["rows"], nodes["starts"], nodes["steps"]
    padding = ops.zeros((BLOCK,), "int32")
    left = ops.concatenate([nodes["left"], padding])
    right = ops.concatenate([nodes["right"], padding])
    height = ops.concatenate([nodes["height"], padding])
    inner = ops.arange(rows + BLOCK, dtype="int32")
    is_inner = height > 1
    # Where a node is nobody's child, its parent is a row past the end, whose gradient stays zero.
    nobody = 2 * rows
    parent = ops.full((rows + BLOCK,), nobody, dtype="int32")
    waste = ops.full((rows + BLOCK,), rows + BLOCK - 1, dtype="int32")
    for side, children in enumerate((left, right)):
        where = ops.where(is_inner, children, waste)
        parent = ops.scatter_update(
            parent, where[:, None], ops.where(is_inner, 2 * inner + side, nobody)
        )

    # Rows are taken, not sliced: TensorFlow looks for a constant start of a slice for minutes.
    def block(array, start):
        return ops.take(array, start + ops.arange(BLOCK, dtype="int32"), axis=0)

    def put(array, start, values):
        return ops.slice_update(array, (start, *(0,) * (len(array.shape) - 1)), values)

    def children_states(states, start):
        pair = [ops.take(states, block(side, start), axis=0) for side in (left, right)]
        return (
            ops.concatenate([pair[0][:, :units], pair[1][:, :units]], axis=-1),
            pair[0][:, units:],
            pair[1][:, units:],
        )

    @ops.custom_gradient
    def compose(leaves, kernel, bias):
        states = ops.pad(leaves, [[0, rows + BLOCK - ops.shape(leaves)[0]], [0, 0]])
        gates = ops.zeros((rows + BLOCK, 5 * units), states.dtype)

        def forward(step, states, gates):
            start = ops.take(starts, step)
            hidden, left_cell, right_cell = children_states(states, start)
            z = ops.matmul(hidden, kernel) + bias
            s = ops.sigmoid(z[:, : 4 * units])
            i, fl, fr, o = ops.split(s, 4, axis=-1)
            u = ops.tanh(z[:, 4 * units :])
            c = i * u + fl * left_cell + fr * right_cell
            h = o * ops.tanh(c)
            return (
                step + 1,
                put(states, start, ops.concatenate([h, c], axis=-1)),
                put(gates, start, ops.concatenate([s, u], axis=-1)),
            )

        _, states, gates = ops.while_loop(
            lambda step, *_: step < steps, forward, (ops.zeros((), "int32"), states, gates)
        )

        def gradient(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            down = ops.zeros((rows + BLOCK, 4 * units), states.dtype)

            def total(down, start_or_rows):
                index = start_or_rows
                pairs = ops.reshape(down, (2 * (rows + BLOCK), 2 * units))
                return ops.take(pairs, index, axis=0)

            def backward(step, down, gates_out, dkernel):
                start = ops.take(starts, step)
                d = block(upstream, start) + total(down, block(parent, start))
                inner_mask = ops.cast(block(height, start) > 1, d.dtype)[:, None]
                d = d * inner_mask
                dh, dc = d[:, :units], d[:, units:]
                hidden, left_cell, right_cell = children_states(states, start)
                g = block(gates, start)
                i, fl, fr, o, u = ops.split(g, 5, axis=-1)
                t = ops.tanh(block(states, start)[:, units:])
                dc = dc + dh * o * (1 - t * t)
                dz = ops.concatenate(
                    [
                        dc * u * i * (1 - i),
                        dc * left_cell * fl * (1 - fl),
                        dc * right_cell * fr * (1 - fr),
                        dh * t * o * (1 - o),
                        dc * i * (1 - u * u),
                    ],
                    axis=-1,
                )
                dhidden = ops.matmul(dz, ops.transpose(kernel))
                passed = ops.concatenate(
                    [dhidden[:, :units], dc * fl, dhidden[:, units:], dc * fr], axis=-1
                )
                return step - 1, put(down, start, passed), put(gates_out, start, dz), dkernel

            _, down, dz, _ = ops.while_loop(
                lambda step, *_: step >= 0,
                backward,
                (steps - 1, down, ops.zeros_like(gates), ops.zeros(())),
            )
            hidden = ops.concatenate(
                [
                    ops.take(states[:, :units], left, axis=0),
                    ops.take(states[:, :units], right, axis=0),
                ],
                axis=-1,
            )
            dkernel = ops.matmul(ops.transpose(hidden), dz)
            count = ops.shape(leaves)[0]
            dleaves = upstream[:count] + total(down, parent[:count])
            dleaves = dleaves * ops.cast(height[:count] == 1, dleaves.dtype)[:, None]
            return dleaves, dkernel, ops.sum(dz, axis=0)

        return states, gradient

    return compose
