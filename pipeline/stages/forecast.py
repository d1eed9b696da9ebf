"""Forecasts: the model and filter of an assimilation, without observations, from its analyses of chosen days."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import zarr

from ldas import landmodel
from ldas.assim import Filter
from ldas.landmodel import Parameters
from ldas.landmodel.array_types import Days
from ldas.pipeline.settings.forecast import ForecastConfig
from ldas.pipeline.stages import labels
from ldas.pipeline.stages.assimilate import Assimilate
from ldas.pipeline.stages.assimilation_output import of_window, output_sources
from ldas.pipeline.stages.land import FORCING_BYTES, LandStage, cells_with_gaps, without_columns
from ldas.pipeline.stages.observations import days_of
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import chunk_cells, existing_array, existing_group, read_region, write_region
from ldas.pipeline.store.groups import hide_new
from ldas.pipeline.store.ledger import Block, Period
from ldas.pipeline.store.restart import columns_of, instant_name
from ldas.pipeline.store.template import ArraySpec, create_template, extend_template

DAY = np.timedelta64(1, "D")
AXIS, LEAD = "reference_time", "lead_day"
_COORDINATES = {
    AXIS: {
        "standard_name": "forecast_reference_time",
        "long_name": "time of the analysis that the forecast starts from",
    },
    LEAD: {
        "standard_name": "forecast_period",
        "units": "d",
        "long_name": "days from the analysis to the end of the day",
    },
    "valid_time": {"standard_name": "time", "long_name": "end of the forecast day: states hold then"},
}


def forecast_group(name: str) -> str:
    """Group of the forecasts of a name."""
    return f"forecasts/{name}"


def forecast_forcing(name: str, start: np.datetime64) -> str:
    """Group of the forcing of a forecast that starts at an instant: `forecast_forcing/ecmwf/20150106T09`."""
    return f"forecast_forcing/{name}/{instant_name(start)}"


@dataclass(frozen=True)
class Forecast(LandStage):
    """The forecasts of one name: a task runs some of them in a block, each from its own analysis."""

    settings: ForecastConfig
    analyses: Assimilate
    growing_keys: ClassVar[tuple[str, ...]] = Assimilate.growing_keys

    @property
    def group(self) -> str:
        """Group of the output."""
        return forecast_group(self.name)

    def starts(self) -> Days:
        """Days of the analyses that the forecasts start from."""
        windows = days_of(self.analyses.ends()).astype("datetime64[D]")
        return self.settings.starts(windows, self.config.period.end)

    def _instants(self) -> np.ndarray:
        return labels.instants(self.starts(), self.analyses.hour)

    def periods(self) -> Sequence[Period]:
        """See `Stage.periods`: as many forecasts as have the days of a period together, at least one."""
        instants, size = self._instants(), self._forecasts_of_a_task
        parts = [slice(first, min(first + size, len(instants))) for first in range(0, len(instants), size)]
        return [
            Period(index, instants[part.start], instants[part.stop - 1] + self.settings.days * DAY, part)
            for index, part in enumerate(parts)
        ]

    @property
    def _forecasts_of_a_task(self) -> int:
        return max(1, self.config.execution.days_per_period // self.settings.days)

    @property
    def growing_groups(self) -> Collection[str]:
        """See `Stage.growing_groups`."""
        return (self.group,)

    def places_until(self, period: Period, instant: np.datetime64) -> int:
        """See `Stage.places_until`: forecasts that end by then."""
        return int((self._instants()[period.days] + self.settings.days * DAY <= instant).sum())

    @property
    def needs(self) -> Collection[str]:
        """See `Stage.needs`: nothing but the analyses of the same cells."""
        return ()

    @property
    def follows(self) -> Collection[str]:
        """See `Stage.follows`: the assimilation."""
        return (self.analyses.name,)

    def work_days(self, period: Period) -> float:
        """See `Stage.work_days`: every member counts."""
        members = len(self.analyses.restart_names())
        return float((period.days.stop - period.days.start) * self.settings.days * members)

    def identity(self) -> Mapping[str, Any]:
        """See `Stage.identity`: all that the analyses depend on."""
        return {**self.analyses.identity(), "forecasts": self.settings.model_dump(mode="json")}

    def create(self, root: zarr.Group) -> None:
        """See `Stage.create`."""
        size = self._forecasts_of_a_task
        create_template(
            root,
            self.group,
            self._specs(),
            coordinates={
                AXIS: ((AXIS,), self._instants()),
                LEAD: ((LEAD,), np.arange(1, self.settings.days + 1)),
                **self._valid(),
                **labels.places(root),
                "cell": (("cell",), np.arange(self.cells)),
            },
            chunks={AXIS: size, "cell": chunk_cells(self.cells_per_block, size * self.settings.days)},
            shards={AXIS: size, "cell": self.cells_per_block},
            attributes={
                **self.group_attributes(root),
                "from_run": self.analyses.name,
                "analysis_hour_utc": self.analyses.hour,
            },
        )
        for name, attributes in _COORDINATES.items():
            existing_array(root, self.group, name).attrs.update(attributes)

    def _valid(self) -> labels.Coordinates:
        leads = np.arange(1, self.settings.days + 1) * DAY
        return {"valid_time": ((AXIS, LEAD), self._instants()[:, None] + leads)}

    def _specs(self) -> dict[str, ArraySpec]:
        output, clock = self.config.output, labels.clock(self.analyses.hour)
        comments = dict.fromkeys(output.mean, "mean over the 24 h up to valid_time")
        comments |= dict.fromkeys(output.instant, f"value at valid_time, {clock}")
        where = {"coordinates": "valid_time latitude longitude"}
        return {
            name: ArraySpec((AXIS, LEAD, "cell"), "float32", None, {"comment": comment, **where})
            for name, comment in comments.items()
        }

    def extend(self, root: zarr.Group, old_periods: Sequence[Sequence[str]]) -> None:
        """See `Stage.extend`: later forecasts."""
        hide_new(root, self.group, AXIS)
        existing_group(root, self.group).attrs.update(self.group_attributes(root))
        extend_template(root, self.group, AXIS, self._instants(), self._valid())

    def compute(self, root: zarr.Group, block: Block, period: Period) -> np.ndarray:
        """See `Stage.compute`."""
        parameters, method = self.parameters(root, block), self.analyses.filter_of(root, block)
        sources, instants = output_sources(self.config.output), self._instants()[period.days]
        values = np.full((len(sources), len(instants), self.settings.days, block.cells), np.nan)
        for number, lost in enumerate(self._without_analysis(root, block, period)):
            days = self._days(root, block, instants[number], parameters, method, lost)
            for lead, (means, lost_by_then) in enumerate(days):
                values[:, number, lead] = np.where(lost_by_then, np.nan, means)
        arrays = dict(zip(sources, values, strict=True))
        region = {AXIS: period.days, "cell": block.region}
        write_region(root, self.group, arrays, region, continued=AXIS, cells=block.mask)
        lost = np.isnan(values).any(axis=(0, 1, 2))
        return np.where(lost, ledger.SET_ASIDE, ledger.DONE).astype("int8")

    def _without_analysis(self, root: zarr.Group, block: Block, period: Period) -> np.ndarray:
        """(forecast, cell) True where the assimilation had set the cell aside by then: its increment is not defined."""
        windows, starts = days_of(self.analyses.ends()).astype("datetime64[D]"), self.starts()[period.days]
        rows = (starts - windows[0]).astype(np.int64)
        part = {"time": slice(int(rows[0]), int(rows[-1]) + 1), "cell": block.region}
        control = self.analyses.settings.method.controls[0]
        return np.isnan(read_region(root, self.analyses.group, f"increment_{control}", part)[rows - rows[0]])

    def _days(
        self,
        root: zarr.Group,
        block: Block,
        instant: np.datetime64,
        parameters: Parameters,
        method: Filter,
        lost: np.ndarray,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """One forecast, day by day: cell means (variable, cell), and which cells are lost by then.

        Args:
            lost: (cell,) at the start.
        """
        group = forecast_forcing(self.settings.forcing, instant) if self.settings.forcing else "forcing"
        forcing = self.forcing(root, block, instant, instant + self.settings.days * DAY, parameters, group)
        lost = lost | cells_with_gaps(forcing) | without_columns(parameters, block.cells)
        columns = columns_of(parameters)
        chosen = ~lost[columns.cell]
        if not chosen.any():
            return
        state = self.analyses.analysed_state(root, block, instant, columns, method).take(chosen)
        used = parameters.take(chosen)
        model = self.land_model(used)
        sources, request = output_sources(self.config.output), self.analyses.output_request()
        for lead in range(1, self.settings.days + 1):
            window = self.analyses.window(forcing, instant + lead * DAY)
            result = method.cycle(model, state, window, {}, output=request, set_aside=lost)
            state, lost = result.state, result.set_aside
            columns_of_day = np.stack([of_window(result.outputs, source) for source in sources.values()])
            yield landmodel.aggregate(columns_of_day, used, block.cells), lost

    def memory_bytes(self, cells: int) -> int:
        """Forcing of one forecast; states of all members; the output of a task."""
        output, days = self.config.output, self.settings.days
        states = self.columns_per_cell * len(self.analyses.restart_names()) * 4 * 2048
        stored = 8 * days * self._forecasts_of_a_task * (len(output.mean) + len(output.instant))
        return cells * (FORCING_BYTES * (24 * days + 1) + states + stored)

    def on_card(self) -> tuple[int, int]:
        """See `LandStage.on_card`."""
        return self.analyses.on_card()
