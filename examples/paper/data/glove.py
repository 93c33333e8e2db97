"""Word vectors of GloVe.

Source:
    Pennington et al., GloVe: Global Vectors for Word Representation, 2014.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np


def glove(vocabulary: Sequence[str], file: Path, dimension: int = 100) -> np.ndarray:
    """Return a vector for each word, float32, shape (words, dimension); 0 where the file has none.

    Args:
        vocabulary: The words by id.
        file: A word and its vector on each line, as in `glove.6B.100d.txt`.
        dimension: Numbers of a vector.

    Raises:
        FileNotFoundError: If the file is absent.
        ValueError: If a line is not a word and `dimension` numbers.
    """
    if not file.is_file():
        raise FileNotFoundError(
            f"`--glove` must be a file of word vectors, such as glove.6B.{dimension}d.txt. "
            f"Received: {file}, which does not exist"
        )
    ids = {word: number for number, word in enumerate(vocabulary)}
    vectors = np.zeros((len(vocabulary), dimension), np.float32)
    with open(file, encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            word, *values = line.rstrip().split(" ")
            if len(values) != dimension:
                raise ValueError(
                    f"`--glove` must have a word and {dimension} numbers on each line, as "
                    f"glove.6B.{dimension}d.txt has. Received: {len(values)} on line {number} of "
                    f"{file}"
                )
            if word in ids:
                vectors[ids[word]] = values
    return vectors
