"""Rare classes: thinning keeps its ratio, remedies do what they say, the page follows the runs."""

import json

import keras
import numpy as np
import pytest

pytest.importorskip("imblearn", reason="needs the extra `examples`")


@pytest.fixture
def imbalance(example):
    return example("imbalance")


@pytest.fixture
def split(example):
    labels = np.repeat(np.arange(4), [400, 300, 350, 250])
    return example("shared.thinned").thin(labels, (1, 3), train=150, held_out=20, test=60, seed=0)


def test_rare_classes_have_one_training_row_where_others_have_fifty(split):
    np.testing.assert_array_equal(split.counts, [150, 3, 150, 3])
    assert [len(part) for part in (split.validation, split.test)] == [80, 240]
    every = np.concatenate([split.train, split.validation, split.test])
    assert len(np.unique(every)) == len(every)


def test_weighted_rows_have_the_classes_of_the_training_rows(split):
    weights = split.weights(split.test)
    by_class = np.bincount(split.labels[split.test], weights)
    np.testing.assert_allclose(by_class / by_class.sum(), split.counts / split.counts.sum())
    assert weights.mean() == pytest.approx(1)


def test_a_class_that_is_too_small_is_named(example):
    labels = np.repeat([0, 1], [200, 100])
    with pytest.raises(ValueError, match=r"Class 1 has too few rows to split\. Received: 100\."):
        example("shared.thinned").thin(labels, (), train=100, held_out=0, test=9, seed=0)


@pytest.mark.parametrize("name", ["over-sampling", "under-sampling", "SMOTE"])
def test_resampled_classes_are_equally_large(name, imbalance, rng):
    counts = np.array([40, 4])
    x, y = rng.normal(size=(44, 3)), np.repeat([0, 1], counts)
    _, sampled = imbalance.remedies(counts, 0)[name]["sampler"].fit_resample(x, y)
    np.testing.assert_array_equal(
        np.bincount(sampled), [4, 4] if name == "under-sampling" else [40, 40]
    )


def test_logit_adjustment_adds_log_shares_to_train_and_none_to_predict(imbalance, rng):
    counts = np.array([40, 4])
    remedy = imbalance.remedies(counts, 0)["logit adjustment"]
    network, trainer = imbalance.compiled(3, counts, remedy)
    x = rng.normal(size=(5, 3)).astype("float32")
    added = keras.ops.convert_to_numpy(trainer(x) - network(x))
    np.testing.assert_allclose(added, np.tile(np.log(counts / 44), (5, 1)), rtol=1e-4)


def test_batches_have_one_size_and_every_row_once_in_a_pass(imbalance):
    batches = imbalance.Batches(np.arange(10), np.arange(10), steps=5, seed=0, batch_size=4)
    rows = np.concatenate([batches[step][0] for step in range(len(batches))])
    assert rows.shape == (20,)
    np.testing.assert_array_equal(np.sort(rows.reshape(2, 10), axis=1), [np.arange(10)] * 2)


def test_figures_of_weighted_rows_are_those_of_repeated_rows(imbalance, rng):
    logits, y = rng.normal(size=(60, 3)).astype("float32"), np.arange(60) % 3
    weights = rng.integers(1, 4, 60)
    found = imbalance.measure(logits, y, weights.astype("float32"), 1.0)
    repeated = imbalance.measure(
        np.repeat(logits, weights, axis=0), np.repeat(y, weights), np.ones(weights.sum()), 1.0
    )
    # The softmax of two copies of a row may differ in the last bit: then their ranks do too.
    for name, rel in (("auprc", 2e-3), ("ece", 1e-5), ("nll", 1e-5)):
        assert found[name] == pytest.approx(repeated[name], rel=rel)


@pytest.mark.nightly
def test_it_compares_remedies_on_digits(
    imbalance, run_example, few_steps, monkeypatch, tmp_path, capsys
):
    kept = ("cross-entropy", "SMOTE", "focal, balanced")
    every = imbalance.remedies
    monkeypatch.setattr(imbalance, "remedies", lambda *a: {name: every(*a)[name] for name in kept})
    digits = imbalance.tasks(None)["Digits"]
    monkeypatch.setattr(imbalance, "tasks", lambda folder: {"Digits": digits})
    monkeypatch.setattr(imbalance, "step_ratio", lambda *a: 1.0)
    run_example(imbalance, "--quick", "--out", tmp_path)
    runs = json.loads((tmp_path / "runs.json").read_text())["runs"]
    assert [run["setting"] for run in runs] == [f"Digits: {name}" for name in kept]
    for run in runs:
        assert 0.1 < run["balanced"] <= 1
        assert 0.1 < run["auprc"] <= 1
        assert 0 < run["nll_at_t"] < np.log(10)
    assert "Digits: SMOTE" in capsys.readouterr().out
    assert (tmp_path / "imbalance.png").stat().st_size > 10_000


def test_a_folder_without_the_articles_is_refused(run_example, tmp_path):
    with pytest.raises(SystemExit, match=r"--data-dir must hold 20 Newsgroups as `.*jsonl\.gz`"):
        run_example("imbalance", "--quick", "--data-dir", tmp_path, "--out", tmp_path / "out")


def test_published_page_follows_from_the_published_runs(imbalance, example):
    study = example("shared.study")
    results = json.loads((study.RESULTS / "imbalance.json").read_text())
    page = (study.PAGES / "imbalance.md").read_text()
    assert page == imbalance.STUDY.page(results, imbalance.verdict(results["runs"]))
    assert len({run["seed"] for run in results["runs"]}) >= 5
    assert study.data_sets(results["runs"]) == ["Digits", "Breast cancer", "20 Newsgroups"]
