"""In situ soil moisture of the International Soil Moisture Network: its three file layouts.

The two layouts with a file a sensor (`ceop_sep`, `header_values`) are read by the `ismn` package. It no longer reads
the old one-file `ceop` layout, so that one is read here.
"""

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from pydantic import Field

from ldas.pipeline import files
from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest.config import FilesConfig, Period
from ldas.pipeline.settings.assimilation import Name
from ldas.pipeline.store.arrays import decode_labels

SUFFIX = ".stm"
CEOP_FIELDS = 16
CEOP_SEP_FIELDS = 15
CEOP_MISSING = -900.0  # -999.99 and the like
SOIL_MOISTURE = "soil_moisture"
PLACE = ("latitude", "longitude", "elevation", "depth")


class IsmnConfig(FilesConfig):
    """`ldas ingest ismn`: `.stm` files of one network."""

    network: Name | None = Field(
        default=None,
        description="name below `insitu` for all files; default: a group for each network, named as in the files' text",
    )
    depth: float = Field(default=0.05, ge=0, description="m: the sensor nearest to it is taken")
    depth_tolerance: float = Field(default=0.02, ge=0, description="m: a sensor further away is not taken")
    flags: tuple[str, ...] = Field(
        default=("G",), description="quality flags that are accepted; older files have U (not checked)"
    )
    least_hours: int = Field(default=12, ge=1, le=24, description="hours with a good value that make a daily mean")
    resolution: str = Field(default="daily", pattern="^(daily|hourly)$")
    sensors: Literal["best", "joined"] = Field(
        default="best",
        description="of several at the depth: the one with most accepted values in the period; or all joined, hour by "
        "hour the first of them in that order",
    )
    out_of_range: Literal["raise", "missing"] = Field(
        default="raise",
        description="soil moisture with an accepted flag outside 0 to 1 stops the ingest, or is missing",
    )
    period: Period = Period()


@dataclass(frozen=True)
class Sensor:
    """One sensor: its place, depth range (m) and series of one variable, with quality flags."""

    network: str
    station: str
    latitude: float
    longitude: float
    elevation: float
    depth: tuple[float, float]
    instrument: str
    data: pd.DataFrame  #: index UTC time; columns the variable's name (soil moisture: m3 m-3), flag
    path: Path
    variable: str = SOIL_MOISTURE


def read(paths: list[Path], config: IsmnConfig) -> xr.Dataset:
    """The one group of `read_groups`; IngestError where the files belong to several networks."""
    found = read_groups(paths, config)
    if len(found) > 1:
        raise IngestError(f"the files belong to several networks ({', '.join(sorted(found))}): give `network`")
    return next(iter(found.values()))


def read_groups(
    paths: list[Path], config: IsmnConfig, stored: Callable[[str], xr.Dataset | None] = lambda _: None
) -> dict[str, xr.Dataset]:
    """Soil moisture over (station, time), daily means or hours, for each network (or all in `config.network`).

    Stations without an accepted value are left out, and said in the notes; where a group is appended to, its stations
    stay, with missing values.

    Args:
        stored: the group of that name that is appended to, None for a new one.

    Raises:
        IngestError: no sensor at the depth, no value with an accepted flag in any file.
    """
    sensors = _joined_files([sensor for path in paths if path.suffix == SUFFIX for sensor in read_file(path)])
    if not sensors:
        other = next((path for path in paths if path.suffix != SUFFIX), None)
        raise IngestError(
            f"none of the {len(paths)} files holds soil moisture (ISMN files end in {SUFFIX})"
            + (f"; {other}: {files.beginning(other)}" if other is not None and other.is_file() else "")
        )
    networks = sorted({sensor.network for sensor in sensors})
    near = [sensor for sensor in sensors if distance(sensor, config) <= config.depth_tolerance + 1e-9]
    if not near:
        depths = sorted({sensor.depth for sensor in sensors})
        raise IngestError(f"no sensor within {config.depth_tolerance} m of {config.depth} m; there are {depths}")
    found = {}
    problems: list[str] = []
    for name in [config.network] if config.network is not None else networks:
        stations: dict[str, list[Sensor]] = {}
        for sensor in near:
            if config.network is not None or sensor.network == name:
                # Names are those of one network: another one may have a station of the same name.
                code = f"{sensor.network}.{sensor.station}" if config.network and len(networks) > 1 else sensor.station
                stations.setdefault(code, []).append(sensor)
        dataset = _group(str(name), stations, config, stored(str(name)), problems)
        if dataset is not None:
            found[str(name)] = dataset
    if not found:
        raise IngestError("; ".join(problems[:3]))
    return found


@dataclass(frozen=True)
class Series:
    """One station: the sensor whose place and depth it has, the names of all in it, its values by time.

    `hours` are the hours with a value, `begins` is the first time of the files, whatever its flag, and `before` the
    time at which the record before it would be.
    """

    sensor: Sensor
    instruments: str
    values: pd.Series
    hours: pd.DatetimeIndex
    begins: pd.Timestamp
    before: pd.Timestamp


def _group(
    network: str,
    stations: dict[str, list[Sensor]],
    config: IsmnConfig,
    stored: xr.Dataset | None,
    problems: list[str],
) -> xr.Dataset | None:
    """The group of one network, None where no station has a value; what is wrong is added to the problems."""
    series: dict[str, Series] = {}
    notes: list[str] = []
    empty: list[str] = []
    for code in sorted(stations):
        made = _station(code, stations[code], config, notes, problems)
        if made is None:
            empty.append(code)
        else:
            series[code] = made
    if empty:
        notes.append(
            f"{network}: {len(empty)} of {len(stations)} stations without a value in the period: {_few(empty)}"
        )
    if not series:
        return None
    codes, places = list(series), {code: _place(item.sensor) for code, item in series.items()}
    if stored is not None:
        codes = [str(code) for code in decode_labels(stored["code"])]
        unknown = sorted(series.keys() - set(codes))
        if unknown:
            notes.append(f"{network}: stations that the stored group does not have are left out: {_few(unknown)}")
        for row, code in enumerate(codes):
            places.setdefault(code, {name: float(stored[name].to_numpy()[row]) for name in PLACE})
    step = "D" if config.resolution == "daily" else "h"
    kept = {code: series[code].values for code in codes if code in series}
    if not kept:
        problems.append(f"none of the stations with values is in the stored group: {_few(sorted(series))}")
        return None
    table = pd.DataFrame(kept)
    first = table.index[0]
    again: list[str] = []
    if stored is not None and config.period.start is None:  # times without a value leave no hole at the seam
        last = pd.Timestamp(stored["time"].to_numpy()[-1])
        following = last + (pd.Timedelta(days=1) if step == "D" else pd.Timedelta(hours=1))
        again = _made_again({code: series[code] for code in kept}, last, following, network)
        first = last if again else min(first, following)
    steps = pd.date_range(first, table.index[-1], freq=step)
    values = np.array(table.reindex(steps).reindex(columns=codes), dtype=np.float64).T
    if again and stored is not None:
        others = [row for row, code in enumerate(codes) if code not in again]
        values[others, 0] = stored["soil_moisture"].isel(time=-1).to_numpy()[others]
    return xr.Dataset(
        {"soil_moisture": (("station", "time"), values.astype(np.float32), {"units": "m3 m-3"})},
        coords={
            "time": steps.to_numpy().astype("datetime64[ns]"),
            **{name: ("station", [places[code][name] for code in codes]) for name in PLACE},
            "code": ("station", codes),
        },
        attrs={
            "network": network,
            "resolution": config.resolution,
            "accepted_flags": ", ".join(config.flags),
            "instruments": [series[code].instruments if code in series else "" for code in codes],
            **({"notes": notes} if notes else {}),
        },
    )


def _made_again(series: dict[str, Series], last: pd.Timestamp, following: pd.Timestamp, network: str) -> list[str]:
    """The stations whose last stored value is made again, because the files hold that time from its beginning.

    Raises:
        IngestError: files that begin within it: the stored mean lacks their hours, and they lack the hours before.
    """
    again = [code for code, item in series.items() if ((item.hours >= last) & (item.hours < following)).any()]
    for code in again:
        item = series[code]
        if item.before >= last:
            what, form = ("day", "%Y-%m-%d") if following - last > pd.Timedelta(hours=1) else ("hour", "%Y-%m-%dT%H:%M")
            raise IngestError(
                f"{item.sensor.path}: it begins at {item.begins:%Y-%m-%dT%H:%M}, within the {what} with which "
                f"insitu/{network} ends: the stored mean of {last:{form}} lacks what this file has of it. Give the "
                f"file before as well, and the mean is made again; or keep it, with period.start: {following:{form}}"
            )
    return again


def _few(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _place(sensor: Sensor) -> dict[str, float]:
    depth = 0.5 * sum(sensor.depth)
    return dict(zip(PLACE, (sensor.latitude, sensor.longitude, sensor.elevation, depth), strict=True))


def _station(
    code: str, sensors: list[Sensor], config: IsmnConfig, notes: list[str], problems: list[str]
) -> Series | None:
    """The values of one station: of the sensor nearest to the depth that has accepted values in the period.

    Among sensors at one depth: the one with most such values, or all of them joined in that order.
    """
    accepted = [(sensor, _accepted(sensor, config)) for sensor in sensors]
    there = [(sensor, values) for sensor, values in accepted if not values.empty]
    if not there:
        flags = pd.concat([sensor.data["flag"] for sensor in sensors]).astype(str).value_counts()
        counts = ", ".join(f"{flag}: {number}" for flag, number in flags.items())
        problems.append(
            f"{sensors[0].path}: no value in the period has an accepted flag ({', '.join(config.flags)}); the file has "
            f"{counts}"
        )
        return None
    there.sort(key=lambda pair: (distance(pair[0], config), -len(pair[1]), pair[0].instrument))
    nearest = distance(there[0][0], config)
    same = [pair for pair in there if distance(pair[0], config) <= nearest + 1e-9]
    taken = same if config.sensors == "joined" else same[:1]
    hourly = pd.Series(dtype=float)
    for sensor, values in taken:
        checked = _in_range(sensor, values, config)
        hourly = _hourly(checked) if hourly.empty else hourly.combine_first(_hourly(checked))
    for sensor, values in same[len(taken) :]:
        notes.append(
            f"{code}: {taken[0][0].instrument} is stored; {sensor.instrument} at the same depth, with {len(values)} "
            f"values from {values.index[0]:%Y-%m-%d} to {values.index[-1]:%Y-%m-%d}, is not (`sensors: joined`)"
        )
    result = (_daily(hourly, config.least_hours) if config.resolution == "daily" else hourly.asfreq("h")).astype(float)
    if not result.notna().any():
        problems.append(
            f"{taken[0][0].path}: no day in the period has {config.least_hours} hours with an accepted value"
        )
        return None
    first = min((sensor.data.index for sensor, _ in taken), key=lambda times: times[0])
    step = first.to_series().diff().median()
    return Series(
        taken[0][0],
        " + ".join(sensor.instrument for sensor, _ in taken),
        result,
        pd.DatetimeIndex(hourly.dropna().index),
        first[0],
        first[0] if pd.isna(step) else first[0] - step,
    )


def _joined_files(sensors: list[Sensor]) -> list[Sensor]:
    """Sensors whose record comes in several files, as one each; at a time that two have, the longer record counts."""
    parts: dict[tuple[object, ...], list[Sensor]] = {}
    for sensor in sensors:
        parts.setdefault((sensor.network, sensor.station, sensor.depth, sensor.instrument), []).append(sensor)
    joined = []
    for several in parts.values():
        several.sort(key=lambda sensor: sensor.data.index[-1], reverse=True)
        data = pd.concat([sensor.data for sensor in several])
        data = data[~data.index.duplicated()].sort_index()
        joined.append(replace(several[0], data=data))
    return joined


def read_file(path: Path, variables: tuple[str, ...] = (SOIL_MOISTURE,)) -> list[Sensor]:
    """The sensors of one `.stm` file: one, several depths in the `ceop` layout, none of other variables.

    Args:
        variables: names of the ISMN, such as `air_temperature`.

    Raises:
        IngestError: a file in none of the three layouts, or damaged.
    """
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            first = file.readline().split()
    except OSError as error:
        raise IngestError(f"{path}: cannot be read: {error}") from error
    if not first:
        raise IngestError(f"{path}: the file is empty")
    kind = files.foreign(path)
    if kind is not None:
        raise IngestError(f"{path}: no ISMN file: {kind.text}")
    if len(first) == CEOP_FIELDS and first[10] == "-":
        return _read_ceop(path) if SOIL_MOISTURE in variables else []
    # A line of data, or the header: two dates and times before the names, or nothing.
    return _read_with_package(
        path, variables, network=first[5] if len(first) == CEOP_SEP_FIELDS else first[min(1, len(first) - 1)]
    )


def _read_with_package(path: Path, variables: tuple[str, ...], network: str) -> list[Sensor]:
    """The package takes the network from the folder: `network` is that of the file's own text."""
    handlers = files.library("ismn.filehandlers")
    # The package wants an archive with folders NETWORK/STATION; the file's own two folders are these.
    root = path.resolve().parents[2]
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            # The package (1.5) uses pandas options that pandas 3 announces to remove.
            warnings.simplefilter("ignore")
            file = handlers.DataFile(str(root), str(path.resolve().relative_to(root)), temp_root=folder)
            variable = str(file.metadata["variable"].val)
            data = file.read_data() if variable in variables else None
    except Exception as error:  # the package lets errors of every parsing step through
        raise IngestError(
            f"{path}: not readable as ISMN data (layouts ceop_sep and header_values, in folders NETWORK/STATION): "
            f"{type(error).__name__}: {error}"
        ) from error
    known: Any = file.metadata

    def entry(name: str) -> Any:
        return known[name].val if known[name] is not None else None

    if data is None:
        return []
    depth = known["variable"].depth
    table = pd.DataFrame({variable: data[variable], "flag": data[f"{variable}_flag"]})
    return [
        Sensor(
            network=network,
            station=str(entry("station")),
            latitude=float(entry("latitude")),
            longitude=float(entry("longitude")),
            elevation=float(entry("elevation")),
            depth=(float(depth.start), float(depth.end)),
            instrument=str(entry("instrument")),
            data=_checked(table, path),
            path=path,
            variable=variable,
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
        raise IngestError(f"{path}: a field is not a number or date: {error}") from error
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


def distance(sensor: Sensor, config: IsmnConfig) -> float:
    """From the wanted depth to the sensor's range, m."""
    low, high = sensor.depth
    return 0.0 if low <= config.depth <= high else min(abs(low - config.depth), abs(high - config.depth))


def _accepted(sensor: Sensor, config: IsmnConfig) -> pd.Series:
    """The good values of a sensor in the period. A flag may be a list of codes, such as `D01,D03`."""
    flags = sensor.data["flag"].astype(str)
    good = flags.str.split(",").map(lambda codes: all(code in config.flags for code in codes)).astype(bool)
    values = sensor.data.loc[good, "soil_moisture"].astype(float).dropna()
    start, end = config.period.start, config.period.end
    return values.loc[pd.Timestamp(start) if start else None : pd.Timestamp(end) if end else None]


def _in_range(sensor: Sensor, values: pd.Series, config: IsmnConfig) -> pd.Series:
    outside = (values < 0.0) | (values > 1.0)
    if outside.any() and config.out_of_range == "raise":
        raise IngestError(
            f"{sensor.path}: soil moisture is {values[outside].iloc[0]} at {values.index[outside][0]}, expected 0 to 1 "
            "m3 m-3; `out_of_range: missing` treats such values as missing"
        )
    return values[~outside]


def _daily(hourly: pd.Series, least_hours: int) -> pd.Series:
    """Means over UTC days from hourly means, so that 12-minute records do not outweigh hourly ones."""
    groups = hourly.resample("D")
    return groups.mean().where(groups.count() >= least_hours)


def _hourly(values: pd.Series) -> pd.Series:
    return values.resample("h").mean()
