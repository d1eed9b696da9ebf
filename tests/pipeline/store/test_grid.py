"""Maps from the packed cell axis."""

import numpy as np
import pytest
import xarray as xr

from ldas.pipeline.errors import PipelineError
from ldas.pipeline.store.grid import to_grid


def test_cells_come_to_their_places_north_first() -> None:
    rng = np.random.default_rng(3)
    every = [(lat, lon) for lat in (42.125, 42.375, 42.625) for lon in (-0.125, 0.125, 0.375, 0.625)]
    chosen = [every[i] for i in rng.permutation(len(every))[:9]]
    latitude = xr.DataArray([lat for lat, _ in chosen], dims="cell")
    longitude = xr.DataArray([lon for _, lon in chosen], dims="cell")
    data = xr.DataArray(rng.random((2, 9)), dims=("time", "cell"), name="LAI", attrs={"units": "m2 m-2"})
    found = to_grid(data, latitude, longitude)
    assert found.dims == ("time", "latitude", "longitude")
    assert list(found.latitude.values) == sorted(set(latitude.values), reverse=True)
    for cell, (lat, lon) in enumerate(chosen):
        np.testing.assert_array_equal(found.sel(latitude=lat, longitude=lon).values, data[:, cell].values)
    assert int(np.isfinite(found[0]).sum()) == 9
    assert found.attrs["units"] == "m2 m-2"
    assert set(to_grid(data.to_dataset(), latitude, longitude)["LAI"].dims) == {"time", "latitude", "longitude"}


def test_two_cells_at_one_place_and_wrong_sizes_are_refused() -> None:
    data = xr.DataArray(np.zeros(2), dims="cell")
    with pytest.raises(PipelineError, match="same latitude and longitude"):
        to_grid(data, xr.DataArray([43.0, 43.0], dims="cell"), xr.DataArray([1.0, 1.0], dims="cell"))
    with pytest.raises(PipelineError, match="3 cells were expected"):
        to_grid(data, xr.DataArray(np.zeros(3), dims="cell"), xr.DataArray(np.zeros(3), dims="cell"))
