"""`ldas ingest inspect FILE`: what a product file holds, or why it is not one."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ldas.pipeline import files
from ldas.pipeline.errors import IngestError, PipelineError
from ldas.pipeline.ingest import (
    alma,
    ascat_swath,
    covers,
    epw,
    era5,
    fluxnet,
    formats,
    half_hourly,
    ismn,
    modis_files,
    station,
)
from ldas.pipeline.ingest.formats import Format
from ldas.pipeline.ingest.look import Look, kind_of, look_at, plain_name
from ldas.pipeline.ingest.run import SOURCES


@dataclass(frozen=True)
class VariableReport:
    """One variable: its unit (empty: none given) and shape."""

    name: str
    unit: str
    shape: dict[str, int]
    text: str = ""


@dataclass(frozen=True)
class Report:
    """What a file holds. `source` is the `ldas ingest` source that reads it; empty where none does (`problem`).

    `settings` are keys of the source's configuration that follow from the file, `asks` those that the user gives.
    """

    path: str
    format: str
    product: str = ""
    source: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    asks: tuple[str, ...] = ()
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
            lines += [f"    {key}: {json.dumps(value)}" for key, value in self.settings.items()]
            lines.append(f"    and of your own: {', '.join(self.asks)}")
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
    if "://" not in str(path) and ":/" not in str(path) and not path.exists():
        return Report(str(path), "none", problem="there is no such file")
    look = None
    try:
        look = look_at(path)
        found = formats.recognise(look)
        if found is None:
            return _unknown(look)
        report = _KINDS[look.kind](look, found)
        return report if not found.source else _with_configuration(report, look, found)
    except (PipelineError, *files.READING_ERRORS) as error:
        name = plain_name(path)
        return Report(name, kind_of(path) if look is None else look.kind, problem=_without(name, str(error)))


def _without(name: str, message: str) -> str:
    return message.removeprefix(f"{name}: ")


def _unknown(look: Look) -> Report:
    if look.kind == "NetCDF":
        return replace(_netcdf(look, None), problem="the variables are those of no product that ldas reads")
    what = files.beginning(look.path) if look.kind == "text" else "none of the variables of the forcing is in the file"
    return Report(look.name, look.kind, problem=f"no format that ldas reads: {what}")


def _with_configuration(report: Report, look: Look, found: Format) -> Report:
    """The report with what the configuration of the source needs."""
    settings = found.settings(look)
    required = [name for name, key in SOURCES[found.source].config.model_fields.items() if key.is_required()]
    asks = ["store", *required, *found.asks(look)]
    given = {*settings, "files"}
    notes = [f"used as {found.part}"] if found.part else []
    notes += [f"ldas ingest {other} reads it too" for other in found.others]
    return replace(
        report,
        source=found.source,
        settings=settings,
        asks=tuple(name for name in dict.fromkeys(asks) if name not in given),
        notes=(*report.notes, *notes),
    )


# --- NetCDF ------------------------------------------------------------------------------------------------------


def _netcdf(look: Look, found: Format | None) -> Report:
    raw = look.header
    variables = tuple(_variable(raw, str(name)) for name in raw.data_vars)
    source = "" if found is None else found.source
    first, last, times, problem = _span(look.path, source)
    title = next((str(raw.attrs[name]) for name in ("product_name", "title") if name in raw.attrs), "")
    notes = []
    if source == "era5":
        notes += _forcing_note(formats.era5_names(look), era5.NAMES)
    elif source == "alma":
        notes.append(f"forcing variables: {', '.join(alma.known(raw))}")
    return Report(
        look.name,
        look.kind,
        "" if found is None else found.name + (f": {title}" if title and source in ("ascat", "cgls") else ""),
        variables=variables,
        first=first,
        last=last,
        times=times,
        places=_places(raw, look.path),
        quality_flags=tuple(_flags(raw)),
        notes=tuple(notes),
        problem=problem if found is None or found.source else found.reason,
    )


def _variable(dataset: xr.Dataset, name: str) -> VariableReport:
    array = dataset[name]
    shape = {str(dim): int(size) for dim, size in array.sizes.items()}
    return VariableReport(name, str(array.attrs.get("units", "")), shape, str(array.attrs.get("long_name", "")))


def _forcing_note(there: dict[str, str], names: Any) -> list[str]:
    missing = [spellings[0] for quantity, (spellings, _) in names.items() if quantity not in {*there, "snowfall"}]
    others = f"; `files` has to name those of {', '.join(missing)} too" if missing else ""
    return [f"forcing variables: {', '.join(there.values())}{others}"]


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
                if name in dataset.variables and source == "modis":
                    times = modis_files.dates(dataset, path)
                    break
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


def _grib(look: Look, found: Format) -> Report:
    datasets = look.fields
    there = {
        quantity: name
        for quantity, (names, _) in era5.NAMES.items()
        for name in names
        if any(name in dataset for dataset in datasets)
    }
    every = np.unique(np.concatenate([dataset["time"].to_numpy() for dataset in datasets]))
    return Report(
        look.name,
        look.kind,
        found.name,
        variables=tuple(_variable(dataset, str(name)) for dataset in datasets for name in dataset.data_vars),
        first=files.instant(every[0]),
        last=files.instant(every[-1]),
        times=len(every),
        places=_bounds(datasets[-1]["latitude"].to_numpy(), datasets[-1]["longitude"].to_numpy()),
        notes=tuple(_forcing_note(there, era5.NAMES)),
    )


def _bufr(look: Look, found: Format) -> Report:
    swath = ascat_swath.read_swath(look.path, ascat_swath.FlagLimits())
    measured = swath.measurements
    units = {"sigma40": "dB", "sigma40_noise": "dB", "soil_moisture": "1", "soil_moisture_noise": "1"}
    variables = []
    for name, unit in units.items():
        values = getattr(measured, name)
        valid = f"{int(np.isfinite(values).sum())} valid"
        variables.append(VariableReport(name, unit, {"node": len(values)}, valid))
    return Report(
        look.name,
        look.kind,
        found.name,
        variables=tuple(variables),
        first=files.instant(measured.time.min()),
        last=files.instant(measured.time.max()),
        times=int(np.unique(measured.time).size),
        places=_bounds(swath.latitude, swath.longitude),
        quality_flags=("processing flag, snow, frozen soil, wetland and topographic complexity in percent",),
    )


def _zarr(look: Look, found: Format) -> Report:
    if not found.source:
        return Report(look.name, look.kind, found.name, problem=found.reason)
    times = look.header["time"].to_numpy()
    return Report(
        look.name,
        look.kind,
        found.name,
        variables=tuple(_variable(look.header, str(name)) for name in look.header.data_vars),
        first=files.instant(times[0]),
        last=files.instant(times[-1]),
        times=len(times),
        places=_bounds(look.header["latitude"].to_numpy(), look.header["longitude"].to_numpy()),
    )


def _text(look: Look, found: Format) -> Report:
    report = Report(look.name, look.kind, found.name)
    kind = files.foreign(look.path)
    if kind is not None:
        return replace(report, product="", problem=f"no format that ldas reads: {kind.text}")
    if found.name.startswith("FLUXNET"):
        report = _fluxnet(report)
    elif found.source in ("ismn", "station"):
        report = _ismn(report)
    elif found.source in ("half_hourly", "epw", "era5"):
        report = _place(report, found.source)
    elif found.source == "land":
        table = covers.read_ecoclimap(look.path)
        report = replace(report, notes=(f"{len(table.classes)} covers in use",))
    elif found.source == "alma":
        header = look.lines[0].lstrip("# ").split()
        report = replace(report, variables=tuple(VariableReport(name, "", {}) for name in header))
    return report if found.source else replace(report, problem=found.reason)


def _ismn(report: Report) -> Report:
    sensors = ismn.read_file(Path(report.path), (ismn.SOIL_MOISTURE, *station.ISMN_VARIABLES))
    frames = [sensor.data for sensor in sensors]
    counts: dict[str, int] = {}
    for frame in frames:
        for flag, number in frame["flag"].value_counts().items():
            counts[str(flag)] = counts.get(str(flag), 0) + int(number)
    sensor = sensors[0]
    return replace(
        report,
        product=f"{report.product}, network {sensor.network}, station {sensor.station}",
        variables=tuple(
            VariableReport(
                item.variable,
                _ISMN_UNITS[item.variable],
                {"time": len(item.data)},
                f"{item.depth[0]:g}-{item.depth[1]:g} m",
            )
            for item in sensors
        ),
        first=files.instant(np.datetime64(min(frame.index[0] for frame in frames))),
        last=files.instant(np.datetime64(max(frame.index[-1] for frame in frames))),
        times=sum(len(frame) for frame in frames),
        places={"latitude": sensor.latitude, "longitude": sensor.longitude, "elevation": sensor.elevation},
        quality_flags=tuple(f"{flag}: {number} values" for flag, number in sorted(counts.items())),
    )


def _place(report: Report, source: str) -> Report:
    """Tables of the weather at one place."""
    path = Path(report.path)
    if source == "epw":
        place, table = epw.read_file(path)
        names = [name for name in epw.COLUMNS if table[name].notna().any()]
        variables = tuple(VariableReport(name, "", {"time": len(table)}) for name in names)
        return replace(report, variables=variables, times=len(table), places=dict(place))
    if source == "era5":
        points = era5.open_point_table(path)
        times = points["time"].to_numpy()
        variables = tuple(_variable(points, str(name)) for name in points.data_vars)
        places = {axis: float(points[axis].item()) for axis in ("latitude", "longitude")}
    else:
        table = half_hourly.read_table(path)
        times, places = table.index.to_numpy(), {}
        wanted = {name for columns, *_ in half_hourly.COLUMNS.values() for name in columns}
        variables = tuple(VariableReport(name, "", {"time": len(table)}) for name in table if name in wanted)
    return replace(
        report,
        variables=variables,
        first=files.instant(times[0]),
        last=files.instant(times[-1]),
        times=len(times),
        places=places,
    )


def _fluxnet(report: Report) -> Report:
    table = fluxnet.read_table(Path(report.path))
    forcing = {name for columns, *_ in fluxnet.DAILY_FORCING.values() for name in columns}
    known = [name for name in table.columns if name in forcing | {entry[0] for entry in fluxnet.OBSERVED.values()}]
    return replace(
        report,
        variables=tuple(VariableReport(str(name), "", {"time": len(table)}) for name in known),
        first=files.instant(table.index[0].to_datetime64()),
        last=files.instant(table.index[-1].to_datetime64()),
        times=len(table),
        quality_flags=tuple(str(name) for name in table.columns if str(name).endswith("_QC")),
    )


_ISMN_UNITS = {ismn.SOIL_MOISTURE: "m3 m-3", **{name: unit for name, (_, unit) in station.ISMN_VARIABLES.items()}}
_KINDS = {"NetCDF": _netcdf, "GRIB": _grib, "BUFR": _bufr, "Zarr": _zarr, "text": _text}
