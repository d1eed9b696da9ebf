"""Tiny product files that the tests make themselves, in the layouts of the providers."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

LATITUDE = np.array([45.0, 44.75, 44.5, 44.25])  # descending, as ERA5's
LONGITUDE = np.array([-1.0, -0.75, -0.5, -0.25, 0.0])
ERA5_UNITS = {
    "t2m": "K",
    "d2m": "K",
    "sp": "Pa",
    "u10": "m s**-1",
    "v10": "m s**-1",
    "ssrd": "J m**-2",
    "strd": "J m**-2",
    "tp": "m",
    "sf": "m of water equivalent",
}


def hours(start: str, count: int) -> np.ndarray:
    """Full hours from `start`."""
    return pd.date_range(start, periods=count, freq="h").to_numpy()


def era5_values(name: str, times: np.ndarray, latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """Smooth fields, linear in space (so that bilinear interpolation is exact), with a daily cycle."""
    hour = (times.astype("datetime64[h]").astype(np.int64) % 24)[:, None, None]
    place = 0.5 * latitude[None, :, None] + 0.25 * longitude[None, None, :]
    day = np.maximum(np.sin(np.pi * (hour - 6) / 12.0), 0.0)
    zero = np.zeros((len(times), len(latitude), len(longitude)))
    return (
        zero
        + {
            "t2m": 263.0 + place + 5 * day,
            "d2m": 258.0 + place + 2 * day,
            "sp": 95000.0 + 10 * place + hour,
            "u10": 2.0 + 0.1 * place,
            "v10": -1.0 + 0.05 * place + 0.1 * hour,
            "ssrd": 3600.0 * 500.0 * day,
            "strd": 3600.0 * (300.0 + place),
            "tp": 1e-4 * (hour % 3 == 0) * (1 + 0.01 * place),
            "sf": 2e-5 * (hour % 3 == 0) * (1 + 0.01 * place),
        }[name]
    )


def era5_dataset(
    names: tuple[str, ...] = tuple(ERA5_UNITS),
    times: np.ndarray | None = None,
    latitude: np.ndarray = LATITUDE,
    longitude: np.ndarray = LONGITUDE,
) -> xr.Dataset:
    """ERA5 fields in the old layout: dimensions time, latitude, longitude."""
    times = hours("2015-03-01T00:00", 30) if times is None else times
    return xr.Dataset(
        {
            name: (
                ("time", "latitude", "longitude"),
                era5_values(name, times, latitude, longitude),
                {"units": ERA5_UNITS[name]},
            )
            for name in names
        },
        coords={"time": times, "latitude": latitude, "longitude": longitude},
    )


def since_midnight(dataset: xr.Dataset) -> xr.Dataset:
    """The same fields with amounts from 00 UTC on, as ERA5-Land's: 24 UTC is the next day's 00."""
    result = dataset.copy()
    for name in ("ssrd", "strd", "tp", "sf"):
        if name in dataset:
            values = dataset[name].to_numpy()
            total = np.zeros_like(values)
            for k, time in enumerate(pd.DatetimeIndex(dataset["time"].to_numpy())):
                total[k] = values[k] + (total[k - 1] if time.hour != 1 and k > 0 else 0.0)
            result[name] = (dataset[name].dims, total, dataset[name].attrs)
    return result


GRIB_PARAMETERS = {
    "t2m": 167,
    "d2m": 168,
    "sp": 134,
    "u10": 165,
    "v10": 166,
    "ssrd": 169,
    "strd": 175,
    "tp": 228,
    "sf": 144,
}


def write_grib(dataset: xr.Dataset, path: Path, *, version: str = "0001", land: bool = False, mode: str = "wb") -> Path:
    """As the Climate Data Store does: GRIB 1, a message a field.

    ERA5: analyses have step 0, amounts come from forecasts of 06 and 18 UTC, steps 1 to 12. ERA5-Land (`land`): all
    fields are of 00 UTC with steps 1 to 24.
    """
    import eccodes

    latitude, longitude = dataset["latitude"].to_numpy(), dataset["longitude"].to_numpy()
    with path.open(mode) as file:
        for k, time in enumerate(pd.DatetimeIndex(dataset["time"].to_numpy())):
            for name in map(str, dataset.data_vars):
                base, step = time, 0
                if land:
                    base = (time - pd.Timedelta("1h")).normalize()
                elif name in ("ssrd", "strd", "tp", "sf"):
                    base = (time - pd.Timedelta("7h")).floor("12h") + pd.Timedelta("6h")
                step = int((time - base) / pd.Timedelta("1h"))
                message = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib1")
                for key, value in {
                    **{"centre": "ecmf", "class": "ea", "stream": "oper", "type": "fc" if step else "an"},
                    **{"expver": version, "paramId": GRIB_PARAMETERS[name], "stepRange": str(step)},
                    **{"dataDate": int(base.strftime("%Y%m%d")), "dataTime": int(base.strftime("%H%M"))},
                    **{"Ni": len(longitude), "Nj": len(latitude), "bitsPerValue": 24},
                    "latitudeOfFirstGridPointInDegrees": float(latitude[0]),
                    "latitudeOfLastGridPointInDegrees": float(latitude[-1]),
                    "longitudeOfFirstGridPointInDegrees": float(longitude[0]),
                    "longitudeOfLastGridPointInDegrees": float(longitude[-1]),
                    "iDirectionIncrementInDegrees": 0.25,
                    "jDirectionIncrementInDegrees": 0.25,
                }.items():
                    eccodes.codes_set(message, key, value)
                values = dataset[name].to_numpy()[k].reshape(-1)
                if np.isnan(values).any():
                    eccodes.codes_set(message, "bitmapPresent", 1)
                    values = np.where(np.isnan(values), eccodes.codes_get(message, "missingValue"), values)
                eccodes.codes_set_values(message, values)
                eccodes.codes_write(message, file)
                eccodes.codes_release(message)
    return path


def write_packed(dataset: xr.Dataset, path: Path) -> Path:
    """As the old Climate Data Store did: classic NetCDF, int16 with scale and offset, hours since 1900."""
    encoding: dict[Any, Any] = {"time": {"units": "hours since 1900-01-01", "dtype": "int32"}}
    for name in dataset.data_vars:
        low, high = float(dataset[name].min()), float(dataset[name].max())
        scale = (high - low) / 65000.0 or 1.0
        encoding[name] = {
            "dtype": "int16",
            "scale_factor": scale,
            "add_offset": 0.5 * (low + high),
            "_FillValue": np.int16(-32767),
        }
    dataset.to_netcdf(path, format="NETCDF3_64BIT", encoding=encoding, engine="scipy")
    return path


def write_new_layout(dataset: xr.Dataset, path: Path) -> Path:
    """As the new Climate Data Store does: valid_time, number, expver as a variable, float32."""
    renamed = dataset.rename(time="valid_time").assign_coords(
        number=0, expver=("valid_time", np.array(["0001"] * dataset.sizes["time"], dtype=object))
    )
    renamed["valid_time"].attrs["standard_name"] = "time"
    encoding: dict[Any, Any] = {name: {"dtype": "float32", "zlib": True} for name in dataset.data_vars}
    encoding["valid_time"] = {"units": "seconds since 1970-01-01", "dtype": "int64"}
    renamed.to_netcdf(path, encoding=encoding)
    return path


def write_mixed_expver(dataset: xr.Dataset, path: Path, final_hours: int) -> Path:
    """A download of recent months: expver is a dimension, 1 has the first hours, 5 the others."""
    first = dataset.isel(time=slice(0, final_hours)).reindex(time=dataset["time"])
    later = dataset.isel(time=slice(final_hours, None)).reindex(time=dataset["time"])
    both = xr.concat([later, first], dim=pd.Index([5, 1], name="expver"))
    for name in dataset.data_vars:
        both[name].attrs = dataset[name].attrs
    both.to_netcdf(path)
    return path


def write_config(path: Path, **content: Any) -> Path:
    """A YAML configuration file."""
    import yaml

    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def write_cell_file(path: Path, *, padding: int = 3, indexed: bool = False, backscatter: bool = True) -> Path:
    """An H SAF cell file: 4 points in two rows, contiguous (or indexed) ragged array, padding rows at the end."""
    latitude = np.array([44.0, 44.0, 44.1, 44.1])
    longitude = np.array([0.0, 0.2, 0.0, 0.2])
    sizes = np.array([3, 2, 3, 2])
    fill = 9.96921e36
    total = int(sizes.sum())
    location = np.repeat(np.arange(4), sizes)
    start = np.concatenate([np.arange(size) for size in sizes])
    day = 39082.0 + 0.4 + 0.5 * start  # days since 1900: 2007-01-02T09:36, 21:36, ...
    sigma = -10.0 - location - 0.1 * start
    dataset = xr.Dataset(
        {
            "lat": ("locations", np.append(latitude, np.full(padding, fill)).astype("float32")),
            "lon": ("locations", np.append(longitude, np.full(padding, fill)).astype("float32")),
            "location_id": ("locations", np.append([11, 12, 13, 14], np.full(padding, -9223372036854775806))),
            "time": ("obs", day, {"units": "days since 1900-01-01 00:00:00"}),
            "sm": (
                "obs",
                np.round(5000 + 100 * location - 10 * start).astype("float32"),
                packed(0.01, 65535, "percentage"),
            ),
            "sm_noise": ("obs", np.full(total, 400.0, dtype="float32"), packed(0.01, 65535, "percentage")),
            "ssf": ("obs", np.where(np.arange(total) == 1, 2, 1).astype("int8"), {"flag_values": [0, 1, 2, 3, 4]}),
            "proc_flag": ("obs", np.zeros(total, dtype="int8")),
            "conf_flag": ("obs", np.zeros(total, dtype="int8")),
        }
    )
    if backscatter:
        dataset["sigma40"] = ("obs", np.round(sigma * 1000).astype("int16"), packed(0.001, 32767, "dB"))
        dataset["sigma40_noise"] = ("obs", np.full(total, 100, dtype="uint16"), packed(0.001, 65535, "dB"))
    if indexed:
        dataset["locationIndex"] = ("obs", location, {"instance_dimension": "locations"})
    else:
        padded = np.append(sizes, np.full(padding, -9223372036854775806))
        dataset["row_size"] = ("locations", padded, {"sample_dimension": "obs"})
    encoding: dict[Any, Any] = {name: {"_FillValue": None} for name in dataset.variables}
    dataset.to_netcdf(path, encoding=encoding)
    return path


def packed(scale: float, missing: int, unit: str) -> dict[str, Any]:
    """Attributes of a packed variable."""
    return {"scale_factor": scale, "missing_value": missing, "units": unit}


def write_cgls(path: Path, variable: str = "SWI_001", time: str = "2015-06-01T12:00", **change: Any) -> Path:
    """A Copernicus file of 8 x 8 pixels, 44-44.5 N, 0-0.5 E: raw values 100 + row, one water and one missing pixel."""
    step = 0.0625
    latitude = 44.5 - step * (np.arange(8) + 0.5)
    longitude = step * (np.arange(8) + 0.5)
    raw = np.broadcast_to(100 + np.arange(8, dtype="uint8")[:, None], (8, 8)).copy()
    raw[0, 0], raw[7, 7] = 251, 255
    attributes: dict[str, Any] = {
        "_FillValue": np.uint8(255),
        "missing_value": np.uint8(255),
        "units": "%",
        "scale_factor": 0.5,
        "valid_range": np.array([0, 200], dtype="uint8"),
        "flag_values": np.array([241, 242, 251, 252, 253, 254], dtype="uint8"),
        "flag_meanings": "ExceedingMin ExceedingMax WaterMask SensitivityMask SlopeMask LowQFLAG",
    }
    if variable == "LAI":
        attributes.update(scale_factor=1 / 30.0, valid_range=np.array([0, 210], dtype="uint8"), units="")
    attributes.update(change)
    layers = {variable: (("time", "lat", "lon"), raw[None], attributes)}
    if variable == "LAI":
        layers["LAI_ERR"] = (("time", "lat", "lon"), np.full((1, 8, 8), 15, dtype="uint8"), dict(attributes))
    if variable.startswith("SWI"):
        quality = np.full((1, 8, 8), 180, dtype="uint8")
        quality[0, 2] = 20  # 10 %
        layers[f"QFLAG_{variable[4:]}"] = (("time", "lat", "lon"), quality, dict(attributes))
    dataset = xr.Dataset(
        layers,
        coords={"time": [np.datetime64(time, "ns")], "lat": latitude, "lon": longitude},
        attrs={"identifier": "mimic", "title": "mimic of a Copernicus Global Land product, made by the tests"},
    )
    encoding: dict[Any, Any] = {name: {"_FillValue": None} for name in ("lat", "lon", "time")}
    dataset.to_netcdf(path, encoding=encoding)
    return path


def write_series(path: Path, points: dict[int, tuple[float, float]], series: pd.DataFrame) -> Path:
    """A synthetic H SAF cell file of soil moisture: columns location, time, sm (%), conf_flag; noise 3 %."""
    series = series.sort_values(["location", "time"])
    numbers = list(points)
    rows = [int((series["location"] == number).sum()) for number in numbers]
    days = (series["time"].to_numpy() - np.datetime64("1970-01-01")) / np.timedelta64(1, "D")
    zero = np.zeros(len(series), dtype="int8")
    dataset = xr.Dataset(
        {
            "row_size": ("locations", rows),
            "lat": ("locations", [points[number][0] for number in numbers]),
            "lon": ("locations", [points[number][1] for number in numbers]),
            "location_id": ("locations", numbers),
            "time": ("obs", days, {"units": "days since 1970-01-01 00:00:00"}),
            "sm": ("obs", series["sm"].to_numpy(dtype="float32"), {"units": "%"}),
            "sm_noise": ("obs", np.full(len(series), 3.0, dtype="float32"), {"units": "%"}),
            "ssf": ("obs", zero),
            "proc_flag": ("obs", zero),
            "conf_flag": ("obs", series["conf_flag"].to_numpy(dtype="int8")),
        }
    )
    dataset.to_netcdf(path)
    return path
