"""Training: what a run folder holds, and a stopped run that goes on."""

import json

import keras
import numpy as np
import pytest

from examples.paper import data, runs
from examples.paper import train as training
from examples.paper.callbacks import LastWeights, average_weights
from examples.paper.data.tokens import END, PAD, START, TokenBatches, load_tokenizer
from examples.paper.networks.transformer import SIZES, transformer
from examples.paper.recipes import RECIPES, WarmUp, make_loss
from examples.paper.translation.evaluate import load


def weights_of(folder):
    return load(runs.read(folder)[0])[0].get_weights()


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
    finished, train_again, tmp_path, monkeypatch
):
    def stop(self, epoch, logs=None):
        self._began = 0.0
        if epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training.Stopwatch, "on_epoch_begin", stop)
        with pytest.raises(KeyboardInterrupt):
            train_again(tmp_path)
    (folder,) = tmp_path.iterdir()
    assert not json.loads((folder / "run.json").read_text())["finished"]
    train_again(tmp_path)
    run, whole = (runs.read(path)[0] for path in (tmp_path, finished))
    assert run.finished
    np.testing.assert_allclose(run.log()["loss"], whole.log()["loss"], rtol=1e-5)
    for got, wanted in zip(weights_of(folder), weights_of(finished), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def test_finished_run_is_left_as_it_is(finished, train_again, capsys):
    before = (finished / "log.csv").read_text()
    train_again(finished.parent)
    assert f"{finished} is finished" in capsys.readouterr().out
    assert (finished / "log.csv").read_text() == before


def test_run_of_other_settings_is_not_overwritten(finished, train_again):
    with pytest.raises(SystemExit, match=r"other settings \(epochs\).*Received"):
        train_again(finished.parent, epochs=3)


def test_run_of_an_older_folder_is_the_same_run(finished, train_again, tmp_path, capsys):
    settings = json.loads((finished / "run.json").read_text())
    for name, older in (("batch_size", "batch_tokens"), ("length", "max_length")):
        settings[older] = settings.pop(name)
    assert settings.pop("mixed_precision") is False
    assert settings.pop("objective") == "weighted-mean"
    (tmp_path / finished.name).mkdir()
    (tmp_path / finished.name / "run.json").write_text(
        json.dumps({**settings, "dtype_policy": "float32"})
    )
    train_again(tmp_path)
    assert "nothing to do" in capsys.readouterr().out
    older, ours = (runs.read(folder)[0] for folder in (tmp_path, finished))
    assert older.trained_with == ours.trained_with


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"vocabulary_size": 3}, "`--vocabulary-size`"),
        ({"length": 1}, "`--length` must be at least 2"),
        ({"crop": 4}, "`--crop` needs a data set of images"),
        ({"glove": "x"}, "`--glove` needs"),
        ({"snapshots": "all"}, "`--snapshots` needs"),
        ({"network": "resnet8"}, "network of pairs"),
        ({"dataset": "sst", "network": "tree-lstm"}, "`--size` needs a data set of translation"),
    ],
)
def test_options_that_cannot_be_are_named_and_nothing_is_written(
    train_again, tmp_path, wrong, names
):
    with pytest.raises(SystemExit, match=f"{names}.*Received"):
        train_again(tmp_path, **wrong)
    assert list(tmp_path.iterdir()) == []


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`--data-dir` must hold multi30k/train\.en\.gz"):
        data.load("multi30k", tmp_path)


def test_damaged_files_are_named(toy_data, tmp_path):
    (tmp_path / "multi30k").mkdir()
    for file in (toy_data / "multi30k").iterdir():
        (tmp_path / "multi30k" / file.name).write_bytes(file.read_bytes()[:40])
    with pytest.raises(ValueError, match=r"train\.en\.gz.*damaged"):
        data.load("multi30k", tmp_path)


def test_a_folder_of_data_is_never_downloaded_to(tmp_path, monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")

    def download(self, **_):
        pytest.fail("downloads")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", download)
    with pytest.raises(FileNotFoundError, match=r"`--data-dir` must hold wmt14_translate"):
        data.load("wmt14", tmp_path)


def test_recipe_of_wmt14_is_that_of_the_paper_of_the_transformer():
    words = ["--dataset", "wmt14", "--network", "transformer", "--loss", "CE"]
    options = training.parser().parse_args(words)
    recipe = training.recipe_of(options)
    found = training.settings_of(options, recipe)
    wanted = {"batch_size": 25_000, "vocabulary_size": 37_000, "warm_up": 4000, "size": "base"}
    assert found.items() >= wanted.items()
    assert recipe.keep == "average"
    assert recipe.translation.temperatures[0] == 0.1
    assert recipe.translation.temperatures[-1] == 10.0
    optimizer = recipe.make_optimizer().get_config()
    assert (optimizer["beta_1"], optimizer["beta_2"], optimizer["epsilon"]) == (0.9, 0.98, 1e-9)
    assert optimizer["learning_rate"]["config"] == {"width": 512, "warm_up": 4000}


def test_average_is_that_of_the_last_epochs_also_after_a_break(tmp_path):
    run = runs.Run(tmp_path, {"epochs": 4})
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    for epochs in (range(3), range(2, 4)):
        callback = LastWeights(run, 2)
        callback.set_model(model)
        for epoch in epochs:
            model.set_weights([np.full((1, 1), 10.0**epoch)])
            callback.on_epoch_end(epoch)
    average_weights(run, model)
    assert model.get_weights()[0].item() == pytest.approx((100 + 1000) / 2)


def test_run_says_which_pairs_it_is_of(finished, toy_data):
    (run,) = runs.read(finished)
    assert run.settings["data"] == data.load("multi30k", toy_data).fingerprint()
    assert run.settings["data"]["train"] == 27


def test_multi30k_has_the_sizes_of_the_paper_that_made_it(real_data):
    corpus = data.load("multi30k", real_data)
    sizes = [len(part) for part in (corpus.train, corpus.validation, corpus.test)]
    assert sizes == [29_000, 1_014, 1_000]
    assert len(corpus.train.source) == len(corpus.train.target)


def test_loss_is_the_mean_over_tokens_without_padding(rng):
    logits = rng.normal(size=(2, 3, 5)).astype("float32")
    labels, weights = rng.integers(0, 5, (2, 3)), np.array([[1, 1, 0], [1, 0, 0]], "float32")
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    nll = -np.log(np.take_along_axis(p, labels[..., None], -1))[weights > 0].mean()
    brier = ((p - np.eye(5)[labels]) ** 2).sum(-1)[weights > 0].mean()
    for name, wanted in (("CE", nll), ("Brier", brier)):
        loss = make_loss(name, RECIPES["multi30k"])
        assert float(loss(labels, logits, weights)) == pytest.approx(wanted, 1e-5)


def test_batches_hold_each_pair_once_and_change_by_epoch(toy_data, finished):
    tokenizer = load_tokenizer(finished)
    train = data.load("multi30k", toy_data).train
    batches = TokenBatches(train, tokenizer, 64, 32, seed=1)
    orders = []
    for epoch in (0, 0, 1):
        batches.epoch = epoch
        orders.append(np.concatenate([rows for _, rows in batches.order]))
        assert sorted(orders[-1]) == list(range(len(train)))
    assert (orders[0] == orders[1]).all()
    assert not (orders[0] == orders[2]).all()


def test_target_is_fed_one_token_late(toy_data, finished):
    tokenizer = load_tokenizer(finished)
    test = data.load("multi30k", toy_data).test
    batches = TokenBatches(test, tokenizer, 64, 64)
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


@pytest.mark.nightly
def test_base_is_the_size_of_its_paper():
    size = SIZES["base"]
    assert (size.blocks, size.width, size.heads, size.hidden) == (6, 512, 8, 2048)
    assert size.dropout == 0.1
    attention = 4 * (512**2 + 512)
    hidden = 2 * 512 * 2048 + 512 + 2048
    blocks = 6 * (attention + hidden + 2 * 1024) + 6 * (2 * attention + hidden + 3 * 1024)
    assert transformer(size, 100).count_params() == blocks + 100 * 512
