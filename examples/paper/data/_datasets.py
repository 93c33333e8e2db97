"""What tensorflow-datasets prepares."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

READ_AT_ONCE = 1000


def prepared(
    builder: Any, splits: Sequence[str], data_dir: Path | None = None
) -> tuple[list[dict[str, np.ndarray]], tuple[str, ...]]:
    """Return the features of each split as arrays, in the order of their "id", and the classes.

    The ids of the data sets used here sort as the rows of the originals.

    Args:
        builder: A class of data sets, or the name of one of tensorflow-datasets.
        splits: Their names.
        data_dir: Folder where the data set was prepared; None prepares it where need be.

    Raises:
        As `source_of`.
    """
    source = source_of(builder, data_dir)
    import tensorflow_datasets as tfds

    parts = []
    for name in splits:
        batches = list(tfds.as_numpy(source.as_dataset(split=name, batch_size=READ_AT_ONCE)))
        arrays = {
            feature: np.concatenate([batch[feature] for batch in batches]) for feature in batches[0]
        }
        rows = np.argsort(arrays["id"])
        parts.append({feature: array[rows] for feature, array in arrays.items()})
    return parts, tuple(source.info.features["label"].names)


def source_of(builder: Any, data_dir: Path | None) -> Any:
    """Return a data set of tensorflow-datasets that is prepared; arguments are as above.

    Raises:
        FileNotFoundError: If the folder does not hold the data set: nothing is downloaded to it.
        ImportError: If tensorflow-datasets is not installed.
        OSError: If the download fails.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ImportError(
            "Without a local copy in `--data-dir`, tensorflow-datasets reads the data set: "
            "pip install keras-focal[datasets]"
        ) from error
    make = tfds.builder if isinstance(builder, str) else type.__call__
    source = make(builder, data_dir=data_dir)
    if data_dir is None:
        _download(source)
    elif not source.data_path.is_dir():
        raise FileNotFoundError(
            f"`--data-dir` must hold {source.name}, as a local copy or as tensorflow-datasets "
            f"prepares it; without it, the data set is downloaded. Received: {data_dir}"
        )
    return source


def _download(source: Any) -> None:
    try:
        source.download_and_prepare()
    except Exception as error:
        raise OSError(
            f"{source.name} could not be downloaded; `--data-dir` may name the folder of a local "
            f"copy. Received: {error}"
        ) from error
