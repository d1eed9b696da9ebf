"""Spin-up: one year of forcing repeated from a cold start, until the slow reservoirs no longer change."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr

from ldas import landmodel
from ldas.landmodel import Parameters, State
from ldas.pipeline.settings.experiment import SpinUpConfig
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
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import write_region
from ldas.pipeline.store.ledger import Block, Period
from ldas.pipeline.store.restart import columns_of, create_restart, restart_path, write_restart
from ldas.pipeline.store.template import ArraySpec, create_template

NAME = "spin_up"
GROUP = NAME
WATER_DENSITY = 1000.0  # kg m-3


@dataclass(frozen=True)
class SpinUp(LandStage):
    """Runs the year that begins on the experiment's first day, moved to the spin-up year, again and again.

    Each cell stops when it no longer drifts, so its result does not depend on other cells. The state
    after the last repetition is the restart of `spin_up` at the experiment's start.
    """

    @property
    def group(self) -> str:
        """Group of the output."""
        return GROUP

    @property
    def settings(self) -> SpinUpConfig:
        """The section `spin_up` of the configuration."""
        assert self.config.spin_up is not None
        return self.config.spin_up

    @property
    def year(self) -> tuple[np.datetime64, np.datetime64]:
        """Begin and end of the repeated year, see `SpinUpConfig.span`."""
        first, after = self.settings.span(self.config.period.start)
        return np.datetime64(first, "s"), np.datetime64(after, "s")

    def periods(self) -> Sequence[Period]:
        """One: a block's spin-up is one task."""
        return [Period(0, *self.year, slice(0, 1))]

    @property
    def needs(self) -> Collection[str]:
        """See `Stage.needs`: nothing but land and forcing."""
        return ()

    def work_days(self, period: Period) -> float:
        """See `Stage.work_days`; all repetitions, although cells may settle earlier."""
        return super().work_days(period) * self.settings.repetitions

    def identity(self) -> Mapping[str, Any]:
        """See `Stage.identity`."""
        return {
            **identity_sections(self.config, ("spin_up",)),
            "model": self.model_identity(),
            "period": {"start": str(self.config.period.start)},
            "execution": {"cells_per_block": self.cells_per_block, **self.device_identity()},
            "land": land_checksum(self.root()),
        }

    def create(self, root: zarr.Group) -> None:
        """See `Stage.create`."""
        attributes = self.group_attributes(root)
        repetitions = self.settings.repetitions
        create_template(
            root,
            GROUP,
            {
                "TOTAL_SOIL_WATER": ArraySpec(("repetition", "cell")),
                "TOTAL_BIOMASS": ArraySpec(("repetition", "cell")),
                "repetitions": ArraySpec(("cell",), "int32", 0, {"long_name": "repetitions until the drift was small"}),
            },
            coordinates={
                "repetition": (("repetition",), np.arange(1, repetitions + 1)),
                "cell": (("cell",), np.arange(self.cells)),
            },
            chunks={"cell": self.cells_per_block},
            attributes=attributes,
        )
        create_restart(
            root,
            NAME,
            np.datetime64(self.config.period.start, "s"),
            self.example_state(),
            cells=self.cells,
            patches=number_of_patches(root),
            cells_per_block=self.cells_per_block,
            model=self.model_identity(),
            attributes=attributes,
        )

    def compute(self, root: zarr.Group, block: Block, period: Period) -> np.ndarray:
        """See `Stage.compute`."""
        parameters = self.parameters(root, block)
        columns = columns_of(parameters)
        forcing = self.forcing(root, block, period.start, period.stop, parameters)
        # each cell by itself: a sum over (time, cell) depends in its last bit on the number of cells
        series = np.ascontiguousarray(np.asarray(forcing.forcing.Tair, np.float64).T)
        mean_temperature = np.array([values.mean() for values in series])
        gaps = cells_with_gaps(forcing)
        mean_temperature[gaps] = self.config.model.initial_temperature_k  # never run: only a state to keep
        state = landmodel.cold_start(parameters, air_temperature=mean_temperature[columns.cell])
        water = np.full((self.settings.repetitions, block.cells), np.nan)
        biomass = np.full_like(water, np.nan)
        used = np.zeros(block.cells, dtype=np.int32)
        absent = without_columns(parameters, block.cells) | gaps
        lost, running = absent.copy(), ~absent
        before = _totals(state, parameters, block.cells)
        for repetition in range(self.settings.repetitions):
            if not running.any():
                break
            chosen = running[columns.cell]
            part, _ = self.run_model(parameters.take(chosen), state.take(chosen), forcing, period.start, period.stop)
            candidate = merged(state, part, chosen)
            failed = failed_columns(state, candidate)
            lost |= cells_with(failed, columns.cell, block.cells)
            state = merged(candidate, state.take(lost[columns.cell]), lost[columns.cell])
            after = _totals(state, parameters, block.cells)
            used[running] = repetition + 1
            water[repetition], biomass[repetition] = after
            running &= ~lost & ~self._settled(before, after)
            before = after
        settled_at = used - 1
        for values in (water, biomass):  # a cell that stopped early keeps its last value
            for cell in range(block.cells):
                values[used[cell] :, cell] = values[settled_at[cell], cell]
            values[:, absent] = np.nan
        write_region(
            root,
            GROUP,
            {"TOTAL_SOIL_WATER": water, "TOTAL_BIOMASS": biomass, "repetitions": used},
            {"cell": block.region},
            cells=block.mask,
        )
        write_restart(root, restart_path(NAME, np.datetime64(self.config.period.start, "s")), state, columns, block)
        return np.where(lost, ledger.SET_ASIDE, ledger.DONE).astype("int8")

    def _settled(self, before: tuple[np.ndarray, np.ndarray], after: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """Cells whose soil water and biomass changed less than the limits; none when no limit is given."""
        limits = (self.settings.soil_water_drift_kg_m2, self.settings.biomass_drift_kg_m2)
        if limits == (None, None):
            return np.zeros(len(after[0]), dtype=bool)
        settled = np.ones(len(after[0]), dtype=bool)
        for old, new, limit in zip(before, after, limits, strict=True):
            if limit is not None:
                settled &= np.abs(new - old) < limit
        return settled

    def memory_bytes(self, cells: int) -> int:
        """Forcing of a year, and the columns' states."""
        return cells * (FORCING_BYTES * 8785 + self.columns_per_cell * 8192)


def _totals(state: State, parameters: Parameters, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Total soil water (liquid and ice) and total biomass of each cell (kg m-2)."""
    thickness = np.diff(parameters.soil("layer_bottom"), axis=1, prepend=0.0)
    water = WATER_DENSITY * ((state.soil_water + state.soil_ice) * thickness).sum(axis=1)
    biomass = state.biomass.sum(axis=1)
    return landmodel.aggregate(water, parameters, cells), landmodel.aggregate(biomass, parameters, cells)
