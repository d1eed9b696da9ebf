"""What satellite products share: overpasses to daily means, points to cells, the form of a group of observations.

A mean over a day, or a composite of some days, is labelled with the end of what it is made of: the analysis whose 24 h
window holds the label then uses nothing that was observed after its hour.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ldas.assim.quality import QUALITY_MEANING, CodeArray, Quality
from ldas.landmodel.array_types import Array, IntArray, Times
from ldas.pipeline import registry
from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest.grid import Cells
from ldas.pipeline.store import cf

DAY = np.timedelta64(1, "D")
LEAST_WEIGHT = 0.5  # of the usable points of a cell: with less it takes its heaviest point as it is


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

    Or overpasses that kept their hour, (day, overpass, place), see `overpasses_of_days`: the `hour` of each, in time.

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


def overpasses_of_days(passes: Overpasses, places: int, days: Times, most: int) -> Daily:
    """Overpasses at their own hour: those of a UTC day and place one after the other, rising in time.

    Args:
        days: the days, as 00 UTC of each.
        most: length of the overpass axis.

    Raises:
        IngestError: a day with more overpasses of a place.
    """
    day = ((passes.time - days[0]) // DAY).astype(np.int64)
    inside = (day >= 0) & (day < len(days)) & np.isfinite(passes.value)
    passes, day = passes.only(inside), day[inside]
    rank = ranks(passes, day, days, most)
    shape = (len(days), most, places)
    place = day, rank, passes.place
    value, uncertainty, hour = (np.full(shape, np.nan) for _ in range(3))
    code = np.full(shape, Quality.MISSING, dtype=np.int8)
    value[place], uncertainty[place], code[place] = passes.value, passes.uncertainty, passes.quality
    hour[place] = hours_of_day(passes.time)
    return Daily(days + DAY, value, uncertainty, code, (code != Quality.MISSING).astype(np.int64), hour, days)


def hours_of_day(times: Times) -> Array:
    """Hours after 00 UTC, to the second."""
    return np.asarray((times - times.astype("datetime64[D]")).astype("timedelta64[s]").astype(np.float64) / 3600.0)


def ranks(passes: Overpasses, day: IntArray, days: Times, most: int) -> IntArray:
    """Rank of each overpass among those of its day and place, from 0, rising in time, (overpass,).

    Args:
        passes: all of days on the axis.
        day: the day of each, as a place on the axis, (overpass,).
        days: the axis, as 00 UTC of each day.
        most: how many a day and place may have.

    Raises:
        IngestError: a day with more overpasses of a place.
    """
    order = np.lexsort((passes.time, passes.place, day))
    begins = np.ones(len(order), dtype=bool)
    begins[1:] = (np.diff(day[order]) != 0) | (np.diff(passes.place[order]) != 0)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - np.flatnonzero(begins)[np.cumsum(begins) - 1]
    if len(rank) and rank.max() >= most:
        fullest = days[day[int(np.argmax(rank))]].astype("datetime64[D]")
        raise IngestError(
            f"overpasses_per_day is {most}, but a cell has {int(rank.max()) + 1} overpasses on {fullest}: give that "
            "number or more"
        )
    return rank


def passes_at_cells(passes: Overpasses, index: IntArray, weight: Array, apart: np.timedelta64) -> Overpasses:
    """Overpasses of cells from those of points: what the points of a cell saw within `apart` of each other is one.

    Args:
        index: points of each cell, (cell, n), as in `combined`.
        weight: their weights, (cell, n).
        apart: longest time between what is one overpass.

    Returns:
        Overpasses whose place is a cell: weighted means of the usable points where these weigh at least `LEAST_WEIGHT`,
        elsewhere what the heaviest point saw.
    """
    cell, column = np.nonzero((index >= 0) & (weight > 0))
    order = np.argsort(passes.place, kind="stable")
    borders = np.searchsorted(passes.place[order], np.arange(int(index.max(initial=-1)) + 2))
    point = index[cell, column]
    size = borders[point + 1] - borders[point]
    row = np.arange(size.sum()) + np.repeat(borders[point] - (np.cumsum(size) - size), size)
    seen = passes.only(order[row])
    seen = replace(seen, place=np.repeat(cell, size))
    order = np.lexsort((seen.time, seen.place))
    seen, share = seen.only(order), np.repeat(weight[cell, column], size)[order]
    begins = np.ones(len(order), dtype=bool)
    begins[1:] = (np.diff(seen.place) != 0) | (np.diff(seen.time) > apart)
    number = np.cumsum(begins) - 1
    heaviest = np.lexsort((-share, number))[np.flatnonzero(begins)]
    part = np.where(seen.quality == Quality.USED, share, 0.0)
    total = np.bincount(number, part, minlength=int(begins.sum()))
    enough = total >= LEAST_WEIGHT - 1e-9
    scale = np.where(enough, total, 1.0)

    def mean(values: Array) -> Array:
        weighted = np.where(part > 0, values * part, 0.0)
        return np.where(enough, np.bincount(number, weighted, minlength=len(total)) / scale, values[heaviest])

    one = seen.only(heaviest)
    since = (seen.time - one.time[number]).astype("timedelta64[s]").astype(np.float64)
    time = one.time + np.round(mean(since)).astype("timedelta64[s]")
    quality = np.where(enough, Quality.USED, one.quality).astype(np.int8)
    return Overpasses(one.place, time, mean(seen.value), mean(seen.uncertainty), quality)


def combined(daily: Daily, index: IntArray, weight: Array, least_weight: float = LEAST_WEIGHT) -> Daily:
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
    """A group `observations/<name>`: value, uncertainty, quality, count (and overpass_hour) over (time, cell); of
    overpasses that kept their hour over (time, overpass, cell), without count.

    Raises:
        IngestError: a usable value outside the registry's range, naming day and cell.
    """
    entry = registry.variable(name)
    low, high = entry.valid_range or (-np.inf, np.inf)
    wrong = (daily.quality == Quality.USED) & ~((daily.value >= low) & (daily.value <= high))
    if wrong.any():
        first = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
        day, cell = first[0], first[-1]
        raise IngestError(
            f"{name} is {daily.value[first]:g} {unit} on {daily.dates[day].astype('datetime64[D]')} at "
            f"{cells.name(int(cell))}, expected {low:g} to {high:g} ({int(wrong.sum())} such values); "
            "`out_of_range: missing` treats such values as missing"
        )
    apart = daily.value.ndim == 3
    dims = ("time", "overpass", "cell") if apart else ("time", "cell")
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
    if apart:
        dataset = dataset.drop_vars("count")
    empty = np.flatnonzero((daily.quality == Quality.MISSING).reshape(-1, len(cells)).all(axis=0))
    if empty.size:
        named = ", ".join(cells.name(int(index)) for index in empty[:5])
        dataset.attrs["notes"] = [f"{empty.size} of {len(cells)} cells have no observation in the files: {named}"]
    if daily.hour is not None:
        of_mean = {"units": "h", "long_name": "mean hour of the observations (UTC)"}
        hour_attributes = cf.OVERPASS_HOUR if apart else of_mean
        dataset["overpass_hour"] = (dims, daily.hour.astype(np.float32), hour_attributes)
    return dataset


def labelled_at_end(dataset: xr.Dataset, begin: npt.NDArray[Any], dates: npt.NDArray[Any]) -> xr.Dataset:
    """A dataset whose times are the ends of what its values are made of, with what says so and from when they are.

    Adds `time_bnds` (time, bnds) and `nominal_time` (time,), the UTC day or the producer's date.
    """
    bounds = ("time", "bnds"), np.stack([begin, dataset["time"].to_numpy()], axis=1)
    nominal = "time", dates, {"long_name": "UTC day of the value, or date that its producer gives"}
    return dataset.assign(time_bnds=bounds, nominal_time=nominal).assign_attrs(time_label=cf.END_LABEL)


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
