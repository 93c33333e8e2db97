"""The arguments of `keras-focal`, and its errors: one line each, and an exit code."""

import argparse
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from keras_focal._version import __version__
from keras_focal.cli import _calibrate, _explain, _gamma, _losses, _report
from keras_focal.cli._errors import CommandError, near
from keras_focal.cli._tables import shown

_COMMANDS = {
    "explain": _explain,
    "gamma": _gamma,
    "losses": _losses,
    "report": _report,
    "calibrate": _calibrate,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command `keras-focal`.

    Args:
        argv: Arguments; by default those of the process.

    Returns:
        The exit code: 0, 1 if data or files are invalid, 2 if arguments are.

    Example:
        >>> from keras_focal.cli import main
        >>> main(["gamma", "--p0", "0.25", "--json"])
        {"schema_version": 2, "gamma": 3.0702271, "p0": 0.25}
        0
    """
    try:
        arguments = _parser().parse_args(_joined(sys.argv[1:] if argv is None else argv))
    except SystemExit as stop:  # after --help, and on bad usage
        return int(stop.code or 0)
    try:
        with _short_warnings():
            arguments.run(arguments)
            sys.stdout.flush()
    except BrokenPipeError:  # such as `keras-focal losses | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Exception, KeyboardInterrupt) as error:
        if arguments.debug:
            raise
        print(f"keras-focal: error: {shown(_line(error))}", file=sys.stderr)
        return 130 if isinstance(error, KeyboardInterrupt) else getattr(error, "exit_code", 1)
    return 0


class _Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line."""

    def __init__(self, **kwargs: Any):
        super().__init__(allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        text = shown(message).rstrip(".")
        self.exit(2, f"{self.prog}: error: {text}. See: {self.prog} --help\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and suggest an option for an unknown one.

        Each command does so itself: the parent parser does not know its options.
        """
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            option = rest[0].partition("=")[0]
            known = [name for action in self._actions for name in action.option_strings]
            self.error(f"unknown argument {rest[0]}.{near(option, known)}")
        return found, rest

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Raise unless a command is known, and suggest one."""
        if action.choices is not None and value not in action.choices:
            known = list(action.choices)
            self.error(f"{value!r} must be one of {', '.join(known)}.{near(value, known)}")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="keras-focal", description="Classifiers whose confidence can be trusted.")
    parser.add_argument("--version", action="version", version=f"keras-focal {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    for name, module in _COMMANDS.items():
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=module.__doc__,
            epilog=f"example:\n{module.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.add_argument("--json", action="store_true", help="print JSON, for programs")
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        command.set_defaults(run=module.run)
    return parser


def _joined(argv: Sequence[str]) -> list[str]:
    """Return arguments with a list such as -1,2 joined to its option, for argparse to accept it."""
    joined: list[str] = []
    for argument in argv:
        if joined and joined[-1].startswith("--") and re.match(r"-[\d.].*,", argument):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


@contextmanager
def _short_warnings() -> Iterator[None]:
    """Print each warning to the user as one line."""

    def show(message: Any, category: type[Warning], *_: Any, **__: Any) -> None:
        if issubclass(category, UserWarning):
            print(f"keras-focal: warning: {shown(' '.join(str(message).split()))}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = show
        yield


def _line(error: BaseException) -> str:
    """Return what an error says, in one line."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; no file was written."
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror.lower()}{where}"
    if isinstance(error, CommandError | ValueError):
        return text
    return f"{type(error).__name__}: {text} (--debug shows where)"
