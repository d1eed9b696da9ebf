"""The stages of an experiment, in the order in which they run."""

from collections.abc import Iterator

from ldas.pipeline.execution.stage import Stage
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.stages.assimilate import Assimilate
from ldas.pipeline.stages.forecast import Forecast
from ldas.pipeline.stages.land import number_of_cells, read_land
from ldas.pipeline.stages.open_loop import OpenLoop
from ldas.pipeline.stages.spin_up import NAME as SPIN_UP
from ldas.pipeline.stages.spin_up import SpinUp
from ldas.pipeline.stages.train import Train, cells_per_training_block, shares_weights, sharing_stage, training_stage
from ldas.pipeline.stages.train_shared import TrainShared
from ldas.pipeline.store.arrays import open_store
from ldas.pipeline.twin.globe_stage import globe_stage
from ldas.pipeline.twin.stages import error_stage, twin_stages


def build_stages(config: ExperimentConfig) -> Iterator[Stage]:
    """The stages that the configuration asks for. Each is built when the one before it is done."""
    if config.twin is not None:
        yield from twin_stages(config, config.twin)
    if config.globe is not None:
        yield globe_stage(config, config.globe)
    root = open_store(config.location)
    cells = number_of_cells(root)
    columns_per_cell = int((read_land(root, "patch_fraction") > 0).sum(axis=1).max())
    size = config.execution.cells_per_block
    if config.spin_up is not None:
        yield SpinUp(SPIN_UP, config.location, cells, size, config, columns_per_cell)
    yield OpenLoop(config.open_loop.name, config.location, cells, size, config, columns_per_cell)
    for operator in config.operators:
        block = cells_per_training_block(operator) or cells
        train = Train(training_stage(operator.name), config.location, cells, block, config, operator)
        if shares_weights(operator):
            yield TrainShared(sharing_stage(operator.name), config.location, cells, cells, train)
        yield train
    analyses = {}
    for run in config.assimilation:
        analyses[run.name] = Assimilate(run.name, config.location, cells, size, config, columns_per_cell, run)
        yield analyses[run.name]
    for entry in config.forecasts:
        forecast = Forecast(
            entry.name, config.location, cells, size, config, columns_per_cell, entry, analyses[entry.from_run]
        )
        if len(forecast.starts()):  # a cycle of the first days has none yet
            yield forecast
    if config.twin is not None and config.twin.from_run is None:
        for name in (config.open_loop.name, *(run.name for run in config.assimilation)):
            yield error_stage(config, config.twin, name)
