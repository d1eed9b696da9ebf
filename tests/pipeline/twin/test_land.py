"""The synthetic land: cells from mask thresholds, coherent fields with the features of the region."""

import numpy as np
import pytest
import xarray as xr

from ldas.assim.quality import Quality
from ldas.pipeline import registry
from ldas.pipeline.errors import ConfigurationError
from ldas.pipeline.evaluation.stations import cell_at
from ldas.pipeline.settings.twin import MaskConfig, RegionConfig, TwinConfig
from ldas.pipeline.twin.geography import geography
from ldas.pipeline.twin.land import climate_of, make_land, whole_grid

PAPER_CELLS = 247
WITHOUT_SIGMA40 = {"NBN", "PZN"}  # docs/science/experiment.md, section 4


@pytest.fixture(scope="module")
def grid() -> xr.Dataset:
    return whole_grid(TwinConfig())


def near(grid: xr.Dataset, latitude: float, longitude: float, radius: float) -> np.ndarray:
    return np.hypot(grid.latitude.values - latitude, 0.72 * (grid.longitude.values - longitude)) < radius


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_the_masks_keep_about_the_papers_cells(seed: int) -> None:
    grid = whole_grid(TwinConfig(seed=seed))
    assert grid.sizes["cell"] == 384
    kept = int((grid["mask"] == Quality.USED).sum())
    assert abs(kept - PAPER_CELLS) <= 10
    stations = {
        code
        for code, station in geography().stations.items()
        if grid["mask"].values[cell_at(*station.place, grid.latitude.values, grid.longitude.values)] == Quality.USED
    }
    assert stations == set(geography().stations) - WITHOUT_SIGMA40


def test_the_cells_follow_from_the_thresholds() -> None:
    strict = make_land(TwinConfig(masks=MaskConfig(topography=0.10)))
    usual, wide = make_land(TwinConfig()), make_land(TwinConfig(masks=MaskConfig(topography=1.0, water=1.0, urban=1.0)))
    assert strict.sizes["cell"] < usual.sizes["cell"] < wide.sizes["cell"] == 384
    for name, limit in (("topographic_complexity", 0.20), ("water_fraction", 0.05), ("urban_fraction", 0.20)):
        assert float(usual[name].max()) <= limit
        assert float(wide[name].max()) > limit
    assert usual.attrs["synthetic"] == "true"


def test_ranges_and_sums(grid: xr.Dataset) -> None:
    np.testing.assert_allclose(grid["patch_fraction"].sum("patch"), 1.0, atol=1e-12)
    for name in ("latitude", "elevation", "clay", "sand", "patch_fraction", "topographic_complexity", "water_fraction"):
        registry.check_range(name, grid[name].values, where=name)
    assert float((grid["clay"] + grid["sand"]).max()) <= 0.95 + 1e-12
    kept = grid.isel(cell=np.flatnonzero(grid["mask"] == Quality.USED))
    active = (kept["patch_fraction"] > 0).sum("patch")
    assert 4.5 <= float(active.mean()) <= 5.5
    assert float(kept["patch_fraction"].where(kept["patch_fraction"] > 0).min()) > 0.02


def test_features_of_the_region(grid: xr.Dataset) -> None:
    def cover(patch: int, where: np.ndarray) -> float:
        return float(grid["patch_fraction"].sel(patch=patch).values[where].mean())

    everywhere = np.ones(384, dtype=bool)
    assert cover(5, near(grid, 44.3, -0.8, 0.4)) > 0.5 > 2.5 * cover(5, everywhere)  # conifers of the Landes
    for place in ((43.97, 0.34), (43.6, 0.89), (43.44, 1.88)):  # C3 crops from Condom to Saint-Felix
        assert cover(7, near(grid, *place, 0.2)) > 0.4 > 1.5 * cover(7, everywhere)
    assert cover(8, near(grid, 43.6, -0.5, 0.3)) > 2 * cover(8, everywhere)  # maize along the Adour
    assert float(grid["sand"].values[near(grid, 44.3, -0.8, 0.4)].mean()) > 0.75
    height = grid["elevation"].values
    assert height[near(grid, 42.7, 0.6, 0.3)].mean() > 1200  # Pyrenees
    assert 600 < height[near(grid, 45.0, 2.9, 0.3)].mean() < 1400  # Massif Central
    assert height[near(grid, 44.5, -0.5, 0.3)].max() < 100  # plain
    assert float(grid["water_fraction"].values[near(grid, 44.5, -1.8, 0.2)].min()) == 1.0  # Atlantic
    assert float(grid["water_fraction"].values[near(grid, 42.6, 3.7, 0.2)].min()) == 1.0  # Mediterranean


def test_fields_are_coherent(grid: xr.Dataset) -> None:
    for name in ("elevation", "clay", "sand"):
        field = grid[name].values.reshape(16, 24)
        assert np.corrcoef(field[:, 1:].ravel(), field[:, :-1].ravel())[0, 1] > 0.9, name


def test_the_mediterranean_climate_lies_in_the_southeast(grid: xr.Dataset) -> None:
    weight = climate_of(grid).mediterranean
    assert weight[near(grid, 43.74, 3.6, 0.2)].min() > 0.9
    assert weight[near(grid, 43.7, -0.1, 0.5)].max() == 0.0
    assert weight[near(grid, 45.8, 3.5, 0.3)].max() < 0.05


def test_subsets() -> None:
    land = make_land(TwinConfig(subset="stations"))
    assert land.sizes["cell"] == 12
    assert 3 <= make_land(TwinConfig(subset="demo")).sizes["cell"] <= 6
    whole = make_land(TwinConfig())
    there = {
        (float(a), float(b)): float(c) for a, b, c in zip(whole.latitude, whole.longitude, whole.clay, strict=True)
    }
    for a, b, c in zip(land.latitude, land.longitude, land.clay, strict=True):
        assert there[float(a), float(b)] == float(c)  # a part of the whole, not another land


def test_bad_requests_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"crop_fields.*stations"):
        make_land(TwinConfig(subset="crop_fields"))
    with pytest.raises(ConfigurationError, match="no cell passes"):
        make_land(TwinConfig(region=RegionConfig(west=-2.0, east=-1.5, south=44.5, north=45.0)))
    with pytest.raises(ValueError, match="smaller than one step"):
        RegionConfig(west=4.0, east=-2.0)
    with pytest.raises(ValueError, match=r"not a whole number of cells of 0.7"):
        RegionConfig(step=0.7)
