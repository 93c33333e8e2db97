"""Losses, metrics and the linear head on a CUDA device, by JAX alone.

python tests/benchmarks/gpu.py [--quick] [--publish]

On a machine with a CUDA device, `pip install "jax[cuda12]" keras` and a checkout on PYTHONPATH
are enough; TensorFlow is not needed. The run takes some minutes. Without such a device the goals
are published as not measured, and `--quick` runs the toy form of everything on the CPU.
"""

import os

os.environ["KERAS_BACKEND"] = "jax"

import jax
import jax.numpy as jnp
import linear_head
import losses_jax
import metrics_jax
from harness import Row, environment, interleaved, main, ratio_rows

from keras_focal import functional

ON_GPU = jax.default_backend() == "gpu"
DEVICE = jax.devices()[0].device_kind
HEAD = (16384, 2048, 248320)
"""Rows, depth and classes of the head in bfloat16."""

SHARE, GIGABYTES = 0.65, 3.5
"""Goals of the head: its part of the rate of a matrix product, and its memory."""

IN_ONE = "in one, reduced"
PRODUCTS = "6 N D K operations at the rate of one product"
BEYOND = "GB beyond inputs and gradients"


def head_rows(size, rounds):
    """Return the time of the head over that of its products, and its memory beyond its inputs."""
    rows, depth, classes = size
    features, kernel, labels = linear_head.sample(*size)
    features, kernel = (jnp.asarray(x, "bfloat16") for x in (features, kernel))

    def mean(features, kernel, labels):
        return functional.linear_sparse_focal_crossentropy(
            features, kernel, None, labels, gamma=3.0, reduction="mean"
        )

    arguments = features, kernel, jnp.asarray(labels)
    step = jax.jit(jax.value_and_grad(mean, argnums=(0, 1))).lower(*arguments).compile()
    side = 8192 if ON_GPU else 128
    square = jnp.ones((side, side), "bfloat16")
    product = jax.jit(jnp.matmul).lower(square, square).compile()
    times = interleaved(
        {
            IN_ONE: lambda: jax.block_until_ready(step(*arguments)),
            PRODUCTS: lambda: product(square, square).block_until_ready(),
        },
        rounds,
    )
    scale = 6 * rows * depth * classes / (2 * side**3)
    times[PRODUCTS] = [scale * seconds for seconds in times[PRODUCTS]]
    table, case = f"JAX on {DEVICE}, linear head", head_case(size)
    memory = step.memory_analysis().temp_size_in_bytes / 1e9
    return [
        *ratio_rows(table, case, times, PRODUCTS, {IN_ONE: 1 / SHARE} if ON_GPU else None)[:1],
        Row(table, case, IN_ONE, BEYOND, memory, target=GIGABYTES),
    ]


def head_case(size):
    return f"{list(size[:2])} x {list(size[1:])} bfloat16"


def missing_rows():
    """Return the goals, for a machine that has no CUDA device."""
    goals = [
        (table, f"{list(shape)} {dtype}", "keras_focal", against, target)
        for shape in losses_jax.GPU_SHAPES
        for table, dtype, against, target in (
            ("value and gradient step in place", "float32", "cross-entropy", 1.0),
            ("value and gradient step in place", "bfloat16", "cross-entropy", 1.0),
            ("against memory traffic", "float32", "three passes over the logits", 1.18),
        )
    ]
    bins = "adding predictions to bins", "65536 predictions"
    goals.append((*bins, metrics_jax.OWN, metrics_jax.COMPARED, 1.0))
    head = "linear head", head_case(HEAD), IN_ONE
    goals += [(*head, PRODUCTS, 1 / SHARE), (*head, BEYOND, GIGABYTES)]
    note = "no CUDA device on this machine; this script measures it on one that has it"
    return [
        Row(f"JAX on a CUDA device, {table}", *case, None, target=target, note=note)
        for table, *case, target in sorted(goals, key=lambda goal: goal[0], reverse=True)
    ]


def measure(quick):
    if not ON_GPU and not quick:
        return missing_rows(), environment("jax")
    rows = []
    for script in (losses_jax, metrics_jax):
        rows += script.measure(quick)[0]
    sizes, rounds = (linear_head.SMALL, 1) if quick else ([linear_head.GOAL], 7)
    rows += linear_head.timed_rows(sizes, rounds)
    rows += head_rows(linear_head.SMALL[0] if quick else HEAD, rounds)
    return rows, {**environment("jax"), "device": DEVICE}


if __name__ == "__main__":
    main("gpu", measure)
