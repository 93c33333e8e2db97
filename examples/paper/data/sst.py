"""The Stanford Sentiment Treebank: movie reviews as binary parse trees, positive or negative.

Source:
    Socher et al., Recursive Deep Models for Semantic Compositionality Over a Sentiment Treebank,
    2013.
"""

import gzip
from collections.abc import Iterable, Iterator
from operator import itemgetter
from pathlib import Path

import numpy as np
from nltk import Tree

from examples.paper.data._types import Data, Split

PARTS = ("train", "dev", "test")
VOCABULARY = ("", "<unknown>")
NEUTRAL = 2


def load_sst(data_dir: Path) -> Data:
    """Return the treebank with two classes: sentences that are neutral as a whole are left out.

    Words are those of the training sentences, as they are written. The inputs of a sentence are
    what `encode` gives. Every phrase and word of a training sentence that is not neutral counts;
    of the other sentences only the root does.

    Args:
        data_dir: Folder that holds `sst/sst_trees_{train,dev,test}.txt.gz`: a sentence a line, in
            brackets, with labels from 0, very negative, to 4, very positive.

    Raises:
        FileNotFoundError: If a file is absent.
    """
    trees = {
        part: list(read_trees(data_dir / "sst" / f"sst_trees_{part}.txt.gz")) for part in PARTS
    }
    trees = {
        part: [tree for tree in of_part if int(tree.label()) != NEUTRAL]
        for part, of_part in trees.items()
    }
    vocabulary = (*VOCABULARY, *sorted({word for tree in trees["train"] for word in tree.leaves()}))
    width = max(2 * len(tree.leaves()) - 1 for of_part in trees.values() for tree in of_part)
    train, validation, test = (
        encode(trees[part], vocabulary, width, phrases=part == "train") for part in PARTS
    )
    return Data("sst", train, validation, test, ("negative", "positive"), vocabulary)


def read_trees(file: Path) -> Iterator[Tree]:
    """Yield the trees of a file.

    Raises:
        FileNotFoundError: If the file is absent.
    """
    if not file.is_file():
        raise FileNotFoundError(
            "`data_dir` must hold sst/sst_trees_train.txt.gz, sst/sst_trees_dev.txt.gz and "
            f"sst/sst_trees_test.txt.gz. Received: {file.parents[1]}, without {file.name}"
        )
    with gzip.open(file, "rt", encoding="utf-8", newline="\n") as lines:
        for line in lines:
            # A word may hold a no-break space, which the pattern of nltk takes for a space.
            yield Tree.fromstring(line, leaf_pattern=r"[^ ()\n]+")


def encode(
    trees: Iterable[Tree], vocabulary: Iterable[str], width: int, *, phrases: bool = True
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
