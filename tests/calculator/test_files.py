"""calibration.js, npz.js and csv.js: figures of files, against the oracle and the package."""

import gzip
import io
import re
import zipfile

import numpy as np
import pytest
import reference

from keras_focal import functional
from keras_focal.calibration import fit_temperature

RNG = np.random.default_rng(1)
PLAIN = {"temperature": 1, "gamma": 0, "numBins": 15}
FIGURES = ("accuracy", "ece", "mce", "adaEce", "nll", "brier")


def predictions(index):
    """Random logits or probabilities with labels; with ties, some confidences of exactly 1."""
    size, k = int(RNG.integers(40, 400)), int(RNG.choice([2, 3, 10, 40]))
    labels = RNG.integers(0, k, size)
    logits = RNG.normal(0, 2, (size, k)) + 3 * np.eye(k)[labels] * (
        RNG.uniform(size=(size, 1)) < 0.7
    )
    if index % 3 == 0:
        return labels, logits.round(4), True
    return labels, reference.softmax64(logits * RNG.choice([1.0, 8.0])), False


def csv_of(labels, values, mark=","):
    lines = [mark.join([*(f"prob_{k}" for k in range(values.shape[1])), "label"])]
    rows = zip(values, labels, strict=True)
    lines += [mark.join([*map(repr, row.tolist()), str(label)]) for row, label in rows]
    return "\n".join(lines).encode()


def file_of(index, labels, values, npz_of):
    """A file in one of the forms that NumPy and people write."""
    if index % 5 == 4:
        return f"{index}.csv", csv_of(labels, values, ",\t;|"[index // 5]), values
    dtype = ["<f8", "<f4", ">f8", "<f2"][index % 5 if index < 10 else index % 2]
    values = values.astype(dtype)
    if index % 2:
        values = np.asfortranarray(values)
    save = np.savez_compressed if index % 4 < 2 else np.savez
    kind = ["<i8", "u1", ">i4", "<f4"][index % 4]
    name = "logits" if values.max() > 1 else "probabilities"
    return f"{index}.npz", npz_of(save, **{name: values, "labels": labels.astype(kind)}), values


def figures_of(labels, probabilities, num_bins):
    confidence, correct = reference.top_label(labels, probabilities)
    onehot = np.eye(probabilities.shape[1])[labels]
    p_t = probabilities[np.arange(len(labels)), labels] / probabilities.sum(axis=1)
    return {
        "accuracy": correct.mean(),
        "ece": reference.ece(confidence, correct, num_bins),
        "mce": reference.mce(confidence, correct, num_bins),
        "adaEce": reference.adaptive_ece(confidence, correct, num_bins),
        "nll": -np.log(np.maximum(p_t, 2.0**-126)).mean(),
        "brier": ((probabilities - onehot) ** 2).sum(axis=1).mean(),
    }


def test_figures_of_20_files_are_those_of_the_oracle(read, npz_of):
    files, cases = [], []
    for index in range(20):
        labels, values, is_logits = predictions(index)
        name, content, stored = file_of(index, labels, values, npz_of)
        files.append((name, content))
        cases.append((labels, stored.astype("float64"), is_logits))
    for file, case, found in zip(files, cases, read(files, [PLAIN]), strict=True):
        labels, values, is_logits = case
        assert (found["isLogits"], found["labels"]) == (is_logits, labels.tolist()), file[0]
        stored = np.reshape(found["values"], values.shape)
        # A zero of a rounded file counts as half its step.
        assert np.array_equal(stored[values != 0], values[values != 0])
        expected = figures_of(labels, reference.softmax64(values) if is_logits else stored, 15)
        got = {name: found["figures"][0][name] for name in FIGURES}
        assert got == pytest.approx(expected, rel=1e-6, abs=1e-9), file[0]


def test_figures_are_those_of_the_package(read, npz_of):
    for dtype in ("float64", "float32"):
        labels, values, _ = predictions(1)
        values = values.astype(dtype)
        file = ("p.npz", npz_of(probabilities=values, labels=labels))
        (found,) = read([file], [{**PLAIN, "numBins": 10}])
        how = {"num_bins": 10}
        expected = {
            "ece": functional.expected_calibration_error(labels, values, **how),
            "mce": functional.maximum_calibration_error(labels, values, **how),
            "adaEce": functional.adaptive_expected_calibration_error(labels, values, **how),
            "nll": np.mean(functional.negative_log_likelihood(labels, values)),
            "brier": np.mean(functional.brier_score(labels, values)),
        }
        for name, value in expected.items():
            assert found["figures"][0][name] == pytest.approx(float(value), rel=2e-6, abs=1e-6), (
                name
            )


def test_temperature_and_posterior_are_those_of_the_oracle(read, npz_of):
    labels, logits, _ = predictions(0)
    settings = [
        {"temperature": t, "gamma": g, "numBins": 7} for t in (0.05, 0.5, 3) for g in (0, 2)
    ]
    (file,) = read([("p.npz", npz_of(logits=logits, labels=labels))], settings)
    for setting, figures in zip(settings, file["figures"], strict=True):
        scaled = logits / setting["temperature"]
        if setting["gamma"]:
            scaled = np.array([reference.focal_posterior(row, setting["gamma"]) for row in scaled])
        expected = figures_of(labels, reference.softmax64(scaled), 7)
        del expected["nll"]
        assert {name: figures[name] for name in expected} == pytest.approx(
            expected, rel=1e-6, abs=1e-9
        )
        assert figures["nll"] == pytest.approx(reference.nll(labels, scaled), rel=1e-6)


def test_order_within_ties_changes_no_adaptive_error(read, npz_of):
    """16 predictions of one confidence cross the edges of bins: their order may not matter."""
    p = np.repeat([[0.9, 0.1], [0.6, 0.4]], [16, 5], axis=0)
    labels = np.repeat([0, 1, 0], [8, 8, 5])
    orders = [np.arange(21), np.arange(21)[::-1], RNG.permutation(21)]
    files = [("p.npz", npz_of(probabilities=p[order], labels=labels[order])) for order in orders]
    confidence, correct = reference.top_label(labels, p)
    expected = reference.adaptive_ece(confidence, correct, 4)
    for found in read(files, [{**PLAIN, "numBins": 4}]):
        assert found["figures"][0]["adaEce"] == pytest.approx(expected, rel=1e-12)


def test_confidences_of_one_complement_are_tied(read, npz_of):
    """Below 1/2 a float32 has a finer step than 1 - p has: two of them may share a complement."""
    steps = np.float32(0.3) + np.arange(8, dtype="float32") * np.spacing(np.float32(0.3))
    first = next(i for i in range(7) if 1 - steps[i] == 1 - steps[i + 1])
    top = np.repeat(steps[first : first + 2], 6)[:, None]
    p = np.concatenate([top, np.repeat((1 - top) / 4, 4, axis=1)], axis=1).astype("float32")
    labels = np.repeat([0, 1], 6)
    expected = functional.adaptive_expected_calibration_error(labels, p, num_bins=2)
    file = ("p.npz", npz_of(probabilities=p, labels=labels))
    (found,) = read([file], [{**PLAIN, "numBins": 2}])
    assert found["figures"][0]["adaEce"] == pytest.approx(float(expected), abs=1e-6)
    assert float(expected) == pytest.approx(0.2, abs=1e-6)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_confidence_on_an_edge_lies_below_it(read, npz_of, dtype):
    p = (np.arange(5, 10) / 10).astype(dtype)
    content = npz_of(probabilities=np.stack([p, 1 - p], axis=1), labels=np.array([0, 1, 0, 0, 1]))
    (found,) = read([("p.npz", content)], [{**PLAIN, "numBins": 10}])
    counts = [each["count"] for each in found["figures"][0]["bins"]]
    assert counts == [0, 0, 0, 0, 1, 1, 1, 1, 1, 0]


def test_ties_go_to_the_lowest_class_and_zeros_and_ones_have_bins(read, npz_of):
    content = npz_of(probabilities=np.array([[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]]), labels=[1, 0, 1])
    (found,) = read([("p.npz", content)], [{**PLAIN, "numBins": 1}])
    assert found["figures"][0]["accuracy"] == pytest.approx(2 / 3)
    assert found["figures"][0]["bins"][0]["count"] == 3


def test_chance_is_that_of_the_package(page):
    counts, wrong = np.array([0.0, 60, 9, 400, 1]), np.array([0.0, 30, 4, 100, 0])
    confidence = np.array([0, 0.35, 0.5, 0.7, 1.0])
    gap = wrong - counts * (1 - confidence)
    bins = functional.BinStatistics(counts, wrong, gap)
    floor = functional.noise_floor(bins, num_draws=40_000)
    pairs = [{"count": n, "confidence": c} for n, c in zip(counts, confidence, strict=True)]
    found = page.evaluate("bins => calibration.noiseFloor(bins)", pairs)
    assert found["expected"] == pytest.approx(floor.expected, rel=0.02)
    assert found["upper"] == pytest.approx(floor.upper, rel=0.04)
    assert found["intervals"][0] is None
    for interval, low, high, count in zip(
        found["intervals"][1:], floor.low[1:], floor.high[1:], counts[1:], strict=True
    ):
        assert interval == pytest.approx([low, high], abs=1.01 / count)
    assert found["intervals"][4] == [1, 1]


def test_expected_error_of_chance_is_exact(page):
    """Of two predictions of confidence 3/4: 2 right (9/16), 1 (6/16) or none (1/16)."""
    found = page.evaluate("calibration.noiseFloor([{ count: 2, confidence: 0.75 }])")
    assert found["expected"] == pytest.approx((9 * 0.25 + 6 * 0.25 + 1 * 0.75) / 16, rel=1e-12)


def test_published_logits_have_the_published_figures(read, real_data):
    content = (real_data / "logits" / "cifar10_resnet50_cross_entropy.npz").read_bytes()
    settings = [PLAIN, {**PLAIN, "temperature": 2.5}]
    (found,) = read([("l.npz", content)], settings, "test_logits", "test_labels")
    plain, scaled = found["figures"]
    assert round(100 * (1 - plain["accuracy"]), 2) == 4.95
    assert [round(100 * each["ece"], 4) for each in (plain, scaled)] == [4.3543, 1.3543]
    assert round(100 * plain["adaEce"], 4) == 4.3376


def test_networks_outputs_have_the_figures_of_the_package(read, real_data):
    path = real_data / "records" / "lenet-5-cifar-10.npz"
    with np.load(path) as arrays:
        labels, values = arrays["labels"], arrays["probabilities"]
    (found,) = read([(path.name, path.read_bytes())], [PLAIN])
    figures = found["figures"][0]
    error = functional.expected_calibration_error(labels, values)
    adaptive = functional.adaptive_expected_calibration_error(labels, values)
    assert figures["ece"] == pytest.approx(float(error), abs=1e-6)
    assert figures["adaEce"] == pytest.approx(float(adaptive), abs=1e-6)


# What is read, and what is refused: as the command does it.

LABELS = [0, 1, 2, 0, 2, 1] * 3
P = reference.softmax64(RNG.normal(0, 2, (18, 3))).round(6)


def table(prefix="prob_", names=(0, 1, 2), labels=LABELS, values=P, first=(), **more):
    head = [*first, *(f"{prefix}{name}" for name in names), "label", *more]
    rows = [
        [*["7"] * len(first), *row.tolist(), label, *(cells[i] for cells in more.values())]
        for i, (row, label) in enumerate(zip(values, labels, strict=True))
    ]
    return "\n".join(",".join(map(str, row)) for row in [head, *rows]) + "\n"


WORDS = ["cat", "dog", "fox"]
NAMED = [WORDS[label] for label in LABELS]
PLAIN_TABLE = table()
FILES = {
    "plain": PLAIN_TABLE,
    "bookkeeping": table(first=("", "id", "fold", "weight"), pred=LABELS),
    "numbers from 1": table(names=(1, 2, 3), labels=[label + 1 for label in LABELS]),
    "labels from 0, columns from 1": table(names=(1, 2, 3)),
    "words": table("", WORDS, NAMED),
    "words beside an id": table("", WORDS, NAMED, first=("id", "fold")),
    "words with a prefix": table("p_", WORDS, NAMED, first=("id",)),
    "a word of no column": table("p_", WORDS, ["cow", *NAMED[1:]]),
    "a word without a label": table("p_", [*WORDS[:2], "eel"], ["cat", "dog"] * 9),
    "a number left out": table(names=(0, 1, 3)),
    "logits and probabilities": table(logit_0=LABELS, logit_1=LABELS, logit_2=LABELS),
    "columns of no meaning": table("x", ("a", "b", "c")),
    "two columns of one name": table(names=(0, 1, 1)),
    "quoted": table("p_", WORDS, [f'" {name}"' for name in NAMED]).replace("p_cat", '"p_cat"'),
    "quoted line ends": 'prob_0,prob_1,note,label\n.5,.5,"a\nb ""c"", d",1\n.25,.75,,x\n',
    "a fault below quoted line ends": 'prob_0,prob_1,note,label\n.5,.5,"a\n\nb",1\n.2,x,,1\n',
    "no header": "0.5,0.5,1\n0.5,0.5,0\n",
    "a cell too few": PLAIN_TABLE + "0.5,0.5,0\n",
    "empty lines": PLAIN_TABLE.replace("\n", "\n\n").replace("\n", "\r\n"),
    "line ends of old": PLAIN_TABLE.replace("\n", "\r"),
    "semicolons and decimal commas": table().replace(",", ";").replace(".", ","),
    "bars in names": table("p_", WORDS, NAMED).replace("cat", "c|a|t"),
    "semicolons in names": table("p_", WORDS, NAMED).replace("dog", "d;o;;g"),
    "commas in names, and tabs": table("p_", WORDS, NAMED).replace(",", "\t").replace("fox", "f,x"),
    "text among numbers": PLAIN_TABLE + "0.5,much,0.5,0\n",
    "an empty cell": PLAIN_TABLE + "0.5,,0.5,0\n",
    "no label": PLAIN_TABLE + "0.5,0.5,0,NA\n",
    "a label beyond": PLAIN_TABLE + "0.5,0.5,0,3\n",
    "half a label": PLAIN_TABLE + "0.5,0.5,0,0.5\n",
    "a sum of 0.9": PLAIN_TABLE + "0.5,0.4,0,1\n",
    "a probability of 1.2": PLAIN_TABLE + "1.2,-0.2,0,1\n",
    "per cent": table(values=(100 * P).round(1)),
    "logits": table("logit_", values=np.log(P + 1e-6).round(4)),
    "a logit of -inf": table("logit_", values=np.log(P + 1e-6)) + "-inf,0,1,2\n",
    "only -inf": table("logit_", values=np.log(P + 1e-6)) + "-inf,-inf,-inf,2\n",
    "a logit of nan": table("logit_", values=np.log(P + 1e-6)) + "nan,0,1,2\n",
    "one column": "score,label\n0.2,0\n0.9,True\n0.51,false\n",
    "one column of logits": "logit,label\n-2,0\n0.9,1.0\n",
    "rounded": table(values=P.round(3)) + "0,1,0,1\n0,0.25,0.75,0\n",
    "a confidence": "pred,confidence,label\n1,0.9,1\n0,0.8,1\n",
    "no rows": "prob_0,prob_1,label\n",
    "a byte order mark": "\ufeff" + PLAIN_TABLE,
    "labels twice": table(y=LABELS),
}


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    """What the command makes of the same files: entries, or the error."""
    from keras_focal.cli._entries import Reading, half_step, is_logits
    from keras_focal.cli._errors import CommandError
    from keras_focal.cli.readers import Ask, source_of

    folder = tmp_path_factory.mktemp("files")

    def commands(name, text):
        path = folder / name
        path.write_text(text, newline="")
        try:
            source = source_of(path, Ask())
            first = next(source.read(), None)
            if first is None or source.predicted:
                return {"error": "no rows, or confidences alone"}
            from_logits = is_logits(first, None)
            zero = None if from_logits else half_step(first.predictions)
            size = max(2, first.predictions.shape[-1])
            reading = Reading(from_logits, size, source.classes, zero)
            return {"source": source, "entries": next(reading.entries(source.read()))}
        except CommandError as error:
            return {"error": str(error)}

    return commands


def test_text_is_read_or_refused_as_by_the_command(read, commands):
    files = [(f"{index}.csv", text) for index, text in enumerate(FILES.values())]
    found = read([(name, text.encode()) for name, text in files])
    for case, (name, text), ours in zip(FILES, files, found, strict=True):
        theirs = commands(name, text)
        assert ("error" in ours) == ("error" in theirs), (case, ours, theirs)
        if "error" in ours:
            # Where one names a line, so does the other.
            numbers = [re.findall(r"line (\d+)", each["error"]) for each in (ours, theirs)]
            assert numbers[0] == numbers[1], (case, ours, theirs)
            continue
        source, entries = theirs["source"], theirs["entries"]
        assert ours["columns"] == source.columns, case
        assert ours["classNames"] == source.classes.names, case
        assert ours["labels"] == entries.labels.tolist(), case
        values = np.reshape(ours["values"], entries.values.shape)
        # Logits differ by a number that is common to a row.
        shift = [
            (x.max(axis=1, keepdims=True) if ours["isLogits"] else 0)
            for x in (values, entries.values)
        ]
        assert values - shift[0] == pytest.approx(entries.values - shift[1], rel=1e-12), case


def test_columns_are_those_that_are_named(read):
    ids = table("x ", WORDS, first=("id",)).encode()
    words = table("x ", WORDS, NAMED, first=("x", "id")).encode()
    (named,) = read([("p.csv", ids)], predictions="x cat, x dog, x fox", labels="label")
    (begun,) = read([("p.csv", words)], predictions="x *")
    for found in (named, begun):
        assert (found["columns"], found["labels"]) == (["x cat", "x dog", "x fox"], LABELS)
    (found,) = read([("p.csv", ids)], predictions="x cow")
    assert (found["field"], "x cow" in found["error"]) == ("predictions", True)


def test_rows_that_cannot_be_right_are_left_out_if_asked(read):
    text = PLAIN_TABLE + "0.5,,0.5,0\n0.5,0.5,0,NA\n"
    (found,) = read([("p.csv", text.encode())], skip_invalid=True)
    assert (found["numInvalid"], len(found["labels"])) == (2, 18)


def damaged(content):
    return content[:60] + bytes([content[60] ^ 255]) + content[61:]


def test_archives_are_read_or_refused_by_name(read, npz_of):
    labels, values = np.array(LABELS), P
    onehot = np.eye(3)[labels]
    good = {
        "one-hot": npz_of(probs=values, y=onehot),
        "column of ids": npz_of(probs=values, y=labels[:, None]),
        "words": npz_of(probs=values, y=np.array(WORDS)[labels], classes=np.array(WORDS)),
        "bytes": npz_of(
            probs=values, y=np.array(WORDS, "S3")[labels], classes=np.array(WORDS, ">U3")
        ),
        "several to a row": npz_of(probs=values.reshape(9, 2, 3), y=labels.reshape(9, 2)),
    }
    for found in read([("p.npz", content) for content in good.values()]):
        assert found["labels"] == LABELS
        assert found["values"] == pytest.approx(values.ravel().tolist(), rel=1e-6)
    many = npz_of(np.savez_compressed, probs=values, labels=labels)
    bad = {
        "none of logits": npz_of(a=values, labels=labels),
        "none of labels": npz_of(probs=values),
        "probs and logits": npz_of(probs=values, logits=values, labels=labels),
        "must hold numbers": npz_of(probs=values.astype(object), labels=labels),
        "dtype c16": npz_of(probs=values.astype(complex), labels=labels),
        "shape (rows, classes)": npz_of(probs=values[:, 0], labels=labels),
        "a label for each row": npz_of(probs=values, labels=labels[1:]),
        "must have shape (18,)": npz_of(probs=values, labels=np.zeros((18, 2))),
        "one-hot rows": npz_of(probs=values, labels=onehot * 0.5),
        "class ids in [0, 3)": npz_of(probs=values, labels=labels + 1),
        "no rows": npz_of(probs=values[:0], labels=labels[:0]),
        "no .npz file": many[:-30],
        "damaged": damaged(many),
        "confidence alone": npz_of(conf=values[:, 0], pred=labels, labels=labels),
    }
    for words, found in zip(
        bad, read([("p.npz", content) for content in bad.values()]), strict=True
    ):
        assert words in found["error"]


def test_an_archive_beyond_4_gb_of_directory_is_read(read):
    """Sizes may stand in the 64-bit fields that zipfile writes when it is told to."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in (("probs", P), ("labels", np.array(LABELS))):
            data = io.BytesIO()
            np.save(data, array)
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                stream.write(data.getvalue())
    (found,) = read([("p.npz", content.getvalue())])
    assert found["labels"] == LABELS


def test_text_that_is_not_utf8_is_refused(read):
    found = read([("p.csv", PLAIN_TABLE.encode("utf-16")), ("q.csv", gzip.compress(b"x"))])
    assert all("UTF-8" in each["error"] for each in found)


def test_best_temperature_is_that_of_the_package(page, npz_of):
    labels, logits, _ = predictions(0)
    content = npz_of(logits=logits, labels=labels)
    page.click("#tab-files")
    page.set_input_files(
        ".slot:first-child .file", {"name": "p.npz", "mimeType": "", "buffer": content}
    )
    page.wait_for_function("document.querySelector('.best').textContent.includes('by ECE')")
    by_nll, by_ece = page.locator(".slot:first-child .best button").all()[:2]
    by_nll.click()
    fitted = fit_temperature(logits, labels).temperature
    assert float(page.input_value(".temperature")) == pytest.approx(fitted, rel=3e-6)
    by_ece.click()
    expected = fit_temperature(logits, labels, criterion="ece").temperature
    assert float(page.input_value(".temperature")) == pytest.approx(expected, rel=1e-12)
