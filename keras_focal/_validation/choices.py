"""Rules for arguments that take one of a few values."""

from collections.abc import Iterable, Sequence
from typing import Any


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Raise unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {_listed(choices)}. Received: {name}={value!r}.")


def check_choices(name: str, value: Any, choices: Sequence[Any]) -> list[Any]:
    """Return a list of one or more different ones of `choices`."""
    items = [] if isinstance(value, str) or not isinstance(value, Iterable) else list(value)
    is_right = all(item in choices for item in items) and len(items) == len(set(items))
    if not items or not is_right:
        raise ValueError(
            f"`{name}` must be a list of one or more of {_listed(choices)}, each once. "
            f"Received: {name}={value!r}. Choose from these names."
        )
    return items


def _listed(choices: Sequence[Any]) -> str:
    return ", ".join(repr(choice) for choice in choices)
