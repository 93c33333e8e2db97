"""Every calibration map on real predictions: fitted on 5,000, measured on the others, with peers.

python tests/benchmarks/maps.py [--quick] [--publish]

`--publish` writes docs/results/maps_compared.json, and docs/maps_compared.md from it. Peers that
are not installed are left out. The sets are those of CONTRIBUTING.md, or with --quick a drawn one.
"""

import argparse
import json
import os
import time
import warnings
from pathlib import Path

import numpy as np
from harness import RESULTS, environment
from temperature import sample
from threadpoolctl import threadpool_limits

from keras_focal.calibration import fit_map
from keras_focal.calibration.maps import METHODS

PAGE = RESULTS.parent / "maps_compared.md"
ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("KERAS_FOCAL_DATA", ROOT.parent / "shared" / "data"))
SIZE = 5000
SMALL = 2.0**-126
PEERS = {"svs": "structured_vector", "sms": "structured_matrix", "ts-mix": "temperature"}
"""Maps of probmetrics by its own names, and what they are here."""

HEAD = """# Calibration maps compared

Made by `python tests/benchmarks/maps.py --publish`; no figure is typed. Each map is fitted on 5,000
predictions and measured on the others: NLL in nats, Brier score (0 to 2), ECE of 15 bins, top-1
error, and the seconds of processor time of the fit, with one thread of BLAS. Names with
`probmetrics` are the maps of that package on the same predictions. Best NLL first.
"""


def sets(quick):
    """Yield name, logits and labels: the first rows are for fits."""
    if quick:
        yield "drawn, 10 classes", *sample(1000, 10)
        return
    for path in sorted((DATA / "records").glob("*.npz")):
        arrays = np.load(path, allow_pickle=False)
        order = np.random.default_rng(0).permutation(len(arrays["labels"]))
        p = np.maximum(arrays["probabilities"].astype("float64"), SMALL)
        yield path.stem, np.log(p)[order], arrays["labels"][order]
    for path in sorted((DATA / "logits").glob("*.npz")):
        arrays = np.load(path, allow_pickle=False)
        both = (
            np.concatenate([arrays[f"{part}_{kind}"] for part in ("val", "test")])
            for kind in ("logits", "labels")
        )
        yield path.stem, *both


def softmax(logits):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def figures(p, labels):
    """Return NLL, Brier score, ECE and error of probabilities, from their definitions."""
    own = p[np.arange(len(p)), labels]
    confidence, is_right = p.max(axis=1), p.argmax(axis=1) == labels
    bins = np.clip(np.ceil(confidence * 15).astype(int) - 1, 0, 14)
    gaps = np.bincount(bins, confidence - is_right, 15)
    return {
        "nll": float(-np.log(np.maximum(own, SMALL)).mean()),
        "brier": float(((p * p).sum(axis=1) - 2 * own + 1).mean()),
        "ece": float(np.abs(gaps).sum() / len(p)),
        "error": float(1 - is_right.mean()),
    }


def ours(method, logits, labels):
    """Return a function that fits a map and gives its probabilities of others."""
    folds = 5 if method == "auto" else 0
    fit = fit_map(logits, labels, method, folds=folds)
    return lambda others: softmax(np.asarray(fit.layer(others.astype("float32")), "float64"))


def of_probmetrics(name, logits, labels):
    from probmetrics.calibrators import get_calibrator

    calibrator = get_calibrator(name)
    calibrator.fit(softmax(logits).astype("float32"), labels)
    return lambda others: calibrator.predict_proba(softmax(others).astype("float32"))


def peers():
    try:
        import probmetrics.calibrators  # noqa: F401
    except ImportError:
        return {}
    return {
        f"{map_name} (probmetrics)": lambda z, y, name=name: of_probmetrics(name, z, y)
        for name, map_name in PEERS.items()
    }


def measure(quick):
    fits = {name: lambda z, y, name=name: ours(name, z, y) for name in METHODS} | peers()
    rows = []
    for name, logits, labels in sets(quick):
        size = len(labels) // 2 if quick else SIZE
        found = [
            {
                "map": "none",
                **figures(softmax(logits[size:].astype("float64")), labels[size:]),
                "seconds": 0.0,
            }
        ]
        for each, fit in fits.items():
            begin = time.process_time()
            give = fit(logits[:size], labels[:size])
            seconds = time.process_time() - begin
            found.append(
                {"map": each, **figures(give(logits[size:]), labels[size:]), "seconds": seconds}
            )
        rows += [{"set": name, **one} for one in sorted(found, key=lambda one: one["nll"])]
        print(table(rows[-len(found) :]), flush=True)
    return rows


def table(rows):
    lines = [
        f"## {rows[0]['set']}\n",
        "| map | NLL | Brier | ECE % | error % | seconds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row['map']} | {row['nll']:.4f} | {row['brier']:.4f} | {100 * row['ece']:.2f} "
        f"| {100 * row['error']:.2f} | {row['seconds']:.2f} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def page(result):
    """Return the page of a result."""
    machine = ", ".join(f"{name} {value}" for name, value in result["environment"].items())
    names = dict.fromkeys(row["set"] for row in result["rows"])
    parts = [table([row for row in result["rows"] if row["set"] == name]) for name in names]
    return "\n".join([HEAD, machine + "\n", *parts])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a drawn set")
    parser.add_argument("--publish", action="store_true", help="write docs")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with threadpool_limits(1):
        rows = measure(options.quick)
    if options.publish:
        result = {
            "made_by": "python tests/benchmarks/maps.py --publish",
            "environment": environment("probmetrics", "scikit-learn", "scipy", "torch"),
            "rows": rows,
        }
        (RESULTS / "maps_compared.json").write_text(json.dumps(result, indent=1) + "\n")
        PAGE.write_text(page(result))
