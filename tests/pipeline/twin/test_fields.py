"""Random fields: unit variance, correlation in space and time as asked, the same numbers for any block and period."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ldas.pipeline.twin.fields import Modes, Places, autoregression, generator
from tests.pipeline.twin.support import GRID

MEMORY = (0.7,) * 12
DAYS = np.arange(np.datetime64("2010-11-20"), np.datetime64("2012-02-10"))


@settings(max_examples=25, deadline=None)
@given(
    start=st.integers(0, len(GRID) - 1),
    size=st.integers(1, len(GRID)),
    first=st.integers(0, 400),
    seed=st.integers(0, 9),
)
def test_any_block_and_any_period_give_the_same_bits(start: int, size: int, first: int, seed: int) -> None:
    modes = Modes(seed, "rain", 200.0, 6)
    whole = modes.daily(GRID, DAYS, MEMORY)
    chosen = slice(start, min(start + size, len(GRID)))
    block = Places(GRID.latitude[chosen], GRID.longitude[chosen])
    part = modes.daily(block, DAYS[first : first + 30], MEMORY)
    assert part.tobytes() == np.ascontiguousarray(whole[first : first + 30, chosen]).tobytes()


def test_hours_belong_to_days() -> None:
    modes = Modes(3, "rain_rate", 80.0, 4)
    whole = modes.hourly(GRID, DAYS[:40])
    assert modes.hourly(GRID, DAYS[13:20]).tobytes() == whole[13:20].tobytes()


def test_variance_and_persistence() -> None:
    series = np.concatenate([autoregression(5, "x", 40, year, MEMORY) for year in range(1990, 2000)])
    assert series.std() == pytest.approx(1.0, abs=0.02)
    assert abs(series.mean()) < 0.02
    assert np.mean(series[1:] * series[:-1]) == pytest.approx(0.7, abs=0.02)
    # From year to year too: the last days of a year lead over to the first of the next.
    edges = np.array([365 * n for n in range(1, 9)])
    assert np.mean(series[edges] * series[edges - 1]) == pytest.approx(0.7, abs=0.15)


def test_correlation_falls_with_distance_as_asked() -> None:
    length = 200.0
    points = Places(np.full(5, 44.0), 1.0 + np.array([0.0, 1.0, 2.0, 4.0, 8.0]))
    fields = np.stack([Modes(seed, "t", length, 16).constant(points) for seed in range(1500)])
    correlation = np.corrcoef(fields.T)[0]
    expected = np.exp(-0.5 * ((points.east_km - points.east_km[0]) / length) ** 2)
    np.testing.assert_allclose(correlation, expected, atol=0.08)
    np.testing.assert_allclose(fields.std(axis=0), 1.0, atol=0.05)


def test_words_of_a_generator_matter() -> None:
    drawn = {float(generator(*words).random()) for words in ((1, "a"), (1, "b"), (2, "a"), (1, "a", 3))}
    assert len(drawn) == 4
    assert generator(1, "a").random() == generator(1, "a").random()


def test_a_place_has_its_random_numbers_wherever_it_stands() -> None:
    assert Places(GRID.latitude[4:5], GRID.longitude[4:5]).identities[0] == GRID.identities[4]
    assert len(set(GRID.identities)) == len(GRID)
