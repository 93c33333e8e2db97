import keras
import numpy as np
import pytest
from backends import BACKEND
from keras import ops

from keras_focal.functional._backend import precision
from keras_focal.functional._backend.precision import compute_dtype


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("float32", "float32"),
        ("float64", "float64"),
        ("bfloat16", "float32"),
        ("float16", "float32"),
        ("mixed_bfloat16", "float32"),
        ("mixed_float16", "float32"),
        (keras.DTypePolicy("mixed_bfloat16"), "float32"),
        (keras.DTypePolicy("float64"), "float64"),
    ],
    ids=str,
)
def test_half_dtypes_are_computed_in_float32_and_others_as_asked(dtype, expected):
    assert compute_dtype(dtype) == expected


@pytest.mark.parametrize(
    ("floatx", "expected"),
    [("float32", "float32"), ("float64", "float64"), ("bfloat16", "float32")],
)
def test_no_dtype_means_floatx(floatx, expected):
    before = keras.config.floatx()
    keras.config.set_floatx(floatx)
    try:
        assert compute_dtype(None) == expected
    finally:
        keras.config.set_floatx(before)


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool", "float16", "bfloat16", "float32"])
def test_to_float_gives_float32_and_keeps_values(dtype):
    x = precision.to_float(ops.cast(ops.convert_to_tensor([0.0, 1.0]), dtype))
    assert keras.backend.standardize_dtype(x.dtype) == "float32"
    np.testing.assert_array_equal(ops.convert_to_numpy(x), [0, 1])


@pytest.mark.skipif(BACKEND == "jax", reason="JAX has no float64 unless jax_enable_x64 is set")
def test_to_float_keeps_float64():
    x = precision.to_float(ops.cast(ops.convert_to_tensor([0.0, 1.0]), "float64"))
    assert keras.backend.standardize_dtype(x.dtype) == "float64"


def test_limits_are_those_of_normal_float32_numbers():
    assert np.finfo("float32").tiny == precision.TINY
    assert np.finfo("float32").min == precision.LOWEST
