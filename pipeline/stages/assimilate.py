"""Assimilation: 24 h windows from analysis hour to analysis hour, each a forecast and an analysis, started from the
open loop."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import zarr

from ldas import landmodel
from ldas.assim import Filter, Window
from ldas.assim.error_estimation import Memory
from ldas.landmodel import OutputRequest, Parameters, State
from ldas.landmodel.layout import STATE_SIZE
from ldas.operators.cells import cell_ids_from_coordinates
from ldas.pipeline import registry
from ldas.pipeline.errors import ConfigurationError
from ldas.pipeline.forcing.read import TimedForcing
from ldas.pipeline.settings.assimilation import AssimilatedConfig, AssimilationConfig, TimeMatching
from ldas.pipeline.stages import error_memory, kept_analyses, labels, spin_up
from ldas.pipeline.stages.assimilation_output import AssimilationOutput, output_specs, rows_of_types
from ldas.pipeline.stages.land import (
    FORCING_BYTES,
    LandStage,
    cells_with_gaps,
    identity_sections,
    land_checksum,
    merged,
    number_of_patches,
    read_places,
)
from ldas.pipeline.stages.observation_types import observation_types
from ldas.pipeline.stages.observations import (
    WindowSeries,
    days_of,
    overpasses_a_day,
    require_hours,
    window_ends,
)
from ldas.pipeline.stages.open_loop import OpenLoop
from ldas.pipeline.stages.open_loop_departures import is_judged, observed_lai, open_loop_departures
from ldas.pipeline.stages.train import cells_per_training_block, training_stage
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import chunk_cells, existing_group, has_group
from ldas.pipeline.store.groups import hide_new
from ldas.pipeline.store.head import make_head, remove_head, write_days
from ldas.pipeline.store.ledger import Block, Period
from ldas.pipeline.store.operator_store import matches_overpasses, operator_identity
from ldas.pipeline.store.restart import (
    Columns,
    check_restart,
    columns_of,
    create_restart,
    read_restart,
    restart_path,
    write_restart,
)
from ldas.pipeline.store.template import ArraySpec, create_template, extend_template


@dataclass(frozen=True)
class Assimilate(LandStage):
    """One assimilation experiment. The period of the configuration, or its own part of it, in daily windows."""

    settings: AssimilationConfig
    growing_keys: ClassVar[tuple[str, ...]] = ("period.end", "assimilation.end")

    @property
    def group(self) -> str:
        """Group of the output."""
        return f"runs/{self.name}"

    @property
    def hour(self) -> int:
        """Analysis hour (UTC)."""
        return self.config.model.analysis_hour_utc

    def ends(self) -> np.ndarray:
        """Ends of all windows."""
        first = self.settings.start or self.config.period.start
        last = self.settings.end or self.config.period.end
        ends = window_ends(first, last, self.hour)
        if not len(ends):
            raise ConfigurationError(
                f"assimilation {self.name}: there is no 24 h window between {first} and {last}: its end must be at "
                "least a day after its start"
            )
        return ends

    def periods(self) -> Sequence[Period]:
        """See `Stage.periods`; they begin and end at the analysis hour."""
        ends = self.ends()
        size = self.config.execution.days_per_period
        return [
            Period(
                index,
                ends[first] - np.timedelta64(1, "D"),
                ends[min(first + size, len(ends)) - 1],
                slice(first, min(first + size, len(ends))),
            )
            for index, first in enumerate(range(0, len(ends), size))
        ]

    @property
    def growing_groups(self) -> Collection[str]:
        """See `Stage.growing_groups`."""
        return (self.group,)

    @property
    def needs(self) -> Collection[str]:
        """See `Stage.needs`: the operators, but for those that are trained block by block."""
        return self._trainings() - self._trainings(by_blocks=True)

    @property
    def follows(self) -> Collection[str]:
        """See `Stage.follows`: the open loop, the training of operators block by block, and the runs that observation
        errors are estimated from."""
        runs = {entry.error_model.from_run for entry in self.settings.observations}
        return {self.config.open_loop.name, *self._trainings(by_blocks=True), *(run for run in runs if run is not None)}

    def _trainings(self, *, by_blocks: bool = False) -> set[str]:
        """Stages that train the operators; only those of this experiment that train block by block, if asked for."""
        operators = {entry.operator for entry in self.settings.observations if entry.operator is not None}
        if by_blocks:
            operators &= {other.name for other in self.config.operators if cells_per_training_block(other) is not None}
        return {training_stage(operator) for operator in operators}

    def work_days(self, period: Period) -> float:
        """See `Stage.work_days`: every member counts."""
        return super().work_days(period) * self.settings.method.model_runs

    def identity(self) -> Mapping[str, Any]:
        """See `Stage.identity`."""
        root = self.root()
        operators = {
            entry.operator: operator_identity(root, entry.operator)
            for entry in self.settings.observations
            if entry.operator is not None and has_group(root, f"operators/{entry.operator}")
        }
        # The open loop's climatology changes with its end, and the rescaled observations with it, unless the period of
        # the statistics is over by then.
        end = self.config.period.end
        rescaling = any(
            entry.rescale != "none" and (entry.rescale_period is None or entry.rescale_period.end > end)
            for entry in self.settings.observations
        )
        sources = self._error_sources(root)
        return {
            **identity_sections(self.config, ("period", "spin_up", "output")),
            **({"rescaled_to_open_loop_until": str(end)} if rescaling else {}),
            **({"errors_from": sources} if sources else {}),
            "assimilation": self.settings.model_dump(mode="json"),
            "operators": operators,
            "model": self.config.model.model_dump(),
            "execution": {
                "cells_per_block": self.cells_per_block,
                "days_per_period": self.config.execution.days_per_period,
                **self.device_identity(),
            },
            "land": land_checksum(root),
        }

    def _error_sources(self, root: zarr.Group) -> dict[str, Any]:
        """What made the runs that observation errors are estimated from, as far as they are there."""
        runs = {entry.error_model.from_run for entry in self.settings.observations if entry.error_model.from_run}
        return {run: ledger.stored_identity(root, run) for run in sorted(runs) if run in ledger.experiments(root)}

    def create(self, root: zarr.Group) -> None:
        """See `Stage.create`."""
        specs, patches = self._specs(root), number_of_patches(root)
        days = self.config.execution.days_per_period
        overpasses = self._overpasses(root)
        remove_head(root, self.group)
        create_template(
            root,
            self.group,
            specs,
            coordinates={
                "time": (("time",), days_of(self.ends())),
                **self._along_time(),
                **labels.places(root),
                **({"overpass": (("overpass",), np.arange(overpasses))} if overpasses else {}),
                "cell": (("cell",), np.arange(self.cells)),
                "patch": (("patch",), np.arange(1, patches + 1)),
            },
            chunks={"time": days, "cell": chunk_cells(self.cells_per_block, days)},
            shards={"time": days, "cell": self.cells_per_block},
            attributes={
                **self.group_attributes(root),
                "time_label": self._time_label,
                "analysis_hour_utc": self.hour,
                "observations": [entry.name for entry in self.settings.observations],
                "controls": list(self.settings.method.controls),
                **({kept_analyses.KEPT: [str(instant) for instant in self.kept()]} if self.kept() else {}),
            },
        )
        self._create_restarts(root, [*(period.stop for period in self.periods()), *self.kept()])

    @property
    def _time_label(self) -> str:
        return f"00 UTC of the day; the window ends at {labels.clock(self.hour)}"

    def _matching(self, root: zarr.Group, entry: AssimilatedConfig) -> TimeMatching:
        """How an observation is compared: as its operator was trained."""
        if entry.operator is None:
            return entry.direct_matching
        here = [operator for operator in self.config.operators if operator.name == entry.operator]
        if here:
            return here[0].time_matching
        return "overpass" if matches_overpasses(root, entry.operator) else "window_end"

    def _overpasses(self, root: zarr.Group) -> int:
        """Most overpasses that a window can hold, which touches two UTC days; 0 where no type keeps them apart."""
        lengths = [0]
        for entry in self.settings.observations:
            if self._matching(root, entry) == "overpass":
                require_hours(root, entry.name)
                lengths.append(2 * (overpasses_a_day(root, entry.name) or 0))
        return max(lengths)

    def _specs(self, root: zarr.Group) -> dict[str, ArraySpec]:
        apart = {entry.name for entry in self.settings.observations if self._matching(root, entry) == "overpass"}
        return output_specs(self.settings, self.config.output, self.hour, apart)

    def _along_time(self) -> labels.Coordinates:
        return labels.along_time(days_of(self.ends()), self.hour, windows=True)

    def kept(self) -> list[np.datetime64]:
        """Instants whose analyses are kept as restarts, at the end of a period or not: forecasts start from them."""
        return kept_analyses.wanted(self.config, self.name, days_of(self.ends()))

    def record(self, root: zarr.Group) -> None:
        """See `Stage.record`. A run that is done is run again from the first analysis on that a forecast needs and that
        it did not keep."""
        known = kept_analyses.noted(root, self.group) | {period.stop for period in self.periods()}
        if new := [instant for instant in self.kept() if instant not in known]:
            ledger.reopen(root, self.name, np.full(self.cells, new[0]))
            self._create_restarts(root, new)
            kept_analyses.note(root, self.group, self.kept())
        super().record(root)

    def _create_restarts(self, root: zarr.Group, instants: Sequence[np.datetime64]) -> None:
        example, patches, attributes = self.example_state(), number_of_patches(root), self.group_attributes(root)
        for instant in dict.fromkeys(instants):
            for run in self.restart_names():
                create_restart(
                    root,
                    run,
                    instant,
                    example,
                    cells=self.cells,
                    patches=patches,
                    cells_per_block=self.cells_per_block,
                    model=self.model_identity(),
                    attributes=attributes,
                )
            sizes = {"cells": self.cells, "cells_per_block": self.cells_per_block}
            error_memory.create_memory(root, self.settings, instant, **sizes, attributes=attributes)

    def require_restart(self, root: zarr.Group, instant: np.datetime64) -> None:
        """See `Stage.require_restart`."""
        for run in self.restart_names():
            check_restart(root, restart_path(run, instant), State._fields, model=self.model_identity())
        error_memory.check_memory(root, self.settings, instant)

    def extend(self, root: zarr.Group, old_periods: Sequence[Sequence[str]]) -> None:
        """See `Stage.extend`."""
        old_stops = {np.datetime64(stop, "s") for _, stop in old_periods}
        hide_new(root, self.group)
        attributes = {**self.group_attributes(root), "time_label": self._time_label}
        existing_group(root, self.group).attrs.update(attributes)  # of the longer period
        along_cells = labels.places(root)
        extend_template(root, self.group, "time", days_of(self.ends()), {**self._along_time(), **along_cells})
        labels.describe(root, self.group, self._specs(root))
        make_head(root, self.group)
        # Those of new periods are empty, also when an interrupted extension has made some of them.
        kept = [instant for instant in self.kept() if instant > max(old_stops)]
        stops = [period.stop for period in self.periods() if period.stop not in old_stops]
        self._create_restarts(root, [*stops, *kept])
        if kept:
            kept_analyses.note(root, self.group, [*kept_analyses.noted(root, self.group), *kept])

    def superseded_at(self, instant: np.datetime64) -> Collection[str]:
        """See `Stage.superseded_at`."""
        if instant in self.kept():
            return []
        restarts = [restart_path(run, instant) for run in self.restart_names()]
        return [*restarts, *error_memory.memory_paths(self.settings, instant)]

    def restart_names(self) -> list[str]:
        """Names of the restarts: one, or one for each member of an ensemble."""
        return [f"{self.name}{suffix}" for suffix in self.settings.method.carried]

    def filter_of(self, root: zarr.Group, block: Block) -> Filter:
        """The filter of a block's cells."""
        cell_ids = cell_ids_from_coordinates(*read_places(root, block.region))
        trained = self._trainings(by_blocks=True)
        operators = {entry.operator for entry in self.settings.observations if entry.operator is not None}
        in_training = {name for name in operators if training_stage(name) in trained}
        types = observation_types(root, self.settings, block, cell_ids, in_training)
        return self.settings.method.make(types, cell_ids)

    def compute(self, root: zarr.Group, block: Block, period: Period) -> np.ndarray:
        """See `Stage.compute`."""
        parameters = self.parameters(root, block)
        columns = columns_of(parameters)
        method = self.filter_of(root, block)
        ends = self.ends()[period.days]
        series = {
            entry.name: WindowSeries(
                root, entry, block, ends, self.hour, self.config.open_loop.name, self._matching(root, entry)
            )
            for entry in self.settings.observations
        }
        for entry, kind in zip(self.settings.observations, method.observation_types, strict=True):
            if entry.operator is not None and is_judged(root, self.config, self.settings, entry):
                lai, values = observed_lai(root, self.config, entry.operator), series[entry.name]
                values.open_loop_departure = open_loop_departures(
                    root, self.config, values, kind.operator, lai, block, ends
                )
        forcing = self.forcing(root, block, period.start, period.stop, parameters)
        before = self._initial_state(root, block, period, parameters, columns, method)
        gaps = cells_with_gaps(forcing)
        memory = error_memory.memory_before(root, self.settings, block, period)
        lost = self._lost_before(root, block, period) | gaps
        whole = ~gaps[columns.cell]  # as if the others had no land
        state, used = before.take(whole), parameters.take(whole)
        model = self.land_model(used)
        writer = AssimilationOutput(
            self.settings,
            self.config.output,
            used,
            cells=block.cells,
            days=days_of(ends),
            patches=number_of_patches(root),
            overpasses=self._overpasses(root),
        )
        output, kept = self.output_request(), set(self.kept()) - {period.stop}
        for number, end in enumerate(ends):
            window = self.window(forcing, end)
            given = {name: values.window(number) for name, values in series.items()}
            result, memory, estimates = error_memory.cycle(
                self.settings, method, memory, model, state, window, given, output=output, set_aside=lost
            )
            state, lost = result.state, result.set_aside
            rows = rows_of_types(given)
            codes = [values.explained(number, result.quality[:, rows[name]]) for name, values in series.items()]
            result = result._replace(quality=np.concatenate(codes, axis=1))
            writer.add(number, result, method, {name: (rows[name], given[name].time) for name in given}, estimates)
            if end in kept:
                self._write_restarts(root, block, end, method, columns, before, state, whole, memory)
        per_period = self.config.execution.days_per_period
        write_days(root, self.group, writer.values(), block, period.days, per_period=per_period)
        self._write_restarts(root, block, period.stop, method, columns, before, state, whole, memory)
        return np.where(lost, ledger.SET_ASIDE, ledger.DONE).astype("int8")

    def _write_restarts(
        self,
        root: zarr.Group,
        block: Block,
        instant: np.datetime64,
        method: Filter,
        columns: Columns,
        before: State,
        state: State,
        whole: np.ndarray,
        memory: Memory | None,
    ) -> None:
        """Writes the states that the filter carries; of the columns that were run, or else as they were before; and
        what it remembers of its errors, if it does."""
        carried = zip(method.carried_states(before), method.carried_states(state), strict=True)
        for run, (old, new) in zip(self.restart_names(), carried, strict=True):
            write_restart(root, restart_path(run, instant), merged(old, new, whole), columns, block)
        error_memory.write_memory(root, self.settings, instant, memory, block)

    def window(self, forcing: TimedForcing, end: np.datetime64) -> Window:
        """The 24 h up to an instant, cut from forcing."""
        return Window.cut(
            forcing.forcing,
            end - np.timedelta64(1, "D"),
            forcing_start=forcing.start,
            step_s=self.config.model.time_step_s,
            forcing_step_s=forcing.step_s,
        )

    def output_request(self) -> OutputRequest:
        output = self.config.output
        return OutputRequest(
            mean=tuple(dict.fromkeys(registry.base_name(name) for name in output.mean)),
            end=tuple(dict.fromkeys(registry.base_name(name) for name in output.instant)),
            interval_s=86400,
        )

    def _initial_state(
        self,
        root: zarr.Group,
        block: Block,
        period: Period,
        parameters: Parameters,
        columns: Columns,
        method: Filter,
    ) -> State:
        if period.days.start:
            return self.analysed_state(root, block, period.start, columns, method)
        return method.initial_state(parameters, self._open_loop_state(root, block, period.start, parameters, columns))

    def analysed_state(
        self, root: zarr.Group, block: Block, instant: np.datetime64, columns: Columns, method: Filter
    ) -> State:
        """What the filter carries on from an analysis that was kept, or from the end of a period."""
        model = self.model_identity()
        return method.resumed_state(
            [
                read_restart(root, restart_path(run, instant), State, State._fields, columns, block, model=model)
                for run in self.restart_names()
            ]
        )

    def _open_loop(self) -> OpenLoop:
        """The stage whose states the assimilation starts from."""
        return OpenLoop(
            self.config.open_loop.name,
            self.location,
            self.cells,
            self.cells_per_block,
            self.config,
            self.columns_per_cell,
        )

    def _open_loop_state(
        self, root: zarr.Group, block: Block, instant: np.datetime64, parameters: Parameters, columns: Columns
    ) -> State:
        """State of the open loop at an instant: its restart, or the nearest one before and the model from there."""
        open_loop = self._open_loop()
        begin = np.datetime64(self.config.period.start, "s")
        exact = restart_path(open_loop.name, instant)
        earlier = [period.stop for period in open_loop.periods() if period.stop <= instant]
        if has_group(root, exact):
            path, from_when = exact, instant
        elif earlier:
            path, from_when = restart_path(open_loop.name, earlier[-1]), earlier[-1]
        elif self.config.spin_up is not None:
            path, from_when = restart_path(spin_up.NAME, begin), begin
        else:
            path, from_when = None, begin
        if path is None:
            state = landmodel.cold_start(parameters, air_temperature=self.config.model.initial_temperature_k)
        else:
            state = read_restart(root, path, State, State._fields, columns, block, model=self.model_identity())
        if from_when < instant:
            forcing = self.forcing(root, block, from_when, instant, parameters)
            whole = ~cells_with_gaps(forcing)[columns.cell]
            state = self.advanced(parameters, state, forcing, from_when, instant, whole)
        return state

    def _lost_before(self, root: zarr.Group, block: Block, period: Period) -> np.ndarray:
        """Cells that were set aside earlier, or by the open loop in its period that holds the start."""
        status = ledger.status_before(root, self.name, block, period)
        if status is not None:
            return np.asarray(status == ledger.SET_ASIDE)
        earlier = [other.index for other in self._open_loop().periods() if other.start < period.start]
        before = ledger.block_status(root, self.config.open_loop.name, block)
        return np.asarray(before[earlier[-1] if earlier else 0] == ledger.SET_ASIDE)

    def on_card(self) -> tuple[int, int]:
        """See `LandStage.on_card`."""
        return self.settings.method.model_runs, super().on_card()[1]

    def memory_bytes(self, cells: int) -> int:
        """Forcing of a period; states of all members, and copies of those that the filter keeps; the stored series."""
        days = self.config.execution.days_per_period
        names = len(self.config.output.mean) + 2 * len(self.config.output.instant) + 20
        method = self.settings.method
        states = self.columns_per_cell * 8 * STATE_SIZE * (2 * method.model_runs + 7 * len(method.carried))
        return cells * (FORCING_BYTES * (24 * days + 1) + states + 8 * days * names)
