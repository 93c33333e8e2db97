"""Files of predictions and labels, one reader a format; each reads some rows at a time."""

from pathlib import Path

from keras_focal.cli.readers import _csv, _npy, _npz, _parquet
from keras_focal.cli.readers._rows import Ask, Rows, Source

_READERS = {
    ".npz": _npz.source,
    ".npy": _npy.source,
    ".csv": _csv.source,
    ".tsv": _csv.source,
    ".csv.gz": _csv.source,
    ".tsv.gz": _csv.source,
    ".parquet": _parquet.source,
}
SUFFIXES = tuple(_READERS)

__all__ = ["SUFFIXES", "Ask", "Rows", "Source", "source_of"]


def source_of(path: Path, ask: Ask) -> Source:
    """Return what reads a file, or raise."""
    suffix = next(each for each in SUFFIXES if path.name.lower().endswith(each))
    return _READERS[suffix](path, ask)
