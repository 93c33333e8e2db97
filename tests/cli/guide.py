"""The outputs in docs/guides/command_line.md: runs the commands of the guide and writes it again.

python tests/cli/guide.py
"""

import contextlib
import io
import os
import re
import shlex
import sys
import tempfile
from pathlib import Path

from keras_focal.cli import main

GUIDE = Path(__file__).resolve().parents[2] / "docs/guides/command_line.md"
WIDTH = "96"


def written_again(text: str) -> str:
    """Return the guide with what its commands print now; files are made in the current folder."""
    return re.sub(r"```(python|console)\n(.*?)```\n", _block, text, flags=re.DOTALL)


def _block(match: re.Match) -> str:
    kind, body = match.groups()
    if kind == "python":
        exec(body, {})
        return match.group()
    commands = [line for line in body.splitlines() if line.startswith("$ ")]
    printed = "\n".join(f"{command}\n{_output(command)}" for command in commands)
    return f"```console\n{printed}```\n"


def _output(command: str) -> str:
    words = shlex.split(command.removeprefix("$ "))
    assert words[0] == "keras-focal"
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        main(words[1:])
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    return "".join(f"{line}\n" for line in lines)


if __name__ == "__main__":
    os.environ["COLUMNS"] = WIDTH
    text = GUIDE.read_text()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        text = written_again(text)
    GUIDE.write_text(text)
    sys.stdout.write(f"written: {GUIDE}\n")
