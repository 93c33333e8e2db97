"""Reading local copies."""

import io
from itertools import pairwise
from pathlib import Path

import numpy as np


def local_file(data_dir: Path | None, name: str) -> Path | None:
    """Return a file below the folder of local copies, None where it is absent."""
    file = None if data_dir is None else data_dir / name
    return file if file is not None and file.is_file() else None


def decode(encoded: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return RGB images, uint8, shape (N, height, width, 3), of N JPEG files in a row.

    Args:
        encoded: The bytes of all files, uint8.
        offsets: Where each file begins, and where the last ends, shape (N + 1,).
    """
    from PIL import Image

    return np.stack(
        [
            np.asarray(Image.open(io.BytesIO(encoded[start:end])).convert("RGB"))
            for start, end in pairwise(offsets)
        ]
    )
