"""What a store has to show: looked up once, without reading a value of it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Self

import numpy as np
import zarr

from ldas.landmodel.array_types import Array, Days
from ldas.pipeline.errors import StoreError
from ldas.pipeline.evaluation.forecasts import find_forecasts
from ldas.pipeline.evaluation.reading import Reader, attributes, cell_centres, group_names, variable_names
from ldas.pipeline.evaluation.stations import Station, find_stations, is_synthetic
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import (
    decode_labels,
    dimensions,
    existing_array,
    existing_group,
    has_group,
    open_lazily,
    open_store,
)
from ldas.pipeline.store.at_once import at_once
from ldas.pipeline.store.location import Location

Kind = Literal["run", "truth", "forecasts", "observations"]
KINDS: dict[Kind, str] = {
    "run": "Experiments",
    "forecasts": "Forecasts",
    "truth": "Synthetic truth",
    "observations": "Observations",
}
SCORES, LAND = "scores", "land"


@dataclass(frozen=True, eq=False)
class Source:
    """A group with values of every day. `days`: those that it has, of forecasts the days that they start from; `leads`:
    days of each forecast, else 0; `hour`: at which states hold (UTC)."""

    path: str
    kind: Kind
    days: Days
    variables: tuple[str, ...]
    leads: int = 0
    hour: int = 0

    @property
    def name(self) -> str:
        """As a reader knows it."""
        return self.path.split("/")[-1]

    @property
    def is_free(self) -> bool:
        """Whether it is a run without observations."""
        return self.kind == "run" and not any(name.startswith("innovation_") for name in self.variables)

    def nearest(self, day: np.datetime64) -> np.datetime64:
        """The last stored day up to a day, or the first one."""
        place = int(np.searchsorted(self.days, day.astype("datetime64[D]"), side="right")) - 1
        found: np.datetime64 = self.days[max(place, 0)]
        return found


@dataclass(frozen=True)
class ScoreGroup:
    """A group of scores. `measures`: those with one number a cell (and series); `series`: what was scored, if several;
    `variable`: of the model, or empty; `leads`: lead days, else 0."""

    name: str
    measures: tuple[str, ...]
    series: tuple[str, ...]
    variable: str
    reference: str
    leads: int = 0


class Content:
    """What can be chosen in a store.

    root: the store, open for reading; reader: its series.
    """

    def __init__(self, root: zarr.Group) -> None:
        self.root, self.reader = root, Reader(root)

    @classmethod
    def of(cls, location: Location) -> Self:
        """Of a store as it is now."""
        return cls(open_store(location))

    @cached_property
    def sources(self) -> dict[str, Source]:
        """Runs, the open loop first, then forecasts, truth and observations, by the path of their group.

        Raises:
            StoreError: if there is none.
        """
        runs = [self._daily(f"runs/{name}", "run") for name in group_names(self.root, "runs")]
        runs.sort(key=lambda run: (run is None or not run.is_free, "" if run is None else run.name))
        names = [run.name for run in runs if run is not None]
        forecasts = [
            Source(one.path, "forecasts", one.days, tuple(sorted(one.variables)), one.leads)
            for one in find_forecasts(self.root, names)
            if len(one.days)
        ]
        truth = [self._daily("truth", "truth")] if has_group(self.root, "truth") else []
        observed = [
            self._daily(f"observations/{name}", "observations") for name in group_names(self.root, "observations")
        ]
        found = {one.path: one for one in [*runs, *forecasts, *truth, *observed] if one is not None}
        if not found and not self.land:
            raise StoreError(
                f"{self.root.store} has nothing to show yet: neither land nor observations nor a run; "
                "`ldas run EXPERIMENT.yaml` makes them"
            )
        return found

    def _daily(self, path: str, kind: Kind) -> Source | None:
        """A group over time and cell; None where it has no day yet."""
        if "time" not in existing_group(self.root, path):
            return None
        dims = {name: dimensions(array) for name, array in existing_group(self.root, path).arrays()}
        names = [name for name, of in dims.items() if of in (("time", "cell"), ("time", "overpass", "cell"))]
        days = np.unique(self.reader.days_of(path))
        hour = int(attributes(self.root, path).get("analysis_hour_utc", 0))
        return Source(path, kind, days, tuple(sorted(names)), hour=hour) if names and len(days) else None

    @cached_property
    def runs(self) -> list[Source]:
        """The runs, the open loop first."""
        return [source for source in self.sources.values() if source.kind == "run"]

    @cached_property
    def land(self) -> tuple[str, ...]:
        """Variables of the land, one value a cell."""
        return tuple(variable_names(self.root, LAND, "cell")) if has_group(self.root, LAND) else ()

    @cached_property
    def centres(self) -> tuple[Array, Array]:
        """Latitude and longitude of the cells, degrees; without land, places made up from the cell's number."""
        if self.land:
            return cell_centres(self.root)
        path = next(iter(self.sources))
        cells = existing_array(self.root, path, "cell").shape[0]
        return np.zeros(cells), np.arange(cells, dtype=np.float64)

    @cached_property
    def stations(self) -> list[Station]:
        """Stations inside the domain."""
        return [station for station in find_stations(self.root) if station.cell is not None]

    @cached_property
    def synthetic(self) -> bool:
        """Whether any of it is synthetic."""
        return is_synthetic(self.root)

    @cached_property
    def has_scores(self) -> bool:
        """Whether the runs were evaluated."""
        return has_group(self.root, SCORES)

    @cached_property
    def score_groups(self) -> tuple[str, ...]:
        """Names of the groups of scores with a number for every cell."""
        if not self.has_scores:
            return ()
        groups = sorted(existing_group(self.root, SCORES).groups())
        has_cells = at_once(lambda item: not item[0].startswith("station_") and "cell" in item[1], groups)
        return tuple(name for (name, _), wanted in zip(groups, has_cells, strict=True) if wanted)

    def scores(self, name: str) -> ScoreGroup:
        """A group of scores."""
        path = f"{SCORES}/{name}"
        found = open_lazily(self.root, path)
        allowed = {"series", "lead_day", "cell"}
        measures = [
            str(key)
            for key, one in found.data_vars.items()
            if "cell" in one.dims and set(map(str, one.dims)) <= allowed
        ]
        series = tuple(map(str, decode_labels(found["series"]))) if "series" in found.coords else ()
        variable, reference = (str(found.attrs.get(key, "")) for key in ("variable", "reference"))
        return ScoreGroup(
            name, tuple(sorted(measures, key=_by_use)), series, variable, reference, found.sizes.get("lead_day", 0)
        )

    def last_computed(self, source: Source) -> np.datetime64:
        """The last day of a source, of a run that is not finished the last one of a period that was computed."""
        last: np.datetime64 = source.days[-1]
        if source.kind != "run" or source.name not in ledger.experiments(self.root):
            return last
        done = (ledger.statuses(self.root, source.name) == ledger.DONE).any(axis=1)
        if done.all() or not done.any():
            return last
        stop = ledger.stored_periods(self.root, source.name)[int(np.flatnonzero(done)[-1])][1]
        return source.nearest(np.datetime64(stop, "D") - 1)


# What one looks at first comes first.
_FIRST = ("rmsd", "r", "bias", "ubrmsd", "anomaly_r", "kge", "nic_rmsd", "nic_r", "n")


def _by_use(name: str) -> tuple[int, str]:
    return (_FIRST.index(name) if name in _FIRST else len(_FIRST), name)
