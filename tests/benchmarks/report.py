"""Write docs/benchmarks.md from what the benchmarks of this folder left in docs/results.

python tests/benchmarks/report.py
"""

import json
from itertools import groupby
from pathlib import Path

from harness import RESULTS

PAGE = RESULTS.parent / "benchmarks.md"
HEAD = """# Benchmarks

Made by `python tests/benchmarks/report.py` from the results in `docs/results`; no figure is typed.

A figure is the median over interleaved rounds of a time divided by the time of what it is set
against in the same round, with the quartiles in brackets; or a quantity, with its unit. Differences
under 10 % on a shared machine are ties.
"""


def figure(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3g}"


def cell(row: dict) -> str:
    text = figure(row["median"])
    return text if row["low"] is None else f"{text} ({figure(row['low'])}–{figure(row['high'])})"


def verdict(row: dict) -> str:
    if row["target"] is None:
        return ""
    if row["median"] is None:
        return f"<= {row['target']:g}"
    return f"<= {row['target']:g}: {'met' if row['median'] <= row['target'] else '**missed**'}"


def section(result: dict) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in result["environment"].items())
    parts = [f"`{result['command']}`\n\n{machine}\n"]
    for table, group in groupby(result["rows"], key=lambda row: row["table"]):
        rows = list(group)
        lines = [
            f"### {table}\n",
            "| case | variant | figure | against | goal |",
            "| --- | --- | --- | --- | --- |",
        ]
        lines += [
            "| " + " | ".join(columns) + " |"
            for columns in (
                (row["case"], row["variant"], cell(row), row["against"], verdict(row))
                for row in rows
            )
        ]
        notes = dict.fromkeys(f"- {row['variant']}: {row['note']}" for row in rows if row["note"])
        parts.append("\n".join([*lines, *([""] if notes else []), *notes]) + "\n")
    return "\n".join(parts)


def page() -> str:
    """Return the whole page."""
    paths = sorted(Path(RESULTS).glob("*.json"))
    results = {path.stem: json.loads(path.read_text()) for path in paths}
    sections = [
        f"## {name.replace('_', ' ').capitalize()}\n\n{section(result)}"
        for name, result in results.items()
        if result.get("command", "").startswith("python tests/benchmarks/")
    ]
    return "\n".join([HEAD, *sections])


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"written: {PAGE}")
