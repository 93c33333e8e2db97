"""The code in the documents, and the output in the README, which this writes again.

python tests/documents.py
"""

import contextlib
import io
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
_PRINTED = re.compile(r"(?<=```text\n)(.*?)(?=```\n<!-- end of ten lines -->)", re.S)


def blocks(document: str, backend: str = "tensorflow") -> list[str]:
    """Return the blocks of Python in a document that run on a backend.

    A block that begins with `# KERAS_BACKEND=jax` runs on JAX alone, and any other on TensorFlow.
    The cells of notebooks are not among them: they run when the site is built.
    """
    text = (ROOT / document).read_text()
    found = re.findall(r"^```python\n(.*?)^```", text, re.S | re.M)
    own = [re.match(r"# KERAS_BACKEND=(\w+)", block) for block in found]
    return [
        block
        for block, match in zip(found, own, strict=True)
        if (match[1] if match else "tensorflow") == backend
    ]


def run(code: str) -> str:
    """Run code in the current folder; return what it printed."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "document", "exec"), {"__name__": "__main__"})
    return out.getvalue()


def printed_in_readme() -> str:
    """Return the output that the README shows below its ten lines."""
    return _PRINTED.search(README.read_text())[1]


if __name__ == "__main__":
    printed = run(blocks("README.md")[0])
    README.write_text(_PRINTED.sub(lambda match: printed, README.read_text()))
    sys.stdout.write(printed)
