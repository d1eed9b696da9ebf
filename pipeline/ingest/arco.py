"""The analysis-ready ERA5 archive on Google Cloud (ARCO): one global hourly Zarr with long variable names.

Its layout was taken from public descriptions, not read from the archive itself: the names are in the table `NAMES`, and
the tests use a small mimic of it.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from pydantic import Field

from ldas.pipeline import files
from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest import era5, forcing_fields
from ldas.pipeline.ingest.grid import Cells
from ldas.pipeline.store.location import Location
from ldas.pipeline.store.opening import zarr_store

# The public bucket's own address: plain HTTPS needs neither credentials nor gcsfs (gs://gcp-public-data-arco-era5/ar/...).
DEFAULT_URL = "https://storage.googleapis.com/gcp-public-data-arco-era5/ar/full_37-1h-0p25deg-chunk-1.zarr-v3"

NAMES: Mapping[str, tuple[tuple[str, ...], Mapping[str, tuple[float, float]]]] = {
    "temperature": (("2m_temperature",), era5.KELVIN),
    "dew_point": (("2m_dewpoint_temperature",), era5.KELVIN),
    "pressure": (("surface_pressure",), {"Pa": (1.0, 0.0)}),
    "eastward_wind": (("10m_u_component_of_wind",), era5.SPEED),
    "northward_wind": (("10m_v_component_of_wind",), era5.SPEED),
    "shortwave": (("surface_solar_radiation_downwards",), era5.ENERGY),
    "longwave": (("surface_thermal_radiation_downwards",), era5.ENERGY),
    "precipitation": (("total_precipitation",), era5.DEPTH),
    "snowfall": (("snowfall",), era5.DEPTH),
}


NO_ARCHIVE = "no variable of the ERA5 archive is in it; if it is a store of ldas, see `ldas status`"


class ArcoConfig(era5.GriddedForcingConfig):
    """`ldas ingest arco`. The period is required: the archive holds the whole globe since 1940."""

    url: str = Field(default=DEFAULT_URL, description="fsspec URL of the Zarr archive")
    url_options: dict[str, Any] = Field(
        default_factory=dict, description="fsspec options, such as token: anon for gs://; never credentials"
    )
    timeout_s: float = Field(default=120.0, gt=0, description="how long the archive may take to answer")


def read(cells: Cells, config: ArcoConfig, before: xr.DataArray | None = None) -> xr.Dataset:
    """The ALMA variables at the cells, lazy, over (time, cell).

    Raises:
        IngestError: an archive that does not answer, lacks a variable, or does not hold the period.
    """
    if config.period.start is None or config.period.end is None:
        raise IngestError("arco: `period` needs start and end, because the archive holds the whole globe since 1940")
    dataset = open_archive(config.url, config.url_options, config.timeout_s)
    if not dataset.data_vars:
        raise IngestError(f"{config.url}: {NO_ARCHIVE}")
    where = Path(config.url.rpartition("/")[2])
    _check_span(dataset, config, config.url)
    start, end = np.datetime64(config.period.start, "ns"), np.datetime64(config.period.end, "ns")
    part = dataset.sel(time=slice(start, end + np.timedelta64(1, "h")))
    block = forcing_fields.block_records(len(cells), config.memory_mb)
    prepared = era5.standard_layout(part, cells, block, where, config.interpolation)
    prepared = prepared.assign_coords(time=files.utc_times(prepared, "time", where))
    fields = era5.fields_of(prepared, NAMES, where)
    missing = [name for name in NAMES if name not in fields and name != "snowfall"]
    if missing:
        raise IngestError(
            f"{config.url}: no variable {', '.join(NAMES[name][0][0] for name in missing)}; the archive has: "
            + ", ".join(sorted(map(str, dataset.data_vars))[:40])
        )
    return era5.at_cells(fields, cells, config, config.url, before)


def open_archive(url: str, options: Mapping[str, Any], timeout_s: float) -> xr.Dataset:
    """The archive as a lazy dataset of the variables in `NAMES`; IngestError when it does not answer in time."""
    location = Location(url, dict(options))  # refuses credentials and unsafe protocols
    wanted = [name for names, _ in NAMES.values() for name in names]

    def opened() -> xr.Dataset:
        # Without chunks: an hour is a global chunk, and only what the cells need is read of it.
        store = zarr_store(location, read_only=True)
        try:
            dataset = xr.open_zarr(store, chunks=None, consolidated=True)
        except (ValueError, KeyError):  # an archive without consolidated metadata
            dataset = xr.open_zarr(store, chunks=None, consolidated=False)
        return dataset[[name for name in wanted if name in dataset]].assign_attrs(dataset.attrs)

    return _within(timeout_s, opened, url)


def _within(seconds: float, function: Callable[[], xr.Dataset], url: str) -> xr.Dataset:
    """The result of a function that must come in time: remote file systems retry for minutes on their own."""
    pool = ThreadPoolExecutor(max_workers=1)
    try:
        return pool.submit(function).result(timeout=seconds)
    except TimeoutError as error:
        raise IngestError(
            f"{url}: the archive did not answer within {seconds:g} s; check the URL and network"
        ) from error
    except Exception as error:  # every remote file system has errors of its own
        raise IngestError(f"{url}: the archive cannot be opened: {type(error).__name__}: {error}") from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _check_span(dataset: xr.Dataset, config: ArcoConfig, where: str) -> None:
    """The archive says up to when its data are final; later hours are there but empty."""
    for bound, late in (("valid_time_start", False), ("valid_time_stop", True)):
        given = dataset.attrs.get(bound)
        if given is None:
            continue
        limit = np.datetime64(str(given)[:10], "D")
        wanted = np.datetime64(config.period.end if late else config.period.start, "D")
        if (wanted > limit) if late else (wanted < limit):
            raise IngestError(f"{where}: data {'end' if late else 'begin'} on {limit}, the period asks for {wanted}")
