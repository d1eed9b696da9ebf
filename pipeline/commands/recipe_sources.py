"""Providers of data, what to ask them for, and the configuration that ingests it.

What is said of a provider was read in its own pages and in public programs that use it, in 2026; where nothing could be
confirmed, the text says so.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np

from ldas.landmodel.array_types import Array
from ldas.pipeline.ingest.config import CellsConfig

ERA5_STEP = 0.25  # degrees
SOILGRIDS_STEP = 1 / 480  # degrees, about 250 m
INSTANTS = (
    "2m_temperature",
    "2m_dewpoint_temperature",
    "surface_pressure",
    "10m_u_component_of_wind",
    "10m_v_component_of_wind",
)
AMOUNTS = ("surface_solar_radiation_downwards", "surface_thermal_radiation_downwards", "total_precipitation")
TEXTURE = ("clay", "sand")
SNOWFALL = "snowfall"  # not among the variables of the time series
CDS_LICENCE = "Copernicus licence, attribution; accepted once on the page of the data set"
MANIFESTS = "https://globalland.vito.be/download/manifest"
COPERNICUS = "Copernicus: free, full and open, attribution"
CDS_SCRIPT = '''"""Downloads what cds.json asks for; needs cdsapi and a key of the Climate Data Store (~/.cdsapirc)."""

import json
import pathlib

import cdsapi

folder = pathlib.Path(__file__).parent
for item in json.loads((folder / "cds.json").read_text()):
    target = folder / item["target"]
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        part = target.with_name(target.name + ".part")
        cdsapi.Client().retrieve(item["dataset"], item["request"], str(part))
        part.rename(target)
'''
LAND_COVER = (2001, 2022)  # years of MCD12Q1.061 as LP DAAC described it; there may be later ones
# First and last day of each satellite in H121, as a public program lists the server. H SAF's own description of the
# record has its whole period only (Hahn et al. 2026, Earth Syst. Sci. Data 18, 4393).
H121 = {
    "metop_a": (date(2007, 1, 1), date(2021, 11, 15)),
    "metop_b": (date(2013, 6, 1), date(2024, 12, 31)),
    "metop_c": (date(2019, 4, 1), date(2024, 12, 31)),
}
LAI_1KM_END = date(2020, 6, 30)  # later: 300 m only


@dataclass(frozen=True)
class Source:
    """One thing to download."""

    what: str
    provider: str
    licence: str
    size: str
    how: str
    requests: Mapping[str, Any] = field(default_factory=dict)  #: file name -> its text, or content as JSON
    ingest: str | None = None  #: source of `ldas ingest`
    config: Mapping[str, Any] = field(default_factory=dict)
    makes: str = ""  #: the group

    @property
    def config_file(self) -> str:
        """Name of the configuration file: `era5.yaml`, `cgls_lai.yaml`."""
        return f"{self.ingest}_{self.makes.rpartition('/')[2]}.yaml" if self.ingest == "cgls" else f"{self.ingest}.yaml"


@dataclass(frozen=True)
class Scope:
    """Edges of the region (degrees), its cells, first day and the day after the last, groups of observations in use."""

    south: float
    north: float
    west: float
    east: float
    step: float
    cells: CellsConfig | None  #: None: those of the land that the store has
    start: date
    stop: date
    observed: frozenset[str]

    @classmethod
    def around(
        cls,
        latitude: Array,
        longitude: Array,
        step: float,
        cells: CellsConfig | None,
        start: date,
        stop: date,
        observed: frozenset[str],
    ) -> "Scope":
        """The scope of cells whose centres are given."""
        half = step / 2
        edges = (np.min(latitude) - half, np.max(latitude) + half, np.min(longitude) - half, np.max(longitude) + half)
        south, north, west, east = (round(float(edge), 6) for edge in edges)
        return cls(max(south, -90.0), min(north, 90.0), west, east, step, cells, start, stop, observed)

    @property
    def point(self) -> tuple[float, float] | None:
        """Latitude and longitude, where there is one cell."""
        points = self.cells.points if self.cells is not None else None
        return points[0] if points is not None and len(points) == 1 else None

    @property
    def box(self) -> list[float]:
        """West, south, east, north."""
        return [self.west, self.south, self.east, self.north]

    def overlaps(self, first: date, last: date) -> bool:
        """Whether the period has a day between two, both included."""
        return first < self.stop and self.start <= last


def sources(scope: Scope) -> list[Source]:
    """What an experiment needs: land and forcing, its observations, and stations to compare with."""
    found = [] if scope.cells is None else [_land_cover(scope), _texture(scope)]  # of land that is there already: none
    found.append(_era5_at_a_point(scope, scope.point) if scope.point else _era5(scope))
    if "sigma40" in scope.observed or "ssm" in scope.observed:
        found.append(_ascat(scope, "sigma40" if "sigma40" in scope.observed else "ssm"))
    found += [_copernicus_land(scope, name) for name in ("lai", "swi") if name in scope.observed]
    return [*found, _ismn(scope)]


def megabytes(values: float, bytes_each: int) -> str:
    """A size in words."""
    size = values * bytes_each / 1e6
    return f"{size / 1000:.3g} GB" if size >= 1000 else f"{size:.3g} MB"


def _days(scope: Scope) -> list[date]:
    """A day before the first too (amounts of the hour that ends at its 00 UTC), and the day after the last."""
    first = scope.start - timedelta(days=1)
    return [first + timedelta(days=number) for number in range((scope.stop - first).days + 1)]


def _months(days: list[date]) -> Iterator[tuple[int, int, list[str]]]:
    for year, month in sorted({(day.year, day.month) for day in days}):
        yield year, month, [f"{day.day:02d}" for day in days if (day.year, day.month) == (year, month)]


def _land_cover(scope: Scope) -> Source:
    year = max(scope.start.year, LAND_COVER[0])
    late = (
        f" The provider describes maps up to {LAND_COVER[1]}; that there is one of {year} is not confirmed: otherwise "
        "ask for an earlier year."
        if year > LAND_COVER[1]
        else ""
    )
    west, south, east, north = scope.box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    task = {
        "task_type": "area",
        "task_name": "ldas_land_cover",
        "params": {
            "dates": [{"startDate": f"01-01-{year}", "endDate": f"12-31-{year}"}],
            "layers": [{"product": "MCD12Q1.061", "layer": "LC_Type1"}],
            "output": {"format": {"type": "netcdf4"}, "projection": "geographic"},
            "geo": {"type": "FeatureCollection", "features": [feature]},
        },
    }
    raster = {"file": "land_cover/MCD12Q1.061_500m_aid0001.nc", "variable": "LC_Type1"}
    texture = {name: {"file": f"soilgrids/{name}.nc", "variable": "Band1", "unit": "g/kg"} for name in TEXTURE}
    assert scope.cells is not None  # the land is made of nothing else
    pixels = (north - south) * (east - west) / (1 / 240) ** 2
    return Source(
        "Land cover (MODIS, IGBP classes)",
        "NASA LP DAAC, by AppEEARS",
        "NASA open data",
        f"{megabytes(pixels, 1)} (500 m, one year)",
        "`appeears.json` is an area task of AppEEARS (appeears.earthdatacloud.nasa.gov, account of NASA Earthdata): "
        "send it to its API (`POST /api/task`), or give the same choices in its pages. Put the NetCDF file into "
        "`land_cover/` under the name that `land.yaml` has: how AppEEARS numbers its files is not confirmed."
        f"{late}\n\n"
        "The table of classes in ldas is that of IGBP. Two other maps need a table beside them (`cover.table`): a "
        "CSV of its classes, which ldas does not have, for ESA CCI (CDS, data set `satellite-land-cover`, request "
        f"`{json.dumps(_cci_request(scope, year))}`, NetCDF in a zip, variable `lccs_class`; ESA CCI and Copernicus "
        "licences); its cover file for ECOCLIMAP (`kind: ecoclimap`; CNRM, with SURFEX). Where the map of ECOCLIMAP "
        "can be downloaded is not confirmed; `ldas ingest surfex-land` takes it from a PGD file of SURFEX.",
        {"appeears.json": task},
        "land",
        {
            "cells": scope.cells.model_dump(exclude_none=True, mode="json"),
            "cell_size": scope.step,
            "cover": {"map": raster, "kind": "classes"},
            **texture,
            "clay_and_sand": "scale",
        },
        "land",
    )


def _cci_request(scope: Scope, year: int) -> dict[str, Any]:
    version = "v2_0_7cds" if year < 2016 else "v2_1_1"
    return {"variable": "all", "year": [str(min(year, 2022))], "version": [version], "area": _area(scope, 0.0)}


def _texture(scope: Scope) -> Source:
    west, south, east, north = (
        round(edge + margin, 6) for edge, margin in zip(scope.box, (-0.01, -0.01, 0.01, 0.01), strict=True)
    )
    url = (
        "https://maps.isric.org/mapserv?map=/map/{name}.map&SERVICE=WCS&VERSION=2.0.1&REQUEST=GetCoverage"
        "&COVERAGEID={name}_0-5cm_mean&FORMAT=GEOTIFF_INT16"
        "&SUBSETTINGCRS=http://www.opengis.net/def/crs/EPSG/0/4326&OUTPUTCRS=http://www.opengis.net/def/crs/EPSG/0/4326"
        f"&SUBSET=long({west},{east})&SUBSET=lat({south},{north})"
    )
    lines = [
        "#!/bin/sh",
        "# Clay and sand of SoilGrids, as NetCDF; needs curl and GDAL.",
        "set -e",
        "mkdir -p soilgrids",
    ]
    for name in TEXTURE:
        lines += [
            f"curl --fail --output soilgrids/{name}.tif '{url.format(name=name)}'",
            f"gdal_translate -of netCDF soilgrids/{name}.tif soilgrids/{name}.nc",
        ]
    pixels = (north - south) * (east - west) / SOILGRIDS_STEP**2
    return Source(
        "Clay and sand (SoilGrids)",
        "ISRIC",
        "CC-BY 4.0",
        f"{megabytes(2 * pixels, 2)} (250 m, two maps)",
        "`sh soilgrids.sh` in this folder asks the coverage service for the layer 0-5 cm (mean, g/kg) and has GDAL "
        "write it as NetCDF, in which its variable is called `Band1`. That name, how large a region the service gives "
        "in one request, and what it writes over water, are not confirmed: look at the maps first.",
        {"soilgrids.sh": "\n".join(lines) + "\n"},
    )


def _area(scope: Scope, margin: float) -> list[float]:
    """North, west, south, east, as the Climate Data Store asks for them: on ERA5's grid, with a margin."""
    west, south, east, north = scope.box
    low = [math.floor(edge / ERA5_STEP) * ERA5_STEP - margin for edge in (west, south)]
    high = [math.ceil(edge / ERA5_STEP) * ERA5_STEP + margin for edge in (east, north)]
    return [min(high[1], 90.0), low[0], max(low[1], -90.0), high[0]]


def _era5(scope: Scope) -> Source:
    area, days = _area(scope, ERA5_STEP), _days(scope)
    common = {"product_type": ["reanalysis"], "time": [f"{hour:02d}:00" for hour in range(24)], "area": area,
              "data_format": "netcdf", "download_format": "unarchived"}  # fmt: skip
    requests = [
        {
            "dataset": "reanalysis-era5-single-levels",
            "target": f"era5/{kind}_{year}{month:02d}.nc",
            "request": {
                "variable": list(names),
                "year": [str(year)],
                "month": [f"{month:02d}"],
                "day": of_month,
                **common,
            },
        }
        for year, month, of_month in _months(days)
        for kind, names in (("instants", INSTANTS), ("amounts", (*AMOUNTS, SNOWFALL)))
    ]
    rows, columns = (round((area[a] - area[b]) / ERA5_STEP) + 1 for a, b in ((0, 2), (3, 1)))
    values = len(days) * 24 * rows * columns * (len(INSTANTS) + len(AMOUNTS) + 1)
    return Source(
        "Weather (ERA5, hourly, 0.25 degrees)",
        "Copernicus Climate Data Store",
        CDS_LICENCE,
        f"{megabytes(values, 4)} as float32 ({rows} x {columns} points, {len(days)} days, 9 variables)",
        f"`python download_cds.py` sends the {len(requests)} requests of `cds.json`, one a month for instants and "
        "one for amounts, and leaves out what is there; it needs `pip install cdsapi` and a key of your account. The "
        "days before the first and after the last are asked for too: the last interval needs the record at its end. "
        "ERA5 begins in 1940 and ends about five days before today. The same data without an account: `ldas ingest "
        "arco`.",
        {"cds.json": requests, "download_cds.py": CDS_SCRIPT},
        "era5",
        {
            "files": ["era5/*.nc"],
            "cells": {"from_group": "land"},
            "period": _hours(scope),
            "interpolation": "bilinear",
        },
        "forcing",
    )


def _era5_at_a_point(scope: Scope, point: tuple[float, float]) -> Source:
    days, names = _days(scope), [*INSTANTS, *AMOUNTS]
    request = {
        "variable": names,
        "location": {"latitude": point[0], "longitude": point[1]},
        "date": [f"{days[0]}/{days[-1]}"],
        "data_format": "csv",
    }
    item = {"dataset": "reanalysis-era5-single-levels-timeseries", "target": "era5/point.zip", "request": request}
    return Source(
        "Weather (ERA5, hourly, at a point)",
        "Copernicus Climate Data Store",
        CDS_LICENCE,
        f"about {megabytes(len(days) * 24 * (len(names) + 3), 8)} as text ({len(days)} days, {len(names)} variables)",
        "`python download_cds.py` sends the request of `cds.json`; it needs `pip install cdsapi` and a key of your "
        "account. Unpack `era5/point.zip` in its folder (a CSV file). The series is that of the point of ERA5's grid "
        "nearest to the place; ECMWF calls the data set experimental. It has no snowfall: `snow` of `era5.yaml` "
        "splits precipitation by temperature. That it has `surface_thermal_radiation_downwards` is not confirmed: if "
        "the request is refused, ask for ERA5 on its grid (`ldas recipe` with `--region` around the place).",
        {"cds.json": [item], "download_cds.py": CDS_SCRIPT},
        "era5",
        {
            "files": ["era5/*.csv"],
            "cells": {"from_group": "land"},
            "period": _hours(scope),
            "interpolation": "nearest",
        },
        "forcing",
    )


def _hours(scope: Scope) -> dict[str, str]:
    return {"start": f"{scope.start}T00:00", "end": f"{scope.stop}T00:00"}


def _whole_days(scope: Scope) -> dict[str, str]:
    return {"start": f"{scope.start}T00:00", "end": f"{scope.stop - timedelta(days=1)}T23:59"}


def _ascat(scope: Scope, quantity: str) -> Source:
    last = scope.stop - timedelta(days=1)
    folders = [
        f"`{name}` {max(scope.start, first)} to {min(last, end)}"
        for name, (first, end) in H121.items()
        if scope.overlaps(first, end)
    ]
    there = (
        "Folders of the period, by year and month: " + ", ".join(folders) + " (first and last days of each satellite "
        "are not confirmed)."
        if folders
        else "Of this period it has nothing: the record is of 2007 to 2024."
    )
    return Source(
        "Backscatter and soil moisture (ASCAT, H121)",
        "EUMETSAT H SAF",
        "EUMETSAT data policy",
        "not confirmed; whole orbits (a granule of its successor H139 has about 2 MB, a day of a satellite about 50 "
        "MB)",
        "Register at hsaf.meteoam.it, then copy from ftp://ftphsaf.meteoam.it/h121/netcdf/ into `ascat/`. "
        f"{there} Region and variables cannot be chosen there: the files are of the whole globe. Later days: "
        "ftp://ftphsaf.meteoam.it/h139/h139_cur_mon_data/ (the last two months). Cell files of earlier versions (H113, "
        "H119) are read too, with their `grid`.",
        {},
        "ascat",
        {
            "files": ["ascat/**/*.nc"],
            "cells": {"from_group": "land"},
            "quantity": quantity,
            "method": "nearest",
            "period": _whole_days(scope),
        },
        f"observations/{quantity}",
    )


def _copernicus_land(scope: Scope, group: str) -> Source:
    last = scope.stop - timedelta(days=1)
    if group == "swi":
        spans = [("SWI_12.5KM_V3_DAILY", scope.start, last)]
        variable, what = "SWI_001", "Soil water index (12.5 km, daily)"
        note = ""
    else:  # one after the other: two maps of a date are refused
        spans = [
            ("LAI_1KM_V2_10DAILY", scope.start, min(last, LAI_1KM_END)),
            ("LAI_300M_V1_10DAILY", max(scope.start, LAI_1KM_END + timedelta(days=1)), last),
        ]
        variable, what = "LAI", "Leaf area index (every ten days)"
        note = (
            " The maps of 1 km end in June 2020, later ones have 300 m; of each date, keep one. They are averaged over "
            f"squares of {scope.step:g} degrees (`cell_size`)."
        )
    spans = [(name, begin, end) for name, begin, end in spans if begin <= end]
    requests = [
        {
            "dataset_id": f"EO:CLMS:DAT:CLMS_GLOBAL_{name}_NETCDF",
            "start": f"{begin}T00:00:00.000Z",
            "end": f"{end}T23:59:59.999Z",
            "bbox": scope.box,
        }
        for name, begin, end in spans
    ]
    products = [f"{name.lower()}_netcdf" for name, _, _ in spans]
    lists = " and ".join(f"{MANIFESTS}/{name}/manifest_clms_global_{name}_latest.txt" for name in products)
    return Source(
        what,
        "Copernicus Land Monitoring Service",
        COPERNICUS,
        "not confirmed; maps of the globe",
        f"`clms_{group}.json` has the query for WEkEO (`pip install hda`, free account); the same files are listed, "
        f"one URL a line, in {lists} (name by the pattern of other products, not confirmed for this one). Put the "
        f"NetCDF files into `cgls_{group}/`.{note}",
        {f"clms_{group}.json": requests},
        "cgls",
        {
            "files": [f"cgls_{group}/*.nc"],
            "variable": variable,
            "group": group,
            "cells": {"from_group": "land"},
            "cell_size": scope.step,
            "method": "nearest" if group == "swi" else "area",
            "period": _whole_days(scope),
        },
        f"observations/{group}",
    )


def _ismn(scope: Scope) -> Source:
    west, south, east, north = scope.box
    return Source(
        "Soil moisture of stations (ISMN)",
        "International Soil Moisture Network",
        "scientific use; cite ISMN and the networks; no redistribution for profit",
        "depends on the stations; a year of hours at one depth has about 1 MB",
        f"Register at ismn.earth, choose the stations between {south:g} and {north:g} N, {west:g} and {east:g} E and "
        f"the period, and unpack what comes into `ismn/`. Whether there are stations in the region is not known here. "
        "`ismn.yaml` takes the sensor nearest to 5 cm, and each network becomes a group of its own: put its name into "
        "`makes` of the step, in place of NETWORK.",
        {},
        "ismn",
        {"files": ["ismn/**/*.stm"], "depth": 0.05, "period": _whole_days(scope)},
        "insitu/NETWORK",
    )
