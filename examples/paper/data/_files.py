"""Reading local copies."""

import gzip
import io
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np

from examples.paper.files import DamagedFileError


def local_file(data_dir: Path | None, name: str) -> Path | None:
    """Return a file below the folder of local copies, None where it is absent."""
    file = None if data_dir is None else data_dir / name
    return file if file is not None and file.is_file() else None


def read_lines(file: Path) -> list[str]:
    """Return the lines of a text in gzip, UTF-8, each without the line feed that ends it.

    Raises:
        DamagedFileError: If the file is not whole.
    """
    try:
        with gzip.open(file, "rt", encoding="utf-8", newline="\n") as text:
            return text.read().rstrip("\n").split("\n")
    except (EOFError, OSError, ValueError, zlib.error) as error:
        raise DamagedFileError(file, "lines of UTF-8 in gzip", error) from error


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
