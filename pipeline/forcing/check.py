"""Checks of forcing before anything is computed: gaps, units, physical ranges, night, humidity, regular times.

A problem is a sentence that names variable, place, time, value, the expected range and, where it can be guessed, the
likely mistake. All problems of a dataset are collected, so that one run of the check shows everything to put right.
Checks of plausibility (`ldas.pipeline.settings.acceptance`) can be accepted; what the model cannot be run with cannot.
In a run a gap concerns its cell alone, which is set aside.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import xarray as xr

from ldas.landmodel.array_types import Array, Times
from ldas.landmodel.checks import FORCING_RANGES
from ldas.pipeline import registry
from ldas.pipeline.errors import PipelineError
from ldas.pipeline.forcing import physics
from ldas.pipeline.settings.acceptance import FORCING_CHECKS, way_on
from ldas.pipeline.store import cf

FORCING_NAMES = registry.names("forcing")

# Radiation that a calibrated sensor may show with the sun below the horizon: twilight and offset (the records of
# Col de Porte have up to 7 W m-2).
HIGHEST_NIGHT_SHORTWAVE = 15.0  # W m-2
# Offset of a radiometer at night, and noise of packed numbers: taken as 0 where `negative_values` is accepted.
LARGEST_NEGATIVE = {"SWdown": -20.0, "Rainf": -1e-5, "Snowf": -1e-5}  # W m-2, kg m-2 s-1
# Rounded temperature and humidity give a few tenths of a percent above saturation, and the HAPEX record 1.8 %.
HIGHEST_RELATIVE_HUMIDITY = 1.03


class ForcingError(PipelineError):
    """Forcing that cannot be used: the message lists every problem that was found."""


@dataclass(frozen=True)
class Problem:
    """One problem of a forcing.

    `name` is the variable (or `time`), `kind` one of missing, time, gap, impossible, or a name of `FORCING_CHECKS`,
    which can be accepted; `count` values have the problem, and `text` is the sentence for the first of them. `cells`:
    labels of all cells that have it, where the problem is one of single cells (gap).
    """

    name: str
    kind: str
    text: str
    count: int = 1
    cells: tuple[int, ...] = ()


@dataclass(frozen=True)
class Places:
    """Latitude and longitude (degrees, one per cell) of the forcing, and how to name a cell in a message."""

    latitude: Array
    longitude: Array
    cells: npt.NDArray[np.generic]

    def part(self, chosen: slice) -> "Places":
        """Some of the cells."""
        return Places(self.latitude[chosen], self.longitude[chosen], self.cells[chosen])

    def name(self, index: int) -> str:
        """`cell 17 (43.625N 0.875E)`."""
        latitude, longitude = float(self.latitude[index]), float(self.longitude[index])
        return (
            f"cell {self.cells[index]} ({abs(latitude):g}{'N' if latitude >= 0 else 'S'} "
            f"{abs(longitude):g}{'E' if longitude >= 0 else 'W'})"
        )


def check_forcing(
    dataset: xr.Dataset,
    latitude: npt.ArrayLike | None = None,
    longitude: npt.ArrayLike | None = None,
    source: str = "forcing",
    accept: Collection[str] = (),
) -> None:
    """Stops unless the forcing is complete, regular in time, physically possible and plausible.

    Args:
        dataset: the nine ALMA names over (time) or (time, cell), as read by `ldas.pipeline.forcing.read` or from the
            store; the values are loaded, so give the block that will be computed.
        latitude: degrees north, one per cell; left out where the dataset has the coordinate.
        longitude: degrees east, likewise.
        source: file or group, for the message.
        accept: names of `FORCING_CHECKS` that need not be passed.

    Raises:
        ForcingError: what is wrong; names every problem.
    """
    found = forcing_problems(dataset, latitude, longitude)
    problems = [problem for problem in found if problem.kind not in accept]
    if problems:
        lines = [f"  - {problem.text}" for problem in problems]
        kinds = {problem.kind for problem in problems} & set(FORCING_CHECKS)
        lines += [way_on(kinds)] if kinds else []
        raise ForcingError("\n".join([f"{source}: {len(problems)} problem(s), nothing was computed", *lines]))


def forcing_problems(
    dataset: xr.Dataset,
    latitude: npt.ArrayLike | None = None,
    longitude: npt.ArrayLike | None = None,
    block: tuple[int, int] | None = None,
) -> list[Problem]:
    """The problems that `check_forcing` reports, the first of each kind and variable; empty for good forcing.

    Args:
        block: records and cells that are loaded at a time, for a lazy dataset; None: all at once.
    """
    problems = _missing_variables(dataset)
    if "time" not in dataset.coords:
        text = "there is no time coordinate; expected UTC instants along the dimension 'time'"
        return [*problems, Problem("time", "missing", text)]
    times = dataset["time"].values
    if not np.issubdtype(times.dtype, np.datetime64):
        text = f"time is {times.dtype}, expected instants that CF decoding turns into datetime64 (UTC)"
        return [*problems, Problem("time", "time", text)]
    problems += _time_problems(times)
    if np.isnat(times).any():
        return problems
    names = [name for name in FORCING_NAMES if name in dataset]
    for name in names:
        problems += _unit_problems(name, dataset[name])
    places = _places(dataset, latitude, longitude)
    found: dict[tuple[str, str], Problem] = {}
    for records, cells in _blocks(len(times), len(places.cells), block):
        indexers = {"time": records, "cell": cells} if "cell" in dataset.dims else {"time": records}
        part = dataset[names].isel(indexers)
        for problem in _value_problems(part, times, records, places.part(cells)):
            key = (problem.name, problem.kind)
            known = found.get(key)
            found[key] = problem if known is None else _together(known, problem)
    return problems + list(found.values())


def _together(first: Problem, other: Problem) -> Problem:
    return replace(first, count=first.count + other.count, cells=tuple(dict.fromkeys((*first.cells, *other.cells))))


def _blocks(records: int, cells: int, block: tuple[int, int] | None) -> Iterator[tuple[slice, slice]]:
    """Slices of records and cells that cover everything once; the records of one lot of cells after each other."""
    height, width = block or (records, cells)
    for cell in range(0, cells, max(width, 1)):
        for record in range(0, records, max(height, 1)):
            yield slice(record, min(record + height, records)), slice(cell, min(cell + width, cells))


def _value_problems(part: xr.Dataset, every_time: Times, records: slice, places: Places) -> list[Problem]:
    """Problems of the values of one block; `every_time` is the axis that the block is cut from."""
    times = every_time[records]
    problems = []
    values: dict[str, Array] = {}
    for name in map(str, part.data_vars):
        values[name] = _two_dimensional(part[name])
        gaps = _gap_problems(name, values[name], times, places)
        if gaps:
            # Undefined values of any kind are passed over by the comparisons below.
            values[name] = np.where(np.isfinite(values[name]), values[name], np.nan)
        outside = _range_problems(name, values[name], times, places)
        problems += gaps + outside
        if any(problem.kind == "impossible" for problem in outside):
            # The checks of several variables together would only repeat the same mistake in other words.
            del values[name]
    if len(every_time) > 1 and "SWdown" in values:
        hours = float(np.median(np.diff(every_time).astype("timedelta64[s]").astype(np.float64))) / 3600.0
        problems += _night_problems(values["SWdown"], times, hours, places)
    if {"Tair", "Qair", "PSurf"} <= values.keys():
        problems += _humidity_problems(values, times, places)
    return problems


def _missing_variables(dataset: xr.Dataset) -> list[Problem]:
    missing = [name for name in FORCING_NAMES if name not in dataset]
    if not missing:
        return []
    there = ", ".join(sorted(str(name) for name in dataset.data_vars)) or "none"
    text = f"missing {', '.join(missing)}; expected the ALMA names {', '.join(FORCING_NAMES)}, found {there}"
    return [Problem(missing[0], "missing", text, len(missing))]


def _time_problems(times: Times) -> list[Problem]:
    if len(times) < 2:
        text = f"{len(times)} record(s) in time; at least two are needed, a model step lies between two records"
        return [Problem("time", "time", text)]
    undefined = np.isnat(times)
    if undefined.any():
        text = f"time is undefined (NaT) at record {int(np.argmax(undefined))}"
        return [Problem("time", "time", text, int(undefined.sum()))]
    steps = np.diff(times.astype("datetime64[ns]").astype(np.int64)) / 1e9
    usual = float(np.median(steps))
    wrong = np.flatnonzero(steps != usual) if usual > 0 else np.flatnonzero(steps <= 0)
    if wrong.size == 0:
        return []
    first = int(wrong[0])
    step = float(steps[first])
    if step == 0:
        mistake = "the same time twice"
    elif step < 0:
        mistake = "times run backwards: sort the records, or a period was appended twice"
    elif usual > 0 and step > usual and step % usual == 0:
        mistake = f"a gap of {round(step / usual) - 1} record(s): fill it before the run"
    else:
        mistake = "times are not equally spaced: interpolate them to regular steps"
    text = (
        f"time is not regular: from {_instant(times[first])} to {_instant(times[first + 1])} are {step:g} s, "
        f"expected {usual:g} s ({wrong.size} of {steps.size} intervals); {mistake}"
    )
    return [Problem("time", "time", text, wrong.size)]


def _places(dataset: xr.Dataset, latitude: npt.ArrayLike | None, longitude: npt.ArrayLike | None) -> Places:
    count = dataset.sizes.get("cell", 1)
    coordinates = []
    for name, given in (("latitude", latitude), ("longitude", longitude)):
        if given is None and name not in dataset.variables:
            raise ForcingError(f"the forcing has no {name} and none was given; it is needed to tell night from day")
        array = np.asarray(dataset[name].values if given is None else given, dtype=np.float64).reshape(-1)
        if array.size not in (1, count):
            raise ForcingError(f"{array.size} values of {name} for {count} cells; expected one per cell")
        coordinates.append(np.broadcast_to(array, count))
    cells = dataset["cell"].values if "cell" in dataset.coords else np.arange(count)
    return Places(coordinates[0], coordinates[1], cells)


def _two_dimensional(array: xr.DataArray) -> Array:
    if "cell" in array.dims:
        return np.asarray(array.variable.transpose("time", "cell").values, dtype=np.float64)
    return np.asarray(array.values, dtype=np.float64).reshape(array.sizes["time"], 1)


def _unit_problems(name: str, array: xr.DataArray) -> list[Problem]:
    expected = registry.variable(name).unit
    unit = str(array.attrs.get("units", expected)).strip()
    if cf.conversion(unit, expected) == (1.0, 0.0):
        return []
    text = f"{name} has the unit '{unit}', expected '{expected}'; convert it and correct the attribute"
    return [Problem(name, "unit", text)]


def _gap_problems(name: str, values: Array, times: Times, places: Places) -> list[Problem]:
    undefined = ~np.isfinite(values)
    if not undefined.any():
        return []
    first = np.unravel_index(int(np.argmax(undefined)), values.shape)
    count = int(undefined.sum())
    text = (
        f"{name} is {values[first]:g} {_where(times, places, first)}, expected {_expected(name)} "
        f"({count} of {values.size} values); a gap in the record: fill it before the run"
    )
    cells = tuple(places.cells[undefined.any(axis=0)].tolist())
    return [Problem(name, "gap", text, count, cells)]


def outside_range(name: str, values: npt.NDArray[np.floating]) -> dict[str, npt.NDArray[np.bool_]]:
    """Where values are outside the range of their variable, by kind of problem.

    impossible: the model cannot be run with them; negative_values: a little below 0; range: outside the usual range.
    """
    low, high = registry.variable(name).valid_range or (-np.inf, np.inf)
    possible = FORCING_RANGES[name]
    impossible = (values < LARGEST_NEGATIVE.get(name, possible.low)) | (values > possible.high)
    negative = ~impossible & (values < possible.low)
    unusual = ~impossible & ~negative & ((values < low) | (values > high))
    return {"impossible": impossible, "negative_values": negative, "range": unusual}


def _range_problems(name: str, values: Array, times: Times, places: Places) -> list[Problem]:
    problems = []
    for kind, wrong in outside_range(name, values).items():
        if not wrong.any():
            continue
        first = np.unravel_index(int(np.argmax(wrong)), values.shape)
        mistake = _likely_mistake(name, float(values[first]))
        count = int(wrong.sum())
        text = (
            f"{name} is {values[first]:g} {_where(times, places, first)}, expected {_expected(name)} "
            f"({count} of {values.size} values){'; ' + mistake if mistake else ''}"
        )
        problems.append(Problem(name, kind, text, count))
    return problems


def _expected(name: str) -> str:
    entry = registry.variable(name)
    low, high = entry.valid_range or (-np.inf, np.inf)
    return f"{low:g} to {high:g} {entry.unit}"


def _likely_mistake(name: str, value: float) -> str:
    if value in (-9999.0, -999.0, -99.0) or abs(value) >= 1e19:
        return "it looks like a code for missing values: mark them as missing and fill them"
    if name in ("SWdown", "LWdown") and value > 1e3:
        return "it looks like J m-2 accumulated over the step: divide by its seconds"
    if name == "LWdown":
        return "it looks like net longwave radiation: the downward flux is needed"
    if name == "Wind" and value < 0:
        return "it looks like one component of the wind: the speed is needed"
    return registry.likely_mistake(name, value)


def _night_problems(shortwave: Array, times: Times, hours: float, places: Places) -> list[Problem]:
    """Shortwave at instants when the sun stays below the horizon one whole interval (`hours`) before and after."""
    declination, hour_angle = physics.solar_angles(times, 0.0)
    hour = hour_angle[:, None] + np.deg2rad(places.longitude)[None, :]
    from_noon = np.abs((hour + np.pi) % (2.0 * np.pi) - np.pi)
    # Highest sun of the two intervals: the hour angle nearest to noon that they reach.
    nearest = np.maximum(from_noon - np.deg2rad(15.0 * hours), 0.0)
    latitude = np.deg2rad(places.latitude)[None, :]
    cosine = np.sin(latitude) * np.sin(declination)[:, None]
    cosine = cosine + np.cos(latitude) * np.cos(declination)[:, None] * np.cos(nearest)
    wrong = (cosine < 0.0) & (shortwave > HIGHEST_NIGHT_SHORTWAVE)
    if not wrong.any():
        return []
    first = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
    depression = np.rad2deg(np.arcsin(-cosine[first]))
    count = int(wrong.sum())
    text = (
        f"SWdown is {shortwave[first]:g} W m-2 {_where(times, places, first)}, where the sun is at least "
        f"{depression:.1f} degrees below the horizon; expected 0 to {HIGHEST_NIGHT_SHORTWAVE:g} W m-2 at night "
        f"({count} of {wrong.size} values); likely the times are local instead of UTC, or the longitude has "
        "the wrong sign"
    )
    return [Problem("SWdown", "night_shortwave", text, count)]


def _humidity_problems(values: dict[str, Array], times: Times, places: Places) -> list[Problem]:
    vapour = physics.vapour_pressure(values["Qair"], values["PSurf"])
    relative = vapour / physics.saturation_vapour_pressure(values["Tair"])
    wrong = relative > HIGHEST_RELATIVE_HUMIDITY
    if not wrong.any():
        return []
    first = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
    count = int(wrong.sum())
    text = (
        f"Qair is {values['Qair'][first]:g} kg kg-1 {_where(times, places, first)}, a relative humidity of "
        f"{100 * relative[first]:.1f} % at {values['Tair'][first]:.2f} K and {values['PSurf'][first]:.0f} Pa; expected "
        f"at most {100 * HIGHEST_RELATIVE_HUMIDITY:g} % ({count} of {wrong.size} values); likely the dew "
        "point is above the temperature, or temperature, pressure and humidity are of different times or heights"
    )
    return [Problem("Qair", "supersaturation", text, count)]


def _where(times: Times, places: Places, index: tuple[np.intp, ...]) -> str:
    return f"at {_instant(times[index[0]])}, {places.name(int(index[1]))}"


def _instant(time: np.datetime64) -> str:
    return np.datetime_as_string(time, unit="m") + " UTC"
