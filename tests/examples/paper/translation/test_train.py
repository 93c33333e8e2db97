"""Training: what a run folder holds, and a stopped run that goes on."""

import json

import keras
import numpy as np
import pytest

from examples.paper import runs
from examples.paper.translation import pairs
from examples.paper.translation import train as training
from examples.paper.translation.model import SIZES, WarmUp, transformer
from examples.paper.translation.tokens import END, PAD, START, Batches, load_tokenizer


def weights_of(folder):
    size = load_tokenizer(folder / "tokens.model").get_piece_size()
    model = transformer(SIZES["tiny"], size)
    model.load_weights(folder / "model.weights.h5")
    return model.get_weights()


def test_run_folder_says_what_was_run(finished):
    (run,) = runs.read(finished.parent)
    assert (run.dataset, run.network, run.loss, run.seed) == (
        "multi30k",
        "transformer",
        "LS-0.1",
        1,
    )
    assert run.finished
    assert run.settings["keras"] == keras.__version__
    assert len(run.log()["val_loss"]) == 2
    assert run.settings["seconds"] == pytest.approx(run.log()["seconds"].sum(), abs=0.06)
    assert not (finished / "backup").exists()


# A process that is killed closes its log; this one goes on.
@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_stopped_run_goes_on_as_if_it_had_not_been_stopped(
    finished, settings, tmp_path, monkeypatch
):
    def stop(self, epoch, logs=None):
        self._began = 0.0
        if epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training.Stopwatch, "on_epoch_begin", stop)
        with pytest.raises(KeyboardInterrupt):
            training.train(tmp_path, **settings)
    (folder,) = tmp_path.iterdir()
    assert not json.loads((folder / "run.json").read_text())["finished"]
    assert training.train(tmp_path, **settings) == folder
    run, whole = (runs.read(path)[0] for path in (tmp_path, finished))
    assert run.finished
    np.testing.assert_allclose(run.log()["loss"], whole.log()["loss"], rtol=1e-5)
    for got, wanted in zip(weights_of(folder), weights_of(finished), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def test_finished_run_is_left_as_it_is(finished, settings):
    before = (finished / "log.csv").read_text()
    assert training.train(finished.parent, **settings) == finished
    assert (finished / "log.csv").read_text() == before


def test_run_of_other_settings_is_not_overwritten(finished, settings):
    with pytest.raises(ValueError, match=r"other settings \(epochs\).*Received"):
        training.train(finished.parent, **{**settings, "epochs": 3})


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"loss": "XE"}, "FL-1"),
        ({"dataset": "wmt99"}, "multi30k"),
        ({"size": "huge"}, "small"),
        ({"dtype_policy": "float7"}, "mixed_bfloat16"),
        ({"vocabulary_size": 3}, "vocabulary_size"),
        ({"max_length": 1}, "max_length"),
    ],
)
def test_unknown_names_are_named(settings, tmp_path, wrong, names):
    with pytest.raises(ValueError, match=f"{names}.*Received"):
        training.train(tmp_path, **{**settings, **wrong})
    assert list(tmp_path.iterdir()) == []


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"multi30k/train\.en\.gz"):
        pairs.load_pairs("multi30k", tmp_path)


def test_a_folder_of_data_is_never_downloaded_to(tmp_path, monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")

    def download(self, **_):
        pytest.fail("downloads")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", download)
    with pytest.raises(FileNotFoundError, match=r"`data_dir` must hold wmt14_translate"):
        pairs.load_pairs("wmt14", tmp_path)


def test_run_says_which_pairs_it_is_of(finished, toy_data):
    (run,) = runs.read(finished)
    assert run.settings["data"] == pairs.load_pairs("multi30k", toy_data).fingerprint()
    assert run.settings["data"]["train"] == 27


def test_multi30k_has_the_sizes_of_the_paper_that_made_it(real_data):
    corpus = pairs.load_pairs("multi30k", real_data)
    sizes = [len(part) for part in (corpus.train, corpus.validation, corpus.test)]
    assert sizes == [29_000, 1_014, 1_000]
    assert len(corpus.train.source) == len(corpus.train.target)


def test_loss_is_the_mean_over_tokens_without_padding(rng):
    logits = rng.normal(size=(2, 3, 5)).astype("float32")
    labels, weights = rng.integers(0, 5, (2, 3)), np.array([[1, 1, 0], [1, 0, 0]], "float32")
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    wanted = -np.log(np.take_along_axis(p, labels[..., None], -1))[weights > 0].mean()
    assert float(training.make_loss("CE")(labels, logits, weights)) == pytest.approx(wanted, 1e-5)


def test_batches_hold_each_pair_once_and_change_by_epoch(toy_data, finished):
    tokenizer = load_tokenizer(finished / "tokens.model")
    train = pairs.load_pairs("multi30k", toy_data).train
    batches = Batches(train, tokenizer, 64, 32, seed=1)
    orders = []
    for epoch in (0, 0, 1):
        batches.shuffle(epoch)
        orders.append(np.concatenate([rows for _, rows in batches.order]))
        assert sorted(orders[-1]) == list(range(len(train)))
    assert (orders[0] == orders[1]).all()
    assert not (orders[0] == orders[2]).all()


def test_target_is_fed_one_token_late(toy_data, finished):
    tokenizer = load_tokenizer(finished / "tokens.model")
    test = pairs.load_pairs("multi30k", toy_data).test
    batches = Batches(test, tokenizer, 64, 64)
    texts = set()
    for index in range(len(batches)):
        inputs, labels, weights = batches[index]
        assert inputs["source"].shape == labels.shape == weights.shape
        np.testing.assert_array_equal(weights, labels != PAD)
        for fed, wanted in zip(inputs["target"], labels, strict=True):
            ids = wanted[wanted != PAD].tolist()
            if ids:
                assert ids[-1] == END
                assert fed[: len(ids)].tolist() == [START, *ids[:-1]]
                texts.add(tokenizer.decode(ids))
    assert texts == set(test.target)


def test_learning_rate_rises_then_falls_as_one_over_the_root():
    rate = WarmUp(512, 4000)
    steps = np.array([0, 1, 3999, 15_999])
    wanted = 512**-0.5 * np.minimum((steps + 1) ** -0.5, (steps + 1) * 4000**-1.5)
    np.testing.assert_allclose([float(rate(step)) for step in steps], wanted, rtol=1e-5)
    assert WarmUp.from_config(rate.get_config()).get_config() == rate.get_config()


def test_base_is_the_size_of_its_paper():
    size = SIZES["base"]
    assert (size.blocks, size.width, size.heads, size.hidden) == (6, 512, 8, 2048)
    assert size.dropout == 0.1
    attention = 4 * (512**2 + 512)
    hidden = 2 * 512 * 2048 + 512 + 2048
    blocks = 6 * (attention + hidden + 2 * 1024) + 6 * (2 * attention + hidden + 3 * 1024)
    assert transformer(size, 100).count_params() == blocks + 100 * 512
