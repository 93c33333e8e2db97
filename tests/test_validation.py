"""Every check takes what is right, and says of what is wrong: which argument, rule, value, fix."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from keras_focal._validation import choices, classes, entries, gamma, maps, numbers, shapes

NAN, INF = float("nan"), float("inf")


def shaped(*shape):
    return SimpleNamespace(shape=shape)


def shaped_of_rank(rank):
    return SimpleNamespace(shape=SimpleNamespace(rank=rank))


def bounds(value):
    return maps.check_temperature_bounds(value)


def probabilities(rows, weights=None, tolerance=0.01):
    rows = np.asarray(rows, "float64")
    entries.check_probabilities(
        "y_pred",
        rows.min(-1),
        rows.max(-1),
        rows.sum(-1),
        np.ones(rows.shape[:-1]) if weights is None else np.asarray(weights),
        is_binary=rows.shape[-1] == 1,
        tolerance=tolerance,
    )


# (id, call, argument, words of the rule, words of what came, where the fix is said)
AFTER, IN_RULE = "after the value", "in the rule"
BAD = [
    (
        "gamma",
        lambda: gamma.check_gamma("gamma", -1.0),
        "gamma",
        "finite number >= 0",
        "gamma=-1.0",
        AFTER,
    ),
    (
        "alpha",
        lambda: classes.check_alpha(-0.5),
        "alpha",
        "number >= 0",
        "alpha=-0.5",
        AFTER,
    ),
    (
        "bounded alpha",
        lambda: classes.check_alpha(1.5, 1.0),
        "alpha",
        "<= 1",
        "alpha=1.5",
        AFTER,
    ),
    (
        "alpha length",
        lambda: classes.check_alpha_length([1.0, 2.0], 3),
        "alpha",
        "one weight per class",
        "2 weights for 3 classes",
        AFTER,
    ),
    (
        "fraction",
        lambda: numbers.check_fraction("label_smoothing", 1.0),
        "label_smoothing",
        "number in [0, 1)",
        "label_smoothing=1.0",
        AFTER,
    ),
    (
        "part",
        lambda: numbers.check_part("fraction", 0.0),
        "fraction",
        "number in (0, 1]",
        "fraction=0.0",
        AFTER,
    ),
    (
        "at least",
        lambda: numbers.check_at_least("weight", -0.5, 0),
        "weight",
        "finite number >= 0",
        "weight=-0.5",
        AFTER,
    ),
    (
        "class counts",
        lambda: classes.check_class_counts("counts", [5, 0]),
        "counts",
        "one number > 0 for each class",
        "counts=[5, 0]",
        AFTER,
    ),
    (
        "count",
        lambda: numbers.check_count("num_bins", 0),
        "num_bins",
        "whole number >= 1",
        "num_bins=0",
        AFTER,
    ),
    (
        "window",
        lambda: numbers.check_window("window", 4),
        "window",
        "odd whole number >= 3",
        "window=4",
        AFTER,
    ),
    (
        "soft bins",
        lambda: numbers.check_soft_bins("num_bins", 1),
        "num_bins",
        "whole number >= 2",
        "num_bins=1",
        AFTER,
    ),
    (
        "class id",
        lambda: classes.check_class_id("ignore_class", 1.5),
        "ignore_class",
        "whole number or None",
        "ignore_class=1.5",
        AFTER,
    ),
    (
        "one class",
        lambda: classes.check_one_class("class_id", 3, 3),
        "class_id",
        "whole number >= 0 and < 3, the number of classes",
        "class_id=3",
        AFTER,
    ),
    (
        "choices",
        lambda: choices.check_choices("readings", ["mce", "nll"], ("ece", "mce")),
        "readings",
        "one or more of 'ece', 'mce'",
        "readings=['mce', 'nll']",
        AFTER,
    ),
    (
        "positive",
        lambda: numbers.check_positive("temperature", 0.0),
        "temperature",
        "finite number > 0",
        "temperature=0.0",
        AFTER,
    ),
    (
        "open interval",
        lambda: numbers.check_open_interval("p0", 0.7, 0.0, 0.5, "no solution beyond"),
        "p0",
        "in (0, 0.5): no solution beyond",
        "p0=0.7",
        IN_RULE,
    ),
    (
        "choice",
        lambda: choices.check_choice("criterion", "mse", ("nll", "ece")),
        "criterion",
        "one of 'nll', 'ece'",
        "criterion='mse'",
        IN_RULE,
    ),
    (
        "finite",
        lambda: maps.check_finite("scale", [1.0, NAN], 1),
        "scale",
        "list of finite numbers",
        "scale=[1.0, nan]",
        AFTER,
    ),
    (
        "lengths",
        lambda: maps.check_lengths(scale=np.ones(2), bias=np.ones(3)),
        "scale",
        "one entry per class",
        "scale 2, bias 3",
        AFTER,
    ),
    (
        "not negative",
        lambda: maps.check_non_negative("a", np.array([-1.0])),
        "a",
        "numbers >= 0",
        "a=[-1.0]",
        AFTER,
    ),
    (
        "rising",
        lambda: maps.check_non_decreasing("knots", np.array([[1.0, 0.0]])),
        "knots",
        "rows of non-decreasing numbers",
        "knots=[[1.0, 0.0]]",
        AFTER,
    ),
    (
        "unit interval",
        lambda: maps.check_unit_interval("values", np.array([[1.5]])),
        "values",
        "numbers in [0, 1]",
        "values=[[1.5]]",
        AFTER,
    ),
    (
        "table",
        lambda: maps.check_table({"edges": [[0.0]], "values": [[0.5]]}, 1),
        "values",
        "must have one more number than `edges` in each row",
        "1 and 1",
        AFTER,
    ),
    (
        "simplex",
        lambda: maps.check_simplex("weights", [1.0, 1.0, 0.0], 3),
        "weights",
        "3 numbers >= 0 that sum to 1",
        "weights=[1.0, 1.0, 0.0]",
        AFTER,
    ),
    (
        "strength",
        lambda: maps.check_strength("bias", -1.0),
        "bias",
        "a finite number >= 0",
        "bias=-1.0",
        AFTER,
    ),
    (
        "axis",
        lambda: shapes.check_axis(shaped(4, 3), 2),
        "axis",
        "axis of the predictions",
        "axis=2 for shape (4, 3)",
        AFTER,
    ),
    (
        "class axis",
        lambda: shapes.check_class_axis((4, 1), "y_pred"),
        "y_pred",
        "length >= 2",
        "shape (4, 1)",
        AFTER,
    ),
    (
        "known rank",
        lambda: shapes.check_known_rank("y_true", shaped_of_rank(None)),
        "y_true",
        "known number of axes",
        "unknown rank",
        AFTER,
    ),
    (
        "same shape",
        lambda: shapes.check_same_shape("y_true", (4, 2), (4, 3), "Give 3 columns."),
        "y_true",
        "shape (4, 3)",
        "shape (4, 2)",
        AFTER,
    ),
    (
        "exponent",
        lambda: gamma.check_gamma("gamma", "2", signed=True),
        "gamma",
        "a finite number",
        "'2'",
        AFTER,
    ),
    (
        "not ragged",
        lambda: shapes.check_no_ragged("y_true", type("RaggedTensor", (), {})()),
        "y_true",
        "rows of one length",
        "RaggedTensor",
        AFTER,
    ),
    (
        "labels that fit",
        lambda: shapes.check_labels_fit("y_true", (4, 2), (4, 3)),
        "y_true",
        "(4,) (class ids), (4, 1), or (4, 3)",
        "shape (4, 2)",
        IN_RULE,
    ),
    (
        "weights that fit",
        lambda: shapes.check_weights_fit("sample_weight", (3, 3), (2, 3, 3, 4)),
        "sample_weight",
        "(2,) or (2, 3, 3), a weight for each sample or each prediction",
        "shape (3, 3)",
        IN_RULE,
    ),
    (
        "weights that broadcast",
        lambda: shapes.check_weights_broadcast("sample_weight", (2,), (2, 3)),
        "sample_weight",
        "shape (2, 3)",
        "shape (2,)",
        AFTER,
    ),
    (
        "weights",
        lambda: entries.check_weights("sample_weight", np.array([1.0, -1.0])),
        "sample_weight",
        "finite numbers >= 0",
        "-1 at [1]",
        AFTER,
    ),
    (
        "probabilities outside",
        lambda: probabilities([[0.5, 0.5], [-1.25, 2.5]]),
        "y_pred",
        "probabilities, in [0, 1]",
        "entries from -1.25 to 2.5 with sum 1.25 in row [1]",
        AFTER,
    ),
    (
        "probabilities of another sum",
        lambda: probabilities([[0.25, 0.25]]),
        "y_pred",
        "rows that sum to 1",
        "sum 0.5 in row [0]",
        AFTER,
    ),
    (
        "probability of one column",
        lambda: probabilities([[0.25], [1.5]]),
        "y_pred",
        "probabilities, in [0, 1]",
        "1.5 in row [1]",
        AFTER,
    ),
    (
        "posterior gamma",
        lambda: gamma.check_posterior_gamma("gamma", -1.0),
        "gamma",
        "finite number > -1",
        "gamma=-1.0",
        AFTER,
    ),
    (
        "rising",
        lambda: numbers.check_increasing("p0s", (0.3, 0.2), "Sort them."),
        "p0s",
        "strictly increasing",
        "p0s=[0.3, 0.2]",
        AFTER,
    ),
    (
        "bounds",
        lambda: numbers.check_bounds(3.0, 2.0),
        "low",
        "< `high`",
        "low=3.0, high=2.0",
        AFTER,
    ),
    (
        "switch bounds",
        lambda: gamma.check_switch_bounds(-0.1, 20.0, 0.2),
        "low",
        "not be within `switch` of 0",
        "low=-0.1",
        AFTER,
    ),
    (
        "gammas of bins",
        lambda: gamma.check_bin_gammas([1.0, 2.0], 3),
        "gamma",
        "list of 3, one for each bin",
        "gamma=[1.0, 2.0]",
        AFTER,
    ),
    (
        "edges",
        lambda: gamma.check_edges([0.5, 0.4], 3),
        "edges",
        "2 non-decreasing numbers in [0, 1]",
        "edges=[0.5, 0.4]",
        AFTER,
    ),
    (
        "gamma bounds",
        lambda: gamma.check_gamma_bounds((0.5, 3.0)),
        "gamma_bounds",
        "-1 < low <= 0 < high",
        "gamma_bounds=(0.5, 3.0)",
        AFTER,
    ),
    (
        "temperature bounds",
        lambda: bounds((2.0, 3.0)),
        "bounds",
        "0 < low < 1 < high",
        "bounds=(2.0, 3.0)",
        AFTER,
    ),
]


def message_of(call):
    with pytest.raises(ValueError, match="Received: ") as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize(
    ("call", "argument", "rule", "value", "_"), [b[1:] for b in BAD], ids=[b[0] for b in BAD]
)
def test_message_names_argument_rule_and_value(call, argument, rule, value, _):
    rule_part, _, value_part = message_of(call).partition("Received: ")
    assert f"`{argument}`" in rule_part
    assert "must" in rule_part
    assert rule in rule_part
    assert value in value_part


@pytest.mark.parametrize(
    "call", [b[1] for b in BAD if b[-1] == AFTER], ids=[b[0] for b in BAD if b[-1] == AFTER]
)
def test_message_ends_with_the_likely_fix(call):
    # A sentence of its own after the value, whose points are followed by digits.
    assert re.search(r"Received: .+?\. [A-Z0-9].+\.$", message_of(call)), message_of(call)


def test_table_above_covers_every_check():
    source = {code for _, call, *_ in BAD for code in call.__code__.co_names}
    files = (choices, classes, entries, gamma, maps, numbers, shapes)
    checks = {name for file in files for name in vars(file) if name.startswith("check_")}
    # The first four are what others are made of; `bounds` and `probabilities` call the last two.
    indirect = {"check_that", "check_real", "check_whole", "check_pair"}
    indirect |= {"check_temperature_bounds", "check_probabilities"}
    assert checks - indirect <= source


# --- numbers

NOT_NUMBERS = [NAN, None, "2", b"2", True, [2.0], np.array([2.0]), 1j]


@pytest.mark.parametrize("value", [0, 0.5, 7, np.float32(2.5), np.int64(3)])
def test_gamma_is_returned_as_a_float(value):
    checked = gamma.check_gamma("gamma", value)
    assert type(checked) is float
    assert checked == value


@pytest.mark.parametrize("value", [-1e-9, -INF, INF, *NOT_NUMBERS], ids=repr)
def test_gamma_must_be_finite_and_not_negative(value):
    with pytest.raises(ValueError, match=r"`gamma` must be a finite number >= 0"):
        gamma.check_gamma("gamma", value)


@pytest.mark.parametrize("value", [0, 0.0, 0.999, np.float32(0.5)])
def test_fraction_is_returned_as_a_float(value):
    checked = numbers.check_fraction("label_smoothing", value)
    assert type(checked) is float
    assert checked == value


@pytest.mark.parametrize("value", [-0.1, 1.0, 1, INF, *NOT_NUMBERS], ids=repr)
def test_fraction_must_be_in_the_half_open_interval(value):
    with pytest.raises(ValueError, match=r"`label_smoothing` must be a number in \[0, 1\)"):
        numbers.check_fraction("label_smoothing", value)


@pytest.mark.parametrize("value", [1, 1e-9, np.float32(0.5)])
def test_part_is_returned_as_a_float(value):
    checked = numbers.check_part("fraction", value)
    assert type(checked) is float
    assert checked == value


@pytest.mark.parametrize("value", [0, -0.1, 1.001, INF, *NOT_NUMBERS], ids=repr)
def test_part_must_be_above_zero_and_at_most_one(value):
    with pytest.raises(ValueError, match=r"`fraction` must be a number in \(0, 1\]"):
        numbers.check_part("fraction", value)


@pytest.mark.parametrize(("value", "least"), [(0, 0), (-1, -1), (2.5, 0), (np.float64(3), -1)])
def test_number_at_least_its_bound_is_returned_as_a_float(value, least):
    checked = numbers.check_at_least("epsilon", value, least)
    assert type(checked) is float
    assert checked == value


@pytest.mark.parametrize("value", [-1.001, INF, *NOT_NUMBERS], ids=repr)
def test_number_below_its_bound_is_refused(value):
    with pytest.raises(ValueError, match=r"`epsilon` must be a finite number >= -1"):
        numbers.check_at_least("epsilon", value, -1)


@pytest.mark.parametrize("value", [[5, 1], (2.5, 3), np.array([7, 8])])
def test_class_counts_are_returned_as_a_list_of_floats(value):
    checked = classes.check_class_counts("counts", value)
    assert checked == [float(count) for count in value]
    assert {type(count) for count in checked} == {float}


@pytest.mark.parametrize(
    "value", [[], [1, 0], [1, -2], [1, NAN], [[1, 2]], 5, "ab", None], ids=repr
)
def test_class_counts_must_be_positive(value):
    with pytest.raises(ValueError, match="`counts` must be a list of one number > 0 for each"):
        classes.check_class_counts("counts", value)


@pytest.mark.parametrize("value", [1, 15.0, np.int32(7)])
def test_count_is_returned_as_an_int(value):
    checked = numbers.check_count("num_bins", value)
    assert type(checked) is int
    assert checked == value


@pytest.mark.parametrize("value", [0, -1, 1.5, INF, *NOT_NUMBERS], ids=repr)
def test_count_must_be_whole_and_at_least_one(value):
    with pytest.raises(ValueError, match=r"`num_bins` must be a whole number >= 1"):
        numbers.check_count("num_bins", value)


@pytest.mark.parametrize("value", [1e-9, 3, np.float64(2.0)])
def test_positive_is_returned_as_a_float(value):
    checked = numbers.check_positive("temperature", value)
    assert type(checked) is float
    assert checked == value


@pytest.mark.parametrize("value", [0, -1.0, INF, *NOT_NUMBERS], ids=repr)
def test_positive_must_be_finite_and_above_zero(value):
    with pytest.raises(ValueError, match=r"`temperature` must be a finite number > 0"):
        numbers.check_positive("temperature", value)


@pytest.mark.parametrize("value", [0.2, (0.1, 0.4), np.array([[0.25]])])
def test_values_inside_an_open_interval_pass(value):
    numbers.check_open_interval("p0", value, 0.0, 0.5, "why")


@pytest.mark.parametrize("value", [0.0, 0.5, -0.1, NAN, (0.2, 0.5), "0.7", "x", None], ids=repr)
def test_ends_of_an_open_interval_are_outside(value):
    with pytest.raises(ValueError, match=r"`p0` must be in \(0, 0.5\)"):
        numbers.check_open_interval("p0", value, 0.0, 0.5, "why")


@pytest.mark.parametrize("value", ["nll", "ece"])
def test_choice_among_the_choices_passes(value):
    choices.check_choice("criterion", value, ("nll", "ece"))


@pytest.mark.parametrize("value", ["NLL", "", None, 1, ["nll"]], ids=repr)
def test_choice_must_be_one_of_the_choices(value):
    with pytest.raises(ValueError, match=r"`criterion` must be one of 'nll', 'ece'"):
        choices.check_choice("criterion", value, ("nll", "ece"))


@pytest.mark.parametrize("value", [(0.1, 10), [1e-3, 1e3]])
def test_temperature_bounds_are_returned_as_floats(value):
    low, high = bounds(value)
    assert (low, high) == tuple(value)
    assert type(low) is type(high) is float


@pytest.mark.parametrize(
    "value",
    [(2.0, 3.0), (0.1, 0.9), (1.0, 2.0), (10.0, 0.1), (0.0, 2.0), (0.1, INF), (0.1,), 5.0, None],
    ids=repr,
)
def test_temperature_bounds_must_enclose_one(value):
    with pytest.raises(ValueError, match="`bounds` must be"):
        bounds(value)


# --- class weights


def test_alpha_none_stays_none():
    assert classes.check_alpha(None) is None


@pytest.mark.parametrize("value", [0, 0.25, np.float32(0.5)])
def test_alpha_number_is_returned_as_a_float(value):
    checked = classes.check_alpha(value)
    assert type(checked) is float
    assert checked == value


@pytest.mark.parametrize("value", [[0.5, 2], (0.5, 2.0), np.array([0.5, 2.0])])
def test_alpha_sequence_is_returned_as_a_list_of_floats(value):
    checked = classes.check_alpha(value)
    assert checked == [0.5, 2.0]
    assert {type(weight) for weight in checked} == {float}


@pytest.mark.parametrize(
    "value",
    [
        -0.1,
        NAN,
        INF,
        [0.5, -1.0],
        [1.0, NAN],
        [],
        [[1.0, 2.0]],
        [[1.0], [1.0, 2.0]],
        "balanced",
        [1.0, None],
        [1.0, "a"],
        {0: 1.0, 1: 2.0},
    ],
    ids=repr,
)
def test_alpha_must_be_numbers_that_are_finite_and_not_negative(value):
    with pytest.raises(ValueError, match=r"`alpha` must be None, a number >= 0"):
        classes.check_alpha(value)


def test_alpha_up_to_its_bound_passes():
    assert classes.check_alpha([0.0, 1.0], 1.0) == [0.0, 1.0]


@pytest.mark.parametrize("value", [1.01, [0.5, 2.0]])
def test_alpha_beyond_its_bound_is_refused(value):
    with pytest.raises(ValueError, match=r"`alpha` must be .*<= 1"):
        classes.check_alpha(value, 1.0)


@pytest.mark.parametrize("alpha", [None, 0.25, [1.0, 2.0, 3.0]])
def test_alpha_of_one_weight_per_class_or_a_number_passes(alpha):
    classes.check_alpha_length(alpha, 3)


@pytest.mark.parametrize("length", [1, 2, 4])
def test_alpha_of_another_length_is_refused(length):
    with pytest.raises(ValueError, match=rf"`alpha` must have one weight per class.*{length} "):
        classes.check_alpha_length([1.0] * length, 3)


# --- shapes


@pytest.mark.parametrize("shape", [(4, 3), (None, 2), [2]])
def test_class_axis_of_known_length_passes(shape):
    shapes.check_class_axis(shape)


@pytest.mark.parametrize("shape", [(4, 1), (4, None), (4, 0), ()])
def test_class_axis_of_unknown_length_or_less_than_two_is_refused(shape):
    with pytest.raises(ValueError, match="known length >= 2"):
        shapes.check_class_axis(shape)


@pytest.mark.parametrize("axis", [2, -3])
def test_axis_outside_the_shape_is_refused(axis):
    with pytest.raises(ValueError, match="`axis` must name an axis"):
        shapes.check_axis(shaped(4, 3), axis)


@pytest.mark.parametrize("shape", [(4, 3), (None, 3), [4, None]])
def test_equal_and_unknown_lengths_pass_as_the_same_shape(shape):
    shapes.check_same_shape("y_true", shape, (4, 3), "Fix.")
    shapes.check_same_shape("y_true", (4, 3), shape, "Fix.")


@pytest.mark.parametrize("shape", [(4,), (4, 1), (3, 4), (4, 3, 1), (None, 2), ()])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="`y_true` must have shape"):
        shapes.check_same_shape("y_true", shape, (4, 3), "Fix.")


@pytest.mark.parametrize(
    "labels", [(4, 5), (4, 5, 1), (4, 5, 3), (None, 5), (None, 5, 3), (None, None, 1)]
)
def test_labels_as_ids_or_rows_fit_predictions(labels):
    shapes.check_labels_fit("y_true", labels, (4, 5, 3))


@pytest.mark.parametrize("labels", [(4,), (4, 6), (4, 5, 2), (5, 4), (3, 5, 3), (4, 5, 3, 1), ()])
def test_labels_of_other_shapes_do_not_fit_predictions(labels):
    with pytest.raises(ValueError, match="`y_true` must have shape"):
        shapes.check_labels_fit("y_true", labels, (4, 5, 3))


def test_predictions_without_an_axis_do_not_fit():
    with pytest.raises(ValueError, match="Received"):
        shapes.check_labels_fit("y_true", (), ())


# --- labels


def test_choices_are_returned_as_a_list():
    assert choices.check_choices("readings", ("b", "a"), ("a", "b", "c")) == ["b", "a"]


@pytest.mark.parametrize("value", [[], (), "a", None, 3, ["a", "a"], ["d"], ["a", 1.5], [["a"]]])
def test_choices_that_are_none_or_twice_or_unknown_are_refused(value):
    with pytest.raises(ValueError, match=r"`readings` must be a list of one or more of 'a', 'b'"):
        choices.check_choices("readings", value, ("a", "b"))


@pytest.mark.parametrize(("value", "expected"), [(None, None), (3, 3), (255.0, 255), (-1, -1)])
def test_class_id_is_returned_as_an_int(value, expected):
    checked = classes.check_class_id("ignore_class", value)
    assert checked == expected
    assert type(checked) is type(expected)


@pytest.mark.parametrize("value", [1.5, "1", [1], True, float("nan"), float("inf")])
def test_class_id_that_is_no_whole_number_is_refused(value):
    with pytest.raises(ValueError, match="`ignore_class` must be a whole number or None"):
        classes.check_class_id("ignore_class", value)


@pytest.mark.parametrize(("value", "num_classes"), [(0, None), (2.0, 3), (np.int64(7), None)])
def test_one_class_is_returned_as_an_int(value, num_classes):
    checked = classes.check_one_class("class_id", value, num_classes)
    assert checked == value
    assert type(checked) is int


@pytest.mark.parametrize("value", [-1, 0.5, INF, *NOT_NUMBERS], ids=repr)
def test_one_class_that_is_no_class_is_refused(value):
    with pytest.raises(ValueError, match="`class_id` must be a whole number >= 0"):
        classes.check_one_class("class_id", value)


# --- weights and probabilities


@pytest.mark.parametrize(
    "weights", [(), (2,), (1,), (2, 1), (2, 3), (2, 1, 5), (2, 3, 5), (2, 3, 5, 1), (None, 3)]
)
def test_weights_of_samples_and_of_predictions_fit(weights):
    shapes.check_weights_fit("sample_weight", weights, (2, 3, 5, 4))


@pytest.mark.parametrize(
    "weights", [(3,), (3, 5), (2, 5), (2, 3, 4), (2, 3, 5, 4), (1, 2, 3, 5, 1)]
)
def test_weights_of_other_shapes_do_not_fit(weights):
    with pytest.raises(ValueError, match=r"must have shape \(2,\) or \(2, 3, 5\)"):
        shapes.check_weights_fit("sample_weight", weights, (2, 3, 5, 4))


@pytest.mark.parametrize(
    "rows",
    [
        [[0.25, 0.75]],
        [[0.2549, 0.75]],
        [[-0.005, 1.005]],
        [[1.009], [-0.009]],
        [[NAN, 5.0], [INF, 0.0], [INF, -INF]],
    ],
    ids=repr,
)
def test_probabilities_pass_also_where_they_are_rounded_or_not_finite(rows):
    with np.errstate(invalid="ignore"):
        probabilities(rows)


def test_nothing_but_ones_stands_for_predictions_that_are_to_come():
    probabilities(np.ones((4, 3)))
    with pytest.raises(ValueError, match="sum to 1"):
        probabilities([[1.0, 1.0], [1.0, 0.5]])


def test_rows_of_weight_zero_may_hold_anything():
    probabilities([[0.5, 0.5], [7.0, -7.0]], [1.0, 0.0])
    with pytest.raises(ValueError, match=r"in row \[1\]"):
        probabilities([[7.0, -7.0], [7.0, -7.0]], [0.0, 0.5])


def test_finite_entries_whose_sum_overflows_are_no_probabilities():
    row = np.array([[3e38, 3e38]], "float32")
    with np.errstate(over="ignore"), pytest.raises(ValueError, match=r"in \[0, 1\]"):
        entries.check_probabilities(
            "y_pred",
            row.min(-1),
            row.max(-1),
            row.sum(-1),
            np.ones(1),
            is_binary=False,
            tolerance=0.01,
        )


def test_row_is_named_by_all_its_axes():
    rows = np.full((2, 3, 4), 0.25)
    rows[1, 2] = 0.5
    with pytest.raises(ValueError, match=r"with sum 2 in row \[1, 2\]"):
        probabilities(rows)


# --- gammas of rules and maps


@pytest.mark.parametrize(("low", "high"), [(-2, 20), (0.2, 5.0), (-3.0, -0.5)])
def test_switch_bounds_are_returned_as_floats(low, high):
    checked = gamma.check_switch_bounds(low, high, 0.2)
    assert checked == (low, high)
    assert {type(bound) for bound in checked} == {float}


@pytest.mark.parametrize(
    ("low", "high"), [(20.0, -2.0), (1.0, 1.0), (-INF, 3.0), (NAN, 3.0), ("a", 3.0), (None, 3.0)]
)
def test_switch_bounds_must_be_finite_and_in_order(low, high):
    with pytest.raises(ValueError, match=r"`low` must be < `high`, both finite"):
        gamma.check_switch_bounds(low, high, 0.2)


@pytest.mark.parametrize(("low", "high"), [(0.0, 3.0), (-0.1, 3.0), (-2.0, 0.1)])
def test_switch_bounds_must_keep_away_from_zero(low, high):
    with pytest.raises(ValueError, match=r"`low` and `high` must not be within `switch` of 0"):
        gamma.check_switch_bounds(low, high, 0.2)


@pytest.mark.parametrize("value", [2, [2.0, 2.0, 2.0], np.full(3, 2.0)])
def test_gammas_of_bins_are_returned_as_a_list_of_floats(value):
    checked = gamma.check_bin_gammas(value, 3)
    assert checked == [2.0, 2.0, 2.0]
    assert {type(gamma) for gamma in checked} == {float}


@pytest.mark.parametrize("value", [NAN, INF, [1.0, 2.0], [1.0, NAN, 2.0], "a", None, [[1.0] * 3]])
def test_gammas_of_bins_must_be_finite_and_one_for_each(value):
    with pytest.raises(ValueError, match=r"`gamma` must be a finite number or a list of 3"):
        gamma.check_bin_gammas(value, 3)


def test_edges_may_repeat_and_touch_the_ends():
    assert gamma.check_edges([0, 0.5, 0.5, 1], 5) == [0.0, 0.5, 0.5, 1.0]
    assert gamma.check_edges([], 1) == []


@pytest.mark.parametrize("value", [[0.5], [0.6, 0.5], [-0.1, 0.5], [0.5, 1.1], [NAN, 0.5], "a"])
def test_edges_must_be_non_decreasing_probabilities(value):
    with pytest.raises(ValueError, match=r"`edges` must be 2 non-decreasing numbers in \[0, 1\]"):
        gamma.check_edges(value, 3)


@pytest.mark.parametrize("value", [(-0.9, 10), [0.0, 2.0]])
def test_gamma_bounds_are_returned_as_floats(value):
    assert gamma.check_gamma_bounds(value) == tuple(value)


@pytest.mark.parametrize("value", [(-1.0, 3.0), (0.1, 3.0), (-0.5, 0.0), (-0.5, INF), 3.0, None])
def test_gamma_bounds_must_enclose_zero_above_minus_one(value):
    with pytest.raises(ValueError, match=r"`gamma_bounds` must be"):
        gamma.check_gamma_bounds(value)


@pytest.mark.parametrize("value", [-0.99, 0, 3])
def test_posterior_gamma_is_returned_as_a_float(value):
    checked = gamma.check_posterior_gamma("gamma", value)
    assert (checked, type(checked)) == (value, float)


@pytest.mark.parametrize("value", [-1.0, -2, INF, *NOT_NUMBERS], ids=repr)
def test_posterior_gamma_must_be_finite_and_above_minus_one(value):
    with pytest.raises(ValueError, match=r"`gamma` must be a finite number > -1"):
        gamma.check_posterior_gamma("gamma", value)
