"""Evaluation of a whole store: block after block, in this process or on Dask, into the group `scores`.

What is in memory is that of the blocks in flight, however many cells there are: scores go straight to the store, whole
shards by one writer each, and only sums over cells come back.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from ldas.assim.quality import Quality
from ldas.pipeline.evaluation import architectures
from ldas.pipeline.evaluation.blocks import BY_OVERPASS, BlockResult, DailySum, evaluate_block
from ldas.pipeline.evaluation.gain import GainCounts
from ldas.pipeline.evaluation.plan import Plan, make_plan
from ldas.pipeline.evaluation.reading import Reader, group_names
from ldas.pipeline.evaluation.scores import ROOT, Scores
from ldas.pipeline.evaluation.stations import evaluate_stations
from ldas.pipeline.evaluation.triple_collocation import evaluate_triples
from ldas.pipeline.store.arrays import open_store, write_region
from ldas.pipeline.store.groups import write_group
from ldas.pipeline.store.icechunk_store import refuse_versions
from ldas.pipeline.store.lease import borrowed, held, owner_of
from ldas.pipeline.store.ledger import Block, blocks_of
from ldas.pipeline.store.location import Location, as_location
from ldas.pipeline.store.provenance import provenance
from ldas.pipeline.store.template import ArraySpec, create_template

if TYPE_CHECKING:
    from pathlib import Path

    from distributed import Client

_TASKS_PER_THREAD = 3


def evaluate(
    where: "str | Path | Location",
    *,
    experiments: Sequence[str] | None = None,
    scores: "str | Path | Location | None" = None,
    client: "Client | None" = None,
    progress: Callable[[int, int], None] = lambda done, blocks: None,
) -> Scores:
    """Scores all runs of a store (or `experiments`) on their common period and writes the group `scores`.

    Args:
        scores: another store to write to, for a run that may not be written.
        client: Dask client; without one the blocks are done here one after the other.
        progress: called with (blocks done, blocks).

    Raises:
        EvaluationError: if there is no run to evaluate.
        StoreError: if a store cannot be read or written.
        StoreInUseError: while another command writes the store of the scores.
    """
    location = as_location(where)
    target = location if scores is None else as_location(scores)
    refuse_versions(target)
    reader = Reader(open_store(location))
    plan = make_plan(reader.root, experiments)
    blocks = blocks_of(plan.cells, plan.cells_per_block)
    with held(target, "the evaluation"):
        written = open_store(target, "a")
        _remove_old(written)
        totals = _Totals()
        results = (
            _here(reader.root, written, plan, blocks)
            if client is None
            else _on_dask(location, target, written, plan, blocks, client)
        )
        for number, result in enumerate(results, start=1):
            totals.add(result)
            progress(number, len(blocks))
        totals.write(written, plan)
        notes = list(plan.notes)
        for name, dataset in (evaluate_stations(reader, plan, notes) | evaluate_triples(reader, plan)).items():
            write_group(written, f"{ROOT}/{name}", dataset.astype("float32"))
        written[ROOT].attrs["notes"] = notes
    return Scores(location, reader, plan, notes, reader.root if scores is None else open_store(target))


def _remove_old(root: zarr.Group) -> None:
    """Scores of an earlier evaluation go; what the training left beside them stays."""
    for name in group_names(root, ROOT):
        if not name.startswith(architectures.PREFIX):
            del root[f"{ROOT}/{name}"]


def _here(runs: zarr.Group, target: zarr.Group, plan: Plan, blocks: Sequence[Block]) -> Iterator[BlockResult]:
    """Results of the blocks, one after the other; their scores are written."""
    for number, block in enumerate(blocks):
        result = evaluate_block(runs, plan, block.region)
        if number == 0:
            _create(target, plan, result)
        yield _written(target, result, block)


def _on_dask(
    location: Location, target: Location, root: zarr.Group, plan: Plan, blocks: Sequence[Block], client: "Client"
) -> Iterator[BlockResult]:
    """Results of the blocks in their order, so that sums come out the same whoever computes them.

    The first blocks are all begun before there is a place for their scores, whose shape is that of the first result.

    Args:
        root: of the target, open here; workers open both stores themselves.
    """
    shared = client.submit(_same, plan, pure=False)  # not scattered data, which are lost with their workers
    waiting = iter(blocks)

    def begun(number: int) -> list[tuple[Block, Any]]:
        some = islice(waiting, number)
        return [(block, client.submit(_evaluated_there, location, shared, block, pure=False)) for block in some]

    owner = owner_of(target)

    def written(block: Block, result: Any) -> Any:
        return client.submit(_written_there, target, result, block, owner, pure=False)

    first = begun(_TASKS_PER_THREAD * max(sum(client.nthreads().values()), 1))
    _create(root, plan, first[0][1].result())
    in_flight = deque(written(*one) for one in first)
    first.clear()
    while in_flight:
        future = in_flight.popleft()
        result: BlockResult = future.result()
        future.release()
        in_flight.extend(written(*one) for one in begun(1))
        yield result


def _same(plan: Plan) -> Plan:
    return plan


def _evaluated_there(location: Location, plan: Plan, block: Block) -> BlockResult:
    """One block on a worker, with its scores."""
    return evaluate_block(open_store(location), plan, block.region)


def _written(root: zarr.Group, result: BlockResult, block: Block) -> BlockResult:
    """Writes the scores of a block; its sums come back."""
    _write(root, result, block)
    return replace(result, scores={})


def _written_there(target: Location, result: BlockResult, block: Block, owner: tuple[str, float] | None) -> BlockResult:
    """Writes them on a worker, as long as the lease has that owner."""
    with borrowed(target, owner):
        return _written(open_store(target, "a"), result, block)


def _labels(plan: Plan, name: str) -> list[str]:
    """Labels of the series of a comparison."""
    if name in plan.forecast_comparisons:
        return plan.forecast_labels(plan.forecast_comparisons[name][0])
    compared = name.removesuffix(BY_OVERPASS)
    return [series.label for one in plan.comparisons if one.name == compared for series in one.series]


def _create(root: zarr.Group, plan: Plan, example: BlockResult) -> None:
    """Templates of all groups, shaped like the results of the first block, over all cells."""
    configuration = {"experiments": [e.name for e in plan.experiments], "days": [str(plan.days[0]), str(plan.days[-1])]}
    root.require_group(ROOT).attrs.update(provenance(configuration))
    for name, dataset in example.scores.items():
        coordinates: dict[str, tuple[Sequence[str], np.ndarray]] = {"cell": (("cell",), np.arange(plan.cells))}
        for dim, size in dataset.sizes.items():
            if dim == "series":
                coordinates["series"] = (("series",), np.array(_labels(plan, name), dtype=object))
            elif dim != "cell":
                values = dataset[dim].values if dim in dataset.coords else np.arange(size)
                coordinates[str(dim)] = ((str(dim),), values)
        create_template(
            root,
            f"{ROOT}/{name}",
            {
                str(variable): ArraySpec(tuple(map(str, array.dims)), "float32", None, array.attrs)
                for variable, array in dataset.data_vars.items()
            },
            coordinates=coordinates,
            chunks={"cell": plan.cells_per_block},
            attributes=_describe(plan, name),
        )


def _describe(plan: Plan, name: str) -> dict[str, Any]:
    if name in plan.forecast_comparisons:
        forecasts, comparison = plan.forecast_comparisons[name]
        return {
            "variable": comparison.variable,
            "reference": f"{comparison.reference_path}/{comparison.reference_name}",
            "from_run": forecasts.from_run,
            "comment": "model minus reference, by days from the analysis, on the days that the reference, the "
            "forecasts and the open loop have",
        }
    for comparison in plan.comparisons:
        if comparison.name == name.removesuffix(BY_OVERPASS):
            return {
                "variable": comparison.variable,
                "reference": f"{comparison.reference_path}/{comparison.reference_name}",
                "comment": "model minus reference, on the days that the reference and all series have"
                if name == comparison.name
                else "model minus reference, overpass by overpass; one value for those of a window, where a run "
                "does not keep them apart",
            }
    return {}


def _write(root: zarr.Group, result: BlockResult, block: Block) -> None:
    for name, dataset in result.scores.items():
        values = {
            str(variable): np.asarray(array.values, dtype="float32") for variable, array in dataset.data_vars.items()
        }
        write_region(root, f"{ROOT}/{name}", values, {"cell": block.region})


class _Totals:
    """Sums over all blocks."""

    def __init__(self) -> None:
        self.daily: dict[tuple[str, str], DailySum] = {}
        self.quality: dict[tuple[str, str], np.ndarray] = {}
        self.gains: dict[str, GainCounts] = {}

    def add(self, result: BlockResult) -> None:
        """Takes in a block."""
        for key, part in result.daily.items():
            if key in self.daily:
                self.daily[key].add(part)
            else:
                self.daily[key] = part
        for key, counts in result.quality.items():
            self.quality[key] = self.quality.get(key, 0) + counts
        for name, gained in result.gains.items():
            if name in self.gains:
                self.gains[name].add(gained)
            else:
                self.gains[name] = gained

    def write(self, root: zarr.Group, plan: Plan) -> None:
        """Groups `daily_<experiment>` (mean, spread and number of cells per day), `quality_<experiment>` and
        `gain_<comparison>`."""
        for experiment in plan.experiments:
            mine = {name: part for (owner, name), part in self.daily.items() if owner == experiment.name}
            if mine:
                _write_daily(root, plan, experiment.name, mine)
            counts = {name: part for (owner, name), part in self.quality.items() if owner == experiment.name}
            if counts:
                _write_quality(root, experiment.name, counts)
        for name, gained in self.gains.items():
            labels = np.array(_labels(plan, name), dtype=object)
            found = gained.dataset(plan.days).astype("float32").assign_coords(series=labels)
            write_group(root, f"{ROOT}/gain_{name}", found)


def _write_daily(root: zarr.Group, plan: Plan, experiment: str, sums: dict[str, DailySum]) -> None:
    values: dict[str, np.ndarray] = {}
    for name, part in sums.items():
        nothing = np.full(part.total.shape, np.nan)
        mean = np.divide(part.total, part.number, out=nothing.copy(), where=part.number > 0)
        square = np.divide(part.squares, part.number, out=nothing.copy(), where=part.number > 0)
        values[f"{name}_mean"] = mean
        # Rounding can leave the variance of equal numbers just below zero.
        values[f"{name}_spread"] = np.sqrt(np.maximum(square - mean**2, 0.0))
        values[f"{name}_number"] = part.number
    path = f"{ROOT}/daily_{experiment}"
    create_template(
        root,
        path,
        {name: ArraySpec(("time",), "float32") for name in values},
        coordinates={"time": (("time",), plan.days.astype("datetime64[s]"))},
        chunks={},
    )
    write_region(root, path, {name: array.astype("float32") for name, array in values.items()}, {})


def _write_quality(root: zarr.Group, experiment: str, counts: dict[str, np.ndarray]) -> None:
    path = f"{ROOT}/quality_{experiment}"
    labels = np.array([code.name.lower() for code in Quality], dtype=object)
    create_template(
        root,
        path,
        {name: ArraySpec(("code",), "int64", 0, {"units": "1", "long_name": "number of cell-days"}) for name in counts},
        coordinates={"code": (("code",), labels)},
        chunks={},
    )
    write_region(root, path, counts, {})
