"""Training a Transformer, resumable: what is there after a kill is taken up again."""

from pathlib import Path

import keras

import keras_focal
from examples.paper.callbacks import FreshDraws, Stopwatch, backup
from examples.paper.runs import finish, folder_of, of_data, save, start
from examples.paper.translation.model import SIZES, WarmUp, transformer
from examples.paper.translation.pairs import load_pairs
from examples.paper.translation.tokens import Batches, load_tokenizer, train_tokenizer

VOCABULARY_SIZES = {"multi30k": 4000, "wmt14": 37000}


def make_loss(name: str) -> keras.losses.Loss:
    """Return a loss on logits, the mean over the tokens that are no padding.

    Args:
        name: "LS-0.1" (the paper's for translation), or a name of `keras_focal.losses.get`.

    Raises:
        ValueError: If the name is unknown.
    """
    options = {"from_logits": True, "reduction": "mean_with_sample_weight"}
    if name == "LS-0.1":
        return keras_focal.losses.LabelSmoothingCrossentropy(0.1, **options)
    return keras_focal.losses.get(name, **options)


def train(
    out: Path,
    *,
    dataset: str = "multi30k",
    size: str = "small",
    loss: str = "CE",
    seed: int = 1,
    epochs: int = 10,
    data_dir: Path | None = None,
    vocabulary_size: int | None = None,
    batch_tokens: int = 1536,
    max_length: int = 32,
    warm_up: int = 1000,
    dtype_policy: str = "float32",
    verbose: int = 1,
) -> Path:
    """Train, and return the run folder, which `out` then holds.

    The folder has run.json, log.csv, tokens.model (SentencePiece) and model.weights.h5. Where it
    holds a run that was stopped, that run goes on; a finished one is left as it is.

    Args:
        out: Folder of run folders.
        dataset: "multi30k" or "wmt14".
        size: A name of `SIZES`.
        loss: As for `make_loss`.
        seed: Of weights, dropout and the order of the pairs.
        epochs: Passes through the training pairs.
        data_dir: As for `load_pairs`.
        vocabulary_size: 4,000 for Multi30k and 37,000 for WMT14 by default.
        batch_tokens: Positions of a batch, padding included. 25,000 in the paper's setting.
        max_length: Tokens of the longest training sentences; the ends of longer ones are cut off.
        warm_up: Steps through which the learning rate rises; 4,000 in the paper's setting.
        dtype_policy: "mixed_bfloat16" for devices that have it.
        verbose: As in `keras.Model.fit`.
    """
    if size not in SIZES:
        raise ValueError(f"`size` must be one of {tuple(SIZES)}. Received: size={size!r}")
    if max_length < 2:
        raise ValueError(
            f"`max_length` must be at least 2: a token and the end. Received: {max_length}"
        )
    try:
        keras.dtype_policies.get(dtype_policy)
    except ValueError as error:
        raise ValueError(
            f"`dtype_policy` must be a policy of Keras, as float32 or mixed_bfloat16. "
            f"Received: {dtype_policy!r}"
        ) from error
    loss_function = make_loss(loss)
    settings = {
        "dataset": dataset,
        "network": "transformer",
        "loss": loss,
        "seed": seed,
        "size": size,
        "epochs": epochs,
        "vocabulary_size": vocabulary_size or VOCABULARY_SIZES.get(dataset),
        "batch_tokens": batch_tokens,
        "max_length": max_length,
        "warm_up": warm_up,
        "dtype_policy": dtype_policy,
    }
    folder = folder_of(Path(out), dataset, f"transformer-{size}", loss, seed)
    run = start(folder, settings)
    if run.finished:
        return folder
    corpus = load_pairs(dataset, data_dir)
    run = of_data(run, corpus.fingerprint())
    tokens = folder / "tokens.model"
    if tokens.is_file():
        save(run)
    else:
        trained = train_tokenizer(corpus.train, settings["vocabulary_size"])
        save(run)
        tokens.write_bytes(trained)
    tokenizer = load_tokenizer(tokens)
    batches = Batches(corpus.train, tokenizer, batch_tokens, max_length, seed)
    validation = Batches(corpus.validation, tokenizer, batch_tokens, max_length)

    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(dtype_policy)
    model = transformer(SIZES[size], tokenizer.get_piece_size())
    schedule = WarmUp(SIZES[size].width, warm_up)
    optimizer = keras.optimizers.Adam(schedule, beta_1=0.9, beta_2=0.98, epsilon=1e-9)
    model.compile(
        optimizer,
        loss_function,
        weighted_metrics=["sparse_categorical_accuracy"],
        jit_compile=jit_compile(),
    )
    callbacks = [
        keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _: batches.shuffle(epoch)),
        FreshDraws(seed),
        Stopwatch(),
        keras.callbacks.CSVLogger(folder / "log.csv", append=True),
    ]
    row = next((row for row in keras_focal.losses.list() if row.name == loss), None)
    if row is not None and row.callback:
        callbacks.append(keras_focal.callbacks.GammaScheduler(loss))
    model.fit(
        batches,
        validation_data=validation,
        epochs=epochs,
        callbacks=[*callbacks, backup(run)],
        shuffle=False,
        verbose=verbose,
    )
    model.save_weights(folder / "model.weights.h5")
    finish(run)
    return folder


def jit_compile() -> bool | str:
    """Return what `compile` takes: no XLA for TensorFlow on a CPU, where each length costs more."""
    is_slow = keras.backend.backend() == "tensorflow" and not keras.distribution.list_devices("gpu")
    return False if is_slow else "auto"
