"""Noisy observations of a run, true or modelled: backscatter, soil water index, leaf area index, in situ soil moisture.

Each cell (each station) has random numbers of its own, that belong to its place: no result depends on the cells beside
it. An observation belongs to the instant of the day at which the run stores its states.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ldas.assim.quality import CodeArray, Quality
from ldas.assim.windows import exponential_filter
from ldas.landmodel.array_types import Array
from ldas.landmodel.constants import FREEZING_POINT
from ldas.landmodel.soil_properties import hydraulic_properties
from ldas.operators.arrays import FORMAT_VERSION
from ldas.operators.outcome import Outcome
from ldas.operators.protocol import OperatorArrays
from ldas.operators.water_cloud import PARAMETERS, WaterCloudOperator, WaterCloudOptions
from ldas.pipeline.settings.twin import ObservationConfig
from ldas.pipeline.twin.fields import DAY, Modes, Places, generator

SENSOR_DEPTH_M = 0.05
_REPEAT_CYCLE_DAYS, _CYCLE_SHIFTS = 29, 5  # Metop: ground tracks come back after 29 days
_ORBITS_PER_DAY = 14.2
_PAIRS = 16
LEAST_UNCERTAINTY_LAI = 0.02  # m2 m-2, where no leaves are seen: no product is certain of that
LARGEST_LAI = 10.0  # m2 m-2, upper end of the range of satellite products


@dataclass(frozen=True)
class Cells:
    """Cells that are observed: places, patch fractions (cell, 12), clay and sand (cell,)."""

    places: Places
    patch_fraction: Array
    clay: Array
    sand: Array


@dataclass(frozen=True)
class Observed:
    """An observation type over (time, cell), or (time, overpass, cell): values, standard deviations of errors, codes of
    ldas.assim.quality."""

    value: Array
    uncertainty: Array
    quality: CodeArray


@dataclass(frozen=True)
class Observer:
    """Makes the observations of some cells over days in a row. words: seeds of all its random numbers."""

    settings: ObservationConfig
    seed: int
    name: str
    cells: Cells
    days: npt.NDArray[np.datetime64]

    def _random(self, what: str, cell: int) -> np.random.Generator:
        return generator(self.seed, self.name, what, self.cells.places.identities[cell])

    def _normal(self, what: str) -> Array:
        """Independent normal numbers (day, cell)."""
        count = range(len(self.cells.places))
        return np.stack([self._random(what, cell).standard_normal(len(self.days)) for cell in count], axis=1)

    def _uniform(self, what: str) -> Array:
        count = range(len(self.cells.places))
        return np.stack([self._random(what, cell).random(len(self.days)) for cell in count], axis=1)

    def water_cloud(self) -> WaterCloudOperator:
        """The water cloud model of the cells, with parameters of their own."""
        config = self.settings.water_cloud
        places = self.cells.places
        parameters, total = np.zeros((len(places), len(PARAMETERS))), np.zeros((len(places), 1))
        for patch, values in config.patches.items():
            share = self.cells.patch_fraction[:, patch - 1, None]
            parameters += share * np.array([getattr(values, name) for name in PARAMETERS])
            total += share
        parameters /= total
        for index, name in enumerate(PARAMETERS):
            field = Modes(self.seed, f"{self.name} {name}", config.length_km, _PAIRS).constant(places)
            if name == "dry_soil_backscatter":
                parameters[:, index] += config.backscatter_deviation_db * field
            else:
                parameters[:, index] *= np.exp(config.relative_deviation * field)
        return _operator(parameters, np.array(places.identities, dtype=np.int64))

    def true_sigma40(self, soil_moisture: Array, leaf_area_index: Array) -> Array:
        """Backscatter without noise, dB, (day, cell)."""
        predictors = np.stack([soil_moisture.T, leaf_area_index.T], axis=-1)
        there = np.asarray(np.isfinite(predictors).all(axis=-1))  # a cell that was set aside has no states
        predicted = self.water_cloud().predict(np.where(there[..., None], predictors, 0.0))
        return np.ascontiguousarray(np.where(there, predicted, np.nan).T)

    def covered(self, overpass: int | None = None) -> npt.NDArray[np.bool_]:
        """Days on which a cell is seen by the scatterometer, (day, cell); or by one of the day's overpasses."""
        config = self.settings.sigma40
        number = self.days.astype("datetime64[D]").astype(np.int64)
        # The swaths move from day to day and come back after a cycle; a cell in the gap between two is not seen.
        turn = number[:, None] * (_CYCLE_SHIFTS / _REPEAT_CYCLE_DAYS)
        # Those that fly north and those that fly south lie half a gap apart.
        turn = turn + 0.5 * (overpass or 0)
        phase = (turn + self.cells.places.longitude * (_ORBITS_PER_DAY / 360.0)) % 1.0
        kept = self._uniform(_of_overpass("sigma40 lost", overpass)) >= config.lost_share
        return np.asarray((phase < config.swath_share) & kept)

    def sigma40(self, run: Mapping[str, Array]) -> Observed:
        """Backscatter, dB, (day, cell)."""
        noise = self.settings.sigma40.noise_db
        value = self.true_sigma40(run["WG2"], run["LAI"]) + noise * self._normal("sigma40 noise")
        return _seen(value, np.full(value.shape, noise), self.covered(), unreliable(run))

    def sigma40_at_overpasses(self, run: Mapping[str, Array]) -> Observed:
        """Backscatter at each overpass of a day, dB, (day, overpass, cell), from states of the same shape.

        Each has noise, and days on which it sees a cell, of its own.
        """
        noise, parts = self.settings.sigma40.noise_db, []
        for overpass in range(len(self.settings.sigma40.overpass_hours)):
            states = {name: values[:, overpass] for name, values in run.items()}
            error = noise * self._normal(_of_overpass("sigma40 noise", overpass))
            value = self.true_sigma40(states["WG2"], states["LAI"]) + error
            parts.append(_seen(value, np.full(value.shape, noise), self.covered(overpass), unreliable(states)))
        values, uncertainties, codes = (
            np.stack([getattr(part, name) for part in parts], axis=1) for name in ("value", "uncertainty", "quality")
        )
        return Observed(values, uncertainties, codes)

    def swi(self, run: Mapping[str, Array]) -> Observed:
        """Soil water index, 0 to 1, from surface wetness on the days of backscatter, (day, cell)."""
        config = self.settings.swi
        soil = hydraulic_properties(self.cells.clay[:, None], self.cells.sand[:, None], "CH78")
        driest, wettest = 0.5 * soil["wilting_point"][:, 0], soil["porosity"][:, 0]
        wetness = (run["WG2"] - driest) / (wettest - driest) + config.noise * self._normal("swi noise")
        hidden = unreliable(run)
        seen = self.covered()
        filtered = exponential_filter(
            np.where(seen & ~hidden, np.clip(wetness, 0.0, 1.0), np.nan),
            (self.days.astype("datetime64[D]") - self.days[0].astype("datetime64[D]")).astype(np.float64),
            config.time_constant_days,
        )
        return _seen(filtered, np.full(filtered.shape, config.noise), seen, hidden)

    def lai(self, run: Mapping[str, Array]) -> Observed:
        """Leaf area index, m2 m-2, on `lai_days`."""
        config, days = self.settings.lai, lai_days(self.days)
        value = run["LAI"] * (1.0 + config.relative_error * self._normal("lai noise"))
        value = np.clip(value, 0.0, LARGEST_LAI)[days]
        seen = self._uniform("lai lost")[days] >= config.missing_share
        uncertainty = np.maximum(config.relative_error * value, LEAST_UNCERTAINTY_LAI)
        return _seen(value, uncertainty, seen, np.zeros(value.shape, dtype=bool))

    def station(self, code: str, cell: int, run: Mapping[str, Array]) -> Array:
        """Soil moisture at a station, m3 m-3, (day,): the cell's around 5 cm, with its own gain, offset and noise."""
        config = self.settings.insitu
        random = generator(self.seed, self.name, "station", code)
        gain = float(np.exp(config.gain_deviation * random.standard_normal()))
        offset = config.offset_deviation * float(random.standard_normal())
        noise = config.noise * random.standard_normal(len(self.days))
        below = run["WG3"][:, cell] if "WG3" in run else run["WG2"][:, cell]
        moisture = 0.5 * (run["WG2"][:, cell] + below)
        soil = hydraulic_properties(
            self.cells.clay[cell : cell + 1, None], self.cells.sand[cell : cell + 1, None], "CH78"
        )
        wettest, driest = float(soil["porosity"][0, 0]), float(soil["wilting_point"][0, 0])
        middle = 0.5 * (wettest + driest)
        value = middle + gain * (moisture - middle) + offset + noise
        # A probe in soil shows neither less than almost dry nor more than the pores hold.
        return np.asarray(np.clip(value, 0.02, wettest))


def _of_overpass(what: str, overpass: int | None) -> str:
    """Name of a random series; those of an overpass are its own."""
    return what if overpass is None else f"{what} {overpass}"


def lai_days(days: npt.NDArray[np.datetime64]) -> npt.NDArray[np.int64]:
    """Indices of the days on which leaf area index is observed: the 10th, the 20th and the last of a month."""
    day, month = days.astype("datetime64[D]"), days.astype("datetime64[M]")
    of_month = (day - month.astype("datetime64[D]")).astype(np.int64) + 1
    return np.flatnonzero(np.isin(of_month, (10, 20)) | ((day + DAY).astype("datetime64[M]") != month))


def unreliable(run: Mapping[str, Array]) -> npt.NDArray[np.bool_]:
    """Days with snow or frozen soil (day, cell), which a producer would flag; from what the run has of it."""
    flagged = np.zeros(run["WG2"].shape, dtype=bool)
    for name, limit in (("SWE", 0.0), ("WGI2", 0.0)):
        if name in run:
            flagged |= run[name] > limit
    return flagged | (run["TG2"] < FREEZING_POINT) if "TG2" in run else flagged


def _seen(value: Array, uncertainty: Array, seen: npt.NDArray[np.bool_], flagged: npt.NDArray[np.bool_]) -> Observed:
    quality = np.where(flagged, Quality.MASKED_PRODUCT_FLAG, Quality.USED)
    quality = np.where(seen & np.isfinite(value), quality, Quality.MISSING).astype(np.int8)
    there = quality != Quality.MISSING
    return Observed(np.where(there, value, np.nan), np.where(there, uncertainty, np.nan), quality)


def _operator(parameters: Array, identities: npt.NDArray[np.int64]) -> WaterCloudOperator:
    """A water cloud operator with given parameters (cell, 4)."""
    cells = len(identities)
    options = WaterCloudOptions()
    return WaterCloudOperator.from_arrays(
        OperatorArrays(
            WaterCloudOperator.KIND,
            {
                "cell_ids": identities,
                "outcome": np.full(cells, Outcome.TRAINED, dtype=np.int8),
                "parameters": parameters,
                "training_count": np.zeros(cells, dtype=np.int64),
                "training_rmsd": np.zeros(cells),
            },
            {},
            {
                "format_version": FORMAT_VERSION,
                "predictor_names": ["WG2", "LAI"],
                "output_name": "sigma40",
                "parameter_names": list(PARAMETERS),
                "options": {
                    **{name: list(getattr(options, name)) for name in PARAMETERS},
                    "incidence_angle": options.incidence_angle,
                    "minimum_samples": options.minimum_samples,
                },
                "reasons": {},
            },
        )
    )
