"""`ldas run`: an experiment from its file to its results."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import zarr

from ldas.pipeline.errors import ConfigurationError
from ldas.pipeline.execution import cluster, device
from ldas.pipeline.execution.run_stages import Listener, Outcome, check_memory, run_stages, stop_if_hopeless
from ldas.pipeline.execution.stage import Stage, prepare
from ldas.pipeline.plan import build_stages
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.stages.land import forcing_times
from ldas.pipeline.store.arrays import existing_group, open_store, read_times
from ldas.pipeline.store.groups import finish_replacing
from ldas.pipeline.store.icechunk_store import published, unfinished
from ldas.pipeline.store.lease import held
from ldas.pipeline.store.opening import exists

StageBuilder = Callable[[ExperimentConfig], Iterator[Stage]]
_TASKS_PER_THREAD = 3  # enough that a thread never waits for the scheduler, few enough to keep it small


@dataclass
class RunResult:
    """What came of a run: by stage, and the page of the report."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    report: Path | None = None

    @property
    def failures(self) -> bool:
        """Whether blocks failed, after which no other stage begins."""
        return any(outcome.failures for outcome in self.outcomes.values())

    @property
    def complete(self) -> bool:
        """Whether every block of every stage was done and no cell was set aside."""
        return all(outcome.complete for outcome in self.outcomes.values())


def run_experiment(
    config: ExperimentConfig,
    listener: Listener,
    *,
    message: Callable[[str], None] = lambda text: None,
    stages: StageBuilder = build_stages,
) -> RunResult:
    """Runs what is not done yet: ingestion, then the stages, each over all blocks and as soon as what it needs is
    there; then the report.

    After a stage with failed blocks no other begins. Started again, the run resumes.

    Raises:
        StoreInUseError: while another command writes the store; names the holder.
    """
    try:
        with held(config.location, f"the run of '{config.name}'", message), unfinished(config.location):
            return _run_experiment(config, listener, message, stages)
    except OSError as error:  # of the driver itself: templates, ledgers, ingestion
        stop_if_hopeless(config.location, error)
        raise


def _run_experiment(
    config: ExperimentConfig, listener: Listener, message: Callable[[str], None], stages: StageBuilder
) -> RunResult:
    ingest(config, message)
    return run_ingested(config, listener, message, stages=stages)


def run_ingested(
    config: ExperimentConfig,
    listener: Listener,
    message: Callable[[str], None],
    *,
    stages: StageBuilder = build_stages,
    report: bool = True,
) -> RunResult:
    """Stages and report of an experiment whose ingestion is done; the caller holds the lease of the store.

    Args:
        report: whether to write the report, if the experiment asks for one.
    """
    if config.twin is None and config.globe is None and stages is build_stages:
        _require_forcing(config)
    settings = config.execution
    with ExitStack() as stack:
        connected = cluster.connected(settings.cluster, message, cards=settings.device != "cpu")
        client = stack.enter_context(connected)
        if link := cluster.dashboard(client, settings.cluster):
            message(f"dashboard: {link}")

        cards = device.cards_for(settings, client, message)
        chosen = settings.computed_on([card.name for card in cards])
        config = config.model_copy(update={"execution": chosen})

        def tasks_in_flight() -> int:
            return settings.window or _TASKS_PER_THREAD * cluster.threads(client, settings.cluster.workers)

        def begin(stage: Stage) -> None:
            check_memory(stage, *cluster.worker_memory(client))
            device.check_cards(stage, cards)
            prepare(stage)

        result = RunResult(
            run_stages(
                stages(config),
                client,
                tasks_in_flight=tasks_in_flight,
                retries=settings.retries,
                listener=listener,
                begin=begin,
            )
        )
        if result.failures:
            return result
        if report and config.report and stages is build_stages:
            from ldas.pipeline.report import write_report

            # The evaluation is many short operations, which threads of one process only take from each other.
            own_threads = settings.cluster.kind == "local" and not settings.cluster.processes
            result.report = write_report(config.location, client=None if own_threads else client).page
            message(f"report: {result.report}")
    return result


def ingest(config: ExperimentConfig, message: Callable[[str], None]) -> None:
    """The ingestion steps whose group is not complete in the store, or ends before the experiment and may grow."""
    if not config.ingest:
        return
    from ldas.pipeline.ingest import appends, run_ingest
    from ldas.pipeline.ingest.write import is_complete

    if exists(config.location):
        with published(config.location, "ingestion resumed"):
            finish_replacing(open_store(config.location, "a"))
    for step in config.ingest:
        continued = False
        if exists(config.location):
            root = open_store(config.location)
            if is_complete(root, step.makes):
                if not (_ends_early(root, step.makes, config) and appends(step.source, step.config)):
                    continue
                continued = True
        for written in run_ingest(step.source, step.config, config.location, continued=continued):
            message(str(written))


def _ends_early(root: zarr.Group, group: str, config: ExperimentConfig) -> bool:
    """Whether a group with a time axis ends before the experiment; a forcing has a record at the very end."""
    if "time" not in existing_group(root, group):
        return False
    return bool(
        read_times(root, group)[-1] < np.datetime64(config.period.stop if group == "forcing" else config.period.end)
    )


def _require_forcing(config: ExperimentConfig) -> None:
    """ConfigurationError where the forcing does not cover period or spin-up, before anything is made for them."""
    times = forcing_times(open_store(config.location))
    for what, (begin, end) in zip(("period", "spin-up"), config.forcing_spans, strict=False):
        if not (times[0] <= np.datetime64(begin) and np.datetime64(end) <= times[-1]):
            raise ConfigurationError(
                f"the forcing of {config.location.url} runs from {times[0]} to {times[-1]}; the {what} needs "
                f"{begin}T00 to {end}T00: ingest what is missing (`append: true` in the configuration of the "
                f"ingestion), or change the {what}"
            )
