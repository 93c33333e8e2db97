"""Write docs/accuracy.md from what exhaustive.py and accuracy.py left in docs/results.

python tests/benchmarks/accuracy_page.py
"""

import json
from collections.abc import Iterable

from harness import RESULTS

PAGE = RESULTS.parent / "accuracy.md"
BACKENDS = ("tensorflow", "jax", "torch")
HEAD = """# Accuracy

How far the focal losses are from the exact result, in float32 and half precision. Made by
`python tests/benchmarks/accuracy_page.py` from the results in `docs/results`; no figure is typed.
[Numerics](decisions/numerics.md) says how the losses keep their digits.
"""
MARGINS = """## Every margin of the binary loss

The binary focal loss of a positive output is a function of one number, the margin m = -z of its
logit z, so every float can be tried. The tables show the largest error of the value and of the
gradient in units in the last place of a float32 (ULP) at the exact result, and the margin where it
occurs. The exact result is float64, which a test compares with 50 digits. A result below 2^-126 is
no normal float32 and counts as right if what is found lies below it too. A margin above 2^100
counts as 2^100, as the loss documents. `compiled` is XLA on TensorFlow and jit on JAX. The goals
are at most 4 ULP of the value and 8 ULP of the gradient.
"""
CAUSE = """Where a goal is missed, single roundings have added up: an exponential, a sum, a
reciprocal and a product each round 1 - p, and (1 - p)^gamma multiplies their errors by gamma. The
exponential and the logarithm of eager TensorFlow are coarser than those of XLA and torch. A
quotient in place of reciprocal and product has a rounding less, but XLA then keeps more arrays in
memory. A second exponential per entry, of gamma times the margin, or a correction of the power was
not tried.
"""
HALF = """## Half precision

All finite bfloat16 and float16 margins. The loss of half-precision logits is float32, and must be
that of the same numbers in float32; their gradient must be that float32 gradient, rounded to
nearest. The table counts the margins, of all gammas and modes, where it is not.
"""
ROWS = """## Rows of classes

The largest error over 64 rows of 10 classes, against 50 digits: of the value, relative, and of the
gradient, relative to the largest entry of the row; the larger one of class ids and one-hot rows,
eager and compiled. Only normal numbers count. Rows called "probabilities" are given with
`from_logits=False`, and the exact result is that of the given float32 probabilities.
"""


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(heads)]
    lines += [["---"] * len(lines[0]), *map(list, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def read(name: str) -> dict[str, dict]:
    """Return the results of each backend that has some."""
    paths = {backend: RESULTS / f"{name}_{backend}.json" for backend in BACKENDS}
    return {b: json.loads(path.read_text()) for b, path in paths.items() if path.exists()}


def how(backend: str, result: dict) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in result["environment"].items())
    return f"`KERAS_BACKEND={backend} {result['made_by']}`\n\n{machine}\n"


def of_margins(backend: str, result: dict) -> str:
    every = "all finite ones" if result["stride"] == 1 else f"one in {result['stride']}"
    by_case: dict[tuple, dict] = {}
    for row in result["rows"]:
        by_case.setdefault((row["mode"], row["gamma"]), {})[row["what"]] = row
    rows = [
        [mode, f"{gamma:g}", *(cell for part in parts.values() for cell in margin_cells(part))]
        for (mode, gamma), parts in by_case.items()
    ]
    heads = ["mode", "gamma", "value, ULP", "at margin", "gradient, ULP", "at margin"]
    tried = (
        f"{result['margins']:,} float32 margins, {every}, in {result['processor_seconds']} "
        "processor seconds.\n"
    )
    return "\n".join([f"### {backend}\n", how(backend, result), tried, table(heads, rows)])


def margin_cells(row: dict) -> list[str]:
    missed = "" if row["ulp"] <= row["goal"] else ", **missed**"
    return [f"{row['ulp']:.2f}{missed}", f"{row['margin']:.9g}"]


def of_half(results: dict[str, dict]) -> str:
    rows = []
    for backend, result in results.items():
        for dtype in dict.fromkeys(row["dtype"] for row in result["half"]):
            parts = [row for row in result["half"] if row["dtype"] == dtype]
            sums = (sum(row[what] for row in parts) for what in ("margins", "value", "gradient"))
            rows.append([backend, dtype, *(f"{number:,}" for number in sums)])
    return table(["backend", "dtype", "results", "other value", "other gradient"], rows)


def of_rows(backend: str, result: dict) -> str:
    gammas = list(dict.fromkeys(row["gamma"] for row in result["rows"]))
    lines = []
    for name in dict.fromkeys(row["set"] for row in result["rows"]):
        cells = []
        for gamma in gammas:
            parts = [row for row in result["rows"] if (row["set"], row["gamma"]) == (name, gamma)]
            cells.append(
                " / ".join(f"{max(r[w] for r in parts):.1e}" for w in ("value", "gradient"))
            )
        lines.append([name, *cells])
    heads = ["rows", *(f"gamma {gamma:g}" for gamma in gammas)]
    return "\n".join([f"### {backend}, rows\n", how(backend, result), table(heads, lines)])


def page() -> str:
    """Return the page."""
    margins, rows = read("exhaustive"), read("accuracy")
    parts = [HEAD, MARGINS, *(of_margins(*item) for item in margins.items())]
    if any(row["ulp"] > row["goal"] for result in margins.values() for row in result["rows"]):
        parts.append(CAUSE)
    parts += [HALF, of_half(margins), ROWS, *(of_rows(*item) for item in rows.items())]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
