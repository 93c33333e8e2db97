"""Train one network of the paper: `python -m examples.paper.train --help`.

A run is a folder (see `runs`). The same command again goes on where a killed run stood, and does
nothing where the run is finished.
"""

import argparse
import shutil
import sys
from collections.abc import Container
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from examples.paper import data, networks
from examples.paper.arguments import not_negative, positive
from examples.paper.callbacks import (
    FreshDraws,
    LastWeights,
    Snapshots,
    Stopwatch,
    average_weights,
    backup,
    best_weights,
)
from examples.paper.data import Corpus, Data, FollowEpochs
from examples.paper.data.glove import glove
from examples.paper.files import DamagedFileError, load_weights
from examples.paper.networks.transformer import SIZES
from examples.paper.recipes import (
    IMAGES,
    LAST_EPOCHS,
    LOSSES,
    OBJECTIVES,
    RECIPES,
    Recipe,
    gamma_callbacks,
    make_loss,
)
from examples.paper.runs import Run, finish, folder_of, of_data, restart, save, start
from examples.paper.tasks import Classification, Task, Translation
from keras_focal import metrics

OF_TRANSLATION = ("size", "vocabulary_size", "warm_up")
"""Options of translation alone, by the names of `recipes.OfTranslation`."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    options = parser().parse_args(arguments)
    keras.utils.set_random_seed(options.seed)
    if options.mixed_precision:
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        check(options)
        recipe = recipe_of(options)
        check_recipe(options, recipe)
        settings = settings_of(options, recipe)
        folder = folder_of(options.out, settings)
        run = start(folder, settings)
        missing = missing_snapshots(run, options.snapshots)
        if run.finished and not missing:
            print(f"{folder} is finished: nothing to do.")
            return
        dataset = load(options)
        run = of_data(run, dataset.fingerprint())
        task = task_of(run, recipe, dataset, options)
    except (ImportError, OSError, ValueError) as error:
        raise SystemExit(str(error)) from error
    if run.finished:
        print(f"{folder} is trained again, to keep snapshots of epochs {missing}.")
        run = restart(run)
    save(run)
    try:
        with scope():
            fit_run(run, recipe, task, options)
    except DamagedFileError as error:
        raise SystemExit(str(error)) from error


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.paper.train", description=__doc__.splitlines()[0]
    )
    add = parser.add_argument
    add("--dataset", required=True, choices=RECIPES)
    add("--network", required=True, choices=networks.NETWORKS)
    add("--loss", required=True, choices=LOSSES)
    add("--seed", type=int, default=1)
    add("--epochs", type=positive, help="epochs; schedules are scaled (default: the paper's)")
    add(
        "--batch-size",
        type=positive,
        help="samples in a step, of translation positions (default: the paper's)",
    )
    add("--objective", choices=OBJECTIVES, help="mean or sum of a batch (default: the authors')")
    augmentation = parser.add_mutually_exclusive_group()
    augmentation.add_argument(
        "--crop",
        type=not_negative,
        help="pixels of zeros around an image that is cropped and flipped at random; 0 flips alone "
        "(default: the paper's 4)",
    )
    augmentation.add_argument(
        "--no-augmentation", action="store_true", help="train on the images as they are"
    )
    add("--limit", type=positive, help="train on the first LIMIT training samples only")
    add(
        "--length",
        type=positive,
        help="words of a text of 20 Newsgroups (default: 1000), or tokens of a training sentence "
        "of translation (default: 256 of WMT14, 32 of Multi30k)",
    )
    add("--size", choices=SIZES, help="of a transformer (default: base for WMT14)")
    add("--vocabulary-size", type=positive, help="byte pairs of translation (default: 37,000)")
    add("--warm-up", type=positive, help="steps of a rising learning rate (default: 4000)")
    add("--validate-every", type=positive, default=1, help="epochs from one validation to the next")
    add("--glove", type=Path, help="file of word vectors that global-pooling-cnn starts from")
    add("--data-dir", type=Path, help="folder of local copies (default: download)")
    add("--out", type=Path, default=Path("runs"), help="folder of the runs (default: runs)")
    add("--snapshots", type=epochs_of, help='epochs to keep for the figures: "1,10,20" or "all"')
    add("--mixed-precision", action="store_true", help="compute in bfloat16")
    add("--xla", action="store_true", help="compile the steps with XLA, also on CPUs")
    add("--tensorboard", action="store_true", help="write TensorBoard events")
    add("--verbose", type=int, default=1, choices=(0, 1, 2), help="progress, as in Keras")
    return parser


def recipe_of(options: argparse.Namespace) -> Recipe:
    """Return the recipe of the data set with what the options change of it."""
    recipe = RECIPES[options.dataset].scaled(options.epochs, options.batch_size)
    recipe = _changed(recipe, options, ("crop", "objective"))
    if recipe.translation is not None:
        of = _changed(recipe.translation, options, (*OF_TRANSLATION, "length"))
        recipe = replace(recipe, translation=of)
    return replace(recipe, crop=None) if options.no_augmentation else recipe


def _changed(what: Any, options: argparse.Namespace, names: tuple[str, ...]) -> Any:
    """Return a part of a recipe with those of the options that were given."""
    given = {name: getattr(options, name) for name in names}
    return replace(what, **{name: value for name, value in given.items() if value is not None})


def check(options: argparse.Namespace) -> None:
    """Raise an error if an option is not for the data set or the network.

    Raises:
        ValueError: Which option, and what it needs.
    """
    dataset, network = options.dataset, options.network
    kind = data.KINDS[dataset]
    networks.check(network, kind)
    needs = {
        "crop": ("a data set of images", dataset in IMAGES),
        "no_augmentation": ("a data set of images", dataset in IMAGES),
        "length": ("the texts of newsgroups20 or translation", kind in ("texts", "pairs")),
        "glove": ("--network global-pooling-cnn", network == "global-pooling-cnn"),
        "snapshots": ("one prediction for each sample, as translation has not", kind != "pairs"),
        **dict.fromkeys(OF_TRANSLATION, ("a data set of translation", kind == "pairs")),
    }
    for name, (needed, is_met) in needs.items():
        if getattr(options, name) not in (None, False) and not is_met:
            received = network if name == "glove" else dataset
            raise ValueError(f"`--{name.replace('_', '-')}` needs {needed}. Received: {received}")
    fewest = 2 if kind == "pairs" else networks.FEWEST_WORDS.get(network, 1)
    if options.length is not None and options.length < fewest:
        raise ValueError(
            f"`--length` must be at least {fewest} for {network}. Received: {options.length}"
        )


def check_recipe(options: argparse.Namespace, recipe: Recipe) -> None:
    """Raise an error if a recipe cannot be followed as the options ask for it.

    Raises:
        ValueError: Which option, and what it must be.
    """
    dataset, loss = options.dataset, options.loss
    if recipe.keep == "best" and options.validate_every != 1:
        raise ValueError(
            f"`--validate-every` must be 1 for {dataset}, of which the best epoch on the "
            f"validation data is kept. Received: {options.validate_every}"
        )
    fewest = RECIPES[dataset].fewest_epochs(loss)
    if recipe.epochs < fewest:
        raise ValueError(
            f"`--epochs` must be at least {fewest} for {loss} on {dataset}, so that each of its "
            f"gammas has an epoch. Received: {recipe.epochs}"
        )


def missing_snapshots(run: Run, wanted: Container[int] | None) -> list[int]:
    """Return the epochs of a run whose snapshots are wanted and absent."""
    have, epochs = run.snapshot_files(), range(1, run.settings["epochs"] + 1)
    return [epoch for epoch in epochs if epoch in (wanted or ()) and epoch not in have]


def epochs_of(text: str) -> Container[int]:
    """Return the epochs of "1,10,20" or "all", the first being 1."""
    return range(1, sys.maxsize) if text == "all" else {*map(positive, text.split(","))}


def settings_of(options: argparse.Namespace, recipe: Recipe) -> dict[str, Any]:
    """Return what decides the outcome of a run: `runs.SETTINGS`, and what it is of."""
    names = ("dataset", "network", "loss", "seed", "limit", "length", "mixed_precision")
    of_recipe = ("epochs", "batch_size", "crop", "objective")
    return {
        **{name: getattr(options, name) for name in names},
        "glove": options.glove and options.glove.name,
        **{name: getattr(recipe, name) for name in of_recipe},
        **{
            name: getattr(recipe.translation, name, getattr(options, name))
            for name in (*OF_TRANSLATION, "length")
        },
    }


def load(options: argparse.Namespace) -> Data | Corpus:
    """Return the data that the options ask for."""
    is_of_texts = data.KINDS[options.dataset] == "texts" and options.length is not None
    extra = {"length": options.length} if is_of_texts else {}
    return data.load(options.dataset, options.data_dir, options.limit, **extra)


def task_of(run: Run, recipe: Recipe, dataset: Data | Corpus, options: argparse.Namespace) -> Task:
    """Return what a run makes of its data.

    Raises:
        ValueError: If word vectors or tokens cannot be had as the options ask for.
    """
    if isinstance(dataset, Corpus):
        return Translation(run, recipe, dataset)
    extra = {}
    if options.glove is not None:
        extra = {"vectors": glove(dataset.vocabulary, options.glove)}
    return Classification(run, recipe, dataset, extra)


def scope() -> AbstractContextManager:
    """Return the context to build and train in: every GPU where there are several."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if len(tf.config.list_logical_devices("GPU")) > 1:
            return tf.distribute.MirroredStrategy().scope()
    elif keras.backend.backend() == "jax":
        devices = [name for name in keras.distribution.list_devices() if "cpu" not in name]
        if len(devices) > 1:
            keras.distribution.set_distribution(keras.distribution.DataParallel())
    return nullcontext()


def compile_model(model: keras.Model, loss: str, recipe: Recipe, *, xla: bool) -> None:
    """Compile a model for a loss and a recipe, in `scope`."""
    model.compile(
        optimizer=recipe.make_optimizer(),
        loss=make_loss(loss, recipe),
        weighted_metrics=[
            keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
            calibration_metric(loss),
        ],
        jit_compile=True if xla else "auto",
    )


def fit_run(run: Run, recipe: Recipe, task: Task, options: argparse.Namespace) -> None:
    """Train a run to its end and write what comes of it."""
    task.prepare(run.folder)
    model = task.network(run.network)
    compile_model(model, run.loss, recipe, xla=options.xla)
    model.fit(
        task.batches,
        epochs=recipe.epochs,
        shuffle=False,
        validation_freq=options.validate_every,
        callbacks=[FollowEpochs(task.batches), *callbacks_of(run, recipe, task, options)],
        verbose=options.verbose,
        **task.validation,
    )
    if recipe.keep == "best":
        load_weights(model, run.folder / "best.weights.h5")
    elif recipe.keep == "average":
        average_weights(run, model)
    if not task.write(run, model):
        print(f"{run.folder} diverged: what it gives is not finite.", file=sys.stderr)
    finish(run)
    (run.folder / "best.weights.h5").unlink(missing_ok=True)
    shutil.rmtree(run.folder / "last", ignore_errors=True)


def calibration_metric(loss: str) -> keras.metrics.Metric:
    """Return what is logged of calibration: ECE, but AdaFocal reads the bins of AdaECE."""
    if loss == "AdaFocal":
        return metrics.AdaECE(from_logits=True)
    return metrics.ECE(from_logits=True)


def callbacks_of(
    run: Run, recipe: Recipe, task: Task, options: argparse.Namespace
) -> list[keras.callbacks.Callback]:
    """Return the callbacks of a run. The backup is last: what it has seen, the others wrote."""
    found = [
        FreshDraws(run.seed),
        *gamma_callbacks(run.loss, recipe, run.folder),
        Stopwatch(),
        keras.callbacks.CSVLogger(run.folder / "log.csv", append=True),
    ]
    if recipe.learning_rate is not None:
        rate = recipe.learning_rate_at
        found.insert(0, keras.callbacks.LearningRateScheduler(lambda epoch, _: rate(epoch)))
    if recipe.keep == "best":
        found.append(best_weights(run))
    elif recipe.keep == "average":
        found.append(LastWeights(run, LAST_EPOCHS))
    if options.snapshots is not None:
        found.append(Snapshots(run.folder / "snapshots", options.snapshots, task.dataset))
    if options.tensorboard:
        found.append(keras.callbacks.TensorBoard(run.folder / "tensorboard"))
    return [*found, backup(run)]


if __name__ == "__main__":
    main()
