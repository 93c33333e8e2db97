"""The linear head with classes or rows divided over a JAX mesh: exact, and nothing is gathered."""

import numpy as np
import pytest
from backends import BACKEND

if BACKEND != "jax":
    pytest.skip("tensors are divided over the devices of a mesh by JAX", allow_module_level=True)

import jax
import keras
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from keras_focal import functional, layers

ROWS, DEPTH, CLASSES = 24, 5, 62


def sample():
    rng = np.random.default_rng(0)
    features = rng.normal(0, 1, (ROWS, DEPTH)).astype("float32")
    kernel = rng.normal(0, 1, (DEPTH, CLASSES)).astype("float32")
    bias = rng.normal(0, 1, CLASSES).astype("float32")
    # Of both shares, and their first and last class.
    labels = rng.integers(0, CLASSES, ROWS).astype("int32")
    labels[:4] = 0, CLASSES // 2 - 1, CLASSES // 2, CLASSES - 1
    return features, kernel, bias, labels


def step_of(reduction):
    def total(features, kernel, bias, labels):
        losses, found = functional.linear_sparse_focal_crossentropy(
            features,
            kernel,
            bias,
            labels,
            gamma=3.0,
            reduction=reduction,
            num_parts=4,
            return_statistics=True,
        )
        return losses.sum(), found

    return jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True))


DIVIDED = {
    "classes": (P(), P(None, "devices"), P("devices"), P()),
    "rows": (P("devices"), P(), P(), P("devices")),
}
"""How features, kernel, bias and labels are divided."""


@pytest.mark.parametrize("reduction", [None, "mean"])
@pytest.mark.parametrize("name", DIVIDED)
def test_devices_give_what_one_gives_and_gather_nothing(name, reduction):
    mesh = Mesh(np.array(jax.devices()[:2]), ("devices",))
    arrays, step = sample(), step_of(reduction)
    expected = step(*arrays)
    specs = DIVIDED[name]
    divided = [
        jax.device_put(x, NamedSharding(mesh, spec)) for x, spec in zip(arrays, specs, strict=True)
    ]
    compiled = step.lower(*divided).compile()
    found = compiled(*divided)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 2e-5, 1e-6), found, expected)
    assert found[1][1].sharding.spec == specs[1]
    program = compiled.as_text()
    assert "all-reduce" in program
    assert "all-gather" not in program
    assert "all-to-all" not in program


def test_head_under_model_parallel_gives_what_one_device_gives():
    features, kernel, _, labels = sample()
    expected = functional.linear_sparse_focal_crossentropy(features, kernel, None, labels)
    devices = keras.distribution.list_devices()[:2]
    mesh = keras.distribution.DeviceMesh((1, 2), ("batch", "model"), devices)
    layout = keras.distribution.LayoutMap(mesh)
    layout[".*kernel"] = (None, "model")
    keras.distribution.set_distribution(
        keras.distribution.ModelParallel(layout_map=layout, batch_dim_name="batch")
    )
    try:
        head = layers.LinearHead(CLASSES)
        head.build((None, DEPTH))
        head.own_kernel.assign(kernel)
        assert head.own_kernel.value.sharding.spec == P(None, "model")
        found = head.focal_crossentropy(features, labels)
    finally:
        keras.distribution.set_distribution(None)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
