"""Calibration metrics on JAX: train steps, and how to add predictions to bins, on its device.

python tests/benchmarks/metrics_jax.py [--quick] [--publish]

On a CUDA device `gpu.py` runs this with the others; TensorFlow is not needed.
"""

import os

os.environ["KERAS_BACKEND"] = "jax"

import jax
import jax.numpy as jnp
from harness import environment, interleaved, main, ratio_rows
from metrics import predictions, step_rows

from keras_focal import metrics
from keras_focal.functional.calibration._bins import contributions, equal_width_bins, top_label
from keras_focal.functional.calibration._partitions import EqualMass, EqualWidth
from keras_focal.functional.calibration._sums import Sums

DEVICE = jax.devices()[0].device_kind
ON_GPU = jax.default_backend() == "gpu"
OWN, COMPARED = "keras_focal, 15 bins of equal width", "compare and reduce, 15 bins"


def updates(size):
    """Return calls that add `size` over-confident predictions to bins, in different ways."""
    labels, logits = map(jnp.asarray, predictions(size))
    top = jax.jit(lambda y, z: top_label(y, z, from_logits=True))(labels, logits)
    rows = contributions(top, jnp.ones(size))

    def in_place(partition):
        """Return a call that adds as the metrics do."""
        index = partition.index(top).reshape(-1)
        amounts = jnp.repeat(rows, partition.cells_of_each, axis=0)
        zeros = jnp.zeros((partition.num_cells, 3))
        state = [Sums(zeros.astype("int32"), zeros)]
        add = jax.jit(Sums.added, donate_argnums=0)

        def call():
            state[0] = jax.block_until_ready(add(state[0], index, amounts))

        return call

    def compared(num_bins):
        """Return a call that compares each prediction with each bin and sums."""
        bins = equal_width_bins(top.confidence, num_bins)

        def sums(bins, rows):
            is_in = bins[:, None] == jnp.arange(num_bins)
            return jnp.stack([jnp.sum(jnp.where(is_in, part[:, None], 0.0), 0) for part in rows.T])

        add = jax.jit(sums)
        return lambda: jax.block_until_ready(add(bins, rows))

    return {
        OWN: in_place(EqualWidth(15)),
        "keras_focal, 1000 bins of equal width": in_place(EqualWidth(1000)),
        "keras_focal, 8192 bins of equal width": in_place(EqualWidth(8192)),
        "keras_focal, cells for bins of equal mass": in_place(EqualMass(15)),
        COMPARED: compared(15),
        "compare and reduce, 1000 bins": compared(1000),
    }


def update_rows(size, rounds):
    return ratio_rows(
        f"JAX on {DEVICE}, adding predictions to bins",
        f"{size} predictions",
        interleaved(updates(size), rounds, 0.02),
        COMPARED,
        {OWN: 1.0} if ON_GPU else None,
    )


def result_rows(rounds):
    def reading(metric):
        metric.update_state(*predictions(4096))
        state = [variable.value for variable in metric.variables]
        read = jax.jit(metric.stateless_result)
        return lambda: jax.block_until_ready(read(state))

    times = interleaved(
        {
            "ECE": reading(metrics.ECE(from_logits=True)),
            "AdaECE": reading(metrics.AdaECE(from_logits=True)),
            "CalibrationMetrics": reading(metrics.CalibrationMetrics(from_logits=True)),
        },
        rounds,
        0.02,
    )
    return ratio_rows(f"JAX on {DEVICE}, reading the result", "15 bins", times, "ECE")


def measure(quick):
    rounds = 1 if quick else 9
    rows = step_rows("JAX", {f"jit, {DEVICE}": True}, quick, rounds)
    for size in (256,) if quick else (128, 4096, 65536):
        rows += update_rows(size, rounds)
    rows += result_rows(rounds)
    return rows, {**environment("jax"), "device": DEVICE}


if __name__ == "__main__":
    main("metrics_jax", measure)
