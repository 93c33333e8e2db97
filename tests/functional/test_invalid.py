"""A label that cannot be: an error where it can be read, NaN where it cannot."""

from functools import partial

import keras
import numpy as np
import pytest
from backends import BACKEND, compiled_call, to_numpy
from keras import ops

from keras_focal import functional
from keras_focal.functional.gammas._adaptive import BinnedGamma

IDS = {
    "sparse": functional.sparse_categorical_focal_crossentropy,
    "either form": functional.focal_crossentropy,
    "brier": functional.brier_loss,
    "smoothed": functional.label_smoothing_crossentropy,
    "entropy": functional.entropy_regularized_crossentropy,
    "margin": functional.margin_smoothing_crossentropy,
    "dual": functional.dual_focal_crossentropy,
    "poly": functional.poly_focal_crossentropy,
    "focal + brier": functional.focal_calibration_loss,
    "mmce": functional.maximum_mean_calibration_error,
    "focal tversky": functional.focal_tversky_loss,
    "unified focal": functional.unified_focal_loss,
    "linear": lambda labels, z: functional.linear_sparse_focal_crossentropy(
        z, np.eye(3, dtype="float32"), None, labels
    ),
    "gradient norm": functional.focal_gradient_norm,
}
OF_A_BATCH = ("mmce", "focal tversky", "unified focal")
ROWS = {
    "categorical": functional.categorical_focal_crossentropy,
    **{
        name: IDS[name]
        for name in ("either form", "brier", "smoothed", "margin", "poly", *OF_A_BATCH)
    },
}
OUTPUTS = {
    "binary": functional.binary_focal_crossentropy,
    "asymmetric": functional.asymmetric_loss,
    "quality": functional.quality_focal_crossentropy,
    "varifocal": functional.varifocal_crossentropy,
}
LOGITS = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")


def every(table):
    return pytest.mark.parametrize("name", table)


@pytest.mark.parametrize("labels", [[7], [[7]], [[0], [7]]], ids=str)
def test_an_id_is_named_as_a_number_whatever_the_shape_of_the_labels(labels):
    with pytest.raises(ValueError, match="Received: 7 at"):
        functional.focal_crossentropy(np.array(labels), LOGITS[: len(labels)])


@pytest.mark.parametrize("wrong", [-1, 3, 255, 2**31 - 1, 0.5, np.nan])
@every(IDS)
def test_an_id_that_names_no_class_is_an_error(name, wrong):
    labels = np.array([0, wrong, 2, 1])
    with pytest.raises(
        ValueError, match=r"must hold class ids, whole numbers in \[0, 3\).* at \[1\]"
    ):
        IDS[name](labels, LOGITS)


def test_ids_that_start_at_one_are_told_so():
    with pytest.raises(ValueError, match="If the ids start at 1, subtract 1"):
        functional.sparse_categorical_focal_crossentropy(np.array([1, 2, 3, 1]), LOGITS)


@pytest.mark.skipif(BACKEND == "torch", reason="torch compiles nothing here")
@every(IDS)
def test_an_id_that_names_no_class_is_nan_inside_a_compiled_step(name):
    values = to_numpy(compiled_call(IDS[name], np.array([0, 3, 2, 1]), LOGITS))
    assert np.isnan(values if name in OF_A_BATCH else values[1]).all()
    if name not in OF_A_BATCH:
        assert np.isfinite(values[[0, 2, 3]]).all()


@every(ROWS)
def test_a_row_with_a_negative_entry_is_an_error(name):
    rows = np.eye(3, dtype="float32")[[0, 1, 2, 1]]
    rows[2] = [-0.5, 0.5, 1.0]
    with pytest.raises(ValueError, match=r">= 0.*at \[2\]"):
        ROWS[name](rows, LOGITS)


@pytest.mark.parametrize("name", ["dual", *OF_A_BATCH])
def test_a_row_of_several_positives_means_no_class(name):
    rows = np.array([[1, 1, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]], "float32")
    with pytest.raises(ValueError, match=r"rows for one class.*at \[0\].*several labels"):
        IDS[name](rows, LOGITS)


@pytest.mark.skipif(BACKEND != "torch", reason="the others infer shapes without values")
def test_a_shape_is_inferred_with_ones_in_place_of_rows_for_one_class():
    class Loss(keras.layers.Layer):
        def call(self, labels, logits):
            # A number of a tensor without values is an error, after which Keras tries ones.
            return float(ops.max(logits)) * functional.dual_focal_crossentropy(labels, logits)

    inputs = keras.Input((3,)), keras.Input((3,))
    assert Loss()(*inputs).shape == (None,)
    model = keras.Model(inputs, Loss()(*inputs))
    with pytest.raises(ValueError, match="rows for one class"):
        model([np.array([[1, 1, 0]], "float32"), LOGITS[:1]])


@every([name for name in ROWS if name not in OF_A_BATCH])
def test_a_row_of_zeros_has_no_loss(name):
    rows = np.eye(3, dtype="float32")[[0, 1, 2, 1]]
    rows[1] = 0.0
    values = to_numpy(ROWS[name](rows, LOGITS))
    assert values[1] == 0.0
    assert (values[[0, 2, 3]] > 0).all()


@pytest.mark.parametrize("wrong", [-0.1, 1.1, 2.0, np.nan])
@every(OUTPUTS)
def test_a_target_outside_the_unit_interval_is_an_error(name, wrong):
    targets = np.zeros((4, 3), "float32")
    targets[2, 1] = wrong
    with pytest.raises(ValueError, match=r"targets in \[0, 1\].*at \[2, 1\]"):
        OUTPUTS[name](targets, LOGITS)


@every({**IDS, **OUTPUTS})
def test_a_diverged_model_is_no_error_of_the_labels(name):
    loss = {**IDS, **OUTPUTS}[name]
    labels = np.zeros((4, 3) if name in OUTPUTS else 4, "int32")
    assert np.isnan(to_numpy(loss(labels, np.full((4, 3), np.nan, "float32")))).any()


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf])
def test_a_weight_of_a_row_of_the_linear_head_is_a_number(wrong):
    weights = np.array([1.0, wrong, 0.0, 1.0], "float32")
    values = functional.linear_sparse_focal_crossentropy(
        LOGITS, np.eye(3, dtype="float32"), None, np.array([0, 1, 9, 2]), sample_weight=weights
    )
    np.testing.assert_array_equal(np.isnan(to_numpy(values)), [False, True, False, False])


@pytest.mark.parametrize("gamma", ["FLSD-53", None, True, {}], ids=str)
@every(
    {
        **{n: IDS[n] for n in ("sparse", "either form", "dual", "poly", "focal + brier", "linear")},
        **{n: OUTPUTS[n] for n in ("binary", "quality", "varifocal")},
    }
)
def test_a_gamma_that_is_none_is_an_error(name, gamma):
    labels = np.zeros((4, 3) if name in OUTPUTS else 4, "int32")
    loss = partial({**IDS, **OUTPUTS}[name], labels, LOGITS)
    if name == "linear":
        loss = partial(functional.linear_sparse_focal_crossentropy, LOGITS, np.eye(3), None, labels)
    with pytest.raises(ValueError, match="`gamma` must be"):
        loss(gamma=gamma)


@pytest.mark.parametrize("gamma", [-1.0, np.float32(-1.0), np.array(-1.0)], ids=repr)
@pytest.mark.parametrize("name", ["dual", "poly", "quality", "varifocal"])
def test_a_loss_without_an_inverse_form_refuses_a_negative_gamma(name, gamma):
    labels = np.zeros((4, 3) if name in OUTPUTS else 4, "int32")
    with pytest.raises(ValueError, match="`gamma` must be"):
        {**IDS, **OUTPUTS}[name](labels, LOGITS, gamma=gamma)
    rule = BinnedGamma(np.array([0.0], "float32"), np.array([-2.0], "float32"))
    with pytest.raises(ValueError, match="not defined for negative exponents"):
        {**IDS, **OUTPUTS}[name](labels, LOGITS, gamma=rule)


@pytest.mark.parametrize("gamma", [np.array(2.0), np.float64(2.0), np.array(2)], ids=repr)
def test_any_number_is_a_gamma(gamma):
    labels = np.array([0, 1, 2, 1])
    expected = functional.sparse_categorical_focal_crossentropy(labels, LOGITS, gamma=2.0)
    found = functional.sparse_categorical_focal_crossentropy(labels, LOGITS, gamma=gamma)
    np.testing.assert_array_equal(to_numpy(found), to_numpy(expected))


@every([name for name in IDS if name not in ("linear", "gradient norm")])
def test_one_class_is_no_choice(name):
    with pytest.raises(ValueError, match="class axis of known length >= 2"):
        IDS[name]([0, 0], [[1.0], [2.0]])


def test_ids_of_64_bits_do_not_wrap():
    labels = np.array([2**32, 0, 1, 2], "int64")
    with pytest.raises(ValueError, match="whole numbers"):
        functional.sparse_categorical_focal_crossentropy(labels, LOGITS)


@pytest.mark.parametrize("labels", [np.zeros((3,), int), np.zeros((4, 2), int), np.zeros((1, 4))])
def test_ids_that_do_not_fit_are_an_error_by_shape(labels):
    with pytest.raises(ValueError, match="must have shape"):
        functional.sparse_categorical_focal_crossentropy(labels, LOGITS)


def test_a_column_of_ids_is_read_as_ids():
    labels = np.array([0, 1, 2, 1])
    expected = functional.sparse_categorical_focal_crossentropy(labels, LOGITS)
    found = functional.sparse_categorical_focal_crossentropy(labels[:, None], LOGITS)
    np.testing.assert_array_equal(to_numpy(found), to_numpy(expected))
    assert ops.shape(found) == (4,)
