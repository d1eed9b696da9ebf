"""`ldas ingest inspect FILE`: what a product file holds, or why it is not one."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.errors import PipelineError
from pipeline.ingest import alma, arco, ascat_swath, covers, era5, files, fluxnet, grib, ismn, surfex
from pipeline.ingest.errors import IngestError
from pipeline.location import Location

_SCHEME = re.compile(r"^([a-z0-9]{2,}):/+")


@dataclass(frozen=True)
class VariableReport:
    """One variable: its unit (empty: none given) and shape."""

    name: str
    unit: str
    shape: dict[str, int]
    text: str = ""


@dataclass(frozen=True)
class Report:
    """What a file holds. `source` is the `ldas ingest` source that reads it; empty where none does (`problem`)."""

    path: str
    format: str
    product: str
    source: str
    variables: tuple[VariableReport, ...] = ()
    first: str | None = None
    last: str | None = None
    times: int = 0
    places: dict[str, float | int] = field(default_factory=dict)
    quality_flags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    problem: str | None = None

    def to_json(self) -> str:
        """The report as JSON."""
        return json.dumps(asdict(self), indent=2)

    def __str__(self) -> str:
        lines = [f"{self.path}: {self.product or 'not a product that ldas reads'} ({self.format})"]
        if self.problem:
            lines.append(f"  problem: {self.problem}")
        if self.source:
            lines.append(f"  read by: ldas ingest {self.source}")
        if self.first:
            lines.append(f"  time: {self.first} to {self.last}, {self.times} times")
        if self.places:
            lines.append("  places: " + ", ".join(f"{name} {value:g}" for name, value in self.places.items()))
        for item in self.variables:
            shape = " x ".join(f"{size} {name}" for name, size in item.shape.items())
            lines.append(f"  {item.name} [{item.unit or 'no unit'}] {shape} {item.text}".rstrip())
        if self.quality_flags:
            lines.append("  quality flags: " + "; ".join(self.quality_flags))
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def inspect_file(path: Path) -> Report:
    """What a file, or a Zarr archive (folder or URL), holds; a file that is wrong has its `problem` in the report."""
    text = _SCHEME.sub(r"\1://", str(path))  # a Path makes one slash of the two of a URL
    if "://" in text:
        return _guarded(text, "Zarr", lambda: _zarr(text))
    path = Path(path)
    if not path.exists():
        return Report(text, "none", "", "", problem="there is no such file")
    if path.is_dir():
        return _guarded(text, "Zarr", lambda: _zarr(text))
    head = files.magic(path)
    if head in (*files.CLASSIC, files.CLASSIC_64_BIT_DATA, files.HDF5):
        return _guarded(text, "NetCDF", lambda: _netcdf(path))
    if grib.is_grib(path):
        return _guarded(text, "GRIB", lambda: _grib(path))
    if files.holds_messages(path, ascat_swath.BUFR):
        return _guarded(text, "BUFR", lambda: _bufr(path))
    return _guarded(text, "text", lambda: _text(path))


def _guarded(path: str, kind: str, look: Callable[[], Report]) -> Report:
    try:
        return look()
    except (PipelineError, *files.READING_ERRORS) as error:
        return Report(path, kind, "", "", problem=str(error).removeprefix(f"{path}: "))


# --- NetCDF ------------------------------------------------------------------------------------------------------


def _netcdf(path: Path) -> Report:
    with files.open_netcdf(path, decode_times=False, mask_and_scale=False) as raw:
        product, source, note = _product_of(raw)
        variables = tuple(
            VariableReport(
                str(name),
                str(raw[name].attrs.get("units", "")),
                {str(dim): int(size) for dim, size in raw[name].sizes.items()},
                str(raw[name].attrs.get("long_name", "")),
            )
            for name in raw.data_vars
        )
        flags = tuple(_flags(raw))
        places = _places(raw, path)
    first, last, times, problem = _span(path, source)
    if not source and problem is None:
        problem = "the variables are those of no product that ldas reads"
    return Report(
        str(path),
        "NetCDF",
        product,
        source,
        variables,
        first,
        last,
        times,
        places,
        flags,
        (note,) if note else (),
        problem,
    )


def _product_of(dataset: xr.Dataset) -> tuple[str, str, str]:
    """Product, source that reads it, and a note; empty where it is none."""
    names = set(map(str, dataset.variables))
    dims = set(map(str, dataset.dims))
    attributes = dataset.attrs
    if "row_size" in names or "locationIndex" in names:
        return str(attributes.get("product_name", "ASCAT time series (cell file)")), "ascat", ""
    if {"numRows", "numCells"} <= dims:
        return str(attributes.get("title", "ASCAT Level 2 swath")), "ascat", ""
    if {"gpi", "cell", "lat", "lon"} <= names:
        return "grid of an ASCAT product", "ascat", "used as `grid` of ldas ingest ascat"
    if {"sig", "WG2", "TG2"} <= names:
        return "ASCAT backscatter with ISBA states at overpasses", "collocated", ""
    if any(str(n).startswith("SWI_") or n in ("ssm", "LAI") for n in names) and "identifier" in attributes:
        return str(attributes.get("title", "Copernicus Global Land product")), "cgls", ""
    if {"SWI_001", "LAI"} & names and {"lat", "lon"} <= names:
        return "Copernicus Global Land product", "cgls", "no product identifier in the file"
    if "Lai_500m" in names:
        return "MODIS leaf area index", "modis", ""
    if era5_names := [n for spellings, _ in era5.NAMES.values() for n in spellings if n in names]:
        return "ERA5", "era5", f"forcing variables: {', '.join(era5_names)}"
    alma_names = alma.known(dataset)
    if len(alma_names) >= 5:
        return "forcing with ALMA names", "alma", f"forcing variables: {', '.join(alma_names)}"
    if any(n.startswith("COVER") for n in names) or {"CLAY", "SAND"} <= names:
        return "SURFEX PGD or PREP file", "surfex-land", ""
    if any(n in names for state in ("WG2", "TG2") for n in surfex.output_names(state)):
        return "ISBA output", "surfex-run", ""
    if "IGBP" in names or "LC_Type1" in names:
        return "land cover map (IGBP classes)", "land", "used as `cover.map` of ldas ingest land"
    if {"land", "lsm"} & names:
        return "land-sea mask", "land", "used as `land_mask` of ldas ingest land"
    if alma_names and "time" in dims:
        note = f"forcing variables: {', '.join(alma_names)}; `files` has to name those of the other variables too"
        return "forcing with ALMA names, in part", "alma", note
    return "", "", ""


def _flags(dataset: xr.Dataset) -> Iterator[str]:
    for name in dataset.variables:
        attributes = dataset[name].attrs
        meanings = attributes.get("flag_meanings") or attributes.get("flag_meaning") or attributes.get("definition")
        if meanings:
            values = attributes.get("flag_values", attributes.get("flag_masks", ""))
            shown = " ".join(map(str, np.atleast_1d(values).tolist())) if not isinstance(values, str) else values
            yield f"{name}: {shown} = {meanings}"


def _places(dataset: xr.Dataset, path: Path) -> dict[str, float | int]:
    for row, column in (("lat", "lon"), ("latitude", "longitude"), ("REG_LAT", "REG_LON")):
        if row in dataset.variables and column in dataset.variables:
            scale = float(dataset[row].attrs.get("scale_factor", 1.0))
            rows = files.values(dataset[row], path).astype(np.float64) * scale
            columns = files.values(dataset[column], path).astype(np.float64) * scale
            return _bounds(rows, columns)
    return {}


def _bounds(latitude: Any, longitude: Any) -> dict[str, float | int]:
    good = np.abs(latitude) <= 90.0
    columns = longitude[good] if longitude.shape == good.shape else longitude
    columns = columns[np.abs(columns) <= 360.0]
    if not good.any() or not columns.size:
        return {}
    return {
        "south": float(latitude[good].min()),
        "north": float(latitude[good].max()),
        "west": float(columns.min()),
        "east": float(columns.max()),
        "latitudes": int(np.unique(latitude[good]).size),
        "longitudes": int(np.unique(columns).size),
    }


def _span(path: Path, source: str) -> tuple[str | None, str | None, int, str | None]:
    """First and last time, their number, and what is wrong with them."""
    try:
        with files.open_netcdf(path) as dataset:
            for name in ("valid_time", "time", "utc_line_nodes"):
                if name in dataset.variables:
                    times = np.atleast_1d(files.values(dataset[name], path)).reshape(-1)
                    break
            else:
                return None, None, 0, None
    except IngestError as error:
        return None, None, 0, str(error)
    if times.dtype.kind != "M":
        return None, None, times.size, f"the times are {times.dtype}: another calendar, or no dates"
    if not times.size:
        return None, None, 0, "there is no time in the file"
    problem = None
    if source in ("era5", "alma") and times.size > 1:
        try:
            files.check_increasing(times, path)
            steps = np.diff(times)
            if (steps != steps[0]).any():
                i = int(np.argmax(steps != steps[0]))
                after = files.instant(times[i + 1])
                problem = f"times are not equally spaced: {files.instant(times[i])} is followed by {after}"
        except IngestError as error:
            problem = str(error)
    return files.instant(times.min()), files.instant(times.max()), int(times.size), problem


# --- other formats -----------------------------------------------------------------------------------------------


def _grib(path: Path) -> Report:
    datasets = era5.open_file(path)
    variables, times, places = [], [], {}
    for dataset in datasets:
        for name in dataset.data_vars:
            shape = {str(dim): int(size) for dim, size in dataset[name].sizes.items()}
            text = str(dataset[name].attrs.get("long_name", ""))
            variables.append(VariableReport(str(name), str(dataset[name].attrs.get("units", "")), shape, text))
        times.append(dataset["time"].to_numpy())
        places = _bounds(dataset["latitude"].to_numpy(), dataset["longitude"].to_numpy())
    every = np.unique(np.concatenate(times))
    known = {name for names, _ in era5.NAMES.values() for name in names}
    readable = any(item.name in known for item in variables)
    return Report(
        str(path),
        "GRIB",
        "ERA5" if readable else "",
        "era5" if readable else "",
        tuple(variables),
        files.instant(every[0]),
        files.instant(every[-1]),
        len(every),
        places,
        problem=None if readable else "none of the variables of the forcing is in the file",
    )


def _bufr(path: Path) -> Report:
    swath = ascat_swath.read_swath(path, ascat_swath.FlagLimits())
    measured = swath.measurements
    units = {"sigma40": "dB", "sigma40_noise": "dB", "soil_moisture": "1", "soil_moisture_noise": "1"}
    variables = []
    for name, unit in units.items():
        values = getattr(measured, name)
        valid = f"{int(np.isfinite(values).sum())} valid"
        variables.append(VariableReport(name, unit, {"node": len(values)}, valid))
    return Report(
        str(path),
        "BUFR",
        "ASCAT Level 2 soil moisture swath",
        "ascat",
        tuple(variables),
        files.instant(measured.time.min()),
        files.instant(measured.time.max()),
        int(np.unique(measured.time).size),
        _bounds(swath.latitude, swath.longitude),
        ("processing flag, snow, frozen soil, wetland and topographic complexity in percent",),
    )


def _zarr(url: str) -> Report:
    dataset = arco.open_archive(url, {"token": "anon"} if url.startswith("gs://") else {}, timeout_s=60.0)
    known = [name for names, _ in arco.NAMES.values() for name in names if name in dataset]
    if not known:
        if Location(url).exists():
            problem = "no variable of the ERA5 archive; if it is a store of ldas, see `ldas status`"
            return Report(url, "Zarr", "", "", problem=problem)
        return Report(url, "Zarr", "", "", problem="no variable of the ERA5 archive is in it")
    times = dataset["time"].to_numpy()
    variables = tuple(
        VariableReport(
            name, str(dataset[name].attrs.get("units", "")), {str(d): int(s) for d, s in dataset[name].sizes.items()}
        )
        for name in known
    )
    return Report(
        url,
        "Zarr",
        "analysis-ready ERA5 archive (ARCO)",
        "arco",
        variables,
        files.instant(times[0]),
        files.instant(times[-1]),
        len(times),
        _bounds(dataset["latitude"].to_numpy(), dataset["longitude"].to_numpy()),
    )


def _text(path: Path) -> Report:
    with path.open(encoding="utf-8", errors="replace") as file:
        first = file.readline()
        second = file.readline()
    if path.suffix == ismn.SUFFIX:
        return _ismn(path)
    if first.startswith("TIMESTAMP,"):
        return _fluxnet(path)
    if first.split()[:1] == ["COVER"] and "FRACTION" in second:
        table = covers.read_ecoclimap(path)
        note = f"{len(table.classes)} covers in use; `cover.table` of ldas ingest land, `ecoclimap` of surfex-land"
        return Report(str(path), "text", "ECOCLIMAP cover parameters", "land", notes=(note,))
    header = first.lstrip("# ").split()
    if header[:2] == ["SW", "LW"] or header[:2] == ["day", "aammjjhh"]:
        variables = tuple(VariableReport(name, "", {}) for name in header)
        return Report(str(path), "text", "forcing table of a SURFEX example case", "alma", variables)
    raise IngestError(f"{path}: no format that ldas reads: {files.beginning(path)}")


def _ismn(path: Path) -> Report:
    sensors = ismn.read_file(path)
    if not sensors:
        return Report(str(path), "text", "ISMN, not soil moisture", "", problem="ldas reads soil moisture only")
    frames = [sensor.data for sensor in sensors]
    counts: dict[str, int] = {}
    for frame in frames:
        for flag, number in frame["flag"].value_counts().items():
            counts[str(flag)] = counts.get(str(flag), 0) + int(number)
    sensor = sensors[0]
    return Report(
        str(path),
        "text",
        f"ISMN, network {sensor.network}, station {sensor.station}",
        "ismn",
        tuple(
            VariableReport(
                "soil_moisture", "m3 m-3", {"time": len(item.data)}, f"{item.depth[0]:g}-{item.depth[1]:g} m"
            )
            for item in sensors
        ),
        files.instant(np.datetime64(min(frame.index[0] for frame in frames))),
        files.instant(np.datetime64(max(frame.index[-1] for frame in frames))),
        sum(len(frame) for frame in frames),
        {"latitude": sensor.latitude, "longitude": sensor.longitude, "elevation": sensor.elevation},
        tuple(f"{flag}: {number} values" for flag, number in sorted(counts.items())),
    )


def _fluxnet(path: Path) -> Report:
    table = fluxnet.read_table(path)
    monthly = bool(table.attrs["monthly"])
    forcing = {name for columns, *_ in fluxnet.DAILY_FORCING.values() for name in columns}
    known = [name for name in table.columns if name in forcing | {entry[0] for entry in fluxnet.OBSERVED.values()}]
    note = "monthly: fluxes for evaluation (pipeline.ingest.fluxnet.read_observations); forcing needs the daily table"
    return Report(
        str(path),
        "text",
        "FLUXNET monthly table" if monthly else "FLUXNET daily table",
        "" if monthly else "daily",
        tuple(VariableReport(str(name), "", {"time": len(table)}) for name in known),
        files.instant(table.index[0].to_datetime64()),
        files.instant(table.index[-1].to_datetime64()),
        len(table),
        quality_flags=tuple(str(name) for name in table.columns if str(name).endswith("_QC")),
        notes=(note,) if monthly else (),
    )
