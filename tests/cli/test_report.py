"""keras-focal report: the figures of the functions, from any file; bad files are named."""

import base64
import json
import re
import resource
import stat
from pathlib import Path

import json_schema
import numpy as np
import predictions
import pytest
import reference
from keras import ops

from keras_focal import calibration, functional, metrics
from keras_focal.cli import main
from keras_focal.cli.readers import _csv, _rows

LABELS, LOGITS, PROBABILITIES = predictions.example("random")


@pytest.fixture(autouse=True)
def _in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def reported(capsys, *arguments):
    """Return the JSON of a report."""
    code = main(["report", *arguments, "--json"])
    printed = capsys.readouterr()
    assert (code, printed.err) == (0, "")
    found = json.loads(printed.out)
    json_schema.check("report", found)
    return found


def refused(capsys, *arguments, code=1):
    """Return the line of an error."""
    assert main(["report", *arguments]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err


def written(kind, values=LOGITS, labels=LABELS, name="logits"):
    """Write predictions to a file and return its name."""
    file = f"p.{kind}"
    if kind == "npz":
        np.savez_compressed(file, **{name: values, "labels": labels})
    elif kind == "csv":
        table = np.column_stack([labels, values]).tolist()
        names = ["label", *(f"{name}_{k}" for k in range(values.shape[1]))]
        rows = [f"{int(label)},{','.join(map(repr, row))}" for label, *row in table]
        Path(file).write_text("\n".join([",".join(names), *rows]) + "\n")
    else:
        pyarrow = pytest.importorskip("pyarrow", reason="needs the extra `parquet`")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.table({name: values.tolist(), "label": labels}), file)
    return file


# --- the figures


@pytest.mark.parametrize("block", [2**20, 300], ids=["whole", "in parts"])
@pytest.mark.parametrize("kind", ["npz", "csv", "parquet"])
def test_figures_are_those_of_the_functions(capsys, monkeypatch, kind, block):
    monkeypatch.setattr(_rows, "BLOCK", block)
    found = reported(capsys, written(kind))
    fit = calibration.fit_temperature(LOGITS, LABELS)
    assert found["predictions"] == "logits"
    assert (found["count"], found["num_classes"], found["num_bins"]) == (512, 4, 15)
    assert found["temperature"] == pytest.approx(fit.temperature, rel=1e-6)
    for key, logits in (("before", LOGITS), ("after", LOGITS / np.float32(fit.temperature))):
        of = {"labels": LABELS, "predictions": logits, "from_logits": True}
        bins = functional.bin_statistics(**of)
        p = reference.softmax64(logits)
        confidence, correct = reference.top_label(LABELS, p)
        floor = functional.noise_floor(bins)
        expected = {
            "error": 1 - correct.mean(),
            "nll": float(ops.mean(functional.negative_log_likelihood(**of))),
            "brier": float(ops.mean(functional.brier_score(**of))),
            "ece": float(functional.expected_calibration_error(**of)),
            "mce": float(functional.maximum_calibration_error(**of)),
            "classwise_ece": reference.classwise_ece(LABELS, p).mean(),
            "ece_of_chance": floor.expected,
            "ece_of_chance_95": floor.upper,
            "s99": (confidence > 0.99).mean(),
            "s99_accuracy": correct[confidence > 0.99].mean()
            if (confidence > 0.99).any()
            else None,
        }
        metric = metrics.AdaECE(from_logits=True)
        metric.update_state(LABELS, logits)
        expected["ada_ece"] = float(metric.result())
        assert found[key].pop("s99_accuracy") == pytest.approx(expected.pop("s99_accuracy"))
        assert found[key] == pytest.approx(expected, abs=1e-6)


def test_intervals_are_those_of_the_functions(capsys, monkeypatch):
    monkeypatch.setattr(_rows, "BLOCK", 300)
    found = reported(capsys, written("npz"), "--temperature", "2")["intervals"]
    how = {"from_logits": True}
    expected = {
        "before": functional.bootstrap_intervals(LABELS, LOGITS, **how),
        "after": functional.bootstrap_intervals(LABELS, LOGITS / 2, **how),
        "change": functional.bootstrap_intervals(LABELS, LOGITS / 2, LOGITS, **how),
    }
    for name in ("ece", "nll", "brier", "error"):
        for key in ("before", "after"):
            assert found[key][name] == pytest.approx(expected[key][name][1:], abs=1e-4)
        change = found["change"][name]
        assert [*change.values()] == pytest.approx(expected["change"][name], abs=1e-4)
    assert main(["report", "p.npz", "--temperature", "2"]) == 0
    low, high = found["change"]["nll"]["low"], found["change"]["nll"]["high"]
    assert f"{low:.4f} to {high:.4f}" in capsys.readouterr().out


def test_worst_classes_and_mistakes_are_found_in_every_part(capsys, monkeypatch):
    monkeypatch.setattr(_rows, "BLOCK", 300)
    found = reported(capsys, written("npz"))
    p = reference.softmax64(LOGITS)
    top = p.argmax(1)
    wrong = np.flatnonzero(top != LABELS)
    order = wrong[np.argsort(-p[wrong, top[wrong]])][:10]
    assert [row["row"] for row in found["mistakes"]] == order.tolist()
    assert [row["label"] for row in found["mistakes"]] == LABELS[order].tolist()
    assert [row["prediction"] for row in found["mistakes"]] == top[order].tolist()
    confidences = [row["confidence"] for row in found["mistakes"]]
    np.testing.assert_allclose(confidences, p[order, top[order]], rtol=1e-6)
    errors = reference.classwise_ece(LABELS, p)
    worst = found["worst_classes"]
    assert [row["class"] for row in worst] == np.argsort(-errors).tolist()
    assert [row["count"] for row in worst] == [int((row["class"] == LABELS).sum()) for row in worst]
    found_errors = [row["ece_before"] for row in worst]
    np.testing.assert_allclose(found_errors, np.sort(errors)[::-1], atol=1e-6)


def test_probabilities_are_seen_as_such_and_give_the_same(capsys):
    of_logits = reported(capsys, written("npz"))
    found = reported(capsys, written("npz", PROBABILITIES, name="probs"))
    assert found["predictions"] == "probabilities"
    for key in ("before", "after"):
        assert found[key] == pytest.approx(of_logits[key], abs=1e-5)
    assert found["temperature"] == pytest.approx(of_logits["temperature"], rel=1e-4)


@pytest.mark.parametrize("form", ["one-hot", "column", "fortran", "longdouble", "binary", "pixels"])
def test_other_shapes_are_read(capsys, form):
    values, labels = LOGITS, LABELS
    if form == "one-hot":
        labels = np.eye(4)[LABELS]
    elif form == "column":
        labels = LABELS[:, None]
    elif form == "fortran":
        values = np.asfortranarray(LOGITS)
    elif form == "longdouble":
        values = LOGITS.astype("longdouble")
    elif form == "binary":
        values, labels = LOGITS[:, :1], LABELS == 0
    else:
        values, labels = LOGITS.reshape(32, 16, 4), LABELS.reshape(32, 16)
    found = reported(capsys, written("npz", values, labels))
    assert found["count"] == 512
    assert found["num_classes"] == (2 if form == "binary" else 4)
    rows = [row["row"] for row in found["mistakes"]]
    assert max(rows) < len(values)


def test_given_temperature_is_used(capsys):
    found = reported(capsys, written("npz"), "--temperature", "2")
    assert (found["temperature"], found["temperature_origin"]) == (2.0, "given")
    expected = functional.expected_calibration_error(LABELS, LOGITS / 2, from_logits=True)
    assert found["after"]["ece"] == pytest.approx(float(expected), abs=1e-6)
    assert not any("optimistic" in note for note in found["notes"])
    assert main(["report", "p.npz", "--temperature", "2", "--out", "p.html"]) == 0
    assert 'class="notes"' not in Path("p.html").read_text()


@pytest.mark.parametrize(("name", "ece", "ada_ece"), predictions.PUBLISHED)
def test_published_predictions_give_the_published_figures(capsys, real_data, name, ece, ada_ece):
    file = str(real_data / "logits" / f"cifar10_resnet50_{name}.npz")
    keys = ["--predictions-key", "test_logits", "--labels-key", "test_labels"]
    found = reported(capsys, file, *keys)
    assert round(100 * found["before"]["ece"], 2) == ece
    assert 100 * found["before"]["ada_ece"] == pytest.approx(ada_ece, abs=0.02)
    assert "val_logits" in refused(capsys, file)


# --- terminal and page


def test_terminal_shows_both_tables_and_the_page_needs_nothing_else(capsys):
    file = written("csv")
    assert main(["report", file, "--out", "<r>.html"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    found = reported(capsys, file)
    for key in ("before", "after"):
        assert f"{100 * found[key]['ece']:.2f} %" in printed.out
        assert f"{found[key]['nll']:.4f}" in printed.out
    page = Path("<r>.html").read_text().replace("&nbsp;", " ")
    assert f"{100 * found['before']['mce']:.2f} %" in page
    assert f"<td>{found['mistakes'][0]['row']}</td>" in page
    assert not re.search(r"https?:|<script|<link|url\(|$\w", page)
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(pictures) == page.count("<img") == 5
    assert all(base64.b64decode(each).startswith(b"\x89PNG") for each in pictures)


def test_names_are_escaped_on_the_page(capsys):
    written("npz")
    Path("p.npz").rename("<b>&.npz")
    assert main(["report", "<b>&.npz", "--json", "--out", "p.html"]) == 0
    page = Path("p.html").read_text()
    assert "&lt;b&gt;&amp;.npz" in page
    assert "<b>" not in page


def test_page_of_predictions_without_mistakes_says_so(capsys):
    np.savez("p.npz", logits=5 * np.eye(3)[[0, 1, 2]], labels=[0, 1, 2])
    assert main(["report", "p.npz", "--json", "--out", "p.html"]) == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert "lower bound" in notes[0]
    assert "There are none." in Path("p.html").read_text()
    assert main(["report", "p.npz"]) == 0
    assert "most confident mistakes" not in capsys.readouterr().out


# --- what is refused


def test_logits_and_probabilities_that_were_mistaken_are_named(capsys):
    line = refused(capsys, written("npz", PROBABILITIES), "--from-logits")
    assert "looks like probabilities. Pass --probabilities" in line
    assert "Pass --from-logits" in refused(capsys, written("npz"), "--probabilities")
    assert "per cent" in refused(capsys, written("npz", 100 * PROBABILITIES))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_row_that_is_not_finite_is_named_or_left_out(capsys, monkeypatch, bad):
    monkeypatch.setattr(_rows, "BLOCK", 300)
    spoilt = LOGITS.copy()
    spoilt[200, 1] = bad
    file = written("npz", spoilt)
    assert "p.npz: row 200 holds NaN or infinity" in refused(capsys, file)
    found = reported(capsys, file, "--skip-invalid")
    assert (found["count"], found["invalid_count"]) == (511, 1)
    assert found["notes"][-1].startswith("Left out: 1 prediction with NaN")


def test_labels_of_one_class_are_noted(capsys):
    notes = reported(capsys, written("npz", labels=np.full(512, 2)))["notes"]
    assert notes[0].startswith("Every label is 2")


def save(**arrays):
    np.savez("p.npz", **arrays)


BAD_NPZ = {
    "label above": (lambda: save(logits=LOGITS, labels=LABELS + 2), r"class ids in \[0, 4\)"),
    "label below": (lambda: save(logits=LOGITS, labels=LABELS - 1), r"class ids in \[0, 4\).*-1"),
    "label between": (lambda: save(logits=LOGITS, labels=LABELS + 0.5), r"class ids in \[0, 4\)"),
    "label NaN": (lambda: save(logits=LOGITS, labels=LABELS * np.nan), "row 0 has no label"),
    "lengths": (lambda: save(logits=LOGITS, labels=LABELS[:9]), r"label for each row.*\(9,\)"),
    "label shape": (lambda: save(logits=LOGITS, labels=np.eye(3)[LABELS]), r"`labels`"),
    "no rows": (lambda: save(logits=LOGITS[:0], labels=LABELS[:0]), "no rows"),
    "no classes": (lambda: save(logits=LOGITS[:, :0], labels=LABELS), "no rows"),
    "one axis": (lambda: save(logits=LOGITS[:, 0], labels=LABELS), r"shape \(rows, classes\)"),
    "text": (lambda: save(logits=LOGITS.astype(str), labels=LABELS), "must hold numbers"),
    "objects": (lambda: save(logits=LOGITS.astype(object), labels=LABELS), "never unpickled"),
    "complex": (lambda: save(logits=LOGITS * 1j, labels=LABELS), "must hold numbers"),
    "no labels": (lambda: save(logits=LOGITS), "--labels-key"),
    "two": (lambda: save(logits=LOGITS, probs=PROBABILITIES, labels=LABELS), "--predictions-key"),
    "all NaN": (lambda: save(logits=LOGITS * np.nan, labels=LABELS), "row 0 holds NaN"),
    "empty": (lambda: Path("p.npz").touch(), "p.npz is empty"),
    "no zip": (lambda: Path("p.npz").write_text("logits"), "truncated or no .npz"),
}


@pytest.mark.parametrize("case", BAD_NPZ)
def test_bad_npz_is_refused_and_nothing_is_written(capsys, tmp_path, case):
    make, words = BAD_NPZ[case]
    make()
    assert re.search(words, refused(capsys, "p.npz", "--out", "p.html"))
    assert [path.name for path in tmp_path.iterdir()] == ["p.npz"]


@pytest.mark.parametrize("share", [0.3, 0.9])
@pytest.mark.parametrize("kind", ["npz", "parquet"])
def test_truncated_file_is_named(capsys, tmp_path, kind, share):
    path = tmp_path / written(kind)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert "truncated" in refused(capsys, path.name)


def test_damaged_array_is_named(capsys, tmp_path):
    save(logits=LOGITS, labels=LABELS)
    data = bytearray((tmp_path / "p.npz").read_bytes())
    data[1000:1004] = b"\0\0\0\0"
    (tmp_path / "p.npz").write_bytes(data)
    assert "truncated or damaged" in refused(capsys, "p.npz")


BAD_CSV = {
    "no header": ("1,2,0\n3,4,1\n", "name its columns"),
    "no rows": ("p0,p1,label\n", "no rows"),
    "no label": ("p0,p1,c\n1,2,0\n", "--labels-key"),
    "text": ("p0,p1,label\n1,2,0\n1,x,1\n", "line 3 must hold numbers.*'x' in p1"),
    "short line": ("p0,p1,label\n1,2,0\n1,2\n", "line 3 has 2 cells"),
    "missing": ("p0,p1,label\n1,,0\n", "line 2 holds .* an empty cell"),
    "label": ("p0,p1,label\n1,2,0\n1,2,7\n", r"line 3: .*class ids in \[0, 2\).*7"),
    "only labels": ("label\n0\n", "no columns are predictions"),
    "binary": (b"\xff\xfe\x00a,b", "UTF-8"),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_bad_csv_is_refused(capsys, tmp_path, case):
    text, words = BAD_CSV[case]
    (tmp_path / "p.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert re.search(words, refused(capsys, "p.csv"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('"p0,p1,label' + ",x" * 100 + "\n1,2,0\n", "p.csv: the first line, .* longer than 100"),
        ('p0,p1,label\n1,"2,0\n' + "1,2,0\n" * 40, "p.csv: a line .* Is a quote never closed"),
        (
            "p0,p1,label\n" + "0.5,0.5,1\n" * 9 + '0.5,"1\n' + "1,2,0\n" * 40,
            r"p.csv: line \d+ cannot be read: field larger",
        ),
    ],
)
def test_quote_that_is_never_closed_is_refused(capsys, tmp_path, monkeypatch, text, words):
    monkeypatch.setattr(_csv, "_LONGEST", 100)
    monkeypatch.setattr(_csv, "_PEEK", 5)
    (tmp_path / "p.csv").write_text(text)
    assert re.search(words, refused(capsys, "p.csv"))


def test_columns_of_a_csv_are_chosen_by_what_they_begin_with(capsys, tmp_path):
    lines = ["id;logit_a;logit_b;truth", *(f"row{i};{i};{9 - i};{i % 2}" for i in range(10))]
    (tmp_path / "p.csv").write_text("\n\n".join(lines))
    keys = ["--labels-key", "truth", "--predictions-key", "logit_"]
    assert "Received: '0'" in refused(capsys, "p.csv", *keys)  # is 0 a or b?
    given = reported(capsys, "p.csv", *keys[:2], "--columns", "logit_a,logit_b")
    assert (given["count"], given["class_names"]) == (10, ["logit_a", "logit_b"])
    assert "no columns are predictions" in refused(capsys, "p.csv", *keys[:2])
    assert "begin with 'x'" in refused(capsys, "p.csv", *keys[:3], "x")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["absent.npz"], 1, "absent.npz does not exist"),
        ([".npz.d"], 2, "expected a file ending in .npz"),
        (["p.pkl"], 2, "Received: p.pkl"),
        (["d.npz"], 1, "is not a file"),
        (["p.npz", "--out", "p.pdf"], 2, "--out must end in .html"),
        (["p.npz", "--out", "absent/p.html"], 1, "does not exist. Make it"),
        (["p.npz", "--out", "d.html"], 1, "d.html is a folder"),
        (["p.npz", "--bins", "0"], 2, "--bins must be"),
        (["p.npz", "--temperature", "0"], 2, "--temperature must be"),
        (["p.npz", "--temperature", "nan"], 2, "--temperature must be"),
        (["p.npz", "--from-logits", "--probabilities"], 2, "not allowed"),
        (["p.npz", "--labels-key", "other"], 1, "no 'other'"),
    ],
)
def test_bad_arguments_are_refused(capsys, tmp_path, arguments, code, words):
    written("npz")
    (tmp_path / "d.npz").mkdir()
    (tmp_path / "d.html").mkdir()
    assert words in refused(capsys, *arguments, code=code)


def test_page_that_fails_leaves_the_old_one(capsys, tmp_path, monkeypatch):
    file = written("npz")
    (tmp_path / "p.html").write_text("old")

    def broken(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", broken)
    line = refused(capsys, file, "--out", "p.html", "--force")
    assert "p.html was not written: no space left on device" in line
    assert (tmp_path / "p.html").read_text() == "old"
    assert len([*tmp_path.iterdir()]) == 2


def test_file_that_exists_is_replaced_only_if_told_and_keeps_its_mode(capsys, tmp_path):
    file = written("npz")
    page = tmp_path / "p.html"
    page.write_text("old")
    page.chmod(0o640)
    assert "p.html exists. Pass --force to replace it" in refused(capsys, file, "--out", "p.html")
    assert page.read_text() == "old"
    assert main(["report", file, "--out", "p.html", "--force"]) == 0
    assert page.read_text().startswith("<!DOCTYPE")
    assert stat.S_IMODE(page.stat().st_mode) == 0o640


@pytest.mark.parametrize("is_there", [True, False])
def test_link_is_written_through_only_if_told(capsys, tmp_path, is_there):
    file = written("npz")
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real/p.html", tmp_path / "p.html"
    if is_there:
        target.write_text("old")
    link.symlink_to(target)
    assert "is a link to" in refused(capsys, file, "--out", "p.html")
    assert main(["report", file, "--out", "p.html", "--force"]) == 0
    assert link.is_symlink()
    assert target.read_text().startswith("<!DOCTYPE")
    assert [*(tmp_path / "real").iterdir()] == [target]


def test_folder_that_cannot_be_written_is_named_before_any_work(capsys, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    assert "cannot be written. Choose another" in refused(capsys, "absent.npz", "--out", "p.html")


def test_name_of_250_bytes_is_written(tmp_path):
    name = f"{'n' * 245}.html"
    assert main(["report", written("npz"), "--json", "--out", name]) == 0
    assert (tmp_path / name).is_file()


def test_full_disk_is_named(capsys, tmp_path):
    file = written("npz")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        line = refused(capsys, file, "--out", "p.html")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "p.html was not written: file too large" in line
    assert [path.name for path in tmp_path.iterdir()] == [file]
