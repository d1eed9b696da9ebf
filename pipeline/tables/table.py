"""Tables of satellite observations with collocated model states, one grid cell a file, to train operators from."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ldas.assim.windows import window_means
from ldas.landmodel.array_types import Array, BoolArray
from ldas.operators.errors import DuplicateTimesError
from ldas.operators.protocol import Names
from ldas.pipeline import files, registry
from ldas.pipeline.errors import PipelineError
from ldas.pipeline.tables.once_a_day import warnings_of_table

# Leaf area per leaf biomass fitted on the ISBA cell 43.625N 0.875E (R 0.9998), for tables without leaf area index.
LEAF_AREA_PER_BIOMASS = 14.07
_OTHER_NAMES = {"sigma40": ("sig",), "LAI": ("LAI_ISBA",)}
_DAY = np.timedelta64(1, "D")


class TrainingTableError(PipelineError):
    """A table or a window of time that no operator can be trained from."""


@dataclass(frozen=True)
class Window:
    """Days from `first` to `last`, both included."""

    first: np.datetime64
    last: np.datetime64

    def contains(self, times: NDArray[np.datetime64]) -> BoolArray:
        """Which of the times lie in the window."""
        days = times.astype("datetime64[D]")
        return (days >= self.first) & (days <= self.last)

    def as_text(self) -> tuple[str, str]:
        """First and last day in ISO form."""
        return str(self.first), str(self.last)


def parse_window(text: str) -> Window:
    """`2007-2013` (whole years), `2011` or `2007-01-01/2013-12-31`; TrainingTableError for anything else."""
    years = re.fullmatch(r"(\d{4})(?:-(\d{4}))?", text.strip())
    try:
        if years:
            first = np.datetime64(f"{years[1]}-01-01", "D")
            last = np.datetime64(f"{years[2] or years[1]}-12-31", "D")
        else:
            start, _, end = text.partition("/")
            first, last = np.datetime64(start.strip(), "D"), np.datetime64(end.strip(), "D")
    except ValueError as error:
        raise TrainingTableError(
            f"a window is given as 2007-2013 or 2007-01-01/2013-12-31, got {text!r} ({error})"
        ) from error
    if np.isnat(first) or np.isnat(last) or last < first:
        raise TrainingTableError(f"window {text!r}: the last day {last} must not come before the first {first}")
    return Window(first, last)


@dataclass(frozen=True)
class TrainingTable:
    """Samples of one cell in order of time.

    times (sample,) of seconds; predictors (sample, predictor); target (sample,), or (sample, target) of several, NaN
    where a sample lacks one; notes: what was derived or left out.
    """

    path: Path
    latitude: float
    longitude: float
    times: NDArray[np.datetime64]
    predictors: Array
    target: Array
    notes: tuple[str, ...]

    def part(self, window: Window) -> "TrainingTable":
        """The samples in a window."""
        inside = window.contains(self.times)
        return replace(self, times=self.times[inside], predictors=self.predictors[inside], target=self.target[inside])

    def daily_means(self) -> "TrainingTable":
        """One sample a day: means of targets and predictors over the day's overpasses."""
        # A date without an hour is midnight, which would end the window before: noon lies in the window of its day.
        noon = np.asarray(self.times.astype("datetime64[D]") + np.timedelta64(12, "h"), dtype="datetime64[s]")
        targets = 1 if self.target.ndim == 1 else self.target.shape[1]
        days = window_means(noon, np.column_stack([self.target, self.predictors]), analysis_hour_utc=0)
        seen = (days.number[:, :targets] > 0).any(axis=1)
        return replace(
            self,
            times=(days.end[seen] - _DAY).astype("datetime64[s]"),
            predictors=days.mean[seen, targets:],
            target=days.mean[seen, 0] if self.target.ndim == 1 else days.mean[seen, :targets],
        )


def read_training_table(path: Path | str, names: Names, more: Sequence[tuple[str, str]] = ()) -> TrainingTable:
    """Reads one NetCDF table with dimension `obs`, coordinates `time`, `lat`, `lon` and a variable per column.

    more: names and units of further targets; rows that lack some of the targets are kept then.

    `sig` is taken for sigma40 and `LAI_ISBA` for LAI; where there is no LAI, LEAF_AREA_PER_BIOMASS x BIOMA1 is derived
    and noted. Rows without target or predictor (NaN) are left out and counted in the notes. The notes warn of variables
    that change once a day but differ between two rows of a day (`ldas.pipeline.tables.once_a_day`).

    Raises:
        TrainingTableError: missing or misshapen columns, other units.
        DuplicateTimesError: times that repeat.
    """
    file = Path(path)
    try:
        with files.open_netcdf(file) as opened:
            table = opened.load()
    except files.READING_ERRORS as error:
        raise TrainingTableError(f"{file}: the file is truncated or damaged: {error}") from error
    notes: list[str] = []
    times = _times(table, file)
    columns = [
        _column(table, name, unit, file, notes, times.size)
        for name, unit in ((names.output_name, names.output_unit), *more)
    ]
    target = np.stack(columns, axis=-1) if more else columns[0]
    predictors = np.stack(
        [
            _column(table, name, unit, file, notes, times.size)
            for name, unit in zip(names.predictor_names, names.predictor_units, strict=True)
        ],
        axis=-1,
    )
    latitude, longitude = _coordinate(table, "lat", file), _coordinate(table, "lon", file)
    notes += warnings_of_table(_columns_by_row(table, times.size), times)
    missing = np.isnan(target).reshape(times.size, -1).all(axis=1) | np.isnan(predictors).any(axis=1)
    if missing.any():
        notes.append(f"{int(missing.sum())} of {missing.size} rows have no target or predictor and are left out")
    order = np.argsort(times[~missing], kind="stable")
    complete = TrainingTable(
        file,
        latitude,
        longitude,
        times[~missing][order],
        predictors[~missing][order],
        target[~missing][order],
        tuple(notes),
    )
    _check_duplicates(complete)
    return complete


def predictor_units(predictor_names: Sequence[str]) -> tuple[str, ...]:
    """Units of model variables in the registry; RegistryError for an unknown name."""
    return tuple(registry.variable(name).unit for name in predictor_names)


def _times(table: xr.Dataset, file: Path) -> NDArray[np.datetime64]:
    if "time" not in table.variables or table["time"].ndim != 1 or table["time"].dtype.kind != "M":
        raise TrainingTableError(f"{file}: a one-dimensional coordinate 'time' with dates is needed")
    times: NDArray[np.datetime64] = table["time"].values.astype("datetime64[s]")
    if np.isnat(times).any():
        raise TrainingTableError(f"{file}: {int(np.isnat(times).sum())} of {times.size} times are missing")
    return times


def _columns_by_row(table: xr.Dataset, rows: int) -> dict[str, NDArray[Any]]:
    """All numeric columns with a value for each time."""
    return {
        str(name): column.values
        for name, column in table.data_vars.items()
        if column.shape == (rows,) and column.dtype.kind in "fiu"
    }


def _column(table: xr.Dataset, name: str, unit: str, file: Path, notes: list[str], rows: int) -> Array:
    """A column by its name, another name, or derived; in the unit asked for."""
    known = [candidate for candidate in (name, *_OTHER_NAMES.get(name, ())) if candidate in table]
    if known:
        values = np.asarray(table[known[0]].values, dtype=np.float64)
        found_unit = str(table[known[0]].attrs.get("units", unit))
        if found_unit != unit:
            raise TrainingTableError(f"{file}: {known[0]} is in {found_unit!r}, expected {unit!r}: convert it")
    elif name == "LAI" and "BIOMA1" in table:
        values = LEAF_AREA_PER_BIOMASS * np.asarray(table["BIOMA1"].values, dtype=np.float64)
        notes.append(f"LAI derived as {LEAF_AREA_PER_BIOMASS} m2 kg-1 x BIOMA1")
    else:
        raise TrainingTableError(
            f"{file} has no column {name!r}; it has {', '.join(sorted(str(column) for column in table.data_vars))}"
        )
    if values.shape != (rows,):
        raise TrainingTableError(
            f"{file}: {name} has shape {values.shape}, expected one value for each of {rows} times"
        )
    return values


def _coordinate(table: xr.Dataset, name: str, file: Path) -> float:
    values = np.unique(np.asarray(table[name].values, dtype=np.float64)) if name in table.variables else np.zeros(0)
    if values.size != 1:
        raise TrainingTableError(f"{file}: one {name!r} (degrees) is needed, one cell per file; got {values.size}")
    return float(values[0])


def _check_duplicates(table: TrainingTable) -> None:
    """Two overpasses may share a date where a table has no hours, but never all their values, and never an instant."""
    has_hours = bool((table.times.astype("datetime64[D]") != table.times).any())
    if has_hours:
        same = np.diff(table.times) == np.timedelta64(0, "s")
    else:
        rows = np.column_stack([table.times.astype(np.int64), table.target, table.predictors])
        rows = np.where(np.isnan(rows), np.inf, rows)  # a target that both lack is the same in both
        rows = rows[np.lexsort(rows.T[::-1])]
        same = (rows[1:] == rows[:-1]).all(axis=1)
    if same.any():
        at = table.times[np.argmax(same)] if has_hours else rows[np.argmax(same), 0].astype("datetime64[s]")
        raise DuplicateTimesError(
            f"{table.path}: {int(same.sum())} rows repeat an overpass, first at {at}: drop the copies before training"
        )
