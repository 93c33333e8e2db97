"""Sums: additions of any size and number, exact where a float32 sum would stall."""

import numpy as np
import pytest
from backends import BACKEND
from keras import ops

from keras_focal.functional.calibration._bins import Predictions, contributions
from keras_focal.functional.calibration._partitions import EqualMass, EqualWidth, equal_mass_bins
from keras_focal.functional.calibration._sums import Sums, block_sum
from keras_focal.metrics._cells import Table


def empty(cells):
    return Sums.zeros((cells, 3))


def added(sums, index, amounts):
    return sums.added(
        ops.convert_to_tensor(index, "int32"), ops.convert_to_tensor(amounts, "float32")
    )


def runner(function, compiled):
    """A function of tensors as it is, or compiled whole."""
    if not compiled:
        return function
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=True)
    if BACKEND == "jax":
        import jax

        return jax.jit(function)
    pytest.skip("torch runs operation by operation")


def numbers(sums):
    high, low = (ops.convert_to_numpy(part).astype("float64") for part in sums)
    return high + low


def test_amounts_add_up_in_the_cells_that_are_named(rng):
    index, amounts = rng.integers(0, 5, 300), rng.uniform(0, 3, (300, 3)).astype("float32")
    expected = np.zeros((5, 3))
    np.add.at(expected, index, amounts.astype("float64"))
    sums = empty(5)
    for part in np.array_split(np.arange(300), 7):
        sums = added(sums, index[part], amounts[part])
    np.testing.assert_allclose(numbers(sums), expected, rtol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1e9, 1e30])
@pytest.mark.parametrize("size", [400, 3000])
def test_weights_of_any_size_add_up(size, scale, rng):
    index = rng.integers(0, 5, size)
    amounts = (rng.uniform(0, 1, (size, 3)) * scale).astype("float32")
    expected = np.zeros((5, 3))
    np.add.at(expected, index, amounts.astype("float64"))
    sums = added(added(empty(5), index, amounts), index, amounts)
    np.testing.assert_allclose(numbers(sums), 2 * expected, rtol=1e-6)


def test_small_amounts_of_a_batch_with_large_ones_keep_their_digits():
    amounts = np.full((3000, 3), 1e-3, "float32")
    amounts[0] = 1e6
    sums = added(empty(2), (np.arange(3000) > 0).astype("int32"), amounts)
    np.testing.assert_allclose(numbers(sums)[1], 2999 * np.float64(np.float32(1e-3)), rtol=1e-6)


def test_cell_that_nothing_is_added_to_keeps_its_sums():
    sums = added(empty(3), [0, 1, 2], np.full((3, 3), 1.25))
    more = numbers(added(sums, [1, 1], np.ones((2, 3))))
    np.testing.assert_array_equal(more[:, 0], [1.25, 3.25, 1.25])


def test_small_amount_is_not_lost_beside_a_large_sum():
    sums = added(empty(1), [0], np.full((1, 3), 2.0**30))
    for _ in range(8):
        sums = added(sums, [0], np.full((1, 3), 0.125))
    np.testing.assert_array_equal(numbers(sums), np.full((1, 3), 2.0**30 + 1))


@pytest.mark.parametrize("add", ["plus", "plus_numbers"])
def test_rounding_errors_of_many_additions_do_not_add_up(add):
    """A third is no float32 multiple of the sum's last digit, and is rounded alike each time."""
    third = np.float32(1 / 3)
    sums = Sums(ops.full((1,), 2.0**20), ops.zeros((1,)))
    amount = ops.full((1,), third)
    amount = Sums(amount, ops.zeros((1,))) if add == "plus" else amount
    for _ in range(200):
        sums = getattr(sums, add)(amount)
    np.testing.assert_allclose(numbers(sums), 2**20 + 200 * float(third), rtol=1e-13)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_batches_of_fractions_add_up_beside_a_large_sum(size):
    third = np.float32(1 / 3)
    sums = added(empty(1), [0], np.full((1, 3), 2.0**20))
    for _ in range(50):
        sums = added(sums, np.zeros(size), np.full((size, 3), third))
    np.testing.assert_allclose(numbers(sums) - 2**20, 50 * size * float(third), rtol=1e-7)


@pytest.mark.parametrize("compiled", [False, True])
def test_ones_are_counted_beyond_2_to_the_24(compiled):
    """Where a float32 counter stops, every one of forty batches counts."""
    index, ones = ops.zeros((3000,), dtype="int32"), ops.ones((3000, 3))
    add = runner(lambda *sums: tuple(Sums(*sums).added(index, ones)), compiled)
    sums = tuple(added(empty(1), [0], np.full((1, 3), 2.0**24)))
    for _ in range(40):
        sums = add(*sums)
    np.testing.assert_array_equal(numbers(sums), 2**24 + 40 * 3000)


@pytest.mark.parametrize("shape", [(1,), (128,), (129,), (20_000,), (2_100_000,), (3, 40_000)])
@pytest.mark.parametrize("value", [0.1, 0.4671])
def test_block_sum_keeps_its_digits(shape, value):
    total = ops.convert_to_numpy(block_sum(ops.full(shape, value, dtype="float32")))
    np.testing.assert_allclose(total, shape[-1] * np.float64(np.float32(value)), rtol=1e-6)


def test_block_sum_of_nothing_is_zero():
    np.testing.assert_array_equal(ops.convert_to_numpy(block_sum(ops.zeros((2, 0)))), [0, 0])


def test_sums_of_an_unknown_number_are_those_of_a_known_one(rng):
    if BACKEND != "tensorflow":
        pytest.skip("shapes are known on JAX and torch")
    import tensorflow as tf

    index, amounts = rng.integers(0, 3, 3000), rng.uniform(0, 5, (3000, 3)).astype("float32")
    specs = [tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None, 3))]

    @tf.function(input_signature=specs)
    def run(index, amounts):
        return tuple(empty(3).added(index, amounts)), block_sum(tf.transpose(amounts))

    got, total = run(index.astype("int32"), amounts)
    np.testing.assert_allclose(numbers(got), numbers(added(empty(3), index, amounts)), rtol=1e-7)
    np.testing.assert_allclose(total, amounts.astype("float64").sum(axis=0), rtol=1e-6)


@pytest.mark.parametrize("size", [512, 513, 300_001, 1_100_000])
@pytest.mark.parametrize("compiled", [False, True])
def test_amounts_of_a_large_batch_keep_their_digits(compiled, size):
    # A float32 sum of the most of them is wrong in the fourth digit.
    amount = np.float32(0.4671)
    index = ops.zeros((size,), dtype="int32")
    amounts = ops.ones((size, 3)) * amount

    add = runner(lambda *sums: tuple(Sums(*sums).added(index, amounts)), compiled)
    sums = numbers(add(*empty(2)))
    np.testing.assert_allclose(sums[0], size * float(amount), rtol=1e-6 if size > 512 else 4e-6)
    np.testing.assert_array_equal(sums[1], 0.0)


def test_merged_sums_are_the_sums_of_both(rng):
    parts = [added(empty(4), rng.integers(0, 4, 50), rng.uniform(0, 1, (50, 3))) for _ in range(2)]
    merged = numbers(parts[0].plus(parts[1]))
    np.testing.assert_allclose(merged, numbers(parts[0]) + numbers(parts[1]), rtol=1e-12)


def test_gap_is_the_difference_of_wrong_and_doubt_to_a_rounding():
    sums = added(empty(1), [0], [[2.0**30, 2.0**30, 2.0**30 - 64]])
    sums = added(sums, [0], [[1.0, 0.0, 0.25]])
    assert float(sums.statistics().gap[0]) == 63.75


@pytest.mark.parametrize("partition", [EqualWidth(4), EqualMass(4)])
def test_every_prediction_adds_to_cells_of_its_partition(partition, rng):
    complement = rng.uniform(0, 1, 500).astype("float32")
    parts = (ops.convert_to_tensor(part) for part in (1 - complement, complement, 0 * complement))
    index = ops.convert_to_numpy(partition.index(Predictions(*parts)))
    assert index.shape == (500, partition.cells_of_each)
    assert index.min() >= 0
    assert index.max() < partition.num_cells


@pytest.mark.parametrize("num_bins", [1, 2, 15, 100])
@pytest.mark.parametrize("spread", [0.1, 3.0])
def test_bins_of_the_table_are_the_bins_of_its_finest_cells(num_bins, spread, rng):
    """The sums of cells that stand in the table lead to the cells that all of them lead to."""
    odds = np.exp(rng.normal(2, spread, 3000))
    wrong = rng.integers(0, 2, 3000)
    parts = (odds / (1 + odds), 1 / (1 + odds), wrong)
    top = Predictions(*(ops.convert_to_tensor(x.astype("float32")) for x in parts))
    partition = EqualMass(num_bins)
    index = ops.convert_to_numpy(partition.index(top))
    rows = ops.convert_to_numpy(contributions(top, ops.ones((3000,))))
    sums = added(empty(partition.num_cells), index.reshape(-1), rows.repeat(index.shape[1], axis=0))
    finest = sums.part(0, partition.num_finest).statistics()
    expected = equal_mass_bins(finest, num_bins)
    for got, right in zip(partition.bins(sums), expected, strict=True):
        np.testing.assert_allclose(
            ops.convert_to_numpy(got), ops.convert_to_numpy(right), atol=0.02
        )
    count = ops.convert_to_numpy(partition.bins(sums).count)
    np.testing.assert_allclose(count, 3000 / num_bins, rtol=1e-5)


def test_row_of_the_first_cell_moves_the_reading(rng):
    partition = EqualMass(3)
    rows = rng.uniform(0, 2, (partition.num_cells, 3))
    index = np.arange(partition.num_cells)
    alone = partition.bins(added(empty(partition.num_cells), index, rows))
    behind = partition.bins(added(empty(partition.num_cells + 5), index + 5, rows), 5)
    for a, b in zip(alone, behind, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b))


@pytest.mark.parametrize("size", [300, 4000, 2**19 + 200])
def test_all_cells_of_a_table_hold_the_predictions_that_belong_in_them(size, rng):
    table = Table((EqualWidth(15), EqualMass(15)))
    odds = np.exp(rng.normal(3, 4, size))
    parts = (odds / (1 + odds), 1 / (1 + odds), rng.integers(0, 2, size))
    top = Predictions(*(ops.convert_to_tensor(x.astype("float32")) for x in parts))
    weights = rng.uniform(0, 2, size).astype("float32")
    rows = ops.convert_to_numpy(contributions(top, ops.convert_to_tensor(weights)))
    expected = np.zeros((table.num_cells, 3))
    for partition, start in table.parts:
        index = ops.convert_to_numpy(partition.index(top)) + start
        np.add.at(expected, index, rows[:, None].astype("float64"))
    sums = table.added(*empty(table.num_cells), *top, ops.convert_to_tensor(weights))
    np.testing.assert_allclose(numbers(sums), expected, rtol=1e-6, atol=1e-12 * size)
