"""The soil water index: surface soil moisture smoothed by an exponential filter in time, which an append continues."""

import math
from dataclasses import dataclass

import numpy as np
import xarray as xr

from ldas.assim.quality import Quality
from ldas.landmodel.array_types import Array, IntArray, Times
from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest.observations import Overpasses

NANOSECONDS_PER_DAY = 86400e9
NEVER = np.datetime64("NaT", "ns")


@dataclass(frozen=True)
class Past:
    """What the filter has seen at one place: index, gain and variance after the last observation, and its time."""

    index: float = np.nan
    gain: float = np.nan
    variance: float = np.nan
    time: np.datetime64 = NEVER


@dataclass(frozen=True)
class FilterState:
    """Where the filter stands at the places (n,) of a group: `Past` as arrays. `time` is NaT where nothing was seen.

    Args:
        kind: what `place` counts: `location` (identifiers of the product's points) or `cell` (of the group).
    """

    kind: str
    place: IntArray
    index: Array
    gain: Array
    variance: Array
    time: Times

    def at(self, row: int) -> Past:
        """The past of one place."""
        return Past(float(self.index[row]), float(self.gain[row]), float(self.variance[row]), self.time[row])

    def rows(self, kind: str, place: IntArray) -> IntArray:
        """Where places stand in this state.

        Raises:
            IngestError: places that it does not have: the observations are of another product.
        """
        known = {int(number): row for row, number in enumerate(self.place)} if kind == self.kind else {}
        rows = np.array([known.get(int(number), -1) for number in place], dtype=np.int64)
        if (rows < 0).any():
            raise IngestError(
                f"{int((rows < 0).sum())} of the {len(rows)} places of the new observations are not among the "
                f"{len(self.place)} that the stored soil water index was made from ({self.kind}s of the earlier files, "
                f"{kind}s now): append files of the same product, or ingest into another group"
            )
        return rows

    def to_dataset(self) -> xr.Dataset:
        """The state as it is stored, over `place`; times to the nanosecond."""
        return xr.Dataset(
            {
                "index": ("place", self.index, {"units": "1"}),
                "gain": ("place", self.gain, {"units": "1"}),
                "variance": ("place", self.variance, {"units": "1"}),
                "nanoseconds": ("place", self.time.astype("datetime64[ns]").astype(np.int64)),
            },
            coords={"place": self.place},
            attrs={"kind": self.kind, "comment": "where the recursive filter stands: read by the next append"},
        )

    @staticmethod
    def from_dataset(dataset: xr.Dataset) -> "FilterState":
        """A state from the store."""
        return FilterState(
            str(dataset.attrs["kind"]),
            dataset["place"].to_numpy().astype(np.int64),
            dataset["index"].to_numpy(),
            dataset["gain"].to_numpy(),
            dataset["variance"].to_numpy(),
            dataset["nanoseconds"].to_numpy().astype("datetime64[ns]"),
        )


def soil_water_index(
    time: Times, soil_moisture: Array, error: Array, characteristic_days: float, past: Past | None = None
) -> tuple[Array, Array, Past]:
    """SWI and its standard deviation at the times of the observations, and where the filter stands after them.

    The recursion is that of Albergel et al. (2008, HESS 12, 1323, eq. 5-6). It equals the mean of all observations up
    to then, weighted by exp(-(age)/T) (Wagner et al. 1999); their errors are taken to be independent.

    Args:
        time: increasing, after that of `past`, (n,).
        soil_moisture: in any unit, (n,), without missing values.
        error: its standard deviation, (n,).
        characteristic_days: T, days.
    """
    if characteristic_days <= 0:
        raise IngestError(
            f"the characteristic time of the soil water index must be positive, got {characteristic_days}"
        )
    before = past or Past()
    index, gain, variance, last = before.index, before.gain, before.variance, before.time
    if not len(time):
        return np.empty(0), np.empty(0), before
    moments = np.concatenate([[last], time]).astype("datetime64[ns]").astype(np.int64)
    days = np.diff(moments) / NANOSECONDS_PER_DAY
    result, deviation = [], []
    first = np.isnat(last)
    for value, sigma, interval in zip(soil_moisture.tolist(), error.tolist(), days.tolist(), strict=True):
        if first:
            index, gain, variance, first = value, 1.0, sigma**2, False
        else:
            # math.exp: one value has the same bits whether it comes alone or with others.
            gain = gain / (gain + math.exp(-interval / characteristic_days))
            index = index + gain * (value - index)
            variance = (1.0 - gain) ** 2 * variance + (gain * sigma) ** 2
        result.append(index)
        deviation.append(math.sqrt(variance))
    return np.array(result), np.array(deviation), Past(index, gain, variance, time[-1])


def soil_water_index_series(
    passes: Overpasses,
    kind: str,
    place: IntArray,
    characteristic_days: float,
    until: np.datetime64 | None = None,
    past: FilterState | None = None,
) -> tuple[Overpasses, FilterState]:
    """The soil water index at every usable observation of each place, the others are left out; the filter's state.

    Args:
        place: identifiers of the places that `passes.place` counts.
        until: observations from this instant on are left to the next append.
        past: where the filter stood: observations that it has seen, or that are older, are left out.

    Raises:
        IngestError: places that `past` does not have.
    """
    rows = None if past is None else past.rows(kind, place)
    good = passes.only(passes.quality == Quality.USED)
    good = good.only(np.lexsort((good.time, good.place)))
    if until is not None:
        good = good.only(good.time < until)
    if past is not None and rows is not None:
        good = good.only(~(good.time <= past.time[rows[good.place]]))  # NaT: nothing was seen, all is new
    value, error = np.empty_like(good.value), np.empty_like(good.value)
    borders = np.searchsorted(good.place, np.arange(len(place) + 1))
    after = []
    for number in range(len(place)):
        part = slice(borders[number], borders[number + 1])
        before = past.at(int(rows[number])) if past is not None and rows is not None else None
        value[part], error[part], now = soil_water_index(
            good.time[part], good.value[part], good.uncertainty[part], characteristic_days, before
        )
        after.append(now)
    state = FilterState(
        kind,
        place,
        np.array([item.index for item in after]),
        np.array([item.gain for item in after]),
        np.array([item.variance for item in after]),
        np.array([item.time for item in after], dtype="datetime64[ns]"),
    )
    return Overpasses(good.place, good.time, value, error, good.quality), state
