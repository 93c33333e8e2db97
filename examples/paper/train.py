"""Train one network of the paper: `python -m examples.paper.train --help`.

A run is a folder (see `runs`). The same command again goes on where a killed run stood, and does
nothing where the run is finished.
"""

import argparse
import sys
from collections.abc import Container
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from examples.paper import data, networks
from examples.paper.arguments import not_negative, positive
from examples.paper.callbacks import (
    PREDICT_BATCH,
    FreshDraws,
    Snapshots,
    Stopwatch,
    backup,
    best_weights,
    first,
    predict,
)
from examples.paper.data import Batches, Data, FollowEpochs, crop_and_flip
from examples.paper.data.glove import glove
from examples.paper.files import DamagedFileError, load_weights
from examples.paper.recipes import (
    IMAGES,
    LOSSES,
    OBJECTIVES,
    RECIPES,
    Recipe,
    gamma_callbacks,
    make_loss,
)
from examples.paper.runs import Logits, Run, finish, folder_of, of_data, restart, save, start
from keras_focal import metrics


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    options = parser().parse_args(arguments)
    keras.utils.set_random_seed(options.seed)
    if options.mixed_precision:
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    recipe = recipe_of(options)
    folder = folder_of(options.out, options.dataset, options.network, options.loss, options.seed)
    try:
        check(options, recipe)
        run = start(folder, settings_of(options, recipe))
        missing = missing_snapshots(run, options.snapshots)
        if run.finished and not missing:
            print(f"{folder} is finished: nothing to do.")
            return
        dataset = load(options)
        run = of_data(run, dataset.fingerprint())
        networks.check(options.network, dataset)
        extra = vectors_of(options, dataset)
    except (ImportError, OSError, ValueError) as error:
        raise SystemExit(str(error)) from error
    if run.finished:
        print(f"{folder} is trained again, to keep snapshots of epochs {missing}.")
        run = restart(run)
    save(run)
    try:
        with scope():
            train(run, recipe, dataset, options, extra)
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
    add("--batch-size", type=positive, help="samples in a step (default: the paper's)")
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
    add("--length", type=positive, help="words of a text of 20 Newsgroups (default: 1000)")
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
    changes = {name: getattr(options, name) for name in ("crop", "objective")}
    recipe = replace(recipe, **{name: new for name, new in changes.items() if new is not None})
    return replace(recipe, crop=None) if options.no_augmentation else recipe


def check(options: argparse.Namespace, recipe: Recipe) -> None:
    """Raise an error if options do not go together.

    Raises:
        ValueError: Which option, and what it must be.
    """
    dataset, network, loss = options.dataset, options.network, options.loss
    if recipe.keep == "best" and options.validate_every != 1:
        raise ValueError(
            f"`--validate-every` must be 1 for {dataset}, of which the best epoch on the "
            f"validation data is kept. Received: {options.validate_every}"
        )
    if options.crop is not None and dataset not in IMAGES:
        raise ValueError(f"`--crop` needs a data set of images. Received: {dataset}")
    if options.length is not None and dataset != "newsgroups20":
        raise ValueError(f"`--length` needs the texts of newsgroups20. Received: {dataset}")
    words = networks.FEWEST_WORDS.get(network, 1)
    if options.length is not None and options.length < words:
        raise ValueError(
            f"`--length` must be at least {words} for {network}. Received: {options.length}"
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
    """Return what decides the outcome of a run."""
    names = ("dataset", "network", "loss", "seed", "limit", "length", "mixed_precision")
    return {
        **{name: getattr(options, name) for name in names},
        "glove": options.glove and options.glove.name,
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "crop": recipe.crop,
        "objective": recipe.objective,
    }


def load(options: argparse.Namespace) -> Data:
    """Return the data that the options ask for."""
    extra = {} if options.length is None else {"length": options.length}
    return data.load(options.dataset, options.data_dir, options.limit, **extra)


def vectors_of(options: argparse.Namespace, dataset: Data) -> dict[str, np.ndarray]:
    """Return the word vectors that a network starts from, by the name of its argument, if any.

    Raises:
        ValueError: If the network takes none.
    """
    if options.glove is None:
        return {}
    if options.network != "global-pooling-cnn":
        raise ValueError(
            f"`--glove` needs --network global-pooling-cnn. Received: {options.network}"
        )
    return {"vectors": glove(dataset.vocabulary, options.glove)}


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
        optimizer=recipe.optimizer(recipe.learning_rate),
        loss=make_loss(loss, recipe),
        weighted_metrics=[
            keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
            calibration_metric(loss),
        ],
        jit_compile=True if xla else "auto",
    )


def train(
    run: Run,
    recipe: Recipe,
    dataset: Data,
    options: argparse.Namespace,
    extra: dict[str, np.ndarray],
) -> None:
    """Train a run to its end and write its logits and its model.

    `extra` are further arguments of the network.
    """
    model = networks.build(run.network, dataset, **extra)
    compile_model(model, run.loss, recipe, xla=options.xla)
    validation = dataset.validation
    batches = Batches(
        dataset.train,
        recipe.batch_size,
        seed=run.seed,
        augment=None if recipe.crop is None else crop_and_flip(recipe.crop),
    )
    model.fit(
        batches,
        epochs=recipe.epochs,
        shuffle=False,
        validation_data=(validation.x, validation.y, validation.weight),
        validation_batch_size=PREDICT_BATCH,
        validation_freq=options.validate_every,
        callbacks=[FollowEpochs(batches), *callbacks_of(run, recipe, dataset, options)],
        verbose=options.verbose,
    )
    best = run.folder / "best.weights.h5"
    if recipe.keep == "best":
        load_weights(model, best)
    parts = [(predict(model, part), first(part.y)) for part in (dataset.validation, dataset.test)]
    logits = Logits(*(array for pair in parts for array in pair))
    logits.save(run.folder / "logits.npz")
    if not logits.finite:
        print(f"{run.folder} diverged: its logits are not finite.", file=sys.stderr)
    model.save(run.folder / "model.keras", include_optimizer=False)
    finish(run)
    best.unlink(missing_ok=True)


def calibration_metric(loss: str) -> keras.metrics.Metric:
    """Return what is logged of calibration: ECE, but AdaFocal reads the bins of AdaECE."""
    if loss == "AdaFocal":
        return metrics.AdaECE(from_logits=True)
    return metrics.ECE(from_logits=True)


def callbacks_of(
    run: Run, recipe: Recipe, dataset: Data, options: argparse.Namespace
) -> list[keras.callbacks.Callback]:
    """Return the callbacks of a run. The backup is last: what it has seen, the others wrote."""
    found = [
        keras.callbacks.LearningRateScheduler(lambda epoch, _: recipe.learning_rate_at(epoch)),
        FreshDraws(run.seed),
        *gamma_callbacks(run.loss, recipe, run.folder),
        Stopwatch(),
        keras.callbacks.CSVLogger(run.folder / "log.csv", append=True),
    ]
    if recipe.keep == "best":
        found.append(best_weights(run))
    if options.snapshots is not None:
        found.append(Snapshots(run.folder / "snapshots", options.snapshots, dataset))
    if options.tensorboard:
        found.append(keras.callbacks.TensorBoard(run.folder / "tensorboard"))
    return [*found, backup(run)]


if __name__ == "__main__":
    main()
