"""Several labels per article: labels, figures and maps of hand-made cases, and the quick form."""

import gzip
import json

import numpy as np
import pytest

GROUPS = ("rec.autos", "rec.sport.hockey", "sci.space")


@pytest.fixture
def multi_label(example):
    return example("multi_label")


@pytest.fixture
def folder(multi_label, tmp_path):
    def written(groups):
        articles = [{"text": f"words of {g}", "label": 0, "group": g} for g in groups]
        with gzip.open(tmp_path / multi_label.FILE, "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(article) + "\n" for article in articles)
        return tmp_path

    return written


def test_words_of_a_group_are_the_labels(multi_label):
    names, y = multi_label.labels_of([{"group": group} for group in GROUPS])
    assert names == ["autos", "hockey", "rec", "sci", "space", "sport"]
    np.testing.assert_array_equal(y, [[1, 0, 1, 0, 0, 0], [0, 1, 1, 0, 0, 1], [0, 0, 0, 1, 1, 0]])


@pytest.mark.parametrize("group", [None, 3, "", "rec..autos"])
def test_an_article_without_a_group_is_named(group, multi_label):
    with pytest.raises(SystemExit, match=r"Article 1 must have a `group` such as 'rec.autos'"):
        multi_label.labels_of([{"group": "sci.med"}, {"group": group}])


def test_a_label_that_a_part_lacks_is_named(multi_label, folder):
    with pytest.raises(SystemExit, match=r"All or none of 3 articles have the label 'rec'"):
        multi_label.load(folder(["rec.autos"] * 5 + ["rec.sport"] * 4), (3, 3, 3), 0)


def test_missing_articles_say_what_the_folder_must_hold(multi_label, tmp_path):
    with pytest.raises(SystemExit, match=r"--data-dir must hold 20 Newsgroups as"):
        multi_label.load(tmp_path, (1, 1, 1), 0)


def test_figures_are_those_of_the_definitions(multi_label, rng):
    logits = rng.normal(size=(200, 3)).astype("float32")
    y = (rng.random((200, 3)) < 0.3).astype("float32")
    p = 1 / (1 + np.exp(-logits.astype("float64")))
    nll = -np.mean(y * np.log(p) + (1 - y) * np.log1p(-p))
    bins = np.ceil(15 * p) - 1
    gaps = [abs((p - y)[:, k][bins[:, k] == b].sum()) / 200 for k in range(3) for b in range(15)]
    measured = multi_label.measure(y, logits)
    assert measured == pytest.approx({"nll": nll, "ece": sum(gaps) / 3}, rel=1e-5)


def test_a_platt_map_of_each_label_mends_its_own_shift(multi_label, rng):
    true = rng.normal(size=(4000, 2)) * 2
    y = (rng.random(true.shape) < 1 / (1 + np.exp(-true))).astype("float32")
    logits = (true * [2.0, 0.5] + [1.0, -1.0]).astype("float32")
    np.testing.assert_allclose(multi_label.platt(logits, y, logits), true, atol=0.5)


@pytest.mark.nightly
# After two epochs the logits of a label may all lie in [0, 1], and a temperature at its bound.
@pytest.mark.filterwarnings("ignore:.from_logits. must say", "ignore:.*bound")
def test_quick_form_measures_and_draws(multi_label, real_data, monkeypatch, few_steps, tmp_path):
    words = f"--data-dir {real_data / 'newsgroups20'} --quick --out {tmp_path}"
    monkeypatch.setattr("sys.argv", ["multi_label.py", *words.split()])
    kept = {"asymmetric": multi_label.SETTINGS["asymmetric"]}
    monkeypatch.setattr(multi_label, "SETTINGS", kept)
    multi_label.main()
    (run,) = json.loads((tmp_path / "runs.json").read_text())["runs"]
    assert len(run["temperatures"]) == len(run["shares"]) == 33
    assert run["nll_each"] < run["nll"]
    assert 0 < run["map"] < 1
    assert (tmp_path / "multi_label.png").stat().st_size > 10_000


def test_published_page_follows_from_the_published_runs(multi_label):
    from shared.study import PAGES, RESULTS

    results = json.loads((RESULTS / "multi_label.json").read_text())
    assert (PAGES / "multi_label.md").read_text() == multi_label.STUDY.page(results)
    command = f"python examples/multi_label.py {multi_label.STUDY.command} --publish"
    assert results["made_by"] == command
