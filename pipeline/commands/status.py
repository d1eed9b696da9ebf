"""`ldas status`: what the ledgers of a store say."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import zarr
from rich.table import Table

from ldas.pipeline.commands import cycle_status
from ldas.pipeline.errors import StoreError
from ldas.pipeline.settings.experiment import ExperimentConfig, ModelConfig
from ldas.pipeline.stages.land import (
    CELLS_LISTED,
    first_gap,
    land_of,
    named_cells,
)
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import (
    open_store,
)
from ldas.pipeline.store.icechunk_store import unfinished
from ldas.pipeline.store.ledger import FAILED, SET_ASIDE, STARTED, Block
from ldas.pipeline.store.opening import exists


@dataclass(frozen=True)
class BlockStatus:
    """What the ledger says of one block: its cells, its periods done, and what is happening in it."""

    index: int
    first_cell: int
    last_cell: int
    periods_done: int
    state: str  #: done, started (running, or cut off in a run that was stopped), failed or waiting


@dataclass(frozen=True)
class StageStatus:
    """What the ledger says of one experiment of a store. set_aside: why, of the first cells that are set aside."""

    name: str
    tasks: int
    done: int
    started: int
    failed: int
    cells_set_aside: int
    set_aside: tuple[str, ...]
    failures: dict[int, str]
    blocks: tuple[BlockStatus, ...]

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        failures = {str(index): text for index, text in self.failures.items()}
        return {**vars(self), "failures": failures, "blocks": [vars(block) for block in self.blocks]}


def experiment_status(config: ExperimentConfig) -> list[StageStatus]:
    """Tasks done, started and failed of every experiment in the store, in all and block by block."""
    with unfinished(config.location):
        if not exists(config.location):
            raise StoreError(f"{config.location.url} does not exist: nothing has been run yet")
        root = open_store(config.location)
    return [_stage_status(root, name, config.model) for name in ledger.experiments(root)]


def block_table(rows: list[StageStatus]) -> Table:
    """The blocks that are not done."""
    table = Table("run", "block", "cells", "periods done", "state")
    for row in rows:
        for block in row.blocks:
            if block.state != "done":
                cells = f"{block.first_cell} to {block.last_cell}"
                table.add_row(row.name, str(block.index), cells, str(block.periods_done), block.state)
    return table


def last_cycle(config: ExperimentConfig, now: datetime) -> list[str]:
    """What the last `ldas cycle` took down, in words; nothing where there was none."""
    with unfinished(config.location):
        status = cycle_status.stored(open_store(config.location))
    return [f"last cycle: {status['finished']}", *cycle_status.lines(status, now)] if status else []


def _why_set_aside(root: zarr.Group, name: str, statuses: np.ndarray, model: ModelConfig) -> tuple[str, ...]:
    """Why cells are set aside, of the first of them."""
    periods = ledger.stored_periods(root, name)
    reasons = {}
    for cell in np.flatnonzero(statuses[-1] == SET_ASIDE)[:CELLS_LISTED].tolist():
        block = Block(0, cell, cell + 1)
        first, stop = periods[int((statuses[:, cell] == SET_ASIDE).argmax())]
        gap = first_gap(root, block, np.datetime64(first), np.datetime64(stop))
        lost = gap or "its model state is no longer finite, here or in a stage before"
        reasons[cell] = land_of(root, block, model).unusable.get(cell, f"{lost}, from the period of {first} on")
    return tuple(named_cells(root, reasons)) if reasons else ()


def _stage_status(root: zarr.Group, name: str, model: ModelConfig) -> StageStatus:
    statuses, size = ledger.statuses(root, name), ledger.block_size(root, name)
    done = ledger.done_tasks(statuses, size)
    started, failed = (ledger.tasks_with(statuses, size, status) for status in (STARTED, FAILED))
    state = np.select(
        [done.all(axis=0), failed.any(axis=0), started.any(axis=0)], ["done", "failed", "started"], "waiting"
    )
    blocks = ledger.blocks_of(statuses.shape[1], size)
    return StageStatus(
        name=name,
        tasks=done.size,
        done=int(done.sum()),
        started=int(started.sum()),
        failed=int(failed.sum()),
        cells_set_aside=int((statuses[-1] == SET_ASIDE).sum()),
        set_aside=_why_set_aside(root, name, statuses, model),
        failures=ledger.failures(root, name),
        blocks=tuple(
            BlockStatus(
                block.index, block.start, block.stop - 1, int(done[:, block.index].sum()), str(state[block.index])
            )
            for block in blocks
        ),
    )
