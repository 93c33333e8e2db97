"""The Stanford Sentiment Treebank: movie reviews as binary parse trees, positive or negative.

Source:
    Socher et al., Recursive Deep Models for Semantic Compositionality Over a Sentiment Treebank,
    2013.
"""

from collections.abc import Iterable
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from examples.paper.data._datasets import prepared
from examples.paper.data._files import local_file, read_lines
from examples.paper.data._types import Data, Split

if TYPE_CHECKING:
    from nltk import Tree

PARTS = ("train", "dev", "test")
VOCABULARY = ("", "<unknown>")
NEUTRAL = 2


def load_sst(data_dir: Path | None) -> Data:
    """Return the treebank with two classes: sentences that are neutral as a whole are left out.

    Words are those of the training sentences, as they are written. The inputs of a sentence are
    what `encode` gives. Every phrase and word of a training sentence that is not neutral counts;
    of the other sentences only the root does.

    Args:
        data_dir: Folder that holds `sst/sst_trees_{train,dev,test}.txt.gz`: a sentence a line, in
            brackets, with labels from 0, very negative, to 4, very positive; or what
            tensorflow-datasets prepared. None downloads.

    Raises:
        FileNotFoundError: If the folder holds neither.
    """
    files = [local_file(data_dir, f"sst/sst_trees_{part}.txt.gz") for part in PARTS]
    lines = _prepared(data_dir) if None in files else [read_lines(file) for file in files]
    trees = [
        [tree for tree in map(_tree, of_part) if int(tree.label()) != NEUTRAL] for of_part in lines
    ]
    vocabulary = (*VOCABULARY, *sorted({word for tree in trees[0] for word in tree.leaves()}))
    width = max(2 * len(tree.leaves()) - 1 for of_part in trees for tree in of_part)
    train, validation, test = (
        encode(of_part, vocabulary, width, phrases=of_part is trees[0]) for of_part in trees
    )
    return Data("sst", train, validation, test, ("negative", "positive"), vocabulary)


def _prepared(data_dir: Path | None) -> list[list[str]]:
    from examples.paper.data.builders.sst_trees.sst_trees_dataset_builder import Builder

    parts, _ = prepared(Builder, ("train", "validation", "test"), data_dir)
    return [[tree.decode() for tree in part["tree"]] for part in parts]


def _tree(line: str) -> "Tree":
    from nltk import Tree

    # A word may hold a no-break space, which the pattern of nltk takes for a space.
    return Tree.fromstring(line, leaf_pattern=r"[^ ()\n]+")


def encode(
    trees: "Iterable[Tree]", vocabulary: Iterable[str], width: int, *, phrases: bool = True
) -> Split:
    """Return trees as arrays, shape (N, width), one position a node.

    The nodes of a tree stand in the order of their heights, the root first and the words last,
    then unused positions. Of each node there is

    - `word`: the id of its word; 0 where there is none;
    - `left` and `right`: the positions of its children; 0 where there are none;
    - `height`: 1 for a word, 1 more than its higher child's for a phrase, 0 where unused.

    A node that counts has the weight `width`, so that the mean over all positions is the mean over
    sentences of the sum over their nodes, the loss of Tai et al., 2015.

    Args:
        trees: Binary trees, labels 0 to 4.
        vocabulary: The words by id.
        width: Number of positions.
        phrases: Whether all nodes that are not neutral count, or the root alone.
    """
    trees, ids = list(trees), {word: number for number, word in enumerate(vocabulary)}
    x = {
        name: np.zeros((len(trees), width), np.int32)
        for name in ("word", "left", "right", "height")
    }
    y = np.zeros((len(trees), width), np.int32)
    weight = np.zeros((len(trees), width), np.float32)
    for row, tree in enumerate(trees):
        heights = [(node.height() - 1, node) for node in tree.subtrees()]
        heights.sort(key=itemgetter(0), reverse=True)
        positions = {id(node): position for position, (_, node) in enumerate(heights)}
        for position, (height, node) in enumerate(heights):
            x["height"][row, position] = height
            if len(node) == 1:
                x["word"][row, position] = ids.get(node[0], VOCABULARY.index("<unknown>"))
            else:
                x["left"][row, position] = positions[id(node[0])]
                x["right"][row, position] = positions[id(node[1])]
            label = int(node.label())
            y[row, position] = label > NEUTRAL
            weight[row, position] = width * (label != NEUTRAL and (phrases or position == 0))
    return Split(x, y, weight)
