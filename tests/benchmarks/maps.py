"""Every calibration map on real predictions: fitted on some, measured on the others, with peers.

python tests/benchmarks/maps.py [--quick] [--publish]

`--publish` writes docs/results/maps_compared.json, and docs/maps_compared.md from it. Peers that
are not installed are left out. The sets are those of CONTRIBUTING.md, or with --quick drawn ones.
"""

import argparse
import gzip
import importlib.util
import json
import os
import time
import warnings
from functools import partial
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
BINARY_SIZE = 1000
CAT = 3
SMALL = 2.0**-126
PEERS = {
    "probmetrics": {
        "structured_vector": "svs",
        "structured_matrix": "sms",
        "temperature": "ts-mix",
        "quadratic": "quadratic-scaling",
    },
    "venn_abers": {"venn_abers": "one_vs_all"},
    "netcal": {
        "temperature": "scaling.TemperatureScaling",
        "platt": "scaling.LogisticCalibration",
        "beta": "scaling.BetaCalibration",
        "histogram": "binning.HistogramBinning",
        "isotonic": "binning.IsotonicRegression",
    },
    "sklearn": {"temperature": "temperature", "platt": "sigmoid", "isotonic": "isotonic"},
}
"""Maps of other packages by what they are here, and what they are called there."""

PACKAGES = ("probmetrics", "venn-abers", "netcal", "scikit-learn", "scipy", "torch")
HEAD = """# Calibration maps compared

Made by `python tests/benchmarks/maps.py --publish`; no figure is typed. Each map is fitted on 5,000
predictions and measured on the others: NLL in nats, Brier score (0 to 2), ECE of 15 bins of the top
label, top-1 error, and the seconds of processor time of the fit, with one thread of BLAS. Maps of
other packages, named in brackets, have the same predictions; `none` are the predictions as they
are. Best NLL first.
"""
ABOUT = {
    "cat or not": """Sets of two classes are fitted on 1,000 predictions. "Cat or not" are those of
classifiers of CIFAR-10, one class against the rest.
""",
    "SST-2": """SST-2 are sentences; their classifiers are of scikit-learn, trained on 3,612 others.
""",
}
"""What is said of sets whose names begin so."""


def sets(quick):
    """Yield name, logits, labels and how many of the first rows are for fits."""
    if quick:
        yield "drawn, 10 classes", *sample(1000, 10), 500
        logits, labels = sample(1000, 2)
        yield "drawn, two classes", logits[:, 1:] - logits[:, :1], labels, 500
        return
    cats = []
    for path in sorted((DATA / "records").glob("*.npz")):
        arrays = np.load(path, allow_pickle=False)
        order = np.random.default_rng(0).permutation(len(arrays["labels"]))
        p = np.maximum(arrays["probabilities"].astype("float64"), SMALL)
        logits, labels = np.log(p)[order], arrays["labels"][order]
        yield path.stem, logits, labels, SIZE
        if logits.shape[1] == 10:
            cats.append((path.stem, logits, labels))
    for path in sorted((DATA / "logits").glob("*.npz")):
        arrays = np.load(path, allow_pickle=False)
        logits, labels = (
            np.concatenate([arrays[f"{part}_{kind}"] for part in ("val", "test")])
            for kind in ("logits", "labels")
        )
        yield path.stem, logits, labels, SIZE
        cats.append((path.stem, logits, labels))
    for name, logits, labels in cats:
        yield f"cat or not, {name}", cat_or_not(logits), (labels == CAT).astype(int), BINARY_SIZE
    for name, logits, labels in sentences():
        yield f"SST-2, {name}", logits, labels, BINARY_SIZE


def cat_or_not(logits):
    """Return the log-odds of one class, shape (N, 1)."""
    logits = logits.astype("float64")
    rest = np.delete(logits, CAT, axis=1)
    return logits[:, [CAT]] - np.logaddexp.reduce(rest, axis=1)[:, None]


def sentences():
    """Yield name, log-odds and labels of classifiers of SST-2, trained on other sentences."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import MultinomialNB

    rows = []
    for part in ("train", "dev", "test"):
        with gzip.open(DATA / "sst" / f"sst2_{part}.tsv.gz", "rt", encoding="utf-8") as file:
            rows += [line.rstrip("\n").rsplit("\t", 1) for line in file]
    texts, labels = zip(*rows, strict=True)
    labels = np.array(labels, int)
    order = np.random.default_rng(0).permutation(len(labels))
    own, others = order[:3612], order[3612:]
    counts = CountVectorizer(ngram_range=(1, 2), binary=True).fit_transform(texts)
    for name, model in (
        ("naive Bayes", MultinomialNB()),
        ("logistic regression", LogisticRegression(C=100.0, max_iter=1000)),
        ("random forest", RandomForestClassifier(300, random_state=0)),
    ):
        p = model.fit(counts[own], labels[own]).predict_proba(counts[others])
        p = np.clip(p.astype("float64"), SMALL, None)
        yield name, np.log(p[:, 1:]) - np.log(p[:, :1]), labels[others]


def probabilities(logits):
    """Return a column for each class; of one logit, two."""
    logits = logits.astype("float64")
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    return softmax(logits)


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
    fit = fit_map(logits, labels, method, folds=5 if method == "auto" else 0)
    return lambda others: probabilities(np.asarray(fit.layer(others.astype("float32"))))


def of_probmetrics(name, logits, labels):
    from probmetrics.calibrators import get_calibrator

    calibrator = get_calibrator(name)
    calibrator.fit(probabilities(logits).astype("float32"), labels)
    return lambda others: calibrator.predict_proba(probabilities(others).astype("float32"))


def of_venn_abers(name, logits, labels):
    from venn_abers import VennAbersCalibrator

    # It fits again for each call.
    p, peer = probabilities(logits), VennAbersCalibrator()
    how = {"p_cal": p, "y_cal": labels, "va_type": name}
    peer.predict_proba(p_test=p[:1], **how)
    return lambda others: peer.predict_proba(p_test=probabilities(others), **how)


def of_netcal(name, logits, labels):
    module, _, kind = name.partition(".")
    calibrator = getattr(importlib.import_module(f"netcal.{module}"), kind)()

    def given(z):
        p = probabilities(z)
        return p[:, 1] if p.shape[1] == 2 else p

    def give(others):
        p = calibrator.transform(given(others))
        return np.stack([1 - p, p], axis=1) if p.ndim == 1 else p

    calibrator.fit(given(logits), labels)
    return give


def of_sklearn(name, logits, labels):
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    class Scores(ClassifierMixin, BaseEstimator):
        """A classifier whose scores are its inputs."""

        def fit(self, x, y):
            self.classes_ = np.unique(y)
            return self

        def decision_function(self, x):
            return x[:, 0] if x.shape[1] == 1 else x

        def predict(self, x):
            return self.classes_[probabilities(x).argmax(axis=1)]

    frozen = FrozenEstimator(Scores().fit(logits, labels))
    return CalibratedClassifierCV(frozen, method=name).fit(logits, labels).predict_proba


FITS = {
    "probmetrics": of_probmetrics,
    "venn_abers": of_venn_abers,
    "netcal": of_netcal,
    "sklearn": of_sklearn,
}
TITLES = {"venn_abers": "venn-abers", "sklearn": "scikit-learn"}


def peers():
    """Return the fits of the packages that are installed."""
    return {
        f"{map_name} ({TITLES.get(package, package)})": partial(FITS[package], name)
        for package, maps in PEERS.items()
        if importlib.util.find_spec(package)
        for map_name, name in maps.items()
    }


def measure(quick):
    fits = {name: partial(ours, name) for name in (*METHODS, "auto")} | peers()
    rows = []
    for name, logits, labels, size in sets(quick):
        found = [
            {"map": "none", **figures(probabilities(logits[size:]), labels[size:]), "seconds": 0.0}
        ]
        for each, fit in fits.items():
            if (
                logits.shape[1] == 1
                and each != "auto"
                and METHODS[each.split()[0]].is_same_in_binary
            ):
                continue
            if logits.shape[1] > 2 and each == "quadratic (probmetrics)":
                continue
            begin = time.process_time()
            give = fit(logits[:size], labels[:size])
            seconds = time.process_time() - begin
            print(f"{name}: {each} in {seconds:.2f} s", flush=True)
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
    about = [text for kind, text in ABOUT.items() if any(name.startswith(kind) for name in names)]
    return "\n".join([HEAD, *about, machine + "\n", *parts])


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
            "environment": environment(*PACKAGES),
            "rows": rows,
        }
        (RESULTS / "maps_compared.json").write_text(json.dumps(result, indent=1) + "\n")
        PAGE.write_text(page(result))
