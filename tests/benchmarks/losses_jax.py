"""Focal losses on JAX against cross-entropy and memory traffic, on its default device.

python tests/benchmarks/losses_jax.py [--quick] [--publish]

On a CUDA device `gpu.py` runs this with the others; TensorFlow is not needed.
"""

import os

os.environ["KERAS_BACKEND"] = "jax"

import jax
import jax.numpy as jnp
import keras
from harness import Row, environment, interleaved, main, ratio_rows
from losses import DETECTOR, RULE, SHAPES, detections, sample

from keras_focal import functional

ON_GPU = jax.default_backend() == "gpu"
DEVICE = jax.devices()[0].device_kind
GPU_SHAPES = [(4096, 1000), (8192, 32000), (4096, 128256)]
GPU_DETECTOR = (8, 100000, 90)


def losses():
    def cross_entropy(y, z):
        true = jnp.take_along_axis(z, y[:, None], axis=-1)[:, 0]
        return jax.nn.logsumexp(z, axis=-1) - true

    def focal(y, z):
        return functional.sparse_categorical_focal_crossentropy(y, z, gamma=3.0)

    def by_sample(y, z):
        return functional.sparse_categorical_focal_crossentropy(y, z, gamma=RULE)

    def of_keras(y, z):
        return keras.losses.categorical_focal_crossentropy(
            jax.nn.one_hot(y, z.shape[-1]), z, alpha=1.0, gamma=3.0, from_logits=True
        )

    return {
        "cross-entropy": cross_entropy,
        "keras_focal": focal,
        "keras_focal, FLSD-53": by_sample,
        "keras.losses.CategoricalFocalCrossentropy": of_keras,
    }


def binary_losses():
    def cross_entropy(y, z):
        return jnp.maximum(z, 0) - z * y + jnp.log1p(jnp.exp(-jnp.abs(z)))

    def focal(y, z):
        return functional.binary_focal_crossentropy(y, z, gamma=2.0, alpha=0.25)

    return {"cross-entropy": cross_entropy, "keras_focal, gamma 2": focal}


def mean_of(loss, y):
    return lambda z: jnp.mean(loss(y, z).astype("float32"))


def gradient_step(loss, y, z):
    """Return a call of L and z <- z - 0.001 dL/dz in place: a new array would cost more."""

    def step(y, z):
        value, gradient = jax.value_and_grad(mean_of(loss, y))(z)
        return value, z - 1e-3 * gradient

    y, z = jnp.asarray(y), jnp.array(z)
    compiled = jax.jit(step, donate_argnums=1).lower(y, z).compile()
    state = [z]

    def call():
        _, state[0] = jax.block_until_ready(compiled(y, state[0]))

    return call


def multi_class_rows(shapes, rounds):
    rows = []
    for shape in shapes:
        for dtype in ("float32", "bfloat16"):
            y, z = sample(shape, dtype)
            steps = {name: gradient_step(loss, y, z) for name, loss in losses().items()}
            times = interleaved(steps, rounds)
            goal = 1.0 if ON_GPU else 0.75 if shape[1] >= 32000 else 1.05
            goals = {"keras_focal": goal, "keras_focal, FLSD-53": goal}
            case = f"{list(shape)} {dtype}"
            table = f"JAX on {DEVICE}, value and gradient step in place"
            rows += ratio_rows(table, case, times, "cross-entropy", goals)
            rows += [temporary(case, name, loss, y, z) for name, loss in losses().items()]
    return sorted(rows, key=lambda row: row.table, reverse=True)


def temporary(case, name, loss, y, z):
    compiled = jax.jit(lambda y, z: jax.grad(mean_of(loss, y))(z)).lower(y, z).compile()
    figure = compiled.memory_analysis().temp_size_in_bytes / (z.size * z.dtype.itemsize)
    has_goal = name.startswith("keras_focal") and z.dtype == "float32" and z.shape[1] >= 1000
    return Row(
        "JAX, temporary memory by the compiler's figure",
        case,
        name,
        "x logits",
        figure,
        target=0.01 if has_goal else None,
    )


def binary_rows(shape, rounds):
    y, z = detections(shape)
    times = interleaved(
        {name: gradient_step(loss, y, z) for name, loss in binary_losses().items()}, rounds
    )
    table = f"JAX on {DEVICE}, value and gradient step in place"
    return ratio_rows(table, f"{list(shape)} float32, binary", times, "cross-entropy")


def traffic_rows(shapes, rounds):
    """Return our time over that of reading the logits twice and writing them once."""
    rows = []
    for shape in shapes:
        y, z = sample(shape)
        z = jnp.asarray(z)
        copy = jax.jit(lambda x: x * 1.5).lower(z).compile()
        call = gradient_step(losses()["keras_focal"], y, z)
        times = interleaved(
            {"keras_focal": call, "copy": lambda c=copy, z=z: c(z).block_until_ready()}, rounds
        )
        # A copy reads once and writes once: three passes are one and a half copies.
        times["three passes over the logits"] = [1.5 * t for t in times.pop("copy")]
        rows += ratio_rows(
            f"JAX on {DEVICE}, against memory traffic",
            f"{list(shape)} float32",
            times,
            "three passes over the logits",
            {"keras_focal": 1.18} if ON_GPU else None,
        )[:1]
    return rows


def measure(quick):
    rounds = 1 if quick else 9
    shapes = [(128, 10), (64, 100)] if quick else GPU_SHAPES if ON_GPU else SHAPES
    rows = multi_class_rows(shapes, rounds)
    rows += binary_rows((2, 100, 80) if quick else GPU_DETECTOR if ON_GPU else DETECTOR, rounds)
    rows += traffic_rows(shapes, rounds)
    return rows, {**environment("jax"), "device": DEVICE}


if __name__ == "__main__":
    main("losses_jax", measure)
