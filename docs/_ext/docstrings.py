"""What is done to docstrings on their way into the API reference."""

import ast
import inspect
import re
import sys
from functools import cache
from importlib import import_module
from pathlib import Path

from sphinx.pycode import ModuleAnalyzer

DOCS = Path(__file__).resolve().parents[1]


def setup(app):
    app.connect("autodoc-process-docstring", find_docstring_of_constant, priority=300)
    # Before napoleon, which writes signs of reStructuredText itself.
    app.connect("autodoc-process-docstring", read_as_plain_text, priority=400)
    app.connect("autodoc-process-docstring", link_equations, priority=900)
    return {"parallel_read_safe": True}


def find_docstring_of_constant(app, what, name, obj, options, lines):
    """Give a constant the docstring below it in the module that defines it."""
    if what != "data":
        return
    short = name.rpartition(".")[2]
    for module in [module for module in sys.modules if module.startswith("keras_focal.")]:
        if getattr(sys.modules[module], short, None) is obj:
            found = ModuleAnalyzer.for_module(module).find_attr_docs().get(("", short))
            lines[:] = found or lines


def read_as_plain_text(app, what, name, obj, options, lines):
    """Make reStructuredText read |a_i - c_i|, x_, a * b and lists as a person does."""
    plain = []
    in_doctest = False
    for given in lines:
        line = given
        in_doctest = bool(line.strip()) and (in_doctest or line.lstrip().startswith(">>>"))
        if not in_doctest and not re.match(r"\s*\*+\w+:", line):
            line = _escaped(line)
        is_item = line.lstrip().startswith("- ")
        if is_item and plain and plain[-1].strip() and _indent(plain[-1]) < _indent(line) + 2:
            plain.append("")
        plain.append(line)
    lines[:] = plain


def _escaped(line):
    parts = re.split(r"(``.+?``|`[^`]+`)", line)
    parts[::2] = [re.sub(r"([|*]|_(?!\w))", r"\\\1", part) for part in parts[::2]]
    # `Interval`s: a word may follow code at once.
    parts[1::2] = [
        code + "\\ " * bool(re.match(r"\w", after))
        for code, after in zip(parts[1::2], parts[2::2], strict=True)
    ]
    return "".join(parts)


def _indent(line):
    return len(line) - len(line.lstrip())


def link_equations(app, what, name, obj, options, lines):
    """End the docstring of what docs/maths.md or docs/losses.md names with its equations there."""
    found = equations().get(getattr(obj, "__name__", None), {}) if what != "module" else {}
    if found:
        links = ", ".join(f"`{one} </maths.html#{anchor}>`__" for one, anchor in found.items())
        root = "../.."  # of docs/api/generated
        lines += ["", f"Equation in the maths: {links}.".replace("</", f"<{root}/"), ""]


@cache
def equations() -> dict[str, dict[str, str]]:
    """Return {public name: {equation: anchor of its section}}."""
    found: dict[str, dict[str, str]] = {}
    anchors: dict[str, str] = {}
    anchor = ""
    for line in (DOCS / "maths.md").read_text().splitlines():
        if line.startswith("## "):
            anchor = re.sub(r"[^\w]+", "-", line[3:].lower()).strip("-")
        elif row := re.match(r"\| ([A-Z]\d+a?) \|.*\| (.+?) \|$", line):
            anchors[row[1]] = anchor
            for name in re.findall(r"`(?:\w+\.)*(\w+)(?:\([^`]*\))?`", row[2]):
                found.setdefault(name, {})[row[1]] = anchor
    for row in re.finditer(r"^\| ([A-Z]\d+) \| `(\w+)` \|", (DOCS / "losses.md").read_text(), re.M):
        found.setdefault(row[2], {})[row[1]] = anchors[row[1]]
    return found


def groups(name: str) -> list[tuple[str, list[str]]]:
    """Return [(title, names)] of the `__all__` of a module.

    The titles are the comments above its parts, or else the kinds of names.
    """
    module = import_module(name)
    parts = re.findall(r"^# (.+)\n__all__ \+?= (\[[^\]]+\])", inspect.getsource(module), re.M)
    if parts:
        return [(title, ast.literal_eval(names)) for title, names in parts]
    kinds: dict[str, list[str]] = {"Classes": [], "Functions": [], "Constants": []}
    for each in module.__all__:
        value = getattr(module, each)
        is_class, is_function = inspect.isclass(value), inspect.isroutine(value)
        kinds["Classes" if is_class else "Functions" if is_function else "Constants"].append(each)
    return [(title, names) for title, names in kinds.items() if names]


def is_at_home(module: str, name: str) -> bool:
    """Return whether a class is defined in a module's own package, not only named there too."""
    return getattr(import_module(module), name).__module__.startswith(module)
