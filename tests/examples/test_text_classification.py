"""Rare topics: the exported model takes strings, and the page follows from the runs."""

import json

import backends
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(
    backends.BACKEND != "tensorflow", reason="TextVectorization is exported from TensorFlow alone"
)


@pytest.fixture
def study(example):
    return example("shared.study")


@pytest.mark.nightly
def test_it_serves_strings_and_measures_rare_topics(
    example, run_example, few_steps, written, tmp_path, rng, capfd, monkeypatch
):
    kept = ("cross-entropy", "class-balanced")
    topics, words = rng.integers(0, 4, 600), rng.integers(0, 9, (600, 2))
    written(
        tmp_path,
        [
            {"text": f"topic{t} " + " ".join(f"word{w}" for w in row), "label": int(t)}
            for t, row in zip(topics, words, strict=True)
        ],
    )
    out = tmp_path / "out"
    module = example("text_classification")
    monkeypatch.setattr(module, "SETTINGS", kept)
    run_example(module, "--quick", "--data-dir", tmp_path, "--out", out)
    runs = json.loads((out / "runs.json").read_text())["runs"]
    assert [run["setting"] for run in runs] == list(kept)
    for run in runs:
        assert run["common_recall"] > 0.6
        assert 0 <= run["rare_recall"] <= 1
        assert 0 <= run["rare_ece"] < 0.5
    printed = " ".join(capfd.readouterr().out.split())
    assert float(printed.rpartition("difference from the model: ")[2]) < 1e-5
    import tensorflow as tf

    served = tf.saved_model.load(out / "saved_model")
    probabilities = served.serve(tf.constant(["topic0 word1", "topic2 word7"])).numpy()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), [0, 2])


def test_a_folder_without_the_articles_is_refused(run_example, tmp_path):
    with pytest.raises(SystemExit, match=r"--data-dir must hold 20 Newsgroups as `.*jsonl\.gz`"):
        run_example("text_classification", "--data-dir", tmp_path, "--out", tmp_path / "out")


def test_published_page_follows_from_the_published_runs(example, study):
    results = json.loads((study.RESULTS / "text_classification.json").read_text())
    page = (study.PAGES / "text_classification.md").read_text()
    assert page == example("text_classification").STUDY.page(results)
    assert len({run["seed"] for run in results["runs"]}) >= 5
