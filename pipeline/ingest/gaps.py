"""Missing hours and missing values: found, filled within the configured length, or refused with their first place."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from ldas.landmodel.array_types import Array, Times
from ldas.pipeline.errors import IngestError
from ldas.pipeline.files import instant
from ldas.pipeline.ingest.config import GapPolicy
from ldas.pipeline.ingest.grid import Cells

HOUR = np.timedelta64(1, "h")


def on_axis(field: xr.DataArray, axis: Times, policy: GapPolicy, where: object) -> xr.DataArray:
    """A field (time, ...) on a complete time axis; missing times are interpolated where the policy allows.

    Values before and after the axis serve to fill its ends, so that a period in pieces is filled as it is in one.

    Args:
        axis: equally spaced times that the result has.

    Raises:
        IngestError: a gap; names variable and first missing hour, and how long it is.
    """
    have = field["time"].to_numpy()
    if len(have) == len(axis) and (have == axis).all():
        return field
    position = np.searchsorted(have, axis)
    present = (position < len(have)) & (have[np.minimum(position, len(have) - 1)] == axis)
    missing = np.flatnonzero(~present)
    if missing.size:
        _check_missing_times(field, axis, missing, policy, where)
    if not missing.size and position[-1] - position[0] == len(axis) - 1:
        return field.isel(time=slice(int(position[0]), int(position[-1]) + 1))
    before = np.clip(np.searchsorted(have, axis, side="right") - 1, 0, len(have) - 1)
    after = np.where(present, before, np.minimum(before + 1, len(have) - 1))
    span = (have[after] - have[before]).astype(np.float64)
    weight = np.where(span > 0, (axis - have[before]).astype(np.float64) / np.where(span > 0, span, 1.0), 0.0)
    factor = xr.DataArray(weight, dims="time", coords={"time": axis})
    first = field.isel(time=before).assign_coords(time=axis)
    if not missing.size:
        return first
    second = field.isel(time=after).assign_coords(time=axis)
    filled = first * (1.0 - factor) + second * factor
    return filled.rename(field.name).assign_attrs(field.attrs)


def _check_missing_times(
    field: xr.DataArray, axis: Times, missing: npt.NDArray[np.int64], policy: GapPolicy, where: object
) -> None:
    gaps = np.split(missing, np.flatnonzero(np.diff(missing) > 1) + 1)
    lengths = [_length(field["time"].to_numpy(), axis, gap) for gap in gaps]
    if policy.action == "fill" and max(lengths) <= policy.hours:
        return
    first = gaps[int(np.argmax(lengths)) if policy.action == "fill" else 0]
    advice = (
        f"the gap policy fills up to {policy.hours} in a row, and never the ends of what the files hold: give the "
        "files around the period as well"
        if policy.action == "fill"
        else "complete the files, or set gaps: {action: fill, hours: N}"
    )
    raise IngestError(
        f"{where}: {field.name} has no value for {missing.size} of {len(axis)} times, {len(first)} in a row from "
        f"{instant(axis[first[0]])}; {advice}"
    )


def _length(have: Times, axis: Times, gap: npt.NDArray[np.int64]) -> float:
    """Missing times in a row between the values around a gap, some perhaps outside the axis; infinite at an end."""
    before = int(np.searchsorted(have, axis[gap[0]])) - 1
    after = int(np.searchsorted(have, axis[gap[-1]]))
    if before < 0 or after == len(have):
        return np.inf
    return round(float((have[after] - have[before]) / (axis[1] - axis[0])) - 1.0, 6)


@dataclass
class MissingValues:
    """Longest run of missing values of each cell, counted over consecutive blocks in time."""

    name: str
    cells: int

    def __post_init__(self) -> None:
        self.longest = np.zeros(self.cells, dtype=np.int64)
        self._run = np.zeros(self.cells, dtype=np.int64)
        self.first = np.full(self.cells, np.datetime64("NaT", "ns"), dtype="datetime64[ns]")
        self.at_start = np.zeros(self.cells, dtype=bool)
        self._records = 0

    def add(self, block: npt.NDArray[np.floating], times: Times) -> None:
        """One more block (time, cell), directly after the last one."""
        missing = ~np.isfinite(block)
        if self._records == 0 and len(times):
            self.at_start = missing[0].copy()
        self._records += len(times)
        if not missing.any():
            self._run[:] = 0
            return
        begins = np.isnat(self.first) & missing.any(axis=0)
        self.first[begins] = times[np.argmax(missing[:, begins], axis=0)]
        for row in missing:
            self._run = np.where(row, self._run + 1, 0)
            np.maximum(self.longest, self._run, out=self.longest)

    @property
    def at_end(self) -> npt.NDArray[np.bool_]:
        """Whether the last value of each cell is missing."""
        return self._run > 0


def cells_to_keep(found: list[MissingValues], policy: GapPolicy, cells: Cells, where: object) -> npt.NDArray[np.bool_]:
    """Which cells stay after the gap policy: all, unless it excludes cells.

    Raises:
        IngestError: what the policy does not allow; names variable, cell and first hour.
    """
    keep = np.ones(len(cells), dtype=bool)
    for item in found:
        bad = item.longest > 0
        if policy.action == "fill":
            bad = (item.longest > policy.hours) | item.at_end | item.at_start
        if not bad.any():
            continue
        if policy.action == "exclude_cell":
            keep &= ~bad
            continue
        cell = int(np.argmax(bad))
        raise IngestError(
            f"{where}: {item.name} is missing in {int(bad.sum())} of {len(cells)} cells, the first {cells.name(cell)} "
            f"from {instant(item.first[cell])} (up to {int(item.longest[cell])} values in a row); "
            + (
                f"the gap policy fills up to {policy.hours} in a row, and never the ends of what the files hold"
                if policy.action == "fill"
                else "set gaps: {action: fill, hours: N} or {action: exclude_cell}"
            )
        )
    if not keep.any():
        raise IngestError(f"{where}: every cell has missing values, so none is left after gaps: exclude_cell")
    return keep


def fill_values(values: Array) -> Array:
    """Linear interpolation in time over missing values (time, cell); what is missing at an end stays missing."""
    result = np.array(values, dtype=np.float64)
    steps = np.arange(result.shape[0])
    for cell in np.flatnonzero(~np.isfinite(result).all(axis=0)):
        good = np.isfinite(result[:, cell])
        if good.any():
            result[:, cell] = np.interp(steps, steps[good], result[good, cell], left=np.nan, right=np.nan)
    return result
