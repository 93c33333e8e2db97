"""TensorBoard events of rows and pictures."""

import time
from pathlib import Path

from keras_focal.callbacks._record import Row


class Events:
    """TensorBoard events of rows and pictures."""

    def __init__(self, directory: Path):
        try:
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError as error:
            raise ImportError(
                "`tensorboard=True` needs the package tensorboard. Install it with: pip install "
                '"keras_focal[tensorboard]"'
            ) from error
        self._writer = EventFileWriter(str(directory))

    def add(self, row: Row, images: dict[str, bytes]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [
            Summary.Value(tag=f"{row['data']}/{name}", simple_value=value)
            for name, value in row.items()
            if name not in ("epoch", "data")
        ]
        for name, png in images.items():
            # Width and height are at fixed offsets in a PNG.
            width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
            image = Summary.Image(
                height=height, width=width, colorspace=4, encoded_image_string=png
            )
            values.append(Summary.Value(tag=name, image=image))
        event = Event(wall_time=time.time(), step=row["epoch"], summary=Summary(value=values))
        self._writer.add_event(event)
        self._writer.flush()
