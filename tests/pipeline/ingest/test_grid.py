"""Interpolation weights against SciPy, area averages against a loop, neighbours against the great circle."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import RegularGridInterpolator

from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest import grid
from ldas.pipeline.ingest.config import CellsConfig, Region
from ldas.pipeline.ingest.grid import Cells


@settings(max_examples=100, deadline=None)
@given(
    rows=st.integers(2, 6),
    columns=st.integers(2, 6),
    south=st.floats(-80, 70),
    west=st.floats(-180, 175),
    step=st.sampled_from([0.1, 0.25, 1.0]),
    descending=st.booleans(),
    east_positive=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_bilinear_agrees_with_scipy_for_any_grid(rows, columns, south, west, step, descending, east_positive, seed):
    random = np.random.default_rng(seed)
    latitude, longitude = south + step * np.arange(rows), west + step * np.arange(columns)
    values = random.normal(size=(rows, columns))
    inside = random.uniform(size=(7, 2)) * [(rows - 1) * step, (columns - 1) * step] + [south, west]
    expected = RegularGridInterpolator((latitude, longitude), values, bounds_error=False, fill_value=None)(inside)
    stored = values[::-1] if descending else values
    axis = latitude[::-1] if descending else latitude
    file_longitude = longitude % 360.0 if east_positive else grid.wrap(longitude)
    cells = Cells(inside[:, 0], grid.wrap(inside[:, 1]))
    weights = grid.interpolation_weights(axis, file_longitude, cells, "bilinear", "test")
    result = weights.apply(stored[np.ix_(weights.box_rows, weights.box_columns)])
    np.testing.assert_allclose(result, expected, atol=1e-6)
    np.testing.assert_allclose(weights.weight.sum(axis=1), 1.0)


def test_the_date_line_and_greenwich_lie_inside_a_global_grid():
    longitude = np.arange(0.0, 360.0, 1.0)
    values = np.cos(np.deg2rad(longitude))[None, :] * np.ones((2, 1))
    cells = Cells(np.array([0.5, 0.5, 0.2]), np.array([-0.5, 179.5, -179.5]))
    weights = grid.interpolation_weights([0.0, 1.0], longitude, cells, "bilinear", "test")
    result = weights.apply(values[np.ix_(weights.box_rows, weights.box_columns)])
    np.testing.assert_allclose(result, np.cos(np.deg2rad(cells.longitude)), atol=1e-3)


def test_missing_points_count_only_with_a_weight():
    values = np.array([[1.0, np.nan], [3.0, np.nan]])
    cells = Cells(np.array([0.5, 0.5]), np.array([0.0, 0.5]))
    weights = grid.interpolation_weights([0.0, 1.0], [0.0, 1.0], cells, "bilinear", "test")
    result = weights.apply(values)
    assert result[0] == 2.0
    assert np.isnan(result[1])


def test_cells_outside_are_named_with_what_the_file_covers():
    cells = Cells(np.array([44.0, 47.0]), np.array([1.0, 1.0]))
    with pytest.raises(IngestError, match=r"1 of 2 target cells.*cell 1 \(47N 1E\).*43 to 45 N"):
        grid.interpolation_weights([45.0, 44.0, 43.0], [0.0, 1.0, 2.0], cells, "bilinear", "file.nc")
    with pytest.raises(IngestError, match="longitude must be one axis"):
        grid.interpolation_weights([45.0, 44.0], [0.0, 0.0], cells, "bilinear", "file.nc")


def test_area_average_is_the_mean_of_the_pixels_in_the_square():
    random = np.random.default_rng(3)
    latitude, longitude = np.meshgrid(
        44.5 - 0.05 * (np.arange(20) + 0.5), -0.5 + 0.05 * (np.arange(20) + 0.5), indexing="ij"
    )
    values = random.normal(size=(20, 20))
    values[3, 4] = np.nan
    cells = grid.target_cells(CellsConfig(region=Region(south=43.5, north=44.5, west=-0.5, east=0.5, step=0.25)))
    average = grid.area_average(latitude, longitude, cells, 0.25)
    mean, deviation, count = average.apply(values.reshape(-1))
    for index in range(len(cells)):
        inside = (np.abs(latitude - cells.latitude[index]) < 0.125) & (
            np.abs(longitude - cells.longitude[index]) < 0.125
        )
        good = values[inside & np.isfinite(values)]
        assert count[index] == len(good)
        assert mean[index] == pytest.approx(good.mean())
        assert deviation[index] == pytest.approx(good.std())
    assert average.available.sum() == 400
    with pytest.raises(IngestError, match=r"one regular grid of 0\.25 degrees"):
        grid.area_average(latitude, longitude, Cells(np.array([44.0, 44.1]), np.array([0.0, 0.0])), 0.25)


def test_neighbours_are_the_nearest_on_the_great_circle():
    random = np.random.default_rng(5)
    latitude, longitude = random.uniform(-90, 90, 300), random.uniform(-180, 180, 300)
    cells = Cells(np.array([10.0, 89.5, -30.0]), np.array([179.9, 0.0, -60.0]))
    index, distance = grid.neighbours(latitude, longitude, cells, 2, 1e5)
    phi, lam = np.deg2rad(latitude), np.deg2rad(longitude)
    for k in range(3):
        p, q = np.deg2rad(cells.latitude[k]), np.deg2rad(cells.longitude[k])
        angle = np.arccos(np.clip(np.sin(phi) * np.sin(p) + np.cos(phi) * np.cos(p) * np.cos(lam - q), -1, 1))
        order = np.argsort(angle)
        np.testing.assert_array_equal(index[k], order[:2])
        np.testing.assert_allclose(distance[k], angle[order[:2]] * grid.EARTH_RADIUS_KM, rtol=1e-6)
    near, far = grid.neighbours([0.0], [0.0], Cells(np.array([0.5]), np.array([0.0])), 2, 10.0)
    assert (near == -1).all()
    assert np.isinf(far).all()


def test_regions_are_whole_cells_and_one_way_of_naming_cells_is_asked_for():
    cells = grid.target_cells(CellsConfig(region=Region(south=42, north=46, west=-2, east=4)))
    assert len(cells) == 384  # the domain of the paper: 16 x 24
    assert (cells.latitude[0], cells.longitude[0]) == (42.125, -1.875)
    assert cells.longitude[1] > cells.longitude[0]
    with pytest.raises(ValueError, match="not a whole number of cells"):
        Region(south=42, north=46.1, west=-2, east=4)
    with pytest.raises(ValueError, match=r"south, north: 46.0 to 42.0: the second must be the larger one"):
        Region(south=46, north=42, west=-2, east=4)
    with pytest.raises(ValueError, match="exactly one of"):
        CellsConfig()
