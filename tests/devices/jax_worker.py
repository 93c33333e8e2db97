"""One of two processes of a JAX program: python jax_worker.py ADDRESSES INDEX RESULT."""

import json
import sys
from pathlib import Path

import job
import keras
import numpy as np


def main(addresses, index, result):
    # Before any computation.
    keras.distribution.initialize(addresses, num_processes=2, process_id=index)
    import jax

    # Each process makes its own share of a batch.
    distribution = keras.distribution.DataParallel(auto_shard_dataset=False)
    keras.distribution.set_distribution(distribution)
    found = job.trained(index, workers=2)

    def shared(array):
        layout = distribution.get_data_layout(array.shape).backend_layout
        return jax.make_array_from_process_local_data(layout, np.split(array, 2)[index])

    x, y, weights = map(shared, job.data())
    for name in job.LOSSES:
        step = jax.jit(jax.value_and_grad(job.loss_of(name)))
        value, gradient = step(x, y, weights)
        (own,) = gradient.addressable_shards
        found[name] = {"value": float(value), "gradient": np.asarray(own.data).tolist()}
    result.write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
