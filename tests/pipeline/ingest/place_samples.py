"""Synthetic weather at one place, in files built from the documentation of their formats."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ldas.pipeline.forcing import physics

HOURS = 72


def hours(start: str = "2011-06-01T00:00", count: int = HOURS) -> np.ndarray:
    return np.datetime64(start, "m") + np.arange(count) * np.timedelta64(60, "m")


def temperature(times: np.ndarray) -> np.ndarray:
    """Degrees Celsius: 10 at 00 UTC, warmest (15) at 12 UTC."""
    hour = (times - times.astype("datetime64[D]")).astype("timedelta64[m]").astype(float) / 60.0
    return 12.5 - 2.5 * np.cos(2.0 * np.pi * hour / 24.0)


def write_table(path: Path, times: np.ndarray | None = None, zone: str = "", **columns: object) -> Path:
    """A CSV of a station: time, TA (degC), P (mm per hour), and other columns."""
    times = hours() if times is None else times
    values = {"TA": temperature(times), "P": np.where(np.arange(len(times)) == 5, 3.6, 0.0), **columns}
    rows = zip(*(np.broadcast_to(value, len(times)).tolist() for value in values.values()), strict=True)
    lines = [",".join([f"{time}{zone}", *map(str, row)]) for time, row in zip(times, rows, strict=True)]
    path.write_text("\n".join([",".join(["time", *values]), *lines]) + "\n")
    return path


def write_ismn(folder: Path, count: int = HOURS, instruments: Sequence[str] = ("HMP",)) -> list[Path]:
    """`.stm` files of air temperature (one for each instrument, one after the other) and precipitation."""
    station = folder / "NET" / "Place"
    station.mkdir(parents=True, exist_ok=True)
    times = hours(count=count)
    rain = np.where(np.arange(count) == 5, 3.6, 0.0)
    pieces = [("p", "0.000000_0.000000", "0.0 0.0", "Gauge", times, rain)]
    for instrument, part in zip(instruments, np.array_split(np.arange(count), len(instruments)), strict=True):
        pieces.insert(0, ("ta", "-2.000000_-2.000000", "-2.0 -2.0", instrument, times[part], temperature(times[part])))
    paths = []
    for short, depth, heights, instrument, at, values in pieces:
        path = station / f"NET_NET_Place_{short}_{depth}_{instrument}_20110601_20110604.stm"
        lines = [f"NET NET Place 44.0 1.0 100.0 {heights} {instrument}"]
        for time, value in zip(at.astype(object), values, strict=True):
            lines.append(f"{time:%Y/%m/%d %H:%M} {value:.4f} G M")
        path.write_text("\n".join(lines) + "\n")
        paths.append(path)
    return paths


def write_half_hours(path: Path, days: int = 3, **columns: object) -> Path:
    """A FLUXNET2015 or ICOS table, UTC + 1; TA is 10 degC at local midnight, 20 % of it filled by the producer."""
    starts = np.datetime64("2011-06-01T00:00", "m") + np.arange(48 * days) * np.timedelta64(30, "m")
    hour = (starts - starts.astype("datetime64[D]")).astype(float) / 60.0 + 0.25  # of the middle, local
    values: dict[str, object] = {
        "TA_F": 12.5 - 2.5 * np.cos(2.0 * np.pi * (hour - 1.0) / 24.0),
        "TA_F_QC": np.where(np.arange(len(starts)) % 5 == 0, 2, 0),
        "SW_IN_F": 800.0 * np.maximum(np.cos(2.0 * np.pi * (hour - 12.9) / 24.0), 0.0),
        "VPD_F": 4.0,
        "PA_F": 98.0,
        "P_F": np.where(np.arange(len(starts)) == 10, 3.6, 0.0),
        "WS_F": 3.0,
        **columns,
    }

    def stamp(time: np.datetime64) -> str:
        return str(time).translate(str.maketrans("", "", "-T:"))

    rows = zip(*(np.broadcast_to(np.asarray(value), len(starts)).tolist() for value in values.values()), strict=True)
    lines = [
        ",".join([stamp(start), stamp(start + np.timedelta64(30, "m")), *map(str, row)])
        for start, row in zip(starts, rows, strict=True)
    ]
    path.write_text("\n".join([",".join(["TIMESTAMP_START", "TIMESTAMP_END", *values]), *lines]) + "\n")
    return path


def write_epw(path: Path, rain: float | None = 3.6, wind: float | None = None) -> Path:
    """A year of 8760 hours, UTC + 1: months from different years, rain on 2 January from 05 to 06, wind 1 to 3 m s-1.

    Args:
        rain: mm in that hour; None: the column is missing.
        wind: one number all year, as a template has it.
    """
    lines = ["LOCATION,Place,-,-,synthetic,000000,44.00,1.00,1.0,100.0"]
    lines += [f"{name},0" for name in ("DESIGN CONDITIONS", "TYPICAL/EXTREME PERIODS", "GROUND TEMPERATURES")]
    lines += [
        "HOLIDAYS/DAYLIGHT SAVINGS,No,0,0,0",
        "COMMENTS 1,synthetic",
        "COMMENTS 2",
        "DATA PERIODS,1,1,Data,Sunday,1/ 1,12/31",
    ]
    first = np.datetime64("2011-01-01T00", "h")
    middles = (first + np.arange(8760)).astype("datetime64[s]") - np.timedelta64(1800, "s")  # UTC
    sun = 700.0 * np.maximum(physics.cosine_zenith(middles, 44.0, 1.0), 0.0)
    for index in range(8760):
        begin = (first + index).astype(object)
        temperature_c = 12.5 - 2.5 * np.cos(2.0 * np.pi * (begin.hour + 1) / 24.0) + (5.0 if begin.month == 2 else 0.0)
        amount = 999.0 if rain is None else (rain if (begin.month, begin.day, begin.hour) == (1, 2, 5) else 0.0)
        december = begin.month == 12
        speed = 1 + begin.hour % 3 if wind is None else wind
        date = f"{2000 + begin.month},{begin.month},{begin.day},{begin.hour + 1},60,?9?9"
        air = f"{temperature_c:.2f},99.9,{70 + december},{98000 + 500 * december}"
        sky = f"0,0,9999,{sun[index]:.1f},0,0,0,0,0,0,180,{speed},5,5,9999,99999,9,999999999,0,0,0,88,0.2,{amount},1"
        lines.append(f"{date},{air},{sky}")
    path.write_text("\n".join(lines) + "\n")
    return path


def write_era5_point(path: Path, count: int = 48) -> Path:
    """The table of the Climate Data Store's time-series product."""
    times = hours(count=count)
    hour = np.arange(count) % 24
    sun = np.maximum(np.cos(2.0 * np.pi * (hour - 12.4) / 24.0), 0.0) * 2.0e6
    lines = ["valid_time,u10,v10,d2m,t2m,sp,tp,ssrd,strd,latitude,longitude"]
    for time, celsius, energy in zip(times.astype(object), temperature(times), sun, strict=True):
        lines.append(
            f"{time:%Y-%m-%d %H:%M:%S},3.0,4.0,280.0,{celsius + 273.15:.3f},98000.0,0.0036,{energy:.1f},1.1e6,44.0,1.0"
        )
    path.write_text("\n".join(lines) + "\n")
    return path
