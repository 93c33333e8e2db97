"""Tables: cells are what plain NumPy finds, the paper's figures stand beside them unmixed."""

import json
import re
from dataclasses import replace
from itertools import pairwise

import backends
import numpy as np
import pytest
import reference

from examples.paper import runs
from examples.paper.runs import Logits
from examples.paper.tables import __main__, check
from examples.paper.tables.__main__ import main
from examples.paper.tables.build import build, measured
from examples.paper.tables.layout import CRITERIA, TABLES
from examples.paper.tables.measure import measure
from examples.paper.tables.published import nearest_row, published

not_jax = pytest.mark.skipif(backends.BACKEND == "jax", reason="JAX compiles each shape anew")
NUMBERS = [*map(str, range(1, 14)), "beyond"]


def part(rng, size, classes):
    labels = rng.integers(0, classes, size).astype("int32")
    logits = rng.normal(0.0, 3.0, (size, classes))
    logits[np.arange(size), labels] += 5.0
    return logits.astype("float32"), labels


def make_run(root, dataset, network, loss, seed=1, classes=8, **settings):
    folder = root / f"{dataset}_{network}_{loss}_seed{seed}"
    folder.mkdir(parents=True)
    rng = np.random.default_rng([seed, *map(ord, loss)])
    logits = Logits(*part(rng, 80, classes), *part(rng, 120, classes))
    logits.save(folder / "logits.npz")
    names = {"dataset": dataset, "network": network, "loss": loss, "seed": seed}
    (folder / "run.json").write_text(json.dumps({**names, "finished": True, **settings}))
    return logits


def make_translation(root, dataset="multi30k", loss="CE", seed=1, search=None):
    folder = root / f"{dataset}_transformer_{loss}_seed{seed}"
    folder.mkdir(parents=True)
    names = {"dataset": dataset, "network": "transformer", "loss": loss, "seed": seed}
    (folder / "run.json").write_text(json.dumps({**names, "finished": True}))
    figures = {"T": 1.2, "pre": {"ece": 9.0, "bleu": 30.0}, "post": {"ece": 2.0, "bleu": 29.5}}
    figures["search"] = search
    (folder / "translation.json").write_text(json.dumps(dict.fromkeys(CRITERIA, figures)))


def oracle(logits, labels):
    """Figures in per cent by plain NumPy in float64."""
    p = reference.softmax64(logits)
    confidence, correct = reference.top_label(labels, p)
    # The edges of the authors' code.
    edges = np.interp(np.linspace(0, len(p), 16), np.arange(len(p)), np.sort(confidence))
    adaptive = 0.0
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            adaptive += abs((confidence - correct)[inside].sum()) / len(p)
    sure = confidence > 0.99
    order = np.argsort(-np.asarray(logits), axis=1)[:, :5]
    found = {
        "error": 1 - correct.mean(),
        "ece": reference.ece(confidence, correct),
        "ada_ece": adaptive,
        "mce": reference.mce(confidence, correct),
        "nll": reference.nll(labels, logits),
        "top1": correct.mean(),
        "top5": (order == labels[:, None]).any(axis=1).mean(),
        "confident": sure.mean(),
        "confident_accuracy": correct[sure].mean() if sure.any() else np.nan,
    }
    return {name: 100 * value for name, value in found.items()}


def ece_grid(logits, labels):
    """The temperature of 0.1, 0.2, ... 10 of least ECE."""
    grid = np.arange(1, 101) / 10
    p = (reference.softmax64(logits.astype("float64") / t) for t in grid)
    return grid[np.argmin([reference.ece(*reference.top_label(labels, each)) for each in p])]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Runs for every table, of two losses by two seeds, and one of translation."""
    root = tmp_path_factory.mktemp("runs")
    for loss in ("CE", "MMCE", "FL-3", "FLSD-53", "AdaFocal"):
        make_run(root, "cifar100", "resnet8", loss)
    for loss in ("CE", "FLSD-53"):
        make_run(root, "cifar100", "resnet8", loss, seed=2)
    make_translation(root)
    return root


@pytest.fixture(scope="module")
def found(directory):
    return measured(runs.read(directory), ("ece", "nll", "focal"))


def rows_of(table, loss="CE"):
    return [row for row in table.rows if row.loss == loss]


@pytest.mark.parametrize("criterion", CRITERIA)
def test_figures_are_those_of_plain_numpy(criterion, tmp_path):
    logits = make_run(tmp_path, "cifar10", "resnet8", "CE")
    figures = measure(logits, criterion)
    z, y = logits.val_logits, logits.val_labels
    best = ece_grid(z, y) if criterion == "ece" else reference.best_temperature(y, z)
    assert figures["T"] == pytest.approx(best, rel=1e-6)
    before = oracle(logits.test_logits.astype("float64"), logits.test_labels)
    after = oracle(logits.test_logits.astype("float64") / best, logits.test_labels)
    assert figures["pre"] == pytest.approx(before, rel=2e-5, nan_ok=True)
    assert figures["post"] == pytest.approx(after, rel=2e-5, nan_ok=True)


@not_jax
def test_focal_temperature_scaling_is_measured_by_its_posterior(tmp_path):
    logits = make_run(tmp_path, "cifar10", "resnet8", "CE")
    figures = measure(logits, "focal")
    rows = [
        reference.focal_posterior(z / figures["T"], figures["gamma"])
        for z in logits.test_logits.astype("float64")
    ]
    after = oracle(np.array(rows), logits.test_labels)
    assert figures["post"] == pytest.approx(after, rel=1e-4, nan_ok=True)


@not_jax
def test_two_classes_have_no_top5_and_nothing_sure_no_accuracy():
    z, y = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 0.0]], "float32"), np.array([0, 1, 1])
    figures = measure(Logits(z, y, z, y), "nll")["pre"]
    assert np.isnan([figures["top5"], figures["confident_accuracy"]]).all()
    assert figures["confident"] == 0.0


@pytest.mark.parametrize("number", sorted({*NUMBERS} - {"3"}))
def test_cells_are_mean_and_deviation_over_seeds(number, found):
    loss = "CE" if "CE" in TABLES[number].losses or number == "beyond" else "FLSD-53"
    row = rows_of(build(number, found, CRITERIA), loss)[0]
    of_seeds = [of.figures for of in found if (of.run.loss, of.run.network) == (loss, "resnet8")]
    columns = TABLES[number].for_criteria(CRITERIA).columns
    assert (row.source, len(row.cells)) == ("2 seeds", len(columns))
    for column, cell in zip(columns, row.cells, strict=True):
        a, b = (of_seed[column.criterion] for of_seed in of_seeds)
        for name in column.path:
            a, b = a[name], b[name]
        if np.isnan(a + b):
            assert cell is None
            continue
        assert cell.mean == pytest.approx((a + b) / 2)
        assert cell.deviation == pytest.approx(abs(a - b) / np.sqrt(2))


def test_translation_stands_in_a_table_of_its_own(found):
    row = rows_of(build("3", found))[0]
    assert (row.dataset, row.source) == ("multi30k", "1 seed")
    assert [cell.mean for cell in row.cells] == [9.0, 2.0, 1.2, 30.0, 29.5]


def test_one_seed_has_no_deviation(found):
    assert [cell.deviation for cell in rows_of(build("4", found), "FL-3")[0].cells] == [None]


def test_a_missing_run_leaves_empty_cells(found):
    row = rows_of(build("4", found), "Brier")[0]
    assert (row.source, row.cells) == ("no run", (None,))


def test_runs_beside_the_paper_stand_in_their_own_table(found):
    losses = [row.loss for row in build("beyond", found).rows]
    assert losses == ["CE", "MMCE", "FL-3", "FLSD-53", "AdaFocal"]


def test_the_papers_row_is_labelled_with_its_own_network(found):
    ours, paper = rows_of(build("1", found, CRITERIA))
    assert (ours.network, paper.network, paper.source) == ("resnet8", "resnet50", "paper")
    before, after_ece, after_nll, t_ece, t_nll = paper.cells
    assert (before.mean, after_ece.mean, t_ece.mean) == (17.52, 3.42, 2.1)
    assert after_nll is t_nll is None


def test_translation_stands_beside_the_papers_own_data_set(found):
    paper = rows_of(build("3", found))[1]
    assert (paper.dataset, paper.network, paper.source) == ("wmt14", "transformer", "paper")


@pytest.mark.parametrize(
    ("table", "ours", "papers"),
    [
        ("1", "cifar10/resnet50", "cifar10/resnet50"),
        ("1", "cifar10/resnet110-bottleneck", "cifar10/resnet110"),
        ("1", "cifar10/resnet50, sum", "cifar10/resnet50"),
        ("13", "cifar10/resnet18", "cifar10/resnet50"),
        ("1", "cifar100/wide-resnet-10-2", "cifar100/wide-resnet-26-10"),
        ("1", "cifar10/densenet40", "cifar10/densenet121"),
        ("1", "newsgroups20/global-pooling-cnn-small", "newsgroups20/global-pooling-cnn"),
        ("1", "sst/mlp", "sst/tree-lstm"),
        ("8", "sst/tree-lstm", None),
        ("1", "mnist/resnet50", None),
    ],
)
def test_nearest_network(table, ours, papers):
    assert nearest_row(table, *ours.split("/")) == papers


@pytest.mark.parametrize(
    ("network", "says"), [("resnet110", True), ("resnet110-bottleneck", False)]
)
def test_a_row_of_another_resnet110_than_the_papers_says_so(tmp_path, network, says):
    make_run(tmp_path, "cifar10", network, "CE", objective="sum")
    table = build("4", measured(runs.read(tmp_path), ("ece",)))
    assert any("1.7 M parameters" in remark for remark in table.remarks) == says


@pytest.mark.parametrize(
    "change", [{"batch_size": 9}, {"limit": 10}, {"glove": "b"}, {"warm_up": 5}]
)
def test_runs_that_differ_in_more_than_the_seed_are_not_averaged(tmp_path, change):
    make_run(tmp_path, "cifar10", "resnet8", "CE")
    make_run(tmp_path, "cifar10", "resnet8", "CE", seed=2, **change)
    with pytest.raises(ValueError, match=f"differ in {next(iter(change))}"):
        measured(runs.read(tmp_path), ("ece",))


@pytest.mark.parametrize("change", [{"data": {"train": 9}}, {"crop": 0}, {"mixed_precision": True}])
def test_runs_of_other_data_or_training_are_not_averaged(tmp_path, change):
    make_run(tmp_path, "cifar10", "resnet8", "CE")
    make_run(tmp_path, "cifar10", "resnet8", "CE", seed=2, **change)
    with pytest.raises(ValueError, match=f"differ in {next(iter(change))}"):
        measured(runs.read(tmp_path), ("ece",))


def test_runs_of_another_objective_or_length_have_rows_of_their_own(tmp_path):
    make_run(tmp_path, "cifar10", "resnet8", "CE", epochs=350)
    for seed, change in enumerate(({"objective": "sum"}, {"epochs": 9}), 2):
        make_run(tmp_path, "cifar10", "resnet8", "CE", seed=seed, **{"epochs": 350, **change})
    rows = rows_of(build("4", measured(runs.read(tmp_path), ("ece",))))
    ours = [(row.network, row.seeds) for row in rows if row.seeds is not None]
    assert sorted(ours) == [("resnet8", 1), ("resnet8, 9 epochs", 1), ("resnet8, sum", 1)]


def test_translations_that_were_measured_otherwise_are_not_averaged(tmp_path):
    for seed, beams in ((1, 4), (2, 5)):
        make_translation(tmp_path, seed=seed, search={"beams": beams})
    with pytest.raises(ValueError, match="differ in search"):
        measured(runs.read(tmp_path), ("ece",))


def test_a_run_that_diverged_has_no_figures_and_is_named(tmp_path):
    good = make_run(tmp_path, "cifar10", "resnet8", "CE")
    folder = tmp_path / "cifar10_resnet8_CE_seed2"
    make_run(tmp_path, "cifar10", "resnet8", "CE", seed=2)
    replace(good, test_logits=np.full_like(good.test_logits, np.nan)).save(folder / "logits.npz")
    found = measured(runs.read(tmp_path), ("ece", "nll", "focal"))
    for number in ("1", "4", "13", "beyond"):
        row = rows_of(build(number, found))[0]
        assert row.source == "2 seeds, 1 diverged"
        assert set(row.cells) == {None}


def test_runs_that_lie_elsewhere_are_found_by_links(tmp_path):
    make_run(tmp_path / "elsewhere", "cifar10", "resnet20", "CE")
    directory = tmp_path / "runs [1]"
    make_run(directory, "cifar10", "resnet20", "CE", seed=2)
    for run in runs.read(tmp_path / "elsewhere"):
        (directory / run.folder.name).symlink_to(run.folder)
    assert [run.seed for run in runs.read(directory)] == [1, 2]


def test_runs_in_a_hidden_folder_are_found(tmp_path):
    make_run(tmp_path / ".older", "cifar10", "resnet20", "CE")
    assert len(runs.read(tmp_path)) == 1


def test_a_run_is_not_counted_twice(tmp_path):
    for name in ("a", "b"):
        make_run(tmp_path / name, "cifar10", "resnet8", "CE")
    with pytest.raises(ValueError, match="must differ in the seed alone"):
        measured(runs.read(tmp_path), ("ece",))


# --- the command


@pytest.mark.parametrize("number", NUMBERS)
def test_every_table_has_its_command(number, directory, found, monkeypatch, capsys):
    monkeypatch.setattr(
        __main__, "measured", lambda runs, *_: [of for of in found if of.run in runs]
    )
    main(["--runs", str(directory), "--table", number, "--criterion", "ece"])
    printed = capsys.readouterr().out
    assert TABLES[number].title.split()[0] in printed
    assert ("Table" in printed) == (number != "beyond")
    assert "seed" in printed


def test_markdown_has_a_cell_for_every_column(directory, capsys):
    main(["--runs", str(directory), "--table", "1", "13", "--format", "markdown"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) - 1 for line in lines} == {9, 10}
    assert "| cifar100 | resnet50 | CE | paper | 17.52 | 3.42 |  | 2.10 |  |" in lines


def test_files_are_written_for_tables_with_runs(directory, tmp_path, capsys):
    command = ["--runs", str(directory), "--format", "json", "--out", str(tmp_path), "--table"]
    main([*command, "4", "7"])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["table_4.json", "table_7.json"]
    table = json.loads((tmp_path / "table_4.json").read_text())["4"]
    assert (table["headings"], table["rows"][0]["seeds"]) == (["error"], 2)
    assert table["rows"][2] == {
        **dict(zip(("dataset", "network", "loss"), ("cifar100", "resnet8", "Brier"), strict=True)),
        **{"seeds": 0, "cells": [None], "diverged": 0},
    }


def test_unfinished_runs_are_left_out_and_named(tmp_path, capsys):
    make_run(tmp_path, "cifar10", "resnet8", "CE")
    make_run(tmp_path, "cifar10", "resnet8", "Brier", finished=False)
    main(["--runs", str(tmp_path), "--table", "4"])
    printed = capsys.readouterr()
    assert "1 unfinished" in printed.err
    assert "no run" in printed.out


@pytest.mark.parametrize("option", ["--runs", "--logits"])
def test_an_empty_directory_is_a_clear_error(option, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main([option, str(tmp_path)])
    assert stop.value.code == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_a_table_without_runs_is_a_clear_error(tmp_path, capsys):
    make_run(tmp_path, "cifar10", "resnet8", "CE")
    with pytest.raises(SystemExit):
        main(["--runs", str(tmp_path), "--table", "5"])
    assert "table 5" in capsys.readouterr().err


# --- the paper's own figures


def test_published_tables_have_all_rows_and_figures():
    losses = {1: 5, 2: 5, 3: 3, 4: 7, 5: 7, 6: 7, 7: 7, 8: 5, 9: 11, 10: 11, 11: 11, 12: 11, 13: 3}
    figures = {1: 3, 2: 3, 3: 5, 4: 1, 5: 3, 6: 3, 7: 1, 8: 2, 9: 1, 10: 1, 11: 1, 12: 1, 13: 4}
    rows = {3: 1, 8: 5, 13: 2}
    assert list(published()) == [str(number) for number in range(1, 14)]
    for number, table in published().items():
        n = int(number)
        assert len(table["rows"]) == rows.get(n, 11)
        for of_row in table["rows"].values():
            assert len(of_row) == losses[n]
            for of_loss in of_row.values():
                assert len(of_loss) == figures[n]
                assert all(0 < value <= 240.32 for value in of_loss.values())


def test_published_figures_are_named_as_the_columns_ask():
    for number, table in published().items():
        printed = {column.printed for column in TABLES[number].columns}
        for of_row in table["rows"].values():
            assert all(set(of_loss) == printed for of_loss in of_row.values())


def sums_of(number):
    rows = published()[number]["rows"].values()
    return sum(value for row in rows for of_loss in row.values() for value in of_loss.values())


TOTALS = {
    **{"1": 664.34, "2": 692.45, "4": 1404.91, "5": 725.69, "6": 745.42, "7": 1393.69},
    **{"8": 4030.25, "9": 10189.09, "10": 8953.2, "11": 4076.56, "12": 3127.71, "13": 1753.42},
}


@pytest.mark.parametrize(("number", "total"), TOTALS.items())
def test_published_figures_add_up_to_those_of_the_paper(number, total):
    assert sums_of(number) == pytest.approx(total, abs=0.005)


def test_figures_that_two_tables_share_agree_but_where_a_remark_says_so():
    unequal = []
    for one, other in (("1", "5"), ("2", "6"), ("4", "7")):
        for place, row in published()[one]["rows"].items():
            for loss in set(row) & set(published()[other]["rows"][place]):
                if row[loss] != published()[other]["rows"][place][loss]:
                    unequal.append((one, other, place, loss))
    assert unequal == [("2", "6", "cifar100/resnet50", "FLSD-53")]
    assert all("cifar100/resnet50" in published()[number]["remarks"][0] for number in "26")


def test_rows_that_repeat_another_table_have_a_remark():
    repeated = []
    for one, other in (("1", "2"), ("5", "6"), ("9", "10"), ("11", "12")):
        for place, row in published()[one]["rows"].items():
            if list(row.values()) == list(published()[other]["rows"][place].values()):
                repeated.append((one, other, place))
    assert repeated == [
        ("1", "2", "cifar100/resnet50"),
        ("11", "12", "newsgroups20/global-pooling-cnn"),
    ]
    for *numbers, place in repeated:
        assert place in published()[numbers[1]]["remarks"][0]


# --- the authors' own models


@pytest.fixture(scope="module")
def own_models(real_data):
    logits = check.read(real_data / "logits").items()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "DRAWS", 2)
        return [line for (model, loss), each in logits for line in check.checks(model, loss, each)]


NOT_MET = {
    ("11", "CE", "mce"),
    ("13", "CE", "confident_post"),
    *(("13", "FLSD-53", f"confident{name}") for name in ("_pre", "_post")),
    *(("13", "FLSD-53", f"confident_accuracy{name}") for name in ("_pre", "_post")),
}


def test_logits_of_the_authors_meet_their_tables_to_the_last_digit(own_models):
    assert len(own_models) == 37
    assert {(c.table, c.loss, c.figure) for c in own_models if not c.is_met} == NOT_MET
    assert all(bool(c.note) != c.is_met for c in own_models)


def test_published_result_is_what_the_command_gives(own_models):
    rows = json.loads(check.RESULTS.read_text())["rows"]
    assert [row["is_met"] for row in rows] == [c.is_met for c in own_models]
    assert [row["ours"] for row in rows] == pytest.approx([c.ours for c in own_models], abs=2e-4)


def test_checks_are_printed_and_published(real_data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(check, "DRAWS", 1)
    monkeypatch.setattr(check, "RESULTS", tmp_path / "published_logits.json")
    main(["--logits", str(real_data / "logits"), "--publish"])
    assert "31 of 37 figures met" in capsys.readouterr().out
    result = json.loads((tmp_path / "published_logits.json").read_text())
    assert len(result["rows"]) == 37
    assert result["environment"]["keras"]
