"""Focal losses on TensorFlow against cross-entropy, Keras and focal-loss: time and memory.

python tests/benchmarks/losses.py [--quick] [--publish]
"""

import importlib.util
import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from harness import (
    Row,
    environment,
    in_process,
    interleaved,
    main,
    peak_of,
    ratio_rows,
    resident,
)
from keras import ops

from keras_focal import functional, losses
from keras_focal.gammas import SampleDependentGamma

SHAPES = [(128, 10), (128, 1000), (4096, 100), (1024, 32000), (256, 50257)]
QUICK = [(64, 100)]
DETECTOR = (2, 49104, 80)
LARGE = 1e5
"""Entries from which the goals are those of large shapes."""

RULE = SampleDependentGamma([0.2], [5.0, 3.0])


def sample(shape, dtype="float32"):
    rng = np.random.default_rng(0)
    logits = rng.standard_normal(shape, dtype="float32") * 3
    return rng.integers(0, shape[1], shape[0]).astype("int32"), ops.cast(logits, dtype)


def detections(shape):
    rng = np.random.default_rng(0)
    return (rng.random(shape) < 0.01).astype("float32"), rng.standard_normal(shape, "float32") * 3


# TensorFlow


def tensorflow_losses():
    import tensorflow as tf

    def cross_entropy(y, z):
        return tf.nn.sparse_softmax_cross_entropy_with_logits(y, z)

    def focal(y, z):
        return functional.sparse_categorical_focal_crossentropy(y, z, gamma=3.0)

    def by_sample(y, z):
        return functional.sparse_categorical_focal_crossentropy(y, z, gamma=RULE)

    def keras_focal_loss(y, z):
        return keras.losses.categorical_focal_crossentropy(
            tf.one_hot(y, z.shape[-1]), z, alpha=1.0, gamma=3.0, from_logits=True
        )

    found = {
        "cross-entropy": cross_entropy,
        "keras_focal": focal,
        "keras_focal, FLSD-53": by_sample,
        "keras.losses.CategoricalFocalCrossentropy": keras_focal_loss,
    }
    if importlib.util.find_spec("focal_loss"):
        from focal_loss import sparse_categorical_focal_loss

        found["focal-loss package"] = lambda y, z: sparse_categorical_focal_loss(
            y, z, gamma=3.0, from_logits=True
        )
    return found


def tensorflow_step(loss, y, z, *, jit):
    """Return a call of the mean loss and its gradient with respect to the logits."""
    import tensorflow as tf

    @tf.function(jit_compile=jit, autograph=False)
    def step(y, z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = tf.reduce_mean(loss(y, z))
        return value, tape.gradient(value, z)

    y, z = tf.constant(y), tf.constant(z)

    def call():
        return step(y, z)[0].numpy()

    return call


def tensorflow_rows(shapes, rounds):
    rows = []
    for shape in shapes:
        y, z = sample(shape)
        is_large = np.prod(shape) >= LARGE
        case = f"{list(shape)} float32"
        times = interleaved(
            {k: tensorflow_step(f, y, z, jit=False) for k, f in tensorflow_losses().items()},
            rounds,
        )
        goal = 0.7 if is_large else 1.05
        goals = {"keras_focal": goal, "keras_focal, FLSD-53": goal}
        rows += ratio_rows(
            "TensorFlow graph, value and gradient", case, times, "cross-entropy", goals
        )
        keras_name = "keras.losses.CategoricalFocalCrossentropy"
        against = {k: times[k] for k in ("keras_focal", keras_name)}
        goals = {"keras_focal": 1 / 3 if is_large else 1 / 1.4}
        rows += ratio_rows(
            "TensorFlow graph, against Keras's focal loss", case, against, keras_name, goals
        )[:1]
    for shape in shapes:
        y, z = sample(shape)
        times = interleaved(
            {k: tensorflow_step(f, y, z, jit=True) for k, f in tensorflow_losses().items()},
            rounds,
        )
        goal = 0.75 if shape[1] >= 32000 else 1.05
        goals = {"keras_focal": goal, "keras_focal, FLSD-53": goal}
        rows += ratio_rows(
            "TensorFlow XLA, value and gradient",
            f"{list(shape)} float32",
            times,
            "cross-entropy",
            goals,
        )
    return rows


def half_rows(shapes, rounds):
    rows = []
    for shape in shapes[1:]:
        y, z = sample(shape)
        focal = tensorflow_losses()["keras_focal"]
        for jit in (False, True):
            times = interleaved(
                {
                    "float32": tensorflow_step(focal, y, z, jit=jit),
                    "bfloat16": tensorflow_step(focal, y, ops.cast(z, "bfloat16"), jit=jit),
                    "float16": tensorflow_step(focal, y, ops.cast(z, "float16"), jit=jit),
                },
                rounds,
            )
            rows += ratio_rows(
                "Half-precision logits, keras_focal",
                f"{list(shape)} {'XLA' if jit else 'graph'}",
                times,
                "float32",
                {"bfloat16": 1.0, "float16": 1.0},
            )[1:]
    return rows


def binary_losses():
    import tensorflow as tf

    any_gamma = tf.constant(2.5)

    def sigmoid(y, z):
        return tf.nn.sigmoid_cross_entropy_with_logits(y, z)

    return {
        "sigmoid cross-entropy, XLA": (
            sigmoid,
            True,
        ),
        "keras_focal, gamma 2, XLA": (
            lambda y, z: functional.binary_focal_crossentropy(y, z, gamma=2.0, alpha=0.25),
            True,
        ),
        "keras_focal, any gamma, XLA": (
            lambda y, z: functional.binary_focal_crossentropy(y, z, gamma=any_gamma, alpha=0.25),
            True,
        ),
        "keras.losses.BinaryFocalCrossentropy, gamma 2, XLA": (keras_binary, True),
        "sigmoid cross-entropy, graph": (
            sigmoid,
            False,
        ),
        "keras_focal, gamma 2, graph": (
            lambda y, z: functional.binary_focal_crossentropy(y, z, gamma=2.0, alpha=0.25),
            False,
        ),
        "keras_focal, any gamma, graph": (
            lambda y, z: functional.binary_focal_crossentropy(y, z, gamma=any_gamma, alpha=0.25),
            False,
        ),
        "keras.losses.BinaryFocalCrossentropy, gamma 2, graph": (keras_binary, False),
    }


def keras_binary(y, z):
    return keras.losses.binary_focal_crossentropy(
        y, z, apply_class_balancing=True, alpha=0.25, gamma=2.0, from_logits=True
    )


def binary_rows(shape, rounds):
    y, z = detections(shape)
    times = interleaved(
        {k: tensorflow_step(f, y, z, jit=jit) for k, (f, jit) in binary_losses().items()}, rounds
    )
    return ratio_rows(
        "Binary, value and gradient",
        f"{list(shape)} float32",
        times,
        "sigmoid cross-entropy, XLA",
        {"keras_focal, gamma 2, XLA": 1.2, "keras_focal, any gamma, XLA": 1.9},
    )


# Memory


def memory_rows(quick):
    shape = [64, 1000] if quick else [1024, 32000]
    detector = [2, 100, 80] if quick else list(DETECTOR)
    rows = []
    for mode in ("XLA", "graph"):
        for name in tensorflow_losses():
            if "FLSD" in name or (quick and (mode, name) != ("XLA", "keras_focal")):
                continue
            found = in_process(__file__, "--memory", name, mode, json.dumps(shape))
            goal = 1.05 if (mode, name) == ("XLA", "keras_focal") else None
            rows.append(
                Row(
                    "Peak memory above the inputs, the gradient included",
                    f"{shape} float32, {mode}",
                    name,
                    "x logits",
                    found["peak"],
                    target=None if quick else goal,
                )
            )
    for name in list(binary_losses())[: 1 if quick else None]:
        found = in_process(__file__, "--memory", name, "", json.dumps(detector))
        rows.append(
            Row(
                "Peak memory above the inputs, the gradient included",
                f"{detector} float32",
                name,
                "x logits",
                found["peak"],
                target=2.3 if name.startswith("keras_focal") and not quick else None,
            )
        )
    return rows


def print_memory(name, mode, shape):
    """Print the peak memory of one call above that before it, in units of the logits."""
    import tensorflow as tf

    is_binary = not mode
    if is_binary:
        loss, jit = binary_losses()[name]
        data = detections
    else:
        loss, jit = tensorflow_losses()[name], mode == "XLA"
        data = sample

    @tf.function(jit_compile=jit, autograph=False, reduce_retracing=False)
    def step(y, z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = tf.reduce_mean(loss(y, z))
        return value, tape.gradient(value, z)

    small = (shape[0] if is_binary else 8, 8 if is_binary else shape[1], *shape[2:])
    step(*(tf.constant(part) for part in data(small)))
    y, z = (tf.constant(part) for part in data(shape))
    step.get_concrete_function(y, z)
    before = resident()
    high = peak_of(lambda: step(y, z))
    print(json.dumps({"peak": (high - before) / (4 * np.prod(shape))}))


# Train steps


def train_steps(classes, *, batch=128, convolutional=False, jit=False):
    """Return calls of a train step; as in `fit`, the graph does not know the size of a batch."""
    import tensorflow as tf

    def step(loss):
        keras.utils.set_random_seed(0)
        layers = keras.layers
        if convolutional:
            body = [
                keras.Input((28, 28, 1)),
                layers.Conv2D(16, 3, activation="relu"),
                layers.MaxPooling2D(),
                layers.Conv2D(32, 3, activation="relu"),
                layers.MaxPooling2D(),
                layers.Flatten(),
            ]
        else:
            body = [keras.Input((32,)), layers.Dense(128, "relu")]
        model = keras.Sequential([*body, layers.Dense(classes)])
        model.compile("sgd", loss, jit_compile=jit)
        rng = np.random.default_rng(0)
        x = rng.random((batch, *body[0].shape[1:]), "float32")
        y = rng.integers(0, classes, batch)
        model.fit(x, y, batch_size=batch, verbose=0)
        batches = iter(tf.data.Dataset.from_tensor_slices((x, y)).batch(batch).cache().repeat())
        return lambda: model.train_function(batches)

    reference = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return {
        "Keras's sparse cross-entropy": step(reference),
        "the same once more": step(reference),
        "keras_focal": step(losses.SparseCategoricalFocalCrossentropy(2.0, from_logits=True)),
        "keras_focal, FLSD-53": step(
            losses.SparseCategoricalFocalCrossentropy("FLSD-53", from_logits=True)
        ),
    }


def step_rows(quick, rounds):
    cases = [
        {"classes": classes, "batch": batch, "convolutional": convolutional, "jit": False}
        for convolutional in (False, True)
        for classes, batch in ((10, 32), (10, 128), (1000, 128))
    ]
    cases += [{"classes": classes, "jit": True} for classes in (10, 1000)]
    rows = []
    for case in cases[: 1 if quick else None]:
        times = interleaved(train_steps(**case), rounds, 0.2)
        network = "CNN" if case.get("convolutional") else "MLP"
        mode = "XLA" if case["jit"] else "graph"
        rows += ratio_rows(
            "Train step of TensorFlow",
            f"{network}, K = {case['classes']}, batch {case.get('batch', 128)}, {mode}",
            times,
            "Keras's sparse cross-entropy",
            {"keras_focal": 1.02, "keras_focal, FLSD-53": 1.02},
        )[1:]
    return rows


def measure(quick):
    rounds = 1 if quick else 9
    shapes = QUICK if quick else SHAPES
    rows = tensorflow_rows(shapes, rounds)
    rows += half_rows(shapes, rounds)
    rows += binary_rows((2, 100, 80) if quick else DETECTOR, rounds)
    rows += step_rows(quick, rounds if quick else 15)
    rows += memory_rows(quick)
    return rows, environment("tensorflow", "focal-loss")


if __name__ == "__main__":
    if "--memory" in sys.argv:
        name, mode, shape = sys.argv[2:]
        print_memory(name, mode, json.loads(shape))
    else:
        main("losses", measure)
