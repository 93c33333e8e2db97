"""Errors that a user can mend, each one line."""

from collections.abc import Iterator
from contextlib import contextmanager


class CommandError(Exception):
    """What went wrong with data or files, and what to do."""

    exit_code = 1


class UsageError(CommandError):
    """What is wrong with the arguments."""

    exit_code = 2


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
