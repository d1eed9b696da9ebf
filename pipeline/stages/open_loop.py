"""The open loop: the land model over the whole period, without observations."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import zarr

from ldas import landmodel
from ldas.landmodel import OutputRequest, Parameters, State
from ldas.pipeline import registry
from ldas.pipeline.forcing.read import TimedForcing
from ldas.pipeline.stages import labels, spin_up
from ldas.pipeline.stages.land import (
    FORCING_BYTES,
    LandStage,
    cells_with,
    cells_with_gaps,
    failed_columns,
    identity_sections,
    land_checksum,
    merged,
    number_of_patches,
    without_columns,
)
from ldas.pipeline.stages.overpass_states import (
    overpass_axis,
    overpass_specs,
    overpass_states,
    overpass_steps,
    overpass_variables,
    step_requests,
)
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import chunk_cells, existing_group, has_group
from ldas.pipeline.store.groups import hide_new
from ldas.pipeline.store.head import make_head, remove_head, write_days
from ldas.pipeline.store.ledger import Block, Period, day_axis, periods_of
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
class OpenLoop(LandStage):
    """Daily means of fluxes, instants at the analysis hour, a restart at the end of each period and on chosen days."""

    growing_keys: ClassVar[tuple[str, ...]] = ("period.end",)

    @property
    def group(self) -> str:
        """Group of the output."""
        return f"runs/{self.name}"

    def periods(self) -> Sequence[Period]:
        """See `Stage.periods`."""
        period = self.config.period
        return periods_of(np.datetime64(period.start, "s"), period.days, self.config.execution.days_per_period)

    @property
    def growing_groups(self) -> Collection[str]:
        """See `Stage.growing_groups`."""
        return (self.group,)

    @property
    def needs(self) -> Collection[str]:
        """See `Stage.needs`: nothing but land and forcing."""
        return ()

    @property
    def follows(self) -> Collection[str]:
        """See `Stage.follows`: the spin-up."""
        return (spin_up.NAME,)

    def identity(self) -> Mapping[str, Any]:
        """See `Stage.identity`."""
        overpasses = {name: list(variables) for name, variables in overpass_variables(self.config).items()}
        return {
            **identity_sections(self.config, ("period", "spin_up", "output", "open_loop")),
            **({"overpasses": overpasses} if overpasses else {}),
            "model": self.config.model.model_dump(),
            "execution": {
                "cells_per_block": self.cells_per_block,
                "days_per_period": self.config.execution.days_per_period,
                **self.device_identity(),
            },
            "land": land_checksum(self.root()),
        }

    def create(self, root: zarr.Group) -> None:
        """See `Stage.create`."""
        specs, patches = self._specs(), number_of_patches(root)
        days = self.config.execution.days_per_period
        overpasses = overpass_axis(root, self.config)
        remove_head(root, self.group)
        create_template(
            root,
            self.group,
            specs,
            coordinates={
                "time": (("time",), self._days()),
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
                "time_label": "00 UTC of the day",
                "analysis_hour_utc": self.config.model.analysis_hour_utc,
            },
        )
        self._create_restarts(root)

    def _specs(self) -> dict[str, ArraySpec]:
        output, specs = self.config.output, dict[str, ArraySpec]()
        for name in (*output.mean, *output.instant):
            attributes = self._output_attributes(name)
            specs[name] = ArraySpec(("time", "cell"), "float32", None, attributes)
            if name in output.per_patch:
                specs[f"{name}_patch"] = ArraySpec(("time", "cell", "patch"), "float32", None, attributes)
        return specs | overpass_specs(self.config)

    def _output_attributes(self, name: str) -> dict[str, Any]:
        if name in self.config.output.mean:
            comment = "mean from 00 UTC to 24 UTC of the day"
            return {"cell_methods": "time: mean", "comment": comment, **labels.OF_MEANS}
        comment = f"value at {labels.clock(self.config.model.analysis_hour_utc)}"
        return {"cell_methods": "time: point", "comment": comment, **labels.OF_INSTANTS}

    def _along_time(self) -> labels.Coordinates:
        return labels.along_time(self._days(), self.config.model.analysis_hour_utc, windows=False)

    def _days(self) -> np.ndarray:
        return day_axis(np.datetime64(self.config.period.start), self.config.period.days)

    def _create_restarts(self, root: zarr.Group, run_until: np.datetime64 | None = None) -> None:
        """Those after the end of an earlier run are empty, also when an interrupted preparation began them."""
        example = self.example_state()
        ends = [period.stop for period in self.periods()]
        for instant in dict.fromkeys([*ends, *self._chosen_instants()]):
            earlier = run_until is not None and instant <= run_until
            if not (earlier and has_group(root, restart_path(self.name, instant))):
                create_restart(
                    root,
                    self.name,
                    instant,
                    example,
                    cells=self.cells,
                    patches=number_of_patches(root),
                    cells_per_block=self.cells_per_block,
                    model=self.model_identity(),
                    attributes=self.group_attributes(root),
                )

    def _chosen_instants(self) -> list[np.datetime64]:
        """Instants of the restarts that the configuration asks for."""
        hour = np.timedelta64(self.config.model.analysis_hour_utc, "h")
        return [np.datetime64(day, "s") + hour for day in self.config.open_loop.restart_on]

    def require_restart(self, root: zarr.Group, instant: np.datetime64) -> None:
        """See `Stage.require_restart`."""
        check_restart(root, restart_path(self.name, instant), State._fields, model=self.model_identity())

    def extend(self, root: zarr.Group, old_periods: Sequence[Sequence[str]]) -> None:
        """See `Stage.extend`."""
        hide_new(root, self.group)
        existing_group(root, self.group).attrs.update(self.group_attributes(root))  # of the longer period
        extend_template(root, self.group, "time", self._days(), {**self._along_time(), **labels.places(root)})
        labels.describe(root, self.group, self._specs())
        make_head(root, self.group)
        self._create_restarts(root, np.datetime64(old_periods[-1][1], "s"))

    def superseded_at(self, instant: np.datetime64) -> Collection[str]:
        """See `Stage.superseded_at`."""
        return () if instant in self._chosen_instants() else (restart_path(self.name, instant),)

    def compute(self, root: zarr.Group, block: Block, period: Period) -> np.ndarray:
        """See `Stage.compute`."""
        parameters = self.parameters(root, block)
        columns = columns_of(parameters)
        forcing = self.forcing(root, block, period.start, period.stop, parameters)
        before = self._initial_state(root, block, period, parameters, columns)
        lost = self._lost_before(root, block, period) | without_columns(parameters, block.cells)
        lost |= cells_with_gaps(forcing)
        chosen = ~lost[columns.cell]
        after, outputs = before, dict[str, np.ndarray]()
        steps = overpass_steps(root, self.config, block, period, overpass_axis(root, self.config))
        if chosen.any():
            used, start_state = parameters.take(chosen), before.take(chosen)
            request = replace(self._request(), **step_requests(self.config, steps, used.cell))
            part, outputs = self.run_model(used, start_state, forcing, period.start, period.stop, request)
            failed = failed_columns(start_state, part)
            lost |= cells_with(failed, columns.cell[chosen], block.cells)
            after = merged(before, part, chosen)
            back = lost[columns.cell]
            after = merged(after, before.take(back), back)  # the last good state of cells that failed
        run = parameters.take(chosen)
        values = self._outputs(outputs, run, lost, number_of_patches(root), period)
        values |= overpass_states(self.config, outputs, steps, run, lost)
        per_period = self.config.execution.days_per_period
        write_days(root, self.group, values, block, period.days, per_period=per_period)
        self._write_extra_restarts(root, block, period, parameters, columns, before, forcing, lost[columns.cell])
        write_restart(root, restart_path(self.name, period.stop), after, columns, block)
        return np.where(lost, ledger.SET_ASIDE, ledger.DONE).astype("int8")

    def _initial_state(
        self,
        root: zarr.Group,
        block: Block,
        period: Period,
        parameters: Parameters,
        columns: Columns,
    ) -> State:
        begins = period.days.start == 0
        if begins and self.config.spin_up is None:
            return landmodel.cold_start(parameters, air_temperature=self.config.model.initial_temperature_k)
        experiment = spin_up.NAME if begins else self.name
        path = restart_path(experiment, period.start)
        return read_restart(root, path, State, State._fields, columns, block, model=self.model_identity())

    def _lost_before(self, root: zarr.Group, block: Block, period: Period) -> np.ndarray:
        """Cells that were set aside earlier, or in the spin-up."""
        before = ledger.status_before(root, self.name, block, period)
        if before is None and self.config.spin_up is not None:
            before = ledger.block_status(root, spin_up.NAME, block)[-1]
        return np.zeros(block.cells, dtype=bool) if before is None else before == ledger.SET_ASIDE

    def _request(self) -> OutputRequest:
        output = self.config.output
        return OutputRequest(
            mean=tuple(dict.fromkeys(registry.base_name(name) for name in output.mean)),
            instant=tuple(dict.fromkeys(registry.base_name(name) for name in output.instant)),
            instant_hour=self.config.model.analysis_hour_utc,
            interval_s=86400,
        )

    def _output_key(self, name: str) -> str:
        """Name under which the model returns a variable; it adds `_instant` when the mean is asked for too."""
        base = registry.base_name(name)
        also_mean = base in {registry.base_name(other) for other in self.config.output.mean}
        return f"{base}_instant" if name in self.config.output.instant and also_mean else base

    def _outputs(
        self, outputs: Mapping[str, np.ndarray], parameters: Parameters, lost: np.ndarray, patches: int, period: Period
    ) -> dict[str, np.ndarray]:
        """Cell means (and values per patch) as they are stored; cells that were set aside are NaN."""
        days = period.days.stop - period.days.start
        values = {}
        for name in (*self.config.output.mean, *self.config.output.instant):
            layer = registry.variable(name).layer
            columns = np.full((days, parameters.columns), np.nan)
            if outputs:
                output = outputs[self._output_key(name)]
                columns = output if layer is None else output[:, :, layer - 1]
            values[name] = landmodel.aggregate(columns, parameters, len(lost))
            values[name][:, lost] = np.nan
            if name in self.config.output.per_patch:
                dense = np.full((days, len(lost), patches), np.nan)
                dense[:, parameters.cell, parameters.patch - 1] = columns
                dense[:, lost] = np.nan
                values[f"{name}_patch"] = dense
        return values

    def _write_extra_restarts(
        self,
        root: zarr.Group,
        block: Block,
        period: Period,
        parameters: Parameters,
        columns: Columns,
        before: State,
        forcing: TimedForcing,
        lost: np.ndarray,
    ) -> None:
        """Restarts at the analysis hour of chosen days: the period is run once more up to there, without output."""
        for instant in self._chosen_instants():
            if period.start < instant < period.stop:
                state = self.advanced(parameters, before, forcing, period.start, instant, ~lost)
                write_restart(root, restart_path(self.name, instant), state, columns, block)

    def memory_bytes(self, cells: int) -> int:
        """Forcing of a period; outputs of all layers, at overpasses too; dense output per patch."""
        days = min(self.config.execution.days_per_period, self.config.period.days)
        names = len(self.config.output.mean) + len(self.config.output.instant)
        forcing = FORCING_BYTES * (24 * days + 1)
        at_overpasses = 28 if overpass_variables(self.config) else 0
        columns = self.columns_per_cell * (8 * days * (names + 14 + at_overpasses) + 8192)
        dense = 8 * days * 12 * 4 + 8 * days * names
        return cells * (forcing + columns + dense)
