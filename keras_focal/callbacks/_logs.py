"""Adding values to the logs of an epoch."""

from itertools import chain, count
from typing import Any


def add_to_logs(logs: dict[str, Any] | None, **values: float) -> None:
    """Add values under their names, or as name_1, name_2, ... if a name is already taken."""
    if logs is None:
        return
    endings = chain([""], (f"_{n}" for n in count(1)))
    ending = next(end for end in endings if not any(f"{name}{end}" in logs for name in values))
    logs |= {f"{name}{ending}": value for name, value in values.items()}
