"""Monthly statistics of daily weather at any place, from two real records (tables/monthly_statistics.csv)."""

import csv
import functools
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from ldas.landmodel.array_types import Array, Days
from ldas.pipeline.twin.fields import Places

WET_DAY = 1.0  # kg m-2, the usual threshold of climatology
STEFAN_BOLTZMANN = 5.670508538e-8  # W m-2 K-4, SURFEX's
ATLANTIC, MEDITERRANEAN = "caumont", "puechabon"
SITE_ELEVATION = {ATLANTIC: 113.0, MEDITERRANEAN: 270.0}  # m, as in the header of the table
LAPSE_RATE = 0.0055  # K m-1, mean of the Pyrenees and the Massif Central
RAIN_PER_KM = 0.4  # part by which rain on wet days grows with each km of elevation
GRAVITY, DRY_AIR = 9.80665, 287.0597  # m s-2, J kg-1 K-1


@functools.cache
def _table() -> dict[tuple[str, str], Array]:
    """(site, statistic) -> (12,) values by month."""
    text = files("ldas.pipeline.twin").joinpath("tables/monthly_statistics.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
    sites = {row["site"]: sorted((r for r in rows if r["site"] == row["site"]), key=_month) for row in rows}
    names = [name for name in rows[0] if name not in ("site", "month")]
    return {(site, name): np.array([float(r[name]) for r in of]) for site, of in sites.items() for name in names}


def _month(row: dict[str, str]) -> int:
    return int(row["month"])


def by_month(site: str, name: str) -> Array:
    """A statistic of a site, (12,)."""
    return _table()[site, name]


def persistence(name: str) -> tuple[float, ...]:
    """Correlation from day to day of the normal variable behind a quantity, (12,).

    Rain has one for each month; the other quantities one for all, because a single year says too little about months.
    Both records count by their days. Of temperature and humidity, which are made of that of clearness and one of their
    own, it is the correlation of their own.
    """
    days = np.stack([by_month(site, "days") for site in SITE_ELEVATION])
    values = np.stack([np.maximum(by_month(site, f"{name}_persistence"), 0.0) for site in SITE_ELEVATION])
    if name == "wet":
        return tuple((values * days).sum(axis=0) / days.sum(axis=0))
    whole = float((values * days).sum() / days.sum())
    if name in ("temperature", "humidity"):
        correlation = np.stack([by_month(site, f"correlation_{name}_clearness") for site in SITE_ELEVATION])
        shared = float((correlation**2 * days).sum() / days.sum())
        whole = (whole - shared * persistence("clearness")[0]) / (1.0 - shared)
    return (whole,) * 12


@dataclass(frozen=True)
class Climate:
    """Monthly statistics at some places: a weighted mean of the two records, carried to the places' elevation.

    mediterranean: weight of the second record, (cell,) 0..1. elevation: m, (cell,).
    """

    places: Places
    elevation: Array
    mediterranean: Array

    def monthly(self, name: str) -> Array:
        """A statistic as it stands in the table, (12, cell)."""
        return self._mixed(by_month(ATLANTIC, name), by_month(MEDITERRANEAN, name))

    def in_month(self, name: str, days: Days) -> Array:
        """A statistic on each day, the same through a month, (day, cell)."""
        return self.monthly(name)[month_of(days)]

    def through_year(self, name: str, days: Days) -> Array:
        """A statistic on each day, linear between the middles of months, with the table's monthly means (day, cell)."""
        nodes = self._mixed(*(_middle_values(by_month(site, name)) for site in (ATLANTIC, MEDITERRANEAN)))
        month = days.astype("datetime64[M]")
        length = ((month + 1).astype("datetime64[D]") - month.astype("datetime64[D]")).astype(np.float64)
        of_month = ((days.astype("datetime64[D]") - month.astype("datetime64[D]")).astype(np.float64) + 0.5) / length
        before = (month_of(days) - (of_month < 0.5)) % 12
        weight = ((of_month - 0.5) % 1.0)[:, None]
        return (1.0 - weight) * nodes[before] + weight * nodes[(before + 1) % 12]

    def above_records(self) -> Array:
        """Height above the (mixed) height of the records, m, (cell,)."""
        site = (
            self.mediterranean * SITE_ELEVATION[MEDITERRANEAN] + (1.0 - self.mediterranean) * SITE_ELEVATION[ATLANTIC]
        )
        return self.elevation - site

    def temperature(self, days: Days) -> Array:
        """Mean air temperature, K, (day, cell)."""
        return self.through_year("temperature", days) - LAPSE_RATE * self.above_records()

    def temperature_deviation(self, days: Days) -> Array:
        """Standard deviation of daily temperature about its course through the year, K, (day, cell).

        The table's is that about the month's mean; what the course alone spreads within a month is taken off.
        """
        nodes = self._mixed(*(_middle_values(by_month(site, "temperature")) for site in (ATLANTIC, MEDITERRANEAN)))
        change = 0.5 * (np.roll(nodes, -1, axis=0) - np.roll(nodes, 1, axis=0))
        about_mean = self.monthly("temperature_deviation")
        # At least half of the record's: a straight course through the month is itself an approximation.
        left = np.maximum(about_mean**2 - change**2 / 12.0, (0.5 * about_mean) ** 2)
        return np.sqrt(left)[month_of(days)]

    def pressure(self, days: Days) -> Array:
        """Mean surface pressure, Pa, (day, cell): hydrostatic from the height of the records."""
        height = self.above_records()
        middle = self.temperature(days) + 0.5 * LAPSE_RATE * height
        return self.through_year("pressure", days) * np.exp(-GRAVITY * height / (DRY_AIR * middle))

    def wet_amount(self, days: Days) -> Array:
        """Mean precipitation of a wet day, kg m-2, (day, cell)."""
        # Half to twice the record: the linear growth with height holds for the heights of this region only.
        factor = np.clip(1.0 + RAIN_PER_KM * self.above_records() / 1000.0, 0.5, 2.0)
        return self.in_month("wet_amount", days) * factor

    def _mixed(self, atlantic: Array, mediterranean: Array) -> Array:
        weight = self.mediterranean
        return (1.0 - weight) * atlantic[:, None] + weight * mediterranean[:, None]


def month_of(days: Days) -> npt.NDArray[np.int64]:
    """Index of the calendar month, 0..11."""
    return days.astype("datetime64[M]").astype(np.int64) % 12


def _middle_values(means: Array) -> Array:
    """Values at mid-month between which straight lines have the given means (months taken as equally long)."""
    lines = 0.75 * np.eye(12) + 0.125 * (np.roll(np.eye(12), 1, axis=0) + np.roll(np.eye(12), -1, axis=0))
    return np.asarray(np.linalg.solve(lines, means), dtype=np.float64)
