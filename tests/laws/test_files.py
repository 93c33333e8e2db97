"""Laws of files and of the command: what was written is read, and no option ends in a traceback."""

import csv
import gzip
import io
import json
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_focal.cli import main
from keras_focal.cli.readers import SUFFIXES, Ask, source_of

finite = st.floats(allow_nan=False, allow_infinity=False)
words = st.text("abcdefghijklmnopqrstuvwxyzäß ,;\"'|%", min_size=1, max_size=6).map(
    lambda drawn: f"x{drawn.strip()}y"
)
"""Names of classes: no number, and no word for a missing value."""


@st.composite
def predictions(draw):
    """Scores, float32 or float64, shape (n, K), class ids, and names of the classes or None.

    Every class has a label: columns that no label names must be named by an option.
    """
    classes = draw(st.integers(2, 4))
    rows = classes + draw(st.integers(0, 3))
    dtype = draw(st.sampled_from(["float32", "float64"]))
    values = finite if dtype == "float64" else st.floats(-(2.0**120), 2.0**120, width=32)
    flat = draw(st.lists(values, min_size=rows * classes, max_size=rows * classes))
    more = rows - classes
    labels = draw(st.permutations(range(classes)))
    labels += draw(st.lists(st.integers(0, classes - 1), min_size=more, max_size=more))
    named = st.lists(words, min_size=classes, max_size=classes, unique=True)
    names = draw(st.none() | named)
    return np.array(flat, dtype).reshape(rows, classes), np.array(labels), names


def written(folder, suffix, scores, labels, names):
    """Write predictions, tables with a column for each class; return the file and what to ask."""
    path = folder / f"p{suffix}"
    if suffix == ".npz":
        np.savez(path, logits=scores, labels=labels)
        return path, Ask()
    if suffix == ".npy":
        np.save(path, scores)
        np.save(folder / "labels.npy", labels)
        return path, Ask(labels_file=folder / "labels.npy")
    columns = {
        f"logit_{name}": scores[:, k] for k, name in enumerate(names or range(scores.shape[1]))
    }
    columns["label"] = labels if names is None else np.array(names)[labels]
    if suffix == ".parquet":
        arrow = pytest.importorskip("pyarrow", reason="needs an extra")
        parquet = pytest.importorskip("pyarrow.parquet", reason="needs an extra")
        parquet.write_table(arrow.table(columns), path)
        return path, Ask()
    text = io.StringIO(newline="")
    table = csv.writer(text, delimiter="\t" if ".tsv" in suffix else ",")
    table.writerow(columns)
    table.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data) if suffix.endswith(".gz") else data)
    return path, Ask()


@given(predictions(), st.sampled_from(SUFFIXES))
def test_what_was_written_is_read_to_the_last_bit(drawn, suffix):
    scores, labels, names = drawn
    with tempfile.TemporaryDirectory() as folder:
        source = source_of(*written(Path(folder), suffix, scores, labels, names))
        parts = list(source.read())
    found = np.concatenate([part.predictions for part in parts])
    np.testing.assert_array_equal(found, scores)
    read = np.concatenate([part.labels for part in parts])
    if names is None or suffix in (".npz", ".npy"):
        np.testing.assert_array_equal(read.reshape(-1).astype(float), labels)
    else:
        assert source.classes.names == names
        assert read.reshape(-1).tolist() == [names[label] for label in labels]


texts = st.sampled_from(
    ["", "0", "-1", "1", "3", "15", "1.5", "nan", "1e400", "a", "logit", "label"]
)
OPTIONS = {
    **dict.fromkeys(["--from-logits", "--probabilities", "--skip-invalid", "--multi-label"], None),
    **dict.fromkeys(["--json", "--force"], None),
    **dict.fromkeys(["--bins", "--temperature", "--ignore-class"], texts),
    **dict.fromkeys(["--columns", "--predictions-key", "--labels-key"], texts),
    "--columns ": st.just("logit_1,logit_0"),
    "--out": st.sampled_from(["r.html", "r.txt", "p.npz", "absent/r.html"]),
}


@st.composite
def options(draw):
    """Some options of the report, with values that may be wrong."""
    names = draw(st.lists(st.sampled_from(sorted(OPTIONS)), max_size=3, unique=True))
    found = []
    for name in names:
        values = OPTIONS[name]
        found += [name.strip()] if values is None else [f"{name.strip()}={draw(values)}"]
    return found


@given(predictions(), st.sampled_from(SUFFIXES), options(), st.booleans())
def test_report_works_or_says_why_and_leaves_nothing(drawn, suffix, given_options, is_small):
    scores, labels, names = drawn
    scores = 1 / (1 + np.exp(-np.clip(scores, -30, 30))) if is_small else scores
    out, err = io.StringIO(), io.StringIO()
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        path, ask = written(folder, suffix, scores, labels, names)
        before = {each.name: each.read_bytes() for each in folder.iterdir()}
        more = ["--labels", str(ask.labels_file)] if ask.labels_file else []
        patch.chdir(folder)
        patch.setattr("sys.stdout", out)
        patch.setattr("sys.stderr", err)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            code = main(["report", str(path), *more, *given_options])
        after = {each.name: each.read_bytes() for each in folder.iterdir()}
    printed, said = out.getvalue(), err.getvalue()
    assert "Traceback" not in said
    if code == 0:
        assert printed
        if "--json" in given_options:
            figures = json.loads(printed)["before"].values()
            assert all(np.isfinite(one) for one in figures if isinstance(one, float))
        assert {*after} - {*before} <= {"r.html"}
    else:
        assert code in (1, 2), said
        assert printed == ""
        assert said.count("\n") == 1, said
        assert after == before
