"""`ldas cycle`: every day the same command. What is new is ingested and analysed, what was corrected or came late is
computed again in the cells that it touches, and the group `cycle` says how the analysis stands."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import zarr

from ldas.pipeline.commands import cycle_status
from ldas.pipeline.commands.run import RunResult, ingest, run_ingested
from ldas.pipeline.errors import ConfigurationError
from ldas.pipeline.execution.run_stages import Listener, Outcome, stop_if_hopeless
from ldas.pipeline.execution.stage import Stage, differences, is_finished
from ldas.pipeline.plan import build_stages
from ldas.pipeline.settings.experiment import LAST_DATE, ExperimentConfig
from ldas.pipeline.stages.land import forcing_times
from ldas.pipeline.stages.open_loop_departures import judging_lai
from ldas.pipeline.stages.overpass_states import overpass_variables
from ldas.pipeline.stages.replay import affected_from, require_restarts
from ldas.pipeline.store import input_record, ledger
from ldas.pipeline.store.arrays import existing_group, has_group, open_store
from ldas.pipeline.store.icechunk_store import published, unfinished
from ldas.pipeline.store.input_record import DAY, FORCING, Changes, Checksums
from ldas.pipeline.store.lease import held
from ldas.pipeline.store.opening import exists
from ldas.pipeline.twin.truth_error import TruthError

Message = Callable[[str], None]


@dataclass
class CycleResult:
    """What came of a cycle: the stages that were run, and how the analysis stands now."""

    run: RunResult
    status: dict[str, Any]
    replayed: dict[str, int] = field(default_factory=dict)  #: cells of each stage that were computed again

    @property
    def complete(self) -> bool:
        """Whether every block of every stage was done and no cell was set aside."""
        return self.run.complete


def run_cycle(
    config: ExperimentConfig,
    listener: Listener,
    *,
    until: date | None = None,
    message: Message = lambda text: None,
) -> CycleResult:
    """Ingests what is new, computes again what follows from corrected or late input, runs up to the last day that the
    forcing has whole, and takes down how the analysis stands. Repeated at once, it changes nothing.

    Args:
        until: last day, also where the forcing has more. A twin makes its own weather: up to here, or to the end of the
            period of its configuration.

    Raises:
        StoreInUseError: while another command writes the store; names the holder.
        ConfigurationError, StoreError, IngestError: input that cannot be used; what was there before is kept.
    """
    try:
        with held(config.location, f"the cycle of '{config.name}'", message), unfinished(config.location):
            return _Cycle(config, listener, until, message).run()
    except OSError as error:
        stop_if_hopeless(config.location, error)
        raise


class _Cycle:
    """One cycle: the experiment, and how far it was and will be."""

    def __init__(self, config: ExperimentConfig, listener: Listener, until: date | None, message: Message) -> None:
        self.config, self.listener, self.until, self.message = config, listener, until, message

    def run(self) -> CycleResult:
        """See `run_cycle`."""
        self._revise()
        ingest(_ending(self.config, self.until or LAST_DATE), self.message)
        before = self._last_day()
        end = self._end(before)
        replayed: dict[str, int] = {}
        result = RunResult()
        if before is not None:
            current = _ending(self.config, before)
            replayed = self._reopen(current)
            if replayed or self._is_pending(current):
                # First up to the old end: cells that are computed again then continue together with the others.
                result = run_ingested(current, self.listener, self.message, report=end == before)
        if before is None or end > before:
            if result.failures:
                return self._concluded(before or end, replayed, result)
            later = _ending(self.config, end)
            if before is None and not (self.config.twin or self.config.globe):
                replayed = self._reopen(later)  # a first cycle that came to an end early may have a spin-up
            result = run_ingested(later, self.listener, self.message)
            if (self.config.twin or self.config.globe) and not result.failures:
                self._take_down(later)
        return self._concluded(end, replayed, result)

    def _revise(self) -> None:
        """Takes over what files now have otherwise than the store, before what is later is appended."""
        from ldas.pipeline.ingest import revise_group
        from ldas.pipeline.ingest.write import is_complete

        location = self.config.location
        for step in self.config.ingest:
            if not (step.revise and exists(location) and is_complete(open_store(location), step.makes)):
                continue
            if (done := revise_group(step.source, step.config, location, step.makes)) is not None:
                self.message(done)

    def _concluded(self, end: date, replayed: dict[str, int], result: RunResult) -> CycleResult:
        """Takes down how the analysis stands, unless it stands as before."""
        root = open_store(self.config.location)
        status = cycle_status.facts(root, _ending(self.config, end), self._input_names(root), self.until)
        if result.outcomes or cycle_status.differs(root, status):
            status = cycle_status.concluded(status, replayed)
            with published(self.config.location, "cycle: status"):
                cycle_status.write(open_store(self.config.location, "a"), status)
        else:
            status = cycle_status.stored(root)
            self.message(f"nothing new: analysed up to {end}")
        if not result.outcomes:
            result = RunResult(_set_aside(root, status))
        for line in cycle_status.lines(status, datetime.now(UTC)):
            self.message(line)
        return CycleResult(result, status, replayed)

    def _last_day(self) -> date | None:
        """The last day that stages were prepared for; None before the first run."""
        if not exists(self.config.location):
            return None
        root = open_store(self.config.location)
        there = set(ledger.experiments(root))
        if self.config.open_loop.name not in there:
            return None
        ends = [
            ledger.stored_identity(root, stage.name).get("period.end")
            for stage in build_stages(self.config)
            if stage.name in there
        ]
        return max(date.fromisoformat(end) for end in ends if end is not None)

    def _end(self, before: date | None) -> date:
        """The last day of this cycle: what is asked for, as far as the forcing goes, and never earlier than it was."""
        if self.config.makes_forcing:
            end = self.until or self.config.period.end
        else:
            root = open_store(self.config.location)
            end = _last_whole_day(root)
            end = end if self.until is None else min(end, self.until)
        if before is not None:
            return max(end, before)
        if end < self.config.period.start:
            raise ConfigurationError(
                f"the first day of the experiment is {self.config.period.start}, but "
                + (
                    f"--until is {self.until}"
                    if end == self.until
                    else f"the forcing of {self.config.location.url} is whole up to {end} only: ingest what is missing"
                )
            )
        return end

    def _is_pending(self, config: ExperimentConfig) -> bool:
        """Whether a stage is not complete, or has another configuration, which the run refuses."""
        root = open_store(config.location)
        there = set(ledger.experiments(root))
        return any(
            stage.name not in there or not is_finished(stage, root) or bool(differences(root, stage))
            for stage in build_stages(config)
        )

    def _input_names(self, root: zarr.Group) -> list[str]:
        """Observations that the runs follow from; those that operators were trained on do not change them any more,
        unless biases are judged with them."""
        assimilated = [entry.name for run in self.config.assimilation for entry in run.observations]
        judging = [name for run in self.config.assimilation for name in judging_lai(root, self.config, run)]
        return list(dict.fromkeys([*assimilated, *overpass_variables(self.config), *judging]))

    def _inputs(self, config: ExperimentConfig) -> dict[str, Checksums]:
        """Checksums of what the inputs are now."""
        root, days = open_store(config.location), config.cycle.look_back_days
        first = None if days is None else np.datetime64(config.period.stop, "s") - days * DAY
        groups = input_record.input_groups(root, self._input_names(root))
        return {group: input_record.checksums(root, group, first) for group in groups}

    def _take_down(self, config: ExperimentConfig) -> None:
        """Records the inputs that a twin's run has made itself."""
        now = self._inputs(config)
        root = open_store(config.location)
        if not input_record.same({group: input_record.recorded(root, group) for group in now}, now):
            with published(config.location, "cycle: inputs"):
                input_record.keep(open_store(config.location, "a"), now)

    def _reopen(self, config: ExperimentConfig) -> dict[str, int]:
        """Marks what has to be computed again, then records the inputs; cells by stage.

        A cycle that is killed in between finds the same changes again.
        """
        now = self._inputs(config)
        root = open_store(config.location)
        if input_record.same({group: input_record.recorded(root, group) for group in now}, now):
            return {}
        with published(config.location, "cycle: inputs"):
            root = open_store(config.location, "a")
            found = input_record.changes(root, now)
            self._tell(config, found)
            cells, affected = {}, list(_affected(root, config, found))
            for stage, instants in affected:
                require_restarts(root, stage, instants)
            for stage, instants in affected:
                touched = ledger.reopen(root, stage.name, instants)
                if touched.any():
                    stage.refresh(root)
                    cells[stage.name] = int(touched.sum())
                    first = instants[touched].min().astype("datetime64[D]")
                    self.message(f"{stage.name}: {touched.sum()} of {stage.cells} cells again, from {first} on")
            input_record.keep(root, now)
        return cells

    def _tell(self, config: ExperimentConfig, found: Changes) -> None:
        """Says which days of the inputs are not what they were."""
        begin, stop = np.datetime64(config.period.start, "s"), np.datetime64(config.period.stop, "s")
        for group in found.times:
            first = begin - DAY if group == FORCING else begin  # the first record is that day's last one
            for where, cells in (
                (", before the experiment: without effect", found.within(group, None, first)),
                ("", found.within(group, first, stop)),
            ):
                if cells.any():
                    days = found.times[group][cells.any(axis=1)].astype("datetime64[D]")
                    span = str(days[0]) if days[0] == days[-1] else f"{days[0]} to {days[-1]}, {len(days)} times"
                    number = int(cells.any(axis=0).sum())
                    self.message(f"{group}: new or corrected since the last cycle ({span}), in {number} cells{where}")


def _ending(config: ExperimentConfig, end: date) -> ExperimentConfig:
    """The experiment with another last day."""
    return config.model_copy(update={"period": config.period.model_copy(update={"end": end})})


def _last_whole_day(root: zarr.Group) -> date:
    """The last day whose forcing is there with the record at its 24 UTC, and which no append changes any more."""
    from ldas.pipeline.ingest import provisional_hours

    if not has_group(root, FORCING):
        raise ConfigurationError("the store has no forcing: name the ingestion that makes it in `ingest`")
    hours = np.timedelta64(provisional_hours(existing_group(root, FORCING).attrs), "h")
    last: date = (forcing_times(root)[-1] - hours - DAY).astype("datetime64[D]").item()
    return last


def _affected(root: zarr.Group, config: ExperimentConfig, found: Changes) -> Iterator[tuple[Stage, np.ndarray]]:
    """Stages of the store, with the instant from which on each cell has to be computed again."""
    there, earlier = set(ledger.experiments(root)), dict[str, np.ndarray]()
    for stage in build_stages(config):
        if stage.name not in there:
            continue
        instants = affected_from(root, stage, found, earlier)
        if isinstance(stage, TruthError):
            start = np.datetime64(ledger.stored_periods(root, stage.name)[0][0], "s")
            changed = earlier.get(stage.run, np.full(stage.cells, np.datetime64("NaT", "s")))
            instants = np.where(np.isnat(changed), changed, start)
        if instants is not None:
            stop = np.datetime64(ledger.stored_periods(root, stage.name)[-1][1], "s")
            earlier[stage.name] = np.where(instants < stop, instants, np.datetime64("NaT"))
            yield stage, earlier[stage.name]


def _set_aside(root: zarr.Group, status: Mapping[str, Any]) -> dict[str, Outcome]:
    """Outcomes of stages that were not run: how many of their cells are set aside."""
    return {name: Outcome(int((ledger.statuses(root, name)[-1] == ledger.SET_ASIDE).sum())) for name in status["runs"]}
