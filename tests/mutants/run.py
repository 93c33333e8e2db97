"""Mutants of the package: small changes of its code, each of which a test must notice.

python tests/mutants/run.py --sample 400 --seed 0 --publish

Runs what is left of a session, or begins one; `--retry` runs published survivors again, in the code
as it is, and says which of them it no longer holds. cosmic-ray makes the mutants that
`cosmic-ray.toml` names and keeps the session; each runs in a fork of this process that has imported
Keras, pytest and the backend, and nothing of the package. No file of the package is written.
"""

import argparse
import importlib
import importlib.metadata
import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher
from importlib.machinery import SourceFileLoader
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PACKAGE = ROOT / "keras_focal"
CONFIG = tomllib.loads((HERE / "cosmic-ray.toml").read_text())
RESULTS = ROOT / "docs" / "results" / "mutants.json"
PRELOADED = ("hypothesis", "keras", "mpmath", "pytest", "scipy.stats", "tensorflow")
# Not rewritten: pytest would read a module whose examples it runs from its file.
PYTEST = ("-x", "-q", "-n", "0", "--assert=plain")
TOTALS = ("tried", "killed")
OPEN = ("gap", "untried")
"""Kinds of survivors that another test or backend may kill."""


def tests_of(module: str) -> list[str]:
    """Return what pytest runs for a module of the package: its tests, and its examples."""
    tests, path = CONFIG["tests"], Path(module)
    own = next(tests[str(name)] for name in (path, *path.parents) if str(name) in tests)
    return [*(f"{ROOT}/tests/{name}" for name in [*own, *tests["."]]), f"{PACKAGE}/{module}"]


def all_mutants() -> Iterator:
    """Yield every mutant as a cosmic-ray MutationSpec, in a fixed order."""
    from cosmic_ray.commands.init import _all_work_items
    from cosmic_ray.modules import filter_paths, find_modules

    settings = CONFIG["cosmic-ray"]
    left_out = settings["filters"]["operators-filter"]["exclude-operators"]
    is_left_out = re.compile("|".join(left_out)).match
    modules = find_modules([PACKAGE / name for name in settings["module-path"]])
    excluded = [f"{PACKAGE}/{name}" for name in settings["excluded-modules"]]
    for item in _all_work_items(sorted(filter_paths(modules, excluded)), {}):
        mutation = item.mutations[0]
        if not is_left_out(mutation.operator_name) and not _is_in_signature(mutation):
            yield item


def _is_in_signature(mutation) -> bool:
    """Return whether a mutant changes the `*` or `/` of a signature, no operator at all."""
    lines = mutation.module_path.read_text().splitlines()
    (row, start), (_, end) = mutation.start_pos, mutation.end_pos
    line = lines[row - 1]
    return line[start:end] in "*/" and line[end:].lstrip().startswith((",", ")"))


def begin(database, seed: int, size: int | None) -> None:
    """Write the mutants of a new session; those that are not in the sample are skipped."""
    from cosmic_ray.work_item import WorkerOutcome, WorkResult

    items = list(all_mutants())
    database.add_work_items(items)
    if size is not None:
        kept = {item.job_id for item in random.Random(seed).sample(items, min(size, len(items)))}
        skipped = [item.job_id for item in items if item.job_id not in kept]
        database.set_multiple_results(skipped, WorkResult(WorkerOutcome.SKIPPED))


def mutated(mutation) -> tuple[str, str]:
    """Return the source of the module of a mutant, and that with the change."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    source = mutation.module_path.read_text()
    operator = get_operator(mutation.operator_name)(**mutation.operator_args)
    return source, mutate_code(source, operator, mutation.occurrence)


def import_as(path: Path, source: str) -> None:
    """Make this process import other source than a file holds."""
    of_file = SourceFileLoader.get_code

    def get_code(loader: SourceFileLoader, name: str):
        if Path(loader.path) == path:
            return compile(source, path, "exec")
        return of_file(loader, name)

    SourceFileLoader.get_code = get_code


def is_killed(path: Path, source: str, options: list[str], limit: float) -> bool:
    """Return whether a test fails, or takes too long, with a file of the package changed."""
    import pytest

    tests = tests_of(str(path.relative_to(PACKAGE)))
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        import_as(path, source)
        code = 1
        try:
            code = int(pytest.main([*PYTEST, *options, *tests]))
        finally:
            os._exit(code)
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status != 0
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


class Runner:
    """Runs the tests of mutants, and for each module also those of what is unchanged.

    Args:
        options: Of pytest.
    """

    def __init__(self, options: list[str]):
        self.options, self.limit = options, CONFIG["cosmic-ray"]["timeout"]
        self._pass_unchanged: set[Path] = set()

    def is_killed(self, item, place: str) -> bool:
        """Return whether the tests notice a mutant, and print it; a place says which it is."""
        mutation, began = item.mutations[0], time.monotonic()
        path = mutation.module_path
        source, changed = mutated(mutation)
        killed = is_killed(path, changed, self.options, self.limit)
        if killed and path not in self._pass_unchanged:
            if is_killed(path, source, self.options, self.limit):
                sys.exit(f"A test of {path} fails without any change")
            self._pass_unchanged.add(path)
        took, outcome = time.monotonic() - began, "killed" if killed else "survived"
        line = f"{path.relative_to(PACKAGE)}:{mutation.start_pos[0]} {change_of(source, changed)}"
        print(f"{place}, {took:.0f} s, {outcome}: {line}", flush=True)
        return killed


def execute(database, waiting: Iterable, options: list[str], until: float) -> None:
    """Run mutants, as many as there is time for."""
    from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkResult

    waiting, runner = list(waiting), Runner(options)
    for done, item in enumerate(waiting, 1):
        if time.monotonic() > until:
            return
        killed = runner.is_killed(item, f"{done} of {len(waiting)}")
        outcome = TestOutcome.KILLED if killed else TestOutcome.SURVIVED
        change = change_of(*mutated(item.mutations[0]))
        database.set_result(
            item.job_id, WorkResult(WorkerOutcome.NORMAL, keras_backend(), outcome, change)
        )


def retry(table: dict, options: list[str], until: float) -> dict:
    """Return published results after their survivors have run again in the code as it is.

    Those that `survivors.toml` explains are not run. A survivor that the code no longer holds is
    stale: it is counted no more.
    """
    runner, table = Runner(options), {**table, "commit": table.get("commit") or commit_of_results()}
    now = {key_of(row): item for row, item in mutants_of(table["survivors"])}
    modules, survivors, stale = table["modules"], [], 0
    for row in table["survivors"]:
        item, verdict = now.get(key_of(row)), verdict_on(row)
        if item is None:
            print(f"stale: {row['file']} {row['function']} {row['change']}", flush=True)
            modules[row["file"]]["tried"] -= 1
            stale += 1
        elif (
            verdict["kind"] in OPEN
            and time.monotonic() < until
            and runner.is_killed(item, "retried")
        ):
            modules[row["file"]]["killed"] += 1
        else:
            survivors.append(row | verdict)
    return {
        **table,
        "backends": sorted({*table["backends"], keras_backend()}),
        "stale": table.get("stale", 0) + stale,
        "changed": sorted(changed_since(table["commit"]) & {*modules}),
        "modules": {name: row for name, row in modules.items() if row["tried"]},
        "survivors": survivors,
    }


def key_of(row: dict[str, str]) -> tuple[str, ...]:
    """Return what tells a mutant from others."""
    return row["file"], row["function"], row["change"]


def mutants_of(rows: list[dict[str, str]]) -> Iterator[tuple[dict[str, str], object]]:
    """Yield the mutants of the functions that some rows name, each with its own row."""
    places = {(row["file"], row["function"]) for row in rows}
    for item in all_mutants():
        row = row_of(item)
        if (row["file"], row["function"]) in places:
            yield {**row, "change": change_of(*mutated(item.mutations[0]))}, item


def commit_of_results() -> str:
    """Return the commit of the published results, or of the code if there are none."""
    return git("log", "-1", "--format=%h", "--", str(RESULTS)) or git(
        "rev-parse", "--short", "HEAD"
    )


def changed_since(commit: str) -> set[str]:
    """Return the modules that differ from those of a commit."""
    names = git("diff", "--name-only", "--relative", commit, cwd=PACKAGE).splitlines()
    return {name for name in names if name.endswith(".py")}


def git(*arguments: str, cwd: Path = ROOT) -> str:
    """Return what git prints."""
    found = subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, text=True, check=True)
    return found.stdout.strip()


def keras_backend() -> str:
    """Return the name of the backend."""
    import keras

    return keras.backend.backend()


def change_of(source: str, changed: str) -> str:
    """Return the one change of a mutant as `before -> after`."""
    before, after = source.splitlines(), changed.splitlines()
    changes = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    (_, *old, start, end) = next(code for code in changes if code[0] != "equal")
    texts = before[slice(*old)], after[start:end]
    return " -> ".join(" ".join(map(str.strip, text)) for text in texts)


def row_of(item) -> dict[str, str]:
    """Return the place of a mutant."""
    mutation = item.mutations[0]
    module, function = mutation.module_path.relative_to(PACKAGE), mutation.definition_name or ""
    return {"file": str(module), "function": function}


def results_of(database, seed: int) -> dict:
    """Return the table of `docs/results/mutants.json`."""
    completed = database.completed_work_items
    run = [(item, result) for item, result in completed if result.test_outcome]
    tried, killed, survivors = Counter(), Counter(), []
    for item, result in run:
        row = {**row_of(item), "change": result.diff}
        tried[row["file"]] += 1
        killed[row["file"]] += result.is_killed
        if not result.is_killed:
            survivors.append(row | verdict_on(row))
    return {
        "tool": f"cosmic-ray {importlib.metadata.version('cosmic-ray')}",
        "backends": sorted({result.output for _, result in run}),
        "seed": seed,
        "commit": git("rev-parse", "--short", "HEAD"),
        "mutants": database.num_work_items,
        "drawn": database.num_work_items - len(completed) + len(run),
        "modules": {name: {"tried": tried[name], "killed": killed[name]} for name in sorted(tried)},
        "survivors": sorted(survivors, key=lambda row: (row["file"], row["change"])),
    }


def verdict_on(row: dict[str, str]) -> dict[str, str]:
    """Return the kind of a survivor, and the reason, of `survivors.toml`."""
    for verdict in tomllib.loads((HERE / "survivors.toml").read_text())["survivor"]:
        if key_of(verdict) == key_of(row):
            return {"kind": verdict["kind"], "reason": verdict["reason"]}
    return {"kind": "gap", "reason": ""}


def main() -> None:
    """Run, run again or publish a session."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sample", type=int, metavar="N", help="N random mutants, not all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--cases", type=int, metavar="N", help="at most N cases of each test")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so many")
    parser.add_argument("--retry", action="store_true", help="run published survivors again")
    parser.add_argument("--only", default="", metavar="PATH", help="a folder or module, of those")
    parser.add_argument("--publish", action="store_true", help=f"write {RESULTS.relative_to(ROOT)}")
    given = parser.parse_args()
    until = time.monotonic() + 60 * given.minutes

    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("KERAS_BACKEND", "torch")
    os.environ["OMP_NUM_THREADS"] = "1"  # A fork has the threads of its parent no more.
    for name in PRELOADED:
        importlib.import_module(name)
    from cosmic_ray.work_db import use_db

    options = ["--cases", "all" if given.cases is None else str(given.cases)]
    if given.retry:
        publish(retry(json.loads(RESULTS.read_text()), options, until))
        return
    name = "all" if given.sample is None else f"{given.sample}_of_seed_{given.seed}"
    session = ROOT / "runs" / f"mutants_{name}.sqlite"
    session.parent.mkdir(exist_ok=True)
    with use_db(session) as database:
        if not database.num_work_items:
            begin(database, given.seed, given.sample)
        waiting = database.pending_work_items
        folder = str(PACKAGE / given.only)
        waiting = [i for i in waiting if str(i.mutations[0].module_path).startswith(folder)]
        execute(database, waiting, options, until)
        table = results_of(database, given.seed)
    print(f"Session: {session}")
    if given.publish:
        publish(table)


def publish(table: dict) -> None:
    """Write `docs/results/mutants.json`."""
    tried, killed = (sum(row[key] for row in table["modules"].values()) for key in TOTALS)
    print(f"{killed} of {tried} killed")
    RESULTS.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
