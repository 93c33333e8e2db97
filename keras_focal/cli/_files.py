"""Files that are written completely or not at all."""

import errno
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keras_focal.cli._errors import CommandError, UsageError


def check_input(path: Path, suffixes: tuple[str, ...]) -> None:
    """Raise unless `path` is a non-empty file with one of the suffixes."""
    if not path.name.lower().endswith(suffixes):
        *most, last = suffixes
        expected = f"{', '.join(most)} or {last}" if most else last
        raise UsageError(f"expected a file ending in {expected}. Received: {path}.")
    if not path.exists():
        raise CommandError(f"{path} does not exist. Check the name and the folder.")
    if not path.is_file():
        raise CommandError(f"{path} is not a file. Give the name of a file in it.")
    if path.stat().st_size == 0:
        raise CommandError(f"{path} is empty. Write the file again.")


def check_target(
    option: str, path: Path, suffix: str, source: Path, *, force: bool = False
) -> None:
    """Raise, before any work, unless a file or, with suffix "", a new folder can be written."""
    if suffix and path.suffix.lower() != suffix:
        raise UsageError(f"{option} must end in {suffix}. Received: {path}.")
    if path.resolve() == source.resolve():
        raise UsageError(f"{option} must not be the file that is read, {path}. Give another name.")
    if suffix and path.is_dir():
        raise CommandError(f"{option}: {path} is a folder. Give the name of a file in it.")
    if not suffix and (path.exists() or path.is_symlink()):
        raise CommandError(f"{option}: {path} exists. Give the name of a new folder.")
    if path.is_symlink() and not force:
        raise CommandError(
            f"{option}: {path} is a link to {path.resolve()}. Pass --force to write that file."
        )
    if path.exists() and not force:
        raise CommandError(f"{option}: {path} exists. Pass --force to replace it.")
    folder = path.resolve().parent
    if not folder.is_dir():
        raise CommandError(f"{option}: the folder {folder} does not exist. Make it first.")
    if not os.access(folder, os.W_OK):
        raise CommandError(f"{option}: the folder {folder} cannot be written. Choose another.")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a temporary name to write to; at the end of the block the file is moved to `path`.

    After an error the temporary file is removed, and a file that was at `path` stays as it was. A
    file that is replaced passes its mode on to the new one; a link is followed.
    """
    target = path.resolve()
    beside = target.with_name(f".{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield beside
        if target.is_file():
            beside.chmod(stat.S_IMODE(target.stat().st_mode))
        os.replace(beside, target)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        fix = " Free some space, or choose another folder." if error.errno == errno.ENOSPC else ""
        raise CommandError(f"{path} was not written: {reason}.{fix}") from error
    finally:
        if beside.is_dir():
            shutil.rmtree(beside)
        else:
            beside.unlink(missing_ok=True)
