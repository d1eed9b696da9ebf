"""What farmers do in the nature run: harvest and rotation of crops, mowing, irrigation; dates differ from cell to cell.

A field is bare from harvest to the emergence of the next crop: whatever has grown is cleared at harvest and on every
n-th day of the year after it. C3 crops lie on two fields of each cell, with a winter crop on one and a summer crop on
the other, exchanged every year.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from ldas.landmodel.array_types import IntArray
from ldas.pipeline.settings.twin import CropConfig, ManagementConfig
from ldas.pipeline.store.ledger import day_axis
from ldas.pipeline.twin.fields import DAY, Places, generator

C3, SECOND_C3_FIELD, MAIZE, GRASS = 7, 13, (8, 9), 10


class Action(IntEnum):
    """What happens to a column at 00 UTC."""

    CLEAR = 0
    CUT = 1
    LOOK_AT_SOIL = 2


@dataclass(frozen=True)
class Event:
    """Columns to which something happens on a day."""

    action: Action
    columns: IntArray


@dataclass(frozen=True)
class Calendar:
    """Dates of the columns of some cells.

    cell: index in `places`, (column,). field: the patch, (column,), 13 for the second field of C3 crops.
    """

    settings: ManagementConfig
    words: tuple[int | str, ...]  #: seeds
    places: Places
    cell: IntArray
    field: IntArray

    def events(self, start: np.datetime64, stop: np.datetime64) -> dict[np.datetime64, list[Event]]:
        """All that happens from `start` on and before `stop`, by day."""
        days = day_axis(start, int((stop - start) / DAY)).astype("datetime64[D]")
        happens = {action: np.zeros((len(days), len(self.cell)), dtype=bool) for action in Action}
        for column, (cell, field) in enumerate(zip(self.cell, self.field, strict=True)):
            if field in (C3, SECOND_C3_FIELD, *MAIZE):
                happens[Action.CLEAR][:, column] = self._cleared(int(cell), int(field), days)
            if field == GRASS:
                happens[Action.CUT][:, column] = self._cut(int(cell), days)
            if field in MAIZE:
                happens[Action.LOOK_AT_SOIL][:, column] = self._looked_at(days)
        found: dict[np.datetime64, list[Event]] = {}
        for action, table in happens.items():
            for index in np.flatnonzero(table.any(axis=1)):
                found.setdefault(days[index], []).append(Event(action, np.flatnonzero(table[index])))
        return dict(sorted(found.items()))

    def _cleared(self, cell: int, field: int, days: npt.NDArray[np.datetime64]) -> npt.NDArray[np.bool_]:
        on_schedule = _day_of_year(days) % self.settings.clearing_interval_days == 0
        cleared = np.zeros(len(days), dtype=bool)
        first, last = _year(days[0]) - 1, _year(days[-1])
        for year in range(first, last + 1):
            here, following = self._crop(cell, field, year), self._crop(cell, field, year + 1)
            harvest = self._date(cell, field, "harvest", year, here.harvest_day, here.spread_days)
            # A crop that comes up later in the year than it is harvested was sown for the year after.
            up_in = year if following.emergence_day > here.harvest_day else year + 1
            emergence = self._date(cell, field, "emergence", up_in, following.emergence_day, following.spread_days)
            cleared |= (days == harvest) | (on_schedule & (days > harvest) & (days < emergence))
        return cleared

    def _crop(self, cell: int, field: int, year: int) -> CropConfig:
        if field in MAIZE:
            return self.settings.maize
        odd_cell = int(generator(*self.words, "rotation", self.places.identities[cell]).integers(2))
        winter = (year + odd_cell + (field == SECOND_C3_FIELD)) % 2 == 0
        return self.settings.winter_crop if winter else self.settings.summer_crop

    def _cut(self, cell: int, days: npt.NDArray[np.datetime64]) -> npt.NDArray[np.bool_]:
        cut = self.settings.grass_cut
        dates = [
            self._date(cell, GRASS, f"cut {number}", year, day, cut.spread_days)
            for year in range(_year(days[0]), _year(days[-1]) + 1)
            for number, day in enumerate(cut.days)
        ]
        return np.isin(days, np.array(dates))

    def _looked_at(self, days: npt.NDArray[np.datetime64]) -> npt.NDArray[np.bool_]:
        season, number = self.settings.irrigation, _day_of_year(days)
        inside = (number >= season.first_day) & (number <= season.last_day)
        return inside & (number % season.interval_days == 0)

    def _date(self, cell: int, field: int, what: str, year: int, day: int, spread: float) -> np.datetime64:
        """The cell's own date: the mean day moved by a normal number that belongs to place, field and year."""
        moved = generator(*self.words, what, field, year, self.places.identities[cell]).standard_normal()
        return np.datetime64(f"{year}-01-01", "D") + (day - 1 + round(spread * float(moved))) * DAY


def _year(day: np.datetime64) -> int:
    return int(day.astype("datetime64[Y]").astype(np.int64)) + 1970


def _day_of_year(days: npt.NDArray[np.datetime64]) -> IntArray:
    return (days - days.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.int64) + 1
