"""The synthetic globe as a stage: land, with the template of the forcing, then the weather of each block and period."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr

from ldas.pipeline import registry
from ldas.pipeline.execution.stage import Stage
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.settings.twin import GlobeConfig
from ldas.pipeline.stages.land import read_places
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import chunk_cells, existing_group, write_region
from ldas.pipeline.store.groups import write_group
from ldas.pipeline.store.ledger import Block, Period, day_axis, periods_of
from ldas.pipeline.store.provenance import provenance
from ldas.pipeline.store.template import ArraySpec, create_template
from ldas.pipeline.twin import SYNTHETIC_ATTRIBUTES
from ldas.pipeline.twin.fields import Places
from ldas.pipeline.twin.globe import HOURS, globe_land, globe_places, globe_weather
from ldas.pipeline.twin.synthetic_groups import check_years, make_room

GLOBE = "globe"
_HOURLY_ARRAYS = 25  # of a day, in double precision


def globe_stage(config: ExperimentConfig, settings: GlobeConfig) -> Stage:
    """The stage of an experiment on the synthetic globe."""
    cells = len(globe_places(settings))
    return Globe(GLOBE, config.location, cells, config.execution.cells_per_block, config, settings)


@dataclass(frozen=True)
class Globe(Stage):
    """Land, then hourly forcing block by block."""

    config: ExperimentConfig
    settings: GlobeConfig

    def periods(self) -> Sequence[Period]:
        """See `Stage.periods`."""
        period = self.config.period
        return periods_of(np.datetime64(period.start, "s"), period.days, self.config.execution.days_per_period)

    def identity(self) -> Mapping[str, Any]:
        """See `Stage.identity`."""
        return {
            "period": self.config.period.model_dump(mode="json"),
            "globe": self.settings.model_dump(mode="json"),
            "execution": {
                "cells_per_block": self.cells_per_block,
                "days_per_period": self.config.execution.days_per_period,
            },
        }

    def create(self, root: zarr.Group) -> None:
        """See `Stage.create`: the land is written here, it is small."""
        check_years(self.config)
        make_room(root, ("land", "forcing"))
        land = globe_land(self.settings)
        attributes = {**SYNTHETIC_ATTRIBUTES, **provenance(self.config.model_dump(mode="json"))}
        write_group(root, "land", land, attributes=attributes)
        days = self.config.execution.days_per_period
        records = np.arange(HOURS * self.config.period.days + 1)
        times = np.datetime64(self.config.period.start, "s") + records * np.timedelta64(3600, "s")
        create_template(
            root,
            "forcing",
            {name: ArraySpec(("time", "cell")) for name in registry.names("forcing")},
            coordinates={
                "time": (("time",), times),
                "cell": (("cell",), np.arange(self.cells)),
                **{name: (("cell",), land[name].to_numpy()) for name in ("latitude", "longitude")},
            },
            chunks={"time": HOURS * days, "cell": chunk_cells(self.cells_per_block, HOURS * days)},
            shards={"time": HOURS * days, "cell": self.cells_per_block},
            attributes={**attributes, "complete": False},
        )

    def compute(self, root: zarr.Group, block: Block, period: Period) -> np.ndarray:
        """See `Stage.compute`; the last period has the record that ends its last hour, too."""
        places, cells = Places(*read_places(root, block.region)), np.arange(block.start, block.stop)
        last = period.stop == self.periods()[-1].stop
        days = day_axis(period.start, period.days.stop - period.days.start + last)
        records = slice(HOURS * period.days.start, HOURS * period.days.stop + last)
        weather = globe_weather(self.settings.seed, days, places, cells)
        values = {name: hourly[: records.stop - records.start] for name, hourly in weather.items()}
        write_region(root, "forcing", values, {"time": records, "cell": block.region})
        return np.full(block.cells, ledger.DONE, dtype="int8")

    def finish(self, root: zarr.Group) -> None:
        """See `Stage.finish`. There are no checksums: the whole forcing would be read for them, and its seed says what
        it is."""
        existing_group(root, "forcing").attrs["complete"] = True

    def memory_bytes(self, cells: int) -> int:
        """Hourly weather of a period, as it is made and as it is written, and what a day takes."""
        days = min(self.config.execution.days_per_period, self.config.period.days) + 1
        return cells * HOURS * (2 * 9 * 4 * days + 8 * _HOURLY_ARRAYS)
