"""The example of language models: it runs, names bad data, and its page follows from its runs."""

import gzip
import json

import numpy as np
import pytest

pytest.importorskip("keras_hub", reason="needs an extra")

FILES = ("train", "val", "test_2016_flickr")


@pytest.fixture
def captions(tmp_path):
    folder = tmp_path / "captions"
    folder.mkdir()
    for name in FILES:
        lines = [f"A {'dog' if i % 2 else 'man'} runs, {i % 7} times." for i in range(600)]
        (folder / f"{name}.en.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    return folder


@pytest.mark.nightly
def test_quick_form_trains_tunes_and_measures(run_example, real_data, tmp_path):
    folder = tmp_path / "out"
    options = ("--quick", "--data-dir", real_data / "multi30k", "--out", folder)
    module = run_example("language_model", *options)
    runs = json.loads((folder / "runs.json").read_text())["runs"]
    assert [run["setting"] for run in runs] == ["FLSD-53"]
    for run in runs:
        assert 1 < run["trained_perplexity"] < 200
        # T minimises the NLL of other captions of the same kind.
        assert run["trained_perplexity_at_t"] < run["trained_perplexity"]
        assert len(run["tuned_temperatures"]) == module.LENGTH
    assert (folder / "language_model.png").stat().st_size > 10_000


def test_captions_become_rows_of_words(example, captions):
    module = example("language_model")
    data = module.load(captions, quick=True)
    assert data["train"].shape == (module.BATCH * 4, module.LENGTH + 1)
    row = data["train"][0]
    assert [i for i in range(len(row)) if row[i] == 1] == [0, 5]
    assert np.all(row[1:5] > 2)
    assert np.all(row[6:] == module.PADDING)
    dogs = {tuple(row) for row in data["tuning"]}
    assert dogs.isdisjoint(tuple(row) for row in data["train"])


class Curves:
    """Statistics of tokens with known NLL and entropy: their difference is 0 at a known scale."""

    def __init__(self, best):
        self.best = best

    def of(self, tokens, scale):
        excess = np.log(np.broadcast_to(scale, (len(tokens), len(self.best))) / self.best)
        return {"neg_log_likelihood": 3 + excess, "entropy": np.full_like(excess, 3.0)}


def test_temperature_is_where_nll_is_entropy(example):
    module = example("language_model")
    best = np.linspace(0.6, 1.8, module.LENGTH)
    tokens = np.ones((6, module.LENGTH + 1), int)
    of_each = module.fitted_scale(Curves(best), tokens, axis=0)
    np.testing.assert_allclose(of_each, best, rtol=1e-3)
    of_all = module.fitted_scale(Curves(best), tokens, axis=None)
    np.testing.assert_allclose(of_all, np.exp(np.log(best).mean()), rtol=1e-3)


def test_a_folder_without_captions_says_what_it_must_hold(run_example, tmp_path):
    with pytest.raises(SystemExit, match=r"--data-dir must hold Multi30k's captions `train.en.gz`"):
        run_example("language_model", "--data-dir", tmp_path, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "damage", [b"", b"no gzip", gzip.compress(b"\xff")], ids=["empty", "no gzip", "no text"]
)
def test_damaged_captions_are_named(damage, run_example, captions, tmp_path):
    (captions / "val.en.gz").write_bytes(damage)
    with pytest.raises(SystemExit, match=r"val.en.gz is damaged: .* Get it again"):
        run_example("language_model", "--data-dir", captions, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_published_page_follows_from_the_published_runs(example):
    study = example("language_model").STUDY
    module = example("shared.study")
    results = json.loads((module.RESULTS / "language_model.json").read_text())
    assert study.page(results) == (module.PAGES / "language_model.md").read_text()
    assert (module.IMAGES / "language_model.png").is_file()
