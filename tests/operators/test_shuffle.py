import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ldas.operators.shuffle import fill_batches


def batches(seed, epoch, cell_ids, counts, slots=8, steps=10):
    filled = np.full((steps, len(cell_ids), slots), -1, np.int32)
    fill_batches(seed, epoch, np.asarray(cell_ids), np.asarray(counts), filled)
    return filled


@settings(deadline=None)  # the first call compiles
@given(
    seed=st.integers(0, 2**31),
    epoch=st.integers(0, 1000),
    cells=st.lists(st.tuples(st.integers(0, 2**62), st.integers(0, 80)), min_size=1, max_size=5),
)
def test_each_cell_sees_each_of_its_samples_once_whatever_the_others(seed, epoch, cells):
    identities, counts = zip(*cells, strict=True)
    filled = batches(seed, epoch, identities, counts)
    for position, (identity, count) in enumerate(cells):
        order = filled[:, position].ravel()
        assert sorted(order[:count]) == list(range(count))
        assert (order[count:] == 0).all()
        alone = batches(seed, epoch, [identity], [count])
        np.testing.assert_array_equal(alone[:, 0], filled[:, position])


def test_seed_cell_and_epoch_each_change_the_order():
    first = batches(0, 0, [5], [80])
    for other in (batches(1, 0, [5], [80]), batches(0, 1, [5], [80]), batches(0, 0, [6], [80])):
        assert (other != first).sum() > 40


def test_the_order_is_uniform():
    # 4000 shuffles of 8 samples: each sample at each place 500 times, give or take five standard deviations.
    places = np.zeros((8, 8))
    for epoch in range(4000):
        places[np.arange(8), batches(3, epoch, [1], [8], steps=1)[0, 0]] += 1
    assert np.abs(places - 500.0).max() < 5.0 * np.sqrt(4000 * 1 / 8 * 7 / 8)
