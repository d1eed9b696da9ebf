"""Random fields in space and time from a few spatial modes, the same numbers for any block of cells and any period.

A field of unit variance is sum_k (a_k cos(w_k r + p_k) + b_k sin(w_k r + p_k)) / sqrt(K) with wave vectors w_k drawn
from the spectrum of a Gaussian correlation (random Fourier features, Rahimi and Recht 2007) and amplitudes a, b that
are either drawn once or follow a first-order autoregression in time. Amplitudes belong to (seed, name, year), never to
cells; the sum over modes is made cell by cell, in one order.
"""

import functools
import zlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ldas.landmodel.array_types import Array, Days
from ldas.operators.cells import cell_ids_from_coordinates

KM_PER_DEGREE = 111.2
ORIGIN = (44.0, 1.0)  # latitude, longitude of the coordinates in km: the middle of the region
DAY = np.timedelta64(1, "D")


@dataclass(frozen=True)
class Places:
    """Latitude and longitude (degrees) of cells, arrays (cell,)."""

    latitude: Array
    longitude: Array

    def __len__(self) -> int:
        return len(self.latitude)

    @property
    def east_km(self) -> Array:
        """Distance east of the origin, km, on a plane that touches the region."""
        return KM_PER_DEGREE * float(np.cos(np.deg2rad(ORIGIN[0]))) * (self.longitude - ORIGIN[1])

    @property
    def north_km(self) -> Array:
        """Distance north of the origin, km."""
        return KM_PER_DEGREE * (self.latitude - ORIGIN[0])

    @cached_property
    def identities(self) -> tuple[int, ...]:
        """A number that belongs to each place, whatever its index in a block or a store: seeds its random numbers."""
        return tuple(int(number) for number in cell_ids_from_coordinates(self.latitude, self.longitude))


def generator(*words: int | str) -> np.random.Generator:
    """Random numbers that belong to the words."""
    entropy = [zlib.crc32(word.encode()) if isinstance(word, str) else word for word in words]
    return np.random.default_rng(np.random.SeedSequence(entropy))


@dataclass(frozen=True)
class Modes:
    """The spatial modes of one field: `pairs` cosines and sines with a correlation exp(-distance^2 / (2 length^2))."""

    seed: int
    name: str
    length_km: float
    pairs: int

    def field(self, places: Places, amplitudes: Array) -> Array:
        """Field (..., cell) from amplitudes (..., 2 pairs)."""
        random = generator(self.seed, self.name, "modes")
        waves = random.standard_normal((self.pairs, 2)) / self.length_km
        phases = random.uniform(0.0, 2.0 * np.pi, self.pairs)
        scale = 1.0 / np.sqrt(self.pairs)
        total = np.zeros((*amplitudes.shape[:-1], len(places)))
        for k in range(self.pairs):
            angle = waves[k, 0] * places.east_km + waves[k, 1] * places.north_km + phases[k]
            total += amplitudes[..., 2 * k, None] * (scale * np.cos(angle))
            total += amplitudes[..., 2 * k + 1, None] * (scale * np.sin(angle))
        return total

    def constant(self, places: Places) -> Array:
        """A field (cell,) that does not change in time."""
        return self.field(places, generator(self.seed, self.name, "constant").standard_normal(2 * self.pairs))

    def daily(self, places: Places, days: Days, persistence: tuple[float, ...]) -> Array:
        """A field (day, cell) with the given correlation from day to day, one for each calendar month."""
        years = days.astype("datetime64[Y]").astype(np.int64) + 1970
        first = days[0].astype("datetime64[D]")
        amplitudes = np.concatenate(
            [
                autoregression(self.seed, self.name, 2 * self.pairs, int(year), persistence)
                for year in range(years[0], years[-1] + 1)
            ]
        )
        skipped = int((first - first.astype("datetime64[Y]").astype("datetime64[D]")) / DAY)
        return self.field(places, amplitudes[skipped : skipped + len(days)])

    def hourly(self, places: Places, days: Days) -> Array:
        """A field (day, 24, cell) without memory from hour to hour."""
        amplitudes = np.stack([self._hours(int(day)) for day in days.astype("datetime64[D]").astype(np.int64)])
        return self.field(places, amplitudes)

    def _hours(self, day: int) -> Array:
        return generator(self.seed, self.name, "hours", day).standard_normal((24, 2 * self.pairs))


@functools.lru_cache(maxsize=256)
def autoregression(seed: int, name: str, series: int, year: int, persistence: tuple[float, ...]) -> Array:
    """Daily amplitudes (day of the year, series) of unit variance, z_t = f z_t-1 + sqrt(1 - f^2) e_t.

    Each year draws its own e_t. The recursion begins a year earlier, so that it does not depend on which years were
    asked for, and what it forgets by then is below rounding (0.9^365 = 2e-17).
    """
    drawn, factors = [], []
    for each in (year - 1, year):
        first = np.datetime64(f"{each}-01-01", "D")
        days = np.arange(first, np.datetime64(f"{each + 1}-01-01", "D"))
        drawn.append(generator(seed, name, "days", each).standard_normal((len(days), series)))
        factors.append(np.array(persistence)[days.astype("datetime64[M]").astype(np.int64) % 12])
    noise, factor = np.concatenate(drawn), np.concatenate(factors)
    state = np.empty_like(noise)
    state[0] = noise[0]
    for day in range(1, len(noise)):
        state[day] = factor[day] * state[day - 1] + np.sqrt(1.0 - factor[day] ** 2) * noise[day]
    result = state[len(drawn[0]) :]
    result.flags.writeable = False
    return result
