"""Four devices, rows and classes halved: python mesh_worker.py ADDRESSES INDEX RESULT."""

import json
import sys
from pathlib import Path

import jax
import job
import keras
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec


def main(addresses, index, result):
    names = ("batch", "classes")
    mesh = keras.distribution.DeviceMesh((2, 2), names, keras.distribution.list_devices())
    layout = keras.distribution.LayoutMap(mesh)
    layout[".*kernel"] = (None, "classes")
    layout[".*bias"] = ("classes",)
    keras.distribution.set_distribution(
        keras.distribution.ModelParallel(layout_map=layout, batch_dim_name="batch")
    )
    found = job.trained()
    specs = PartitionSpec(*names), PartitionSpec("batch"), PartitionSpec("batch")
    x, y, weights = (
        jax.device_put(array, NamedSharding(mesh.backend_mesh, spec))
        for array, spec in zip(job.data(), specs, strict=True)
    )
    assert {shard.data.shape for shard in x.addressable_shards} == {
        (job.SIZE // 2, job.CLASSES // 2)
    }
    for name in job.LOSSES:
        value, gradient = jax.jit(jax.value_and_grad(job.loss_of(name)))(x, y, weights)
        found[name] = {"value": float(value), "gradient": np.asarray(gradient).tolist()}
    found["metrics"] = {}
    for metric in job.built_metrics():
        state = [variable.value for variable in metric.variables]
        state = jax.jit(metric.stateless_update_state)(state, y, x, weights)
        for variable, value in zip(metric.variables, state, strict=True):
            variable.assign(value)
        found["metrics"].update(job.numbers([metric]))
    result.write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
