"""Site cases as columns of the land model: several sites with one time axis run in one call.

Each site is a cell, each of its vegetation types a column of that cell. A run goes through segments of some days, so
that results of any length are handled piece by piece.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ldas import landmodel
from ldas.landmodel.array_types import Array
from ldas.landmodel.state import validate_state
from ldas.landmodel.thermodynamics import air_density
from ldas.pipeline.errors import ConfigurationError
from ldas.pipeline.forcing.analytic import analytic_forcing
from ldas.pipeline.forcing.check import FORCING_NAMES
from ldas.pipeline.forcing.read import TimedForcing, check_forcing, land_forcing, read_forcing
from ldas.pipeline.settings.land_options import model_options
from ldas.pipeline.site.case import SECONDS_PER_DAY, STATE_FIELDS, SiteCase, Values, utc
from ldas.pipeline.store.arrays import open_lazily, open_store

Outputs = dict[str, Array]

# Patch of each vegetation type of SURFEX (vegtype_to_patch.F90).
PATCH_OF_TYPE = {
    **{"NO": 1, "ROCK": 2, "SNOW": 3, "TEBD": 4, "BONE": 5, "TRBE": 6, "C3": 7, "C4": 8, "IRR": 9, "GRAS": 10},
    **{"TROG": 11, "PARK": 12, "TRBD": 4, "TEBE": 4, "TENE": 5, "BOBD": 4, "BOND": 5, "BOGR": 10, "SHRB": 4},
}


class Segment(NamedTuple):
    """Results of a part of a run: outputs (interval, column[, layer]) of the intervals from `first_interval` on."""

    first_interval: int
    outputs: Outputs
    state: landmodel.State


class ColumnRun(NamedTuple):
    """What a run needs: the columns of one or more sites with equal options, times and forcing interval."""

    cases: tuple[SiteCase, ...]
    parameters: landmodel.Parameters
    state: landmodel.State
    options: landmodel.Options
    forcing: TimedForcing

    def columns_of(self, site: int) -> npt.NDArray[np.intp]:
        """Indices of the columns of a site, in the order of its vegetation types."""
        return np.flatnonzero(self.parameters.cell == site)

    def segments(
        self, request: landmodel.OutputRequest, days: Sequence[int], threads: int = 1, *, allow_nonfinite: bool = False
    ) -> Iterator[Segment]:
        """Runs through segments of the given numbers of days, one after the other, from the initial state.

        allow_nonfinite: columns whose state is no longer finite stay so, instead of an error.

        A forcing that repeats starts again at its first record; its record after the loop serves as the end of the last
        interval only.
        """
        model = landmodel.Isba(self.parameters, self.options)
        loop = self.cases[0].forcing.records_per_loop
        intervals_per_day = SECONDS_PER_DAY // self.forcing.step_s
        step_s = self.cases[0].time_step_s
        state, interval, done = self.state, self._first_interval(), 0
        for intervals in _within_loops([count * intervals_per_day for count in days], interval, loop):
            first = interval if loop is None else interval % loop
            records = slice(first, first + intervals + 1)
            state, outputs = model.run(
                state,
                landmodel.Forcing(*(np.asarray(values)[records] for values in self.forcing.forcing)),
                start=self.cases[0].start_time + np.timedelta64(done * self.forcing.step_s, "s"),
                step_s=step_s,
                steps=intervals * self.forcing.step_s // step_s,
                forcing_step_s=self.forcing.step_s,
                output=request,
                threads=threads,
                allow_nonfinite=allow_nonfinite,
            )
            yield Segment(round(done * self.forcing.step_s / request.interval_s), outputs, state)
            interval += intervals
            done += intervals

    def _first_interval(self) -> int:
        seconds = int((self.cases[0].start_time - self.forcing.start).astype(np.int64))
        return seconds // self.forcing.step_s


def _within_loops(lengths: Sequence[int], first: int, loop: int | None) -> Iterator[int]:
    """The lengths (intervals), cut where the forcing starts again."""
    position = first
    for length in lengths:
        end = position + length
        while position < end:
            stop = end if loop is None else min(end, (position // loop + 1) * loop)
            yield stop - position
            position = stop


def prepare(cases: Sequence[SiteCase]) -> ColumnRun:
    """Reads and checks the forcing, and builds parameters and initial state of the columns.

    The cases must agree in options, start, days, time step and the times of their forcing.

    Raises:
        ForcingError: a forcing that cannot be read or is not plausible.
        ConfigurationError: cases that do not agree, or a forcing that does not cover the run.
        LandModelError: parameters or an initial state that cannot be run.
    """
    forcings: dict[tuple[object, ...], TimedForcing] = {}
    timed = []
    for case in cases:
        key = (case.forcing, case.latitude, case.longitude, case.days, case.accept)
        if key not in forcings:
            forcings[key] = site_forcing(case)
        timed.append(forcings[key])
    for case, forcing in zip(cases, timed, strict=True):
        _check_times(case, forcing)
    options = model_options(cases[0].options)
    parts = [_site_columns(cases[site], site, timed[site], options) for site in range(len(cases))]
    joined = landmodel.Forcing(
        *(np.concatenate(arrays, axis=1) for arrays in zip(*(one.forcing for one in timed), strict=True))
    )
    return ColumnRun(
        tuple(cases),
        _joined_parameters([parameters for parameters, _ in parts]),
        landmodel.State(*(np.concatenate(fields) for fields in zip(*(state for _, state in parts), strict=True))),
        options,
        TimedForcing(joined, timed[0].start, timed[0].step_s),
    )


def with_parameters(case: SiteCase, given: Mapping[str, float]) -> SiteCase:
    """The case with other parameters (by SURFEX name), for all of its vegetation types."""
    by_type = {
        name: own.model_copy(
            update={"parameters": {key: value for key, value in own.parameters.items() if key not in given}}
        )
        for name, own in case.by_type.items()
    }
    return case.model_copy(update={"parameters": {**case.parameters, **given}, "by_type": by_type})


def prepare_members(case: SiteCase, forcing: TimedForcing, members: Sequence[Mapping[str, float]]) -> ColumnRun:
    """The same site with other parameters in every member: its columns, member after member, in one cell.

    Args:
        case: The site.
        forcing: That of the case (`site_forcing`).
        members: Parameters by SURFEX name.

    Raises:
        ConfigurationError: a forcing that does not cover the run.
        LandModelError: parameters or an initial state that cannot be run.
    """
    _check_times(case, forcing)
    options = model_options(case.options)
    parts = [_site_columns(with_parameters(case, given), 0, forcing, options) for given in members]
    return ColumnRun(
        (case,),
        _joined_parameters([parameters for parameters, _ in parts]),
        landmodel.State(*(np.concatenate(fields) for fields in zip(*(state for _, state in parts), strict=True))),
        options,
        forcing,
    )


def site_forcing(case: SiteCase) -> TimedForcing:
    """The checked forcing of a case, one cell."""
    source = case.forcing
    if source.store is not None:
        stored = open_lazily(open_store(source.store), "forcing")
        north, east = (stored[name].to_numpy() for name in ("latitude", "longitude"))
        apart = (east - case.longitude + 180.0) % 360.0 - 180.0
        nearest = int(np.argmin(np.hypot(north - case.latitude, np.cos(np.radians(case.latitude)) * apart)))
        dataset = stored[list(FORCING_NAMES)].isel(cell=[nearest]).load()
        check_forcing(dataset, case.latitude, case.longitude, source=f"forcing of {source.store}", accept=case.accept)
        return land_forcing(dataset)
    if source.file is None:
        steps = case.days * SECONDS_PER_DAY // 1800 if source.records_per_loop is None else source.records_per_loop
        return analytic_forcing(steps, snow=source.formula == "snow")
    dataset = read_forcing(
        source.file,
        start=None if source.first_record is None else utc(source.first_record),
        step_s=source.step_s,
        co2=source.co2_kg_m3,
        surface_pressure=source.surface_pressure_pa,
        snowfall=source.snowfall,
        valid_range=source.valid_range,
    )
    check_forcing(dataset, case.latitude, case.longitude, source=str(source.file), accept=case.accept)
    return land_forcing(dataset)


def _check_times(case: SiteCase, forcing: TimedForcing) -> None:
    if forcing.step_s % case.time_step_s or SECONDS_PER_DAY % forcing.step_s:
        raise ConfigurationError(
            f"{case.name}: time_step_s {case.time_step_s} must divide the forcing interval of {forcing.step_s} s, and "
            "that must divide a day"
        )
    loop = case.forcing.records_per_loop
    covered = forcing.intervals if loop is None else loop
    end = forcing.start + np.timedelta64(forcing.intervals * forcing.step_s, "s")
    if loop is not None and loop > forcing.intervals:
        raise ConfigurationError(
            f"{case.name}: records_per_loop {loop} needs {loop + 1} forcing records, there are {forcing.intervals + 1}"
        )
    offset = int((case.start_time - forcing.start).astype(np.int64))
    last = offset + (case.days * SECONDS_PER_DAY if loop is None else 0)
    if offset < 0 or offset % forcing.step_s or last > covered * forcing.step_s:
        raise ConfigurationError(
            f"{case.name}: the run from {case.start_time} over {case.days} day(s) must lie inside the forcing, which "
            f"has records from {forcing.start} to {end} every {forcing.step_s} s"
        )


def _site_columns(
    case: SiteCase, site: int, forcing: TimedForcing, options: landmodel.Options
) -> tuple[landmodel.Parameters, landmodel.State]:
    """Parameters and initial state of one site's columns."""
    types = list(case.fractions)
    shares = list(case.fractions.values())
    parameters, states = [], []
    for number, vegetation in enumerate(types):
        settings = case.settings(vegetation)
        try:
            # All columns of the site at once, because the soil albedo depends on the vegetated share of the cell; then
            # the one that these settings belong to.
            own = landmodel.columns(
                vegetation=types,
                cell=[site] * len(types),
                patch=[PATCH_OF_TYPE.get(name, 1) for name in types],
                fraction=shares,
                clay=case.clay,
                sand=case.sand,
                latitude=case.latitude,
                longitude=case.longitude,
                options=options,
                overrides={
                    name: _for_every_column(value, len(types))
                    for name, value in settings.parameters.items()
                    if value is not None
                },
                air_height=case.forcing.temperature_height_m,
                wind_height=case.forcing.wind_height_m,
                cell_size_km=case.cell_size_km,
                reference_co2=_first_co2(forcing, case.forcing.temperature_height_m),
            ).take(slice(number, number + 1))
            states.append(_initial_state(own, settings.initial_state, forcing))
        except landmodel.LandModelError as error:
            raise ConfigurationError(f"{case.name}, vegetation type {vegetation}: {error}") from error
        parameters.append(own)
    return _joined_parameters(parameters), landmodel.State(
        *(np.concatenate(fields) for fields in zip(*states, strict=True))
    )


def _first_co2(forcing: TimedForcing, height: float) -> float:
    """CO2 mixing ratio (kg kg-1) of the first record: SURFEX takes the leaf's optimal assimilation with it."""
    first = {name: float(np.asarray(values)[0, 0]) for name, values in forcing.forcing._asdict().items()}
    return first["CO2air"] / air_density(first["Tair"], first["Qair"], first["PSurf"], height)


def _initial_state(
    parameters: landmodel.Parameters, given: Mapping[str, Values], forcing: TimedForcing
) -> landmodel.State:
    """Cold start of one column, with the given values (by SURFEX name) in it."""
    mean_temperature = float(np.mean(np.asarray(forcing.forcing.Tair)))
    lai = given.get("LAI")
    state = landmodel.cold_start(parameters, mean_temperature, leaf_area_index=None if lai is None else _numbers(lai))
    for name, value in given.items():
        if value is None:
            continue
        field = getattr(state, STATE_FIELDS[name])
        target = field.reshape(-1)
        values = _numbers(value)
        if values.size == 1:
            values = np.full(target.size, values[0])
        if values.size > target.size:
            raise ConfigurationError(f"initial_state {name}: {values.size} values, expected at most {target.size}")
        if name in ("WG", "WGI"):
            # Below its moisture column a soil carries no water, whatever is given there.
            values[int(parameters.moist_layers[0]) :] = 0.0
        given_here = np.flatnonzero(np.isfinite(values))
        target[given_here] = values[given_here]
    validate_state(state, parameters)
    return state


def _numbers(value: float | tuple[float | None, ...]) -> Array:
    """One or more numbers of a case file as an array; null is NaN."""
    return np.array(value if isinstance(value, tuple) else (value,), dtype=np.float64)


def _for_every_column(value: float | tuple[float | None, ...], count: int) -> Array:
    """A parameter, (column,) or (column, layer)."""
    numbers = _numbers(value)
    return np.full(count, numbers[0]) if numbers.size == 1 else np.tile(numbers, (count, 1))


def _joined_parameters(parts: Sequence[landmodel.Parameters]) -> landmodel.Parameters:
    """Columns of several parameter sets, one after the other."""
    return landmodel.Parameters(
        np.concatenate([part.cell for part in parts]),
        np.concatenate([part.patch for part in parts]),
        np.concatenate([part.fraction for part in parts]),
        np.concatenate([part.clay for part in parts]),
        {name: np.concatenate([part.soil(name) for part in parts]) for name in parts[0].layers},
        {name: np.concatenate([part.values[name] for part in parts]) for name in parts[0].values},
    )
