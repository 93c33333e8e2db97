"""One run: its folder, its resumption after a kill, its refusals."""

import csv
import gc
import json
import re
import shutil
from contextlib import nullcontext
from dataclasses import replace

import keras
import numpy as np
import pytest

from examples.paper import data, tasks, train
from examples.paper.data import Data, Split
from examples.paper.runs import Run, of_data, read

COMMAND = ["--dataset", "newsgroups20", "--network", "global-pooling-cnn-small", "--verbose", "0"]
WORDS, LENGTH, CLASSES = 30, 12, 3
PARTS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def toy():
    """Texts whose class is the word that they hold most."""
    generator = np.random.default_rng(0)

    def split(size):
        y = generator.integers(CLASSES, size=size).astype("int32")
        x = generator.integers(2, WORDS, (size, LENGTH))
        x[:, ::2] = y[:, None] + 2
        return Split(x.astype("int32"), y)

    names, vocabulary = ("a", "b", "c"), tuple(map(str, range(WORDS)))
    parts = [split(size) for size in (70, 20, 30)]
    return Data("newsgroups20", *parts, class_names=names, vocabulary=vocabulary)


def give(toy, patch):
    """Make `data.load` give the texts."""

    def load(name, data_dir, limit, length=LENGTH):
        def cut(part):
            return Split(part.x[:, -length:], part.y)

        return replace(toy, **{name: cut(getattr(toy, name)) for name in PARTS})

    patch.setattr(data, "load", load)


@pytest.fixture
def texts(toy, monkeypatch, few_steps):
    give(toy, monkeypatch)
    return toy


@pytest.fixture(scope="module")
def finished(toy, tmp_path_factory, eagerly):
    """A run of texts of 8 words."""
    with pytest.MonkeyPatch.context() as patch, eagerly():
        give(toy, patch)
        return run(tmp_path_factory.mktemp("finished"), "--length", "8")


def keep_last(patch):
    recipe = replace(train.RECIPES["newsgroups20"], keep="last")
    patch.setitem(train.RECIPES, "newsgroups20", recipe)


def run(out, *arguments, loss="CE", epochs=3):
    """Run the command and return the run."""
    train.main([*COMMAND, "--loss", loss, "--epochs", f"{epochs}", "--out", f"{out}", *arguments])
    (found,) = read(out)
    return found


class Kill(keras.callbacks.Callback):
    """Stops the process, as it were, within an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch, self.now = epoch, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.now == self.epoch:
            raise KeyboardInterrupt


def killed(out, monkeypatch, *arguments, epoch, **options):
    callbacks_of = train.callbacks_of
    with monkeypatch.context() as patch:
        patch.setattr(train, "callbacks_of", lambda *given: [*callbacks_of(*given), Kill(epoch)])
        with pytest.raises(KeyboardInterrupt):
            run(out, *arguments, **options)
    gc.collect()  # here, where the warning on the log that stayed open is awaited


def test_a_finished_run_holds_logits_labels_log_model_and_settings(finished, texts):
    found = finished
    logits = found.logits()
    assert logits.val_logits.shape == (20, CLASSES)
    assert logits.test_logits.shape == (30, CLASSES)
    np.testing.assert_array_equal(logits.test_labels, texts.test.y)
    assert len(found.log()["loss"]) == 3
    assert found.finished
    assert found.settings["seconds"] > 0
    assert [found.settings["data"][part] for part in PARTS] == [70, 20, 30]
    assert re.fullmatch("[0-9a-f]{64}", found.settings["data"]["sha256"])
    assert {"python", "keras", "backend", "device", "commit"} <= found.settings.keys()
    model = keras.models.load_model(found.folder / "model.keras")
    again = keras.ops.convert_to_numpy(model(texts.test.x[:, -8:]))
    np.testing.assert_allclose(again, logits.test_logits, rtol=1e-4, atol=1e-4)


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore:Exception ignored:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("loss", ["CE", "AdaFocal"])
def test_a_killed_run_ends_as_an_unbroken_one(tmp_path, texts, monkeypatch, loss):
    whole = run(tmp_path / "whole", loss=loss, epochs=4)
    killed(tmp_path / "broken", monkeypatch, loss=loss, epochs=4, epoch=2)
    broken = run(tmp_path / "broken", loss=loss, epochs=4)
    assert len(broken.log()["loss"]) == 4
    for name in ("loss", "val_loss", "val_accuracy"):
        np.testing.assert_allclose(broken.log()[name], whole.log()[name], rtol=1e-3)
    np.testing.assert_allclose(
        broken.logits().test_logits, whole.logits().test_logits, rtol=1e-2, atol=1e-3
    )


def test_the_weights_of_the_best_validation_accuracy_are_tested(tmp_path, texts):
    found = run(tmp_path, epochs=5)
    logits = found.logits()
    accuracy = np.mean(logits.val_logits.argmax(-1) == logits.val_labels)
    assert accuracy == pytest.approx(found.log()["val_accuracy"].max())


def test_the_length_that_is_asked_for_is_the_length_of_the_texts(finished):
    assert finished.settings["length"] == 8
    assert keras.models.load_model(finished.folder / "model.keras").input_shape == (None, 8)


def test_epochs_without_validation_have_no_validation_figures(tmp_path, texts, monkeypatch):
    keep_last(monkeypatch)
    log = run(tmp_path, "--validate-every", "2", epochs=4).log()
    assert np.isnan(log["val_loss"]).tolist() == [True, False, True, False]
    assert np.isfinite(log["loss"]).all()


def test_the_best_epoch_needs_a_validation_of_every_epoch(tmp_path, texts):
    with pytest.raises(SystemExit, match="must be 1 for newsgroups20"):
        run(tmp_path, "--validate-every", "2")


def test_a_finished_run_is_not_trained_again(finished, texts, capsys):
    before = (finished.folder / "log.csv").read_text()
    again = run(finished.folder.parent, "--length", "8")
    assert (again.folder / "log.csv").read_text() == before
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.nightly
def test_a_finished_run_without_the_snapshots_that_are_asked_for_is_trained_again(
    tmp_path, texts, capsys
):
    before = run(tmp_path, epochs=2)
    again = run(tmp_path, "--snapshots", "all", epochs=2)
    assert [*again.snapshot_files()] == [1, 2]
    assert "trained again" in capsys.readouterr().out
    np.testing.assert_allclose(again.log()["loss"], before.log()["loss"], rtol=1e-3)
    run(tmp_path, "--snapshots", "all", epochs=2)
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            "--dataset tiny_imagenet --network resnet8 --loss FLSc-531 --epochs 1",
            "`--epochs` .* 3 for FLSc-531",
        ),
        (
            "--dataset sst --network tree-lstm --loss FLSc-532 --epochs 2",
            "`--epochs` .* 3 for FLSc-532",
        ),
        ("--dataset cifar10 --network resnet8 --loss CE --length 9", "`--length` .* texts"),
        ("--dataset sst --network tree-lstm --loss CE --crop 4", "`--crop` .* images"),
        ("--dataset sst --network tree-lstm --loss CE --no-augmentation", "`--no-aug.* images"),
        ("--dataset sst --network tree-lstm --loss CE --warm-up 4", "`--warm-up` .* translation"),
        ("--dataset cifar10 --network tree-lstm --loss CE", "`--network` must be .* of images"),
        (
            "--dataset newsgroups20 --network global-pooling-cnn --loss CE --length 20",
            "`--length` must be at least 21",
        ),
        (
            "--dataset newsgroups20 --network global-pooling-cnn-small --loss CE --length 4",
            "`--length` must be at least 5",
        ),
    ],
)
def test_an_option_that_cannot_be_is_named_before_anything_is_read_or_written(
    tmp_path, monkeypatch, words, says
):
    monkeypatch.setattr(data, "load", lambda *_, **__: pytest.fail("data are read"))
    with pytest.raises(SystemExit, match=says):
        train.main([*words.split(), "--out", f"{tmp_path / 'runs'}"])
    assert not (tmp_path / "runs").exists()


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore:Exception ignored:pytest.PytestUnraisableExceptionWarning")
def test_a_damaged_backup_is_named_in_one_line(tmp_path, texts, monkeypatch):
    killed(tmp_path, monkeypatch, epoch=1)
    (begun,) = read(tmp_path)
    for name in ("training_metadata.json", "latest.weights.h5"):
        whole = (begun.backup / name).read_bytes()
        (begun.backup / name).write_bytes(b"{")
        with pytest.raises(SystemExit) as stopped:
            run(tmp_path)
        (line,) = f"{stopped.value}".splitlines()
        assert f"{begun.backup / name}" in line
        (begun.backup / name).write_bytes(whole)
    del stopped
    gc.collect()


def test_a_run_that_diverges_says_so(tmp_path, texts, monkeypatch, capsys):
    def diverge(*_):
        return np.full((20, CLASSES), np.nan, "float32")

    monkeypatch.setattr(tasks, "predict", diverge)
    assert run(tmp_path, epochs=1).diverged
    assert "diverged" in capsys.readouterr().err


def test_other_settings_in_the_same_folder_are_refused_and_named(finished, texts):
    with pytest.raises(SystemExit, match=r"other settings \(epochs\)"):
        run(finished.folder.parent, "--length", "8", epochs=4)


def test_snapshots_hold_what_the_figures_need(tmp_path, texts, monkeypatch):
    keep_last(monkeypatch)
    found = run(tmp_path, "--snapshots", "1,3")
    first, last = found.snapshots()
    assert (first.epoch, last.epoch) == (1, 3)
    model = keras.models.load_model(found.folder / "model.keras")
    layer = model.get_layer("logits")
    logits = keras.ops.convert_to_numpy(model(texts.train.x))
    features = keras.ops.convert_to_numpy(keras.Model(model.input, layer.input)(texts.train.x))
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    np.testing.assert_allclose(last.train_logits, logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        last.train_feature_norms, np.linalg.norm(features, axis=-1), rtol=1e-4
    )
    np.testing.assert_array_equal(last.test_logits, found.logits().test_logits)
    assert last.kernel_norm == pytest.approx(np.sqrt(np.sum(kernel**2)), rel=1e-5)


def test_an_epoch_that_a_kill_made_run_twice_counts_once(tmp_path, finished):
    found = replace(finished, folder=tmp_path)
    shutil.copy(finished.folder / "log.csv", tmp_path)
    with open(found.folder / "log.csv") as file:
        rows = list(csv.reader(file))
    with open(found.folder / "log.csv", "a", newline="") as file:
        csv.writer(file).writerow(["2", *["7.0"] * (len(rows[0]) - 1)])
    assert found.log()["loss"].tolist()[2:] == [7.0]


def test_half_precision_gives_float32_logits(tmp_path, texts):
    try:
        logits = run(tmp_path, "--mixed-precision", loss="FLSD-53", epochs=1).logits().test_logits
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()


@pytest.mark.parametrize(
    ("option", "value"), [("--epochs", "0"), ("--limit", "-1"), ("--snapshots", "1,x")]
)
def test_numbers_below_1_are_refused(capsys, option, value):
    with pytest.raises(SystemExit):
        train.main([*COMMAND, "--loss", "CE", option, value])
    assert f"{option}: must be a whole number >= 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "crop", "objective"),
    [
        ((), 4, "sum"),
        (("--crop", "0"), 0, "sum"),
        (("--no-augmentation", "--objective", "mean"), None, "mean"),
    ],
)
def test_augmentation_and_objective_are_settings_of_the_run(words, crop, objective):
    named = ["--dataset", "cifar10", "--network", "resnet8", "--loss", "CE", *words]
    options = train.parser().parse_args(named)
    settings = train.settings_of(options, train.recipe_of(options))
    assert (settings["crop"], settings["objective"]) == (crop, objective)


def test_a_run_goes_on_with_the_data_that_it_began_with_alone(tmp_path, toy):
    begun = of_data(Run(tmp_path, {}), toy.fingerprint())
    assert of_data(begun, toy.fingerprint()) == begun
    y = np.append((toy.test.y[:1] + 1) % CLASSES, toy.test.y[1:])
    with pytest.raises(ValueError, match="other data"):
        of_data(begun, replace(toy, test=Split(toy.test.x, y)).fingerprint())


def test_an_unknown_loss_names_the_known_ones(capsys):
    with pytest.raises(SystemExit):
        train.main([*COMMAND, "--loss", "hinge"])
    assert "FLSD-53" in capsys.readouterr().err


def test_a_network_of_other_data_is_refused_before_anything_is_written(tmp_path, texts):
    arguments = ["--dataset", "newsgroups20", "--network", "resnet8", "--loss", "CE"]
    with pytest.raises(SystemExit, match=r"network of texts .* Received: 'resnet8'"):
        train.main([*arguments, "--out", f"{tmp_path / 'runs'}"])
    assert not (tmp_path / "runs").exists()


def test_word_vectors_are_those_of_the_file(tmp_path, texts):
    file = tmp_path / "glove.txt"
    file.write_text(f"3{' 0.5' * 100}\n29{' -1.0' * 100}\n")
    named = ["--dataset", "newsgroups20", "--network", "global-pooling-cnn", "--loss", "CE"]
    options = train.parser().parse_args([*named, "--glove", f"{file}"])
    task = train.task_of(Run(tmp_path, {"seed": 1}), train.recipe_of(options), texts, options)
    vectors = task.options["vectors"]
    assert vectors.shape == (WORDS, 100)
    assert set(vectors[3]) == {0.5}
    assert train.settings_of(options, train.RECIPES["newsgroups20"])["glove"] == "glove.txt"


def test_word_vectors_of_a_network_that_takes_none_are_refused(tmp_path, texts):
    with pytest.raises(SystemExit, match="needs --network global-pooling-cnn"):
        run(tmp_path / "runs", "--glove", "glove.txt")
    assert not (tmp_path / "runs").exists()


def test_absent_data_are_said_before_anything_is_written(tmp_path):
    with pytest.raises(SystemExit, match="--data-dir"):
        run(tmp_path / "runs", "--data-dir", f"{tmp_path}")
    assert not (tmp_path / "runs").exists()


def test_a_run_without_its_json_is_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"examples\.paper\.train"):
        read(tmp_path)


def test_settings_are_written_as_json(finished):
    settings = json.loads((finished.folder / "run.json").read_text())
    assert settings["loss"] == "CE"
    assert settings["epochs"] == 3


@pytest.mark.nightly
def test_the_sum_over_two_devices_is_that_of_the_whole_batch(mirrored):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 3)).astype("float32"), np.arange(8) % 3

    recipe = replace(train.RECIPES["cifar10"], optimizer=keras.optimizers.SGD)
    kernels = []
    for scope in (nullcontext(), mirrored.scope()):
        with scope:
            layer = keras.layers.Dense(3, kernel_initializer="zeros")
            model = keras.Sequential([keras.Input((3,)), layer])
            train.compile_model(model, "CE", recipe, xla=False)
        model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
        kernels.append(keras.ops.convert_to_numpy(layer.kernel))
    # From zero, the gradient is x' (1/3 - one-hot).
    wanted = -recipe.learning_rate * x.T @ (1 / 3 - np.eye(3)[y])
    for kernel in kernels:
        np.testing.assert_allclose(kernel, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.nightly
def test_a_run_on_several_devices_ends_with_finite_logits(tmp_path, texts, monkeypatch, mirrored):
    one = run(tmp_path / "one", epochs=2).logits()
    monkeypatch.setattr(train, "scope", mirrored.scope)
    two = run(tmp_path / "two", epochs=2).logits()
    assert np.isfinite(two.test_logits).all()
    assert two.test_logits.shape == one.test_logits.shape
