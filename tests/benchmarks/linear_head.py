"""The linear head and the focal loss in one against the two steps: time and memory.

python tests/benchmarks/linear_head.py [--quick] [--publish]

On a CUDA device `gpu.py` runs this with the others.
"""

import importlib.util
import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from harness import Row, environment, in_process, interleaved, main, peak_of, ratio_rows, resident
from keras import ops

from keras_focal import functional

BACKEND = keras.backend.backend()
GOAL = (8192, 4096, 128256)
"""Rows, depth and classes at which the memory goal is set."""

SIZES = [(2048, 256, 32000), (1024, 1024, 32000)]
SMALL = [(64, 16, 1000)]


def in_one(features, kernel, labels):
    return functional.linear_sparse_focal_crossentropy(features, kernel, None, labels, gamma=3.0)


def with_reduction(features, kernel, labels):
    return functional.linear_sparse_focal_crossentropy(
        features, kernel, None, labels, gamma=3.0, reduction="mean"
    )


def in_two(features, kernel, labels):
    logits = ops.matmul(features, kernel)
    return functional.sparse_categorical_focal_crossentropy(labels, logits, gamma=3.0)


def cross_entropy(features, kernel, labels):
    logits = ops.matmul(features, kernel)
    return ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)


VARIANTS = {
    "two steps": in_two,
    "in one": in_one,
    "in one, reduced": with_reduction,
    "two steps, cross-entropy": cross_entropy,
}
IN_ONE = ("in one", "in one, reduced")


def sample(rows, depth, classes):
    rng = np.random.default_rng(0)
    features = rng.standard_normal((rows, depth), "float32")
    kernel = rng.standard_normal((depth, classes), "float32") / np.sqrt(depth)
    return features, kernel.astype("float32"), rng.integers(0, classes, rows).astype("int32")


def gradient_step(loss, arrays):
    """Return a compiled call of the gradients of the mean loss."""
    features, kernel, labels = map(ops.convert_to_tensor, arrays)
    if BACKEND == "jax":
        import jax

        step = jax.jit(jax.grad(lambda f, k: ops.mean(loss(f, k, labels)), argnums=(0, 1)))
        return lambda: jax.block_until_ready(step(features, kernel))

    import tensorflow as tf

    @tf.function(jit_compile=True, autograph=False)
    def step(features, kernel, labels):
        with tf.GradientTape() as tape:
            tape.watch([features, kernel])
            total = tf.reduce_mean(loss(features, kernel, labels))
        return tape.gradient(total, [features, kernel])

    return lambda: step(features, kernel, labels)


def compiled_memory(loss, rows, depth, classes):
    """Return JAX's compiler's figure of temporary memory over that of the logits."""
    import jax

    step = jax.jit(jax.grad(lambda f, k, y: ops.mean(loss(f, k, y)), argnums=(0, 1)))
    shapes = [((rows, depth), "float32"), ((depth, classes), "float32"), ((rows,), "int32")]
    found = step.lower(*(jax.ShapeDtypeStruct(*shape) for shape in shapes)).compile()
    return found.memory_analysis().temp_size_in_bytes / (4 * rows * classes)


def timed_rows(sizes, rounds):
    rows = []
    for size in sizes:
        arrays = sample(*size)
        calls = {name: gradient_step(loss, arrays) for name, loss in VARIANTS.items()}
        times = interleaved(calls, rounds, seconds_each=0.0)
        case = f"{list(size[:2])} x {[size[1], size[2]]} float32, {BACKEND}"
        goals = {"in one": 1.1 if on_gpu() else 1.25, "in one, reduced": 1.1}
        rows += ratio_rows("Value and gradients, compiled", case, times, "two steps", goals)
    return rows


def on_gpu():
    if BACKEND != "jax":
        return False
    import jax

    return jax.default_backend() == "gpu"


def memory_rows(quick, has_jax):
    """Return what JAX's compiler says, and the resident memory of a TensorFlow process."""
    table = "Memory beyond inputs and gradients"
    found = {"cases": []}
    if has_jax:
        found = in_process(__file__, "--compiled", str(int(quick)), backend="jax")
    rows = [
        Row(
            table,
            f"{size[:2]} x {size[1:]} float32, JAX's compiler",
            name,
            "x logits",
            figure,
            target=0.1 if name in IN_ONE and not quick else None,
        )
        for size, figures in found["cases"]
        for name, figure in figures.items()
    ]
    size = SMALL[0] if quick else SIZES[0]
    for name in VARIANTS:
        figure = in_process(__file__, "--resident", name, json.dumps(size))["peak"]
        rows.append(
            Row(
                table,
                f"{list(size[:2])} x {[size[1], size[2]]} float32, resident, TensorFlow XLA",
                name,
                "x logits",
                figure,
                target=0.1 if name in IN_ONE and not quick else None,
            )
        )
    return rows


def print_compiled(quick):
    cases = [
        (size, {name: compiled_memory(loss, *size) for name, loss in VARIANTS.items()})
        for size in (SMALL if quick else [*SIZES, GOAL])
    ]
    print(json.dumps({"cases": cases}))


def print_resident(name, size):
    arrays = sample(*size)
    step = gradient_step(VARIANTS[name], arrays)
    gradient_step(VARIANTS[name], sample(8, *size[1:]))()
    before = resident()
    gradients = 4 * (size[0] * size[1] + size[1] * size[2])
    peak = peak_of(step) - before - gradients
    print(json.dumps({"peak": peak / (4 * size[0] * size[2])}))


def measure(quick):
    has_jax = importlib.util.find_spec("jax") is not None
    sizes, rounds = (SMALL, 1) if quick else (SIZES, 7)
    rows = timed_rows([GOAL] if on_gpu() else sizes, rounds)
    if not on_gpu():
        if BACKEND == "tensorflow" and has_jax:
            found = in_process(__file__, "--timed", str(int(quick)), backend="jax")
            rows += [Row(**row) for row in found["rows"]]
        rows += memory_rows(quick, has_jax)
    return rows, environment("tensorflow", "jax")


if __name__ == "__main__":
    if "--compiled" in sys.argv:
        print_compiled(sys.argv[2] == "1")
    elif "--resident" in sys.argv:
        print_resident(sys.argv[2], tuple(json.loads(sys.argv[3])))
    elif "--timed" in sys.argv:
        quick = sys.argv[2] == "1"
        rows = timed_rows(SMALL if quick else SIZES, 1 if quick else 7)
        print(json.dumps({"rows": [vars(row) for row in rows]}))
    else:
        main("linear_head", measure)
