"""keras-focal report: what people's files hold is read rightly, or refused by name.

Every file here holds the same predictions; its figures must be those of the plain arrays.
"""

import csv
import gzip
import io
import json
import re
import zipfile
from pathlib import Path

import json_schema
import numpy as np
import pytest
import reference

from keras_focal.cli import main
from keras_focal.cli.readers import _columns, _npz

RNG = np.random.default_rng(1)
SIZE, K = 240, 3
LABELS = RNG.integers(0, K, SIZE)
LOGITS = np.round(RNG.normal(0, 2, (SIZE, K)) + 3 * np.eye(K)[LABELS], 4)
P = reference.softmax64(LOGITS)
WORDS = np.array(["cat", "dog", "fox"])


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The report of the plain arrays of logits."""
    path = tmp_path_factory.mktemp("plain") / "plain.npz"
    np.savez(path, logits=LOGITS, labels=LABELS)
    return report_of(path)


def report_of(path, *options):
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", out)
        patch.setattr("sys.stderr", err)
        code = main(["report", str(path), *options, "--json"])
    assert (code, err.getvalue()) == (0, "")
    found = json.loads(out.getvalue())
    json_schema.check("report", found)
    return found


def refused(capsys, path, *options, code=1):
    assert main(["report", str(path), *options]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err


def lines_of(columns, mark=",", end="\n"):
    """Return a table as text; `columns` has a list of cells for each name."""
    names = [re.sub(r"#\d+$", "", name) for name in columns]
    rows = zip(*columns.values(), strict=True)
    text = [mark.join(names), *(mark.join(map(str, row)) for row in rows)]
    return end.join(text) + end


def table(prefix="logit_", values=LOGITS, labels=LABELS, names=range(K)):
    columns = {f"{prefix}{name}": values[:, k].tolist() for k, name in enumerate(names)}
    return {**columns, "label": list(labels)}


def same_figures(found, plain, rel=1e-6):
    assert found["count"] == plain["count"]
    assert found["temperature"] == pytest.approx(plain["temperature"], rel=rel)
    assert found["before"]["error"] == plain["before"]["error"]
    for key in ("before", "after"):
        ours, theirs = (
            {k: -1 if v is None else v for k, v in r[key].items()} for r in (found, plain)
        )
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-5)


COUNT = list(range(SIZE))
EXTRAS = {"": COUNT, "Unnamed: 0": COUNT, "id": COUNT, "fold": [1] * SIZE, "weight": [0.5] * SIZE}
EXTRAS |= {"timestamp": ["2026-01-01 10:00"] * SIZE, "prediction": P.argmax(1).tolist()}

READ_AS_PLAIN = {
    "index of to_csv": {"": COUNT, **table()},
    "index, id, fold, weight, time, prediction": {**EXTRAS, **table()},
    "probabilities beside an index": {"": COUNT, **table("prob_", P)},
    "reversed numbers": dict(reversed(table("p", P).items())),
    "numbers in brackets": table("probs[", P, names=("0]", "1]", "2]")),
    "bare numbers": table(""),
    "words": {**table("", P, WORDS[LABELS], WORDS), "id": COUNT},
    "words in another order": dict(reversed(table("", P, WORDS[LABELS], WORDS).items())),
    "words with a prefix": {"id": COUNT, **table("p_", P, WORDS[LABELS], WORDS)},
    "numbers from 1, labels alike": table("p", P, LABELS + 1, (1, 2, 3)),
    "labels with a point": table(labels=LABELS.astype(float)),
}


@pytest.mark.parametrize("case", READ_AS_PLAIN)
def test_columns_of_predictions_are_found_among_others(plain, tmp_path, case):
    (tmp_path / "p.csv").write_text(lines_of(READ_AS_PLAIN[case]))
    found = report_of(tmp_path / "p.csv")
    same_figures(found, plain)
    assert len(found["columns"]) == K
    assert not set(found["columns"]) & set(EXTRAS)


def test_columns_are_ordered_by_their_numbers(tmp_path):
    wide = RNG.normal(0, 1, (60, 12)) + 4 * np.eye(12)[np.arange(60) % 12]
    columns = {f"logit_{k}": wide[:, k] for k in sorted(range(12), key=str)}
    (tmp_path / "p.csv").write_text(lines_of({**columns, "label": np.arange(60) % 12}))
    found = report_of(tmp_path / "p.csv")
    assert found["columns"] == [f"logit_{k}" for k in range(12)]
    assert found["before"]["error"] == pytest.approx(np.mean(wide.argmax(1) != np.arange(60) % 12))


def test_classes_of_words_are_shown_by_name(capsys, tmp_path):
    (tmp_path / "p.csv").write_text(lines_of(table("p_", P, WORDS[LABELS], WORDS)))
    assert report_of(tmp_path / "p.csv")["class_names"] == [*WORDS]
    assert main(["report", str(tmp_path / "p.csv"), "--out", str(tmp_path / "p.html")]) == 0
    printed = capsys.readouterr().out
    assert "Read: probabilities from p_cat, p_dog, p_fox; labels from label" in printed
    assert re.search(r"\n dog +\d", printed)
    assert '<td class="name">dog</td>' in (tmp_path / "p.html").read_text()


NAMED = {
    "ids": (table("x ", names=WORDS), "--columns", "x cat,x dog,x fox"),
    "words": (
        {**table("x ", labels=WORDS[LABELS], names=WORDS), "x owl": COUNT},
        *("--columns", "x fox,x dog,x cat"),
    ),
    "numbers": (
        {**dict(reversed(table("z").items())), "logit_0": COUNT, "logit_1": COUNT},
        *("--predictions-key", "z"),
    ),
}


@pytest.mark.parametrize("case", NAMED)
def test_columns_that_options_name_are_read_by_their_classes(plain, tmp_path, case):
    columns, *options = NAMED[case]
    (tmp_path / "p.csv").write_text(lines_of({**columns, "id": COUNT}))
    same_figures(report_of(tmp_path / "p.csv", *options), plain)


def test_declared_logits_are_read_as_such(plain, tmp_path):
    (tmp_path / "p.csv").write_text(lines_of(table()))
    same_figures(report_of(tmp_path / "p.csv", "--from-logits"), plain)


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("odd", [",", ";", "|", ";;;;", "\t"])
def test_marks_in_the_names_of_classes_part_no_columns(plain, tmp_path, mark, odd):
    names = np.array([f"cat{odd}a", "dog", f"fox{odd}b{odd}"])
    columns = {f"logit_{name}": LOGITS[:, k] for k, name in enumerate(names)}
    text = io.StringIO(newline="")
    rows = csv.writer(text, delimiter=mark)
    rows.writerow([*columns, "label"])
    rows.writerows(zip(*columns.values(), names[LABELS], strict=True))
    (tmp_path / "p.csv").write_text(text.getvalue())
    same_figures(report_of(tmp_path / "p.csv"), plain)


@pytest.mark.parametrize(
    ("positive", "negative"), [("True", "False"), ("true", "false"), ("1.0", "0.0")]
)
def test_truth_is_a_class_of_two(tmp_path, positive, negative):
    score = P[:, 0].round(3)
    labels = [positive if label == 0 else negative for label in LABELS]
    (tmp_path / "p.csv").write_text(lines_of({"score": score, "label": labels}))
    found = report_of(tmp_path / "p.csv")
    assert found["num_classes"] == 2
    error = np.mean((score > 0.5) != (LABELS == 0))
    assert found["before"]["error"] == pytest.approx(error)


@pytest.mark.parametrize(
    ("name", "options"),
    [("dog", ("--columns", "dog")), ("dog", ("--predictions-key", "do")), ("prob_1", ())],
)
def test_one_column_is_the_second_class(capsys, tmp_path, name, options):
    score = P[:, 0].round(3)
    labels = (LABELS == 0).astype(int)
    (tmp_path / "p.csv").write_text(lines_of({"id": COUNT, name: score, "label": labels}))
    found = report_of(tmp_path / "p.csv", *options)
    assert found["before"]["error"] == pytest.approx(np.mean((score > 0.5) != labels))
    assert main(["report", str(tmp_path / "p.csv"), *options]) == 0
    assert "not read: id" in capsys.readouterr().out


REFUSED = {
    "index and features": ({"": COUNT, **table("feature_")}, "no columns are predictions"),
    "words and ids": (table("", P, names=WORDS), "--columns cat,dog,fox"),
    "words and an unknown": (
        {**table("", P, WORDS[LABELS], WORDS), "owl": COUNT},
        "and not owl.*--columns",
    ),
    "words with a prefix and an unknown": (
        {**table("p_", P, WORDS[LABELS], WORDS), "p_value": COUNT},
        "and not p_value.*--columns",
    ),
    "labels without a column": (table("p_", P[:, :2], WORDS[LABELS], WORDS[:2]), "p_cat"),
    "logits and probabilities": (
        {**table(), **table("prob_", P)},
        "logit_0, logit_1, logit_2 and prob_0, prob_1, prob_2",
    ),
    "one name twice": (
        {"p0": P[:, 0], "p1": P[:, 1], "p1#2": P[:, 2], "label": LABELS},
        "two columns have the same name, 'p1'",
    ),
    "one name twice among others": (
        {"cat": P[:, 0], "dog": P[:, 1], "dog#2": P[:, 2], "label": LABELS},
        *("columns 2 and 3 have the same name, 'dog'", "--columns", "cat,dog"),
    ),
    "labels twice": ({**table(), "label#2": COUNT}, "label"),
    "two labels": ({**table(), "target": COUNT}, "label and target.*--labels-key"),
    "a number left out": (table("p", P, names=(0, 1, 3)), "2 is missing"),
    "numbers from 1, labels from 0": (table("p", P, names=(1, 2, 3)), "1, 2, 3. Received: '0'"),
    "one number twice": (table("p", P, names=("1", "01", "2")), "'p1' and 'p01' have the same"),
    "one column named twice": (table(), "name each column once", "--columns", "logit_0,logit_0"),
    "no column named": (table(), "Received: ' '", "--columns", " "),
    "logits that are probabilities": (table("p", P), "Pass --probabilities", "--from-logits"),
    "a value above 1": (
        table("p", np.where(np.arange(SIZE)[:, None] == 7, 3.0, P)),
        "line 9 holds 3, which is not a probability",
        "--probabilities",
    ),
    "a temperature below 0": (table(), "must be a number > 0", "--temperature", "-1"),
    "two choices": (table(), "not both", "--columns", "a,b", "--predictions-key", "c"),
    "every row left out": (
        table(values=LOGITS * np.nan),
        "no row is valid and has a label that counts",
        "--skip-invalid",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_columns_that_are_not_plain_are_refused_by_name(capsys, tmp_path, case):
    columns, words, *options = REFUSED[case]
    (tmp_path / "p.csv").write_text(lines_of(columns))
    code = 2 if "temperature" in case or "choices" in case else 1
    assert re.search(words, refused(capsys, tmp_path / "p.csv", *options, code=code))


def test_near_name_is_suggested(capsys, tmp_path):
    (tmp_path / "p.csv").write_text(lines_of({**table(), "truth": LABELS}))
    assert "Did you mean truth?" in refused(capsys, tmp_path / "p.csv", "--labels-key", "trueth")
    line = refused(capsys, tmp_path / "p.csv", "--columns", "logit_0,logit1,logit_2")
    assert re.search(r"Received: 'logit1'.*Did you mean logit_\d", line)


# --- logits or probabilities


def spoilt(row, values):
    found = P.copy()
    found[row] = values
    return found


NEVER_LOGITS = {
    "one row of many": (spoilt(200, [0.5, 0.3, 0.1]), "row 200 sums to 0.9"),
    "one decimal": (np.array([[0.3, 0.3, 0.3]] * SIZE), "row 0 sums to 0.9"),
    "zeros": (spoilt(7, 0.0), "row 7 sums to 0"),
    "sigmoids": (1 / (1 + np.exp(-LOGITS)), "sigmoids"),
    "one above 1": (spoilt(9, [1.2, -0.1, -0.1]), "row 9 holds 1.2"),
}


@pytest.mark.parametrize("case", NEVER_LOGITS)
def test_numbers_in_0_to_1_are_never_logits(capsys, tmp_path, case):
    values, words = NEVER_LOGITS[case]
    np.savez(tmp_path / "p.npz", scores=values, labels=LABELS)
    assert words in refused(capsys, tmp_path / "p.npz")


ROUNDED = {
    "text of 6 digits": (lambda p: np.round(p, 6), "csv", 5e-7),
    "text of 2 digits": (lambda p: np.round(p, 2), "csv", 5e-3),
    "float64 of 4 digits": (lambda p: np.round(p, 4), "npz", 5e-5),
    "float32 of 6 digits": (lambda p: np.round(p, 6).astype("float32"), "npz", 5e-7),
    "float16": (lambda p: p.astype("float16"), "npz", 2.0**-25),
    "float32": (lambda p: np.where(p < 1e-6, 0, p).astype("float32"), "npz", None),
}


@pytest.mark.parametrize("case", ROUNDED)
def test_zero_counts_as_half_the_step_of_the_file(tmp_path, case):
    rounded, kind, zero = ROUNDED[case]
    sharp = reference.softmax64(12 * LOGITS)
    values = rounded(sharp)
    if kind == "npz":
        np.savez(tmp_path / "p.npz", probs=values, labels=LABELS)
    else:
        (tmp_path / "p.csv").write_text(lines_of(table("p", values)))
    found = report_of(tmp_path / f"p.{kind}")
    assert found["zero_probability_as"] == (zero and float(f"{zero:.8g}"))
    of_labels = values[np.arange(SIZE), LABELS].astype("float64")
    assert found["zero_probability_count"] == (of_labels == 0).sum() > 0
    assert found["notes"][0].startswith("Probability 0 for ")
    filled = np.where(values == 0, zero or 2.0**-126, values.astype("float64"))
    filled /= filled.sum(axis=1, keepdims=True)
    nll = -np.log(filled[np.arange(SIZE), LABELS]).mean()
    assert found["before"]["nll"] == pytest.approx(nll, rel=1e-5)


def test_certain_wrong_answer_of_one_column_counts_like_that_of_two(tmp_path):
    one = np.round(1 / (1 + np.exp(-4 * LOGITS[:, 0])), 3)
    labels = (LABELS == 0).astype(int)
    np.savez(tmp_path / "one.npz", probs=one[:, None], labels=labels)
    np.savez(tmp_path / "two.npz", probs=np.stack([1 - one, one], 1).round(3), labels=labels)
    first, second = (report_of(tmp_path / name) for name in ("one.npz", "two.npz"))
    same_figures(first, second)


# --- what is missing


@pytest.mark.parametrize("cell", ["", "NA", "nan", "NULL"])
@pytest.mark.parametrize("column", ["logit_1", "label"])
def test_missing_cell_is_named_or_skipped_and_counted(capsys, tmp_path, cell, column):
    columns = table()
    columns[column] = [*columns[column][:4], cell, *columns[column][5:]]
    (tmp_path / "p.csv").write_text(lines_of(columns))
    line = refused(capsys, tmp_path / "p.csv")
    assert "line 6 " in line
    assert "--skip-invalid" in line
    found = report_of(tmp_path / "p.csv", "--skip-invalid")
    assert (found["count"], found["invalid_count"]) == (SIZE - 1, 1)


def test_ignored_label_exempts_its_row_from_every_check(plain, tmp_path):
    values = np.concatenate([LOGITS, [[np.nan] * K, [1e308, 0, 0]]])
    np.savez(tmp_path / "p.npz", logits=values, labels=[*LABELS, 255, 255])
    found = report_of(tmp_path / "p.npz", "--ignore-class", "255")
    same_figures(found, plain)
    assert (found["ignored_count"], found["invalid_count"]) == (2, 0)


def test_accuracy_of_no_confident_prediction_is_a_dash(capsys, tmp_path):
    np.savez(tmp_path / "p.npz", logits=LOGITS / 100, labels=LABELS)
    assert report_of(tmp_path / "p.npz", "--temperature", "2")["before"]["s99_accuracy"] is None
    assert main(["report", str(tmp_path / "p.npz"), "--temperature", "2"]) == 0
    assert re.search(r"accuracy of those +– +–", capsys.readouterr().out)


# --- other forms


FORMS = {
    "tsv": ("p.tsv", lambda: lines_of(table(), "\t").encode()),
    "gzip": ("p.csv.gz", lambda: gzip.compress(lines_of(table()).encode())),
    "bars": ("p.csv", lambda: lines_of(table(), "|").encode()),
    "semicolons": ("p.csv", lambda: lines_of(table(), ";").encode()),
    "decimal comma": ("p.csv", lambda: lines_of(table(), ";").replace(".", ",").encode()),
    "CR": ("p.csv", lambda: lines_of(table(), end="\r").encode()),
    "CR LF and a mark": ("p.csv", lambda: b"\xef\xbb\xbf" + lines_of(table(), end="\r\n").encode()),
    "blank lines": ("p.csv", lambda: lines_of(table(), end="\n\n").encode()),
    "long notes": (
        "p.csv",
        lambda: lines_of({**table(), "note": ["x" * 140_000, *[""] * (SIZE - 1)]}).encode(),
    ),
    "quotes": ("p.csv", lambda: re.sub(r"([^,\n]+)", r'"\1"', lines_of(table())).encode()),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_text_give_the_same(plain, tmp_path, form):
    name, data = FORMS[form]
    (tmp_path / name).write_bytes(data())
    same_figures(report_of(tmp_path / name), plain)


def test_two_npy_files_give_the_same(capsys, plain, tmp_path):
    np.save(tmp_path / "x.npy", LOGITS)
    np.save(tmp_path / "y.npy", LABELS)
    same_figures(report_of(tmp_path / "x.npy", "--labels", str(tmp_path / "y.npy")), plain)
    assert "Pass --labels FILE.npy" in refused(capsys, tmp_path / "x.npy", code=2)
    (tmp_path / "p.csv").write_text(lines_of(table()))
    options = ("--labels", str(tmp_path / "y.npy"))
    assert "--labels-key" in refused(capsys, tmp_path / "p.csv", *options, code=2)


def test_line_of_an_error_is_that_of_the_file(capsys, tmp_path):
    text = 'p0,p1,note,label\n\n0.5,0.5,"two\nlines",0\n\n0.2,0.8,,1\n0.2,x,,1\n'
    (tmp_path / "p.csv").write_text(text)
    assert "line 7 must hold numbers" in refused(capsys, tmp_path / "p.csv")


@pytest.mark.parametrize("more", [",9", ",,"])
def test_row_longer_than_the_names_is_refused(capsys, tmp_path, more):
    lines = lines_of(table()).splitlines()
    lines[5] += more
    (tmp_path / "p.csv").write_text("\n".join(lines))
    assert "line 6 has" in refused(capsys, tmp_path / "p.csv")


def test_many_columns_are_found_at_once(tmp_path):
    width = 100_000
    head = ",".join(["label", *(f"p{k}" for k in range(width))])
    row = ",".join(["0", "1", *["0"] * (width - 1)])
    (tmp_path / "p.csv").write_text(f"{head}\n{row}\n")
    from keras_focal.cli.readers import Ask, source_of

    (rows,) = source_of(tmp_path / "p.csv", Ask()).read()
    assert rows.predictions.shape == (1, width)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_more_columns_than_classes_are_read_are_refused(capsys, monkeypatch, tmp_path, kind):
    monkeypatch.setattr(_columns, "MOST_CLASSES", K - 1)
    if kind == "csv":
        (tmp_path / "p.csv").write_text(lines_of(table()))
    else:
        pa = pytest.importorskip("pyarrow", reason="needs the extra `parquet`")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pa.table(table()), tmp_path / "p.parquet")
    assert "there are 3 columns; 2 are read" in refused(capsys, tmp_path / f"p.{kind}")


# --- predicted classes and confidences


@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("kind", ["csv", "npz"])
def test_confidences_have_a_reading_of_their_own(capsys, plain, tmp_path, kind, words):
    top, labels = P.argmax(1), LABELS
    if words:
        top, labels = WORDS[top], WORDS[labels]
    columns = {"predicted": top, "confidence": P.max(1), "label": labels}
    if kind == "npz":
        np.savez(tmp_path / "p.npz", **columns)
    else:
        (tmp_path / "p.csv").write_text(lines_of(columns))
    found = report_of(tmp_path / f"p.{kind}")
    assert (found["predictions"], found["temperature"], found["after"]) == (
        "confidences",
        None,
        None,
    )
    for key in ("error", "ece", "ada_ece", "mce", "s99", "s99_accuracy", "ece_of_chance"):
        assert found["before"][key] == pytest.approx(plain["before"][key], abs=1e-6)
    assert found["before"]["nll"] is found["before"]["classwise_ece"] is None
    assert [m["row"] for m in found["mistakes"]] == [m["row"] for m in plain["mistakes"]]
    page = tmp_path / "p.html"
    assert main(["report", str(tmp_path / f"p.{kind}"), "--out", str(page)]) == 0
    assert page.read_text().count("<img") == 2
    assert "T = " not in capsys.readouterr().out + page.read_text()


def test_prediction_beside_a_probability_is_refused(capsys, tmp_path):
    columns = {"pred": P.argmax(1), "prob": P.max(1), "label": LABELS}
    (tmp_path / "p.csv").write_text(lines_of(columns))
    assert "no columns are predictions" in refused(capsys, tmp_path / "p.csv")


CONFIDENCES = {
    "a confidence above 1": (1.5, "line 5 has the confidence 1.5, and a confidence lies in"),
    "no confidence": (np.nan, "line 5 has no confidence, no predicted class or no label"),
}


@pytest.mark.parametrize("case", CONFIDENCES)
def test_confidences_that_are_none_are_refused_by_line(capsys, tmp_path, case):
    value, words = CONFIDENCES[case]
    confidence = np.where(np.arange(SIZE) == 3, value, P.max(1))
    columns = {"predicted": P.argmax(1), "confidence": confidence, "label": LABELS}
    (tmp_path / "p.csv").write_text(lines_of(columns))
    assert words in refused(capsys, tmp_path / "p.csv")


def test_confidences_of_an_ignored_class_are_left_out(capsys, tmp_path):
    columns = {"predicted": P.argmax(1), "confidence": P.max(1), "label": LABELS}
    (tmp_path / "p.csv").write_text(lines_of(columns))
    found = report_of(tmp_path / "p.csv", "--ignore-class", "1")
    assert (found["count"], found["ignored_count"]) == ((LABELS != 1).sum(), (LABELS == 1).sum())
    columns["label"] = np.ones(SIZE, int)
    (tmp_path / "p.csv").write_text(lines_of(columns))
    words = refused(capsys, tmp_path / "p.csv", "--ignore-class", "1")
    assert "no row is valid and has a label that counts" in words


def test_ignored_labels_written_as_text_exempt_their_rows_too(tmp_path):
    labels, values = LABELS.astype("U3"), P.copy()
    labels[5], values[5] = " 9", np.nan
    np.savez(tmp_path / "p.npz", probs=values, labels=labels)
    found = report_of(tmp_path / "p.npz", "--ignore-class", "9")
    assert (found["count"], found["ignored_count"]) == (SIZE - 1, 1)


def test_ignored_class_of_one_hot_rows_is_left_out(tmp_path):
    np.savez(tmp_path / "p.npz", logits=LOGITS, labels=np.eye(K)[LABELS])
    np.savez(tmp_path / "ids.npz", logits=LOGITS, labels=LABELS)
    found, expected = (
        report_of(tmp_path / name, "--ignore-class", "1") for name in ("p.npz", "ids.npz")
    )
    assert found["ignored_count"] == (LABELS == 1).sum()
    same_figures(found, expected)


# --- parquet


def refused_parquet():
    pa = pytest.importorskip("pyarrow", reason="needs the extra `parquet`")
    unequal = [row[: 2 if i == 4 else K] for i, row in enumerate(P.tolist())]
    texts = [[str(x) for x in row] for row in P.tolist()]
    columns = {f"p{k}": P[:, k] for k in range(K)}
    return {
        "lists of one length": pa.table({"probs": unequal, "label": LABELS}),
        "probs must hold numbers": pa.table({"probs": texts, "label": LABELS}),
        "several predictions: probs": pa.table({"probs": P.tolist(), **columns, "label": LABELS}),
        "there are no rows": pa.table({"probs": [[]] * SIZE, "label": LABELS}),
        "lengths none": pa.table({"probs": pa.array([None], pa.list_(pa.float64())), "label": [0]}),
    }


def test_parquet_of_no_plain_predictions_is_refused_by_name(capsys, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra `parquet`")
    for words, held in refused_parquet().items():
        parquet.write_table(held, tmp_path / "p.parquet")
        assert words in refused(capsys, tmp_path / "p.parquet")
    held = refused_parquet()["several predictions: probs"]
    held = held.drop_columns(["probs"]).set_column(1, "p1", [P[:, 1].astype(str)])
    parquet.write_table(held, tmp_path / "p.parquet")
    words = refused(capsys, tmp_path / "p.parquet", "--columns", "p0,p1,p2")
    assert "column p1 must hold numbers" in words


def parquet_files():
    pa = pytest.importorskip("pyarrow", reason="needs the extra `parquet`")
    columns = {f"p{k}": P[:, k] for k in range(K)}
    lists = P.tolist()
    meta = {"index_columns": ["row"], "columns": [], "pandas_version": "2.2.0"}
    words = pa.array(WORDS[LABELS].tolist())
    named = {f"p_{word}": P[:, k] for k, word in enumerate(WORDS)}
    return {
        "unnamed index": pa.table({**columns, "label": LABELS, "__index_level_0__": COUNT}),
        "named index": pa.table({"row": COUNT, **table("", P)}).replace_schema_metadata(
            {"pandas": json.dumps({**meta, "index_columns": ["row"]})}
        ),
        "numbered index": pa.table({"3": COUNT, **table("", P)}).replace_schema_metadata(
            {"pandas": json.dumps({**meta, "index_columns": ["3"]})}
        ),
        "list": pa.table({"probs": lists, "label": LABELS}),
        "large list": pa.table(
            {"probs": pa.array(lists, pa.large_list(pa.float64())), "label": LABELS}
        ),
        "fixed list": pa.table(
            {"probs": pa.array(lists, pa.list_(pa.float64(), K)), "label": LABELS}
        ),
        "list beside a score": pa.table({"probs": lists, "score": P[:, 0], "label": LABELS}),
        "dictionary": pa.table({**named, "label": words.dictionary_encode()}),
        "words": pa.table({**named, "label": words}),
        "decimals": pa.table({**columns, "label": pa.array(LABELS).cast(pa.decimal128(19, 0))}),
    }


def test_parquet_is_read_by_its_types_and_metadata(plain, tmp_path):
    pa = pytest.importorskip("pyarrow", reason="needs the extra `parquet`")
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra `parquet`")
    for case, held in parquet_files().items():
        parquet.write_table(held, tmp_path / "p.parquet")
        found = report_of(tmp_path / "p.parquet")
        same_figures(found, plain)
        assert len(found["columns"]) in (1, K), case
    held = pa.table({"probs": P.tolist(), "logits": LOGITS.tolist(), "label": LABELS})
    parquet.write_table(held, tmp_path / "p.parquet")
    same_figures(report_of(tmp_path / "p.parquet", "--predictions-key", "logits"), plain)


def test_missing_parts_of_parquet_are_skipped_and_counted(capsys, tmp_path):
    pa = pytest.importorskip("pyarrow", reason="needs the extra `parquet`")
    from pyarrow import parquet

    lists = [*P.tolist()[:-1], None]
    labels = [None, *LABELS.tolist()[1:]]
    parquet.write_table(pa.table({"probs": lists, "label": labels}), tmp_path / "p.parquet")
    assert "row 0 has no label" in refused(capsys, tmp_path / "p.parquet")
    found = report_of(tmp_path / "p.parquet", "--skip-invalid")
    assert (found["count"], found["invalid_count"]) == (SIZE - 2, 2)


# --- arrays that are hostile


def claimed(path, shape, size, order="C"):
    """Write an .npz whose header claims a shape, with `size` zero bytes behind it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, dims in (("logits", shape), ("labels", shape[:1])):
            head = io.BytesIO()
            np.lib.format.write_array_header_1_0(
                head, {"descr": "<f4", "fortran_order": order == "F", "shape": dims}
            )
            archive.writestr(f"{name}.npy", head.getvalue() + bytes(size))


@pytest.mark.parametrize("order", ["C", "F"])
def test_header_never_decides_how_much_memory_is_taken(capsys, tmp_path, order):
    import tracemalloc

    claimed(tmp_path / "wide.npz", (3, 100_000_000), 1000, order)
    claimed(tmp_path / "many.npz", (3, 10_000), 4000, order)
    tracemalloc.start()
    assert "damaged" in refused(capsys, tmp_path / "wide.npz")
    assert "damaged" in refused(capsys, tmp_path / "many.npz")
    np.savez_compressed(tmp_path / "p.npz", logits=np.zeros((1, 2**21), "int8"), labels=[0])
    assert "at most 1048576 classes" in refused(capsys, tmp_path / "p.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**25


def header(shape, order="C", version=1):
    held = io.BytesIO()
    form = {"descr": "<f8", "fortran_order": order == "F", "shape": shape}
    write = np.lib.format.write_array_header_1_0, np.lib.format.write_array_header_2_0
    write[version - 1](held, form)
    return held.getvalue()


@pytest.mark.parametrize("order", ["C", "F"])
def test_archive_that_lies_about_its_size_is_refused(capsys, tmp_path, order):
    short = header((SIZE, K), order) + LOGITS.tobytes()[:-8]
    np.savez(tmp_path / "p.npz", labels=LABELS)
    with zipfile.ZipFile(tmp_path / "p.npz", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("logits.npy", short)
    data = (tmp_path / "p.npz").read_bytes()
    before, entry, after = data.rpartition(b"PK\x01\x02")
    size = len(short).to_bytes(4, "little")
    assert after[20:24] == size
    lie = after[:20] + (len(short) + 8).to_bytes(4, "little") + after[24:]
    (tmp_path / "p.npz").write_bytes(before + entry + lie)
    assert "logits is truncated or damaged" in refused(capsys, tmp_path / "p.npz")


def test_array_of_any_version_of_the_format_is_read(plain, tmp_path):
    np.savez(tmp_path / "p.npz", labels=LABELS)
    with zipfile.ZipFile(tmp_path / "p.npz", "a") as archive:
        archive.writestr("logits.npy", header((SIZE, K), version=2) + LOGITS.tobytes())
    same_figures(report_of(tmp_path / "p.npz"), plain)


def test_member_that_is_no_array_is_refused(capsys, tmp_path):
    np.savez(tmp_path / "p.npz", labels=LABELS)
    with zipfile.ZipFile(tmp_path / "p.npz", "a") as archive:
        archive.writestr("logits.npy", "no array")
    assert "logits.npy is no array" in refused(capsys, tmp_path / "p.npz")


def test_array_by_columns_is_read_whole_only_if_it_is_small(capsys, monkeypatch, tmp_path):
    np.savez(tmp_path / "p.npz", logits=np.asfortranarray(LOGITS), labels=LABELS)
    monkeypatch.setattr(_npz, "_MOST_WHOLE", LOGITS.nbytes - 1)
    assert "logits is stored by columns" in refused(capsys, tmp_path / "p.npz")


def test_huge_logits_are_read(tmp_path):
    values = LOGITS.copy()
    values[0] = [1e308, -1e308, 0.0]
    labels = LABELS.copy()
    labels[0] = 0
    np.savez(tmp_path / "p.npz", logits=values, labels=labels)
    found = report_of(tmp_path / "p.npz")
    p = reference.softmax64(np.clip(values, -1e3, 1e3))
    assert found["before"]["nll"] == pytest.approx(
        -np.log(p[np.arange(SIZE), labels]).mean(), rel=1e-5
    )
    assert 0.05 < found["temperature"] < 20


def test_label_of_an_infinite_logit_below_is_said(capsys, tmp_path):
    values = LOGITS.copy()
    values[0, LABELS[0]] = -np.inf
    np.savez(tmp_path / "p.npz", logits=values, labels=LABELS)
    found = report_of(tmp_path / "p.npz")
    assert found["zero_probability_count"] == 1
    assert found["before"]["nll"] == pytest.approx(1e30 / SIZE, rel=1e-3)
    assert "1e30 below the largest" in found["notes"][0]
    assert main(["report", str(tmp_path / "p.npz")]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 100


def test_infinite_logit_below_is_a_probability_of_zero(capsys, tmp_path):
    values = np.where(np.arange(K) == (LABELS[:, None] + 1) % K, -np.inf, LOGITS)
    np.savez(tmp_path / "p.npz", logits=values, labels=LABELS)
    found = report_of(tmp_path / "p.npz")
    p = reference.softmax64(np.maximum(values, -1e4))
    nll = -np.log(p[np.arange(SIZE), LABELS]).mean()
    assert found["before"]["nll"] == pytest.approx(nll, rel=1e-5)


@pytest.mark.parametrize("where", ["file", "column", "class", "option"])
def test_control_characters_are_written_out(capsys, tmp_path, where):
    code = "\x1b[31m\u202e"
    columns, name, options = table(), "p.csv", ()
    if where == "file":
        name = f"p{code}.csv"
    elif where == "column":
        columns = table(f"logit{code}_")
    elif where == "class":
        columns = table("p_", P, np.array(["a", "b", f"c{code}"])[LABELS], ["a", "b", f"c{code}"])
    else:
        options = ("--labels-key", code)
    (tmp_path / name).write_text(lines_of(columns))
    main(["report", str(tmp_path / name), *options])
    printed = capsys.readouterr()
    assert "\\x1b[31m\\u202e" in printed.out + printed.err
    assert not {"\x1b", "\u202e"} & {*printed.out, *printed.err}


@pytest.mark.parametrize(
    "labels", [np.eye(K)[LABELS] + np.eye(K)[0], np.full((SIZE, K), 1 / 3), np.full((SIZE, K), "1")]
)
def test_several_labels_in_a_row_are_refused(capsys, tmp_path, labels):
    np.savez(tmp_path / "p.npz", logits=LOGITS, labels=labels)
    assert "one-hot rows" in refused(capsys, tmp_path / "p.npz")


@pytest.mark.parametrize("kind", ["npz", "parquet"])
@pytest.mark.parametrize("is_sigmoid", [True, False])
def test_independent_outputs_are_predictions_of_two_classes_each(
    capsys, tmp_path, kind, is_sigmoid
):
    labels = (RNG.random((SIZE, K)) < 1 / (1 + np.exp(-LOGITS / 2))).astype(int)
    labels[::7, 1] = 255
    values = 1 / (1 + np.exp(-LOGITS)) if is_sigmoid else LOGITS
    if kind == "parquet":
        pa = pytest.importorskip("pyarrow", reason="needs the extra `parquet`")
        from pyarrow import parquet

        columns = {"scores": values.tolist(), "labels": labels.tolist()}
        parquet.write_table(pa.table(columns), tmp_path / "p.parquet")
    else:
        np.savez(tmp_path / "p.npz", scores=values, labels=labels)
    found = report_of(tmp_path / f"p.{kind}", "--multi-label", "--ignore-class", "255")
    known = labels.reshape(-1) != 255
    np.savez(
        tmp_path / "one.npz", scores=values.reshape(-1, 1)[known], labels=labels.reshape(-1)[known]
    )
    expected = report_of(tmp_path / "one.npz")
    same_figures(found, expected)
    assert (found["num_outputs"], found["num_classes"]) == (K, 2)
    options = ["--multi-label", "--ignore-class", "255"]
    assert main(["report", str(tmp_path / f"p.{kind}"), *options]) == 0
    assert f"{known.sum()} labels of 3 independent outputs" in capsys.readouterr().out
    assert max(mistake["row"] for mistake in found["mistakes"]) < SIZE
    # The labels of a row are drawn together: their number does not make intervals narrower.
    width = [np.diff(each["intervals"]["before"]["nll"])[0] for each in (found, expected)]
    assert width[0] == pytest.approx(width[1], rel=0.5)
    assert width[0] != width[1]


def test_independent_outputs_without_a_label_each_are_refused(capsys, tmp_path):
    np.savez(tmp_path / "p.npz", logits=LOGITS, labels=LABELS)
    assert "a label for each output" in refused(capsys, tmp_path / "p.npz", "--multi-label")
    columns = {"predicted": P.argmax(1), "confidence": P.max(1), "label": LABELS}
    (tmp_path / "p.csv").write_text(lines_of(columns))
    assert "--multi-label" in refused(capsys, tmp_path / "p.csv", "--multi-label")


def test_words_as_labels_of_arrays_need_names(capsys, plain, tmp_path):
    np.savez(tmp_path / "p.npz", logits=LOGITS, labels=WORDS[LABELS], classes=WORDS)
    found = report_of(tmp_path / "p.npz")
    same_figures(found, plain)
    assert found["class_names"] == [*WORDS]
    np.savez(tmp_path / "p.npz", logits=LOGITS, labels=WORDS[LABELS])
    assert "class ids in [0, 3)" in refused(capsys, tmp_path / "p.npz")


def test_damaged_gzip_is_named(capsys, tmp_path):
    data = gzip.compress(lines_of(table()).encode())
    Path(tmp_path / "p.csv.gz").write_bytes(data[: len(data) // 2])
    assert "truncated or damaged" in refused(capsys, tmp_path / "p.csv.gz")
