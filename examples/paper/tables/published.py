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


def nearest_network(table: str, dataset: str, network: str) -> str | None:
    """Return the network of the paper's table that is likest, None where it lacks the data set.

    The same one; or that which the name begins with; or the first of its kind, as "resnet8" is of
    the kind of "resnet50"; or the first.
    """
    rows = (row.split("/") for row in published()[table]["rows"])
    networks = [name for of, name in rows if of == dataset]
    likeness = (
        [name for name in networks if name == network],
        [name for name in networks if network.startswith(name)],
        [name for name in networks if _kind(name) == _kind(network)],
        networks,
    )
    return next((found[0] for found in likeness if found), None)


def _kind(network: str) -> str:
    """Return a name up to its first digit."""
    return re.split(r"-?\d", network)[0]
