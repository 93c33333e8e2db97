"""Whether a reading should be minimised or maximised, for `mode="auto"` of Keras callbacks.

`EarlyStopping`, `ModelCheckpoint` and `ReduceLROnPlateau` look for a compiled metric whose `name`
equals the monitored quantity, and read its `_direction`. A metric with several readings has one
name but several entries in the logs, so its name must compare equal to those, too.
"""

from collections.abc import Mapping
from typing import Any


class ReadingName(str):
    """The name of a metric, which also compares equal to the names of its readings.

    Text and hash are those of the name itself, so dictionaries and files are not affected.
    """

    _metric: "Monitored"

    def __new__(cls, name: str, metric: "Monitored") -> "ReadingName":
        self = super().__new__(cls, name)
        self._metric = metric
        return self

    def __eq__(self, other: object) -> bool:
        reading = self._metric._reading_of(other)
        if reading is None:
            return False
        self._metric._asked_for = reading
        return True

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__

    def __reduce__(self) -> tuple:
        return str, (str.__str__(self),)


class Monitored:
    """Mixin for metrics with a direction for each reading.

    `_directions` maps the suffix of a reading in the logs ("" for the metric itself) to "up" or
    "down". A reading that is neither better high nor better low is left out; Keras then asks for a
    `mode`.
    """

    _directions: Mapping[str, str] = {"": "down"}
    _asked_for = ""

    @property
    def name(self) -> str:
        return ReadingName(self._name, self)

    @name.setter
    def name(self, value: str) -> None:
        self._name = str(value)

    def _reading_of(self, name: Any) -> str | None:
        """Return the suffix of a name in the logs, "" for the metric itself, or None."""
        if not isinstance(name, str) or not str.startswith(name, self._name):
            return None
        ending = str(name)[len(self._name) :].removeprefix("_")
        is_itself = len(name) == len(self._name)
        return ending if is_itself or ending in self._directions else None

    @property
    def _direction(self) -> str:
        """The direction of the reading whose name was compared last."""
        direction = self._directions.get(self._asked_for)
        if direction is None:
            raise AttributeError(f"{self._name} has no direction")
        return direction
