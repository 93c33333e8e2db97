"""Each public check fails a class that breaks its promise, by name, and passes one that keeps it.

The classes of the package are checked in tests/test_contract.py.
"""

import keras
import numpy as np
import pytest
from keras import ops

from keras_focal import layers, losses, metrics, testing

LABELS = [0, 1, 1, 0]
LOGITS = [[2.0, -1.0], [0.5, 3.0], [-1.5, 0.25], [0.75, 0.0]]


class Loss(losses.BrierLoss):
    def __init__(self, from_logits=True, **kwargs):
        super().__init__(from_logits=from_logits, **kwargs)


def failing(check, *arguments):
    """Return the names of the checks that an object fails."""
    with pytest.raises(AssertionError) as error:
        check(*arguments)
    first, *lines = str(error.value).splitlines()
    assert f"fails {len(lines)} of" in first
    return {line.removeprefix("- ").partition(":")[0] for line in lines}


def registered(cls):
    return keras.saving.register_keras_serializable("tests")(cls)


@registered
class Forgetful(Loss):
    def __init__(self, scale=1.0, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale

    def values(self, labels, logits):
        return self.scale * super().values(labels, logits)


class Unregistered(Loss):
    pass


@registered
class Squared(Loss):
    """Of the row numbers, with a gradient that is not its slope, too large for large logits."""

    def values(self, labels, logits):
        rows = ops.arange(logits.shape[0], dtype="float32")
        detached = ops.stop_gradient(ops.exp(ops.sum(logits, axis=-1)))
        return super().values(labels, logits) * rows + detached


@registered
class Unread(keras.losses.Loss):
    """A loss of Keras, which reads labels as they come and multiplies by weights at the end."""

    def call(self, y_true, y_pred):
        return keras.losses.categorical_crossentropy(y_true, y_pred, from_logits=True)


@pytest.mark.parametrize(
    ("loss", "labels", "broken"),
    [
        (Forgetful(scale=2.0), LABELS, {"config_holds_every_argument"}),
        (Unregistered(), LABELS, {"is_registered_with_keras"}),
        (
            Squared(reduction="sum"),
            LABELS,
            {
                "gradient_is_the_slope",
                "large_logits_give_finite_numbers",
                "order_of_rows_does_not_matter",
            },
        ),
        (
            Unread(reduction="sum"),
            np.eye(2, dtype="float32")[LABELS],
            {"invalid_labels_are_never_silent", "weight_0_leaves_an_entry_out"},
        ),
    ],
    ids=["Forgetful", "Unregistered", "Squared", "Unread"],
)
def test_loss_that_breaks_a_promise_fails_its_check(loss, labels, broken):
    assert failing(testing.check_loss, loss, labels, LOGITS) >= broken


@registered
class Last(metrics.BrierScore):
    """The last batch alone, rounded to half precision."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.reset_state()
        super().update_state(y_true, y_pred)

    def result(self):
        return ops.cast(ops.cast(super().result(), "bfloat16"), "float32")


def test_metric_that_breaks_promises_fails_their_checks():
    broken = failing(testing.check_metric, Last(from_logits=True), LABELS, LOGITS)
    assert broken >= {
        "batches_add_up",
        "integer_weight_is_a_repetition",
        "weight_0_leaves_an_entry_out",
    }
    assert not broken & {"config_is_json", "reset_metric_is_like_new"}


@registered
class Centred(layers.TemperatureScaling):
    """Takes the mean of the batch away, and overflows."""

    def map(self, logits):
        return ops.log(ops.exp(logits)) - ops.mean(logits, axis=0, keepdims=True)


def test_map_that_breaks_promises_fails_their_checks():
    broken = failing(testing.check_map, Centred(2.0), LOGITS)
    assert broken == {"rows_are_mapped_by_themselves", "large_logits_give_valid_ones"}


def test_expected_failures_are_passed_over_and_must_fail():
    reason = "registered elsewhere"
    names = failing(testing.check_loss, Unregistered(), LABELS, LOGITS)
    expected = dict.fromkeys(names, reason)
    testing.check_loss(Unregistered(), LABELS, LOGITS, expected_failures=expected)
    with pytest.raises(AssertionError, match=f"- config_is_json: it passes, .*: {reason}"):
        testing.check_loss(
            Unregistered(), LABELS, LOGITS, expected_failures={**expected, "config_is_json": reason}
        )
    with pytest.raises(ValueError, match=r"`expected_failures` must be one of .*'no_check'"):
        testing.check_loss(Unregistered(), LABELS, LOGITS, expected_failures={"no_check": reason})


@registered
class Seen(keras.metrics.Metric):
    """The sum of weights: a metric of Keras's own kind, which cannot be merged."""

    def __init__(self, name="seen", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.total = self.add_variable((), "zeros", name="total")

    def update_state(self, y_true, y_pred, sample_weight=None):
        weights = ops.ones(ops.shape(y_true)) if sample_weight is None else sample_weight
        self.total.assign_add(ops.sum(ops.cast(weights, self.total.dtype)))

    def result(self):
        return self.total + 0.0


def test_metric_that_cannot_be_merged_is_checked_without_it():
    testing.check_metric(Seen(), LABELS, LOGITS, only=["merged_metrics_add_up", "batches_add_up"])


def test_ignored_class_is_no_invalid_label():
    loss = losses.SparseCategoricalFocalCrossentropy(ignore_class=-1, from_logits=True)
    testing.check_loss(loss, LABELS, LOGITS, only=["invalid_labels_are_never_silent"])


def test_only_the_checks_that_are_asked_for_run():
    loss = Unregistered()
    testing.check_loss(loss, LABELS, LOGITS, only=["config_is_json", "float64_agrees"])
    with pytest.raises(AssertionError, match="fails 1 of 1 checks"):
        testing.check_loss(loss, LABELS, LOGITS, only=["is_registered_with_keras"])
    with pytest.raises(ValueError, match="`only` must be"):
        testing.check_loss(loss, LABELS, LOGITS, only=["no_check"])


@pytest.mark.parametrize(
    ("check", "arguments", "error", "message"),
    [
        (testing.check_loss, (Loss, LABELS, LOGITS), TypeError, "`loss` must be an instance"),
        (testing.check_metric, (Loss(), LABELS, LOGITS), TypeError, "`metric` must be"),
        (testing.check_map, ("T", LOGITS), TypeError, "`layer` must be"),
        (testing.check_loss, (Loss(), LABELS[:3], LOGITS), ValueError, "one label for each row"),
        (testing.check_loss, (Loss(), LABELS[:1], LOGITS[:1]), ValueError, "N of 2 or more"),
    ],
)
def test_arguments_that_cannot_be_checked_are_named(check, arguments, error, message):
    with pytest.raises(error, match=message):
        check(*arguments)


@pytest.mark.parametrize(
    ("dtype", "gap"),
    [("float64", 2.0**-52), ("float32", 2.0**-23), ("bfloat16", 2.0**-7), ("float16", 2.0**-10)],
)
def test_one_ulp_is_the_gap_to_the_next_number(dtype, gap):
    testing.assert_close_ulp(np.array([1 + gap, 8 - 4 * gap]), [1.0, 8.0], 1, dtype)
    with pytest.raises(AssertionError, match=rf"1 ULP of {dtype} > 0.99 at \(0,\)"):
        testing.assert_close_ulp(np.array([1 + gap, 8.0]), [1.0, 8.0], 0.99, dtype)


def test_ulp_of_tensors_is_that_of_their_dtype():
    x = ops.convert_to_tensor(1.0, "bfloat16")
    testing.assert_close_ulp(x, 1 + 2.0**-8, 0.5)
    with pytest.raises(AssertionError, match="ULP of bfloat16"):
        testing.assert_close_ulp(x, 1 + 2.0**-8, 0.4)


@pytest.mark.parametrize(
    ("actual", "desired", "is_close"),
    [
        (np.nan, np.nan, True),
        (np.inf, np.inf, True),
        (np.inf, -np.inf, False),
        (np.nan, 1.0, False),
        (1.0, np.inf, False),
        (2.0**-149, 0.0, True),
        (2.0**-148, 0.0, False),
    ],
)
def test_limits_of_the_format_are_compared(actual, desired, is_close):
    if is_close:
        testing.assert_close_ulp(actual, desired, 1, "float32")
    else:
        with pytest.raises(AssertionError):
            testing.assert_close_ulp(actual, desired, 1, "float32")


def test_bad_arguments_of_the_ulp_are_named():
    with pytest.raises(ValueError, match="`ulp` must be"):
        testing.assert_close_ulp(1.0, 1.0, -1)
    with pytest.raises(ValueError, match=r"`dtype` must be one of .*'int8'"):
        testing.assert_close_ulp(1.0, 1.0, 1, "int8")
