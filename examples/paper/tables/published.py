"""The paper's own figures: examples/paper/published.json.

By number of table: `caption`, `remarks` (where the paper contradicts itself) and `rows`, by
"dataset/network" and loss. The paper prints two decimals, of temperatures one, and leaves out
zeros at the end.
"""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parents[1] / "published.json"


@cache
def published() -> dict[str, Any]:
    """Return the tables by their numbers, "1" to "13"."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def nearest_row(table: str, dataset: str, network: str) -> str | None:
    """Return the "dataset/network" of the paper's table that is likest, None where there is none.

    Of the same data set, and of its networks the same; or one which the name begins with; or of
    the same kind, as "resnet8" is of the kind of "resnet50"; or any: of several the one with the
    shortest name. A table of one row has it for every data set.
    """
    rows = sorted(published()[table]["rows"], key=len)
    if len(rows) == 1:
        return rows[0]
    rows = [row for row in rows if row.startswith(f"{dataset}/")]
    ours = f"{dataset}/{network}"
    likeness = (
        [row for row in rows if row == ours],
        [row for row in rows if ours.startswith(row)],
        [row for row in rows if _kind(row) == _kind(ours)],
        rows,
    )
    return next((found[0] for found in likeness if found), None)


def _kind(row: str) -> str:
    """Return the name of a network up to its first digit."""
    return re.split(r"-?\d", row.split("/")[1])[0]
