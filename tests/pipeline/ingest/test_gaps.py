"""Runs of missing values over blocks, the policy, and filling."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest import gaps
from ldas.pipeline.ingest.config import GapPolicy
from ldas.pipeline.ingest.gaps import MissingValues
from ldas.pipeline.ingest.grid import Cells
from tests.pipeline.ingest.samples import hours

CELLS = Cells(np.array([44.0, 45.0]), np.array([0.0, 1.0]))


@settings(max_examples=80, deadline=None)
@given(missing=st.lists(st.booleans(), min_size=1, max_size=40), block=st.integers(1, 12))
def test_runs_do_not_depend_on_the_blocks(missing, block):
    values = np.where(np.array(missing)[:, None], np.nan, 1.0)
    times = hours("2010-01-01", len(missing))
    found = MissingValues("Tair", 1)
    for start in range(0, len(missing), block):
        found.add(values[start : start + block], times[start : start + block])
    runs = "".join("x" if item else "." for item in missing).split(".")
    assert found.longest[0] == max(map(len, runs))
    assert found.at_end[0] == missing[-1]
    assert found.at_start[0] == missing[0]
    if any(missing):
        assert found.first[0] == times[missing.index(True)]


def found_in(values: np.ndarray) -> list[MissingValues]:
    item = MissingValues("Tair", 2)
    item.add(values, hours("2010-01-01", len(values)))
    return [item]


def test_the_policy_raises_fills_or_excludes():
    values = np.ones((10, 2))
    values[4:6, 1] = np.nan
    with pytest.raises(
        IngestError, match=r"Tair is missing in 1 of 2 cells, the first cell 1 \(45N 1E\) from 2010-01-01T04:00"
    ):
        gaps.cells_to_keep(found_in(values), GapPolicy(), CELLS, "era5")
    with pytest.raises(IngestError, match=r"up to 2 values in a row.*fills up to 1"):
        gaps.cells_to_keep(found_in(values), GapPolicy(action="fill", hours=1), CELLS, "era5")
    assert gaps.cells_to_keep(found_in(values), GapPolicy(action="fill", hours=2), CELLS, "era5").all()
    kept = gaps.cells_to_keep(found_in(values), GapPolicy(action="exclude_cell"), CELLS, "era5")
    np.testing.assert_array_equal(kept, [True, False])
    values[9, 1] = np.nan
    with pytest.raises(IngestError, match="never the ends"):
        gaps.cells_to_keep(found_in(values), GapPolicy(action="fill", hours=2), CELLS, "era5")
    values[0, 0] = np.nan
    with pytest.raises(IngestError, match="none is left"):
        gaps.cells_to_keep(found_in(values), GapPolicy(action="exclude_cell"), CELLS, "era5")


def test_filling_is_linear_and_leaves_the_ends():
    values = np.array([[np.nan, 0.0], [1.0, 1.0], [np.nan, 2.0], [np.nan, 3.0], [4.0, 4.0], [np.nan, 5.0]])
    filled = gaps.fill_values(values)
    np.testing.assert_allclose(filled[:, 0], [np.nan, 1.0, 2.0, 3.0, 4.0, np.nan])
    np.testing.assert_array_equal(filled[:, 1], values[:, 1])


def test_hours_and_fill_belong_together():
    with pytest.raises(ValueError, match="belongs to the action `fill`"):
        GapPolicy(action="fill")
    with pytest.raises(ValueError, match="belongs to the action `fill`"):
        GapPolicy(hours=3)
