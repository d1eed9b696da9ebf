"""Observations of a block as the filter and the training take them: one value per window, rescaled where asked."""

from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np
import zarr

from ldas.assim import Quality, WindowObservations
from ldas.assim.rescaling import cdf_matched, linearly_rescaled, seasonal_moments, seasonal_quantiles
from ldas.assim.windows import DAY, window_end, window_means
from ldas.pipeline import registry
from ldas.pipeline.errors import RegistryError, StoreError
from ldas.pipeline.settings.assimilation import MODEL_VARIABLE, AssimilatedConfig
from ldas.pipeline.stages.land import check_cells
from ldas.pipeline.store import cf
from ldas.pipeline.store.arrays import absence, existing_group, has_group, read_array, read_region, read_times
from ldas.pipeline.store.ledger import Block


def window_ends(first: date, last: date, analysis_hour: int) -> np.ndarray:
    """Ends of the daily windows after the analysis hour of `first`, up to that of `last`."""
    hour = np.timedelta64(analysis_hour, "h")
    days = np.arange(np.datetime64(first, "D") + 1, np.datetime64(last, "D") + 1)
    return (days + hour).astype("datetime64[s]")


def days_of(ends: np.ndarray) -> np.ndarray:
    """Day of the store that a window's end belongs to; as in the open loop, 24 UTC belongs to the day it ends."""
    return (ends - np.timedelta64(1, "s")).astype("datetime64[D]").astype("datetime64[s]")


def read_observations(root: zarr.Group, name: str, block: Block) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Times of an observation group and its arrays (time, cell) of a block: value, uncertainty and quality if there.

    What another program wrote is decoded by its CF attributes and brought into the unit of the registry: what
    `ldas check` counts is what the filter, the training and the evaluation get.

    Raises:
        StoreError: if the group is missing or cannot be read in this way, naming variable and attribute.
    """
    path = f"observations/{name}"
    if not has_group(root, path):
        raise StoreError(f"observations '{path}': {absence(root, path)}; ingest them, or leave '{name}' out")
    group = existing_group(root, path)
    check_cells(root, group, "value", block.region)
    times = read_times(root, path)
    region = {"time": slice(0, len(times)), "cell": block.region}
    arrays: dict[str, np.ndarray] = {}
    given = ""
    for key in ("value", "uncertainty"):
        if key in group:
            arrays[key], attributes = read_array(root, path, key, region, dims=("time", "cell"))
            given = _given_unit(attributes, key) or given
            arrays[key] = _in_unit(arrays[key], given, name, f"'{path}/{key}'")
    if "quality" in group:
        codes = read_region(root, path, "quality", region, dims=("time", "cell"))
        arrays["quality"] = _quality_codes(codes, f"'{path}/quality'")
    return times, arrays


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
    reason to leave one out, MISSING where there is none.
    """
    result = np.full((len(ends), codes.shape[1]), Quality.MISSING, dtype=np.int8)
    place = {int(end.astype(np.int64)): index for index, end in enumerate(ends)}
    for row, end in enumerate(window_end(times, analysis_hour)):
        index = place.get(int(end.astype("datetime64[s]").astype(np.int64)))
        if index is None:
            continue
        better = (codes[row] == Quality.USED) | (result[index] == Quality.MISSING)
        better &= result[index] != Quality.USED
        result[index, better] = codes[row, better]
    return result


class WindowSeries:
    """Observations of one type over all windows of an experiment, for a block."""

    def __init__(
        self, root: zarr.Group, settings: AssimilatedConfig, block: Block, ends: np.ndarray, hour: int, open_loop: str
    ) -> None:
        times, arrays = read_observations(root, settings.name, block)
        values = good_values(arrays)
        if settings.rescale != "none":
            values = rescaled(root, settings, times, values, block, hour, open_loop)
        self.value = values_of_windows(times, values, ends, hour)
        self.uncertainty = (
            values_of_windows(times, good_values(arrays, "uncertainty"), ends, hour)
            if "uncertainty" in arrays
            else None
        )
        self.quality = codes_of_windows(times, arrays["quality"], ends, hour) if "quality" in arrays else None

    def window(self, number: int) -> WindowObservations:
        """The observations of one window."""
        return WindowObservations(
            self.value[number],
            None if self.uncertainty is None else self.uncertainty[number],
            None if self.quality is None else self.quality[number],
        )

    def explained(self, number: int, codes: np.ndarray) -> np.ndarray:
        """The filter's codes of a window (cell,); where it found no value, the preparation's reason for that."""
        if self.quality is None:
            return codes
        left_out = (codes == Quality.MISSING) & (self.quality[number] != Quality.USED)
        return np.where(left_out, self.quality[number], codes)


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
    """Values (time, cell) linear in time between the valid ones, NaN before the first and after the last."""
    result = np.full((len(at), values.shape[1]), np.nan)
    seconds, wanted = times.astype(np.int64).astype(np.float64), at.astype(np.int64).astype(np.float64)
    for cell in range(values.shape[1]):
        valid = np.isfinite(values[:, cell])
        if valid.any():
            result[:, cell] = np.interp(
                wanted, seconds[valid], values[valid, cell].astype(np.float64), left=np.nan, right=np.nan
            )
    return result
