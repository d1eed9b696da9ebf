"""In situ soil moisture of the International Soil Moisture Network: its three file layouts.

The two layouts with a file a sensor (`ceop_sep`, `header_values`) are read by the `ismn` package. It no longer reads
the old one-file `ceop` layout, so that one is read here.
"""

import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from pydantic import Field

from pipeline.assimilation_config import Name
from pipeline.ingest import files
from pipeline.ingest.config import FilesConfig, Period
from pipeline.ingest.errors import IngestError

Array = npt.NDArray[np.float64]
SUFFIX = ".stm"
CEOP_FIELDS = 16
CEOP_MISSING = -900.0  # -999.99 and the like


class IsmnConfig(FilesConfig):
    """`ldas ingest ismn`: `.stm` files of one network."""

    network: Name | None = Field(default=None, description="name below `insitu`; default: the network of the files")
    depth: float = Field(default=0.05, ge=0, description="m: the sensor nearest to it is taken")
    depth_tolerance: float = Field(default=0.02, ge=0, description="m: a sensor further away is not taken")
    flags: tuple[str, ...] = Field(
        default=("G",), description="quality flags that are accepted; older files have U (not checked)"
    )
    least_hours: int = Field(default=12, ge=1, le=24, description="hours with a good value that make a daily mean")
    resolution: str = Field(default="daily", pattern="^(daily|hourly)$")
    period: Period = Period()


@dataclass(frozen=True)
class Sensor:
    """One sensor: its place, depth range (m) and series of soil moisture (m3 m-3) with quality flags."""

    network: str
    station: str
    latitude: float
    longitude: float
    elevation: float
    depth: tuple[float, float]
    instrument: str
    data: pd.DataFrame  #: index UTC time; columns soil_moisture, flag
    path: Path


def read(paths: list[Path], config: IsmnConfig) -> xr.Dataset:
    """Soil moisture over (station, time), daily means or hours, one sensor a station.

    :raises IngestError: several networks, no sensor at the depth, no value with an accepted flag
    """
    sensors = [sensor for path in paths if path.suffix == SUFFIX for sensor in read_file(path)]
    if not sensors:
        raise IngestError(f"none of the {len(paths)} files holds soil moisture (ISMN files end in {SUFFIX})")
    networks = {sensor.network for sensor in sensors}
    if len(networks) > 1 and config.network is None:
        raise IngestError(f"the files belong to several networks ({', '.join(sorted(networks))}): give `network`")
    chosen = _at_depth(sensors, config)
    series = {}
    for sensor in chosen:
        good = _accepted(sensor, config)
        series[sensor.station] = _daily(good, config.least_hours) if config.resolution == "daily" else _hourly(good)
    table = pd.DataFrame(series)
    steps = pd.date_range(table.index[0], table.index[-1], freq="D" if config.resolution == "daily" else "h")
    values = table.reindex(steps)[[sensor.station for sensor in chosen]].to_numpy(dtype=np.float64).T
    coordinates: dict[str, Any] = {
        "time": steps.to_numpy().astype("datetime64[ns]"),
        "latitude": ("station", [sensor.latitude for sensor in chosen]),
        "longitude": ("station", [sensor.longitude for sensor in chosen]),
        "elevation": ("station", [sensor.elevation for sensor in chosen]),
        "depth": ("station", [0.5 * sum(sensor.depth) for sensor in chosen]),
        "code": ("station", [sensor.station for sensor in chosen]),
    }
    return xr.Dataset(
        {"soil_moisture": (("station", "time"), values.astype(np.float32), {"units": "m3 m-3"})},
        coords=coordinates,
        attrs={
            "network": config.network or networks.pop(),
            "resolution": config.resolution,
            "accepted_flags": ", ".join(config.flags),
            "instruments": [sensor.instrument for sensor in chosen],
        },
    )


def read_file(path: Path) -> list[Sensor]:
    """The soil moisture sensors of one `.stm` file: one, several depths in the `ceop` layout, none of another variable.

    :raises IngestError: a file in none of the three layouts, or damaged
    """
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            first = file.readline().split()
    except OSError as error:
        raise IngestError(f"{path}: cannot be read: {error}") from error
    if not first:
        raise IngestError(f"{path}: the file is empty")
    if len(first) == CEOP_FIELDS and first[10] == "-":
        return _read_ceop(path)
    return _read_with_package(path)


def _read_with_package(path: Path) -> list[Sensor]:
    handlers = files.library("ismn.filehandlers")
    # The package wants an archive with folders NETWORK/STATION; the file's own two folders are these.
    root = path.resolve().parents[2]
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            # The package (1.5) uses pandas options that pandas 3 announces to remove.
            warnings.simplefilter("ignore")
            file = handlers.DataFile(str(root), str(path.resolve().relative_to(root)), temp_root=folder)
            data = file.read_data()
    except Exception as error:  # the package lets errors of every parsing step through
        raise IngestError(
            f"{path}: not readable as ISMN data (layouts ceop_sep and header_values, in folders NETWORK/STATION): "
            f"{type(error).__name__}: {error}"
        ) from error
    known: Any = file.metadata

    def entry(name: str) -> Any:
        return known[name].val if known[name] is not None else None

    if entry("variable") != "soil_moisture":
        return []
    depth = known["variable"].depth
    table = pd.DataFrame({"soil_moisture": data["soil_moisture"], "flag": data["soil_moisture_flag"]})
    return [
        Sensor(
            network=str(entry("network")),
            station=str(entry("station")),
            latitude=float(entry("latitude")),
            longitude=float(entry("longitude")),
            elevation=float(entry("elevation")),
            depth=(float(depth.start), float(depth.end)),
            instrument=str(entry("instrument")),
            data=_checked(table, path),
            path=path,
        )
    ]


def _read_ceop(path: Path) -> list[Sensor]:
    """All depths of a file of the old layout: two times, three names, place, depth, temperature and soil moisture."""
    rows = []
    with path.open(encoding="ascii", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            words = line.split()
            if not words:
                continue
            if len(words) != CEOP_FIELDS:
                raise IngestError(f"{path}, line {number}: {len(words)} fields, expected {CEOP_FIELDS}: is it cut off?")
            rows.append(words)
    try:
        table = pd.DataFrame(
            {
                "time": pd.to_datetime([f"{words[0]} {words[1]}" for words in rows], format="%Y/%m/%d %H:%M"),
                "depth": [float(words[11]) for words in rows],
                "soil_moisture": [float(words[14]) for words in rows],
                "flag": [words[15] for words in rows],
            }
        )
        latitude, longitude, elevation = (float(word) for word in rows[0][7:10])
    except ValueError as error:
        raise IngestError(f"{path}: a field is no number or date: {error}") from error
    sensors = []
    for depth, part in table.groupby("depth"):
        data = part.set_index("time")[["soil_moisture", "flag"]]
        data = data[data["soil_moisture"] > CEOP_MISSING]
        if data.empty:
            continue
        metres = float(str(depth))
        sensors.append(
            Sensor(
                rows[0][5], rows[0][6], latitude, longitude, elevation, (metres, metres), "", _checked(data, path), path
            )
        )
    return sensors


def _checked(data: pd.DataFrame, path: Path) -> pd.DataFrame:
    if data.index.has_duplicates or not data.index.is_monotonic_increasing:
        wrong = data.index[1:][np.diff(data.index.to_numpy()) <= np.timedelta64(0, "ns")][0]
        raise IngestError(f"{path}: times must increase; {wrong} is there twice or out of order")
    return data


def _at_depth(sensors: list[Sensor], config: IsmnConfig) -> list[Sensor]:
    """One sensor a station: the one whose middle is nearest to the wanted depth; equal ones: the longest series."""
    by_station: dict[str, list[Sensor]] = {}
    for sensor in sensors:
        by_station.setdefault(sensor.station, []).append(sensor)

    def distance(sensor: Sensor) -> float:
        low, high = sensor.depth
        return 0.0 if low <= config.depth <= high else min(abs(low - config.depth), abs(high - config.depth))

    chosen = []
    for station in sorted(by_station):
        near = [sensor for sensor in by_station[station] if distance(sensor) <= config.depth_tolerance + 1e-9]
        if near:
            chosen.append(min(near, key=lambda sensor: (distance(sensor), -len(sensor.data), sensor.instrument)))
    if not chosen:
        depths = sorted({sensor.depth for sensor in sensors})
        raise IngestError(f"no sensor within {config.depth_tolerance} m of {config.depth} m; there are {depths}")
    return chosen


def _accepted(sensor: Sensor, config: IsmnConfig) -> pd.Series:
    """The good values of a sensor in the period. A flag may be a list of codes, such as `D01,D03`."""
    flags = sensor.data["flag"].astype(str)
    good = flags.str.split(",").map(lambda codes: all(code in config.flags for code in codes)).astype(bool)
    values = sensor.data.loc[good, "soil_moisture"].astype(float)
    if config.period.start:
        values = values[values.index >= pd.Timestamp(config.period.start)]
    if config.period.end:
        values = values[values.index <= pd.Timestamp(config.period.end)]
    outside = (values < 0.0) | (values > 1.0)
    if outside.any():
        raise IngestError(
            f"{sensor.path}: soil moisture is {values[outside].iloc[0]} at {values.index[outside][0]}, expected 0 to 1 "
            "m3 m-3"
        )
    if values.empty:
        counts = ", ".join(f"{flag}: {number}" for flag, number in flags.value_counts().items())
        raise IngestError(
            f"{sensor.path}: no value in the period has an accepted flag ({', '.join(config.flags)}); the file has "
            f"{counts}"
        )
    return values


def _daily(values: pd.Series, least_hours: int) -> pd.Series:
    """Means over UTC days from hourly means, so that 12-minute records do not outweigh hourly ones."""
    hourly = _hourly(values)
    groups = hourly.resample("D")
    return groups.mean().where(groups.count() >= least_hours)


def _hourly(values: pd.Series) -> pd.Series:
    return values.resample("h").mean()
