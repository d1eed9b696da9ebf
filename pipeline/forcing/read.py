"""Forcing from a file or the store into `landmodel.Forcing`.

Every reader returns the same thing: a dataset of the nine ALMA names over (time, cell) in the units of the registry.
Record k holds the instants of its time, and rain and snow as means over the interval that ENDS there (SURFEX,
docs/science/air.md, section 3). `check_forcing` tells whether such a dataset can be used.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from ldas import landmodel
from ldas.landmodel.array_types import Array
from ldas.landmodel.constants import FREEZING_POINT
from ldas.pipeline import files, registry
from ldas.pipeline.forcing.check import FORCING_NAMES, LARGEST_NEGATIVE, ForcingError, check_forcing
from ldas.pipeline.forcing.valid_range import ReadingOfRange, within_valid_range

__all__ = ["ForcingError", "TimedForcing", "check_forcing", "land_forcing", "read_forcing"]

Columns = dict[str, Array]

SnowfallRule = Literal["none", "below_freezing"]

# Other spellings of the ALMA names, as flux-site collections write them.
_ALMA_SPELLINGS = {"Psurf": "PSurf", "Precip": "Rainf", "CO2": "CO2air"}
# Names in the files of the SURFEX reference runs.
_REFERENCE_NAMES = {
    "forc_tair": "Tair",
    "forc_qair": "Qair",
    "forc_wind": "Wind",
    "forc_psurf": "PSurf",
    "forc_lwdown": "LWdown",
    "forc_rain": "Rainf",
    "forc_snow": "Snowf",
    "forc_co2": "CO2air",
}
_REFERENCE_SHORTWAVE = ("forc_swdown", "forc_swdif")
# With this ratio the humidity of the Col de Porte text becomes that of the reference forcing, to its last digit.
RATIO_OF_GAS_CONSTANTS = 0.62198


class TimedForcing(NamedTuple):
    """Forcing for the land model with the time of its first record and the interval between records (s)."""

    forcing: landmodel.Forcing
    start: np.datetime64
    step_s: int

    @property
    def intervals(self) -> int:
        """Number of intervals that the records cover: one less than the records."""
        return len(np.asarray(self.forcing.Tair)) - 1


def land_forcing(dataset: xr.Dataset, *, keep_single: bool = False) -> TimedForcing:
    """The arrays for the land model (float64, contiguous) from a dataset over (time) or (time, cell).

    `keep_single`: float32 stays float32, for a card, which widens it (exactly) as it reads it.

    The dataset must have passed `check_forcing`: nothing is checked here. Negative radiation and precipitation that
    passed as a sensor's offset or noise of packing is 0 for the model.
    """
    arrays = {}
    for name in FORCING_NAMES:
        array = dataset.variables[name]
        ordered = array.transpose("time", "cell") if "cell" in array.dims else array
        kind = np.float32 if keep_single and array.dtype == np.float32 else np.float64
        values = np.ascontiguousarray(np.asarray(ordered.values, kind).reshape(array.sizes["time"], -1))
        arrays[name] = np.where(values < 0.0, 0.0, values) if name in LARGEST_NEGATIVE else values
    times = dataset["time"].values.astype("datetime64[s]")
    step = int((times[1] - times[0]).astype(np.int64))
    return TimedForcing(landmodel.Forcing(**arrays), times[0], step)


def read_forcing(
    path: Path,
    *,
    start: np.datetime64 | None = None,
    step_s: int | None = None,
    co2: float | None = None,
    surface_pressure: float | None = None,
    snowfall: SnowfallRule | None = None,
    valid_range: ReadingOfRange = "auto",
) -> xr.Dataset:
    """The forcing of one site from a file, as a dataset over (time, cell) with one cell.

    Three forms are known: NetCDF with ALMA names, NetCDF with the names of the reference runs (`forc_tair` ...), and
    text tables with the columns of the HAPEX (SW LW Rain T U V Ps Q) or the Col de Porte (day aammjjhh SW LW PrecipTot
    Snow% T U HU) record. Text is rounded to single precision, as SURFEX reads it.

    Args:
        start: time of the first record (UTC), where the file has no times (HAPEX text).
        step_s: seconds between records, likewise.
        co2: carbon dioxide (kg m-3) where the file has none.
        surface_pressure: Pa, where the file has none.
        snowfall: where the file has total precipitation only: `none` (all rain) or `below_freezing` (all snow below
            273.16 K).
        valid_range: numbers in which a NetCDF file gives its valid ranges.

    Raises:
        ForcingError: a form that is not known, or something that is neither in the file nor given.
    """
    if not path.is_file():
        raise ForcingError(f"{path}: no such forcing file")
    if _is_netcdf(path):
        dataset = _read_netcdf(path, valid_range)
    else:
        dataset = _read_text(path, start, step_s, surface_pressure)
    return _complete(dataset, path, co2, surface_pressure, snowfall)


def _is_netcdf(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(8)
    return head[:3] == b"CDF" or head == b"\x89HDF\r\n\x1a\n"


def _read_netcdf(path: Path, reading: ReadingOfRange) -> xr.Dataset:
    try:
        with files.open_netcdf(path) as opened:
            dataset = opened.load()
    except files.READING_ERRORS as error:
        raise ForcingError(f"{path}: the file is truncated or damaged: {error}") from error
    for name in map(str, dataset.data_vars):
        _refuse_outside(dataset[name], _known_name(name), path, reading)
    if any(str(name).startswith("forc_") for name in dataset.data_vars):
        dataset = _from_reference_names(dataset, path)
    else:
        dataset = dataset.rename({old: new for old, new in _ALMA_SPELLINGS.items() if old in dataset})
    kept = dataset[[name for name in FORCING_NAMES if name in dataset]]
    lengths = {str(dimension): size for dimension, size in kept.sizes.items() if dimension not in ("time", "cell")}
    if any(size > 1 for size in lengths.values()):
        raise ForcingError(f"{path}: the forcing has dimensions {lengths}; expected one place: select it first")
    return kept.squeeze(list(lengths), drop=True)


def _known_name(name: str) -> str:
    return {**_REFERENCE_NAMES, **_ALMA_SPELLINGS, **dict.fromkeys(_REFERENCE_SHORTWAVE, "SWdown")}.get(name, name)


def _refuse_outside(array: xr.DataArray, name: str, path: Path, reading: ReadingOfRange) -> None:
    """ForcingError where a variable of the forcing has values that its own file declares not to be valid."""
    if name not in FORCING_NAMES:
        return
    valid = within_valid_range(array, registry.variable(name).valid_range, reading=reading)
    lost = np.asarray(array.notnull() & valid.isnull())
    if lost.any():
        declared = {key: value for key, value in array.attrs.items() if key.startswith("valid_")}
        listed = ", ".join(f"{key} = {np.asarray(value).tolist()}" for key, value in declared.items())
        raise ForcingError(
            f"{path}: {int(lost.sum())} of {lost.size} values of {array.name} are outside the valid range that the "
            f"file declares ({listed}), the first is {np.asarray(array)[lost][0]:g}: they are missing, and a run needs "
            "all. Fill them (`ldas ingest alma` fills short gaps, and `forcing: {store: ...}` takes what it made), or "
            "correct the attribute; `forcing: {valid_range: packed}` or `physical` says in which numbers the range is "
            "given, `ignore` takes the values as they are"
        )


def _from_reference_names(dataset: xr.Dataset, path: Path) -> xr.Dataset:
    direct, diffuse = _REFERENCE_SHORTWAVE
    missing = [name for name in (*_REFERENCE_NAMES, direct) if name not in dataset]
    if missing:
        raise ForcingError(f"{path}: missing {', '.join(missing)} beside the other forc_* variables")
    renamed = dataset.rename(_REFERENCE_NAMES)
    # Both parts are stored in single precision; the sum is made in double, as SURFEX does.
    shortwave = dataset[direct].astype(np.float64)
    if diffuse in dataset:
        shortwave = shortwave + dataset[diffuse].astype(np.float64)
    return renamed.assign(SWdown=shortwave.assign_attrs(units=dataset[direct].attrs.get("units", "W m-2")))


def _read_text(path: Path, start: np.datetime64 | None, step_s: int | None, pressure: float | None) -> xr.Dataset:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    header = lines[0].lstrip("# ").split() if lines else []
    if header == ["SW", "LW", "Rain", "T", "U", "V", "Ps", "Q"]:
        parse: Callable[[Columns], tuple[Columns, Array | None]] = _hapex
    elif header == ["day", "aammjjhh", "SW", "LW", "PrecipTot", "Snow%", "T", "U", "HU"]:
        if pressure is None:
            raise ForcingError(f"{path}: the table has no surface pressure; give it in Pa (surface_pressure)")
        pressure_ = pressure

        def parse(columns: Columns) -> tuple[Columns, Array | None]:
            return _col_de_porte(columns, pressure_)
    else:
        raise ForcingError(
            f"{path}: neither NetCDF nor a known text table; expected a first line '# SW LW Rain T U V Ps Q' or "
            f"'#day aammjjhh SW LW PrecipTot Snow% T U HU', found '{lines[0][:80] if lines else ''}'"
        )
    values, stamps = parse(_table(path, lines, header))
    if stamps is None:
        if start is None or step_s is None:
            raise ForcingError(f"{path}: the table has no times; give the time of its first record (start) and step_s")
        records = len(next(iter(values.values())))
        times = start.astype("datetime64[s]") + np.arange(records) * np.timedelta64(step_s, "s")
    else:
        times = _instants(path, stamps)
    return xr.Dataset(
        {name: ("time", array.astype(np.float32).astype(np.float64)) for name, array in values.items()},
        coords={"time": times.astype("datetime64[ns]")},
    )


def _table(path: Path, lines: list[str], header: list[str]) -> Columns:
    rows = []
    for number, line in enumerate(lines, start=1):
        if line.startswith("#") or not line.strip():
            continue
        words = line.split()
        if len(words) != len(header):
            raise ForcingError(
                f"{path}, line {number}: {len(words)} columns, expected {len(header)} ({' '.join(header)})"
            )
        try:
            rows.append([float(word) for word in words])
        except ValueError as error:
            raise ForcingError(f"{path}, line {number}: not a number ({error})") from error
    table = np.array(rows, dtype=np.float64).reshape(-1, len(header))
    return {name: table[:, index] for index, name in enumerate(header)}


def _hapex(columns: Columns) -> tuple[Columns, None]:
    return {
        "SWdown": columns["SW"],
        "LWdown": columns["LW"],
        "Rainf": columns["Rain"],
        "Tair": columns["T"],
        "Wind": np.hypot(columns["U"], columns["V"]),
        "PSurf": columns["Ps"],
        "Qair": columns["Q"],
    }, None


def _col_de_porte(columns: Columns, pressure: float) -> tuple[Columns, Array]:
    vapour = columns["HU"] / 100.0 * _goff_gratch(columns["T"])
    dry = 1.0 - RATIO_OF_GAS_CONSTANTS
    return {
        "SWdown": columns["SW"],
        "LWdown": columns["LW"],
        "Rainf": columns["PrecipTot"] * (1.0 - columns["Snow%"]),
        "Snowf": columns["PrecipTot"] * columns["Snow%"],
        "Tair": columns["T"],
        "Wind": columns["U"],
        "PSurf": np.full_like(vapour, pressure),
        "Qair": RATIO_OF_GAS_CONSTANTS * vapour / (pressure - dry * vapour),
    }, columns["aammjjhh"]


def _goff_gratch(temperature: Array) -> Array:
    """Saturation vapour pressure over water, Pa (Goff 1957, WMO technical regulations), the one behind that record."""
    ratio = FREEZING_POINT / temperature
    exponent = (
        10.79574 * (1.0 - ratio)
        - 5.02800 * np.log10(1.0 / ratio)
        + 1.50475e-4 * (1.0 - 10.0 ** (-8.2969 * (1.0 / ratio - 1.0)))
        + 0.42873e-3 * (10.0 ** (4.76955 * (1.0 - ratio)) - 1.0)
        + 0.78614
    )
    return 100.0 * 10.0**exponent


def _instants(path: Path, stamps: Array) -> npt.NDArray[np.datetime64]:
    instants = []
    for number in stamps.astype(np.int64):
        text = f"{number:010d}"
        try:
            instants.append(np.datetime64(f"{text[:4]}-{text[4:6]}-{text[6:8]}T{text[8:]}", "s"))
        except ValueError as error:
            raise ForcingError(f"{path}: '{text}' is not a time (expected yyyymmddhh)") from error
    return np.array(instants)


def _complete(
    dataset: xr.Dataset, path: Path, co2: float | None, pressure: float | None, snowfall: SnowfallRule | None
) -> xr.Dataset:
    """The dataset with what the file left out, over (time, cell)."""
    if "time" not in dataset.dims:
        raise ForcingError(f"{path}: there is no dimension 'time'")
    added = dict(dataset.data_vars)
    for name, constant in (("CO2air", co2), ("PSurf", pressure)):
        if name not in added and constant is not None:
            added[name] = xr.DataArray(np.full(dataset.sizes["time"], constant), dims="time")
    if "Snowf" not in added and "Rainf" in added:
        if snowfall is None:
            raise ForcingError(
                f"{path}: there is no snowfall; say how to split the precipitation (snowfall: none or below_freezing)"
            )
        cold = (added["Tair"] < FREEZING_POINT) if snowfall == "below_freezing" else xr.zeros_like(added["Rainf"], bool)
        total = added["Rainf"]
        added["Snowf"] = xr.where(cold, total, 0.0, keep_attrs=False).assign_attrs(total.attrs)
        added["Rainf"] = xr.where(cold, 0.0, total, keep_attrs=False).assign_attrs(total.attrs)
    complete = xr.Dataset(added, coords={"time": dataset["time"]})
    if "cell" not in complete.dims:
        complete = complete.expand_dims("cell", axis=-1)
    for variable in complete.data_vars.values():
        variable.attrs.setdefault("units", registry.variable(str(variable.name)).unit)
    return complete
