"""Ranking: candidates are what they should be, all losses learn, the page follows from the runs."""

import json

import numpy as np
import pytest

pytest.importorskip("keras_rs", reason="needs the extra `examples`")


@pytest.fixture
def reranker(example):
    return example("reranker")


def test_threads_are_articles_of_one_group_and_subject(reranker):
    subjects = [("a", "Cheap bikes"), ("a", "Re: cheap  BIKES!"), ("b", "cheap bikes"), ("a", "x")]
    articles = [{"group": group, "subject": subject} for group, subject in subjects]
    assert reranker.threads_of(articles) == {
        ("a", "cheap bikes"): [0, 1],
        ("b", "cheap bikes"): [2],
        ("a", "x"): [3],
    }


def test_no_article_of_the_thread_is_taken_for_irrelevant(reranker, rng):
    groups = np.repeat(["a", "b"], 60)
    own = [3, 5, 8, 13]
    found = reranker.candidates(own[0], own, groups, rng)
    relevant, others = np.split(found, [reranker.RELEVANT])
    assert len(np.unique(found)) == len(found) == reranker.CANDIDATES
    assert set(relevant) <= set(own)
    assert not set(others) & set(own)
    assert (groups[found[: reranker.CANDIDATES // 2]] == "a").all()


@pytest.mark.nightly
def test_it_ranks_articles_by_what_they_share_with_the_subject(
    reranker, run_example, few_steps, written, tmp_path, rng, monkeypatch
):
    kept = {name: reranker.LOSSES[name] for name in ("focal", "pairwise")}
    monkeypatch.setattr(reranker, "LOSSES", kept)
    names = rng.permutation([f"{a}{b}{c}" for a in "abcdefgh" for b in "ijklmn" for c in "opqrst"])
    articles = [
        {
            "group": f"group{thread % 4}",
            "subject": f"{'Re: ' * (post > 0)}{names[thread]} {names[thread + 130]}",
            "text": " ".join([names[thread], names[thread + 130], *rng.choice(names, 6)]),
        }
        for thread in range(130)
        for post in range(2)
    ]
    written(tmp_path, articles)
    out = tmp_path / "out"
    run_example(reranker, "--quick", "--data-dir", tmp_path, "--out", out)
    runs = json.loads((out / "runs.json").read_text())["runs"]
    assert [run["setting"] for run in runs] == list(kept)
    for run in runs:
        assert run["ndcg"] > 0.4
        assert run["nll_platt"] < 0.3
        assert 0 <= run["ece_platt"] < 0.1
    assert (out / "reranker.png").stat().st_size > 10_000


def test_articles_without_threads_are_refused(run_example, written, tmp_path):
    written(tmp_path, [{"group": "a", "subject": f"no {n}", "text": ""} for n in range(9)])
    with pytest.raises(SystemExit, match="must hold 120 threads, 2 articles or more with the same"):
        run_example("reranker", "--quick", "--data-dir", tmp_path, "--out", tmp_path / "out")


def test_articles_without_a_subject_are_refused(run_example, written, tmp_path):
    written(tmp_path, [{"text": "", "label": 0, "group": "a"}])
    with pytest.raises(SystemExit, match="an article without `text` or `group` or `subject`"):
        run_example("reranker", "--quick", "--data-dir", tmp_path, "--out", tmp_path / "out")


def test_published_page_follows_from_the_published_runs(reranker, example):
    study = example("shared.study")
    results = json.loads((study.RESULTS / "reranker.json").read_text())
    assert (study.PAGES / "reranker.md").read_text() == reranker.STUDY.page(results)
    assert len({run["seed"] for run in results["runs"]}) >= 5
