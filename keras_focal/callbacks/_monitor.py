"""Recording the calibration of a model during training, from the state of its metrics."""

import csv
import io
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops

from keras_focal._validation.numbers import check_count
from keras_focal.callbacks._events import Events
from keras_focal.callbacks._metrics import metrics_of
from keras_focal.callbacks._record import Recorder, Row, write
from keras_focal.functional import BinStatistics
from keras_focal.metrics import BinnedMetric, PredictionMetric


class CalibrationMonitor(Recorder):
    """Record the calibration on the training and the validation data during training.

    At the end of an epoch the callback reads the compiled metrics of this package, without another
    pass over the data. It writes to `directory`:

    - `calibration.csv`: a row for each epoch and each of "training" and "validation", with every
      reading of those metrics, such as the ECE, the NLL and the entropy of correct and of wrong
      predictions (`ScoresByCorrectness`) and the norm of the logits (`LogitNorm`), and with the L2
      norm of the kernel of the last layer that has one (`last_kernel_norm`);
    - for each function in `pictures` and each metric with bins, a PNG file, such as
      `pictures/reliability_diagram_ece_validation_0007.png` for the eighth epoch;
    - with `tensorboard=True`, the same numbers and pictures as TensorBoard events.

    The attribute `rows` has the rows of `calibration.csv`, with numbers as numbers. A run that
    resumes at a later epoch keeps the rows of earlier epochs. Like all training metrics
    in Keras, those on the training data are means over the epoch, while the weights change.

    Args:
        directory: Folder to write to; created if missing.
        pictures: Functions that take `bins` and `title` and return axes: `reliability_diagram` and
            `confidence_histogram` of `keras_focal.plotting`, or your own. Needs matplotlib.
        every: Number of epochs between records. The last epoch is always recorded.
        tensorboard: Whether to write TensorBoard events. Needs `pip install
            "keras_focal[tensorboard]"`.

    Raises:
        ValueError: If `every` is not a whole number >= 1 or a picture is not a function; at the end
            of the first epoch, if the model has no metric of this package, or, with `pictures`,
            none with bins of equal width.
        ImportError: If `tensorboard` is True and the package is not installed.

    Example:
        >>> import keras, keras_focal, numpy as np, tempfile
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> loss = keras_focal.losses.SparseCategoricalFocalCrossentropy(from_logits=True)
        >>> model.compile("sgd", loss, metrics=[keras_focal.metrics.ECE(from_logits=True)])
        >>> folder = tempfile.mkdtemp()
        >>> monitor = keras_focal.callbacks.CalibrationMonitor(folder)
        >>> x, y = np.zeros((8, 2)), np.zeros(8)
        >>> _ = model.fit(x, y, epochs=2, verbose=0, callbacks=[monitor])
        >>> [(row["epoch"], row["data"]) for row in monitor.rows]
        [(0, 'training'), (1, 'training')]

    Source:
        Mukhoti et al., 2020, Figures 1, 2, 3 and 7; with `LogitNorm` on an output of features,
        Figure 10.
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        *,
        pictures: Sequence[Callable] = (),
        every: int = 1,
        tensorboard: bool = False,
    ):
        self.directory = Path(directory)
        super().__init__(self.directory / "calibration.csv")
        self.every = check_count("every", every)
        self.pictures = [pictures] if callable(pictures) else list(pictures)
        for picture in self.pictures:
            if not callable(picture):
                raise ValueError(
                    "`pictures` must be functions, such as keras_focal.plotting."
                    f"reliability_diagram. Received: {picture!r}. Do not call the function."
                )
        self._events = Events(self.directory / "tensorboard") if tensorboard else None
        self._metrics: dict[str, PredictionMetric] = {}
        self._has_tested = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_begin(logs)
        self._metrics = {}

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_begin(epoch, logs)
        self._has_tested = False

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        # Keras resets the metrics after this call, so they still contain the training data.
        self._record("training")

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        self._record("validation")
        self._write()
        self._has_tested = True

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if not self._has_tested:
            self._record("training")
            self._write()
        super().on_epoch_end(epoch, logs)

    def _resume(self, epoch: int) -> None:
        due = epoch // self.every * self.every - 1
        if due >= 0 and all(row["epoch"] != due for row in self.rows):
            warnings.warn(
                f"CalibrationMonitor resumes at epoch {epoch}, but {self._file} has no row for "
                f"epoch {due}: the run stopped before it was written, or it is in another file. "
                "Without validation data, list the monitor before BackupAndRestore.",
                stacklevel=2,
            )

    def _parsed(self, text: str) -> list[Row]:
        kinds = {"epoch": int, "data": str}
        reader = csv.DictReader(io.StringIO(text))
        if not {*kinds} <= {*(reader.fieldnames or [])}:
            raise KeyError("no columns epoch and data")
        return [
            {name: kinds.get(name, float)(value) for name, value in row.items() if value != ""}
            for row in reader
        ]

    def _formatted(self) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, dict.fromkeys(name for row in self.rows for name in row))
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()

    def _is_due(self) -> bool:
        done, last = (self._epoch or 0) + 1, (self.params or {}).get("epochs")
        return done % self.every == 0 or done == last

    def _find_metrics(self) -> None:
        """Find the metrics of the model, which Keras builds at the first batch."""
        self._metrics = metrics_of(self.model)
        if not self._metrics:
            raise ValueError(
                "`model` must be compiled with a metric of keras_focal for CalibrationMonitor to "
                "read. Received: none. Add metrics=[keras_focal.metrics.ECE(from_logits=True)] to "
                "compile()."
            )
        if self.pictures and all(bins is None for _, bins in self._bins()):
            raise ValueError(
                "`pictures` need a metric with bins of equal width. Received: "
                f"{', '.join(type(metric).__name__ for metric in self._metrics.values())}. Add "
                "keras_focal.metrics.ECE to compile()."
            )

    def _bins(self) -> Iterator[tuple[str, BinStatistics | None]]:
        for name, metric in self._metrics.items():
            is_binned = isinstance(metric, BinnedMetric)
            yield name, metric.equal_width_bins() if is_binned else None

    def _record(self, data: str) -> None:
        if self._epoch is None:
            # A separate call of `evaluate`.
            return
        if not self._metrics:
            self._find_metrics()
        if not self._is_due():
            return
        row: Row = {"epoch": self._epoch, "data": data}
        kernel = _last_kernel(self.model)
        if kernel is not None:
            row["last_kernel_norm"] = float(np.linalg.norm(ops.convert_to_numpy(kernel)))
        for name, value in self._readings():
            if name in row:
                raise ValueError(
                    "`metrics` must have names that differ from each other and from 'epoch', "
                    f"'data' and 'last_kernel_norm' for CalibrationMonitor. Received: {name!r} "
                    "twice. Rename one, for example keras_focal.metrics.ECE(name='mine')."
                )
            row[name] = value
        self.rows.append(row)
        images = dict(self._drawn(data))
        for name, png in images.items():
            path = self.directory / "pictures" / f"{name}_{self._epoch:04d}.png"
            path.parent.mkdir(exist_ok=True)
            write(path, partial(Path.write_bytes, data=png))
        if self._events:
            self._events.add(row, images)

    def _readings(self) -> Iterator[tuple[str, float]]:
        """Yield each reading of each metric under its name in the logs.

        With several outputs, the readings of a metric that reports several are prefixed with the
        name of the output, which the logs do not do.
        """
        for name, metric in self._metrics.items():
            result, before = metric.result(), name.removesuffix(metric.name)
            for reading, value in result.items() if isinstance(result, dict) else [(None, result)]:
                label = name if reading is None else f"{before}{reading}"
                yield label, float(ops.convert_to_numpy(value))
            yield f"{name}_invalid", float(metric.invalid_count)

    def _drawn(self, data: str) -> Iterator[tuple[str, bytes]]:
        """Yield the name and the PNG of each picture of each metric with bins of equal width."""
        for metric, bins in self._bins():
            for picture in self.pictures if bins else ():
                axes = picture(bins=bins, title=f"{data}, epoch {self._epoch}")
                buffer = io.BytesIO()
                axes.figure.savefig(buffer, format="png", dpi=100)
                _close(axes.figure)
                yield f"{picture.__name__}_{metric}_{data}", buffer.getvalue()


def _last_kernel(model: Any) -> Any:
    """Return the last weight that is a kernel, or None."""
    kernels = [weight for weight in model.weights if weight.name == "kernel"]
    return kernels[-1] if kernels else None


def _close(figure: Any) -> None:
    from matplotlib import pyplot as plt

    plt.close(figure)
