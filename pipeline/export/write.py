"""Files of exports: NetCDF, Zarr, GeoTIFF, written block by block; each appears under its name when it is whole."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import numpy as np
import xarray as xr

from ldas.pipeline.export.dataset import chunks
from ldas.pipeline.export.errors import ExportError
from ldas.pipeline.store.layout import Grid, Points

_UNFINISHED = ".partial"
_COMPRESSION = {"zlib": True, "complevel": 1, "shuffle": True}
_COORDINATES = ("lat", "lon", "time", "depth", "cell", "crs")
EXTRA = "rioxarray, which is needed for GeoTIFF, is not installed: pip install 'ldas[export]'"


def refuse_existing(paths: list[Path]) -> None:
    """Refuses to write over what is there.

    Raises:
        ExportError: naming the first that exists.
    """
    there = next((path for path in paths if path.exists()), None)
    if there is not None:
        raise ExportError(f"{there} exists already: remove it, or choose another folder with --out")


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A place to write a file or folder to, which takes its name at the end; what a killed program left is replaced."""
    spare = path.with_name(path.name + _UNFINISHED)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(spare)
        yield spare
        spare.rename(path)
    except (OSError, RuntimeError) as error:  # what the NetCDF library says of a full disk is a RuntimeError
        reason = getattr(error, "strerror", None) or error
        raise ExportError(
            f"{path} cannot be written: {reason}; check the folder, and that its disk has room"
        ) from error
    finally:
        _remove(spare)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()


def _data_variables(dataset: xr.Dataset) -> list[str]:
    return [str(name) for name, item in dataset.data_vars.items() if "grid_mapping" in item.attrs]


def write_netcdf(dataset: xr.Dataset, path: Path, layout: Grid | Points) -> None:
    """One NetCDF-4 file, along a time that other programs can lengthen."""
    found = dataset.copy()
    for name in _data_variables(found):
        sizes = chunks(found.sizes, found[name].dims, layout)
        found[name].encoding |= {**_COMPRESSION, "chunksizes": sizes}
    for variable in found.variables:
        found[variable].encoding.setdefault("_FillValue", None)
    with appearing(path) as spare, dask.config.set(scheduler="synchronous"):
        found.to_netcdf(spare, engine="netcdf4", format="NETCDF4", unlimited_dims=["time"])


def write_zarr(dataset: xr.Dataset, path: Path, layout: Grid | Points) -> None:
    """One Zarr store, in format 2, which more programs read than format 3."""
    found = dataset.copy()
    for name in _data_variables(found):
        found[name].encoding["chunks"] = chunks(found.sizes, found[name].dims, layout)
    for variable in found.variables:
        found[variable].encoding.setdefault("_FillValue", None)
    with appearing(path) as spare, dask.config.set(scheduler="synchronous"):
        found.to_zarr(spare, mode="w", zarr_format=2, consolidated=True)


def write_geotiff(maps: xr.DataArray, path: Path, tags: dict[str, Any]) -> None:
    """A map (lat, lon), or one for each depth, as bands of a GeoTIFF in degrees (EPSG:4326), north first."""
    try:
        import rioxarray  # noqa: F401  (gives arrays `rio`)
    except ImportError as error:
        raise ExportError(EXTRA) from error
    found = maps.sortby("lat", ascending=False).astype(np.float32).rename({"lat": "y", "lon": "x"})
    names = [f"{maps.name} {metres:g} m" for metres in found["depth"].values] if "depth" in found.dims else [maps.name]
    found = xr.DataArray(found.values, dims=found.dims, coords={name: found[name].values for name in ("y", "x")})
    found.attrs["long_name"] = tuple(map(str, names))
    with appearing(path) as spare, dask.config.set(scheduler="synchronous"):
        raster = found.rio.write_crs("EPSG:4326").rio.write_nodata(np.nan)
        raster.rio.to_raster(spare, driver="GTiff", compress="DEFLATE", tags={k: str(v) for k, v in tags.items()})


WRITERS: dict[str, Callable[[xr.Dataset, Path, Grid | Points], None]] = {"netcdf": write_netcdf, "zarr": write_zarr}
