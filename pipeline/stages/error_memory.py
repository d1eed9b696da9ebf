"""What a filter that estimates its errors remembers of past windows: beside the restarts of its run, at the same
instants. Nothing is there where an assimilation estimates none."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import zarr

from ldas.assim import CycleResult, Filter
from ldas.assim.aware_cycle import aware_cycle
from ldas.assim.error_estimation import Estimates, Memory, no_memory
from ldas.pipeline.errors import StoreError
from ldas.pipeline.settings.assimilation import AssimilationConfig
from ldas.pipeline.store.arrays import absence, existing_group, has_group, read_region, write_region
from ldas.pipeline.store.ledger import Block, Period
from ldas.pipeline.store.restart import restart_path
from ldas.pipeline.store.template import ArraySpec, create_template


def cycle(
    settings: AssimilationConfig, method: Filter, memory: Memory | None, *what: Any, **how: Any
) -> tuple[CycleResult, Memory | None, Estimates | None]:
    """The cycle of a filter (see `Filter.cycle`), with its memory after it and the estimates that it used."""
    if memory is None:
        return method.cycle(*what, **how), None, None
    return aware_cycle(method, memory, settings.bias, settings.adaptive_errors, *what, **how)


def memory_paths(settings: AssimilationConfig, instant: np.datetime64) -> Collection[str]:
    """Group of the memory at an instant: `restarts/EKF-errors/20150101T09`."""
    return [restart_path(f"{settings.name}-errors", instant)] if settings.estimates_errors else []


def create_memory(
    root: zarr.Group,
    settings: AssimilationConfig,
    instant: np.datetime64,
    *,
    cells: int,
    cells_per_block: int,
    attributes: Mapping[str, Any],
) -> None:
    """Template of the memory at an instant."""
    names = [entry.name for entry in settings.observations]
    for path in memory_paths(settings, instant):
        create_template(
            root,
            path,
            {name: ArraySpec(("cell", "observation"), "float64") for name in Memory._fields},
            coordinates={name: ((name,), np.arange(n)) for name, n in (("cell", cells), ("observation", len(names)))},
            chunks={"cell": cells_per_block},
            attributes={**attributes, "instant": str(instant), "observations": names},
        )


def check_memory(root: zarr.Group, settings: AssimilationConfig, instant: np.datetime64) -> None:
    """StoreError for a memory that is not there or was written by another version."""
    for path in memory_paths(settings, instant):
        if not has_group(root, path):
            raise StoreError(
                f"no restart '{path}' in the store: {absence(root, path)}; run the stage up to that instant first, or "
                "bring it back from a copy of the store"
            )
        missing = sorted(set(Memory._fields) - set(existing_group(root, path).array_keys()))
        if missing:
            raise StoreError(f"restart '{path}' has no {', '.join(missing)}: another version of ldas wrote it")


def memory_before(root: zarr.Group, settings: AssimilationConfig, block: Block, period: Period) -> Memory | None:
    """The memory of a block's cells at the start of a period; None where no errors are estimated."""
    if not settings.estimates_errors:
        return None
    if not period.days.start:
        return no_memory(block.cells, len(settings.observations))
    check_memory(root, settings, period.start)
    (path,) = memory_paths(settings, period.start)
    return Memory(*(read_region(root, path, name, {"cell": block.region}) for name in Memory._fields))


def write_memory(
    root: zarr.Group, settings: AssimilationConfig, instant: np.datetime64, memory: Memory | None, block: Block
) -> None:
    """Writes the memory of a block's cells, or of its chosen ones."""
    if memory is not None:
        (path,) = memory_paths(settings, instant)
        write_region(root, path, memory._asdict(), {"cell": block.region}, cells=block.mask)
