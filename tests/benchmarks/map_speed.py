"""Seconds and memory of the fits of maps: against each other, probmetrics, and this package before.

python tests/benchmarks/map_speed.py [--quick] [--publish]

Seconds are of processor time, with one thread of BLAS: on a shared machine they say more than the
clock. Every fit is repeated in turn with what it is compared to, in processes that stay.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from command_line import checked_out
from harness import Row, environment, main, peak_of, ratio_rows, resident
from maps import DATA, SIZE, SMALL, of_probmetrics, ours, softmax
from temperature import sample
from threadpoolctl import threadpool_limits

from keras_focal.calibration import fit_map

ROOT = Path(__file__).resolve().parents[2]
BEFORE = "e9f5a52"
RECORDS = ("wideresnet-16-4-cifar-100", "lenet-5-cifar-100")
LIGHT = ("temperature", "focal_temperature", "vector", "structured_vector", "structured_matrix")
HEAVY = {"matrix": 10, "dirichlet": 10, "auto": 20, "histogram": 1, "isotonic": 1}
"""Seconds that a fit may take at 5,000 x 100."""

PEERS = {"vector": "vs", "structured_vector": "svs", "structured_matrix": "sms"}
"""Maps of probmetrics by its own names."""

FOCAL = (
    "Some of the rows say where to look, float32 comes near, and the temperature that it starts at "
    "got faster too. What is left: two descents, as the likelihood can have two minima (where the "
    "rows see one at a bound, both are made with all rows), and six sums of derivatives a pass."
)
STRUCTURED = (
    "Solved to a gradient of 1e-8. Two products of matrices in each step of conjugate gradients "
    "are most of it; blocks of the Hessian are left out where the penalty is strong."
)


def data(case):
    """Return logits and labels of a case: rows and classes that are drawn, or a record."""
    if case in RECORDS:
        arrays = np.load(DATA / "records" / f"{case}.npz", allow_pickle=False)
        order = np.random.default_rng(0).permutation(len(arrays["labels"]))[:SIZE]
        p = np.maximum(arrays["probabilities"].astype("float64"), SMALL)
        return np.log(p)[order], arrays["labels"][order]
    return sample(*map(int, case.split(" x ")))


def of_vector_scaling(logits, labels):
    from probmetrics.calibrators import VectorScalingCalibrator

    VectorScalingCalibrator().fit(softmax(logits).astype("float32"), labels)


def fitted(name, logits, labels):
    if name == "vs":
        of_vector_scaling(logits, labels)
    elif name in PEERS.values():
        of_probmetrics(name, logits, labels)
    else:
        ours(name, logits, labels)


def work():
    """Answer lines "name, case" with the seconds of a fit."""
    warnings.simplefilter("ignore")
    known = {}
    with contextlib.suppress(ImportError):
        # Before the limit: the threads of what is loaded after it are not held.
        import probmetrics.calibrators  # noqa: F401
        import torch

        torch.set_num_threads(1)
    with threadpool_limits(1):
        for line in sys.stdin:
            name, case = json.loads(line)
            if case not in known:
                known[case] = data(case)
            begin = time.process_time()
            fitted(name, *known[case])
            print(json.dumps(time.process_time() - begin), flush=True)


class Worker:
    """A process with a version of the package."""

    def __init__(self, package):
        path = os.pathsep.join([str(package), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--work"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "KERAS_BACKEND": "tensorflow"},
        )

    def seconds(self, name, case):
        print(json.dumps([name, case]), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())


def in_turn(variants, case, rounds, warm=True):
    """Return the seconds of (worker, name) in each round, if told so after one that warms up."""
    times = {label: [] for label in variants}
    for turn in range(-warm, rounds):
        for label, (worker, name) in variants.items():
            seconds = worker.seconds(name, case)
            if turn >= 0:
                times[label].append(seconds)
    return times


def light(now, case, quick, has_peers):
    """Return rows of the fits that take less than a second: against a temperature, and peers."""
    fits = {name: (now, name) for name in LIGHT}
    fits |= {f"{name} (probmetrics)": (now, PEERS[name]) for name in PEERS if has_peers}
    times = in_turn(fits, case, 1 if quick else 5)
    pair = {name: times[name] for name in ("temperature", "focal_temperature")}
    targets, notes = {"focal_temperature": 3.0}, {"focal_temperature": FOCAL}
    rows = ratio_rows("Against a temperature", case, pair, "temperature", targets, notes)[1:]
    for name in PEERS:
        peer = f"{name} (probmetrics)"
        notes = {name: STRUCTURED} if name == "structured_matrix" else {}
        if has_peers:
            pair = {name: times[name], peer: times[peer]}
            rows += ratio_rows("Against probmetrics", case, pair, peer, {name: 1.0}, notes)[:1]
        else:
            absent = "probmetrics is not installed"
            rows.append(Row("Against probmetrics", case, name, peer, None, target=1.0, note=absent))
    return rows


def against_before(now, before, names, case, rounds, warm):
    """Return rows of fits against those of the commit before, and their seconds."""
    rows = []
    for name in names:
        pair = in_turn({name: (now, name), "before": (before, name)}, case, rounds, warm)
        rows += ratio_rows(f"Against the commit {BEFORE}", case, pair, "before")[:1]
        if name in HEAVY:
            spent = float(np.median(pair[name]))
            rows.append(Row("Seconds of a fit", case, name, "seconds", spent, target=HEAVY[name]))
    return rows


def large(quick):
    """Return rows of many classes: seconds, and memory beyond the logits that are given."""
    size, classes = (500, 50) if quick else (20_000, 1000)
    logits, labels = sample(size, classes)
    fit_map(*sample(200, 10), "vector")
    start, begin = resident(), time.process_time()
    with threadpool_limits(1):
        peak = peak_of(lambda: fit_map(logits, labels, "vector"))
    spent = time.process_time() - begin
    case, ratio = f"{size:,} x {classes:,}, 5 folds", (peak - start) / logits.nbytes
    return [
        Row("Seconds of a fit", case, "vector", "seconds", spent, target=10),
        Row("Memory of a fit", case, "vector", "times the float32 logits", ratio, target=4),
    ]


def measure(quick):
    try:
        import probmetrics.calibrators  # noqa: F401

        has_peers = True
    except ImportError:
        has_peers = False
    cases = [case for case in RECORDS if (DATA / "records" / f"{case}.npz").is_file()]
    if quick or not cases:
        cases = ["300 x 5"] if quick else ["5000 x 100"]
    rows = large(quick)
    with tempfile.TemporaryDirectory() as folder:
        now, before = Worker(ROOT), Worker(checked_out(folder, BEFORE))
        for case in cases:
            rows += light(now, case, quick, has_peers)
            rows += against_before(now, before, LIGHT, case, 1 if quick else 3, warm=True)
        rows += against_before(now, before, HEAVY, cases[0], 1 if quick else 2, warm=False)
        for worker in (now, before):
            worker.process.stdin.close()
            worker.process.wait()
    rows.sort(key=lambda row: row.table)
    return rows, environment("numpy", "scipy", "probmetrics", "torch")


if __name__ == "__main__":
    if sys.argv[1:] == ["--work"]:
        work()
    else:
        main("map_speed", measure)
