"""Training of what all cells of an operator share: one task that goes once through all training blocks."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import zarr

from ldas.operators.cells import cell_ids_from_coordinates
from ldas.operators.protocol import SharingOperator, TrainingBlock
from ldas.pipeline.execution.stage import Stage
from ldas.pipeline.stages.land import read_land
from ldas.pipeline.stages.train import Train
from ldas.pipeline.store import ledger
from ldas.pipeline.store.ledger import Block, Period
from ldas.pipeline.store.shared_weights import write_shared


@dataclass(frozen=True)
class TrainShared(Stage):
    """Trains what all cells share, before `train` trains them block by block. The samples of one training block are in
    memory at a time, beside those that the operator keeps of each."""

    train: Train
    growing_keys: ClassVar[tuple[str, ...]] = Train.growing_keys
    size_key: ClassVar[str] = Train.size_key
    days_key: ClassVar[str | None] = None

    def periods(self) -> Sequence[Period]:
        """One: the training window."""
        return self.train.periods()

    @property
    def needs(self) -> Collection[str]:
        """See `Stage.needs`: the states of all cells."""
        return (self.train.config.open_loop.name,)

    def work_days(self, period: Period) -> float:
        """No model days."""
        return 0.0

    def identity(self) -> Mapping[str, Any]:
        """See `Stage.identity`."""
        return self.train.identity()

    def create(self, root: zarr.Group) -> None:
        """See `Stage.create`: the group is written when they are trained."""
        self.train.require_inputs(root)

    def extend(self, root: zarr.Group, old_periods: Sequence[Sequence[str]]) -> None:
        """Nothing: an open loop that is extended does not change the training window."""

    def compute(self, root: zarr.Group, block: Block, period: Period) -> np.ndarray:
        """See `Stage.compute`."""
        settings = self.train.settings
        operator = settings.untrained()
        assert isinstance(operator, SharingOperator)
        arrays = operator.fit_shared(self._blocks(root), self.cells).shared_arrays()
        write_shared(root, settings.name, arrays, self.train.operator_identity(root))
        return np.full(block.cells, ledger.DONE, dtype="int8")

    def _blocks(self, root: zarr.Group) -> Iterator[TrainingBlock]:
        """Samples of all training blocks, read when they are asked for."""
        for part in ledger.blocks_of(self.cells, self.train.cells_per_block):
            latitude, longitude = (read_land(root, name, part.region) for name in ("latitude", "longitude"))
            samples = self.train.samples(root, part, self.train.settings.training)
            fields = self.train.static(root, part).get("static", {})
            yield TrainingBlock(*samples, cell_ids_from_coordinates(latitude, longitude), fields)

    def memory_bytes(self, cells: int) -> int:
        """What a training block needs, and the samples that are kept."""
        kept = getattr(getattr(self.train.settings.untrained(), "options", None), "pool_samples", 0)
        inputs = len(self.train.settings.predictor_names) * 3 + 40
        return self.train.memory_bytes(self.train.cells_per_block) + kept * inputs * 8 * 4
