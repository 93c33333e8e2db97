"""Which way a reading is better, so that `mode="auto"` of Keras's callbacks knows it.

`EarlyStopping`, `ModelCheckpoint` and `ReduceLROnPlateau` look for a compiled metric whose `name`
equals what they monitor, and then for its `_direction`. A metric of several readings has one name
and several entries in the logs; so its name also equals theirs.
"""

from collections.abc import Mapping
from typing import Any


class ReadingName(str):
    """The name of a metric, equal to the names of its readings too.

    Text and hash are those of the name: dictionaries and files see nothing else.
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
    """Part of a metric that says which way each of its readings is better.

    `_directions` has "up" or "down" for each reading by what follows the name of the metric in
    the logs, "" for the name itself; a reading that is by itself neither good nor bad is left out.
    Keras then asks for a `mode`.
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
        """Return the reading of that name in the logs: "" for the metric itself, None for none."""
        if not isinstance(name, str) or not str.startswith(name, self._name):
            return None
        ending = str(name)[len(self._name) :].removeprefix("_")
        is_itself = len(name) == len(self._name)
        return ending if is_itself or ending in self._directions else None

    @property
    def _direction(self) -> str:
        """Which way the reading is better whose name was asked for last."""
        direction = self._directions.get(self._asked_for)
        if direction is None:
            raise AttributeError(f"{self._name} is by itself neither good nor bad")
        return direction
