"""docs/mutants.md: how many mutants of the package the tests notice, and those that they do not.

python tests/mutants/page.py
"""

import json
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docs" / "mutants.md"
RESULTS = ROOT / "docs" / "results" / "mutants.json"

TOTALS = ("tried", "killed")

KINDS = {
    "equivalent": "Equivalent: no result differs",
    "accepted": "Accepted: what differs is no promise of the package",
    "untried": "Untried: code of another backend, on which it has not run",
    "gap": "Gaps: a test is missing",
}

HEAD = """# Mutants

Do the tests notice a mistake? A mutant is the package with one small change: a `+` that becomes a
`-`, a `<` that becomes a `<=`, a number that is 1 larger, a condition that is negated. It is killed
if a test fails, and survives if all pass. {tool} makes the mutants of the maths, the gamma rules,
the bases of losses and metrics, and the solvers of the calibration fits; each runs with the tests
of its module, which `tests/mutants/cosmic-ray.toml` names.

Of {mutants:,} mutants, {drawn} **{killed:,} of {tried:,} were killed, {share:.1%}**; {lived}
survived: {counts}. Without the equivalent ones, which no test can notice, {share_of_others:.1%}
were killed. They ran on {backends}.{since}

```bash
.venv/bin/pip install -e ".[mutants]"
.venv/bin/python tests/mutants/run.py{options} --cases 8 --publish
.venv/bin/python tests/mutants/run.py --retry
.venv/bin/python tests/mutants/page.py
```

Without `--sample` all mutants run. A run that is stopped goes on where it was. `--cases` takes few
cases of each test; `--retry` runs again, with all cases, those published survivors that
`tests/mutants/survivors.toml` does not explain, with `KERAS_BACKEND` set on another backend, and
leaves out those that the code no longer holds. The page is made from `docs/results/mutants.json`.
"""


def page(table: dict) -> str:
    """Return the page of the results that `run.py` published."""
    modules, survivors = table["modules"], table["survivors"]
    by_kind = defaultdict(list)
    for row in survivors:
        by_kind[row["kind"]].append(row)
    parts = [head(table, {kind: len(by_kind[kind]) for kind in KINDS if by_kind[kind]})]
    parts.append("## By module\n\n" + by_module(modules))
    for kind, title in KINDS.items():
        if by_kind[kind]:
            parts.append(f"## {title}\n\n" + of_kind(by_kind[kind]))
    return "\n".join(parts)


def head(table: dict, counts: dict[str, int]) -> str:
    """Return the beginning of the page."""
    tried, killed = (sum(row[key] for row in table["modules"].values()) for key in TOTALS)
    drawn, seed = table["drawn"], table["seed"]
    is_sample = drawn < table["mutants"]
    how = f"{drawn:,} were drawn at random (seed {seed})" if is_sample else "all were to be run"
    run = tried + table.get("stale", 0)
    rest = "and run." if run == drawn else f"and {run:,} of these, a random part, were run."
    return HEAD.format(
        tool=table["tool"],
        mutants=table["mutants"],
        drawn=f"{how} {rest}",
        tried=tried,
        killed=killed,
        share=killed / tried,
        share_of_others=killed / (tried - counts.get("equivalent", 0)),
        lived=tried - killed,
        counts=", ".join(f"{number} {kind}" for kind, number in counts.items()) or "none",
        backends=", ".join(table["backends"]),
        since=since(table),
        options=f" --sample {drawn} --seed {seed}" if is_sample else "",
    )


def since(table: dict) -> str:
    """Return what is left to say once survivors ran again in changed code."""
    if not table.get("changed"):
        return ""
    return (
        f" The code has changed since (`{table['commit']}`): survivors ran again in it, and "
        f"{table['stale']} that it no longer holds are not counted. Mutants of "
        f"{len(table['changed'])} of the {len(table['modules'])} modules were killed in code that "
        "was other than it is."
    )


def by_module(modules: dict[str, dict[str, int]]) -> str:
    """Return the table of modules."""
    lines = ["| module | mutants | killed |", "|---|---:|---:|"]
    for name, row in modules.items():
        lines.append(f"| `{name}` | {row['tried']} | {row['killed']} |")
    return "\n".join(lines) + "\n"


def of_kind(rows: list[dict[str, str]]) -> str:
    """Return the survivors of one kind, with the reasons."""
    lines = []
    for row in rows:
        place = f"`{row['file']}`" + (f", `{row['function']}`" if row["function"] else "")
        before, _, after = row["change"].partition(" -> ")
        lines += [f"- {place}: `{before}` becomes `{after}`", f"  {row['reason']}".rstrip()]
    return "\n".join(line for line in lines if line) + "\n"


if __name__ == "__main__":
    FILE.write_text(page(json.loads(RESULTS.read_text())), encoding="utf-8")
    print(FILE)
