"""Each penalty of losses.Calibrated on scikit-learn's digits, against its base, five seeds.

python tests/benchmarks/penalties.py [--quick] [--publish]

`--publish` writes docs/results/penalties.json, and docs/penalties_compared.md from it. The task is
that of examples/quickstart.py: a small network trained on 100 digits, a temperature fitted on 300
others, which CALS reads for its multipliers too, and 1,397 others to measure.
"""

import argparse
import json
import sys
from pathlib import Path

import keras
import numpy as np
from harness import RESULTS, environment
from maps import figures, softmax

from keras_focal import losses
from keras_focal.calibration import fit_temperature
from keras_focal.callbacks import ClassMultipliers

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples"))

from shared.digits import load_digits, small_cnn  # noqa: E402

PAGE = RESULTS.parent / "penalties_compared.md"
SEEDS, EPOCHS, BATCH, RATE = 5, 30, 25, 5e-3
MEASURES = {
    "error": ("error %", 100, 2),
    "ece": ("ECE %", 100, 2),
    "nll": ("NLL", 1, 4),
    "temperature": ("T", 1, 2),
    "ece_after": ("ECE % after T", 100, 2),
    "nll_after": ("NLL after T", 1, 4),
}
PENALTIES = {
    "MDCA": losses.MDCA,
    "MDCA, weight 10": lambda: losses.MDCA(weight=10.0),
    "DCA": losses.DCA,
    "SoftBinnedECE": losses.SoftBinnedECE,
    "SoftBinnedACE": losses.SoftBinnedACE,
    "ACLS": losses.ACLS,
    "ACLS, margin 3": lambda: losses.ACLS(margin=3.0),
    "CALS": lambda: losses.CALS(10),
    "CALS, margin 3": lambda: losses.CALS(10, margin=3.0),
}
HEAD = """# Penalties that train calibration

Made by `python tests/benchmarks/penalties.py --publish`; no figure is typed. The network of
[quickstart](examples/index.md), trained on 100 of scikit-learn's digits with cross-entropy (CE),
with focal loss (FL-3), and with CE plus each penalty of `losses.Calibrated`, at its defaults unless
a number is given. A temperature T is fitted on 300 others, and 1,397 others are measured: mean ±
standard deviation over {seeds} seeds.
"""
VERDICT = """
## Against cross-entropy

The mean difference to CE of the same seeds. "better" and "worse" are said where it is more than
twice its standard error, which chance alone gives in about one of nine comparisons of five seeds.
"""
FOOT = """
100 digits are few, and this is one network. One that fits all its training data is right and sure
of it, so that a penalty of the batch has little left to see; those on the logits pull on every
prediction. A margin that is small for a network makes it under-confident (T below 1), which shows
in the ECE before T. Compare the columns after T before you keep a penalty: a temperature is
cheaper.
"""


def train(name, data, seed, epochs):
    """Return a trained network."""
    keras.utils.set_random_seed(seed)
    model, callbacks = small_cnn(), []
    loss = losses.get(name if name == "FL-3" else "CE", from_logits=True)
    if name in PENALTIES:
        penalty = PENALTIES[name]()
        loss = losses.Calibrated(loss, penalty)
        if isinstance(penalty, losses.CALS):
            callbacks = [ClassMultipliers(data.validation.x, batch_size=300)]
    model.compile(keras.optimizers.Adam(RATE), loss)
    model.fit(
        data.train.x, data.train.y, batch_size=BATCH, epochs=epochs, callbacks=callbacks, verbose=0
    )
    return model


def measured(name, seed, epochs):
    """Return the figures of one training."""
    data = load_digits(seed)
    model = train(name, data, seed, epochs)
    held_out, new = (model.predict(part.x, verbose=0) for part in (data.validation, data.test))
    fit = fit_temperature(held_out, data.validation.y)
    after = figures(softmax(new.astype("float64") / fit.temperature), data.test.y)
    found = figures(softmax(new.astype("float64")), data.test.y)
    found |= {"temperature": fit.temperature}
    found |= {f"{measure}_after": after[measure] for measure in ("ece", "nll")}
    return {"loss": name, "seed": seed, **found}


def by_loss(rows, measure):
    """Return the figures of each loss over the seeds."""
    names = dict.fromkeys(row["loss"] for row in rows)
    return {name: np.array([row[measure] for row in rows if row["loss"] == name]) for name in names}


def table(rows):
    head = " | ".join(title for title, _, _ in MEASURES.values())
    lines = [f"| loss | {head} |", "| --- |" + " --- |" * len(MEASURES)]
    found = {measure: by_loss(rows, measure) for measure in MEASURES}
    for name in found["nll"]:
        cells = []
        for measure, (_, scale, digits) in MEASURES.items():
            values = scale * found[measure][name]
            cells.append(f"{values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f}")
        title = name if name in ("CE", "FL-3") else f"CE + {name}"
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def gaps(rows, measure):
    """Return by loss its mean difference to cross-entropy, and "better", "worse" or neither."""
    _, scale, _ = MEASURES[measure]
    found = by_loss(rows, measure)
    plain = found.pop("CE")
    said = {}
    for name, values in found.items():
        gap = scale * (values - plain)
        is_clear = abs(gap.mean()) > 2 * gap.std(ddof=1) / np.sqrt(len(gap))
        word = ("better" if gap.mean() < 0 else "worse") if is_clear else "no difference"
        said[name] = gap.mean(), word
    return said


def verdicts(rows):
    """Return a table of differences to cross-entropy, and what it says in words."""
    measures = [measure for measure in MEASURES if measure != "temperature"]
    head = " | ".join(MEASURES[measure][0] for measure in measures)
    lines = [f"| loss | {head} |", "| --- |" + " --- |" * len(measures)]
    found = {measure: gaps(rows, measure) for measure in measures}
    for name in found["nll"]:
        cells = [
            f"{found[measure][name][0]:+.{MEASURES[measure][2]}f}, {found[measure][name][1]}"
            for measure in measures
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    groups = {"NLL better also after T": [], "NLL better before T alone": [], "NLL not better": []}
    for name in found["nll"]:
        is_after = found["nll_after"][name][1] == "better"
        is_before = found["nll"][name][1] == "better"
        groups[[*groups][0 if is_after else 1 if is_before else 2]].append(name)
    lines += [
        "",
        *(f"- **{group}:** {'; '.join(names)}." for group, names in groups.items() if names),
    ]
    return "\n".join(lines) + "\n"


def page(result):
    """Return the page of a result."""
    rows = result["rows"]
    seeds = len({row["seed"] for row in rows})
    machine = ", ".join(f"{name} {value}" for name, value in result["environment"].items())
    parts = [HEAD.format(seeds=seeds), machine + "\n", table(rows), VERDICT]
    return "\n".join([*parts, verdicts(rows), FOOT])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two seeds, two epochs, three losses")
    parser.add_argument("--publish", action="store_true", help="write docs")
    options = parser.parse_args()
    names = ["CE", "MDCA", "CALS"] if options.quick else ["CE", "FL-3", *PENALTIES]
    epochs, seeds = (2, 2) if options.quick else (EPOCHS, SEEDS)
    rows = []
    for name in names:
        rows += [measured(name, seed, epochs) for seed in range(seeds)]
        print(table(rows).splitlines()[-1], flush=True)
    if options.publish:
        result = {
            "made_by": "python tests/benchmarks/penalties.py --publish",
            "environment": environment("scikit-learn") | {"backend": keras.backend.backend()},
            "rows": rows,
        }
        (RESULTS / "penalties.json").write_text(json.dumps(result, indent=1) + "\n")
        PAGE.write_text(page(result))
