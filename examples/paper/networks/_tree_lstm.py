"""The binary constituency Tree-LSTM of Tai et al., 2015, for batches of trees under XLA.

The nodes of a batch are computed in the order of their heights, all trees together, in blocks of
`BLOCK` nodes of one height. How many blocks there are depends on the batch, the shapes do not, so
little is computed for padding. The gradient goes through the blocks backwards; it is written out,
since JAX does not differentiate a loop of unknown length.
"""

from typing import Any

import keras
from keras import ops

from examples.paper.data._types import Data

BLOCK = 32
DECAY = 1e-4
Tensor = Any


def tree_lstm(data: Data, units: int = 150, embedding: int = 300) -> keras.Model:
    """Return a network that gives the logits of every node, shape (B, nodes, 2), the root first.

    Half of the hidden units are dropped before the last layer: the same ones at all nodes of a
    sentence, since to draw them anew at each node takes longer than all else under XLA on a CPU.
    All weights but the word vectors have the penalty DECAY / 2 * sum of squares, which is what a
    weight decay of DECAY in the gradient is. The word vectors start as noise in [-0.05, 0.05].

    Args:
        data: Trees, as `examples.paper.data.sst.encode` gives them.
        units: Size of the hidden state and of the memory cell.
        embedding: Size of a word vector.

    Source:
        Tai et al., Improved Semantic Representations From Tree-Structured Long Short-Term Memory
        Networks, 2015, sections 3.2 and 5.3, and the authors' code, in which words have an output
        gate but neither an input gate nor an embedding of their own for each gate.
    """
    width = data.train.y.shape[1]
    inputs = {
        name: keras.Input((width,), dtype="int32", name=name)
        for name in ("word", "left", "right", "height")
    }
    levels = max(int(split.x["height"].max()) for split in (data.train, data.validation, data.test))
    hidden = TreeLSTM(len(data.vocabulary), units, embedding, levels, name="tree_lstm")(inputs)
    hidden = keras.layers.Dropout(0.5, noise_shape=(None, 1, units), name="dropout")(hidden)
    logits = keras.layers.Dense(
        data.num_classes,
        kernel_initializer=uniform(units),
        kernel_regularizer=decay(),
        bias_regularizer=decay(),
        dtype="float32",
        name="logits",
    )(hidden)
    return keras.Model(inputs, logits, name="tree_lstm")


def uniform(fan_in: int) -> keras.initializers.Initializer:
    """Return the initialiser of torch's linear layers."""
    return keras.initializers.RandomUniform(-(fan_in**-0.5), fan_in**-0.5)


def decay() -> keras.regularizers.Regularizer:
    """Return the penalty whose gradient is DECAY times the weights."""
    return keras.regularizers.L2(DECAY / 2)


@keras.saving.register_keras_serializable(package="keras_focal_examples")
class TreeLSTM(keras.layers.Layer):
    """Hidden states of the nodes of binary trees, shape (B, nodes, units).

    Args:
        words: Number of word ids.
        units: Size of the hidden state and of the memory cell.
        embedding: Size of a word vector.
        levels: Height of the highest tree, >= 2, as the input `height` counts.
    """

    def __init__(self, words: int, units: int, embedding: int, levels: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.words, self.units, self.embedding, self.levels = words, units, embedding, levels

    def build(self, input_shape: dict[str, tuple]) -> None:
        def weight(name: str, *shape: int, fan_in: int) -> keras.Variable:
            initializer = uniform(fan_in)
            return self.add_weight(shape, initializer, regularizer=decay(), name=name)

        size, units = self.embedding, self.units
        self.vectors = self.add_weight((self.words, size), "uniform", name="word_vectors")
        self.leaf_kernel = weight("leaf_kernel", size, 2 * units, fan_in=size)
        self.leaf_bias = weight("leaf_bias", 2 * units, fan_in=size)
        self.kernel = weight("kernel", 2 * units, 5 * units, fan_in=units)
        self.bias = weight("bias", 5 * units, fan_in=units)

    def call(self, inputs: dict[str, Tensor]) -> Tensor:
        width = inputs["word"].shape[1]
        nodes = Nodes(inputs, self.levels)
        weights = (self.vectors, self.leaf_kernel, self.leaf_bias, self.kernel, self.bias)
        # On TensorFlow a function with a gradient of its own takes tensors, not variables, and a
        # sparse gradient of a variable is slow under XLA.
        vectors, *weights = (ops.reshape(weight, weight.shape) for weight in weights)
        states = states_of(nodes, self.units)(ops.take(vectors, nodes.word, axis=0), *weights)
        hidden = ops.take(states[:, : self.units], nodes.rank, axis=0)
        return ops.reshape(hidden, (-1, width, self.units))

    def compute_output_shape(self, input_shape: dict[str, tuple]) -> tuple:
        return (*input_shape["word"], self.units)

    def get_config(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("words", "units", "embedding", "levels")}
        return {**super().get_config(), **own}


class Nodes:
    """The nodes of a batch as rows in the order of their heights; unused positions come last.

    Attributes:
        rank: Row of each position of the batch, shape (B * nodes,).
        word: Ids of the words of the first rows, as many as there can be words.
        left, right: Rows of the children, shape (rows,).
        gradient: Where the row's parent leaves the gradient for it: 2 * row of the parent, counted
            from the first phrase, + 1 for the right child; the last place for a root.
        words: Number of words, which is the row of the first phrase.
        phrases: Most phrases that a batch of this size can hold.
        starts, ends: First row of each block and the row after the last of its height.
        steps: Number of blocks of phrases.
    """

    def __init__(self, x: dict[str, Tensor], levels: int):
        width = x["word"].shape[1]
        batch = ops.shape(x["word"])[0]
        rows = batch * width
        height = ops.reshape(x["height"], (-1,))
        key = ops.where(height > 0, height, levels + 1)
        order = ops.cast(ops.argsort(key), "int32")
        self.rank = ops.cast(ops.argsort(order), "int32")
        self.phrases = batch * (width // 2)
        self.word = ops.take(ops.reshape(x["word"], (-1,)), order[: rows - self.phrases])

        first = width * ops.arange(batch, dtype="int32")[:, None]
        children = [
            ops.take(ops.take(self.rank, ops.reshape(x[side] + first, (-1,))), order)
            for side in ("left", "right")
        ]
        level_ends = ops.sum(
            ops.cast(key <= ops.arange(1, levels + 1, dtype="int32")[:, None], "int32"), axis=1
        )
        self.words = level_ends[0]
        row = ops.arange(rows, dtype="int32")
        is_phrase = (row >= self.words) & (row < level_ends[-1])
        nobody = 2 * (self.phrases + BLOCK)
        gradient = ops.full((rows + 1,), nobody, dtype="int32")
        for side, child in enumerate(children):
            # Rows without children write to a place of their own, past the end.
            gradient = ops.scatter_update(
                gradient,
                ops.where(is_phrase, child, rows)[:, None],
                2 * (row - self.words) + side,
            )
        past = ops.zeros((BLOCK,), "int32")
        self.left, self.right = (ops.concatenate([child, past]) for child in children)
        self.gradient = ops.concatenate([gradient[:rows], past + nobody])

        blocks = (level_ends[1:] - level_ends[:-1] + BLOCK - 1) // BLOCK
        last = ops.cumsum(blocks)
        step = ops.arange(levels + self.phrases // BLOCK, dtype="int32")
        level = ops.minimum(ops.sum(ops.cast(step[:, None] >= last, "int32"), axis=1), levels - 2)
        self.starts = ops.take(level_ends, level) + BLOCK * (step - ops.take(last - blocks, level))
        self.ends = ops.take(level_ends, level + 1)
        self.steps = last[-1]
        self.rows = rows


def rows_of(array: Tensor, start: Tensor) -> Tensor:
    """Return a block of rows: taken, since a slice makes TensorFlow's XLA compile for minutes."""
    return ops.take(array, start + ops.arange(BLOCK, dtype="int32"), axis=0)


def put(array: Tensor, start: Tensor, block: Tensor) -> Tensor:
    """Return the array with a block of rows replaced."""
    return ops.slice_update(array, (start, 0), block)


def states_of(nodes: Nodes, units: int) -> Any:
    """Return the function of word vectors and weights that gives hidden states and cells.

    Its result has shape (rows + BLOCK, 2 * units): the hidden state, then the cell. A word has
    c = W x + b and h = sigmoid(V x + d) * tanh(c). A phrase with children l and r has gates i, f_l,
    f_r, o and an update u, each an affine map of (h_l, h_r), and
    c = i * u + f_l * c_l + f_r * c_r, h = o * tanh(c).
    """

    def children(states: Tensor, start: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        left = ops.take(states, rows_of(nodes.left, start), axis=0)
        right = ops.take(states, rows_of(nodes.right, start), axis=0)
        hidden = ops.concatenate([left[:, :units], right[:, :units]], axis=-1)
        return hidden, left[:, units:], right[:, units:]

    @ops.custom_gradient
    def states_(
        vectors: Tensor, leaf_kernel: Tensor, leaf_bias: Tensor, kernel: Tensor, bias: Tensor
    ) -> tuple:
        maximum = ops.shape(vectors)[0]
        cell, gate = ops.split(ops.matmul(vectors, leaf_kernel) + leaf_bias, 2, axis=-1)
        gate = ops.sigmoid(gate)
        leaves = ops.concatenate([gate * ops.tanh(cell), cell], axis=-1)
        states = ops.pad(leaves, [[0, nodes.rows + BLOCK - maximum], [0, 0]])
        gates = ops.zeros((nodes.phrases + BLOCK, 5 * units), vectors.dtype)

        def forward(step: Tensor, states: Tensor, gates: Tensor) -> tuple:
            start = ops.take(nodes.starts, step)
            hidden, left_cell, right_cell = children(states, start)
            z = ops.matmul(hidden, kernel) + bias
            z = ops.concatenate(
                [ops.sigmoid(z[:, : 4 * units]), ops.tanh(z[:, 4 * units :])], axis=-1
            )
            i, forget_left, forget_right, o, u = ops.split(z, 5, axis=-1)
            c = i * u + forget_left * left_cell + forget_right * right_cell
            block = ops.concatenate([o * ops.tanh(c), c], axis=-1)
            return step + 1, put(states, start, block), put(gates, start - nodes.words, z)

        zero = ops.zeros((), "int32")
        _, states, gates = ops.while_loop(
            lambda step, *_: step < nodes.steps, forward, (zero, states, gates)
        )

        def gradients(*args: Tensor, upstream: Tensor | None = None) -> tuple:
            upstream = args[0] if upstream is None else upstream
            sent = ops.zeros((nodes.phrases + BLOCK + 1, 4 * units), vectors.dtype)

            def received(sent: Tensor, places: Tensor) -> Tensor:
                return ops.take(ops.reshape(sent, (-1, 2 * units)), places, axis=0)

            def backward(step: Tensor, sent: Tensor, d_kernel: Tensor, d_bias: Tensor) -> tuple:
                start, end = ops.take(nodes.starts, step), ops.take(nodes.ends, step)
                total = rows_of(upstream, start) + received(sent, rows_of(nodes.gradient, start))
                d_h, d_c = total[:, :units], total[:, units:]
                hidden, left_cell, right_cell = children(states, start)
                i, forget_left, forget_right, o, u = ops.split(
                    rows_of(gates, start - nodes.words), 5, axis=-1
                )
                tanh_c = ops.tanh(rows_of(states, start)[:, units:])
                d_c = d_c + d_h * o * (1 - tanh_c * tanh_c)
                d_z = ops.concatenate(
                    [
                        d_c * u * i * (1 - i),
                        d_c * left_cell * forget_left * (1 - forget_left),
                        d_c * right_cell * forget_right * (1 - forget_right),
                        d_h * tanh_c * o * (1 - o),
                        d_c * i * (1 - u * u),
                    ],
                    axis=-1,
                )
                d_hidden = ops.matmul(d_z, ops.transpose(kernel))
                block = ops.concatenate(
                    [
                        d_hidden[:, :units],
                        d_c * forget_left,
                        d_hidden[:, units:],
                        d_c * forget_right,
                    ],
                    axis=-1,
                )
                # A block may reach into the next height: its rows there get what they had, and
                # count once in the gradients of the weights.
                own = start + ops.arange(BLOCK, dtype="int32") < end
                d_z = ops.where(own[:, None], d_z, ops.zeros_like(d_z))
                return (
                    step - 1,
                    put(sent, start - nodes.words, block),
                    d_kernel + ops.matmul(ops.transpose(hidden), d_z),
                    d_bias + ops.sum(d_z, axis=0),
                )

            _, sent, d_kernel, d_bias = ops.while_loop(
                lambda step, *_: step >= 0,
                backward,
                (nodes.steps - 1, sent, ops.zeros_like(kernel), ops.zeros_like(bias)),
            )
            total = upstream[:maximum] + received(sent, nodes.gradient[:maximum])
            is_word = ops.arange(maximum, dtype="int32") < nodes.words
            total = ops.where(is_word[:, None], total, ops.zeros_like(total))
            d_h, d_c = total[:, :units], total[:, units:]
            tanh_c = ops.tanh(cell)
            d_z = ops.concatenate(
                [d_c + d_h * gate * (1 - tanh_c * tanh_c), d_h * tanh_c * gate * (1 - gate)],
                axis=-1,
            )
            return (
                ops.matmul(d_z, ops.transpose(leaf_kernel)),
                ops.matmul(ops.transpose(vectors), d_z),
                ops.sum(d_z, axis=0),
                d_kernel,
                d_bias,
            )

        return states, gradients

    return states_
