"""Write docs/benchmarks.md from what the benchmarks of this folder left in docs/results.

python tests/benchmarks/report.py
"""

import json
from itertools import groupby
from pathlib import Path

from harness import RESULTS

PAGE = RESULTS.parent / "benchmarks.md"
PICTURE = RESULTS.parent / "images/benchmarks.png"
HEAD = """# Benchmarks

What a focal loss and its metrics cost against cross-entropy, Keras's focal losses and other
packages, in time and memory. Made by `python tests/benchmarks/report.py` from the results in
`docs/results`; no figure is typed.
"""
HOW_TO_READ = """## How to read the tables

A figure is the median over interleaved rounds of a time divided by the time of what it is set
against in the same round, with the quartiles in brackets; or a quantity, with its unit. Differences
under 10 % on a shared machine are ties.
"""
COMPARED = ("losses", "TensorFlow graph, value and gradient")
"""The results and the table that the summary shows: time against cross-entropy."""


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


def results() -> dict[str, dict]:
    """Return what each benchmark left."""
    paths = sorted(Path(RESULTS).glob("*.json"))
    found = {path.stem: json.loads(path.read_text()) for path in paths}
    return {
        name: result
        for name, result in found.items()
        if result.get("command", "").startswith("python tests/benchmarks/")
    }


def compared() -> tuple[list[str], dict[str, list[dict]]]:
    """Return the cases of the summary, and {variant: a row for each case}."""
    name, table = COMPARED
    rows = [row for row in results()[name]["rows"] if row["table"] == table]
    cases = list(dict.fromkeys(row["case"] for row in rows))
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    of = {(row["variant"], row["case"]): row for row in rows}
    return cases, {variant: [of[variant, case] for case in cases] for variant in variants}


def summary() -> str:
    """Return the first section: losses against each other, and the goals that were met."""
    cases, variants = compared()
    lines = [
        "## In short\n",
        "Time for the value and the gradient of a loss in a TensorFlow graph, on a CPU, as a "
        "multiple of that of Keras's cross-entropy; less is better.\n",
        f"![Time of losses against cross-entropy](images/{PICTURE.name})\n",
        f"| logits | {' | '.join(variants)} |",
        f"| --- |{' --- |' * len(variants)}",
    ]
    for number, case in enumerate(cases):
        cells = [figure(rows[number]["median"]) for rows in variants.values()]
        lines.append(f"| {case} | {' | '.join(cells)} |")
    lines += [
        "\nEach benchmark had its goals before it was run. A goal that was missed stays on the "
        "page. The last column is the figure that is farthest above its goal, or nearest to it.\n",
        "| benchmark | what | goals met | missed | not measured here | farthest |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, result in results().items():
        lines += goals_of(name, result["rows"])
    return "\n".join(lines) + "\n"


def goals_of(name: str, rows: list[dict]) -> list[str]:
    """Return a line for each table of a benchmark that has goals."""
    goals = [row for row in rows if row["target"] is not None]
    lines = []
    for table in dict.fromkeys(row["table"] for row in goals):
        of_table = [row for row in goals if row["table"] == table]
        measured = [row for row in of_table if row["median"] is not None]
        met = sum(row["median"] <= row["target"] for row in measured)
        counts = (met, len(measured) - met, len(of_table) - len(measured))
        worst = max(measured, key=lambda row: row["median"] / row["target"], default=None)
        farthest = ""
        if worst is not None:
            case = f"{worst['case']}, {worst['variant']}"
            farthest = f"{figure(worst['median'])}, goal {worst['target']:g} ({case})"
        # A bar in a title would end the cell.
        cells = (title(name), table.replace("|", "\\|"), *map(str, counts), farthest)
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def draw() -> None:
    """Draw the picture of the summary."""
    from matplotlib.figure import Figure

    cases, variants = compared()
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    ax = figure.subplots()
    height = 0.8 / len(variants)
    for number, (variant, rows) in enumerate(variants.items()):
        places = [place + number * height for place in range(len(cases))]
        ax.barh(places, [row["median"] for row in rows], height, label=variant)
    ax.set_yticks([place + 0.4 - height / 2 for place in range(len(cases))], cases)
    ax.invert_yaxis()
    ax.axvline(1.0, color="black", linewidth=1)
    ax.set_xlabel("time of value and gradient, cross-entropy = 1")
    ax.legend(fontsize="small")
    figure.savefig(PICTURE, dpi=110)


def title(name: str) -> str:
    words = name.replace("_", " ").capitalize().split()
    return " ".join(word.upper() if word.lower() in ("gpu", "jax") else word for word in words)


def page() -> str:
    """Return the whole page."""
    sections = [f"## {title(name)}\n\n{section(result)}" for name, result in results().items()]
    return "\n".join([HEAD, summary(), HOW_TO_READ, *sections])


if __name__ == "__main__":
    PAGE.write_text(page())
    draw()
    print(f"written: {PAGE}")
