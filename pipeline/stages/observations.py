"""Observations of a block as the filter and the training take them: one value per window, rescaled where asked, or the
overpasses of each window at their own time.

A group holds values over (time, cell), or, where overpasses kept their hour, over (time, overpass, cell) with
`overpass_hour` of the same shape: hours after 00 UTC of the day, NaN where there is none.
"""

from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np
import zarr

from ldas.assim import Quality, WindowObservations
from ldas.assim.rescaling import cdf_matched, linearly_rescaled, seasonal_moments, seasonal_quantiles
from ldas.assim.windows import DAY, WindowOverpasses, overpasses_of_windows, window_end, window_means
from ldas.pipeline import registry
from ldas.pipeline.errors import RegistryError, StoreError
from ldas.pipeline.settings.assimilation import (
    MODEL_VARIABLE,
    SCREEN_OBSERVATIONS,
    AssimilatedConfig,
    TimeMatching,
)
from ldas.pipeline.stages.land import check_cells
from ldas.pipeline.store import cf
from ldas.pipeline.store.arrays import (
    absence,
    dimensions,
    existing_array,
    existing_group,
    has_array,
    has_group,
    read_arrays,
    read_region,
    read_times,
)
from ldas.pipeline.store.ledger import Block


def window_ends(first: date, last: date, analysis_hour: int) -> np.ndarray:
    """Ends of the daily windows after the analysis hour of `first`, up to that of `last`."""
    hour = np.timedelta64(analysis_hour, "h")
    days = np.arange(np.datetime64(first, "D") + 1, np.datetime64(last, "D") + 1)
    return (days + hour).astype("datetime64[s]")


def days_of(ends: np.ndarray) -> np.ndarray:
    """Day of the store that a window's end belongs to; as in the open loop, 24 UTC belongs to the day it ends."""
    return (ends - np.timedelta64(1, "s")).astype("datetime64[D]").astype("datetime64[s]")


def overpasses_a_day(root: zarr.Group, name: str) -> int | None:
    """Length of the overpass axis of an observation group; None for daily values, whose overpasses have no hour."""
    array = existing_array(root, f"observations/{name}", "value")
    sizes = dict(zip(dimensions(array), array.shape, strict=True))
    return sizes.get("overpass")


def days_of_group(root: zarr.Group, path: str) -> np.ndarray:
    """The UTC day (00 UTC) that each time of an observation group stands for."""
    times = read_times(root, path)
    if "time_label" in existing_group(root, path).attrs:  # labelled with the end of the day
        times = read_region(root, path, "nominal_time")[: len(times)]
    return times.astype("datetime64[D]").astype("datetime64[s]")


def overpass_times(root: zarr.Group, name: str, cells: slice, days: slice = slice(None)) -> np.ndarray:
    """Times of the overpasses of a group, (time, overpass, cell), to the second; NaT where there is none."""
    path = f"observations/{name}"
    region = {"cell": cells, "time": slice(*days.indices(len(read_times(root, path))))}
    hours = np.asarray(
        read_region(root, path, "overpass_hour", region, dims=("time", "overpass", "cell")), dtype=np.float64
    )
    seconds = np.round(np.where(np.isfinite(hours), hours, 0.0) * 3600.0).astype("timedelta64[s]")
    times = days_of_group(root, path)[days][:, None, None] + seconds
    return np.where(np.isfinite(hours), times, np.datetime64("NaT", "s"))


def rows_between(times: np.ndarray, between: tuple[np.datetime64, np.datetime64] | None) -> slice:
    """The rows from the first to the last of some times between two instants; the first row where there are none."""
    if between is None:
        return slice(0, len(times))
    near = np.flatnonzero((between[0] <= times) & (times <= between[1]))
    return slice(int(near[0]), int(near[-1]) + 1) if near.size else slice(0, min(1, len(times)))


def near_windows(ends: np.ndarray) -> tuple[np.datetime64, np.datetime64]:
    """Instants between which all observations of some windows lie, however their group labels them."""
    return ends[0] - 3 * DAY, ends[-1] + 2 * DAY


def read_observations(
    root: zarr.Group, name: str, block: Block, between: tuple[np.datetime64, np.datetime64] | None = None
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Times of an observation group and its arrays (time, cell) of a block: value, uncertainty and quality if there.

    Of a group with an overpass axis, days and overpasses follow each other on the first axis, and the times are
    (time, cell), NaT where a cell has no overpass.

    What another program wrote is decoded by its CF attributes and brought into the unit of the registry: what
    `ldas check` counts is what the filter, the training and the evaluation get.

    Args:
        between: instants; times outside are left out, where none lies between them.

    Raises:
        StoreError: if the group is missing or cannot be read in this way, naming variable and attribute; for an
            overpass without hour.
    """
    path = f"observations/{name}"
    if not has_group(root, path):
        raise StoreError(f"observations '{path}': {absence(root, path)}; ingest them, or leave '{name}' out")
    group = existing_group(root, path)
    check_cells(root, group, "value", block.region)
    times = read_times(root, path)
    days = rows_between(times, between)
    region = {"time": days, "cell": block.region}
    overpasses = overpasses_a_day(root, name)
    dims = ("time", "cell") if overpasses is None else ("time", "overpass", "cell")
    arrays: dict[str, np.ndarray] = {}
    given = ""
    stored = ["value", *(key for key in ("uncertainty", "quality") if has_array(root, path, key))]
    for key, (values, attributes) in read_arrays(root, path, stored, region, dims=[dims] * len(stored)).items():
        if key == "quality":
            arrays[key] = _quality_codes(values, f"'{path}/{key}'")
        else:
            given = _given_unit(attributes, key) or given
            arrays[key] = _in_unit(values, given, name, f"'{path}/{key}'")
    if overpasses is None:
        return times[days], arrays
    arrays = {key: values.reshape(-1, block.cells) for key, values in arrays.items()}
    times = overpass_times(root, name, block.region, days).reshape(-1, block.cells)
    _check_hours(times, arrays, path)
    return times, arrays


def _check_hours(times: np.ndarray, arrays: Mapping[str, np.ndarray], path: str) -> None:
    """StoreError for an overpass without hour."""
    without = np.isnat(times) & np.isfinite(good_values(arrays))
    if without.any():
        raise StoreError(
            f"'{path}': {int(without.sum())} usable values have no overpass_hour, which an overpass at its own time "
            "needs: ingest them with their hours, or store daily values without an overpass axis"
        )


def _given_unit(attributes: Mapping[str, Any], key: str) -> str:
    """The unit of an array of observations; none where it has the one that ldas once wrote for want of a better."""
    unit = str(attributes.get("units", ""))
    return "" if unit == "1" and attributes.get("long_name") == registry.variable(key).long_name else unit


def _in_unit(values: np.ndarray, given: str, name: str, where: str) -> np.ndarray:
    """Values in the unit of the registry; as they are, where either unit is unknown.

    A degree of saturation stays one: it is brought to soil moisture by rescaling.
    """
    try:
        unit = registry.variable(name).unit
    except RegistryError:  # a group with a name of its own
        return values
    if not given or (unit == "m3 m-3" and given == "1"):
        return values
    return cf.in_unit(values, given, unit, where)


def _quality_codes(codes: np.ndarray, where: str) -> np.ndarray:
    """Codes as int8, MISSING where they are missing. StoreError for what is no code."""
    if codes.dtype == np.int8:
        return codes
    known = np.where(np.isfinite(codes), codes, int(Quality.MISSING))
    wrong = (known != np.round(known)) | (known < 0) | (known > np.iinfo(np.int8).max)
    if wrong.any():
        raise StoreError(f"{where} holds {known[wrong][0]:g}: expected whole codes from 0 (usable) to 127")
    return known.astype(np.int8)


def values_of_windows(times: np.ndarray, values: np.ndarray, ends: np.ndarray, analysis_hour: int) -> np.ndarray:
    """Means of the values (time, cell) in each window (window, cell); NaN where there is none."""
    means = window_means(times, np.asarray(values, dtype=np.float64), analysis_hour)
    result = np.full((len(ends), values.shape[1]), np.nan)
    if len(means.end):
        place = (ends - means.end[0]) // DAY
        inside = (place >= 0) & (place < len(means.end))
        result[inside] = means.mean[place[inside].astype(np.int64)]
    return result


def codes_of_windows(times: np.ndarray, codes: np.ndarray, ends: np.ndarray, analysis_hour: int) -> np.ndarray:
    """The preparation's code of each window (window, cell): 0 where one of its observations is good, else the first
    reason to leave one out, MISSING where there is none. times (time,) or (time, cell).
    """
    result = np.full((len(ends), codes.shape[1]), Quality.MISSING, dtype=np.int8)
    if times.ndim == 2:
        index = overpasses_of_windows(times, ends, analysis_hour).place
        for found in np.moveaxis(taken(codes, index, Quality.MISSING), 1, 0):
            result = _better_code(result, found)
        return result
    window = {int(end.astype(np.int64)): number for number, end in enumerate(ends)}
    for row, end in enumerate(window_end(times, analysis_hour)):
        number = window.get(int(end.astype("datetime64[s]").astype(np.int64)))
        if number is not None:
            result[number] = _better_code(result[number], codes[row])
    return result


def _better_code(known: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The code of a window so far, with one more observation."""
    better = (found == Quality.USED) | (known == Quality.MISSING)
    return np.where(better & (known != Quality.USED), found, known)


def taken(values: np.ndarray, index: np.ndarray, fill: float) -> np.ndarray:
    """Values (time, cell) at places (window, overpass, cell); `fill` where the place is -1."""
    cells = np.broadcast_to(np.arange(values.shape[1]), index.shape)
    return np.where(index >= 0, values[np.maximum(index, 0), cells], fill).astype(values.dtype)


def measured_overpasses(
    times: np.ndarray, arrays: Mapping[str, np.ndarray], ends: np.ndarray, hour: int
) -> WindowOverpasses:
    """The overpasses of each window that measured something, usable or not: their places in runs follow from it."""
    there = np.isfinite(np.asarray(arrays["value"], dtype=np.float64))
    return overpasses_of_windows(np.where(there, times, np.datetime64("NaT", "s")), ends, hour)


class WindowSeries:
    """Observations of one type over all windows of an experiment, for a block.

    value, uncertainty, quality: (window, cell), or (window, overpass, cell) with the `time` of each overpass.
    open_loop_departure: of the same shape, None as long as nobody gives it.
    """

    def __init__(
        self,
        root: zarr.Group,
        settings: AssimilatedConfig,
        block: Block,
        ends: np.ndarray,
        hour: int,
        open_loop: str,
        matching: TimeMatching = "window_end",
    ) -> None:
        all_of_them = settings.rescale != "none"  # the climatology is of all values
        near = None if all_of_them else near_windows(ends)
        times, arrays = read_observations(root, settings.name, block, near)
        values, quality = good_values(arrays), arrays.get("quality")
        uncertainty = good_values(arrays, "uncertainty") if "uncertainty" in arrays else None
        self.time: np.ndarray | None = None
        self.uncertainty: np.ndarray | None = None
        self.quality: np.ndarray | None = None
        self.open_loop_departure: np.ndarray | None = None
        if matching == "overpass":
            require_hours(root, settings.name)
            place, self.time = measured_overpasses(times, arrays, ends, hour)
            self.value = taken(values, place, np.nan)
            if uncertainty is not None:
                self.uncertainty = taken(uncertainty, place, np.nan)
            if quality is not None:
                self.quality = taken(quality, place, Quality.MISSING)
            return
        if settings.rescale != "none":
            values = rescaled(root, settings, times, values, block, hour, open_loop)
        self.value = values_of_windows(times, values, ends, hour)
        if uncertainty is not None:
            self.uncertainty = values_of_windows(times, uncertainty, ends, hour)
        if quality is not None:
            self.quality = codes_of_windows(times, quality, ends, hour)

    def window(self, number: int) -> WindowObservations:
        """The observations of one window."""
        if self.time is None:
            return WindowObservations(
                self.value[number],
                None if self.uncertainty is None else self.uncertainty[number],
                None if self.quality is None else self.quality[number],
                open_loop_departure=None if self.open_loop_departure is None else self.open_loop_departure[number],
            )
        there = ~np.isnat(self.time[number]).all(axis=1)
        used = slice(0, max(1, int(there.sum())))  # a row that no cell needs costs time
        return WindowObservations(
            self.value[number, used].T,
            None if self.uncertainty is None else self.uncertainty[number, used].T,
            None if self.quality is None else self.quality[number, used].T,
            self.time[number, used].T,
            open_loop_departure=(
                None if self.open_loop_departure is None else self.open_loop_departure[number, used].T
            ),
        )

    def explained(self, number: int, codes: np.ndarray) -> np.ndarray:
        """The filter's codes of a window (cell, row); where it found no value, the preparation's reason for that."""
        if self.quality is None:
            return codes
        given = self.quality[number][None] if self.time is None else self.quality[number, : codes.shape[1]]
        left_out = (codes == Quality.MISSING) & (given.T != Quality.USED)
        return np.where(left_out, given.T, codes)


def require_hours(root: zarr.Group, name: str) -> None:
    """StoreError for observations that are daily values: none of their overpasses has an hour."""
    if overpasses_a_day(root, name) is None:
        raise StoreError(
            f"'observations/{name}' holds daily values, in which overpasses have no hour: "
            + (
                "what is observed at 2 m is compared at its own hour: ingest it with `overpasses_per_day`"
                if name in SCREEN_OBSERVATIONS
                else "for `time_matching: overpass` ingest it with `overpasses_per_day`, or choose `time_matching: "
                "window_end`"
            )
        )


def good_values(arrays: Mapping[str, np.ndarray], name: str = "value") -> np.ndarray:
    """An array of an observation group (time, cell), NaN where its quality code says that it is of no use."""
    values = np.asarray(arrays[name], dtype=np.float64)
    return np.where(arrays["quality"] == Quality.USED, values, np.nan) if "quality" in arrays else values


def rescaled(
    root: zarr.Group,
    settings: AssimilatedConfig,
    times: np.ndarray,
    values: np.ndarray,
    block: Block,
    hour: int,
    open_loop: str,
) -> np.ndarray:
    """Observations moved to the climatology of the open loop, over the days that both have or a part of them."""
    if times.ndim == 2:
        raise StoreError(
            f"'observations/{settings.name}' has an overpass axis: only daily values are rescaled; ingest it without "
            "`overpasses_per_day`"
        )
    path, variable = f"runs/{open_loop}", MODEL_VARIABLE[settings.name]
    days = read_region(root, path, "time").astype("datetime64[D]")
    model = np.asarray(read_region(root, path, variable, {"cell": block.region}), dtype=np.float64)
    place = (days_of(window_end(times, hour)).astype("datetime64[D]") - days[0]).astype(np.int64)
    inside = (place >= 0) & (place < len(days))
    if (period := settings.rescale_period) is not None:
        inside &= (days[0] + place >= np.datetime64(period.start)) & (days[0] + place <= np.datetime64(period.end))
    paired = np.full(values.shape, np.nan)
    paired[inside] = model[place[inside]]
    months = times.astype("datetime64[M]").astype(np.int64) % 12 + 1
    if settings.rescale == "linear":
        return linearly_rescaled(values, months, seasonal_moments(values, paired, months, settings.rescale_months))
    return cdf_matched(values, months, seasonal_quantiles(values, paired, months, settings.rescale_months))


def interpolated_in_time(times: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Values (time, cell) linear in time between the valid ones, NaN before the first and after the last.

    at (instant,), or (instant, cell) where each cell has its own, NaT for none (NaN there).
    """
    result = np.full((len(at), values.shape[1]), np.nan)
    seconds, wanted = times.astype(np.int64).astype(np.float64), at.astype(np.int64).astype(np.float64)
    for cell in range(values.shape[1]):
        valid = np.isfinite(values[:, cell])
        if valid.any():
            known = values[valid, cell].astype(np.float64)
            instants = wanted if wanted.ndim == 1 else wanted[:, cell]
            result[:, cell] = np.interp(instants, seconds[valid], known, left=np.nan, right=np.nan)
    return result
