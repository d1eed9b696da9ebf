"""What satellite products share: overpasses to daily means, points to cells, the form of a group of observations.

A mean over a day, or a composite of some days, is labelled with the end of what it is made of: the analysis whose 24 h
window holds the label then uses nothing that was observed after its hour.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ldas.assim.quality import QUALITY_MEANING, CodeArray, Quality
from ldas.landmodel.array_types import Array, IntArray, Times
from ldas.pipeline import registry
from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest.grid import Cells

DAY = np.timedelta64(1, "D")
END_LABEL = "end of what the value is made of, see time_bnds"


@dataclass(frozen=True)
class Overpasses:
    """Observations (n,) at places: index of the place, time (UTC), value, standard deviation (NaN: unknown), quality.

    `quality` is a code of `ldas.assim.quality.Quality`: 0 where the producer's flags find nothing wrong.
    """

    place: IntArray
    time: Times
    value: Array
    uncertainty: Array
    quality: CodeArray

    def only(self, chosen: npt.NDArray[Any]) -> "Overpasses":
        """Some of the observations, by mask or index."""
        return Overpasses(
            self.place[chosen], self.time[chosen], self.value[chosen], self.uncertainty[chosen], self.quality[chosen]
        )

    @staticmethod
    def joined(parts: "list[Overpasses]") -> "Overpasses":
        """All observations of several lots."""
        return Overpasses(
            np.concatenate([part.place for part in parts]),
            np.concatenate([part.time for part in parts]),
            np.concatenate([part.value for part in parts]),
            np.concatenate([part.uncertainty for part in parts]),
            np.concatenate([part.quality for part in parts]),
        )


@dataclass(frozen=True)
class Daily:
    """Daily values (day, place): `count` observations, at the mean hour of the day `hour` (UTC; None: unknown).

    `days` are their labels, the ends of what they are made of (24 UTC for a day), and `begin` where that begins; `date`
    is the producer's date where it is not `begin`.
    """

    days: Times
    value: Array
    uncertainty: Array
    quality: CodeArray
    count: IntArray
    hour: Array | None
    begin: Times
    date: Times | None = None

    @property
    def dates(self) -> Times:
        """What each value is called after: its UTC day, or the producer's date."""
        return self.begin if self.date is None else self.date


def day_axis(times: Times, start: Any, end: Any) -> Times:
    """Days (00 UTC) from `start` to `end`, or from the first to the last time; datetime64[ns]."""
    first = np.datetime64(start, "D") if start is not None else times.min().astype("datetime64[D]")
    last = np.datetime64(end, "D") if end is not None else times.max().astype("datetime64[D]")
    return np.arange(first, last + DAY, DAY).astype("datetime64[ns]")


def daily_means(passes: Overpasses, places: int, days: Times) -> Daily:
    """Means over the usable observations of each UTC day and place.

    A day without a usable one has the mean of the flagged ones with the lowest of their codes; a day without any is
    missing. The uncertainty is that of a mean of independent errors.

    Args:
        days: the days, as 00 UTC of each; the means are labelled with the end of their day.
    """
    day = ((passes.time - days[0]) // DAY).astype(np.int64)
    inside = (day >= 0) & (day < len(days)) & np.isfinite(passes.value)
    passes, day = passes.only(inside), day[inside]
    key = day * places + passes.place
    size = len(days) * places
    good = passes.quality == Quality.USED
    usable = np.bincount(key[good], minlength=size)
    taken = good | (usable[key] == 0)
    key, passes = key[taken], passes.only(taken)
    count = np.bincount(key, minlength=size)
    number = np.maximum(count, 1)

    def mean(values: Array) -> Array:
        return np.where(count > 0, np.bincount(key, weights=values, minlength=size) / number, np.nan)

    code = np.full(size, Quality.MISSING, dtype=np.int8)
    # Largest first, so that the lowest code of a day stays.
    order = np.argsort(-passes.quality.astype(np.int64), kind="stable")
    code[key[order]] = passes.quality[order]
    seconds = (passes.time - passes.time.astype("datetime64[D]")).astype("timedelta64[s]").astype(np.float64)
    deviation = np.sqrt(np.bincount(key, weights=passes.uncertainty**2, minlength=size)) / number
    shape = (len(days), places)
    return Daily(
        days + DAY,
        mean(passes.value).reshape(shape),
        np.where(count > 0, deviation, np.nan).reshape(shape),
        code.reshape(shape),
        count.reshape(shape).astype(np.int64),
        mean(seconds / 3600.0).reshape(shape),
        days,
    )


def combined(daily: Daily, index: IntArray, weight: Array, least_weight: float = 0.5) -> Daily:
    """Values at cells from values at points: weighted means over the points that have a usable value.

    Args:
        index: points of each cell, (cell, n), -1 for none.
        weight: their weights, (cell, n), summing to at most 1.
        least_weight: a cell whose usable points weigh less than this takes its nearest (heaviest) point as it is.
    """
    points = np.maximum(index, 0)
    share = np.where(index >= 0, weight, 0.0)
    usable = (daily.quality[:, points] == Quality.USED) & (share > 0)
    part = np.where(usable, share, 0.0)
    total = part.sum(axis=-1)
    enough = total >= least_weight - 1e-9
    scale = np.where(enough, total, 1.0)[..., None]
    part = part / scale

    def mean(values: Array) -> Array:
        return np.where(usable, values[:, points] * part, 0.0).sum(axis=-1)

    heaviest = points[np.arange(len(index)), np.argmax(share, axis=1)]
    none = share.max(axis=1) <= 0
    return Daily(
        daily.days,
        np.where(none, np.nan, np.where(enough, mean(daily.value), daily.value[:, heaviest])),
        # Errors of neighbouring points come from the same antenna footprint: they are not independent.
        np.where(none, np.nan, np.where(enough, mean(daily.uncertainty), daily.uncertainty[:, heaviest])),
        np.where(none, Quality.MISSING, np.where(enough, Quality.USED, daily.quality[:, heaviest])).astype(np.int8),
        np.where(
            none, 0, np.where(enough, (daily.count[:, points] * usable).sum(axis=-1), daily.count[:, heaviest])
        ).astype(np.int64),
        None
        if daily.hour is None
        else np.where(none, np.nan, np.where(enough, mean(daily.hour), daily.hour[:, heaviest])),
        daily.begin,
        daily.date,
    )


def observation_dataset(
    name: str, daily: Daily, cells: Cells, unit: str, long_name: str, **attributes: Any
) -> xr.Dataset:
    """A group `observations/<name>`: value, uncertainty, quality, count (and overpass_hour) over (time, cell).

    Raises:
        IngestError: a usable value outside the registry's range, naming day and cell.
    """
    entry = registry.variable(name)
    low, high = entry.valid_range or (-np.inf, np.inf)
    wrong = (daily.quality == Quality.USED) & ~((daily.value >= low) & (daily.value <= high))
    if wrong.any():
        day, cell = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
        raise IngestError(
            f"{name} is {daily.value[day, cell]:g} {unit} on {daily.dates[day].astype('datetime64[D]')} at "
            f"{cells.name(int(cell))}, expected {low:g} to {high:g} ({int(wrong.sum())} such values); "
            "`out_of_range: missing` treats such values as missing"
        )
    dims = ("time", "cell")
    codes = [int(code) for code in Quality]
    dataset = xr.Dataset(
        {
            "value": (dims, daily.value.astype(np.float32), {"units": unit, "long_name": long_name}),
            "uncertainty": (dims, daily.uncertainty.astype(np.float32), {"units": unit}),
            "quality": (
                dims,
                daily.quality,
                {
                    "flag_values": codes,
                    "flag_meanings": " ".join(code.name.lower() for code in Quality),
                    "comment": f"0: usable ({QUALITY_MEANING[Quality.MISSING]}: {int(Quality.MISSING)})",
                },
            ),
            "count": (dims, daily.count.astype(np.int32), {"units": "1", "long_name": "observations in the mean"}),
        },
        coords={"time": daily.days, **cells.coordinates()},
        attrs=attributes,
    )
    dataset = labelled_at_end(dataset, daily.begin, daily.dates)
    empty = np.flatnonzero((daily.quality == Quality.MISSING).all(axis=0))
    if empty.size:
        named = ", ".join(cells.name(int(index)) for index in empty[:5])
        dataset.attrs["notes"] = [f"{empty.size} of {len(cells)} cells have no observation in the files: {named}"]
    if daily.hour is not None:
        hour_attributes = {"units": "h", "long_name": "mean hour of the observations (UTC)"}
        dataset["overpass_hour"] = (dims, daily.hour.astype(np.float32), hour_attributes)
    return dataset


def labelled_at_end(dataset: xr.Dataset, begin: npt.NDArray[Any], dates: npt.NDArray[Any]) -> xr.Dataset:
    """A dataset whose times are the ends of what its values are made of, with what says so and from when they are.

    Adds `time_bnds` (time, bnds) and `nominal_time` (time,), the UTC day or the producer's date.
    """
    bounds = ("time", "bnds"), np.stack([begin, dataset["time"].to_numpy()], axis=1)
    nominal = "time", dates, {"long_name": "UTC day of the value, or date that its producer gives"}
    return dataset.assign(time_bnds=bounds, nominal_time=nominal).assign_attrs(time_label=END_LABEL)


def days_of(stored: xr.Dataset) -> Times:
    """The UTC days, as 00 UTC, that daily values of a stored group are means of."""
    return stored["nominal_time" if "time_label" in stored.attrs else "time"].to_numpy().astype("datetime64[D]")


def labelled_like(dataset: xr.Dataset, stored: xr.Dataset | None) -> xr.Dataset:
    """A dataset to be appended, with labels as those of the stored group: an earlier version took the nominal time."""
    if stored is None or "time_label" not in dataset.attrs or "time_label" in stored.attrs:
        return dataset
    as_before = dataset.assign_coords(time=dataset["nominal_time"].to_numpy()).drop_vars(("time_bnds", "nominal_time"))
    del as_before.attrs["time_label"]
    return as_before


def require_usable(dataset: xr.Dataset, group: str, nothing_usable: str) -> None:
    """IngestError for a group of observations without a usable value, unless that is to be stored."""
    if nothing_usable == "store" or "quality" not in dataset:
        return
    codes, numbers = np.unique(dataset["quality"].to_numpy(), return_counts=True)
    if Quality.USED not in codes:
        found = ", ".join(
            f"{Quality(code).name.lower()}: {number}" for code, number in zip(codes, numbers, strict=True)
        )
        raise IngestError(
            f"{group}: none of the {int(numbers.sum())} values is usable ({found}): check variable, cells, period and "
            "limits, and the fill values of the files; `nothing_usable: store` stores them all the same"
        )
