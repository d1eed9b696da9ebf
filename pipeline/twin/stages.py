"""The twin as a stage: land, then weather and nature run block by block; and the order of the twin's stages."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import xarray as xr
import zarr

from ldas import landmodel
from ldas.landmodel import OutputRequest, State
from ldas.landmodel.array_types import Array, Times
from ldas.pipeline import registry
from ldas.pipeline.execution.stage import Stage
from ldas.pipeline.settings.assimilation import state_name
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.settings.twin import TwinConfig
from ldas.pipeline.stages import labels
from ldas.pipeline.stages.land import read_land
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import chunk_cells, existing_group, has_group, open_store, read_region, write_region
from ldas.pipeline.store.groups import hide_new, write_group
from ldas.pipeline.store.ledger import Block, Period, day_axis, periods_of
from ldas.pipeline.store.location import Location
from ldas.pipeline.store.provenance import provenance
from ldas.pipeline.store.restart import (
    Columns,
    check_restart,
    create_restart,
    read_restart,
    restart_path,
    write_restart,
)
from ldas.pipeline.store.template import ArraySpec, create_template, extend_template
from ldas.pipeline.twin import SYNTHETIC_ATTRIBUTES
from ldas.pipeline.twin.daily_weather import Latent
from ldas.pipeline.twin.hourly_weather import hourly_weather
from ldas.pipeline.twin.land import climate_of, make_land
from ldas.pipeline.twin.nature import FIELDS, Nature, forcing_variation, make_nature
from ldas.pipeline.twin.observation_stage import (
    AT_OVERPASSES,
    OBSERVATIONS,
    Observations,
    observed_land,
    observer_of,
)
from ldas.pipeline.twin.synthetic_groups import check_years, make_room, mark_complete
from ldas.pipeline.twin.truth_error import TruthError

TWIN = "twin"
TRUTH = "truth"
REQUIRED = ("WG2", "WG3", "TG2", "LAI", "SWE", "WGI2")  # what observations are made of
# The same words as the open loop's: what they say of hours tells whether two means can be compared.
MEAN = {"cell_methods": "time: mean", "comment": "mean from 00 UTC to 24 UTC of the day", **labels.OF_MEANS}
_HOURS = 24
_YEAR = np.timedelta64(365, "D")
# Hourly arrays in double precision that generating weather holds at a time, with those of nature's own.
_HOURLY_ARRAYS = 60


def twin_stages(config: ExperimentConfig, settings: TwinConfig) -> Iterator[Stage]:
    """What makes the twin: weather, nature and observations, or observations of an existing run only."""
    size = config.execution.cells_per_block
    if settings.from_run is None:
        cells = make_land(settings).sizes["cell"]
        yield Twin(TWIN, config.location, cells, size, config, settings)
        source, where = TRUTH, config.location
    else:
        source, where = f"runs/{settings.from_run}", source_location(config, settings)
        cells = _cells_of(where, source)
    yield Observations(OBSERVATIONS, config.location, cells, size, config, settings, source, where)


def error_stage(config: ExperimentConfig, settings: TwinConfig, run: str) -> Stage:
    """The stage that compares a run with the truth, variable by variable, and prints the result."""
    cells = make_land(settings).sizes["cell"]
    return TruthError(f"error_of_{run}", config.location, cells, config.execution.cells_per_block, run)


def source_location(config: ExperimentConfig, settings: TwinConfig) -> Location:
    """Store of the run that is observed."""
    return config.location if settings.from_url is None else Location(settings.from_url)


def _cells_of(where: Location, source: str) -> int:
    return len(read_region(open_store(where), source, "cell"))


@dataclass(frozen=True)
class Twin(Stage):
    """Land (with the templates), then hourly forcing and the daily truth of each block and period."""

    config: ExperimentConfig
    settings: TwinConfig
    growing_keys: ClassVar[tuple[str, ...]] = ("period.end",)

    @property
    def growing_groups(self) -> Collection[str]:
        """See `Stage.growing_groups`."""
        return ("forcing", TRUTH)

    def periods(self) -> Sequence[Period]:
        """See `Stage.periods`."""
        period = self.config.period
        return periods_of(np.datetime64(period.start, "s"), period.days, self.config.execution.days_per_period)

    def identity(self) -> Mapping[str, Any]:
        """See `Stage.identity`."""
        sections = self.config.model_dump(mode="json", include={"period", "output"})
        return {
            **sections,
            "twin": self.settings.model_dump(mode="json", exclude={"nature"}),
            "nature": self.settings.nature_settings().model_dump(mode="json"),
            "model": {name: getattr(self.config.model, name) for name in ("time_step_s", "analysis_hour_utc")},
            "execution": {
                "cells_per_block": self.cells_per_block,
                "days_per_period": self.config.execution.days_per_period,
            },
        }

    # --- templates ---

    def create(self, root: zarr.Group) -> None:
        """See `Stage.create`: the land is written here, it is small."""
        check_years(self.config)
        make_room(root, ("land", "forcing", TRUTH))
        land = make_land(self.settings)
        attributes = {**SYNTHETIC_ATTRIBUTES, **provenance(self.config.model_dump(mode="json"))}
        write_group(root, "land", land, attributes=attributes)
        places = {name: (("cell",), land[name].to_numpy()) for name in ("latitude", "longitude")}
        cells = {"cell": (("cell",), np.arange(self.cells)), **places}
        length = self.config.execution.days_per_period
        create_template(
            root,
            "forcing",
            {name: ArraySpec(("time", "cell")) for name in registry.names("forcing")},
            coordinates={"time": (("time",), self._hourly()), **cells},
            chunks={"time": _HOURS * length, "cell": chunk_cells(self.cells_per_block, _HOURS * length)},
            shards={"time": _HOURS * length, "cell": self.cells_per_block},
            attributes={**attributes, "complete": False},
        )
        hour = self.config.model.analysis_hour_utc
        instant = {"cell_methods": "time: point", "comment": f"value at {labels.clock(hour)}", **labels.OF_INSTANTS}
        create_template(
            root,
            TRUTH,
            {
                **{name: ArraySpec(("time", "cell"), attributes=MEAN) for name in self._means()},
                **{name: ArraySpec(("time", "cell"), attributes=instant) for name in (*self._instants(), "sigma40")},
                **{name: self._at_overpasses(name) for name in self._overpass_names()},
            },
            coordinates={
                "time": (("time",), self._days()),
                **labels.along_time(self._days(), hour, windows=False),
                **({"overpass": (("overpass",), np.arange(len(self._hours)))} if self._hours else {}),
                **cells,
            },
            chunks={"time": length, "cell": chunk_cells(self.cells_per_block, length)},
            shards={"time": length, "cell": self.cells_per_block},
            attributes={
                **attributes,
                "complete": False,
                "time_label": "00 UTC of the day",
                "analysis_hour_utc": hour,
                "nature": self.settings.nature_settings().model_dump(mode="json"),
            },
        )
        self._create_restarts(root, self.periods(), attributes)

    def _hourly(self) -> Times:
        """Times of the forcing, with the record that ends the last hour."""
        records = _HOURS * self.config.period.days + 1
        return np.datetime64(self.config.period.start, "s") + np.arange(records) * np.timedelta64(3600, "s")

    def _days(self) -> Times:
        return day_axis(np.datetime64(self.config.period.start, "s"), self.config.period.days)

    def _create_restarts(self, root: zarr.Group, periods: Sequence[Period], attributes: Mapping[str, Any]) -> None:
        example = landmodel.cold_start(self._nature(observed_land(root, Block(0, 0, 1))).parameters)
        for period in periods:
            create_restart(
                root,
                self.name,
                period.stop,
                example,
                cells=self.cells,
                patches=FIELDS,
                cells_per_block=self.cells_per_block,
                model={},
                attributes=attributes,
            )

    def is_outdated(self, root: zarr.Group) -> bool:
        """See `Stage.is_outdated`: an earlier version kept no state of nature to continue from."""
        end = np.datetime64(ledger.stored_periods(root, self.name)[-1][1], "s")
        return bool(end < self.periods()[-1].stop) and not has_group(root, restart_path(self.name, end))

    def require_restart(self, root: zarr.Group, instant: np.datetime64) -> None:
        """See `Stage.require_restart`."""
        check_restart(root, restart_path(self.name, instant), State._fields, model={})

    def extend(self, root: zarr.Group, old_periods: Sequence[Sequence[str]]) -> None:
        """See `Stage.extend`; no number of weather or nature depends on the end."""
        old_end = np.datetime64(old_periods[-1][1], "s")
        attributes = {**SYNTHETIC_ATTRIBUTES, **provenance(self.config.model_dump(mode="json"))}
        hour = self.config.model.analysis_hour_utc
        for path, times, others in (
            ("forcing", self._hourly(), {}),
            (TRUTH, self._days(), labels.along_time(self._days(), hour, windows=False)),
        ):
            hide_new(root, path)
            existing_group(root, path).update_attributes(attributes)
            extend_template(root, path, "time", times, others)
        self._create_restarts(root, [period for period in self.periods() if period.stop > old_end], attributes)

    def superseded_at(self, instant: np.datetime64) -> Collection[str]:
        """See `Stage.superseded_at`."""
        return (restart_path(self.name, instant),)

    def _means(self) -> tuple[str, ...]:
        return tuple(name for name in self.config.output.mean if name not in REQUIRED)

    def _instants(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.config.output.instant, *REQUIRED)))

    @property
    def _hours(self) -> tuple[float, ...]:
        return self.settings.nature_settings().observations.sigma40.overpass_hours

    def _overpass_names(self) -> tuple[str, ...]:
        return tuple(state_name(name, "sigma40") for name in AT_OVERPASSES) if self._hours else ()

    def _at_overpasses(self, name: str) -> ArraySpec:
        comment = f"at the overpasses of observations/sigma40, {', '.join(f'{hour:g}' for hour in self._hours)} h UTC"
        attributes = {**registry.attributes(name.removesuffix("_sigma40")), "comment": comment, **labels.OF_MEANS}
        return ArraySpec(("time", "overpass", "cell"), attributes=attributes)

    # --- a task ---

    def compute(self, root: zarr.Group, block: Block, period: Period) -> np.ndarray:
        """See `Stage.compute`."""
        land = observed_land(root, block)
        land["elevation"] = ("cell", read_land(root, "elevation", block.region))
        model = Latent(self.settings.seed, self.settings.weather, climate_of(land))
        weather = hourly_weather(model, period.start, period.stop)
        last = period.stop == self.periods()[-1].stop
        records = slice(_HOURS * period.days.start, _HOURS * period.days.stop + (1 if last else 0))
        values = {name: array[: records.stop - records.start].astype("float32") for name, array in weather.items()}
        write_region(root, "forcing", values, {"time": records, "cell": block.region}, continued="time")
        del weather, values

        natural = Latent(model.seed, model.settings, model.climate, forcing_variation(self.settings.nature_settings()))
        nature = self._nature(land)
        weather = hourly_weather(natural, period.start, period.stop)
        state = self._initial_state(root, block, period, nature, natural)
        state, outputs = nature.run(state, weather, period.start, period.stop, self._request(), self._hours)
        truth = self._truth(outputs, nature, land, period)
        write_region(root, TRUTH, truth, {"time": period.days, "cell": block.region}, continued="time")
        write_restart(root, restart_path(self.name, period.stop), state, _columns(nature), block)
        return np.full(block.cells, ledger.DONE, dtype="int8")

    def _nature(self, land: xr.Dataset) -> Nature:
        nature = self.settings.nature_settings()
        return make_nature(nature, self.settings.seed, land, self.config.model.time_step_s)

    def _initial_state(self, root: zarr.Group, block: Block, period: Period, nature: Nature, natural: Latent) -> State:
        if period.days.start:
            path = restart_path(self.name, period.start)
            return read_restart(root, path, State, State._fields, _columns(nature), block, model={})
        weather = hourly_weather(natural, period.start, period.start + _YEAR)
        state = nature.cold_start(weather)
        for _ in range(nature.settings.spin_up_years):
            state, _ = nature.run(state, weather, period.start, period.start + _YEAR)
        return state

    def _request(self) -> OutputRequest:
        return OutputRequest(
            mean=tuple(dict.fromkeys(registry.base_name(name) for name in self._means())),
            instant=tuple(dict.fromkeys(registry.base_name(name) for name in self._instants())),
            instant_hour=self.config.model.analysis_hour_utc,
            interval_s=86400,
            at=tuple(dict.fromkeys(registry.base_name(name) for name in AT_OVERPASSES)) if self._hours else (),
        )

    def _truth(
        self, outputs: Mapping[str, Array], nature: Nature, land: xr.Dataset, period: Period
    ) -> dict[str, Array]:
        """Cell means, and the backscatter that belongs to them."""
        cells, means = land.sizes["cell"], {registry.base_name(name) for name in self._means()}
        values = {}
        for name in (*self._means(), *self._instants()):
            base, layer = registry.base_name(name), registry.variable(name).layer
            output = outputs[f"{base}_instant" if name in self._instants() and base in means else base]
            columns = output if layer is None else output[:, :, layer - 1]
            values[name] = landmodel.aggregate(columns, nature.parameters, cells)
        for name in AT_OVERPASSES if self._hours else ():
            layer, output = registry.variable(name).layer, outputs[f"{registry.base_name(name)}_at"]
            seen = landmodel.aggregate(output if layer is None else output[..., layer - 1], nature.parameters, cells)
            values[state_name(name, "sigma40")] = seen.reshape(-1, len(self._hours), cells)
        days = day_axis(period.start, period.days.stop - period.days.start)
        sigma40 = observer_of(self.settings, land, days).true_sigma40(values["WG2"], values["LAI"])
        return {**values, "sigma40": sigma40}

    def finish(self, root: zarr.Group) -> None:
        """See `Stage.finish`: the groups are complete, and get checksums; of nature's restarts the last one stays."""
        mark_complete(root, ("forcing", TRUTH))
        for period in self.periods()[:-1]:
            if has_group(root, restart_path(self.name, period.stop)):
                del root[restart_path(self.name, period.stop)]

    def memory_bytes(self, cells: int) -> int:
        """Hourly weather of a period (twice: the model's is written first, nature's stays), and nature's columns."""
        days = max(min(self.config.execution.days_per_period, self.config.period.days), 365)
        names = len(self._means()) + 14 * len(self._instants())
        return cells * (8 * _HOURLY_ARRAYS * (_HOURS * days + 1) + 8 * (8 * days * names + 8192))


def _columns(nature: Nature) -> Columns:
    """Where nature's columns lie in a restart: the second field of C3 crops is a patch of its own there."""
    return Columns(nature.parameters.cell, nature.field - 1)
