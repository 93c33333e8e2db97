"""Errors that a user can correct, each in one line."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class CommandError(Exception):
    """What is wrong with data or files, and what to do."""

    exit_code = 1


class UsageError(CommandError):
    """What is wrong with the arguments."""

    exit_code = 2


def near(word: str | None, known: Iterable[str]) -> str:
    """Return " Did you mean X?" for the name that is closest to a wrong one, or nothing."""
    found = difflib.get_close_matches(word or "", [name for name in known if name][:1000], n=1)
    return f" Did you mean {found[0]}?" if found else ""


@contextmanager
def extra(install: str = "keras-focal[cli]") -> Iterator[None]:
    """Say how to install what an import inside the block does not find."""
    try:
        yield
    except ImportError as error:
        missing = (error.name or "a package").partition(".")[0]
        raise CommandError(
            f'this needs {missing}, which cannot be imported. Install it: pip install "{install}"'
        ) from error
