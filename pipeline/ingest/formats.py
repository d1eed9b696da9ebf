"""The formats of product files: one table, by which `ldas ingest inspect` and the refusals of `ldas ingest` go."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ldas.pipeline import files
from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest import (
    alma,
    arco,
    ascat_swath,
    cgls,
    era5,
    fluxnet,
    half_hourly,
    ismn,
    modis_files,
    station,
    surfex,
)
from ldas.pipeline.ingest.look import Look, look_at

Settings = dict[str, Any]
_LAI = re.compile(r"(?<![A-Za-z])Lai_(?:500m|1km)\b")
_FOUR_DAYS = re.compile(r"MCD15A3H?")
_SWI = re.compile(r"^SWI_\d{3}$")
_FEW_POINTS = 4000  # of a field are enough to see how its amounts accumulate


@dataclass(frozen=True)
class Format:
    """One format.

    `source` is the `ldas ingest` source that reads it (`others` do too); without one, `reason` says why and what to do.
    `settings` are the keys of its configuration that follow from the file; `asks` names those that the source needs for
    this file and only the user knows. `part` says what a file is good for that is not ingested alone.
    """

    name: str
    kind: str
    fits: Callable[[Look], bool]
    source: str = ""
    others: tuple[str, ...] = ()
    settings: Callable[[Look], Settings] = lambda look: {}
    asks: Callable[[Look], tuple[str, ...]] = lambda look: ()
    part: str = ""
    reason: str = ""


def recognise(look: Look) -> Format | None:
    """The first format of the table that fits; None for an unknown one."""
    return next((entry for entry in FORMATS if entry.kind == look.kind and entry.fits(look)), None)


def of_another_source(source: str, paths: Sequence[Path], message: str) -> str:
    """What to add to the message of an ingest that failed: that a file is of a format that another source reads.

    Args:
        paths: the files of the ingest: that which the message names is looked at, else the first.
    """
    named = next((path for path in paths if str(path) in message), paths[0] if paths else None)
    if named is None:
        return ""
    try:
        found = recognise(look_at(named))
    except (IngestError, *files.READING_ERRORS):
        return ""
    if found is None or source in (found.source, *found.others):
        return ""
    if found.source:
        return f"; {named.name} is {found.name}: ldas ingest {found.source} reads it"
    return "" if found.reason in message else f"; {named.name} is {found.name}: {found.reason}"


# --- what the recognition and the settings of single formats go by ------------------------------------------------


def _has(*names: str) -> Callable[[Look], bool]:
    return lambda look: set(names) <= look.names


def _ragged(look: Look) -> bool:
    return bool({"row_size", "locationIndex"} & look.names)


def _quantity(look: Look) -> Settings:
    there = {"sigma40", ascat_swath.FIBONACCI_NAMES["sigma40"]} & look.names
    return {"quantity": "sigma40" if there or look.kind == "BUFR" else "ssm"}


def _cgls_variable(look: Look, product: str) -> str | None:
    names = sorted(name for name in map(str, look.header.data_vars) if name == product or _SWI.match(name))
    names = [name for name in names if cgls.product_of(name) is cgls.PRODUCTS[product]]
    placed = {"lat", "latitude"} & look.names and {"lon", "longitude"} & look.names
    return names[0] if names and placed else None


def _cgls(product: str) -> Format:
    def settings(look: Look) -> Settings:
        found: Settings = {"variable": _cgls_variable(look, product)}
        dated = "time" in look.names or cgls.NAMED.match(look.path.name)
        if not dated and cgls.DATE_IN_NAME.search(look.path.name):
            found["date"] = "file_name"
        return found

    def asks(look: Look) -> tuple[str, ...]:
        unit = str(look.header[str(_cgls_variable(look, product))].attrs.get("units", ""))
        known = cgls.unit_key(unit) in cgls.PRODUCTS[product].units
        dated = "time" in look.names or cgls.NAMED.match(look.path.name) or "date" in settings(look)
        return (() if known else ("unit",)) + (() if dated else ("date",))

    return Format(
        f"Copernicus Global Land {product}",
        "NetCDF",
        lambda look: _cgls_variable(look, product) is not None and look.header.sizes.get("time", 1) == 1,
        "cgls",
        settings=settings,
        asks=asks,
    )


def _modis_netcdf(look: Look) -> Settings:
    found: Settings = {"variable": _lai_variable(look)}
    return found | _composite(" ".join([look.path.name, *map(str, look.header.attrs.values())]))


def _lai_variable(look: Look) -> str:
    return next((name for name in map(str, look.header.data_vars) if _LAI.fullmatch(name)), "")


def _modis_scale(look: Look) -> tuple[str, ...]:
    array = look.header[_lai_variable(look)]
    return () if array.dtype.kind in "iu" or "scale_factor" in array.attrs else ("scale",)


def _modis_text(layout: str) -> Format:
    def settings(look: Look) -> Settings:
        return {"variable": _LAI.findall(look.text)[0]} | _composite(look.text)

    return Format(
        f"MODIS leaf area index, {layout}",
        "text",
        lambda look: modis_files.text_layout(look.lines) == layout and bool(_LAI.search(look.text)),
        "modis",
        settings=settings,
    )


def _composite(text: str) -> Settings:
    return {"composite_days": 4} if _FOUR_DAYS.search(text) else {}


def era5_names(look: Look) -> dict[str, str]:
    """The variables of ERA5 in a file or archive, by quantity."""
    table = arco.NAMES if look.kind == "Zarr" else era5.NAMES
    return {quantity: name for quantity, (names, _) in table.items() for name in names if name in look.names}


def _era5(look: Look) -> Settings:
    try:
        fields = era5.read_fields([look.path], accumulation=None)
        thinned = {}
        for name, values in fields.items():
            step = max(1, int(np.sqrt(values.sizes["latitude"] * values.sizes["longitude"] / _FEW_POINTS)))
            thinned[name] = values.isel(latitude=slice(None, None, step), longitude=slice(None, None, step))
        land = era5.contradicting_amounts(thinned, "hourly", look.path) is not None
    except IngestError:  # it is said where the file is looked into
        return {}
    return {"accumulation": "since_midnight"} if land else {}


def _grib_has_era5(look: Look) -> bool:
    known = {name for names, _ in era5.NAMES.values() for name in names}
    return any(str(name) in known for dataset in look.fields for name in dataset.data_vars)


def _alma_asks(look: Look) -> tuple[str, ...]:
    header = look.header
    asks = [] if {"PSurf", "Psurf"} & look.names else ["surface_pressure"]
    for name, spellings in (("latitude", alma.LATITUDE), ("longitude", alma.LONGITUDE)):
        if not set(spellings) & look.names:
            asks.append(name)
    dated = "time" in look.names and " since " in str(header["time"].attrs.get("units", ""))
    return (*asks, *(() if dated else ("start", "step_s")))


def _isba_variables(look: Look) -> list[str]:
    wanted = surfex.SurfexRunConfig.model_fields["variables"].default
    return [name for name in wanted if set(surfex.output_names(name)) & look.names]


def _isba(look: Look) -> Settings:
    found: Settings = {"variables": _isba_variables(look)}
    with files.open_netcdf(look.path) as dataset:
        hours = np.unique(files.utc_times(dataset, "time", look.path).astype("datetime64[h]").astype(np.int64) % 24)
    usual = surfex.SurfexRunConfig.model_fields["hour"].default
    return found if usual in hours or len(hours) == 1 else found | {"hour": int(hours[0])}


def _isba_asks(look: Look) -> tuple[str, ...]:
    placed = set(surfex.PGD_NAMES["latitude"]) & look.names and set(surfex.PGD_NAMES["longitude"]) & look.names
    patches = set(surfex.PATCH_DIMENSIONS) & set(map(str, look.header.dims))
    known = not patches or set(surfex.PGD_NAMES["patch_fraction"]) & look.names
    return () if placed and known else ("pgd",)


def _map(key: str, names: tuple[str, ...], classes: bool) -> Callable[[Look], Settings]:
    def settings(look: Look) -> Settings:
        name = next(item for item in names if item in look.names)
        raster: Settings = {"file": look.name, "variable": name}
        if not classes and "units" not in look.header[name].attrs:
            raster["unit"] = "1"
        return {"cover": {"map": raster}} if classes else {key: raster}

    return settings


def _flat(*names: str) -> Callable[[Look], bool]:
    """Whether a file has one of these variables, as a map of a single date."""

    def fits(look: Look) -> bool:
        there = [name for name in names if name in look.names]
        return bool(there) and look.header[there[0]].squeeze(drop=True).ndim == 2

    return fits


def _ismn(look: Look) -> Settings:
    """Depth and flags where the usual ones would take nothing."""
    sensors = ismn.read_file(look.path)
    usual = ismn.IsmnConfig(files=("",))
    nearest = min(sensors, key=lambda sensor: ismn.distance(sensor, usual))
    found: Settings = {}
    if ismn.distance(nearest, usual) > usual.depth_tolerance:
        found["depth"] = nearest.depth[0]
    flags = {flag for item in nearest.data["flag"].astype(str).unique() for flag in item.split(",")}
    if not flags & set(usual.flags) and "U" in flags:
        found["flags"] = [*usual.flags, "U"]
    return found


def _fluxnet(daily: bool) -> Callable[[Look], bool]:
    def fits(look: Look) -> bool:
        if look.lines[:1] == () or not look.lines[0].startswith("TIMESTAMP,"):
            return False
        return daily != bool(re.match(r"\d{6},", look.lines[-1]))

    return fits


def _forcing_columns(look: Look) -> bool:
    columns = set(look.lines[0].split(","))
    needed = [names for key, (names, *_) in fluxnet.DAILY_FORCING.items() if key not in fluxnet.OPTIONAL_FORCING]
    return all(columns & set(names) for names in needed)


def _table_of_surfex(first: str) -> Callable[[Look], bool]:
    return lambda look: bool(look.lines) and look.lines[0].lstrip("# ").split()[:2] == first.split()


def _foreign(kind: files.Foreign) -> Format:
    def fits(look: Look) -> bool:
        found = files.foreign(look.path)
        return found is not None and found.name == kind.name

    return Format(kind.name, "text", fits, reason=kind.text)


FORMATS: tuple[Format, ...] = (
    *(_foreign(kind) for kind in files.FOREIGN),
    Format("ASCAT time series (cell file)", "NetCDF", _ragged, "ascat", settings=_quantity),
    Format(
        "ASCAT Level 2 swath",
        "NetCDF",
        lambda look: ascat_swath.is_swath_header(look.header),
        "ascat",
        settings=_quantity,
    ),
    Format("ASCAT Level 2 soil moisture swath", "BUFR", lambda look: True, "ascat", settings=_quantity),
    Format(
        "grid of an ASCAT product",
        "NetCDF",
        _has("gpi", "cell", "lat", "lon"),
        "ascat",
        settings=lambda look: {"grid": look.name},
        part="`grid`, with the product's cell files in `files`",
    ),
    Format(
        "ASCAT backscatter with ISBA states at overpasses",
        "NetCDF",
        _has("sig", "WG2", "TG2"),
        "collocated",
    ),
    Format(
        "ISBA output",
        "NetCDF",
        lambda look: any(set(surfex.output_names(name)) & look.names for name in ("WG2", "TG2")),
        "surfex-run",
        settings=_isba,
        asks=_isba_asks,
    ),
    *(_cgls(product) for product in cgls.PRODUCTS),
    Format(
        "MODIS leaf area index",
        "NetCDF",
        lambda look: bool(_lai_variable(look)),
        "modis",
        settings=_modis_netcdf,
        asks=_modis_scale,
    ),
    Format("ERA5", "NetCDF", lambda look: bool(era5_names(look)), "era5", settings=_era5),
    Format("ERA5 (GRIB)", "GRIB", _grib_has_era5, "era5", settings=_era5),
    Format(
        "analysis-ready ERA5 archive (ARCO)",
        "Zarr",
        lambda look: bool(era5_names(look)),
        "arco",
        settings=lambda look: (
            {"url": look.name} | ({"url_options": {"token": "anon"}} if look.name.startswith("gs://") else {})
        ),
        asks=lambda look: ("period",),
    ),
    Format("no archive", "Zarr", lambda look: True, reason=arco.NO_ARCHIVE),
    Format(
        "forcing of SURFEX (FORCING.nc)",
        "NetCDF",
        lambda look: {alma.DIRECT, alma.DIFFUSE} <= look.names and len(alma.known(look.header)) >= 5,
        "alma",
        asks=_alma_asks,
    ),
    Format(
        "forcing with ALMA names",
        "NetCDF",
        lambda look: len(alma.known(look.header)) >= 5,
        "alma",
        asks=_alma_asks,
    ),
    Format(
        "SURFEX PGD or PREP file",
        "NetCDF",
        _has("CLAY", "SAND"),
        "surfex-land",
        asks=lambda look: () if set(surfex.PGD_NAMES["patch_fraction"]) & look.names else ("ecoclimap",),
    ),
    Format(
        "land cover map (IGBP classes)",
        "NetCDF",
        _flat("IGBP", "LC_Type1"),
        "land",
        settings=_map("cover", ("IGBP", "LC_Type1"), True),
        part="`cover.map`",
    ),
    Format(
        "land-sea mask",
        "NetCDF",
        _flat("land", "lsm"),
        "land",
        settings=_map("land_mask", ("land", "lsm"), False),
        part="`land_mask`, beside a cover map",
    ),
    Format(
        "forcing with ALMA names, in part",
        "NetCDF",
        lambda look: bool(alma.known(look.header)) and "time" in look.header.dims,
        "alma",
        asks=lambda look: tuple(key for key in _alma_asks(look) if key != "surface_pressure"),
        part="`files`, with those of the other variables",
    ),
    Format(
        "Copernicus Global Land, several dates in a file",
        "NetCDF",
        lambda look: any(_cgls_variable(look, product) is not None for product in cgls.PRODUCTS),
        reason=cgls.ONE_DATE,
    ),
    Format(
        "ISMN soil moisture",
        "text",
        lambda look: look.path.suffix == ismn.SUFFIX and bool(ismn.read_file(look.path)),
        "ismn",
        settings=_ismn,
    ),
    Format(
        "ISMN air temperature or precipitation",
        "text",
        lambda look: look.path.suffix == ismn.SUFFIX and bool(ismn.read_file(look.path, tuple(station.ISMN_VARIABLES))),
        "station",
        part="`files`: those of air temperature and of precipitation together",
    ),
    Format(
        "ISMN, another variable",
        "text",
        lambda look: look.path.suffix == ismn.SUFFIX,
        reason="it holds neither soil moisture nor air temperature nor precipitation, the variables of the ISMN that "
        "ldas reads",
    ),
    Format(
        "half-hourly FLUXNET or ICOS table",
        "text",
        lambda look: bool(look.lines) and look.lines[0].startswith(half_hourly.START),
        "half_hourly",
    ),
    Format(
        "EnergyPlus weather file (EPW)",
        "text",
        lambda look: bool(look.lines) and look.lines[0].startswith("LOCATION,"),
        "epw",
        asks=lambda look: ("period",),
    ),
    Format(
        "ERA5 at a point (CSV)",
        "text",
        lambda look: era5.is_point_table(look.path),
        "era5",
        settings=lambda look: {"interpolation": "nearest"},
    ),
    Format("FLUXNET monthly table", "text", _fluxnet(daily=False), reason=fluxnet.MONTHLY),
    Format(
        "FLUXNET daily table",
        "text",
        lambda look: _fluxnet(daily=True)(look) and _forcing_columns(look),
        "daily",
        ("tower",),
    ),
    Format("FLUXNET daily table of fluxes", "text", _fluxnet(daily=True), "tower"),
    Format(
        "ECOCLIMAP cover parameters",
        "text",
        lambda look: look.lines[0].split()[:1] == ["COVER"] and "FRACTION" in look.lines[-1] if look.lines else False,
        "land",
        ("surfex-land",),
        settings=lambda look: {"cover": {"kind": "ecoclimap", "table": look.name}},
        part="`cover.table`, beside a map of covers, or as `ecoclimap` of ldas ingest surfex-land",
    ),
    Format(
        "forcing table of a SURFEX example case",
        "text",
        _table_of_surfex("SW LW"),
        "alma",
        asks=lambda look: ("start", "step_s", "latitude", "longitude"),
    ),
    Format(
        "dated forcing table of a SURFEX example case",
        "text",
        _table_of_surfex("day aammjjhh"),
        "alma",
        asks=lambda look: ("surface_pressure", "latitude", "longitude"),
    ),
    *(_modis_text(layout) for layout in (modis_files.PIXEL_TABLE, modis_files.POINTS, modis_files.SUBSET_LINES)),
)
