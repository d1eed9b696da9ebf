"""Records of lanes: fields by name, rows by number, in the memory of a NumPy record."""

import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError

from ldas.landmodel.lanes import WIDTH, fewest_and_most, phase
from ldas.landmodel.records import record, rows

DTYPE = np.dtype(
    [
        ("first", np.float64, (WIDTH,)),
        ("layered", np.float64, (3, WIDTH)),
        ("numbers", np.int64, (2,)),
        ("last", np.float64, (WIDTH,)),
        ("count", np.int64),
    ]
)


@njit
def _change(array):
    block = record(array)
    block.last = block.first * 2.0
    block.first = 1.5
    for row in range(3):
        block.layered[row] += block.last - row
    block.layered[1] = 7
    block.numbers[1] = block.numbers[0] + 4
    block.count -= 1
    phase()


def test_fields_are_read_and_written_in_place() -> None:
    array = np.zeros(2, dtype=DTYPE)
    lanes = np.arange(1.0, 1.0 + WIDTH)
    array["first"][0], array["numbers"][0, 0], array["count"][0] = lanes, 3, 9
    array["layered"][0] = np.arange(3.0)[:, None]
    _change(array)
    np.testing.assert_array_equal(array["first"][0], 1.5)
    np.testing.assert_array_equal(array["last"][0], 2.0 * lanes)
    np.testing.assert_array_equal(array["layered"][0, [0, 2]], np.stack([2.0 * lanes, 2.0 * lanes]))
    np.testing.assert_array_equal(array["layered"][0, 1], 7.0)
    assert array["numbers"][0].tolist() == [3, 7]
    assert array["count"][0] == 8
    assert array[1:] == np.zeros(1, dtype=DTYPE)  # the record is the first element alone


def test_rows_of_an_array() -> None:
    @njit
    def shifted(x):
        values = rows(x)
        values[1] = values[0] + 1

    x = np.arange(2.0 * WIDTH).reshape(2, WIDTH)
    shifted(x)
    np.testing.assert_array_equal(x[1], np.arange(WIDTH) + 1.0)


def test_fewest_and_most_layers_of_a_block() -> None:
    @njit
    def both(x):
        return fewest_and_most(rows(x)[0])

    layers = np.full(WIDTH, 9.0)
    layers[2], layers[5] = 4.0, 14.0
    assert both(layers) == (4, 14)


def test_a_field_that_is_not_there_is_an_error_of_the_compilation() -> None:
    @njit
    def wrong(array):
        return record(array).nowhere

    with pytest.raises(TypingError, match="nowhere"):
        wrong(np.zeros(1, dtype=DTYPE))
