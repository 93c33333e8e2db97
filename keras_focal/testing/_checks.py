"""The checks. Each takes a subject and raises an AssertionError if it does not hold."""

import copy
import inspect
import json
import pickle
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_focal._typing import Tensor
from keras_focal.functional._backend.transformations import compiled, gradient, has_float64
from keras_focal.testing._subjects import MetricSubject, Subject
from keras_focal.testing._ulp import as_float64

HALF = ("bfloat16", "float16")

# --- of everything


def config_holds_every_argument(subject: Subject) -> None:
    """`get_config` has every argument of `__init__`."""
    parameters = inspect.signature(type(subject.obj)).parameters.values()
    names = {p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    names.discard("dtype")  # Keras leaves the default out.
    missing = sorted(names - set(subject.obj.get_config()))
    assert not missing, f"get_config() lacks {missing}"


def config_is_json(subject: Subject) -> None:
    """The config is the same after it was written as JSON and read again."""
    config = subject.obj.get_config()
    config.pop("dtype", None)  # Keras puts a policy object into a layer's config.
    assert json.loads(json.dumps(config)) == config


def config_gives_an_equal_object(subject: Subject) -> None:
    """`from_config(get_config())` has the same config and gives the same result."""
    _assert_equal(subject, subject.rebuilt())


def is_registered_with_keras(subject: Subject) -> None:
    """Keras serializes the object and reads it again without `custom_objects`."""
    text = json.dumps(keras.saving.serialize_keras_object(subject.obj))
    try:
        copied = keras.saving.deserialize_keras_object(json.loads(text))
    except TypeError as error:
        raise AssertionError(
            "it is not registered: decorate the class with keras.saving.register_keras_serializable"
        ) from error
    assert type(copied) is type(subject.obj)
    assert copied.get_config() == subject.obj.get_config()


def copies_are_equal(subject: Subject) -> None:
    """A deep copy and an unpickled pickle are other objects that give the same result."""
    for copied in (copy.deepcopy(subject.obj), pickle.loads(pickle.dumps(subject.obj))):
        assert copied is not subject.obj
        _assert_equal(subject, copied)


def saved_model_evaluates_the_same(subject: Subject) -> None:
    """A model that uses it measures the same once it is saved and loaded again."""
    model = subject.model(subject.rebuilt())
    before = subject.evaluated(model)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.keras"
        model.save(file)
        loaded = keras.saving.load_model(file)
    loaded.run_eagerly = True
    assert subject.evaluated(loaded) == before


def compiled_equals_eager(subject: Subject) -> None:
    """XLA gives the eager result to 1e-6, or to 1e-7 of its largest entry. Not on torch."""
    function = compiled(partial(subject.value, subject.rebuilt(), subject.y_true))
    if function is not None:
        expected = subject.result(subject.rebuilt())
        found = as_float64(function(ops.convert_to_tensor(subject.y_pred)))
        _assert_close(found, expected, rtol=1e-6, of_largest=1e-7)


# --- of losses and metrics


def invalid_predictions_are_never_silent(subject: Subject) -> None:
    """Predictions of NaN raise ValueError, or give NaN."""
    _assert_not_silent(subject, subject.y_true, np.full_like(subject.y_pred, np.nan))


def invalid_labels_are_never_silent(subject: Subject) -> None:
    """A negative label, or an id beyond the classes, raises ValueError, or gives NaN."""
    ids = subject.y_true.dtype.kind in "iu"
    beyond = subject.y_pred.shape[getattr(subject.obj, "axis", -1)]
    for invalid in {-1, max(beyond, 2)} if ids else {-1}:
        if invalid == getattr(subject.obj, "ignore_class", None):
            continue
        y_true = subject.y_true.copy()
        y_true[0] = invalid
        _assert_not_silent(subject, y_true, subject.y_pred)


def weight_0_leaves_an_entry_out(subject: Subject) -> None:
    """An entry of weight 0 changes nothing, whatever its prediction is, NaN too."""
    weights = np.ones(len(subject.y_pred), "float32")
    weights[-1] = 0
    y_pred = subject.y_pred.copy()
    y_pred[-1] = np.nan
    expected, found = (
        as_float64(subject.value(subject.rebuilt(), subject.y_true, x, weights))
        for x in (subject.y_pred, y_pred)
    )
    assert np.isfinite(found).all(), "NaN of an entry of weight 0 gets through"
    _assert_close(found, expected, rtol=1e-6)


# --- of losses


def loss_of_a_half_dtype_is_the_float32_one_rounded(subject: Subject) -> None:
    """With a half `dtype` the result is computed in float32 and then rounded."""
    exact = subject.value(subject.rebuilt(), subject.y_true, subject.y_pred)
    for dtype in (*HALF, *(f"mixed_{half}" for half in HALF)):
        value = subject.value(subject.rebuilt(dtype=dtype), subject.y_true, subject.y_pred)
        assert keras.backend.standardize_dtype(value.dtype) == dtype.removeprefix("mixed_")
        np.testing.assert_array_equal(as_float64(value), as_float64(ops.cast(exact, value.dtype)))


def half_predictions_give_the_loss_of_their_values(subject: Subject) -> None:
    """Predictions of half precision are computed with in float32."""
    for dtype in HALF:
        half = ops.cast(subject.y_pred, dtype)
        value = subject.value(subject.rebuilt(), subject.y_true, half)
        assert keras.backend.standardize_dtype(value.dtype) == "float32"
        exact = subject.value(subject.rebuilt(), subject.y_true, ops.cast(half, "float32"))
        np.testing.assert_array_equal(as_float64(value), as_float64(exact))


def float64_agrees(subject: Subject) -> None:
    """With `dtype="float64"` the result is float64, and agrees to 3e-6. Not on JAX."""
    if has_float64():
        value = subject.value(subject.rebuilt(dtype="float64"), subject.y_true, subject.y_pred)
        assert keras.backend.standardize_dtype(value.dtype) == "float64"
        _assert_close(as_float64(value), subject.result(subject.rebuilt()), rtol=3e-6)


def gradient_is_the_slope(subject: Subject) -> None:
    """The gradient agrees with differences of values along random directions."""
    loss, step, rng = subject.rebuilt(), 2.0**-8, np.random.default_rng(0)

    def value(y_pred: Tensor) -> Tensor:
        return ops.sum(subject.value(loss, subject.y_true, y_pred))

    slope = as_float64(gradient(value, subject.y_pred))
    tolerance = 0.01 * max(np.abs(slope).sum(), 0.01)
    for _ in range(3):
        direction = rng.choice(np.array([-step, step], "float32"), slope.shape)
        ends = [subject.y_pred + direction, subject.y_pred - direction]
        high, low = (float(as_float64(value(ops.convert_to_tensor(end)))) for end in ends)
        found, difference = (slope * direction).sum() / step, (high - low) / (2 * step)
        assert abs(found - difference) <= tolerance, (
            f"slope {found:.6g} by the gradient, {difference:.6g} by differences"
        )


def large_logits_give_finite_numbers(subject: Subject) -> None:
    """Logits of 1e4 give a finite value and gradient. Of losses with `from_logits=True`."""
    if getattr(subject.obj, "from_logits", False):
        loss = subject.rebuilt()
        x = (subject.y_pred * (1e4 / np.abs(subject.y_pred).max())).astype("float32")

        def value(y_pred: Tensor) -> Tensor:
            return ops.sum(subject.value(loss, subject.y_true, y_pred))

        assert np.isfinite(as_float64(value(ops.convert_to_tensor(x)))).all()
        assert np.isfinite(as_float64(gradient(value, x))).all()


def order_of_rows_does_not_matter(subject: Subject) -> None:
    """The sum or mean over a batch is the same in any order of its rows."""
    order = np.random.default_rng(0).permutation(len(subject.y_pred))
    obj = subject.rebuilt()
    total = np.sum(as_float64(subject.value(obj, subject.y_true, subject.y_pred)))
    y_true, y_pred = np.asarray(subject.y_true)[order], subject.y_pred[order]
    _assert_close(np.sum(as_float64(subject.value(obj, y_true, y_pred))), total, rtol=1e-5)


# --- of metrics


def metric_of_a_half_dtype_computes_in_float32(subject: Subject) -> None:
    """A half `dtype` changes no digit of the result."""
    exact = subject.result(subject.rebuilt())
    for dtype in (*HALF, *(f"mixed_{half}" for half in HALF)):
        metric = subject.rebuilt(dtype=dtype)
        assert metric.dtype == "float32"
        np.testing.assert_array_equal(subject.result(metric), exact)


def batches_add_up(subject: MetricSubject) -> None:
    """Two batches give what one batch of both gives, in either order."""
    half = len(subject.y_pred) // 2
    parts = [(subject.y_true[:half], subject.y_pred[:half])]
    parts.append((subject.y_true[half:], subject.y_pred[half:]))
    expected = subject.result(subject.rebuilt())
    for order in (parts, parts[::-1]):
        metric = subject.rebuilt()
        state = metric.stateless_reset_state()
        for y_true, y_pred in order:
            state = metric.stateless_update_state(state, y_true, y_pred)
        _assert_close(as_float64(subject.read(metric, state)), expected, rtol=1e-6)


def merged_metrics_add_up(subject: MetricSubject) -> None:
    """`merge_state`, where there is one, gives what one metric of all batches gives."""
    if not hasattr(subject.obj, "merge_state"):
        return
    first, second = subject.rebuilt(), subject.rebuilt()
    half = len(subject.y_pred) // 2
    first.update_state(subject.y_true[:half], subject.y_pred[:half])
    second.update_state(subject.y_true[half:], subject.y_pred[half:])
    first.merge_state([second])
    found = subject.read(first, [v.value for v in first.variables])
    _assert_close(as_float64(found), subject.result(subject.rebuilt()), rtol=1e-6)


def integer_weight_is_a_repetition(subject: Subject) -> None:
    """Weight k is k copies of an entry."""
    counts = np.arange(len(subject.y_pred)) % 3 + 1
    obj = subject.rebuilt()
    weighted = subject.value(obj, subject.y_true, subject.y_pred, counts.astype("float32"))
    copies = (np.repeat(x, counts, axis=0) for x in (subject.y_true, subject.y_pred))
    _assert_close(as_float64(weighted), as_float64(subject.value(obj, *copies)), rtol=1e-5)


def reset_metric_is_like_new(subject: MetricSubject) -> None:
    """`reset_state` forgets everything."""
    metric = subject.rebuilt()
    metric.update_state(subject.y_true, subject.y_pred)
    metric.reset_state()
    state = [v.value for v in metric.variables]
    new = subject.rebuilt()
    expected = as_float64(subject.read(new, new.stateless_reset_state()))
    np.testing.assert_array_equal(as_float64(subject.read(metric, state)), expected)


# --- of calibration maps


def rows_are_mapped_by_themselves(subject: Subject) -> None:
    """A row is mapped to the same, whatever the others of its batch are."""
    layer = subject.rebuilt()
    expected = as_float64(layer(subject.y_pred))
    alone = np.concatenate([as_float64(layer(row[None])) for row in subject.y_pred])
    _assert_close(alone, expected, rtol=1e-6, of_largest=1e-7)


def large_logits_give_valid_ones(subject: Subject) -> None:
    """Logits of 1e4 are mapped to numbers below +inf. Of maps that take logits."""
    if getattr(subject.obj, "inputs", "logits") == "logits":
        x = (subject.y_pred * (1e4 / np.abs(subject.y_pred).max())).astype("float32")
        assert (as_float64(subject.rebuilt()(x)) < np.inf).all()


def map_of_a_half_dtype_keeps_float32_weights(subject: Subject) -> None:
    """With a half policy the weights stay float32, and the output has the compute dtype."""
    for dtype in HALF:
        layer = subject.rebuilt(dtype=f"mixed_{dtype}")
        value = layer(subject.y_pred)
        if "float" in keras.backend.standardize_dtype(value.dtype):
            assert keras.backend.standardize_dtype(value.dtype) == dtype
        dtypes = {keras.backend.standardize_dtype(weight.dtype) for weight in layer.weights}
        assert dtypes <= {"float32"}


def _assert_equal(subject: Subject, other: Any) -> None:
    assert type(other) is type(subject.obj)
    assert other.get_config() == subject.obj.get_config()
    np.testing.assert_array_equal(subject.result(other), subject.result(subject.obj))


def _assert_not_silent(subject: Subject, y_true: Any, y_pred: Any) -> None:
    try:
        value = as_float64(subject.value(subject.rebuilt(), y_true, y_pred))
    except ValueError:
        return
    assert np.isnan(value).any(), f"the result is {value}: neither an error nor NaN"


def _assert_close(
    found: np.ndarray, expected: np.ndarray, rtol: float, of_largest: float = 0.0
) -> None:
    largest = np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=of_largest * largest)
