"""The nature run: the same land model with other options, soils, plants and weather, and with farmers in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import xarray as xr

from ldas import landmodel
from ldas.landmodel import Forcing, Isba, Options, OutputRequest, Parameters, State
from ldas.landmodel.array_types import Array, IntArray
from ldas.landmodel.vegetation_table import VEGETATION_OF_PATCH, vegetation_table
from ldas.pipeline.forcing import physics
from ldas.pipeline.settings.land_options import model_options
from ldas.pipeline.settings.twin import IrrigationConfig, NatureConfig
from ldas.pipeline.twin.daily_weather import Variation
from ldas.pipeline.twin.fields import DAY, Modes, Places
from ldas.pipeline.twin.management import C3, MAIZE, SECOND_C3_FIELD, Action, Calendar

FIELDS = 13  # the model's twelve patches, and the second field of C3 crops
_PAIRS = 24
_SECONDS_PER_RECORD = 3600
_RECORDS_PER_DAY = 24
WATER_DENSITY = 1000.0  # kg m-3
# Where the land model keeps the values that nature changes.
_PARAMETER_FIELDS = {"GMES": "mesophyll_conductance", "BSLAI_NITRO": "leaf_biomass_ratio", "SEFOLD": "senescence_time"}


def forcing_variation(nature: NatureConfig) -> Variation:
    """Nature's weather beside that of the forcing."""
    return Variation(f"nature {nature.seed} weather", nature.forcing_correlation.model_dump())


@dataclass(frozen=True)
class Nature:
    """Columns of nature in some cells, ready to run.

    field: (column,) the patch, or 13 for the second field of C3 crops (see `management`).
    """

    settings: NatureConfig
    parameters: Parameters
    field: IntArray
    calendar: Calendar
    step_s: int

    @property
    def irrigated(self) -> IntArray:
        """Columns that are watered, each with a forcing of its own."""
        return np.flatnonzero(np.isin(self.parameters.patch, MAIZE))

    def options(self) -> Options:
        """Options of nature's land model."""
        return model_options(self.settings.options)

    def cold_start(self, weather: Mapping[str, Array]) -> State:
        """The state before the spin-up."""
        # NumPy adds up a single column in another order than several side by side: one cell at a time, then.
        mean = np.array([series.mean() for series in np.ascontiguousarray(weather["Tair"].T)])
        return landmodel.cold_start(self.parameters, mean[self.parameters.cell])

    def run(
        self,
        state: State,
        weather: Mapping[str, Array],
        start: np.datetime64,
        stop: np.datetime64,
        output: OutputRequest | None = None,
        overpass_hours: Sequence[float] = (),
    ) -> tuple[State, dict[str, Array]]:
        """Runs from `start` to `stop` (00 UTC); weather (record, cell) begins at `start`.

        Returns:
            The state and name -> (day, column[, layer]) of the requested daily output; what is requested `at` the
            overpass hours (UTC) of every day, (day x hour, column[, layer]).
        """
        forcing = self._with_irrigated_cells(weather)
        columns = self.parameters._replace(cell=self._forcing_cell(weather))
        model = Isba(columns, self.options())
        bare = landmodel.cold_start(self.parameters)
        events = self.calendar.events(start, stop)
        first, last = start.astype("datetime64[D]"), stop.astype("datetime64[D]")
        edges = sorted({first, *events, last})
        parts: list[dict[str, Array]] = []
        for day, following in pairwise(edges):
            for event in events.get(day, []):
                if event.action is Action.CLEAR:
                    state = cleared(state, bare, event.columns)
                elif event.action is Action.CUT:
                    state = cut(state, self.parameters, event.columns, self.settings.management.grass_cut.part_left)
                else:
                    self._irrigate(state, forcing, event.columns, _RECORDS_PER_DAY * int((day - first) / DAY))
            begin, end = (_RECORDS_PER_DAY * int((edge - first) / DAY) for edge in (day, following))
            if output is not None and output.at:
                steps = self._steps_of_hours(overpass_hours, int((following - day) / DAY))
                output = replace(output, at_steps=steps)
            state, outputs = model.run(
                state,
                Forcing(**{name: values[begin : end + 1] for name, values in forcing.items()}),
                start=day.astype("datetime64[s]"),
                step_s=self.step_s,
                steps=(end - begin) * _SECONDS_PER_RECORD // self.step_s,
                output=output,
            )
            parts.append(outputs)
        return state, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _steps_of_hours(self, hours: Sequence[float], days: int) -> IntArray:
        """The model steps (column, day x hour) nearest to hours of each day."""
        seconds = 3600.0 * (24.0 * np.arange(days)[:, None] + np.asarray(hours))
        steps = np.floor(seconds.ravel() / self.step_s + 0.5).astype(np.int64)
        return np.broadcast_to(steps, (self.parameters.columns, steps.size))

    def _with_irrigated_cells(self, weather: Mapping[str, Array]) -> dict[str, Array]:
        """The weather, with a copy of its cell behind it for every watered column."""
        cells = self.parameters.cell[self.irrigated]
        return {name: np.concatenate([values, values[:, cells]], axis=1) for name, values in weather.items()}

    def _forcing_cell(self, weather: Mapping[str, Array]) -> IntArray:
        cell = self.parameters.cell.copy()
        cell[self.irrigated] = weather["Tair"].shape[1] + np.arange(len(self.irrigated))
        return cell

    def _irrigate(self, state: State, forcing: dict[str, Array], columns: IntArray, record: int) -> None:
        """Waters the columns that have become dry, in the hours of the day that begins at `record`."""
        season = self.settings.management.irrigation
        dry = columns[available_water(self.parameters, state, season.depth_m)[columns] < season.below]
        cells = forcing["Tair"].shape[1] - len(self.irrigated) + np.searchsorted(self.irrigated, dry)
        rate = season.amount_kg_m2 / (season.hours * physics.SECONDS_PER_HOUR)
        for hour in _hours(season):
            forcing["Rainf"][record + hour, cells] += rate


def _hours(season: IrrigationConfig) -> range:
    """Records, after the day's first, that end an hour with water."""
    return range(season.first_hour_utc + 1, season.first_hour_utc + season.hours + 1)


def make_nature(nature: NatureConfig, seed: int, land: xr.Dataset, step_s: int) -> Nature:
    """Nature in the cells of the group `land`.

    Args:
        seed: the experiment's.
    """
    places = Places(land["latitude"].to_numpy().astype(np.float64), land["longitude"].to_numpy().astype(np.float64))
    fraction = _cover(nature, seed, land, places)
    second = nature.management.second_field_share
    whole = np.concatenate([fraction, second * fraction[:, C3 - 1 : C3]], axis=1)
    whole[:, C3 - 1] *= 1.0 - second
    cell, index = np.nonzero(whole)
    field = index + 1
    patch = np.where(field == SECOND_C3_FIELD, C3, field)
    vegetation = [VEGETATION_OF_PATCH[number - 1] for number in patch]
    clay, sand = _texture(nature, seed, land, places)
    options = model_options(nature.options)

    def build(overrides: Mapping[str, Array]) -> Parameters:
        return landmodel.columns(
            vegetation, cell, patch, whole[cell, index], clay[cell], sand[cell], places.latitude[cell],
            places.longitude[cell], options, overrides,
        )  # fmt: skip

    usual = build({})
    given: dict[str, Array] = {}
    for error in nature.parameters:
        if error.name not in given:
            given[error.name] = _usual_values(error.name, usual, vegetation)
        modes = Modes(seed, f"nature {nature.seed} {error.name} {error.patches}", error.length_km, _PAIRS)
        factor = error.factor * np.exp(error.deviation * modes.constant(places))[cell]
        given[error.name] = np.where(np.isin(patch, error.patches), given[error.name] * factor, given[error.name])
    calendar = Calendar(nature.management, (seed, "nature", nature.seed), places, cell, field)
    return Nature(nature, build(given), field, calendar, step_s)


def _usual_values(name: str, usual: Parameters, vegetation: list[str]) -> Array:
    if name in _PARAMETER_FIELDS:
        return np.array(getattr(usual, _PARAMETER_FIELDS[name]))
    return np.array([vegetation_table()[code][name] for code in vegetation])


def _cover(nature: NatureConfig, seed: int, land: xr.Dataset, places: Places) -> Array:
    """Patch fractions of nature, (cell, 12)."""
    fraction = land["patch_fraction"].to_numpy().astype(np.float64)
    for patch in range(1, fraction.shape[1] + 1):
        modes = Modes(seed, f"nature {nature.seed} cover {patch}", nature.cover.length_km, _PAIRS)
        fraction[:, patch - 1] *= np.exp(nature.cover.deviation * modes.constant(places))
    return fraction / fraction.sum(axis=1, keepdims=True)


def _texture(nature: NatureConfig, seed: int, land: xr.Dataset, places: Places) -> tuple[Array, Array]:
    parts = []
    for name, error in (("clay", nature.clay), ("sand", nature.sand)):
        modes = Modes(seed, f"nature {nature.seed} {name}", error.length_km, _PAIRS)
        value = land[name].to_numpy().astype(np.float64) + error.deviation * modes.constant(places)
        parts.append(np.maximum(value, 0.03))  # the pedotransfer functions know no soil without clay or sand
    excess = np.maximum((parts[0] + parts[1]) / 0.95, 1.0)  # 5 % silt at least
    return parts[0] / excess, parts[1] / excess


def cleared(state: State, bare: State, columns: IntArray) -> State:
    """The state with the plants of some columns replaced by those of `bare`, where they are larger than these."""
    chosen = columns[state.leaf_area_index[columns] > bare.leaf_area_index[columns]]
    leaves, biomass = state.leaf_area_index.copy(), state.biomass.copy()
    leaves[chosen] = bare.leaf_area_index[chosen]
    biomass[chosen] = np.minimum(biomass[chosen], bare.biomass[chosen])
    return state._replace(leaf_area_index=leaves, biomass=biomass)


def cut(state: State, parameters: Parameters, columns: IntArray, part_left: float) -> State:
    """The state with a part of leaves and stems of some columns taken away, down to the least leaf area at most."""
    before = state.leaf_area_index[columns]
    after = np.minimum(before, np.maximum(part_left * before, parameters.minimum_lai[columns]))
    leaves, biomass = state.leaf_area_index.copy(), state.biomass.copy()
    leaves[columns] = after
    biomass[columns] *= (after / before)[:, None]
    return state._replace(leaf_area_index=leaves, biomass=biomass)


def available_water(parameters: Parameters, state: State, depth_m: float) -> Array:
    """Water above the wilting point in the upper soil, as a part of that at field capacity, (column,)."""
    bottom = parameters.soil("layer_bottom")
    thickness = np.diff(np.minimum(bottom, depth_m), axis=1, prepend=0.0)
    wilting, capacity = parameters.soil("wilting_point"), parameters.soil("field_capacity")
    held = ((state.soil_water + state.soil_ice - wilting) * thickness).sum(axis=1)
    return np.asarray(held / ((capacity - wilting) * thickness).sum(axis=1))
