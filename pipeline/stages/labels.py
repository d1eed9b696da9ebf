"""What the times of a run mean: a day's label is its 00 UTC, means have bounds, states have their own instant.

The states of a day are those at the analysis hour; at hour 0 those at 24 UTC, which is 00 UTC of the next day.
"""

from collections.abc import Mapping

import numpy as np
import zarr

from ldas.pipeline.stages.land import read_land
from ldas.pipeline.store.arrays import existing_array
from ldas.pipeline.store.template import ArraySpec

DAY = np.timedelta64(1, "D")
OF_MEANS = {"coordinates": "latitude longitude"}
OF_INSTANTS = {"coordinates": "instant_time latitude longitude"}
Coordinates = Mapping[str, tuple[tuple[str, ...], np.ndarray]]


def instants(days: np.ndarray, analysis_hour: int) -> np.ndarray:
    """When the states of these days hold, which is when their windows end; with hour 0 it is 24 UTC."""
    return (days + np.timedelta64(analysis_hour or 24, "h")).astype("datetime64[s]")


def clock(analysis_hour: int) -> str:
    """The analysis hour in words."""
    return f"{analysis_hour:02d} UTC of the day" if analysis_hour else "24 UTC of the day (00 UTC of the next)"


def along_time(days: np.ndarray, analysis_hour: int, *, windows: bool) -> Coordinates:
    """`time_bnds`, over which means are taken: UTC days, or the 24 h windows of an assimilation; and `instant_time`."""
    states = instants(days, analysis_hour)
    end = states if windows else days + DAY
    bounds = np.stack([end - DAY, end], axis=1).astype("datetime64[s]")
    return {"time_bnds": (("time", "bnds"), bounds), "instant_time": (("time",), states)}


def places(root: zarr.Group) -> Coordinates:
    """Latitude and longitude of all cells."""
    return {name: (("cell",), read_land(root, name)) for name in ("latitude", "longitude")}


def describe(root: zarr.Group, path: str, specs: Mapping[str, ArraySpec]) -> None:
    """Gives the arrays of a run their attributes: an earlier version made them with others, at hour 0 untrue ones."""
    existing_array(root, path, "time").attrs["bounds"] = "time_bnds"
    for name, spec in specs.items():
        existing_array(root, path, name).attrs.update(spec.attributes)
