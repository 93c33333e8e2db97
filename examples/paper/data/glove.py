"""Word vectors of GloVe.

Source:
    Pennington et al., GloVe: Global Vectors for Word Representation, 2014.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np


def glove(vocabulary: Sequence[str], file: Path) -> np.ndarray:
    """Return a vector for each word, float32, shape (words, dimension); 0 where the file has none.

    Args:
        vocabulary: The words by id.
        file: A word and its vector on each line, as in `glove.6B.100d.txt`.

    Raises:
        FileNotFoundError: If the file is absent.
    """
    if not file.is_file():
        raise FileNotFoundError(f"`file` must be like glove.6B.100d.txt. Received: {file}")
    ids = {word: number for number, word in enumerate(vocabulary)}
    vectors = None
    with open(file, encoding="utf-8") as lines:
        for line in lines:
            word, *values = line.rstrip().split(" ")
            if vectors is None:
                vectors = np.zeros((len(vocabulary), len(values)), np.float32)
            if word in ids:
                vectors[ids[word]] = values
    return vectors
