"""Every loss under every transformation of its framework: what may be traced is an argument."""

from functools import partial
from itertools import product
from traceback import extract_stack

import numpy as np
import pytest
from backends import BACKEND, as_usual, to_numpy
from keras import ops

from keras_focal import functional, gammas, losses, metrics
from keras_focal.functional.gammas._adaptive import BinnedGamma

Z = np.random.default_rng(1).normal(size=(5, 3)).astype("float32")
IDS = np.array([0, 2, 1, 1, 0], "int32")
ROWS = np.eye(3, dtype="float32")[IDS]
BINS = gammas.AdaptiveBins(3, [3.0, 1.0, 0.5])


def linear(labels, z, **arguments):
    kernel = ops.eye(3)
    return functional.linear_sparse_focal_crossentropy(
        z, kernel, None, labels, num_parts=2, **arguments
    )


# By name: the loss, its labels, and whether it has a gamma.
LOSSES = {
    "sparse": (functional.sparse_categorical_focal_crossentropy, IDS, True),
    "categorical": (functional.categorical_focal_crossentropy, ROWS, True),
    "binary": (functional.binary_focal_crossentropy, ROWS, True),
    "quality": (functional.quality_focal_crossentropy, ROWS, True),
    "varifocal": (functional.varifocal_crossentropy, ROWS * 0.75, True),
    "asymmetric": (functional.asymmetric_loss, ROWS, False),
    "brier": (functional.brier_loss, IDS, False),
    "smoothed": (functional.label_smoothing_crossentropy, IDS, False),
    "entropy": (functional.entropy_regularized_crossentropy, IDS, False),
    "margin": (functional.margin_smoothing_crossentropy, IDS, False),
    "dual": (functional.dual_focal_crossentropy, IDS, True),
    "poly": (functional.poly_focal_crossentropy, IDS, True),
    "poly of rows": (functional.poly_focal_crossentropy, ROWS, True),
    "focal + brier": (functional.focal_calibration_loss, IDS, True),
    "mmce": (functional.maximum_mean_calibration_error, IDS, False),
    "focal tversky": (functional.focal_tversky_loss, IDS, False),
    "unified focal": (functional.unified_focal_loss, IDS, False),
    "linear": (linear, IDS, True),
    "mdca": (functional.mdca_penalty, IDS, False),
    "dca": (functional.dca_penalty, IDS, False),
    "soft ece": (functional.soft_binned_ece_penalty, IDS, False),
    "soft ace": (functional.soft_binned_ace_penalty, IDS, False),
    "acls": (lambda labels, z: functional.acls_penalty(z, margin=0.5), IDS, False),
    "cals": (lambda labels, z: functional.cals_penalty(z, margin=0.5), IDS, False),
    "nacl": (lambda labels, z: functional.nacl_penalty(labels[None], z[None])[0], IDS, False),
}
OF_A_BATCH = {"focal tversky", "unified focal", "mmce", "mdca", "dca", "soft ece", "soft ace"}
BY_ROW = [name for name in LOSSES if name not in OF_A_BATCH and name != "nacl"]
"""The rows of NACL are pixels, neighbours of each other."""

every_loss = pytest.mark.parametrize("name", LOSSES)
every_focal_loss = pytest.mark.parametrize("name", [n for n, row in LOSSES.items() if row[2]])
on_jax = pytest.mark.skipif(BACKEND != "jax", reason="a transformation of JAX")
on_torch = pytest.mark.skipif(BACKEND != "torch", reason="a transformation of torch")
on_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="a transformation of TensorFlow")


def total(name):
    """Return the sum of a loss as a function of logits, labels and gamma."""
    loss, _, is_focal = LOSSES[name]

    def function(z, labels, gamma):
        return ops.sum(loss(labels, z, **({"gamma": gamma} if is_focal else {})))

    return function


def by_differences(function, x, step=1e-2):
    """Return the gradient of a float function of an array, by central differences."""
    x = np.asarray(x, "float32")
    function, gradient = as_usual(function), np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        ends = []
        for sign in (1, -1):
            moved = x.copy()
            moved[index] += sign * step
            ends.append(float(function(moved)))
        gradient[index] = (ends[0] - ends[1]) / (2 * step)
    return gradient


def gradient_of(function, *arguments):
    """Return the gradients of a sum by each float argument, as arrays."""
    if BACKEND == "jax":
        import jax

        places = tuple(range(len(arguments)))
        return [np.asarray(g) for g in jax.jit(jax.grad(function, argnums=places))(*arguments)]
    if BACKEND == "torch":
        import torch

        tensors = [torch.tensor(a, requires_grad=True) for a in arguments]
        return [g.numpy() for g in torch.autograd.grad(function(*tensors), tensors)]
    import tensorflow as tf

    tensors = [tf.constant(a) for a in arguments]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = function(*tensors)
    return [g.numpy() for g in tape.gradient(value, tensors)]


@every_loss
def test_one_row_has_the_loss_that_it_has_among_others(name):
    loss, labels, _ = LOSSES[name]
    alone = to_numpy(loss(labels[:1], Z[:1]))
    if name in BY_ROW:
        among = to_numpy(loss(labels, Z))
        np.testing.assert_allclose(alone, among[:1], rtol=1e-6)
    else:
        assert np.sum(alone) > 0


@every_focal_loss
@pytest.mark.parametrize("gamma", [0.7, 2.0])
def test_gamma_of_one_tensor_has_its_gradient(name, gamma):
    _, labels, _ = LOSSES[name]
    gamma = np.float32(gamma)
    (found,) = gradient_of(lambda g: total(name)(ops.convert_to_tensor(Z), labels, g), gamma)
    expected = by_differences(
        lambda g: total(name)(Z, labels, ops.convert_to_tensor(g)), gamma, step=2e-2
    )
    np.testing.assert_allclose(found, expected, rtol=5e-3, atol=1e-4)


@every_focal_loss
def test_gamma_of_each_entry_has_its_gradient(name):
    _, labels, _ = LOSSES[name]
    each = np.linspace(0.5, 3.0, labels.size, dtype="float32").reshape(labels.shape)
    (found,) = gradient_of(lambda g: total(name)(ops.convert_to_tensor(Z), labels, g), each)
    expected = by_differences(lambda g: total(name)(Z, labels, ops.convert_to_tensor(g)), each)
    np.testing.assert_allclose(found, expected, rtol=2e-2, atol=2e-4)


@every_focal_loss
def test_gradient_of_gamma_is_zero_where_the_loss_vanishes(name):
    _, labels, _ = LOSSES[name]
    logits = 400.0 * ROWS - 200.0
    (found,) = gradient_of(
        lambda g: total(name)(ops.convert_to_tensor(logits), labels, g), np.float32(1.5)
    )
    np.testing.assert_allclose(found, 0.0, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.3, [0.2, 0.5, 0.9]], ids=["number", "vector"])
@pytest.mark.parametrize("name", ["sparse", "categorical", "binary", "linear"])
def test_alpha_of_a_tensor_has_its_gradient(name, alpha):
    loss, labels, _ = LOSSES[name]
    alpha = np.asarray(alpha, "float32")

    def function(a):
        return ops.sum(loss(labels, ops.convert_to_tensor(Z), gamma=1.5, alpha=a))

    (found,) = gradient_of(function, alpha)
    expected = by_differences(lambda a: function(ops.convert_to_tensor(a)), alpha)
    np.testing.assert_allclose(found, expected, rtol=5e-3, atol=1e-4)


def under_each_transformation(function):
    """Return the function under JAX's transformations, by their names."""
    import jax
    from jax import lax

    return {
        "grad of jit": jax.jit(function),
        "checkpoint": jax.checkpoint(function),
        "scan": lambda z, labels, gamma: lax.scan(
            lambda carry, y: (carry + function(z, y, gamma), None), 0.0, labels[None]
        )[0],
        "map": lambda z, labels, gamma: lax.map(
            lambda y: function(z, y, gamma), labels[None]
        ).sum(),
        "vmap": lambda z, labels, gamma: jax.vmap(lambda y: function(z, y, gamma))(
            labels[None]
        ).sum(),
        "cond": lambda z, labels, gamma: lax.cond(
            z[0, 0] < 100, lambda: function(z, labels, gamma), lambda: 0.0
        ),
    }


@on_jax
@every_loss
def test_jax_transforms_a_loss(name):
    import jax

    _, labels, _ = LOSSES[name]
    function = total(name)

    @jax.jit
    def gradients(z, labels, gamma):
        return {
            how: jax.grad(transformed)(z, labels, gamma)
            for how, transformed in under_each_transformation(function).items()
        }

    expected = jax.jit(jax.grad(function))(Z, labels, 2.0)
    for how, found in gradients(Z, labels, np.float32(2.0)).items():
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6, err_msg=how)


@on_jax
@pytest.mark.parametrize("name", ["sparse", "categorical", "binary", "linear"])
def test_jax_transforms_a_loss_whose_rule_has_state(name):
    import jax

    _, labels, _ = LOSSES[name]

    def function(z, edges, gammas):
        return total(name)(z, labels, BinnedGamma(edges, gammas))

    bins = BINS.now()
    found = jax.grad(jax.checkpoint(jax.jit(function)))(Z, bins.edges, bins.gammas)
    expected = jax.grad(lambda z: total(name)(z, labels, bins))(Z)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@on_torch
@every_loss
@pytest.mark.parametrize("how", ["func.grad", "vmap of grad", "checkpoint"])
def test_torch_transforms_a_loss(name, how):
    import torch
    from torch.utils.checkpoint import checkpoint

    _, labels, _ = LOSSES[name]
    if name == "linear" and how == "vmap of grad":
        pytest.skip("the linear head loops: that has no batching rule")
    if name not in BY_ROW and how == "vmap of grad":
        pytest.skip("a batch of one is another batch")
    function = partial(total(name), labels=torch.tensor(labels), gamma=2.0)
    z = torch.tensor(Z, requires_grad=True)
    (expected,) = torch.autograd.grad(function(z), z)
    if how == "func.grad":
        found = torch.func.grad(function)(z.detach())
    elif how == "checkpoint":
        (found,) = torch.autograd.grad(checkpoint(function, z, use_reentrant=False), z)
    else:
        one = lambda z, y: total(name)(z[None], y[None], 2.0)  # noqa: E731
        found = torch.func.vmap(torch.func.grad(one))(z.detach(), torch.tensor(labels))
    np.testing.assert_allclose(found.detach(), expected, rtol=1e-4, atol=1e-6)


# Compiling takes a second each; the contract compiles every loss in a graph.
JITTED_BY_DAY = {"sparse", "binary", "mmce", "linear"}


@on_tensorflow
@pytest.mark.parametrize(
    ("name", "how"),
    [
        pytest.param(
            *case,
            marks=pytest.mark.nightly if case[1] == "jit" and case[0] not in JITTED_BY_DAY else [],
        )
        for case in product(LOSSES, ["recompute_grad", "variable", "jit"])
    ],
)
def test_tensorflow_transforms_a_loss(name, how):
    import tensorflow as tf

    _, labels, _ = LOSSES[name]
    function = partial(total(name), labels=tf.constant(labels), gamma=2.0)
    z = tf.Variable(Z)
    with tf.GradientTape() as tape:
        value = function(tf.convert_to_tensor(z))
    expected = tape.gradient(value, z)
    transformed = {
        "recompute_grad": tf.recompute_grad(function),
        "variable": function,
        "jit": tf.function(function, jit_compile=True),
    }[how]
    with tf.GradientTape() as tape:
        value = transformed(z if how == "variable" else tf.convert_to_tensor(z))
    np.testing.assert_allclose(tape.gradient(value, z), expected, rtol=1e-4, atol=1e-6)


@on_tensorflow
@pytest.mark.parametrize("entrance", ["function", "loss", "metric"])
def test_autograph_leaves_the_package_as_it_is(entrance):
    """Rewriting a loss takes many times as long as tracing it."""
    import tensorflow as tf

    rewritten = set()

    def noted():
        rewritten.update(frame.name for frame in extract_stack() if frame.name.startswith("tf__"))

    def rule(p):
        noted()
        return 2.0 + 0.0 * p

    class Loss(losses.SparseCategoricalFocalCrossentropy):
        def values(self, labels, logits):
            noted()
            return super().values(labels, logits)

    class Metric(metrics.NegativeLogLikelihood):
        def _amounts(self, entries):
            noted()
            return super()._amounts(entries)

    measure = {
        "function": partial(functional.sparse_categorical_focal_crossentropy, gamma=rule),
        "loss": Loss(from_logits=True),
        "metric": Metric(from_logits=True).update_state,
    }[entrance]

    @tf.function
    def step(labels, logits):
        return measure(labels, logits)

    step(tf.constant(IDS), tf.constant(Z))
    # Of a loss, an object that is called, the wrapper that stops AutoGraph is rewritten itself.
    assert {"tf__step"} <= rewritten <= {"tf__step", "tf__wrapper"}


def hessian_diagonal(name, z):
    """Return the second derivative of a loss by each logit."""
    _, labels, _ = LOSSES[name]
    gamma = 0.0 if LOSSES[name][2] else None
    function = partial(total(name), labels=labels, gamma=gamma)
    if BACKEND == "jax":
        import jax

        return np.asarray(jax.grad(lambda z: jax.grad(function)(z).sum())(z))
    if BACKEND == "torch":
        import torch

        z = torch.tensor(z, requires_grad=True)
        (first,) = torch.autograd.grad(function(z), z, create_graph=True)
        return torch.autograd.grad(first.sum(), z)[0].numpy()
    import tensorflow as tf

    z = tf.constant(z)
    with tf.GradientTape() as outer:
        outer.watch(z)
        with tf.GradientTape() as inner:
            inner.watch(z)
            value = function(z)
        first = tf.reduce_sum(inner.gradient(value, z))
    return outer.gradient(first, z).numpy()


@pytest.mark.parametrize("name", ["binary", "asymmetric"])
def test_second_derivative_at_logit_zero_is_that_of_cross_entropy(name):
    if name == "asymmetric":
        loss = partial(functional.asymmetric_loss, gamma_neg=0.0, shift=0.0)
        LOSSES["plain"] = (loss, ROWS, False)
        name = "plain"
    try:
        found = hessian_diagonal(name, np.zeros((5, 3), "float32"))
    finally:
        LOSSES.pop("plain", None)
    np.testing.assert_allclose(found, 0.25, rtol=1e-5)


def test_the_linear_head_refuses_a_second_derivative():
    with pytest.raises(ValueError, match="must be differentiated once"):
        hessian_diagonal("linear", Z)


def test_arrays_come_back_as_they_were():
    value = functional.sparse_categorical_focal_crossentropy(IDS, Z)
    assert to_numpy(value).shape == (5,)
