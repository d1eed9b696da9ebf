"""How far a run is from the truth: RMSD, bias and correlation of every variable that both hold, cell by cell."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import xarray as xr
import zarr
from rich.console import Console
from rich.table import Table

from ldas.pipeline import registry
from ldas.pipeline.evaluation.metrics import scores
from ldas.pipeline.evaluation.reading import Reader, variable_names
from ldas.pipeline.execution.stage import Stage
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import dimensions, existing_array, existing_group, open_store, read_region, write_region
from ldas.pipeline.store.ledger import Block, Period, day_axis
from ldas.pipeline.store.location import Location
from ldas.pipeline.store.provenance import group_checksum
from ldas.pipeline.store.template import ArraySpec, create_template
from ldas.pipeline.twin import SYNTHETIC_ATTRIBUTES

TRUTH = "truth"
SCORES = ("rmsd", "bias", "r")


@dataclass(frozen=True)
class TruthError(Stage):
    """Scores of a run against the truth over the days that both have, in the group `truth_error/<run>`."""

    run: str
    growing_keys: ClassVar[tuple[str, ...]] = ("truth", "days", "ledger.period.end", "ledger.assimilation.end")

    @property
    def group(self) -> str:
        """Group of the scores."""
        return f"truth_error/{self.run}"

    @property
    def needs(self) -> Collection[str]:
        """See `Stage.needs`: nothing but the truth."""
        return ()

    @property
    def follows(self) -> Collection[str]:
        """See `Stage.follows`: the run."""
        return (self.run,)

    def periods(self) -> Sequence[Period]:
        """One: all days that both have."""
        reader = Reader(self.root(), growing=True)
        days = np.intersect1d(reader.days_of(TRUTH), reader.days_of(f"runs/{self.run}")).astype("datetime64[s]")
        return [Period(0, days[0], days[-1] + np.timedelta64(1, "D"), slice(0, len(days)))]

    def identity(self) -> Mapping[str, Any]:
        """See `Stage.identity`."""
        root = self.root()
        return {
            "run": self.run,
            "truth": group_checksum(existing_group(root, TRUTH)),
            "ledger": ledger.stored_identity(root, self.run),
            "days": [str(edge) for period in self.periods() for edge in (period.start, period.stop)],
        }

    def is_outdated(self, root: zarr.Group) -> bool:
        """See `Stage.is_outdated`: scores of fewer days than there are now."""
        return bool(ledger.differences(root, self.name, self.identity()))

    def variables(self) -> list[str]:
        """Variables that both hold, over the same hours."""
        root = self.root()
        return [name for name in variable_names(root, TRUTH, "time", "cell") if self._is_comparable(root, name)]

    def _is_comparable(self, root: zarr.Group, name: str) -> bool:
        """Whether the run has the variable, and for means over a day: over the same hours as the truth."""
        run, truth = existing_group(root, f"runs/{self.run}"), existing_group(root, TRUTH)
        if name not in run or dimensions(existing_array(root, run.path, name)) != ("time", "cell"):
            return False
        if truth[name].attrs.get("cell_methods") != "time: mean":
            return True
        return truth[name].attrs.get("comment") == run[name].attrs.get("comment")

    def create(self, root: zarr.Group) -> None:
        """See `Stage.create`."""
        names = {f"{name}_{score}": _attributes(name, score) for name in self.variables() for score in SCORES}
        create_template(
            root,
            self.group,
            {name: ArraySpec(("cell",), attributes=attributes) for name, attributes in names.items()},
            coordinates={"cell": (("cell",), np.arange(self.cells))},
            chunks={"cell": self.cells_per_block},
            attributes={**SYNTHETIC_ATTRIBUTES, "run": self.run},
        )

    def compute(self, root: zarr.Group, block: Block, period: Period) -> np.ndarray:
        """See `Stage.compute`."""
        reader = Reader(root, growing=True)  # of cells whose run is done
        days = day_axis(period.start, period.days.stop).astype("datetime64[D]")
        values: dict[str, np.ndarray] = {}
        for name in self.variables():
            model, truth = (
                xr.DataArray(reader.daily(path, name, days, block.region), dims=("time", "cell"))
                for path in (f"runs/{self.run}", TRUTH)
            )
            result = scores(model, truth, names=SCORES)
            values |= {f"{name}_{score}": result[score].to_numpy() for score in SCORES}
        write_region(root, self.group, values, {"cell": block.region})
        return np.full(block.cells, ledger.DONE, dtype="int8")

    def finish(self, root: zarr.Group) -> None:
        """See `Stage.finish`: prints the table."""
        Console(stderr=True).print(error_table(self.location, self.run))

    def memory_bytes(self, cells: int) -> int:
        """Two series and what scoring them takes."""
        return cells * self.periods()[0].days.stop * 8 * 20


def _attributes(name: str, score: str) -> dict[str, Any]:
    unit = "1" if score == "r" else registry.variable(name).unit
    return {"units": unit, "long_name": f"{score} of {name} against the truth"}


def truth_error(location: Location, run: str) -> dict[str, dict[str, float]]:
    """Medians over the cells: variable -> score -> value, NaN for a score that no cell has."""
    root, path = open_store(location), f"truth_error/{run}"
    names = sorted({name.rpartition("_")[0] for name in existing_group(root, path).array_keys() if name != "cell"})
    return {name: {score: _median(read_region(root, path, f"{name}_{score}")) for score in SCORES} for name in names}


def _median(values: np.ndarray) -> float:
    there = values[np.isfinite(values)]
    return float(np.median(there)) if there.size else float("nan")


def error_table(location: Location, run: str) -> Table:
    """The medians as a table."""
    table = Table(
        "variable", "unit", "RMSD", "bias", "R", title=f"{run} against the SYNTHETIC truth, medians over cells"
    )
    for name, values in truth_error(location, run).items():
        numbers = [f"{values[score]:.3g}" for score in SCORES]
        table.add_row(name, registry.variable(name).unit, *numbers)
    return table
